"""`captum:NAME`: the attribution methods of Captum, asked as ours are. Needs the extra `captum`."""

from __future__ import annotations

import inspect
import warnings
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..errors import ExtraError, PhospheneError, RequestError, UnknownNameError, first_line
from ..network.network import is_out_of_memory
from ..network.reader import Reader
from ..objectives.expression import Objective
from ..results.method import Maps, Method
from ..results.question import Question
from ..seeding import private_rng, stream_seed

CELLS = 8  # a side: where a method perturbs features one by one, these squares are its features, and not pixels
# These hook modules: what is a function passes unseen, and torch's own gradient stands for the method there.
_HOOKING = ("Deconvolution", "DeepLift", "DeepLiftShap", "GuidedBackprop", "LRP")
_ALTERNATING = ("Deconvolution", "GuidedBackprop", "Saliency")  # gradients, and not contributions
LOST = 0.05  # share of the objective by which the relevances of LRP may miss it before that is noted
# Of data loaders; of batches; 2^64 passes; one that must be told a window, which our occlusion need not; one that is made of
# another method, as our smoothgrad is.
_REFUSED = ("DataLoaderAttribution", "FeaturePermutation", "ShapleyValues", "Occlusion", "NoiseTunnel")


@dataclass(frozen=True)
class Captum(Method):
    """Σ over channels of what Captum's class of that name attributes to the picture in [0, 1]; `colour` has all channels.

    Baselines are the mean picture, features are 8×8 squares where the class perturbs them one by one, all else is Captum's
    own default. LRP gives the relevances of the network's input. Each picture is asked alone with random numbers from the
    seed, so a map does not depend on its neighbours.
    Source: Kokhlikyan et al. 2020.
    """

    which: str
    wants_name: ClassVar[bool] = True

    def __post_init__(self) -> None:
        known = _classes()
        if self.which not in known:
            raise UnknownNameError("method of Captum", self.which, known)

    @property
    def name(self) -> str:
        return f"captum:{self.which}"

    def __call__(self, question: Question) -> Maps:
        given = torch.cat([self._one(question, i) for i in range(len(question))])
        reached, scores = question.said()
        notes = [self._notes() for _ in range(len(question))]
        if self.which == "LRP":
            given = given / _gain(question)
            notes = [_unkept(float(one.sum()), float(s)) + said for one, s, said in zip(given, reached, notes, strict=True)]
        by_size = self.which in _ALTERNATING
        signs: dict[str, Any] = {"by_size": by_size, "has_sign": None if by_size else True}
        return Maps(given.sum(1), given, notes=tuple(notes), reached=reached, scores=scores, **signs)

    def _one(self, question: Question, i: int) -> Tensor:
        picture, mean = question.pictures[i : i + 1], question.mean_picture()
        if self.which == "DeepLiftShap":  # a distribution of at least two
            mean = mean.repeat(2, 1, 1, 1)
        offered = {"baselines": mean, "feature_mask": _squares(picture), "perturbations_per_eval": question.chunk}
        try:
            with private_rng(stream_seed(question.seed, self.name)), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that it sets hooks: on a copy
                value = _Value(question, question.resolved[i])
                if self.which == "LRP":
                    _give_rules(value)
                asked = _classes()[self.which](value)
                takes = inspect.signature(asked.attribute).parameters
                wanted = {name: value for name, value in offered.items() if name in takes}
                given: Any = asked.attribute(picture.clone().requires_grad_(True), **wanted)
        except PhospheneError:
            raise
        except Exception as error:
            if is_out_of_memory(error):
                raise
            raise RequestError(
                f"{self.name} does not work with {question.net.name}: {type(error).__name__} {first_line(error)}"
            ) from error
        attributed: Tensor = given.detach().cpu().float()
        return attributed.expand(picture.shape)

    def _notes(self) -> tuple[str, ...]:
        if self.which not in _HOOKING:
            return ()
        return (f"{self.name} acts on modules: what the network computes as functions (rectifiers, shortcuts) it does not see",)


class _Value(nn.Module):
    """Pictures (b, c, h, w) -> the objective's values (b,); the network's modules lie inside, for Captum to hook."""

    def __init__(self, question: Question, objective: Objective) -> None:
        super().__init__()
        self.reader = Reader(question.net)
        for part in self.reader.modules():
            if hasattr(part, "inplace"):  # what its hooks keep must not be overwritten; the copy is ours
                setattr(part, "inplace", False)  # noqa: B010  # torch declares no such attribute of modules
        self._objective = objective

    def forward(self, pictures: Tensor) -> Tensor:
        return self._objective(self.reader(pictures, self._objective.reads)).float()


def _give_rules(module: nn.Module) -> None:
    """Captum's LRP refuses layers whose type is not in its tables. A kind of one that is there gets that one's rule; of those
    without weights an activation (ReLU6) passes relevance on as it is, and any other (Flatten) as a linear layer does."""
    from captum.attr._core import lrp
    from captum.attr._utils.lrp_rules import EpsilonRule, IdentityRule

    for part in module.modules():
        if list(part.children()) or type(part) in (*lrp.SUPPORTED_LAYERS_WITH_RULES, *lrp.SUPPORTED_NON_LINEAR_LAYERS):
            continue
        kinds = [rule for kind, rule in lrp.SUPPORTED_LAYERS_WITH_RULES.items() if isinstance(part, kind)]
        if kinds:
            part.rule = kinds[0]()
        elif not list(part.parameters()):
            part.rule = IdentityRule() if type(part).__module__ == nn.ReLU6.__module__ else EpsilonRule()


def _gain(question: Question) -> Tensor:
    """∂x/∂I, (1, c, h, w), by which the chain rule multiplies what arrives at the input: relevances are not meant to be."""
    picture = question.pictures[:1].detach().clone().requires_grad_(True)
    (gain,) = torch.autograd.grad(question.net.preprocess.forward(picture).sum(), picture)
    return gain.cpu()


def _unkept(total: float, score: float) -> tuple[str, ...]:
    if abs(total - score) <= LOST * abs(score):
        return ()
    return (
        f"unkept: the relevances sum to {total:.4g}, the objective is {score:.4g}; of networks with biases, batch norm and "
        "shortcuts Captum's LRP does not keep the sum",
    )


def _classes() -> dict[str, type[Any]]:
    """Captum's methods that take a model and nothing else."""
    try:
        from captum import attr
    except ImportError as error:
        raise ExtraError(f"captum:NAME needs Captum ({first_line(error)}); pip install 'phosphene[captum]'") from error
    return {
        name: kind
        for name, kind in vars(attr).items()
        if isinstance(kind, type)
        and issubclass(kind, attr.Attribution)
        and hasattr(kind, "attribute")
        and not name.startswith(("Layer", "Neuron"))
        and name not in _REFUSED
        and _only_a_model(kind)
    }


def _only_a_model(kind: type[Any]) -> bool:
    _, *others = inspect.signature(kind).parameters.values()
    return not inspect.isabstract(kind) and all(p.default is not p.empty for p in others)


def _squares(picture: Tensor) -> Tensor:
    """(1, 1, h, w): the number of the square that a pixel lies in."""
    rows, columns = (
        (torch.arange(side, device=picture.device) * CELLS).div(side, rounding_mode="floor") for side in picture.shape[-2:]
    )
    return (rows[:, None] * CELLS + columns).unsqueeze(0).unsqueeze(0)
