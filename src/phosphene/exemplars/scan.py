"""Scan: one pass of data through a network, ranking as it goes; what is found outlives a kill."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..accumulate.protocol import Accumulator
from ..errors import Interrupted, RequestError
from ..network.network import Network, Read, is_out_of_memory
from ..pictures import files
from ..pictures.data import Batch, Data, nothing
from ..results.claim import claim
from .state import State, check_same
from .units import Asked

CHECKPOINT = "scan.safetensors"
EVERY = 20.0  # seconds between checkpoints
# Pixels of a batch. On 2 cores a network is as fast with 64 pictures of 32 px as with more, ranking is not; 4 of 224 px are as
# fast as 16.
CPU_PIXELS, CHUNK_PIXELS = 200_000, 3_300_000
LARGEST_BATCH = 128
OnBatch = Callable[[int, int | None], None]  # items done, of how many


def about(net: Network, data: Data, asked: Asked, settings: dict[str, Any]) -> dict[str, Any]:
    """What a checkpoint must agree in to be gone on with."""
    return {
        "model": net.sha256(),
        "data": data.identity,
        "files": data.marks,
        "objectives": [str(one.inlined()) for one in asked.objectives],
        "preprocess": net.preprocess.to_dict(),
        **settings,
    }


def batch_for(net: Network) -> int:
    pixels = CPU_PIXELS if net.device.type == "cpu" else CHUNK_PIXELS
    h, w = net.preprocess.sides
    return net.batch or max(1, min(LARGEST_BATCH, pixels // (h * w)))


def scan(
    net: Network,
    data: Data,
    asked: Asked,
    kind: dict[str, Any],
    *,
    shard: tuple[int, int],
    batch: int,
    folder: Path | None,
    every: float,
    on_batch: OnBatch | None = None,
) -> State:
    """The state after all items of the shard; gone on with from the folder's checkpoint, if there is one.

    Interrupted, with the state so far, on Ctrl-C. The same batches are made wherever it goes on, so the result is the same.
    """
    kind = {**kind, "batch": batch}
    with claim(folder and files.folder(folder)):
        state = _begun(folder, kind, data, asked, shard, net.device)
        if state.done:
            return state
        saved = time.monotonic()
        try:
            with torch.inference_mode(), net.reading() as read:
                for some in data.batches(net.preprocess.taken, batch, start=state.parts[0].end, shard=shard):
                    state = state.update(some, _values(read, asked, some))
                    if on_batch is not None:
                        on_batch(state.seen + state.refused, _total(data, shard))
                    if folder is not None and time.monotonic() - saved >= every:
                        state.save(folder / CHECKPOINT)
                        saved = time.monotonic()
        except KeyboardInterrupt:
            if folder is not None:
                state.save(folder / CHECKPOINT)
            raise Interrupted(state.pruned()) from None
        if not state.seen:
            raise nothing(data, state.refused, state.refusals)
        state = state.finished()
        if folder is not None:
            state.save(folder / CHECKPOINT)
        return state


def _begun(
    folder: Path | None, kind: dict[str, Any], data: Data, asked: Asked, shard: tuple[int, int], device: torch.device
) -> State:
    new = State.of(kind, asked.groups, shard, device)
    if folder is None:
        return new
    for left in folder.glob(".*.safetensors"):  # of a process that was killed while it wrote
        if re.fullmatch(r"\.[0-9a-f]{12}\.safetensors", left.name):
            left.unlink(missing_ok=True)
    if not (folder / CHECKPOINT).is_file():
        return new
    old = State.load(folder / CHECKPOINT)
    if (change := data.change_since(old.about.get("files"))) and old.about.get("model") == kind["model"]:
        raise RequestError(f"the scan in {folder} is of other data: {change}; the same is needed, or another folder")
    check_same(kind, old.about, f"the scan in {folder}")
    if [part[:2] for part in old.parts] != [tuple(shard)]:
        raise RequestError(f"the scan in {folder} is of another shard; one folder for each shard is needed")
    _check_shapes(new, old, folder)
    return replace(old.to(device), about=kind)


def _check_shapes(new: State, old: State, folder: Path) -> None:
    def shapes(state: State) -> list[Any]:
        ones: list[Accumulator] = [*state.tops, *state.bottoms, *state.moments, *state.histograms]
        return [[(name, tensor.shape, tensor.dtype) for name, tensor in one.state().items()] for one in ones]

    if shapes(new) != shapes(old):
        raise RequestError(f"the scan in {folder} does not fit these units; take it away to begin anew")


def _values(read: Read, asked: Asked, batch: Batch) -> Sequence[Tensor]:
    """(b, units, places) of each group; running out of memory halves the batch and goes on."""
    parts = _parts(read, asked, batch.pictures) if len(batch) else [[]]
    return parts[0] if len(parts) == 1 else [torch.cat(halves) for halves in zip(*parts, strict=True)]


def _parts(read: Read, asked: Asked, pictures: Tensor) -> list[list[Tensor]]:
    try:
        given = read(pictures, asked.reads)
        return [[group.values(given) for group in asked.groups]]
    except Exception as error:
        if not is_out_of_memory(error) or len(pictures) == 1:
            raise
    half = len(pictures) // 2
    return [*_parts(read, asked, pictures[:half]), *_parts(read, asked, pictures[half:])]


def _total(data: Data, shard: tuple[int, int]) -> int | None:
    return None if data.count is None else len(range(shard[0], data.count, shard[1]))
