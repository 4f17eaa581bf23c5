"""`rerun`: makes a picture again from the Record in its PNG."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ..ambient import shielded
from ..errors import PhospheneError, RecordError, shown
from ..network.load import load
from ..network.load import parse as parse_reference
from ..network.network import Network
from ..network.room import free_bytes
from ..objectives.expression import Objective
from ..objectives.spec import MOST_TERMS, parse
from ..objectives.units import by_index
from ..pictures import colour, files
from ..results import door
from ..results.kinds import Rendering
from ..results.record import Record
from .batches import PIXELS, bytes_each
from .observers import Observer
from .recipe import Recipe
from .render import stream_renderings

# What a record may ask for: a ResNet-50 passes 10**6 pixels a second forward and back on 2 cores.
MOST_PIXELS = 10**10  # of all images, views and steps
TERM = 1000  # pixels that take as long as one more term
QUICK = 8 * PIXELS  # pixels of one step; memory is reckoned beyond it
_SIGN = re.compile(r"\s[+-]\s")


@dataclass(frozen=True, eq=False)
class Rerun:
    """A picture made again.

    rendering   of the whole batch that the picture was in; `position` is its place there
    identical   whether every pixel is the same
    difference  the largest, in grey levels of 255
    changed     what the environment has now that it had not then, in words: why pixels may differ
    """

    rendering: Rendering
    position: int
    identical: bool
    difference: int
    changed: tuple[str, ...]


@shielded
@door.takes(path=door.path, net=door.network_or_none)
def rerun(
    path: str | Path,
    net: Network | None = None,
    *,
    trust: bool = False,
    costly: bool = False,
    observers: tuple[Observer, ...] = (),
) -> Rerun:
    """Render again what the PNG at `path` shows, from its Record, and compare.

    Bit for bit the same on the same machine with the same versions and number of threads. Elsewhere the picture is the same
    up to how floating-point sums are ordered, which 8 bits mostly hide; `changed` names what differs.

    net: the network, if it is not to be opened from the Record. It must be given where the Record names code or files of
    a user's, since a picture from elsewhere must not choose what runs here.
    trust: read the files that the Record names, as a picture to start from.
    costly: render also what takes more than 10^10 pixels of images, views and steps, or more memory than is free.
    """
    image, text = files.read_png(path)
    record = Record.from_json(text)
    net = net or _opened(record)
    if net.sha256() != record.model["sha256"]:
        raise RecordError(f"{record.model['ref']} has other weights now than when the picture was made")
    if net.preprocess.to_dict() != record.preprocess:
        raise RecordError(f"{record.model['ref']} has another preprocessing now than when the picture was made")
    if (record.model.get("multilabel") == "1") != net.multilabel:
        raise RecordError(
            f"{record.model['ref']} is read as {'multi-label' if net.multilabel else 'single-label'}; the record is not"
        )
    recipe = Recipe.from_dict(record.recipe)
    if not costly:
        _check_work(record, recipe)
    objectives = [by_index(parse(objective, files=trust)) for objective in record.batch]
    if not costly:
        _check_memory(net, record, recipe, objectives)
    if recipe.files and not trust:
        raise RecordError(f"the record names a file, {recipe.files[0]}; --obey (in Python: trust=True) reads it")
    with _threads(record):
        (rendering,) = stream_renderings(
            net,
            objectives,
            recipe,
            size=record.size,
            seed=record.seeds or record.seed,
            batch=len(objectives),
            frames=0,
            precision="half" if record.environment.get("precision") == "half" else "full",
            compile="off" if record.environment.get("compiled", "no") == "no" else "on",
            observers=observers,
        )
        now = rendering.record.environment
    again = rendering.image(record.position)
    same_kind = again.mode == image.mode and again.size == image.size
    difference = _largest_difference(again, image) if same_kind else 255
    identical = same_kind and colour.pixels_sha256(again) == record.pixels_sha256 and difference == 0
    changed = tuple(f"{key}: {was} then, {now.get(key)} now" for key, was in record.environment.items() if now.get(key) != was)
    return Rerun(rendering, record.position, identical, difference, changed)


def _opened(record: Record) -> Network:
    reference = record.model["ref"]
    try:
        runs_code = parse_reference(reference).runs_code
    except PhospheneError as error:
        raise RecordError(f"the record names the model {shown(reference)}, which cannot be opened: {error}") from error
    if runs_code:
        raise RecordError(
            f"the record names the model {shown(reference)}, which runs code, reads files of this machine or fetches "
            "what anyone may publish; "
            "if you trust it, name it yourself with -m (in Python: rerun(path, net))"
        )
    return load(reference)


def _check_work(record: Record, recipe: Recipe) -> None:
    """Refuse a record that would keep a machine busy for hours: anyone may have written it."""
    (h, w), images = record.size, len(record.batch)
    terms = images + sum(len(_SIGN.findall(text)) for text in record.batch)
    pixels = recipe.steps * (images * recipe.samples * h * w + TERM * terms)
    if pixels > MOST_PIXELS or terms > MOST_TERMS:
        raise RecordError(
            f"the record asks for {recipe.steps:,} steps of {images:,} images, {h}×{w} px in {recipe.samples} views, "
            f"with {terms:,} terms: at most {MOST_PIXELS:.0e} pixels in all and {MOST_TERMS:,} terms are rendered. {_ANYWAY}"
        )


def _check_memory(net: Network, record: Record, recipe: Recipe, objectives: list[Objective]) -> None:
    """Refuse a record that needs more memory than is free: a process that takes it may be killed without a word."""
    h, w = record.size
    views = len(objectives) * recipe.samples
    free = free_bytes(net.device)
    if views * h * w <= QUICK or free is None:
        return
    reads = frozenset().union(*(objective.reads for objective in objectives))
    net.check_addresses(reads)
    own_h, own_w = net.preprocess.sides
    needed = views * bytes_each(net, reads, net.preprocess.sides, half=False) * (h * w) // (own_h * own_w)
    if needed > free:
        raise RecordError(
            f"the record asks for {len(objectives):,} images, {h}×{w} px in {recipe.samples} views at once: about "
            f"{needed / 1e9:,.0f} GB of memory are needed, {free / 1e9:,.0f} GB are free. {_ANYWAY}"
        )


_ANYWAY = "--costly (in Python: costly=True) renders it all the same"


@contextmanager
def _threads(record: Record) -> Iterator[None]:
    """As many threads as then: how sums are cut up among them decides their last bits."""
    now, then = torch.get_num_threads(), record.environment.get("threads")
    try:
        if type(then) is int and 1 <= then <= (os.cpu_count() or 1):
            torch.set_num_threads(then)
        yield
    finally:
        torch.set_num_threads(now)


def _largest_difference(a: Image.Image, b: Image.Image) -> int:
    return int(np.abs(np.asarray(a, dtype=np.int16) - np.asarray(b, dtype=np.int16)).max())
