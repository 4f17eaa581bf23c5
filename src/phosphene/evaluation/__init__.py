"""Evaluation: numbers that say how far a picture can be trusted."""

from __future__ import annotations

from .baseline import RandomMap
from .boxes import BoxAccuracy, localisation_error, max_box_acc, pointing_game
from .faithfulness import AverageDrop, InsertionDeletion, Road, average_drop, insertion_deletion, road
from .localised import BoxTable, Case, Locating, localised
from .randomisation import Randomisation, randomisation
from .recognisability import Judgement, Recognisability, recognisability
from .trust import Trust, trust
from .tuning import Trial, Tuning, tune

__all__ = [
    "AverageDrop",
    "BoxAccuracy",
    "BoxTable",
    "Case",
    "InsertionDeletion",
    "Judgement",
    "Locating",
    "RandomMap",
    "Randomisation",
    "Recognisability",
    "Road",
    "Trial",
    "Trust",
    "Tuning",
    "average_drop",
    "insertion_deletion",
    "localisation_error",
    "localised",
    "max_box_acc",
    "pointing_game",
    "randomisation",
    "recognisability",
    "road",
    "trust",
    "tune",
]
