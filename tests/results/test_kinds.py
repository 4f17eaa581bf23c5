"""Renderings: what they say, show and write."""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

import phosphene as ph
from phosphene.errors import RequestError
from phosphene.pictures import colour, files
from phosphene.results.kinds import Item, Rendering, join
from phosphene.results.record import Record

TEXTS = ["logit:cat", "channel:stage1.0:3", "probability:ship"]


@pytest.fixture(scope="module")
def rendering(robust: ph.Network) -> ph.Rendering:
    return ph.render(robust, TEXTS, steps=3, frames=3)


def test_a_rendering_has_one_of_each_per_objective(rendering: ph.Rendering) -> None:
    assert len(rendering) == len(rendering.items) == len(rendering.records) == len(rendering.pictures) == 3
    assert rendering.history.shape == (3, 3)
    assert rendering.frames.shape == (3, 3, 3, 32, 32)
    assert [record.objective for record in rendering.records] == ["logit:3", TEXTS[1], "probability:8"]


def test_the_last_frame_is_the_finished_picture(rendering: ph.Rendering) -> None:
    assert torch.equal(rendering.frames[-1], (rendering.pictures * 255).round().byte())


def test_its_repr_is_short(rendering: ph.Rendering) -> None:
    many = replace(rendering, items=rendering.items * 50)
    assert repr(rendering).startswith("Rendering(3 of 3×32×32: 'logit:cat, channel:stage1.0:3")
    assert len(repr(many)) < 120


def test_a_class_is_said_in_words_and_numbers(rendering: ph.Rendering, robust: ph.Network) -> None:
    scores = robust.scores(rendering.pictures)[0]
    item = rendering.items[0]
    assert (item.name, item.index, item.rank) == ("cat", 3, 1 + int((scores > scores[3]).sum()))
    assert item.score == pytest.approx(float(scores[3]), abs=1e-4)
    assert item.probability == pytest.approx(float(scores.softmax(0)[3]), abs=1e-5)


def test_a_hidden_unit_has_a_value_and_no_class(rendering: ph.Rendering) -> None:
    item = rendering.items[1]
    assert (item.name, item.index, item.probability, item.rank) == (None, None, None, None)
    assert item.label == (TEXTS[1], f"value {item.score:.4g}")


def test_a_class_without_a_probability_is_labelled_by_its_score() -> None:
    assert Item("logit:cat", "cat", 3, 0, 1.25, None, None).label == ("cat", "score 1.2")
    assert Item("logit:cat", "cat", 3, 0, 1.25, 0.5, 1).label == ("cat", "score 1.2, p 0.50")


def test_notes_stand_in_the_dict_only_where_there_are_any() -> None:
    item = Item("layer:a", None, None, 0, 1.0, None, None)
    assert "notes" not in item.to_dict()
    assert replace(item, notes=("odd",)).to_dict()["notes"] == ["odd"]


def test_saving_writes_pictures_sheet_and_run(rendering: ph.Rendering, tmp_path: Path) -> None:
    said = json.loads(rendering.save(tmp_path / "new" / "out").read_text("utf-8"))
    names = {path.name for path in (tmp_path / "new" / "out").iterdir()}
    assert names == {"cat.png", "channel-stage1.0-3.png", "probability-ship.png", "contact_sheet.png", "run.json"}
    assert said.keys() == {"phosphene", "command", "model", "device", "arguments", "seconds", "items"}
    assert said["model"].keys() == {"ref", "sha256"}


def test_the_run_says_of_a_class_what_is_promised(rendering: ph.Rendering, tmp_path: Path) -> None:
    item = json.loads(rendering.save(tmp_path).read_text("utf-8"))["items"][0]
    assert item.keys() == {"objective", "class", "index", "seed", "score", "probability", "rank", "distance", "file"}
    assert (item["objective"], item["class"], item["index"], item["file"]) == ("logit:cat", "cat", 3, "cat.png")


def test_a_saved_picture_is_the_picture_with_its_signed_record(rendering: ph.Rendering, tmp_path: Path) -> None:
    rendering.save(tmp_path)
    image, text = files.read_png(tmp_path / "probability-ship.png")
    assert torch.equal((ph.read(tmp_path / "probability-ship.png")[0] * 255).round(), (rendering.pictures[2] * 255).round())
    assert Record.from_json(text) == rendering.signed_record(2)
    assert Record.from_json(text).pixels_sha256 == colour.pixels_sha256(image)


def test_saving_leaves_the_rendering_as_it_was(rendering: ph.Rendering, tmp_path: Path) -> None:
    before, record = rendering.pictures.clone(), rendering.record
    rendering.save(tmp_path)
    assert torch.equal(rendering.pictures, before)
    assert rendering.record == record
    assert record.pixels_sha256 == ""


def test_saving_can_animate_each_picture(rendering: ph.Rendering, tmp_path: Path) -> None:
    items = json.loads(rendering.save(tmp_path, animate="gif").read_text("utf-8"))["items"]
    assert [item["animation"] for item in items] == ["cat.gif", "channel-stage1.0-3.gif", "probability-ship.gif"]
    for item in items:
        with Image.open(tmp_path / item["animation"]) as image:
            assert image.format == "GIF"


