"""Method: how a question becomes maps; and `answer`, which makes a Heatmap of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from .. import checks, registry
from ..errors import PhospheneError, RequestError, UnknownNameError, shown
from .heatmap import Heatmap, MapItem
from .question import Question
from .record import Record, environment

CERTAIN = 0.999  # a probability above it has next to no gradient


@dataclass(frozen=True, eq=False)
class Maps:
    """What a method gives.

    values    (b, h, w), raw and signed, in the size of the pictures or of a layer
    colour    (b, c, h, w), what `values` are a reduction of, where that is worth looking at
    notes     sentences per map, or none at all
    numbers   what is told beside each map, such as how far an identity holds, or none at all
    layer     the address that the maps are of
    by_size   whether signs alternate from pixel to pixel, so that |values| is what to lay over a picture
    has_sign  whether the sign of a value means something, also where all are alike; None: where they differ
    reached, scores  the objectives' values (b,) and the raw scores (b, classes), where the method came by them
    """

    values: Tensor
    colour: Tensor | None = None
    notes: tuple[tuple[str, ...], ...] = ()
    numbers: tuple[dict[str, float], ...] = ()
    layer: str | None = None
    by_size: bool = False
    has_sign: bool | None = None
    reached: Tensor | None = None
    scores: Tensor | None = None


@dataclass(frozen=True)
class Method:
    """Frozen settings, called with a Question. Found by name through the registry: entry points of `phosphene.methods`.

    A method runs with gradients switched on; it may take what it likes from the network through `Network.reading`.
    """

    @property
    def name(self) -> str:
        raise NotImplementedError

    def __call__(self, question: Question) -> Maps:
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and words, for a Record."""
        return {"name": self.name, **asdict(self)}


# Names of methods that Captum has and Phosphene has not, without underscores -> what Captum calls them.
CAPTUM = {
    "lrp": "LRP",
    "deeplift": "DeepLift",
    "deepliftshap": "DeepLiftShap",
    "gradientshap": "GradientShap",
    "shap": "GradientShap",
    "kernelshap": "KernelShap",
    "lime": "Lime",
    "featureablation": "FeatureAblation",
    "shapley": "ShapleyValueSampling",
    "shapleyvaluesampling": "ShapleyValueSampling",
}


@dataclass(frozen=True)
class Sampled(Method):
    """A method that averages over samples of a picture."""

    samples: int = field(default=50)

    def __post_init__(self) -> None:
        checks.whole("samples", self.samples, low=1, high=1_000_000)


def find_method(method: str | Method, samples: int | None = None) -> Method:
    """A method as it is, or the one of that name; with another number of samples, where it has any.

    "captum:NAME" is the method `captum` made with NAME.
    """
    found = method if isinstance(method, Method) else _named(method)
    if samples is None:
        return found
    if not isinstance(found, Sampled):
        raise RequestError(f"samples is {shown(samples)}; {found.name} takes none")
    return replace(found, samples=samples)


def _named(name: str) -> Method:
    if not isinstance(name, str) or not name:
        raise RequestError(f"method {shown(name)}; a name is needed, such as {', '.join(registry.names('methods')[:3])}")
    head, colon, tail = name.partition(":")
    if head.lower().replace("_", "") in CAPTUM:
        raise UnknownNameError("method", name, [f"captum:{CAPTUM[head.lower().replace('_', '')]}"], "Captum has it")
    make = registry.find("methods", head)
    needs_more = bool(getattr(make, "wants_name", False))
    if needs_more != bool(colon):
        raise UnknownNameError("method", name, registry.names("methods"), "captum:NAME asks Captum" if needs_more else "")
    made = make(tail) if colon else make()
    if not isinstance(made, Method):
        raise RequestError(f"method {shown(name)} is {type(made).__name__}; a Method is needed")
    return made


def answer(question: Question, method: Method, verb: str = "explain") -> Heatmap:
    """The maps of a method, with what the network says of each picture."""
    return told(question, method, maps_of(question, method), verb)


def maps_of(question: Question, method: Method) -> Maps:
    """The maps of a method, gradients switched on."""
    try:
        # Gradients are ours to ask for, also where the caller has switched them off.
        with torch.inference_mode(False), torch.enable_grad():
            return method(question)
    except PhospheneError:
        raise
    except RuntimeError as error:
        if "derivative for" not in str(error):  # of an operation that torch cannot differentiate
            raise
        raise RequestError(f"{method.name} needs a gradient, but {str(error).splitlines()[0]}") from error


def told(question: Question, method: Method, maps: Maps, verb: str = "explain") -> Heatmap:
    """Maps with what the network says of each picture."""
    reached, scores = (maps.reached, maps.scores) if maps.reached is not None else question.said()
    values, lost = _finite(maps.values)
    colour = None if maps.colour is None else _finite(maps.colour)[0]
    items = tuple(_item(question, method, maps, i, float(reached[i]), scores, lost[i]) for i in range(len(question)))
    record = _record(question, method, verb)
    shown = (colour, question.net.notes, maps.by_size, maps.has_sign)
    return Heatmap(values, question.pictures.cpu(), items, record, *shown)


def _finite(values: Tensor) -> tuple[Tensor, list[int]]:
    """float32 on the CPU, zero where it was not finite; how many of each map were not."""
    plain = values.detach().cpu().float()
    bad = ~torch.isfinite(plain)
    return plain.masked_fill(bad, 0.0), bad.flatten(1).sum(1).tolist()


def _item(question: Question, method: Method, maps: Maps, i: int, reached: float, scores: Tensor | None, lost: int) -> MapItem:
    target = question.target(i)
    notes = maps.notes[i] if maps.notes else ()
    if lost:
        notes = (*notes, f"{lost} values of the map were not finite and are told as 0")
    name, certain = None, None
    if target is not None and scores is not None:
        row = scores[i]
        certain = float(question.net.probabilities(row)[target])
        name = question.net.classes[target]
    if str(question.asked[i]).startswith("probability:") and certain is not None and certain > CERTAIN:
        notes = (*notes, f"the probability is {certain:.4f}: next to no gradient is left there; logit:… has one")
    return MapItem(
        image=question.images[i],
        objective=str(question.asked[i]),
        name=name,
        index=target,
        score=reached,
        probability=certain,
        method=method.name,
        layer=maps.layer,
        numbers=maps.numbers[i] if maps.numbers else {},
        notes=notes,
    )


def _record(question: Question, method: Method, verb: str) -> Record:
    net = question.net
    h, w = question.pictures.shape[-2:]
    return Record(
        model=net.identity(),
        preprocess=net.preprocess.to_dict(),
        recipe=method.to_dict(),
        size=(int(h), int(w)),
        seed=question.seed,
        batch=tuple(str(objective.inlined()) for objective in question.resolved),
        position=0,
        environment={**environment(net.device), "prepared": net.preparation(question.reads)},
        verb=verb,
    )
