"""The ascent: a batch of pictures, each climbing its own objective."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..errors import RenderError
from ..network.network import Read
from ..objectives.expression import Objective, values
from .observers import Frames
from .recipe import Recipe
from .views import Viewer

STARTS = 6  # other starts tried for an item whose gradient is zero everywhere
OnStep = Callable[[int, Tensor, Tensor], None]  # step from 1, pictures, values


@dataclass(frozen=True)
class Ascended:
    """pictures (b, c, h, w), history (steps, b), frames (n, b, c, h, w) uint8, notes per picture."""

    pictures: Tensor
    history: Tensor
    frames: Tensor
    notes: list[tuple[str, ...]]


@dataclass
class Ascent:
    """One batch on its way. names: of the items' random streams; mean (1, c, h, w) on the network's device."""

    read: Read
    objectives: Sequence[Objective]
    names: Sequence[str]
    recipe: Recipe
    seed: int
    mean: Tensor
    frames: int = 0
    on_step: OnStep | None = None
    _still: Tensor = field(init=False)  # steps without a gradient, per item

    def __post_init__(self) -> None:
        self._view = Viewer(self.recipe.views, self.names, self.seed, self.recipe.steps, self.recipe.border)
        self._addresses = frozenset().union(*(objective.reads for objective in self.objectives))
        self._still = torch.zeros(len(self.names), device=self.mean.device)

    def run(self) -> Ascended:
        recipe, canvas = self.recipe, self.recipe.canvas
        numbers, notes = self._start()
        optimiser = self._optimiser(numbers)
        kept = Frames(self.frames, recipe.steps)
        kept.take(0, canvas.picture(numbers))
        history = []
        for step in range(recipe.steps):
            reached, uphill = self._uphill(numbers, step)
            history.append(reached)
            self._move(optimiser, numbers, uphill, step)
            kept.take(step + 1, canvas.picture(numbers))
            if self.on_step:
                self.on_step(step + 1, canvas.picture(numbers).detach(), reached)
        past = torch.stack(history).cpu()
        pictures = canvas.picture(numbers).detach().cpu()
        self._check(past, pictures)
        return Ascended(pictures, past, kept.stacked(pictures), self._finished(notes))

    def _start(self) -> tuple[Tensor, list[list[str]]]:
        """Numbers to begin with. Items whose gradient is zero there begin elsewhere; what was done is noted."""
        canvas, count = self.recipe.canvas, len(self.names)
        numbers = canvas.start(self.names, self.seed, self.mean, 0)
        notes: list[list[str]] = [[] for _ in range(count)]
        dead = self._gradientless(numbers)
        for attempt in range(1, STARTS + 1):
            if not dead.any():
                break
            other = torch.where(_column(dead), canvas.start(self.names, self.seed, self.mean, attempt), numbers)
            woken = dead & ~self._gradientless(other)
            numbers = torch.where(_column(woken), other, numbers)
            for i in woken.nonzero().flatten().tolist():
                notes[i].append(
                    f"the gradient was zero at the usual start; start {attempt + 1} of {STARTS + 1}, noise, was taken"
                )
            dead = dead & ~woken
        for i in dead.nonzero().flatten().tolist():
            notes[i].append(f"the gradient is zero at all {STARTS + 1} starts: a dead unit, the picture says nothing of it")
        return numbers.detach(), notes

    def _gradientless(self, numbers: Tensor) -> Tensor:
        pictures = numbers.detach().requires_grad_(True)
        seen = self._still_view(self.recipe.canvas.picture(pictures))
        reached = values(self.objectives, self.read(seen, self._addresses))
        return ~_gradient(reached.sum(), pictures).flatten(1).any(1)

    def _still_view(self, pictures: Tensor) -> Tensor:
        """As the first step would show them, but with no random number used up."""
        return Viewer(self.recipe.views, self.names, self.seed, 1, self.recipe.border)(pictures, 0, self.mean)

    def _uphill(self, numbers: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """The objectives' values as seen at this step, and the gradient of objectives − penalties."""
        numbers = numbers.detach().requires_grad_(True)
        pictures = self.recipe.canvas.picture(numbers)
        reached = values(self.objectives, self.read(self._view(pictures, step, self.mean), self._addresses))
        uphill = _gradient(reached.sum(), numbers)
        self._still += (~uphill.flatten(1).any(1)).float()
        if self.recipe.priors:
            pictures = self.recipe.canvas.picture(numbers)
            penalty = torch.stack([prior(pictures, self.mean) for prior in self.recipe.priors]).sum()
            uphill = uphill - _gradient(penalty, numbers)
        return reached.detach(), uphill

    def _optimiser(self, numbers: Tensor) -> torch.optim.Optimizer:
        kind = torch.optim.SGD if self.recipe.optimiser == "sgd" else torch.optim.Adam
        return kind([numbers], lr=self.recipe.lr)

    @torch.no_grad()
    def _move(self, optimiser: torch.optim.Optimizer, numbers: Tensor, uphill: Tensor, step: int) -> None:
        if self.recipe.optimiser == "sgd":
            length = uphill.flatten(1).square().mean(1).sqrt()
            uphill = uphill / _column(length, uphill.ndim).clamp(min=torch.finfo(uphill.dtype).tiny)
        numbers.grad = -uphill
        optimiser.param_groups[0]["lr"] = self.recipe.rate(step)
        optimiser.step()
        pictures = self.recipe.canvas.picture(numbers)
        for projection in self.recipe.projections:
            if (step + 1) % projection.every == 0:
                pictures = projection(pictures, self.mean)
        numbers.copy_(self.recipe.canvas.numbers(pictures))

    def _check(self, history: Tensor, pictures: Tensor) -> None:
        good = torch.isfinite(history).all(0) & torch.isfinite(pictures).flatten(1).all(1)
        if not good.all():
            first = self.objectives[int((~good).nonzero()[0])]
            raise RenderError(f"the ascent of {first} left the finite numbers; a smaller lr or another recipe is needed")

    def _finished(self, notes: list[list[str]]) -> list[tuple[str, ...]]:
        for i, still in enumerate(self._still.tolist()):
            if not notes[i] and 2 * still > self.recipe.steps:
                notes[i].append(f"the gradient was zero in {still:.0f} of {self.recipe.steps} steps")
        return [tuple(said) for said in notes]


def _gradient(total: Tensor, numbers: Tensor) -> Tensor:
    """Zero where the total does not depend on the numbers."""
    if not total.requires_grad:
        return torch.zeros_like(numbers)
    (gradient,) = torch.autograd.grad(total, numbers, allow_unused=True)
    return torch.zeros_like(numbers) if gradient is None else gradient


def _column(per_item: Tensor, ndim: int = 4) -> Tensor:
    return per_item.view(-1, *[1] * (ndim - 1))
