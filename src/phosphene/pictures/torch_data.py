"""What torch's data loading puts around pictures: DataLoaders, and transforms that normalise."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import data as torch_data

from ..errors import RequestError, shown

ORDERS = (torch_data.SequentialSampler, torch_data.RandomSampler)


def loaded(data: Any) -> Any:
    """Of a DataLoader the data set that it reads, in the data set's own order; anything else as it is."""
    if not isinstance(data, torch_data.DataLoader):
        return data
    sampler = data.sampler
    if isinstance(data.dataset, torch_data.IterableDataset) or (isinstance(sampler, ORDERS) and not _repeats(sampler)):
        return data.dataset
    if isinstance(sampler, torch_data.SubsetRandomSampler):
        return torch_data.Subset(data.dataset, sorted(int(index) for index in sampler.indices))
    raise RequestError(
        f"data is a DataLoader with a {type(sampler).__name__}, which leaves items out or repeats them. "
        "Pass loader.dataset, or the torch.utils.data.Subset that is meant"
    )


def _repeats(sampler: Any) -> bool:
    return bool(getattr(sampler, "replacement", False)) or len(sampler) != len(sampler.data_source)


@dataclass(frozen=True)
class Normalised:
    """Undoes (picture − mean) / std, per channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, inputs: Tensor) -> Tensor:
        mean, std = (inputs.new_tensor(numbers).view(1, -1, 1, 1) for numbers in (self.mean, self.std))
        return inputs * std + mean


def undoing(data: Any) -> Callable[[Tensor], Tensor] | None:
    """What undoes the Normalize among the transforms of a torchvision data set, with a warning that says so."""
    found = set(_normalisations(data))
    if not found:
        return None
    if len(found) > 1:
        raise RequestError(f"data is normalised in {len(found)} ways; one is needed. Pass a data set without Normalize")
    (normalised,) = found
    mean, std = (", ".join(f"{number:.4g}" for number in numbers) for numbers in (normalised.mean, normalised.std))
    warnings.warn(f"the data set normalises its pictures with mean ({mean}) and std ({std}), which is undone", stacklevel=6)
    return normalised


def _normalisations(data: Any) -> Iterator[Normalised]:
    if isinstance(data, torch_data.Subset):
        yield from _normalisations(data.dataset)
    elif isinstance(data, torch_data.ConcatDataset):
        for part in data.datasets:
            yield from _normalisations(part)
    elif isinstance(data, torch_data.Dataset):
        yield from _steps(getattr(data, "transform", None))


def _steps(transform: Any) -> Iterator[Normalised]:
    """Those of a transform, and of the transforms that a Compose or a Sequential holds."""
    if type(transform).__name__ == "Normalize" and hasattr(transform, "mean") and hasattr(transform, "std"):
        mean, std = (_numbers(transform, name) for name in ("mean", "std"))
        yield Normalised(mean, std)
    held = getattr(transform, "transforms", transform if isinstance(transform, torch.nn.Sequential) else ())
    for step in held:
        yield from _steps(step)


def _numbers(transform: Any, name: str) -> tuple[float, ...]:
    value = getattr(transform, name)
    try:
        return tuple(float(number) for number in torch.as_tensor(value).flatten())
    except (TypeError, ValueError, RuntimeError):
        raise RequestError(f"Normalize has the {name} {shown(value)}; numbers are needed") from None
