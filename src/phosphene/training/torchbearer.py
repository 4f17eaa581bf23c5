"""For torchbearer: a Callback, and a ClassAppearanceModel that takes the place of torchbearer's own.

from phosphene.training.torchbearer import ClassAppearanceModel
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .. import checks
from ..errors import ExtraError, RequestError, shown
from ..network.network import Network
from ..network.preprocess import Preprocess
from ..network.probe import Twin
from ..objectives.units import logit
from ..rendering.recipe import Recipe, find_recipe
from ..rendering.render import render
from ..seeding import stream
from .fluent import Fluent
from .guard import untouched
from .imaging import Imaging
from .moment import Event
from .normalising import Transform, ways

try:
    import torchbearer
except ImportError as missing:
    raise ExtraError("callbacks for torchbearer need it; pip install torchbearer") from missing

NOISE = (
    "torchbearer's own ascent draws what is noise to other networks: of fourteen ImageNet classes drawn by MobileNetV2 four "
    'others recognised none. recipe="natural" draws what others recognise'
)
RANDOM = -10  # as in torchbearer: another target each time
OptimiserFactory = Callable[[Iterable[Tensor]], torch.optim.Optimizer]


def adam(parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
    """torchbearer's choice."""
    return torch.optim.Adam(parameters, lr=0.5)


