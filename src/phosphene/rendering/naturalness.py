"""How far what layers give for pictures lies from what they give for photographs, and the gradient of that distance."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ..network.addresses import OUTPUT
from ..network.grid import Grid
from ..network.layout import Layout
from ..network.network import Network, Read
from ..network.probe import Change
from ..network.statistics import Channels, Statistics
from ..objectives.expression import Objective
from .spectral import phase

POSITIONS = 196  # of a layer, at most, whose values are looked at in a step of an ascent
TURNS = 3  # steps in which each layer is looked at once
NOISES = 4  # pictures
KNOWN = 1.0  # mean distance of noise: 0.57 of two networks that learned from photographs, 1.6 of one that learned discs


class Naturalness:
    """The distance of each picture's channel statistics from the network's, averaged over layers; of photographs about 1.

    Per layer √ mean over channels of (z_m² + z_s²) / 2, with z_m = (m − μ) / τ of the mean m over positions, and
    z_s = (log s − log σ) / ω of the standard deviation s over positions.

    weight     of the distance, in units of the objective
    positions  looked at in each layer, at most: every so many rows and columns of large maps, others in the next step
    turns      each step looks at one in so many layers, and counts them so many times

    Source: Yin et al. 2020, "Dreaming to Distill" (DeepInversion), eq. 4, there of a batch's means and variances, as norms of
    differences; here of each picture alone, in standard deviations of photographs, so that no layer outweighs the others.
    """

    def __init__(
        self,
        statistics: Statistics,
        layouts: Mapping[str, Layout],
        device: torch.device,
        weight: float = 1.0,
        positions: int | None = POSITIONS,
        turns: int = TURNS,
    ) -> None:
        self.statistics, self.weight, self.turns = statistics, weight, turns
        known = [(a, layouts[a].grid) for a in statistics.layers if a in layouts]
        self.layers = tuple(_Layer(i, a, grid, _stride(grid, positions)) for i, (a, grid) in enumerate(known) if grid)
        self._expected = [_Expected.of(statistics.layers[layer.address]) for layer in self.layers]
        self._device = device
        self._joined: dict[tuple[torch.dtype, tuple[int, ...]], _Expected] = {}

    @classmethod
    def of(cls, net: Network, statistics: Statistics, size: tuple[int, int], weight: float = 1.0) -> Naturalness:
        return cls(statistics, net.layouts(statistics.layers, size, every=False), net.device, weight)

    @property
    def told(self) -> str:
        """For a Record."""
        return f"{self.statistics.source}, sha256 {self.statistics.sha256[:16]}"

    def shares_of(self, read: Read, picture: Tensor, objectives: Sequence[Objective]) -> Tensor:
        """(b, layers): `shares` of what each objective reads; also where gradients are switched off."""
        with torch.enable_grad():
            kinds = {wanted: self.shares(read, picture, wanted) for wanted in dict.fromkeys(one.reads for one in objectives)}
        return torch.stack([kinds[one.reads] for one in objectives]).to(self._device)

    def shares(self, read: Read, picture: Tensor, wanted: Collection[str]) -> Tensor:
        """(layers,) that add up to 1: those that what the addresses give depends on, alike; zeros if there are none.

        Found by a forward and a backward pass of one picture, so that it does not matter what else is in a batch.
        """
        look = Look(self, self.layers, torch.zeros(1, len(self.layers)))
        leaf = picture[:1].detach().clone().requires_grad_(True)
        given = read(leaf, wanted, look.changes)
        total = torch.stack([tensor.sum() for tensor in given.values()]).sum()
        if total.requires_grad:
            torch.autograd.grad(total, leaf, allow_unused=True)
        found = torch.tensor([float(layer.address in look.reached) for layer in self.layers])
        return found / found.sum().clamp(min=1)

    def look(self, shares: Tensor, step: int | None = None) -> Look:
        """At one forward pass of pictures with these shares (b, layers) each. step: of an ascent; None: all of all layers."""
        if step is None:
            return Look(self, self.layers, shares)
        return Look(self, self.layers[step % self.turns :: self.turns], shares * self.turns, step // self.turns)

    def expected(self, numbers: Sequence[int], dtype: torch.dtype) -> _Expected:
        """Of some layers, side by side."""
        key = dtype, tuple(numbers)
        if key not in self._joined:
            self._joined[key] = _Expected.joined([self._expected[number] for number in numbers], dtype, self._device)
        return self._joined[key]


class Look:
    """The statistics of one forward pass: give `changes` to the pass, then `close` computes the distances.

    A backward pass inside `pulling` adds the gradient of −weight · Σ over layers of share · distance to each layer's gradient.
    """

    def __init__(self, owner: Naturalness, layers: Sequence[_Layer], shares: Tensor, place: int | None = None) -> None:
        self.reached: set[str] = set()  # by a gradient
        self.changes: dict[str, Change] = {layer.address: partial(self._see, layer) for layer in layers}
        self._owner, self._shares, self._place = owner, shares, place
        self._seen: dict[_Layer, Tensor] = {}  # (b, n, k)
        self._pull: dict[_Layer, tuple[Tensor, Tensor]] = {}
        self._pulls = False

    def _see(self, layer: _Layer, given: Tensor) -> Tensor:
        window = layer.window(given.detach(), self._place).movedim(1, -1)
        self._seen[layer] = window.clone(memory_format=torch.contiguous_format).flatten(1, 2)
        if given.requires_grad:
            given.register_hook(partial(self._back, layer))
        return given

    def close(self) -> Tensor:
        """Σ over layers of share · distance (b,); `distances` are those of the layers that ran, `numbers` of which."""
        if not self._seen:
            return self._shares.new_zeros(len(self._shares))
        self.numbers = numbers = [layer.number for layer in self._seen]
        wide = torch.float64 if next(iter(self._seen.values())).dtype == torch.float64 else torch.float32
        variances, means = zip(*(_moments(values, wide) for values in self._seen.values()), strict=True)
        mean, variance = torch.cat(means, 1), torch.cat(variances, 1)
        distances, by_mean, by_variance = self._owner.expected(numbers, wide).distances(mean, variance)
        self.distances = distances
        shares = self._shares[:, numbers].to(distances)
        counts = [values.shape[2] for values in self._seen.values()]
        at, per = (by_mean - 2 * mean * by_variance).split(counts, 1), (2 * by_variance).split(counts, 1)
        for i, (layer, values) in enumerate(self._seen.items()):
            size = shares[:, i, None, None] * (-self._owner.weight / values.shape[1])
            self._pull[layer] = (at[i][:, None] * size).to(values.dtype), (per[i][:, None] * size).to(values.dtype)
        return (shares * distances).sum(1)

    def depths(self) -> list[str]:
        """After `close`, in words: of the layers that count, the one whose distance is largest for each picture."""
        if not self._seen:
            return [""] * len(self._shares)
        counted = self._shares[:, self.numbers].to(self.distances) > 0
        return [self._depth(counted[i], far) for i, far in enumerate(self.distances)]

    def _depth(self, counted: Tensor, distances: Tensor) -> str:
        which = counted.nonzero()[:, 0].tolist()
        if not which:
            return ""
        found = max(range(len(which)), key=lambda k: float(distances[which[k]]))
        layer = self._owner.layers[self.numbers[which[found]]]
        return f"at depth {found + 1} of {len(which)}, {layer.address}: {float(distances[which[found]]):.1f}"

    @contextmanager
    def pulling(self) -> Iterator[None]:
        self._pulls = True
        try:
            yield
        finally:
            self._pulls = False

    def _back(self, layer: _Layer, above: Tensor) -> Tensor | None:
        self.reached.add(layer.address)
        if not self._pulls:
            return None
        at, per = self._pull[layer]
        more = torch.addcmul(at, per, self._seen[layer])
        below = above.clone()  # another path may hold the same gradient
        window = layer.window(below, self._place)
        window += more.unflatten(1, window.shape[2:]).movedim(-1, 1)
        return below


def knows_photographs(net: Network, size: tuple[int, int]) -> bool:
    """Whether noise with the spectrum and colours of photographs gives the layers of this network what its training data gave.

    Networks that learned digits or drawings tell such noise from their own data, and what they learned of these is not to be
    drawn with the spectrum of photographs. False also where the network has no statistics of its layers.
    """
    statistics = net.statistics
    if statistics is None:
        return False
    natural = Naturalness.of(net, statistics, size)
    if not natural.layers:
        return False
    surface = phase().surface(net.preprocess.mean_picture(size))
    look = natural.look(torch.full((NOISES, len(natural.layers)), 1 / len(natural.layers)))
    with torch.inference_mode(False), torch.no_grad(), net.reading() as read:
        pictures = surface.picture(surface.start([str(i) for i in range(NOISES)], seed=0, attempt=0))
        read(pictures, {OUTPUT}, look.changes)
        return float(look.close().mean()) <= KNOWN


def _moments(values: Tensor, wide: torch.dtype) -> tuple[Tensor, Tensor]:
    """Variances and means over the middle axis. `torch.var_mean` takes twenty times as long over such an axis."""
    values = values.to(wide)
    mean = values.mean(1)
    return (values.square().mean(1) - mean.square()).clamp(min=0), mean


@dataclass(frozen=True, eq=False)
class _Layer:
    number: int
    address: str
    grid: Grid
    stride: int

    def window(self, given: Tensor, place: int | None) -> Tensor:
        """(b, k, h, w): a view of every so many rows and columns, that begins elsewhere at each place; None: of all."""
        maps = self.grid.maps(given)
        if place is None:
            return maps
        rows, columns = (min(self.stride, side) for side in maps.shape[2:])
        return maps[:, :, place % rows :: rows, place // rows % columns :: columns]


def _stride(grid: Grid, positions: int | None) -> int:
    return 1 if positions is None else max(1, math.ceil(math.sqrt(grid.size[0] * grid.size[1] / positions)))


@dataclass(frozen=True, eq=False)
class _Expected:
    """The expected statistics of the channels of several layers, side by side, (k,) each: means and logarithms with 1 / spread.

    rows  the number of each channel's layer, from 0
    each  1 / (2 × the number of channels of its layer)
    """

    mean: Tensor
    by_spread: Tensor
    log: Tensor
    by_log_spread: Tensor
    floor: Tensor
    each: Tensor
    rows: Tensor

    @classmethod
    def of(cls, channels: Channels) -> _Expected:
        count = len(channels.mean)
        parts = {
            "mean": channels.mean,
            "by_spread": 1 / channels.mean_spread,
            "log": channels.log,
            "by_log_spread": 1 / channels.log_spread,
            "floor": channels.floor,
            "each": torch.full((count,), 0.5 / count),
        }
        rows = torch.zeros(count, dtype=torch.long)
        return cls(**{name: part.cpu().double() for name, part in parts.items()}, rows=rows)

    @classmethod
    def joined(cls, parts: list[_Expected], dtype: torch.dtype, device: torch.device) -> _Expected:
        rows = torch.cat([torch.full_like(part.rows, row) for row, part in enumerate(parts)]).to(device)
        names = [name for name in vars(parts[0]) if name != "rows"]
        each = {name: torch.cat([getattr(part, name) for part in parts]).to(device, dtype) for name in names}
        return cls(**each, rows=rows)

    def distances(self, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(b, layers), and the gradient of their sum towards the means and the variances (b, k)."""
        off = (mean - self.mean) * self.by_spread
        room = variance + self.floor
        log_off = (room.log() / 2 - self.log) * self.by_log_spread
        squares = (off.square() + log_off.square()) * self.each
        layers = int(self.rows[-1]) + 1
        found = mean.new_zeros((len(mean), layers)).index_add_(1, self.rows, squares).sqrt()
        slope = self.each / found.clamp(min=1e-6)[:, self.rows]
        return found, slope * off * self.by_spread, slope * log_off * self.by_log_spread / (2 * room)
