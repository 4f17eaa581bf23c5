"""The ascent: a batch of pictures, each climbing its own objective."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..errors import Interrupted, RenderError
from ..network.network import NO_GRADIENT, Read
from ..objectives.expression import Objective, values
from .diversity import likeness_within, style
from .layers import LayerPrior
from .naturalness import Naturalness
from .observers import Frames
from .optimisers import OPTIMISERS, Adam, Steepest
from .projections import ClipContribution, percentile_of
from .recipe import Recipe
from .views import Viewer

RISE = 0.01  # of an objective's size: what has risen less, of late, has converged
OWN = 16  # steps between looks at the objectives' own gradient, where it takes a backward pass of its own
STARTS = 6  # other starts tried for an item whose gradient is zero everywhere
OnStep = Callable[[int, Tensor, Tensor], None]  # step from 1, pictures, values


@dataclass(frozen=True)
class Ascended:
    """pictures (b, c, h, w), history (steps, b), attribution (b, h, w), frames (n, b, c, h, w) uint8, notes per picture.

    made: steps that were made. Where they are fewer than the recipe's, `finished` tells which pictures had converged before;
    the history of the others is NaN from there on, and their frames repeat the last picture.
    """

    pictures: Tensor
    history: Tensor
    attribution: Tensor
    frames: Tensor
    notes: list[tuple[str, ...]]
    made: int
    finished: tuple[bool, ...]


@dataclass
class Ascent:
    """One batch on its way. names, seeds: of the items' random streams; mean (1, c, h, w) on the network's device;
    together: how many neighbours are kept apart where the recipe asks for diversity."""

    read: Read
    objectives: Sequence[Objective]
    names: Sequence[str]
    recipe: Recipe
    seeds: Sequence[int]
    mean: Tensor
    together: int = 1
    frames: int = 0
    naturalness: Naturalness | None = None
    layer_priors: Sequence[LayerPrior] = ()
    on_step: OnStep | None = None
    _numbers: Tensor = field(init=False)  # those of the items that have not converged
    _made: int = field(init=False, default=0)  # steps
    _all_shares: Tensor = field(init=False)  # (b, layers) of layers in the distance from photographs
    _shares: Tensor = field(init=False)  # the same of each view of what climbs
    _climbing: Tensor = field(init=False)  # places of the items that have not converged
    _settled: Tensor | None = field(init=False, default=None)  # (b, c, h, w) the others' pictures
    _looked: int = field(init=False, default=0)  # steps at which the objectives' own gradient was looked at
    _still: Tensor = field(init=False)  # those of them without one, per item
    _asked: Tensor = field(init=False)  # (b, h, w) Σ over them of |gradient|, summed over channels
    _seen: Tensor = field(init=False)  # the objectives' gradient at the pictures of the last of them

    def __post_init__(self) -> None:
        self._surface = self.recipe.canvas.surface(self.mean)
        self._view = self._viewer(self.recipe.steps)
        # Views of one picture stand side by side, each before its own copy of the objective.
        self._each = [objective for objective in self.objectives for _ in range(self.recipe.samples)]
        clips = any(isinstance(projection, ClipContribution) for projection in self.recipe.projections)
        self._every = OWN if (self.naturalness or self.layer_priors) and not clips else 1
        self._apart = self.recipe.diversity > 0 and self.together > 1
        self._addresses = frozenset().union(*(objective.reads for objective in self.objectives))
        self._addresses |= {self.recipe.diversity_at} if self._apart else set()
        self._addresses = self._addresses.union(*(prior.addresses for prior in self.layer_priors))
        self._asked = torch.zeros((len(self.names), *self.mean.shape[2:]), device=self.mean.device)
        self._still = torch.zeros(len(self.names), device=self.mean.device)
        self._climbing = torch.arange(len(self.names), device=self.mean.device)

    def run(self) -> Ascended:
        """All steps. Interrupted, with the pictures as they stand, on Ctrl-C after the first of them."""
        natural = self.naturalness
        self._all_shares = (
            natural.shares_of(self.read, self.mean, self.objectives) if natural else self.mean.new_zeros(len(self.names), 0)
        )
        self._shares = self._of_views(self._all_shares)
        self._numbers, notes = self._start()
        kept = Frames(self.frames, self.recipe.steps)
        kept.take(0, self._pictures(self._numbers))
        history: list[Tensor] = []
        try:
            self._all_steps(history, kept, notes)
        except KeyboardInterrupt as stop:
            if not self._made:
                raise
            raise Interrupted(self._ascended(history, kept, notes)) from stop
        return self._ascended(history, kept, notes)

    def _all_steps(self, history: list[Tensor], kept: Frames, notes: list[list[str]]) -> None:
        recipe, optimiser = self.recipe, OPTIMISERS[self.recipe.optimiser]()
        for step in range(recipe.steps):
            if len(self._climbing):
                reached, uphill = self._uphill(self._numbers, step)
                history.append(reached if self._settled is None else history[-1].index_copy(0, self._climbing, reached))
                self._move(optimiser, self._numbers, uphill, step)
                if recipe.patience and (step + 1) % recipe.patience == 0:
                    self._leave(optimiser, history, notes)
            else:
                history.append(history[-1])
            self._made = step + 1
            if self.on_step or self._made in kept.steps:  # else nobody looks: waves cost time to add up
                pictures = self._pictures(self._numbers)
                kept.take(self._made, pictures)
                if self.on_step:
                    self.on_step(self._made, pictures, history[-1])

    def _ascended(self, history: list[Tensor], kept: Frames, notes: list[list[str]]) -> Ascended:
        """What was made, of all steps or fewer."""
        past = torch.stack(history[: self._made]).cpu()
        pictures = self._pictures(self._numbers).cpu()
        self._check(past, pictures)
        left = self.recipe.steps - self._made
        climbing = self._climbing.tolist() if left else []
        finished = tuple(i not in climbing for i in range(len(self.names)))
        if left:
            pictures = pictures.clamp(0, 1)  # Ctrl-C may come within a step
            rest = past[-1].masked_fill(~torch.tensor(finished), torch.nan)
            past = torch.cat([past, rest.expand(left, -1)])
            kept.fill(pictures)
        said = self._finished(notes)
        return Ascended(pictures, past, self._attribution(), kept.stacked(pictures), said, self._made, finished)

    def _of_views(self, shares: Tensor) -> Tensor:
        return shares.repeat_interleave(self.recipe.samples, 0) / self.recipe.samples

    def _start(self) -> tuple[Tensor, list[list[str]]]:
        """Numbers to begin with. Items whose gradient is zero there begin elsewhere; what was done is noted."""
        numbers = self._begun(0)
        notes: list[list[str]] = [[] for _ in self.names]
        dead, bad = self._gradientless(numbers)
        self._check_gradient(numbers, dead)
        for attempt in range(1, STARTS + 1):
            if not dead.any():
                break
            start = self._begun(attempt)
            other = torch.where(_column(dead, start.ndim), start, numbers)
            woken = dead & ~self._gradientless(other)[0]
            numbers = torch.where(_column(woken, numbers.ndim), other, numbers)
            for i in woken.nonzero().flatten().tolist():
                what = "not finite" if bad[i] else "zero"
                notes[i].append(
                    f"the gradient was {what} at the usual start; start {attempt + 1} of {STARTS + 1}, noise, was taken"
                )
            dead = dead & ~woken
        if (dead & bad).any():
            name = self.objectives[int((dead & bad).nonzero()[0])]
            raise RenderError(
                f"the gradient of {name} is not finite at any of {STARTS + 1} starts; another recipe or size is needed"
            )
        for i in dead.nonzero().flatten().tolist():
            notes[i].append(f"the gradient is zero at all {STARTS + 1} starts: a dead unit, the picture says nothing of it")
        return numbers.detach(), notes

    def _begun(self, attempt: int) -> Tensor:
        each = [self._surface.start([name], seed, attempt) for name, seed in zip(self.names, self.seeds, strict=True)]
        return torch.cat(each)

    def _viewer(self, steps: int) -> Viewer:
        recipe = self.recipe
        return Viewer(recipe.views, self.names, self.seeds, steps, recipe.border, recipe.samples)

    def _gradientless(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """(b,) where the gradient is zero everywhere or not finite; (b,) where it, or the value, is not finite."""
        # Seen as at the first step, by a viewer of its own: no random number of the ascent is used up.
        reached, _, gradient = self._climb(self._pictures(numbers), self._viewer(1), 0, alone=True)
        assert gradient is not None
        bad = ~(torch.isfinite(gradient).flatten(1).all(1) & torch.isfinite(reached))
        return bad | ~gradient.flatten(1).any(1), bad

    def _check_gradient(self, numbers: Tensor, dead: Tensor) -> None:
        """Raise if the network cuts the gradient of an objective: no start would help."""
        if not dead.any():
            return
        pictures = self._pictures(numbers).requires_grad_(True)
        given = self.read(self._viewer(1)(pictures, 0, self.mean), self._addresses)
        rows = {address: tensor[:1] for address, tensor in given.items()}
        for i in dead.nonzero().flatten().tolist():
            value = self.objectives[i]({address: rows[address] for address in self.objectives[i].reads}).sum()
            if not value.requires_grad or torch.autograd.grad(value, pictures, allow_unused=True, retain_graph=True)[0] is None:
                raise RenderError(f"{self.objectives[i]} cannot be rendered: {NO_GRADIENT}")

    def _climb(self, pictures: Tensor, view: Viewer, step: int, alone: bool) -> tuple[Tensor, Tensor, Tensor | None]:
        """The objectives' values (b,), over all views of a picture; the gradient at the pictures of objectives − penalties on
        layers; that of the objectives alone, where it is asked for."""
        pictures = pictures.requires_grad_(True)
        look = self.naturalness.look(self._shares, step) if self.naturalness else None
        given = self.read(view(pictures, step, self.mean), self._addresses, look.changes if look else None)
        reached = values(self._each, given).view(-1, self.recipe.samples).mean(1)
        total = reached.sum()
        if self._apart:
            styles = style(given[self.recipe.diversity_at], self.recipe.samples)
            total = total - self.recipe.diversity * likeness_within(styles, self.together).sum()
        if look is None and not self.layer_priors:
            gradient = _gradient(total, pictures)
            return reached.detach(), gradient, gradient
        if look:
            look.close()
        own = _gradient(total, pictures, again=True) if alone else None
        for prior in self.layer_priors:
            total = total - prior.weight / self.recipe.samples * prior.distance(given).sum()
        with look.pulling() if look else nullcontext():
            return reached.detach(), _gradient(total, pictures), own

    def _uphill(self, numbers: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """The objectives' values as seen at this step, and the gradient of objectives − penalties at the numbers."""
        numbers = numbers.detach().requires_grad_(True)
        pictures = self._surface.picture(numbers)
        reached, gradient, own = self._climb(pictures.detach(), self._view, step, alone=step % self._every == 0)
        if own is not None:
            self._note(own)
        if self.recipe.picture_priors:
            leaf = pictures.detach().requires_grad_(True)
            gradient = gradient - _gradient(torch.stack([p(leaf, self.mean) for p in self.recipe.picture_priors]).sum(), leaf)
        if self.recipe.threshold:
            gradient = _thresholded(gradient, self.recipe.threshold)
        if pictures is numbers:
            return reached, gradient
        (uphill,) = torch.autograd.grad(pictures, numbers, gradient)
        return reached, uphill

    def _note(self, own: Tensor) -> None:
        """What the objectives alone ask for."""
        asked = own.abs().sum(1)
        self._still.index_add_(0, self._climbing, (~asked.flatten(1).any(1)).float())
        self._asked.index_add_(0, self._climbing, asked)
        self._looked += 1
        self._seen = own  # projections that clip by contribution ask for it

    @torch.no_grad()
    def _move(self, optimiser: Steepest | Adam, numbers: Tensor, uphill: Tensor, step: int) -> None:
        """One step and the projections."""
        optimiser.step(numbers, uphill, self.recipe.rate(step))
        numbers.copy_(self._surface.settled(numbers))
        due = [p for p in self.recipe.projections if (step + 1) % p.every == 0]
        if due:
            pictures = self._surface.picture(numbers)
            for projection in due:
                pictures = projection(pictures, self.mean, self._seen)
            numbers.copy_(self._surface.numbers(pictures))

    def _leave(self, optimiser: Steepest | Adam, history: Sequence[Tensor], notes: list[list[str]]) -> None:
        """Go on without the items that have converged, whose pictures are kept as they are."""
        patience = self.recipe.patience
        if len(history) < 2 * patience:
            return
        before, now = (torch.stack(list(part)).mean(0) for part in (history[-2 * patience : -patience], history[-patience:]))
        stays = (now - before > RISE * before.abs())[self._climbing]
        if stays.all():
            return
        kept = stays.nonzero().flatten()
        self._view.keep(kept)
        optimiser.keep(kept)
        settled, climbing, numbers = self._pictures(self._numbers), self._climbing[kept], self._numbers[kept]
        self._each = [self.objectives[i] for i in climbing.tolist() for _ in range(self.recipe.samples)]
        self._shares = self._of_views(self._all_shares[climbing])
        for place in self._climbing[~stays].tolist():
            notes[place].append(f"converged after {len(history)} of {self.recipe.steps} steps")
        # With no call between them, so that Ctrl-C finds all three of the same items.
        self._settled, self._climbing, self._numbers = settled, climbing, numbers

    def _pictures(self, numbers: Tensor) -> Tensor:
        with torch.no_grad():
            if self._settled is None:
                return self._surface.picture(numbers).detach().clone()
            if not len(self._climbing):
                return self._settled.clone()
            return self._settled.index_copy(0, self._climbing, self._surface.picture(numbers).detach())

    def _attribution(self) -> Tensor:
        """Each picture's shares, that add up to 1; zeros where no gradient was."""
        total = self._asked.sum((1, 2), keepdim=True)
        return (self._asked / total.clamp(min=torch.finfo(total.dtype).tiny)).cpu()

    def _check(self, history: Tensor, pictures: Tensor) -> None:
        good = torch.isfinite(history).all(0) & torch.isfinite(pictures).flatten(1).all(1)
        if not good.all():
            first = self.objectives[int((~good).nonzero()[0])]
            raise RenderError(f"the ascent of {first} left the finite numbers; a smaller lr or another recipe is needed")

    def _finished(self, notes: list[list[str]]) -> list[tuple[str, ...]]:
        for i, still in enumerate(self._still.tolist()):
            if not notes[i] and 2 * still > self._looked:
                notes[i].append(f"the gradient was zero in {still * self._made / self._looked:.0f} of {self._made} steps")
        return [tuple(said) for said in notes]


def _gradient(total: Tensor, numbers: Tensor, again: bool = False) -> Tensor:
    """Zero where the total does not depend on the numbers. again: it will be asked for once more."""
    if not total.requires_grad:
        return torch.zeros_like(numbers)
    (gradient,) = torch.autograd.grad(total, numbers, allow_unused=True, retain_graph=again or None)
    return torch.zeros_like(numbers) if gradient is None else gradient


def _thresholded(gradient: Tensor, percentile: float) -> Tensor:
    """Zero where its size is below that percentile of the picture's own."""
    size = gradient.abs()
    return gradient * (size >= percentile_of(size, percentile))


def _column(per_item: Tensor, ndim: int) -> Tensor:
    return per_item.view(-1, *[1] * (ndim - 1))
