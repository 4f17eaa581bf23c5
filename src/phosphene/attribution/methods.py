"""Methods that make a map of gradients at the picture, or along a way to it.

All gradients are ∂S/∂I in picture space: I in [0, 1], the network's preprocessing in between. A network's input x is
I · gain + offset per channel, so that ∂S/∂I = gain · ∂S/∂x: the scale is other than where the gradient is taken at x, and
so is the largest channel where `std` differs between channels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from .. import checks
from ..results.method import Maps, Method, Sampled
from ..results.question import Question
from ..seeding import stream
from .gradient import at_pictures, at_samples
from .rules import Rule

SMOOTHGRAD_NOISE = 0.15  # of the value range; Smilkov et al. 2017, §4.1: 10 % to 20 % balances sharpness and structure
SMOOTHGRAD_SAMPLES = 50  # Smilkov et al. 2017, §4.2: little changes beyond
INCOMPLETE = 0.05  # share of the change in score that a map may miss before it is noted


def largest(numbers: Tensor) -> Tensor:
    """The number of the channel where it is largest in size, with its sign: (b, c, h, w) -> (b, h, w)."""
    return numbers.gather(1, numbers.abs().argmax(1, keepdim=True))[:, 0]


@dataclass(frozen=True)
class Gradient(Method):
    """∂S/∂I of the channel where it is largest in size, signed. Its size is the saliency."""

    rule: ClassVar[Rule] = "plain"

    @property
    def name(self) -> str:
        return "gradient"

    def __call__(self, question: Question) -> Maps:
        found = at_pictures(question, self.rule)
        numbers = ({"rectifiers": float(found.rectifiers)},) * len(question) if self.rule != "plain" else ()
        return Maps(
            largest(found.gradient),
            found.gradient,
            numbers=numbers,
            by_size=True,
            reached=found.reached,
            scores=found.scores,
        )


@dataclass(frozen=True)
class Saliency(Method):
    """max over channels of |∂S/∂I|.

    Source: Simonyan, Vedaldi & Zisserman 2013, §3.1.
    """

    @property
    def name(self) -> str:
        return "saliency"

    def __call__(self, question: Question) -> Maps:
        found = at_pictures(question)
        return Maps(found.gradient.abs().amax(1), reached=found.reached, scores=found.scores)


@dataclass(frozen=True)
class GradientTimesInput(Method):
    """Σ over channels of ∂S/∂I · (I − I₀), I₀ the picture that the network is given as zero: ∂S/∂x · x of its input x.

    Source: Shrikumar et al. 2016.
    """

    @property
    def name(self) -> str:
        return "gradient_x_input"

    def __call__(self, question: Question) -> Maps:
        found = at_pictures(question)
        preprocess, pictures = question.net.preprocess, question.pictures
        zero = preprocess.inverse(torch.zeros_like(preprocess.forward(pictures)))
        contributions = found.gradient * (pictures - zero).cpu()
        return Maps(contributions.sum(1), has_sign=True, reached=found.reached, scores=found.scores)


@dataclass(frozen=True)
class GuidedBackprop(Gradient):
    """`gradient` where rectifiers let through only what is positive forward and backward. `colour` has all channels, `numbers`
    how many rectifiers there were.

    Source: Springenberg et al. 2015.
    """

    rule: ClassVar[Rule] = "guided"

    @property
    def name(self) -> str:
        return "guided_backprop"


@dataclass(frozen=True)
class Deconvnet(Gradient):
    """`gradient` where rectifiers let through only what is positive backward, whatever was forward.

    The picture then counts only where max pooling passes its places back: without any, all pictures have the same map.
    Source: Zeiler & Fergus 2014.
    """

    rule: ClassVar[Rule] = "deconvnet"

    @property
    def name(self) -> str:
        return "deconvnet"


@dataclass(frozen=True)
class _Noisy(Sampled):
    """noise: σ as a share of each picture's value range. Sample k has the same noise for every picture and objective, so that
    two maps differ by what they explain and not by luck."""

    noise: float = SMOOTHGRAD_NOISE
    samples: int = field(default=SMOOTHGRAD_SAMPLES)

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.real("noise", self.noise, low=0, high=10)

    def moments(self, question: Question) -> tuple[Tensor, Tensor]:
        """The mean (b, c, h, w) and the population variance of the gradient over the samples, in float64."""
        pictures = question.pictures
        spread = self.noise * (pictures.amax((1, 2, 3)) - pictures.amin((1, 2, 3)))

        def seen(i: int, k: int) -> Tensor:
            noise = torch.randn(pictures.shape[1:], generator=stream(question.seed, "gradient noise", str(k)))
            return pictures[i] + spread[i] * noise.to(pictures)

        mean = torch.zeros(pictures.shape, dtype=torch.float64)
        squares = torch.zeros_like(mean)
        count = [0] * len(question)
        for jobs, part in at_samples(question, self.samples, seen):
            for (i, _), gradient in zip(jobs, part.gradient.double(), strict=True):
                count[i] += 1
                step = gradient - mean[i]
                mean[i] += step / count[i]
                squares[i] += step * (gradient - mean[i])  # Welford 1962: no difference of large numbers
        return mean, squares / self.samples


@dataclass(frozen=True)
class SmoothGrad(_Noisy):
    """`gradient` averaged over noisy copies of the picture. One sample without noise is `gradient`.

    Source: Smilkov et al. 2017; σ is relative to the value range as there. Differs: signed, its size is the source's map.
    """

    @property
    def name(self) -> str:
        return "smoothgrad"

    def __call__(self, question: Question) -> Maps:
        mean = self.moments(question)[0].float()
        return Maps(largest(mean), mean, by_size=True)


@dataclass(frozen=True)
class VarGrad(_Noisy):
    """The variance of the gradient over noisy copies of the picture, of the channel where it is largest.

    Source: Adebayo et al. 2018, appendix.
    """

    @property
    def name(self) -> str:
        return "vargrad"

    def __call__(self, question: Question) -> Maps:
        return Maps(self.moments(question)[1].amax(1).float())


@dataclass(frozen=True)
class IntegratedGradients(Sampled):
    """Σ over channels of (I − I₀) · mean over k of ∂S/∂I at I₀ + (k + ½)/n · (I − I₀), I₀ the mean picture.

    The map should sum to S(I) − S(I₀); `numbers` tells both and how far they are apart, and a note does above 5 %.
    Source: Sundararajan, Taly & Yan 2017, eq. 1; the midpoint rule is ours.
    """

    @property
    def name(self) -> str:
        return "integrated_gradients"

    def __call__(self, question: Question) -> Maps:
        pictures, start = question.pictures, question.mean_picture()[0]
        total = torch.zeros(pictures.shape, dtype=torch.float64)
        way = at_samples(question, self.samples, lambda i, k: start + (k + 0.5) / self.samples * (pictures[i] - start))
        for jobs, part in way:
            for (i, _), gradient in zip(jobs, part.gradient, strict=True):
                total[i] += gradient
        contributions = total / self.samples * (pictures - start).cpu()
        reached, scores = question.said()
        values = contributions.sum(1)
        rise = reached - question.value_of([(i, 0) for i in range(len(question))], lambda i, k: start)
        numbers = tuple(_completeness(s, r) for s, r in zip(values.sum((1, 2)).tolist(), rise.tolist(), strict=True))
        notes = tuple(map(_incomplete, numbers))
        return Maps(values.float(), numbers=numbers, notes=notes, has_sign=True, reached=reached, scores=scores)


def _completeness(total: float, rise: float) -> dict[str, float]:
    if not math.isfinite(total) or not math.isfinite(rise):
        return {}
    error = abs(total - rise) / abs(rise) if rise else float(total != 0)
    return {"sum": total, "rise": rise, "completeness_error": error}


def _incomplete(numbers: dict[str, float]) -> tuple[str, ...]:
    if not numbers:
        return (
            "the objective is not finite at the baseline, the mean picture, or on the way from it: completeness is not known",
        )
    if numbers["completeness_error"] <= INCOMPLETE:
        return ()
    return (
        f"incomplete: the map sums to {numbers['sum']:.4g}, the objective rose by {numbers['rise']:.4g} from the mean picture; "
        "more samples bring them together",
    )
