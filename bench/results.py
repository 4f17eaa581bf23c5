"""RESULTS.md: a section a verb, each with its own date, machine and command; what a run did not measure stays as it was."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path

from bench.measured import Bar, Measured, table

FILE = "RESULTS.md"
WIDTH = 128
HEAD = """# Results

Written by `python -m bench --write`, never by hand. Each section has the date, the machine and the command of its own run;
what the columns mean, and how they are measured, stands in [the suite's page](README.md)."""
_SECTION = re.compile(r"<!-- begin (?P<verb>[\w-]+) -->\n(?P<body>.*?)\n<!-- end (?P=verb) -->", re.DOTALL)


def section(verb: str, measured: Measured, date: str, machine: str, command: str) -> str:
    parts = [
        f"## {verb}",
        _filled(f"{date}, {machine}, threads: {measured.threads}."),
        f"    {command}",
        _filled(measured.text),
        table(measured.head, measured.rows),
    ]
    if measured.picture is not None:
        parts.append(f"![{verb}]({verb}.png)")
    if measured.notes:
        parts.append(_listed(measured.notes))
    if measured.bars:
        parts.append(f"Bars:\n\n{_listed(map(_judged, measured.bars))}")
    return "\n\n".join(parts)


def sections_of(text: str) -> dict[str, str]:
    """By verb."""
    return {found["verb"]: found["body"] for found in _SECTION.finditer(text)}


def merged(text: str, new: Mapping[str, str], order: Iterable[str]) -> str:
    """The whole file: the new sections, and those of the old text that are not among them, in that order."""
    kept = sections_of(text) | dict(new)
    parts = [f"<!-- begin {verb} -->\n{kept[verb]}\n<!-- end {verb} -->" for verb in order if verb in kept]
    return "\n\n".join([HEAD, *parts]) + "\n"


def write(folder: Path, verb: str, said: str, order: Iterable[str], picture: bytes | None = None) -> None:
    """At once, so that a run that is broken off keeps what it has."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / FILE
    before = file.read_text("utf-8") if file.exists() else ""
    file.write_text(merged(before, {verb: said}, order), "utf-8")
    if picture is not None:
        (folder / f"{verb}.png").write_bytes(picture)


def _judged(bar: Bar) -> str:
    return str(bar) + {True: ": held", False: ": **missed**", None: ""}[bar.held]


def _listed(lines: Iterable[str]) -> str:
    return "\n".join(_filled(f"- {line}", "  ") for line in lines)


def _filled(text: str, indent: str = "") -> str:
    return textwrap.fill(text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
