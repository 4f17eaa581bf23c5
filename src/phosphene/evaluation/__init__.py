"""Evaluation: numbers that say how far a picture can be trusted."""

from __future__ import annotations

from .recognisability import Judgement, Recognisability, recognisability
from .tuning import Trial, Tuning, tune

__all__ = ["Judgement", "Recognisability", "Trial", "Tuning", "recognisability", "tune"]
