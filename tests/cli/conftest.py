"""The program run in this process, and what it said."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

import phosphene as ph
from phosphene.cli.app import main
from phosphene.network import load as loading
from phosphene.rendering import rerun


@dataclass(frozen=True)
class Ran:
    status: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The only line on standard error."""
        assert self.err.count("\n") == 1
        return self.err.removesuffix("\n")


Phosphene = Callable[..., Ran]


@pytest.fixture(scope="package", autouse=True)
def _bundled_networks_are_opened_once(robust: ph.Network, standard: ph.Network) -> Iterator[None]:
    """Opening and preparing one costs more than what most commands do with it, and it is the same each time."""
    opened, load = {"demo:robust": robust, "demo:standard": standard}, loading.load

    def kept(reference: str, *, device: str | None = None) -> ph.Network:
        return opened[reference] if reference in opened and device in (None, "cpu") else load(reference, device=device)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(loading, "load", kept)
        patched.setattr(rerun, "load", kept)
        yield


def run_in(folder: Path, *arguments: str) -> Ran:
    """Runs a command line in a folder."""
    with contextlib.chdir(folder), redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
        status = main(arguments)
    return Ran(status, out.getvalue(), err.getvalue())


@pytest.fixture
def phosphene(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Phosphene:
    """Runs a command line in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Ran:
        capsys.readouterr()
        status = main(arguments)
        return Ran(status, *capsys.readouterr())

    return run


def contents(folder: str | Path) -> dict[str, Any]:
    """Every file of a folder; of run.json what it says, but for the time that it took."""
    found: dict[str, Any] = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
    return found | {"run.json": json.loads(found["run.json"]) | {"seconds": None}}
