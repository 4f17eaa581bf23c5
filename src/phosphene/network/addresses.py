"""Addresses: the dotted paths of `named_modules()`, and "" for the network's raw scores.

A module that runs several times in one forward pass (a shared ReLU) is meant at its last run; `path@k` means run k, from 0.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from torch import nn

from ..errors import RequestError, UnknownNameError, shown

OUTPUT = ""


def split(address: str, known: Collection[str] = ()) -> tuple[str, int | None]:
    """The path and the run of an address; one that is a `known` path as it stands is that path.

    >>> split("layer1.0.relu@1"), split("stem.0"), split("heads.p@2", {"heads.p@2"})
    (('layer1.0.relu', 1), ('stem.0', None), ('heads.p@2', None))
    """
    path, at, run = address.rpartition("@")
    if not at or address in known:
        return address, None
    if not (run.isascii() and run.isdigit()):
        raise RequestError(f"address {shown(address)}; after @ stands the number of the run, from 0")
    return path, int(run)


def check(addresses: Iterable[str], calls: Mapping[str, int]) -> None:
    """Raise unless every address leads to a module that runs; `calls` says how often each path does."""
    for address in addresses:
        path, run = split(address, calls)
        if path == OUTPUT and run is None:
            continue
        if path not in calls:
            raise UnknownNameError("layer", path, calls, "`phosphene layers` lists them")
        if run is not None and run >= calls[path]:
            raise RequestError(f"layer {path} runs {calls[path]} times in a forward pass; run {run} was asked for")


def unwrapped(module: nn.Module) -> nn.Module:
    """The network inside DataParallel, DistributedDataParallel and torch.compile, whose names users know."""
    while True:
        if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
            module = module.module
        elif isinstance(inner := getattr(module, "_orig_mod", None), nn.Module):
            module = inner
        else:
            return module
