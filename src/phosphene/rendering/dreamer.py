"""The ascent of one photograph: octave by octave, step by step, tile by tile."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from .. import checks
from ..errors import Interrupted, ModelError, RenderError, RequestError
from ..network import addresses
from ..network.network import NO_GRADIENT, Network, Read
from ..network.receptive import Windows
from ..objectives.expression import Objective, values
from ..results.dreamt import Dream
from ..results.record import Record
from ..seeding import stream, stream_seed
from .guide import guided
from .observers import Observer
from .octaves import Sides, octave_sizes, regrown, resized, zoomed
from .tiling import Climb, Tiling

LARGEST_FRAMES = 2 << 30  # bytes of all frames of a zoom


@dataclass(frozen=True)
class Settings:
    """See `dream`."""

    octaves: int
    octave_scale: float
    steps: int
    strength: float
    jitter: int
    tile: int
    detail: float
    zoom: int
    zoom_factor: float

    def __post_init__(self) -> None:
        checks.whole("octaves", self.octaves, low=1, high=100)
        checks.real("octave_scale", self.octave_scale, low=1.01, high=100)
        checks.whole("steps", self.steps, low=0, high=checks.LARGEST_STEPS)
        checks.real("strength", self.strength, low=0, high=1)
        checks.whole("jitter", self.jitter, low=0, high=checks.LARGEST_SIDE)
        checks.whole("tile", self.tile, low=8, high=checks.LARGEST_SIDE)
        checks.real("detail", self.detail, low=0, high=1)
        checks.whole("zoom", self.zoom, low=1, high=100_000)
        checks.real("zoom_factor", self.zoom_factor, low=1, high=100)


@dataclass
class Dreamer:
    """One dream on its way. photo (1, c, h, w) and guide on the network's device; objective with indices for names."""

    net: Network
    objective: Objective
    photo: Tensor
    guide: Tensor | None
    settings: Settings
    seed: int
    half: bool
    observers: Sequence[Observer]
    record: Record
    notes: tuple[str, ...] = ()
    _picture: Tensor = field(init=False)  # at the size of the octave
    _before: Tensor = field(init=False)  # what the octave began with, before anything was dreamt into it
    _base: Tensor = field(init=False)  # what the frame began with, at full size
    _history: list[Tensor] = field(init=False, default_factory=list)
    _frames: list[Tensor] = field(init=False, default_factory=list)
    _still: int = field(init=False, default=0)  # steps without a gradient

    def __post_init__(self) -> None:
        self._check_frames()
        sizes = octave_sizes(self._size, self.settings.octaves, self.settings.octave_scale)
        self._tilings = _tilings(self.net, self.objective, sizes, self.settings.tile)
        name = str(self.objective.inlined())
        self._rolls = stream(self.seed, "dream", "jitter", name)
        self._cuts = stream(self.seed, "dream", "tiles", name)
        self._picture = self._before = self._base = self.photo

    @property
    def _size(self) -> Sides:
        return self.photo.shape[2], self.photo.shape[3]

    def run(self) -> Dream:
        noise = stream_seed(self.seed, "network")
        with torch.inference_mode(False), torch.no_grad(), self.net.reading(noise, half=self.half) as read:
            self._check(read)
            wanted = (
                guided(self.objective, read(self.guide, self.objective.reads)) if self.guide is not None else self.objective
            )
            try:
                for frame in range(self.settings.zoom):
                    self._dream(frame, partial(_climb, read, wanted))
            except KeyboardInterrupt as stop:
                raise Interrupted(self._dreamt(finished=False)) from stop
        return self._dreamt(finished=True)

    def _check(self, read: Read) -> None:
        """That the network runs on the tiles of every octave, and the objective is inside what it gives: before hours pass."""
        for window in dict.fromkeys(tiling.window for tiling in self._tilings.values()):
            try:
                layouts = self.net.layouts(self.objective.reads, window)
            except ModelError as error:
                raise ModelError(
                    f"{error}. A dream reads tiles of every size up to {self.settings.tile} px; fewer octaves, "
                    "another tile or a layer before the one that wants a fixed size is needed"
                ) from error
            self.objective.laid_out(layouts)

    def _check_frames(self) -> None:
        size = self.settings.zoom * self.photo.numel()
        if self.settings.zoom > 1 and size > LARGEST_FRAMES:
            h, w = self._size
            raise RequestError(
                f"zoom is {self.settings.zoom}: so many frames of {w}×{h} are over {LARGEST_FRAMES >> 30} GiB; "
                "fewer, or a smaller photograph, are needed"
            )

    def _dream(self, frame: int, climb: Climb) -> None:
        """One frame: all octaves of the photograph, or of the middle of the last frame."""
        base = zoomed(self._picture, self.settings.zoom_factor) if frame else self.photo
        self._picture = self._before = self._base = base  # so that an interruption finds one frame, not parts of two
        for octave, (size, tiling) in enumerate(self._tilings.items()):
            small = resized(base, size)
            first = small if octave == 0 else regrown(self._picture, self._before, small, self.settings.detail)
            self._picture, self._before = first, small
            for step in range(self.settings.steps):
                reached = self._step(tiling, climb)
                self._tell(frame, octave * self.settings.steps + step + 1, reached)
        if self.settings.zoom > 1:
            self._frames.append((self._picture[0] * 255).round().to(torch.uint8).cpu())

    def _step(self, tiling: Tiling, climb: Climb) -> Tensor:
        """picture + strength · g / mean |g|, kept in [0, 1]."""
        dy, dx = torch.randint(-self.settings.jitter, self.settings.jitter + 1, (2,), generator=self._rolls).tolist()
        picture = self._picture.roll((dy, dx), (2, 3))
        reached, gradient = tiling.gradient(picture, climb, self._cuts)
        size = float(gradient.abs().mean())
        if not (math.isfinite(size) and bool(torch.isfinite(reached).all())):
            raise RenderError(f"the dream of {self.objective} left the finite numbers; a smaller coefficient is needed")
        self._still += size == 0
        picture.add_(gradient, alpha=self.settings.strength / max(size, torch.finfo(gradient.dtype).tiny)).clamp_(0, 1)
        del gradient  # before the picture is rolled back: of a large photograph every copy counts
        self._picture = picture.roll((-dy, -dx), (2, 3))
        self._history.append(reached)
        return reached

    def _tell(self, frame: int, step: int, reached: Tensor) -> None:
        for observer in self.observers:
            steps = self.settings.octaves * self.settings.steps
            observer.on_step(frame, self.settings.zoom, step, steps, self._picture, reached)

    def _dreamt(self, finished: bool) -> Dream:
        picture = self._picture
        if picture.shape != self._base.shape:
            picture = regrown(picture, self._before, self._base, self.settings.detail)
        history = torch.cat(self._history).cpu() if self._history else torch.empty(0)
        frames = torch.stack(self._frames) if self._frames else torch.empty((0, *picture.shape[1:]), dtype=torch.uint8)
        # The photograph itself, where nothing was dreamt, stays the caller's.
        own = picture.clone() if picture is self.photo else picture
        notes, photo = self._notes(finished), self.photo.detach().cpu()
        return Dream(own.cpu(), history, frames, str(self.objective), finished, notes, self.record, photo)

    def _notes(self, finished: bool) -> tuple[str, ...]:
        made, wanted = len(self._history), self.settings.zoom * self.settings.octaves * self.settings.steps
        notes = [] if finished else [f"interrupted after {made} of {wanted} steps"]
        notes += self.notes
        if made and 2 * self._still > made:
            notes.append(f"the gradient was zero in {self._still} of {made} steps")
        return tuple(notes)


