"""A folder that holds an earlier run keeps it; sheets of ours are no photographs."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image

from tests.cli.conftest import Phosphene

LINE = "class-model -m demo:robust --steps 1 -o out".split()


def items(name: str) -> list[tuple[str, str]]:
    return [(item["class"], item["file"]) for item in json.loads(Path("out", name).read_text())["items"]]


def test_another_request_keeps_the_earlier_run_whole(phosphene: Phosphene) -> None:
    assert phosphene(*LINE, "-c", "cat").err.splitlines()[0].startswith("rendering")
    before = Path("out/cat.png").read_bytes()
    ran = phosphene(*LINE, "-c", "cat", "-c", "dog", "--seed", "1")
    assert ran.err.splitlines()[0] == "note: the earlier run in out is kept; its run.json becomes run-1.json"
    phosphene(*LINE, "-c", "cat", "--seed", "2")
    assert items("run-1.json") == [("cat", "cat.png")]
    assert Path("out/cat.png").read_bytes() == before
    listed = [file for name in ("run-1.json", "run-2.json", "run.json") for _, file in items(name)]
    assert len(set(listed)) == len(listed) == 4
    kept = {"contact_sheet.png", "contact_sheet.run-1.png", "contact_sheet.run-2.png", "run-1.json", "run-2.json", "run.json"}
    assert {path.name for path in Path("out").iterdir()} == kept | set(listed)


def test_the_same_request_is_made_in_its_place(phosphene: Phosphene) -> None:
    for _ in range(2):
        ran = phosphene(*LINE, "-c", "cat")
    assert "kept" not in ran.err
    assert sorted(path.name for path in Path("out").iterdir()) == ["cat.png", "contact_sheet.png", "run.json"]


def test_a_sheet_is_no_photograph_unless_it_is_named(phosphene: Phosphene) -> None:
    phosphene(*LINE, "-c", "cat")
    explain = "explain -m demo:robust --method gradient -c cat".split()
    ran = phosphene(*explain, "out", "-o", "why")
    assert ran.status == 0
    assert "note: out/contact_sheet.png is a sheet that Phosphene made and was passed over; name it to read it" in ran.err
    assert [item["image"] for item in json.loads(Path("why/run.json").read_text())["items"]] == ["out/cat.png"]
    assert phosphene(*explain, "out/contact_sheet.png", "-o", "named").status == 0
    Image.new("RGB", (40, 40), "red").save("out/contact_sheet.png")  # a user's own
    assert len(json.loads(Path("why/run.json").read_text())["items"]) == 1
    phosphene(*explain, "out", "-o", "own")
    assert len(json.loads(Path("own/run.json").read_text())["items"]) == 2


def test_short_words_of_options(phosphene: Phosphene) -> None:
    assert "Start here" in phosphene("-h").out
    words = " ".join(phosphene("explain", "-h").out.split())
    assert "--chunk,--batch,--batch-s" in words
    assert "grad_cam" in words
    assert "fine_cam" in words


def test_quiet_leaves_errors_alone(phosphene: Phosphene) -> None:
    phosphene(*LINE, "-c", "cat")
    Path("out/broken.png").write_bytes(Path("out/cat.png").read_bytes()[:200])
    ran = phosphene("explain", "-m", "demo:robust", "out", "-o", "why", "-q")
    assert ran.err.splitlines() == [line for line in ran.err.splitlines() if line.startswith("phosphene: ")]
    assert "broken.png" in ran.err
    assert phosphene("-q", *LINE, "-c", "dog").err == ""
    assert phosphene(*LINE, "-c", "dgo", "--quiet").err.startswith("phosphene: no class 'dgo'")
