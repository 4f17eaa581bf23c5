"""RESULTS.md is written whole, and a run changes its own sections alone."""

from __future__ import annotations

from pathlib import Path

from bench.measured import Bar, Measured

from bench import results

ORDER = ("render", "cam", "scaling")
FIGURES = Measured(
    "What was measured.", ("a", "b"), (("1", "2"),), ("a note",), (Bar("cam", 1.0, 2.0), Bar("cam", 3.0, 2.0)), 2
)


def test_sections_that_were_not_measured_stay_as_they_were() -> None:
    before = results.merged("", {"render": "## render\n\nold", "cam": "## cam\n\nold"}, ORDER)
    after = results.merged(before, {"cam": "## cam\n\nnew"}, ORDER)
    assert results.sections_of(after) == {"render": "## render\n\nold", "cam": "## cam\n\nnew"}


def test_sections_stand_in_their_order_whatever_was_run_first() -> None:
    text = results.merged(results.merged("", {"scaling": "c"}, ORDER), {"render": "a", "cam": "b"}, ORDER)
    assert list(results.sections_of(text)) == list(ORDER)


def test_merging_nothing_changes_nothing() -> None:
    text = results.merged("", {"render": "a", "cam": "b"}, ORDER)
    assert results.merged(text, {}, ORDER) == text


def test_what_was_written_by_hand_between_the_sections_goes() -> None:
    text = results.merged("", {"render": "a", "cam": "b"}, ORDER)
    assert results.merged(text.replace("<!-- begin cam", "By hand.\n\n<!-- begin cam"), {}, ORDER) == text


def test_a_section_says_when_where_and_how() -> None:
    said = results.section("cam", FIGURES, "2031-02-03", "a machine", "python -m bench cam")
    assert said.startswith("## cam\n\n2031-02-03, a machine, threads: 2.\n\n    python -m bench cam\n\n")
    assert "| 1 | 2 |\n\n- a note\n" in said
    assert said.count(": **missed**") == said.count(": held") == 1


def test_a_plot_is_written_beside_its_section(tmp_path: Path) -> None:
    drawn = Measured("A curve.", ("a",), (), picture=b"a picture")
    said = results.section("scaling", drawn, "2031-02-03", "a machine", "python -m bench")
    results.write(tmp_path, "scaling", said, ORDER, drawn.picture)
    assert "![scaling](scaling.png)" in (tmp_path / results.FILE).read_text("utf-8")
    assert (tmp_path / "scaling.png").read_bytes() == b"a picture"