def _tilings(net: Network, objective: Objective, sizes: Sequence[Sides], tile: int) -> dict[Sides, Tiling]:
    """By size: how each octave is cut, given what a unit of the objective's layers sees."""
    wanted = {addresses.split(address, net.calls)[0] for address in objective.reads}
    fields = {layer.address: layer.receptive_field for layer in net.layers() if layer.address in wanted}
    known = [seen for address in wanted if (seen := fields.get(address)) is not None and not isinstance(seen, Windows)]
    if len(known) < len(wanted):  # the raw scores, no line of windows, or a layer of features: such a unit sees all there is
        return {size: Tiling.of(size, tile, (tile, tile), (1, 1)) for size in sizes}
    (y, x) = (max(seen.size[axis] for seen in known) for axis in (0, 1))
    strides = tuple(math.lcm(*(seen.stride[axis] for seen in known)) for axis in (0, 1))
    return {size: Tiling.of(size, tile, (y, x), (strides[0], strides[1])) for size in sizes}


def _climb(read: Read, objective: Objective, window: Tensor) -> tuple[Tensor, Tensor]:
    """The objective at a window, (1,), and its gradient there."""
    window = window.clone().requires_grad_(True)
    with torch.enable_grad():
        reached = values([objective], read(window, objective.reads))
        if not reached.requires_grad:
            raise RenderError(f"{objective} cannot be dreamt: {NO_GRADIENT}")
        (gradient,) = torch.autograd.grad(reached.sum(), window, allow_unused=True)
    if gradient is None:
        raise RenderError(f"{objective} cannot be dreamt: {NO_GRADIENT}")
    return reached.detach(), gradient
