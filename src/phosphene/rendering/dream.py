"""`dream`: the verb. A photograph climbs an objective, octave by octave, tile by tile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from torch import Tensor

from .. import checks
from ..ambient import shielded
from ..errors import RequestError, shown
from ..network import prepared
from ..network.network import Network
from ..network.prepared import Precision
from ..objectives.expression import Objective
from ..objectives.likeness import Likeness
from ..objectives.spec import Meant, coerce
from ..pictures.colour import picture_sha256
from ..pictures.converting import Picture
from ..results import door
from ..results.dreamt import Dream
from ..results.record import Record, environment
from .dreamer import Dreamer, Settings
from .observers import Observer
from .octaves import within

OCTAVES, SCALE, STEPS, JITTER = 4, 1.4, 10, 32  # Mordvintsev, Olah & Tyka 2015, the notebook
STRENGTH = 1.5 / 255  # ditto
TILE = 512  # pixels; the TensorFlow notebook of the same
ZOOM = 1.04  # a frame; ditto 1.05


@shielded
@door.takes(net=door.network, photo=door.photo, objective=door.objectives, observers=door.observers)
def dream(
    net: Network,
    photo: Picture,
    objective: Meant,
    *,
    octaves: int = OCTAVES,
    octave_scale: float = SCALE,
    steps: int = STEPS,
    strength: float = STRENGTH,
    jitter: int = JITTER,
    tile: int | None = None,
    detail: float = 1.0,
    guide: Picture | None = None,
    zoom: int = 1,
    zoom_factor: float = ZOOM,
    seed: int = 0,
    normalised: bool = False,
    precision: Precision = "auto",
    observers: Sequence[Observer] = (),
) -> Dream:
    """DeepDream: a photograph, changed so that an objective grows: what the network sees in it becomes what is there.

    photo        (1, c, h, w) in [0, 1] as `read` gives it, of any size, which it keeps
    objective    any, or its text: ph.layer("stage3.0", "squares") is DeepDream's own. It is read in every tile
    octaves      sizes at which is dreamt, from small to the photograph's own, each `octave_scale` times the last
    steps        at each octave; 0 changes nothing
    strength     how far a step moves a pixel in the mean, in [0, 1]: picture + strength · g / mean |g|
    jitter       pixels by which the picture is at most rolled before a step, each way
    tile         pixels of a side of what the network is given at once; None: 512, or the network's own size if larger.
                 It bounds the memory: beside it there are a few copies of the picture
    detail       share of the photograph's detail, lost when it was shrunk, that each octave gets back; 0 to 1
    guide        a picture (1, c, h, w): the objective names layers, and each place is drawn to the guide's features there
    zoom         dreams one after another, each of the middle of the last, enlarged by `zoom_factor`; they are `frames`
    precision, observers  as in `render`; an observer is told of one item a frame, whose pictures it must not keep

    A few pictures of the photograph's size are held in memory. The same seed gives the same picture. The module is left as
    it was. Ctrl-C raises Interrupted, which carries the Dream so far, at the photograph's size.

    Source: Mordvintsev, Olah & Tyka 2015, "Inceptionism", and its notebooks. Differs: tiles overlap (see `tiling`).

    >>> import phosphene as ph
    >>> import torch
    >>> net = ph.load("demo:robust")
    >>> ph.dream(net, torch.rand(1, 3, 48, 40), "layer:stage3.0:squares", octaves=2, steps=1).picture.shape
    torch.Size([1, 3, 48, 40])
    """
    prepared.check(precision)
    settings = Settings(octaves, octave_scale, steps, strength, jitter, _tile(net, tile), detail, zoom, zoom_factor)
    wanted = _resolved(net, objective)
    picture = _fitted(net, photo, "photo")
    shown_to = None if guide is None else within(_fitted(net, guide, "guide"), settings.tile)
    half, notes = net.computes_half(precision, (int(picture.shape[2]), int(picture.shape[3])))
    dreamer = Dreamer(
        net,
        wanted,
        picture.to(net.device),
        None if shown_to is None else shown_to.to(net.device),
        settings,
        checks.seed(seed),
        half,
        tuple(observers),
        _record(net, wanted, picture, shown_to, settings, seed, half),
        notes,
    )
    return dreamer.run()


def _tile(net: Network, tile: int | None) -> int:
    return max(TILE, *net.preprocess.sides) if tile is None else tile


def _resolved(net: Network, objective: Meant) -> Objective:
    wanted = coerce(objective, net.index).resolved(net.index, net.link)
    for _, unit in wanted.terms:
        if isinstance(unit, Likeness):
            raise RequestError(f"objective {shown(str(unit))} compares whole pictures, a dream reads tiles; guide= is for that")
    return wanted.laid_out(net.layouts(wanted.reads))


def _fitted(net: Network, picture: Picture, name: str) -> Tensor:
    """(1, channels of the network, h, w) float32, of its own size."""
    given = door.photo(name, picture, {"net": net})
    if len(given) != 1:
        raise RequestError(f"{name} must be one picture (1, c, h, w), got {tuple(given.shape)}")
    sides = tuple(
        checks.whole(f"{name}'s {side}", given.shape[axis], low=1, high=checks.LARGEST_SIDE)
        for side, axis in (("height", 2), ("width", 3))
    )
    # Weighted sums of colours may pass 1 by a rounding.
    return net.preprocess.replace(size=sides, resize=None).fit(given).clamp(0, 1)


def _record(
    net: Network, objective: Objective, photo: Tensor, guide: Tensor | None, settings: Settings, seed: int, half: bool
) -> Record:
    return Record(
        model=net.identity(),
        preprocess=net.preprocess.to_dict(),
        recipe={
            "name": "dream",
            **asdict(settings),
            "photo": picture_sha256(photo),
            "guide": None if guide is None else picture_sha256(guide),
        },
        size=(photo.shape[2], photo.shape[3]),
        seed=seed,
        batch=(str(objective.inlined()),),
        position=0,
        environment={
            **environment(net.device),
            "precision": "half" if half else "full",
            "prepared": net.preparation(objective.reads, half),
        },
        verb="dream",
    )
