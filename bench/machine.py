"""The machine in words, and the memory of this process: what Linux says of them."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def described() -> str:
    """As in "AMD EPYC, 2 cores, 23 GiB, load 0.1, Python 3.11.7, torch 2.13.0+cpu, phosphene 0.1.0"."""
    programs = [f"{name} {version_of(name)}" for name in ("torch", "phosphene")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    parts = [_processor(), f"{cores()} cores", f"{memory:.0f} GiB", f"load {os.getloadavg()[0]:.1f}"]
    return ", ".join([*parts, f"Python {platform.python_version()}", *programs])


def version_of(distribution: str) -> str:
    """ "" where it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0))


def resident() -> float:
    """MB now"""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def peak() -> float:
    """MB at most so far. Not getrusage's: that begins with the peak of the process from which this one came."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e6


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
