"""Training: watch a network learn, in the loop that trains it.

>>> import phosphene as ph
>>> net = ph.load("demo:robust")
>>> ph.training.ClassModels(net, targets=["cat"], steps=64).on_val().to_file("epoch{epoch}-{class}.png")
ClassModels(demo:robust, 1 pictures a time, to File)
"""

from __future__ import annotations

from .callback import Callback
from .loop import Loop
from .moment import Moment, Shown
from .parts import Activations, Filters, TopExamples
from .sinks import Sink
from .subjects import ClassModels, Objectives, Saliency

__all__ = [
    "Activations",
    "Callback",
    "ClassModels",
    "Filters",
    "Loop",
    "Moment",
    "Objectives",
    "Saliency",
    "Shown",
    "Sink",
    "TopExamples",
]
