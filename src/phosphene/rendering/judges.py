"""Other networks that choose among the starts of a class model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..errors import RequestError, UnknownNameError, shown
from ..network.network import Network
from ..results.kinds import Item, Rendering
from .job import Job

BATCH = 32  # pictures that a judge sees at once
FLOOR = -100.0  # nats: the logarithm of a probability that rounds to 0


def check_judges(judges: Sequence[Network], job: Job, starts: int) -> None:
    """Raise if they cannot choose among the starts of this request."""
    if judges and starts < 2:
        raise RequestError(f"judges choose among starts: starts must be 2 or more, got {starts}")
    for item in job.items if judges else ():
        if item.target is None:
            raise RequestError(f"judges tell classes apart: objectives must be logit: or probability:, got {item.asked}")
        for judge in judges:
            index_in(judge, job.net.classes[item.target])


def index_in(judge: Network, name: str) -> int:
    """Of the class, as this judge numbers it."""
    try:
        return judge.index(name)
    except UnknownNameError as error:
        raise RequestError(f"judge {shown(judge.name)} does not know the class: {error}") from error


def scores_by(judge: Network, pictures: Tensor, names: Sequence[str]) -> tuple[Tensor, Tensor]:
    """All scores (b, classes) of pictures, fitted to the judge, and the index (b, 1) of the class that was meant by each."""
    target = torch.tensor([index_in(judge, name) for name in names]).unsqueeze(1)
    return torch.cat([judge.scores(judge.preprocess.fit(some)).cpu() for some in pictures.split(BATCH)]), target


def certainty(judges: Sequence[Network], pictures: Tensor, names: Sequence[str]) -> Tensor:
    """(b,) the mean over judges of ln p of the class that was meant."""
    found = torch.zeros(len(pictures))
    for judge in judges:
        scores, target = scores_by(judge, pictures, names)
        found += judge.probabilities(scores).gather(1, target)[:, 0].log().clamp(min=FLOOR) / len(judges)
    return found


def noted(drawn: Rendering, judges: Sequence[Network], starts: int) -> Rendering:
    """With a note on each picture that these judges chose it."""
    names = ", ".join(judge.name for judge in judges)
    note = f"the best of {starts} starts as {names} judged them, so their recognising it is no evidence"
    items: list[Item] = [replace(item, notes=(*item.notes, note)) for item in drawn.items]
    return replace(drawn, items=tuple(items))
