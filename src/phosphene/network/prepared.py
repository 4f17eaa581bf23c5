"""The network as the hardware likes it: batch norms folded, channels-last, bfloat16 where it computes that natively."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Literal

import torch
from torch import Tensor, nn

from ..errors import RequestError, first_line, shown
from . import probe
from .addresses import OUTPUT
from .compiling import compiled
from .folding import Folds, fold
from .packing import pack, packable
from .program import program

Precision = Literal["auto", "full", "half"]
HALF_FROM = 96  # pixels of the shorter side
AGREE = 1e-4  # of the largest score: by how much a prepared network's may differ from the plain one's
ALIKE = 0.02  # of the gradient's norm: more, since a rectifier near zero may turn on the last digit


def check(precision: str) -> None:
    if precision not in ("auto", "full", "half"):
        raise RequestError(f"precision {shown(precision)}; auto, full or half is needed")


def wants_half(precision: Precision, dtype: torch.dtype, device: torch.device, sides: tuple[int, int]) -> bool:
    """auto: in bfloat16 where the hardware is made for it, for pictures large enough that time matters."""
    check(precision)
    if precision == "auto":
        return dtype == torch.float32 and min(sides) >= HALF_FROM and native_half(device)
    return precision == "half"


def native_half(device: torch.device) -> bool:
    """Whether bfloat16 is computed as such: where it is only emulated, it is slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    able = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


Tried = tuple[Tensor, Tensor]  # scores, gradient


@dataclass(frozen=True, eq=False)
class Way:
    """A module to run, and whether its pictures should come channels-last."""

    module: nn.Module
    channels_last: bool = False

    @cached_property
    def dtype(self) -> torch.dtype:
        """Of what goes in."""
        return probe.dtype(self.module)


@dataclass(eq=False)
class Ways:
    """Copies of one network: one as the hardware likes it, and one all of whose addresses give what they should.

    told    what was done to the quick one, and what was not and why
    scores  one that gives scores alone, without an autograd graph to look into
    more    what is to be told beside, where scores alone are read
    """

    plain: Way
    fast: Way | None = None
    changed: frozenset[str] = frozenset()
    half: bool = False
    told: str = "as it is"
    scores: Way | None = None
    more: str = ""
    _program: Callable[[], Way] | None = field(default=None, repr=False)
    _programmed: Ways | None = field(default=None, repr=False)
    _halved: Way | None = field(default=None, repr=False)
    _compiled: Way | None = field(default=None, repr=False)

    def of(self, paths: Collection[str]) -> Way:
        """The quickest in which all of these modules give what they do in the user's network."""
        if self.scores is not None and not any(paths):
            return self.scores
        return self._with_graph(paths)

    def _with_graph(self, paths: Collection[str]) -> Way:
        if self.fast is not None and self.changed.isdisjoint(paths):
            return self.fast
        if not self.half:
            return self.plain
        if self._halved is None:
            self._halved = Way(_laid_out(copy.deepcopy(self.plain.module).to(torch.bfloat16)), True)
        return self._halved

    def told_of(self, paths: Collection[str]) -> str:
        """How the network is run in which these modules are read."""
        if not any(paths):
            return self.told + self.more
        if self.fast is None or self.of(paths) is self.fast:
            return self.told
        return f"as it is: {min(self.changed.intersection(paths))} gives something else once its batch norm is folded into it"

    def programmed(self) -> Ways:
        """The same, with scores from a program where one can be made."""
        if self._programmed is None:
            self._programmed = self._with_program()
        return self._programmed

    def _with_program(self) -> Ways:
        if self._program is None:
            return self
        try:
            return replace(self, scores=self._program(), more=", run as a program")
        except Exception as error:  # whatever code that is run on stand-ins raises
            return replace(self, more=f"; no program: {first_line(error)}")

    def compiled(self, device: torch.device) -> Way:
        """The quickest for scores, compiled."""
        if self._compiled is None:
            way = self._with_graph({OUTPUT})
            self._compiled = Way(compiled(way.module, device), way.channels_last)
        return self._compiled