def test_an_apng_does_not_take_the_pictures_place(rendering: ph.Rendering, tmp_path: Path) -> None:
    rendering.save(tmp_path, animate="png")
    assert Record.from_json(files.read_png(tmp_path / "cat.png")[1]).objective == "logit:3"


def test_saving_as_an_unknown_animation_writes_no_picture(rendering: ph.Rendering, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="animation 'avi'; one of gif"):
        rendering.save(tmp_path, animate="avi")
    assert not list(tmp_path.glob("*.png"))


def test_several_are_animated_in_a_grid_and_one_alone(rendering: ph.Rendering, tmp_path: Path) -> None:
    with (
        Image.open(rendering.animate(tmp_path / "all.webp")) as every,
        Image.open(rendering.animate(tmp_path / "a.webp", 1)) as one,
    ):
        assert every.n_frames == one.n_frames == 3  # type: ignore[attr-defined]  # of the plug-in's class
        assert one.size == (224, 224)
        assert every.size == (7 * (32 + 2 + 32 + 2 + 32), 7 * 32)


def test_the_last_of_an_animation_is_the_finished_picture(rendering: ph.Rendering, tmp_path: Path) -> None:
    with Image.open(rendering.animate(tmp_path / "a.png", item=2)) as image:
        image.seek(2)
        small = image.convert("RGB").resize((32, 32), Image.Resampling.NEAREST)
        assert small.tobytes() == rendering.image(2).tobytes()


def test_a_rendering_without_frames_is_not_animated(rendering: ph.Rendering, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="an animation of 0 frames"):
        replace(rendering, frames=rendering.frames[:0]).animate(tmp_path / "a.gif")


@pytest.mark.parametrize("item", [3, -1, 1.0, True])
def test_an_item_outside_is_refused(rendering: ph.Rendering, item: int) -> None:
    with pytest.raises(RequestError, match="item is "):
        rendering.image(item)


def test_the_sheet_takes_the_columns_asked_for(rendering: ph.Rendering) -> None:
    assert rendering.contact_sheet(1).height > rendering.contact_sheet(1).width
    assert rendering.contact_sheet(3).width > rendering.contact_sheet(3).height


@pytest.mark.parametrize("columns", [0, -1, 1.5])
def test_odd_columns_are_refused(rendering: ph.Rendering, columns: int) -> None:
    with pytest.raises(RequestError, match="columns is "):
        rendering.contact_sheet(columns)


@pytest.mark.parametrize("channels", [1, 2, 24])
def test_pictures_of_any_channels_are_shown_and_written(rendering: ph.Rendering, channels: int, tmp_path: Path) -> None:
    some = replace(
        rendering, pictures=torch.rand(3, channels, 6, 5), frames=torch.zeros(3, 3, channels, 6, 5, dtype=torch.uint8)
    )
    some.save(tmp_path)
    assert files.read_png(tmp_path / "cat.png")[0].mode == "L"
    assert some.animate(tmp_path / "all.gif").is_file()


def test_a_notebook_shows_the_sheet(rendering: ph.Rendering) -> None:
    form = r'<figure><img alt="[^"<>]*" style="[^"]*" src="data:image/png;base64,([^"]+)"></figure>'
    found = re.fullmatch(form, rendering._repr_html_())
    assert found
    assert Image.open(io.BytesIO(base64.b64decode(found.group(1)))).tobytes() == rendering.contact_sheet().tobytes()


def test_a_notebook_is_given_no_markup_of_strangers(rendering: ph.Rendering) -> None:
    bad = '"><script>alert(1)</script>'
    item = replace(rendering.items[0], objective=bad, name=bad, notes=(bad,))
    record = replace(rendering.record, model={"ref": bad, "sha256": ""}, recipe={"name": bad, "steps": bad})
    hostile = replace(rendering, items=(item,) * 3, records=(record,) * 3, notes=(bad,))._repr_html_()
    assert "<script" not in hostile
    assert hostile.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 5


def test_a_dead_unit_is_labelled_as_one(rendering: ph.Rendering) -> None:
    dead = replace(rendering.items[1], notes=("the gradient is zero at all 7 starts: a dead unit",))
    plain = rendering.contact_sheet()
    assert replace(rendering, items=(rendering.items[0], dead, rendering.items[2])).contact_sheet().height > plain.height


def test_renderings_join_one_after_another(rendering: ph.Rendering, robust: ph.Network) -> None:
    other = ph.render(robust, "logit:dog", steps=3, frames=3)
    both = join([rendering, other])
    assert [item.objective for item in both.items] == [*TEXTS, "logit:dog"]
    assert both.frames.shape == (3, 4, 3, 32, 32)
    assert torch.equal(both.pictures[3:], other.pictures)
    assert torch.equal(both.history, torch.cat([rendering.history, other.history], 1))
    assert torch.equal(both.scores, torch.cat([rendering.scores, other.scores]))
    assert both.records == (*rendering.records, *other.records)


def test_one_rendering_joined_is_itself(rendering: ph.Rendering) -> None:
    assert torch.equal(join([rendering]).pictures, rendering.pictures)


def test_nothing_to_join_is_refused() -> None:
    with pytest.raises(RequestError, match="no renderings to join; at least one"):
        join([])


def test_a_rendering_cannot_be_changed(rendering: Rendering) -> None:
    with pytest.raises(AttributeError):
        rendering.notes = ()  # type: ignore[misc]  # the mistake
