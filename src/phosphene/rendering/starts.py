"""Several starts of an objective, of which the best picture is kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from ..errors import Interrupted
from ..network.network import Network
from ..objectives.expression import values
from ..results.kinds import Rendering, join
from .job import Job
from .judges import certainty, noted
from .views import Viewer

LOOKS = 64  # random views of each picture; 16 do not tell good starts from better ones
AT_ONCE = 16  # of them, as many as go through the network together


def best(
    job: Job, parts: Iterable[Rendering], starts: int, rows: Sequence[int], judges: Sequence[Network] = ()
) -> Iterator[Rendering]:
    """Of every `starts` neighbours, which are of one objective, the picture of whose class judges are surest.

    Without judges the picture that holds best over random views. Held is the objective, minus the penalty on the distance from
    photographs where the recipe has one: the score alone does not tell a good picture from a bad one.

    rows: indices of the job's items, in the order of the parts. Ctrl-C keeps nothing of an objective whose starts are not all
    rendered.
    """
    try:
        yield from _best(job, parts, starts, rows, judges)
    except Interrupted as stop:
        raise Interrupted from stop


def _best(
    job: Job, parts: Iterable[Rendering], starts: int, rows: Sequence[int], judges: Sequence[Network]
) -> Iterator[Rendering]:
    done, waiting = 0, list[Rendering]()
    for part in parts:
        together = join([*waiting, part])
        whole = len(together) // starts * starts
        if whole:
            pictures, own = together.pictures[:whole], rows[done : done + whole]
            names = [str(item.name) for item in together.items[:whole]]
            worth = certainty(judges, pictures, names) if judges else _held(job, own, pictures)
            first = worth.view(-1, starts).argmax(1)
            kept = together.chosen((first + starts * torch.arange(len(first))).tolist())
            yield noted(kept, judges, starts) if judges else kept
        done += whole
        waiting = [together.chosen(range(whole, len(together)))] if whole < len(together) else []


@torch.no_grad()
def _held(job: Job, rows: Sequence[int], pictures: Tensor) -> Tensor:
    """Mean values (b,) of the objectives, less penalties on layers, over the recipe's views, which are the same for all
    pictures of one objective."""
    mean = job.net.preprocess.mean_picture(job.size).to(job.net.device)
    looks = range(LOOKS if job.recipe.views else 1)
    found = []
    natural = job.climbs_by
    with torch.inference_mode(False), job.net.reading(half=job.half) as read:
        for item, picture in zip((job.items[row] for row in rows), pictures, strict=True):
            seen = []
            shares = natural.shares_of(read, mean, [item.resolved]) if natural else torch.zeros(1, 0)
            for k in looks[::AT_ONCE]:
                some = [f"{item.text}\0held {look}" for look in looks[k : k + AT_ONCE]]
                view = Viewer(job.recipe.views, some, 0, 1, job.recipe.border)
                shown = view(picture.to(mean).expand(len(some), -1, -1, -1), 0, mean)
                look = natural.look(shares.expand(len(some), -1)) if natural else None
                reached = values([item.resolved] * len(some), read(shown, item.resolved.reads, look.changes if look else None))
                seen.append((reached - natural.weight * look.close() if natural and look else reached).cpu())
            found.append(torch.cat(seen).mean())
    return torch.stack(found)
