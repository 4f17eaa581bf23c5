"""Links: the functions that turn a network's scores into probabilities. The only place that does."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

Link = Literal["softmax", "sigmoid", "exp", "identity"]


def link_of(ending: str | None, classes: int, multilabel: bool = False) -> Link:
    """The function that turns a network's scores into probabilities, given how the network ends.

    >>> link_of("log_softmax", 5), link_of("sigmoid", 1), link_of(None, 5), link_of(None, 5, multilabel=True)
    ('exp', 'identity', 'softmax', 'sigmoid')
    """
    if ending is not None:
        return "exp" if ending == "log_softmax" else "identity"
    return "sigmoid" if multilabel or classes == 1 else "softmax"


def probabilities(scores: Tensor, link: Link) -> Tensor:
    """Probabilities (…, classes) of scores (…, classes)."""
    if link == "softmax":
        return scores.softmax(-1)
    if link == "sigmoid":
        return scores.sigmoid()
    return scores.exp() if link == "exp" else scores
