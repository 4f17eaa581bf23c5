"""What layers give for photographs: mean and standard deviation of each channel over positions, and how much these vary.

Batch norms learned them from the training data; for other networks they are measured on photographs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import RequestError, first_line, shown
from . import probe

# Of photographs, about a batch norm's running statistics, which do not tell them: medians over the layers of EfficientNet-Lite0
# and 2 are 0.36 and 0.33 standard deviations for the mean, 0.33 and 0.28 for the logarithm (before QUIET).
MEAN_SPREAD, LOG_SPREAD = 0.5, 0.5
LEAST = 1e-3  # of a layer's mean variance: channels that vary less are told apart no further
LEAST_SPREAD = 0.05  # of standard deviations: photographs of one kind may hardly differ in a channel
QUIET = 0.1  # of a channel's variance, added before the logarithm: a silent channel is 1.2 from what is expected and no more
SILENT = 1e-12  # variance: a layer with no more says nothing
SAME = 1e-3  # of its largest value: how near what an address gives must come to what a batch norm should
LARGEST_FILE = 256 << 20  # bytes
KIND = "phosphene layer statistics"


@dataclass(frozen=True, eq=False)
class Channels:
    """The expected statistics of one layer's k channels, (k,) each.

    Every photograph has a mean and a variance per channel, over positions.

    mean         the mean over photographs of their means
    mean_spread  the standard deviation over photographs of their means
    log          the mean over photographs of ½ log(variance + floor), about the logarithm of the standard deviation
    log_spread   the standard deviation over photographs of that logarithm
    floor        what is added to variances, so that a channel that is silent in a photograph has a logarithm too
    """

    mean: Tensor
    mean_spread: Tensor
    log: Tensor
    log_spread: Tensor
    floor: Tensor

    @property
    def variance(self) -> Tensor:
        """The expected variances (k,)."""
        return (2 * self.log).exp() - self.floor

    @classmethod
    def measured(cls, means: Tensor, variances: Tensor) -> Channels:
        """From the means and variances (n, k) of n photographs."""
        means, variances = means.double(), variances.double()
        typical = variances.mean(0)
        typical = typical.clamp(min=LEAST * float(typical.mean()) or torch.finfo(torch.float32).tiny)
        logs = (variances + QUIET * typical).log() / 2
        least = LEAST_SPREAD * typical.sqrt()
        spreads = means.std(0).maximum(least), logs.std(0).clamp(min=LEAST_SPREAD)
        return cls(means.mean(0), spreads[0], logs.mean(0), spreads[1], QUIET * typical)


@dataclass(frozen=True, eq=False)
class Statistics:
    """layers: of each address, in the order in which they run; source: what they are from, in words; learned: by batch norms,
    from the training data."""

    layers: Mapping[str, Channels]
    source: str
    learned: bool = False

    def __repr__(self) -> str:
        return f"Statistics({len(self.layers)} layers, of {self.source})"

    @cached_property
    def sha256(self) -> str:
        digest = hashlib.sha256()
        for address, channels in self.layers.items():
            digest.update(f"{address}\n".encode())
            for tensor in vars(channels).values():
                digest.update(tensor.detach().cpu().float().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def to_tensors(self) -> tuple[dict[str, Tensor], dict[str, str]]:
        """As a safetensors file has them: tensors ADDRESS/FIELD, and what it says of itself."""
        tensors = {
            f"{address}/{name}": tensor.detach().cpu().float().contiguous()
            for address, channels in self.layers.items()
            for name, tensor in vars(channels).items()
        }
        return tensors, {"kind": KIND, "source": self.source, "layers": json.dumps([*self.layers])}


def read_statistics(path: str | Path) -> Statistics:
    """Of a file that `phosphene statistics -m` wrote."""
    name = shown(str(path))
    try:
        if Path(path).stat().st_size > LARGEST_FILE:
            raise RequestError(f"statistics {name} has over {LARGEST_FILE >> 20} MiB")
        with safe_open(str(path), framework="pt") as file:
            about = file.metadata() or {}
            if about.get("kind") != KIND:
                raise RequestError(f"statistics {name} holds none of layers; phosphene statistics PHOTOS -m NET writes them")
            addresses = json.loads(about["layers"])
            layers = {
                str(a): Channels(**{f.name: file.get_tensor(f"{a}/{f.name}") for f in fields(Channels)}) for a in addresses
            }
            return Statistics(_checked(layers), about["source"])
    except RequestError:
        raise
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise RequestError(f"statistics {name} cannot be read: {first_line(error)}") from error


def _checked(layers: dict[str, Channels]) -> dict[str, Channels]:
    if not layers:
        raise ValueError("it names no layers")
    for address, channels in layers.items():
        shape = channels.mean.shape
        for name, tensor in vars(channels).items():
            good = tensor.is_floating_point() and tensor.ndim == 1 and tensor.shape == shape and bool(tensor.isfinite().all())
            if not good or (name not in ("mean", "log") and bool((tensor <= 0).any())):
                raise ValueError(f"{name} of layer {shown(address)} is not what it should be")
    return layers


def check_channels(statistics: Statistics, channels: Mapping[str, int]) -> None:
    """Raise if the statistics are not of layers with so many channels."""
    for address, of in statistics.layers.items():
        if len(of.mean) != channels[address]:
            raise RequestError(
                f"statistics of layer {shown(address)} must be of its {channels[address]} channels, got {len(of.mean)}: "
                "they are of another network"
            )


def of_batch_norms(module: nn.Module, places: Mapping[str, str]) -> Statistics | None:
    """What the batch norms at these addresses learned, told of what the other addresses give; None if there are none.

    places: address that gives what a batch norm gives → address of the batch norm
    """
    every = {address: _learned(module.get_submodule(norm)) for address, norm in places.items()}
    found = {address: channels for address, channels in every.items() if channels is not None}
    return Statistics(found, f"{len(found)} batch norms", learned=True) if found else None


def _learned(norm: Any) -> Channels | None:
    """γ (x − μ) / √(σ² + ε) + β has the mean β and the variance γ²σ² / (σ² + ε) where x has μ and σ².

    None where no channel varies, as of the last batch norm of a shortcut's branch before training, whose γ is 0.
    """
    given, eps = norm.running_var.detach().double(), getattr(norm, "eps", 1e-5)
    scale = torch.ones_like(given) if norm.weight is None else norm.weight.detach().double()
    variance = scale.square() * given / (given + eps)
    mean = torch.zeros_like(given) if norm.bias is None else norm.bias.detach().double()
    if float(variance.max()) <= SILENT:
        return None
    typical = variance.clamp(min=LEAST * float(variance.mean()))
    log = (variance + QUIET * typical).log() / 2
    return Channels(mean, MEAN_SPREAD * typical.sqrt(), log, torch.full_like(log, LOG_SPREAD), QUIET * typical)


def batch_norm_places(module: nn.Module, inputs: Tensor, calls: Mapping[str, int]) -> dict[str, str]:
    """Where what a batch norm gives can be read: address → address of the batch norm; found by one forward pass in eval mode.

    Usually at the batch norm itself. Others, such as timm's, go on to a rectifier inside: a module in them that gives what
    a batch norm should, up to rounding, is read instead.
    """
    norms = [path for path, part in module.named_modules() if calls.get(path) == 1 and _has_statistics(part)]
    expected: dict[str, Tensor] = {}
    found: dict[str, str] = {}
    watched = {path: norm for norm in norms for path in calls if calls[path] == 1 and f"{path}.".startswith(f"{norm}.")}

    def before(path: str, given: Any) -> None:
        x = probe.first_tensor(given, strict=False)
        if x is not None and x.ndim > 2:
            expected[path] = _normalised(module.get_submodule(path), x)

    def after(path: str, _run: int, given: Any) -> None:
        norm, y = watched[path], probe.first_tensor(given, strict=False)
        if norm in expected and norm not in found.values() and y is not None and _same(y, expected[norm]):
            found[path] = norm

    with torch.no_grad(), probe.watching(module, watched, after, before=(set(norms), before)):
        module(inputs)
    return found


def _has_statistics(part: Any) -> bool:
    mean, variance = getattr(part, "running_mean", None), getattr(part, "running_var", None)
    return isinstance(mean, Tensor) and isinstance(variance, Tensor) and mean.ndim == 1 and mean.shape == variance.shape


def _normalised(norm: Any, x: Tensor) -> Tensor:
    mean, variance = norm.running_mean.to(x), norm.running_var.to(x)
    weight, bias = (None if part is None else part.to(x) for part in (norm.weight, norm.bias))
    return F.batch_norm(x, mean, variance, weight, bias, training=False, eps=getattr(norm, "eps", 1e-5))


def _same(given: Tensor, expected: Tensor) -> bool:
    return given.shape == expected.shape and bool((given - expected).abs().max() <= SAME * expected.abs().max())
