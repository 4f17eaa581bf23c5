"""Finer class activation maps: those of the picture at several sizes and mirrored, laid over one another.

The last maps of most networks have a place every 32 pixels, so that a box about a few of them is half a guess. Of a picture
enlarged, or mirrored, the places lie elsewhere, and the mean of what is seen there is finer than each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from ..cams.layer import Target
from ..cams.methods import GradCam, weighed
from ..errors import ModelError, RequestError, shown
from ..network.probe import Change
from ..objectives.expression import values
from ..objectives.likeness import Likeness
from ..objectives.units import OUTPUT, Neuron
from ..pictures import overlay
from ..results.method import Maps, Method
from ..results.question import Question

SCALES = (1.0, 2**0.5, 2.0)  # half octaves up to twice the size: beyond it networks see parts, and no longer things
_STEP = 8  # pixels: sides of an enlarged picture are whole multiples, so that strided layers cut little off


@dataclass(frozen=True)
class FineCam(Method):
    """The mean over views of max(M, 0) / max M, M enlarged to the picture; M is Zhou's map, or Grad-CAM where there is none.

    scales  sizes of the picture, in the network's own; mirrored  whether also left for right. Each view counts the same
    On a network with a GAP head M is Σ_k w_ck f_k to a factor, else Grad-CAM at the last layer with places. A network that runs
    at its own size alone is shown that alone, and a note says so. Values are in [0, 1], and in no unit of the objective.
    Classes of one picture share the forward passes.
    """

    scales: tuple[float, ...] = SCALES
    mirrored: bool = True

    def __post_init__(self) -> None:
        scales = tuple(self.scales) if isinstance(self.scales, tuple | list) else ()
        if not scales or 1.0 not in scales or not all(0.25 <= scale <= 8 for scale in scales):
            raise RequestError(f"scales are {shown(self.scales)}; numbers from 0.25 to 8, 1 among them, are needed")
        object.__setattr__(self, "scales", (1.0, *(scale for scale in dict.fromkeys(scales) if scale != 1)))

    @property
    def name(self) -> str:
        return "fine_cam"

    def __call__(self, question: Question) -> Maps:
        _check(question)
        shown_once, rows = distinct(question)
        size = (int(question.pictures.shape[-2]), int(question.pictures.shape[-1]))
        total, said, seen, refused = torch.zeros(len(question), *size), _Said.of(question), 0, ""
        layers: tuple[Target, ...] = ()
        for scale, mirror in self._views():
            pictures = enlarged(question.pictures[shown_once], scale)
            view = replace(question, pictures=pictures.flip(3) if mirror else pictures, chunk=_chunk(question, scale))
            try:
                found = GradCam().targets(view)
                maps = _maps(view, found, rows, said)
            except (ModelError, RequestError) as error:
                if scale == 1:
                    raise
                refused = refused or str(error)
                continue
            layers = layers or found
            total += _positive(overlay.resized(maps.flip(2) if mirror else maps, size))
            seen += 1
        note = (f"coarse: the network runs at its own size alone ({refused})",) if refused else ()
        return Maps(
            total / seen,
            notes=(note,) * len(question),
            layer=", ".join(target.address for target in layers),
            reached=said.reached,
            scores=said.scores,
        )

    def _views(self) -> Iterator[tuple[float, bool]]:
        """Scale, and whether mirrored; the picture itself first."""
        for scale in self.scales:
            yield scale, False
            if self.mirrored:
                yield scale, True


@dataclass(eq=False)
class _Said:
    """The objectives' values (b,) and scores (b, classes) at the pictures themselves; `given` once they are known."""

    reached: Tensor
    scores: Tensor | None = None
    given: bool = False

    @classmethod
    def of(cls, question: Question) -> _Said:
        return cls(torch.zeros(len(question)))


def _check(question: Question) -> None:
    for objective in question.resolved:
        for _, unit in objective.terms:
            if isinstance(unit, Neuron | Likeness):
                raise RequestError(f"{unit} is of one place or one size; fine_cam needs what is the same at every size")


def distinct(question: Question) -> tuple[list[int], list[list[int]]]:
    """Of pictures that stand several times in a row, the first; and for each the rows of the question that have it."""
    first: list[int] = []
    rows: list[list[int]] = []
    for i, picture in enumerate(question.pictures):
        if first and torch.equal(picture, question.pictures[first[-1]]):
            rows[-1].append(i)
        else:
            first.append(i)
            rows.append([i])
    return first, rows


def enlarged(pictures: Tensor, scale: float) -> Tensor:
    """Pictures (b, c, h, w) at another size, sides multiples of 8 pixels; at 1 as they are."""
    if scale == 1:
        return pictures
    h, w = (max(_STEP, round(side * scale / _STEP) * _STEP) for side in pictures.shape[-2:])
    return F.interpolate(pictures, size=(h, w), mode="bilinear", align_corners=False, antialias=scale < 1).clamp(0, 1)


def _chunk(question: Question, scale: float) -> int:
    return max(1, int(question.chunk / max(scale, 1) ** 2))


def _positive(maps: Tensor) -> Tensor:
    """max(M, 0) / max M of each (b, h, w); zero where nothing is positive."""
    up = maps.clamp(min=0)
    return up / up.amax((1, 2), keepdim=True).clamp(min=torch.finfo(up.dtype).tiny)


def _maps(view: Question, layers: Sequence[Target], rows: list[list[int]], said: _Said) -> Tensor:
    """Grad-CAM (b, h, w) of each row of the question; one forward pass a picture, whatever is asked of it."""
    (layer,) = layers
    found: dict[int, Tensor] = {}
    with view.net.reading(view.network_seed) as read:

        def run(some: Sequence[int]) -> None:
            held: dict[str, Tensor] = {}
            given = read(view.pictures[list(some)], view.reads, {layer.address: _holding(held)})
            for turn in range(max(len(rows[k]) for k in some)):
                asked = [(place, rows[k][turn]) for place, k in enumerate(some) if turn < len(rows[k])]
                places = [place for place, _ in asked]
                reached = values([view.resolved[i] for _, i in asked], {a: t[places] for a, t in given.items()})
                (gradient,) = torch.autograd.grad(reached.sum(), held["maps"], retain_graph=True)
                a, g = (layer.grid.maps(t.detach())[places].float() for t in (held["maps"], gradient))
                made = weighed(g.mean((2, 3)), a).cpu()
                for n, (place, i) in enumerate(asked):
                    found[i] = made[n]
                    _note(said, view, i, reached[n], given, place)

        for _ in view.parts(range(len(rows)), run):
            pass
    said.given = True
    return torch.stack([found[i] for i in range(len(view.resolved))])


def _note(said: _Said, view: Question, i: int, reached: Tensor, given: dict[str, Tensor], place: int) -> None:
    """Keep what the network says of the picture itself: of the first view alone."""
    if said.given:
        return
    said.reached[i] = reached.detach().cpu()
    if OUTPUT in given:
        scores = given[OUTPUT][place].detach().cpu()
        said.scores = torch.zeros(len(view.resolved), len(scores)) if said.scores is None else said.scores
        said.scores[i] = scores


def _holding(held: dict[str, Tensor]) -> Change:
    """Keeps what the layer gave as a place to take the gradient at; what the network goes on with is a copy."""

    def hold(given: Tensor) -> Tensor:
        held["maps"] = given if given.requires_grad else given.detach().requires_grad_(True)
        return held["maps"].clone()

    return hold
