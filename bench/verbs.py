"""The verbs of the suite, each measured in a process of its own, so that none inherits another's memory."""

from __future__ import annotations

import importlib
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

from bench.measured import Measured
from bench.settings import Settings

# Module and function, by name: what a verb needs is imported in its own process.
VERBS = {
    "render": ("bench.render", "measure"),
    "explain": ("bench.maps", "explain"),
    "cam": ("bench.maps", "cam"),
    "examples": ("bench.examples", "measure"),
    "process": ("bench.process", "measure"),
    "memory": ("bench.memory", "measure"),
    "scaling": ("bench.scaling", "measure"),
}
ORDER = (*VERBS, "device", "recognise")  # of the sections of RESULTS.md; the last two are programs of their own


def apart(verb: str, settings: Settings) -> Measured:
    """In a new process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measured, verb, settings).result()


def measured(verb: str, settings: Settings) -> Measured:
    """In this one."""
    module, function = VERBS[verb]
    with settings.begun():
        found: Measured = getattr(importlib.import_module(module), function)(settings)
    return found
