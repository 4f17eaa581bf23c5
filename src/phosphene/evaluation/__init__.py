"""Evaluation: numbers that say how far a picture can be trusted."""

from __future__ import annotations

from .recognisability import Judgement, Recognisability, recognisability

__all__ = ["Judgement", "Recognisability", "recognisability"]
