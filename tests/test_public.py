"""The flat public face: what it names, and that naming it costs nothing."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import pytest

import phosphene as ph
from phosphene.errors import PhospheneError


def said_by(code: str) -> str:
    """Standard output of a fresh Python, that must print nothing else."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_public_names() -> None:
    assert ph.__all__ == sorted(set(ph.__all__))
    assert set(ph.__all__) == set(ph._MODULE_OF)


@pytest.mark.parametrize("name", ph.__all__)
def test_every_public_name_leads_to_something_documented(name: str) -> None:
    found = getattr(ph, name)
    assert found.__name__ == name
    assert found.__doc__


@pytest.mark.parametrize("name", ph.__all__)
def test_every_public_name_is_defined_where_it_is_said_to_be(name: str) -> None:
    assert getattr(ph, name).__module__ == f"phosphene.{ph._MODULE_OF[name]}"


def test_dir_lists_the_public_names() -> None:
    assert set(ph.__all__) <= set(dir(ph))
    assert dir(ph) == sorted(dir(ph))


def test_a_fresh_dir_lists_what_was_not_yet_imported() -> None:
    assert said_by("import phosphene, sys; print('render' in dir(phosphene), 'torch' in sys.modules)") == "True False\n"


def test_an_unknown_attribute_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'phosphene' has no attribute 'explode'"):
        _ = ph.explode  # type: ignore[attr-defined]  # there is none
    assert not hasattr(ph, "explode")


def test_the_version_is_the_installed_one() -> None:
    assert ph.__version__ == version("phosphene")


def test_import_prints_nothing_and_does_without_torch() -> None:
    heavy = "{'torch', 'numpy', 'PIL', 'typer', 'rich'}"
    assert said_by(f"import phosphene, sys; print(sorted({heavy} & set(sys.modules)))") == "[]\n"


def test_import_is_quick() -> None:
    """By what it brings: the package's own face, and little of Python's."""
    code = "import sys; before = set(sys.modules); import phosphene; print(*sorted(set(sys.modules) - before))"
    brought = said_by(code).split()
    assert [name for name in brought if name.partition(".")[0] not in sys.stdlib_module_names] == ["phosphene"]
    assert len(brought) < 40


def test_a_name_is_imported_when_it_is_asked_for_and_an_objective_needs_no_network() -> None:
    code = """
import phosphene as ph, sys
def brought(name): return any(module.startswith(name) for module in sys.modules)
print(brought("torch"))
ph.logit("cat")
print(brought("phosphene.objectives"), brought("phosphene.network"))
ph.load
print(brought("phosphene.network"), brought("torch"))
"""
    assert said_by(code).split() == ["False", "True", "False", "True", "True"]


def test_star_import_brings_the_public_names() -> None:
    names: dict[str, object] = {}
    exec("from phosphene import *", names)
    assert set(ph.__all__) <= set(names)


def test_an_interruption_is_a_keyboard_interrupt_and_none_of_our_errors() -> None:
    assert issubclass(ph.Interrupted, KeyboardInterrupt)
    assert not issubclass(ph.Interrupted, PhospheneError)