class ClassAppearanceModel(Imaging, torchbearer.Callback):  # type: ignore[misc]  # its types are not read
    """Class models as torchbearer's callback of that name draws them, once an epoch: same arguments, same sinks.

    Gradient ascent from zeros on the logit of the target less decay · Σ x², the picture being the sigmoid of x. With
    recipe="natural" or another recipe of ours the picture is the one that `ph.render` draws, which other networks recognise.

    nclasses, input_size  of the network: its number of classes, and (c, h, w) of a picture
    optimizer_factory, decay  of torchbearer's ascent; a recipe has its own
    steps         of either
    logit_key     where in the state the logits are, if they are not what the module gives
    target        a class, or RANDOM; `target_to_key` tells the state which
    verbose       1 or more: with a bar of progress
    in_transform  what stands between a picture in [0, 1] and the network
    transform     what is done to the picture before it is shown
    seed          of the recipe's random numbers, and of random targets
    recipe        a name or a Recipe, "auto" for the best for the size; None: torchbearer's ascent. Those that ask what
                  the batch norms have learned are told what they have learned so far

    Differs: the normalisation is taken both ways. torchbearer's recipe gives transform= the inverse of the normalisation and
    no in_transform: the network is then shown pictures that are not normalised, and the result is washed out. Here a
    transform that scales each channel as such an inverse does (x·std + mean, with both in [0, 1]) is also undone before
    the network, and a transform that undoes in_transform leaves the picture as it is; `notes` says so.
    in_transform=lambda x: x switches that off.
    Differs: the module is read through a private copy, and random targets are drawn from numbers of our own, so that the
    losses are those of a training without this; what fails is a warning, once.

    Source: Simonyan, Vedaldi & Zisserman 2013, §2, as in torchbearer 0.5.
    """

    def __init__(
        self,
        nclasses: int,
        input_size: Sequence[int],
        optimizer_factory: OptimiserFactory = adam,
        steps: int = 256,
        logit_key: Any = torchbearer.PREDICTION,
        target: int = RANDOM,
        decay: float = 0.01,
        verbose: int = 0,
        in_transform: Transform | None = None,
        transform: Transform | None = None,
        *,
        recipe: str | Recipe | None = None,
        seed: int = 0,
    ) -> None:
        torchbearer.Callback.__init__(self)
        self.nclasses = checks.whole("nclasses", nclasses, low=1)
        if len(input_size) != 3:
            raise RequestError(f"input_size must be (channels, height, width), got {shown(input_size)}")
        c, h, w = (checks.whole("input_size", n, low=1) for n in input_size)
        self.input_size = c, h, w
        self.target = checks.whole("target", target, low=RANDOM, high=self.nclasses - 1)
        if self.target < 0 and self.target != RANDOM:
            raise RequestError(f"target is {target}; a class from 0 to {self.nclasses - 1}, or RANDOM, is needed")
        self.steps, self.decay = checks.steps(steps), checks.real("decay", decay)
        if isinstance(recipe, str):
            find_recipe(recipe, self.input_size)  # raises now what is wrong
        self.recipe, self.seed = recipe, checks.seed(seed)
        self.optimizer_factory, self.logit_key, self.verbose = optimizer_factory, logit_key, verbose
        self._to_network, show, self.notes = ways(in_transform, transform, self.input_size)
        if recipe is None:
            self.notes = (*self.notes, NOISE)
        Imaging.__init__(self, show)
        self._target_keys: list[Any] = []
        self._twins: dict[int, Twin] = {}
        self._count = 0

    def target_to_key(self, key: Any) -> ClassAppearanceModel:
        """Put the target, (1, 1), under this key of the state."""
        self._target_keys.append(key)
        return self

    def on_batch(self, state: Any) -> Tensor:
        """The picture, (c, h, w) in [0, 1]."""
        target = self._chosen()
        for key in self._target_keys:
            state[key] = torch.tensor([[target]], device=state[torchbearer.DEVICE])
        module = state[torchbearer.MODEL]
        twin = self._twins.setdefault(id(module), Twin(module))
        with torch.inference_mode(False), torch.enable_grad(), twin.running() as copy:
            return (self._climbed if self.recipe is None else self._rendered)(copy, target, state)

    def _chosen(self) -> int:
        self._count += 1
        if self.target != RANDOM:
            return self.target
        return int(torch.randint(self.nclasses, (), generator=stream(self.seed, "target", str(self._count))))

    def _climbed(self, module: Any, target: int, state: Any) -> Tensor:
        where = {"device": state[torchbearer.DEVICE], "dtype": state[torchbearer.DATA_TYPE]}
        numbers = torch.zeros(self.input_size, requires_grad=True, **where)
        optimiser = self.optimizer_factory([numbers])
        inner = torchbearer.State()
        inner.update(state)
        for _ in self._steps():
            optimiser.zero_grad()
            logits = self._logits(module, self._to_network(numbers.sigmoid()).unsqueeze(0), inner)
            loss = self.decay * numbers.square().sum() - logits[0, target]
            loss.backward()
            optimiser.step()
        picture = numbers.detach().sigmoid()
        if not bool(torch.isfinite(picture).all()):
            raise RequestError(f"the ascent of class {target} left the finite numbers")
        return picture

    def _rendered(self, module: Any, target: int, state: Any) -> Tensor:
        def logits(module: nn.Module, pictures: Tensor) -> Tensor:
            inner = torchbearer.State()
            inner.update(state)
            return self._logits(module, torch.stack([self._to_network(picture) for picture in pictures]), inner)

        c, h, w = self.input_size
        net = Network(_Shown(module, logits), Preprocess(size=(h, w), channels=c), name=type(module).__name__)
        assert self.recipe is not None
        return render(net, logit(target), recipe=self.recipe, steps=self.steps, seed=self.seed, frames=0).pictures[0]

    def _logits(self, module: Any, inputs: Tensor, inner: Any) -> Tensor:
        """torchbearer's modules may take the state beside their inputs."""
        try:
            given = module(inputs, inner)
        except TypeError:
            given = module(inputs)
        found = given if self.logit_key == torchbearer.PREDICTION else inner[self.logit_key]
        if not isinstance(found, Tensor) or found.ndim != 2 or found.shape[1] != self.nclasses:
            what = tuple(found.shape) if isinstance(found, Tensor) else shown(found)
            raise RequestError(f"the logits are {what}; (1, {self.nclasses}) is needed")
        return found

    def _steps(self) -> Iterable[int]:
        if self.verbose < 1:
            return range(self.steps)
        from tqdm.auto import tqdm  # type: ignore[import-untyped]  # comes with torchbearer

        bar: Iterable[int] = tqdm(range(self.steps), desc="class model")
        return bar

    # torchbearer tells

    def on_start(self, state: Any) -> None:
        super().on_start(state)
        self.forget()

    def on_step_training(self, state: Any) -> None:
        self.due("train", state)

    def on_step_validation(self, state: Any) -> None:
        self.due("val" if state[torchbearer.DATA] is torchbearer.VALIDATION_DATA else "test", state)

    def on_end(self, state: Any) -> None:
        with untouched():
            self.close()

    def epoch_of(self, state: Any) -> int:
        return int(state[torchbearer.EPOCH])

    def fields_of(self, state: Any) -> dict[str, Any]:
        """Numbers and words of the state and its metrics, for the names of files."""
        found = {**state, **state.get(torchbearer.METRICS, {})}
        return {str(key): value for key, value in found.items() if isinstance(value, int | float | str)}


class _Shown(nn.Module):
    """Gives the logits of pictures in [0, 1]. logits: a plain function, which a copy of the module shares."""

    def __init__(self, module: nn.Module, logits: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.module, self._logits = module, logits

    def forward(self, pictures: Tensor) -> Tensor:
        return self._logits(self.module, pictures)


def callback(watch: Fluent) -> Any:
    """A Callback for `Trial(callbacks=[…])` that tells `watch` what the trial does."""

    class PhospheneCallback(torchbearer.Callback):  # type: ignore[misc]  # its types are not read
        steps = 0

        def on_start(self, state: Any) -> None:
            watch.begin()

        def on_step_training(self, state: Any) -> None:
            self.steps += 1
            self._tell("step", state)

        def on_end_training(self, state: Any) -> None:
            self._tell("epoch", state)

        def on_end_validation(self, state: Any) -> None:
            self._tell("val" if state[torchbearer.DATA] is torchbearer.VALIDATION_DATA else "test", state)

        def on_end(self, state: Any) -> None:
            watch.close()

        def _tell(self, event: Event, state: Any) -> None:
            watch.tell(event, int(state[torchbearer.EPOCH]), self.steps, state=state)

    return PhospheneCallback()
