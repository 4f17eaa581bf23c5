"""The gradient of an objective at pictures, a chunk at a time, under a rule for rectifiers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import RequestError
from ..network.network import NO_GRADIENT, Read
from ..objectives.expression import values
from ..objectives.units import OUTPUT
from ..results.question import Question
from . import rules

Jobs = Sequence[tuple[int, int]]


@dataclass(frozen=True, eq=False)
class Gradients:
    """gradient (n, c, h, w) ∂S/∂I in picture space, reached (n,) the values S, scores (n, classes) if an objective reads them,
    rectifiers: how many of them the rule acted on."""

    gradient: Tensor
    reached: Tensor
    scores: Tensor | None
    rectifiers: int = 0


def at_pictures(question: Question, rule: rules.Rule = "plain") -> Gradients:
    """The gradients at the question's own pictures, and what was read on the way."""
    parts = [part for _, part in at_samples(question, 1, lambda i, _: question.pictures[i], rule)]
    scores = [part.scores for part in parts if part.scores is not None]
    return Gradients(
        torch.cat([part.gradient for part in parts]),
        torch.cat([part.reached for part in parts]),
        torch.cat(scores) if scores else None,
        parts[0].rectifiers,
    )


def at_samples(
    question: Question, samples: int, seen: Callable[[int, int], Tensor], rule: rules.Rule = "plain"
) -> Iterator[tuple[Jobs, Gradients]]:
    """The gradients at changed pictures: job (i, k), k < samples, is objective i at `seen(i, k)` (c, h, w). On the CPU."""
    jobs = [(i, k) for i in range(len(question)) for k in range(samples)]
    with question.net.reading(question.network_seed) as read:

        def run(some: Jobs) -> Gradients:
            pictures = torch.stack([seen(i, k) for i, k in some])
            return _gradients(question, read, pictures, [i for i, _ in some], rule)

        yield from question.parts(jobs, run)


def _gradients(question: Question, read: Read, pictures: Tensor, rows: Sequence[int], rule: rules.Rule) -> Gradients:
    # Convolutions on a CPU are faster on this layout; the numbers are the same.
    leaf = pictures.detach().contiguous(memory_format=torch.channels_last).requires_grad_(True)
    given = read(leaf, question.reads)
    reached = values([question.resolved[i] for i in rows], given)
    gradient, rectifiers = _gradient(reached.sum(), leaf, rule)
    scores = given.get(OUTPUT)
    said = None if scores is None else scores.detach().cpu()
    return Gradients(gradient.cpu().contiguous(), reached.detach().cpu(), said, rectifiers)


def _gradient(total: Tensor, leaf: Tensor, rule: rules.Rule) -> tuple[Tensor, int]:
    """The gradient, and how many rectifiers the rule acted on."""
    if not total.requires_grad:
        raise RequestError(NO_GRADIENT)
    rectifiers = rules.obey(rule, total)
    (gradient,) = torch.autograd.grad(total, leaf, allow_unused=True)
    if gradient is None:
        raise RequestError(NO_GRADIENT)
    return gradient.detach(), rectifiers