class Preparation:
    """Prepares a private copy of a network once, and again when its values have changed.

    look   finds what can be folded
    run    the raw scores of a way and the gradient of their squares, for the same few pictures every time
    What does not run, or gives other scores or gradients, is left out; the network then runs as it is, and the Ways tell why.
    """

    def __init__(self, look: Callable[[nn.Module], Folds], run: Callable[[Way], Tried]) -> None:
        self._look = look
        self._run = run
        self._kept: dict[bool, tuple[object, Ways]] = {}

    def last(self, half: bool, programmed: bool) -> Ways | None:
        """As it was last prepared, whatever has become of the values since."""
        ways = self._kept[half][1] if half in self._kept else None
        return ways._programmed if ways and programmed else ways

    def ways(self, twin: nn.Module, half: bool) -> Ways:
        state = probe.state(twin)
        if half not in self._kept or self._kept[half][0] != state:
            self._kept[half] = (state, self._prepared(twin, half))
        return self._kept[half][1]

    def _prepared(self, twin: nn.Module, half: bool) -> Ways:
        plain = Way(twin)
        convolutions = sum(isinstance(part, nn.Conv2d) for part in twin.modules())
        if convolutions < 2:  # as of a vision transformer: nothing to fold, and nothing that likes another layout
            return Ways(plain, half=half, told="as it is: it has fewer than two convolutions")
        try:
            expected, folds = self._run(plain), self._look(twin)
        except Exception as error:  # it does not run without a gradient, or with one: it is run as it is, and says so itself
            return Ways(plain, half=half, told=f"as it is: {first_line(error)}")
        packed = packable(next(twin.parameters()).device)
        refusals: list[str] = []
        for kept, channels_last, packs in (
            (folds, True, packed),
            (folds, True, False),
            (folds, False, False),
            (Folds(), True, False),
        ):
            try:
                way = self._tried(twin, kept, channels_last, packs, half, expected)
            except Exception as error:  # as .view() raises of a tensor that lies channels-last
                refusals.append(first_line(error))
            else:
                done = [f"{len(kept.pairs)} batch norms folded", *["channels-last"] * channels_last, *["packed"] * packs]
                told = "; not more: ".join([", ".join(done), *refusals[:1]])
                again = partial(self._tried, twin, kept, True, True, half, expected, programmed=True) if packs else None
                return Ways(plain, way, kept.changed, half, told, _program=again)
        return Ways(plain, half=half, told=f"as it is: {refusals[0]}")

    def _tried(
        self,
        twin: nn.Module,
        folds: Folds,
        channels_last: bool,
        packed: bool,
        half: bool,
        expected: Tried,
        programmed: bool = False,
    ) -> Way:
        module = copy.deepcopy(twin)
        fold(module, folds.pairs)
        if packed:
            pack(module)
        if programmed:
            module = program(module)
        way = Way(_laid_out(module) if channels_last else module, channels_last)
        if not _agree(self._run(way), expected):
            raise RequestError("its scores or their gradient would differ")
        if half:
            way = Way(module.to(torch.bfloat16), channels_last)
            self._run(way)
        return way


def _agree(given: Tried, expected: Tried) -> bool:
    tiny = torch.finfo(torch.float32).tiny
    (scores, gradient), (right, uphill) = given, expected
    same = (scores - right).abs().max() <= AGREE * right.abs().max().clamp(min=tiny)
    return bool(same and (gradient - uphill).norm() <= ALIKE * uphill.norm().clamp(min=tiny))


def _laid_out(module: nn.Module) -> nn.Module:
    with torch.no_grad():
        for tensor in module.parameters():
            if tensor.ndim == 4:
                tensor.data = tensor.data.contiguous(memory_format=torch.channels_last)
    return module
