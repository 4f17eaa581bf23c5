"""Mutants: what is drawn, under which tests, and what is told. cosmic-ray, which makes them, is no requirement of the tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from bench.mutants import NONE, Coverage, Outcome, share, statements, told, unread
from coverage import CoverageData


def test_annotations_and_what_is_for_type_checkers_are_left_out() -> None:
    code = "if TYPE_CHECKING:\n    x = 1\ny: int | None = 2\n"
    assert sorted(unread(code)) == [((1, 0), (2, 9)), ((3, 3), (3, 13))]


def test_a_statement_of_several_lines_is_counted_where_it_begins() -> None:
    code = "def f():\n    if (a and\n            b):\n        return g(\n            1)\n"
    assert statements(code) == {1: 0, 2: 2, 3: 2, 4: 4, 5: 4, 6: 0}


@pytest.fixture
def tests(tmp_path: Path) -> Coverage:
    data = CoverageData(str(tmp_path / "coverage"))
    source = "/somewhere/src/phosphene/network/load.py"
    for context, lines in {
        "": [1],
        "tests/cli/test_commands.py::test_a|run": [5, 6, 7],
        "tests/network/test_probe.py::test_b|run": [5, 6],
        "tests/network/test_load.py::test_c|run": [5, 6, 7, 8],
        "tests/network/test_probe.py::test_d|setup": [5],
    }.items():
        data.set_context(context)
        data.add_lines({source: lines})
    data.write()
    return Coverage([tmp_path / "coverage"])


def test_the_nearest_tests_are_of_the_mirroring_file_then_of_its_folder_then_those_that_run_least(tests: Coverage) -> None:
    assert [test.rpartition("_")[2] for test in tests.of("network/load.py", 5)] == ["c", "d", "b", "a"]
    assert [test.rpartition("_")[2] for test in tests.of("network/load.py", 7)] == ["c", "a"]


def test_what_runs_at_import_belongs_to_all_tests_of_its_file(tests: Coverage) -> None:
    assert len(tests.of("network/load.py", 0)) == 4
    assert [test.rpartition("_")[2] for test in tests.of("network/load.py", 99)] == ["c"]


def outcome(verdict: str) -> Outcome:
    return Outcome("a.py:3 Add_Sub 0", "a + b", "a - b", verdict, NONE, 7, 1.0)


def test_the_share_that_is_killed_is_told_with_a_table_of_the_others() -> None:
    outcomes = [outcome("killed")] * 3 + [outcome("survived")]
    assert share(outcomes) == 75
    assert told(outcomes).splitlines()[0] == "75.0 % of 4 mutants killed; {'killed': 3, 'survived': 1}"
    assert told(outcomes).splitlines()[-1] == "| a.py:3 Add_Sub 0 | `a + b` | `a - b` | survived of 7 tests |"
