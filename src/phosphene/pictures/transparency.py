"""Opacity of a picture from how much each of its places mattered."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

SMOOTHING = 0.03  # of the shorter side, a Gaussian's standard deviation: single pixels' gradients flicker
CLEAR, OPAQUE = 0.1, 0.9  # quantiles


def opacity(attribution: Tensor) -> Tensor:
    """Attribution (h, w) ≥ 0 -> opacity (1, h, w) in [0, 1]: 0 up to its 10th percentile, 1 from its 90th, linear between."""
    smooth = _smoothed(attribution.float())
    low, high = torch.quantile(smooth.flatten(), torch.tensor([CLEAR, OPAQUE], device=smooth.device))
    if not high > low:  # everywhere the same: nothing is less opaque than the rest
        return torch.ones_like(smooth).unsqueeze(0)
    opaque: Tensor = ((smooth - low) / (high - low)).clamp(0, 1)
    return opaque.unsqueeze(0)


def _smoothed(field: Tensor) -> Tensor:
    sigma = max(SMOOTHING * min(field.shape), 0.5)
    reach = min(int(3 * sigma) + 1, min(field.shape) - 1)
    if reach < 1:
        return field
    weights = torch.exp(-torch.arange(-reach, reach + 1.0, device=field.device).square() / (2 * sigma**2))
    weights = weights / weights.sum()
    padded = F.pad(field[None, None], (reach,) * 4, mode="reflect")
    return F.conv2d(F.conv2d(padded, weights.view(1, 1, 1, -1)), weights.view(1, 1, -1, 1))[0, 0]
