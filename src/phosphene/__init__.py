"""Phosphene: shows what a convolutional network has learned.

>>> import phosphene as ph
>>> net = ph.load("demo:robust")
>>> r = ph.render(net, ["logit:cat", "logit:ship"], steps=2)
>>> tuple(r.pictures.shape)
(2, 3, 32, 32)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import evaluation as evaluation
    from . import targets as targets
    from . import training as training
    from .accumulate.feature_index import FeatureIndex
    from .attribution.explain import explain
    from .cams.cam import cam
    from .concepts.concept import concept
    from .concepts.parts import parts
    from .errors import Interrupted, PhospheneError
    from .exemplars.examples import Examples, examples
    from .inspection.activations import activations
    from .inspection.filters import filters
    from .inspection.statistics import statistics
    from .localisation.locate import locate
    from .network.load import load
    from .network.network import Network
    from .network.preprocess import Preprocess
    from .objectives.direction import direction
    from .objectives.expression import Objective
    from .objectives.likeness import caricature, match
    from .objectives.spec import parse
    from .objectives.units import channel, custom, layer, logit, neuron, probability
    from .pictures.converting import read
    from .pictures.sample import sample
    from .rendering.canvases import pixels
    from .rendering.dream import dream
    from .rendering.priors import batch_statistics, feature_distributions, l1, l2, layer_statistics, total_variation
    from .rendering.projections import blur, clip_contribution, clip_norm, clip_value, decay
    from .rendering.recipe import Recipe
    from .rendering.render import render
    from .rendering.rerun import rerun
    from .rendering.spectral import fourier, phase
    from .rendering.views import colour, crop, cutout, jitter, noise, rotate, scale, shift
    from .results.activations import Activations
    from .results.dreamt import Dream
    from .results.filters import Filters
    from .results.heatmap import Heatmap
    from .results.kinds import Rendering
    from .results.neighbours import Neighbours
    from .results.record import Record

# Imported when first asked for: `import phosphene` costs nothing, and `phosphene --help` needs no torch.
_WHERE = {
    "accumulate.feature_index": ("FeatureIndex",),
    "attribution.explain": ("explain",),
    "cams.cam": ("cam",),
    "concepts.concept": ("concept",),
    "concepts.parts": ("parts",),
    "errors": ("Interrupted", "PhospheneError"),
    "exemplars.examples": ("Examples", "examples"),
    "inspection.activations": ("activations",),
    "inspection.filters": ("filters",),
    "inspection.statistics": ("statistics",),
    "localisation.locate": ("locate",),
    "network.load": ("load",),
    "network.network": ("Network",),
    "network.preprocess": ("Preprocess",),
    "objectives.direction": ("direction",),
    "objectives.expression": ("Objective",),
    "objectives.likeness": ("caricature", "match"),
    "objectives.spec": ("parse",),
    "objectives.units": ("channel", "custom", "layer", "logit", "neuron", "probability"),
    "pictures.converting": ("read",),
    "pictures.sample": ("sample",),
    "rendering.canvases": ("pixels",),
    "rendering.dream": ("dream",),
    "rendering.priors": ("batch_statistics", "feature_distributions", "l1", "l2", "layer_statistics", "total_variation"),
    "rendering.projections": ("blur", "clip_contribution", "clip_norm", "clip_value", "decay"),
    "rendering.recipe": ("Recipe",),
    "rendering.render": ("render",),
    "rendering.rerun": ("rerun",),
    "rendering.spectral": ("fourier", "phase"),
    "rendering.views": ("colour", "crop", "cutout", "jitter", "noise", "rotate", "scale", "shift"),
    "results.activations": ("Activations",),
    "results.dreamt": ("Dream",),
    "results.filters": ("Filters",),
    "results.heatmap": ("Heatmap",),
    "results.kinds": ("Rendering",),
    "results.neighbours": ("Neighbours",),
    "results.record": ("Record",),
}
_PACKAGES = ("evaluation", "targets", "training")
_MODULE_OF = {name: module for module, names in _WHERE.items() for name in names}

__all__ = [
    "Activations",
    "Dream",
    "Examples",
    "FeatureIndex",
    "Filters",
    "Heatmap",
    "Interrupted",
    "Neighbours",
    "Network",
    "Objective",
    "PhospheneError",
    "Preprocess",
    "Recipe",
    "Record",
    "Rendering",
    "activations",
    "batch_statistics",
    "blur",
    "cam",
    "caricature",
    "channel",
    "clip_contribution",
    "clip_norm",
    "clip_value",
    "colour",
    "concept",
    "crop",
    "custom",
    "cutout",
    "decay",
    "direction",
    "dream",
    "examples",
    "explain",
    "feature_distributions",
    "filters",
    "fourier",
    "jitter",
    "l1",
    "l2",
    "layer",
    "layer_statistics",
    "load",
    "locate",
    "logit",
    "match",
    "neuron",
    "noise",
    "parse",
    "parts",
    "phase",
    "pixels",
    "probability",
    "read",
    "render",
    "rerun",
    "rotate",
    "sample",
    "scale",
    "shift",
    "statistics",
    "total_variation",
]


if TYPE_CHECKING:
    __version__: str
else:  # a type checker that saw this would take any name for one of ours

    def __getattr__(name: str) -> Any:
        if name == "__version__":
            from importlib.metadata import version

            return version("phosphene")
        if name in _PACKAGES:
            return importlib.import_module(f".{name}", __name__)
        if name not in _MODULE_OF:
            raise AttributeError(f"module 'phosphene' has no attribute {name!r}")
        found = getattr(importlib.import_module(f".{_MODULE_OF[name]}", __name__), name)
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
