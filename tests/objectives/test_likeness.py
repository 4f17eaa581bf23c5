from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

import phosphene as ph
from phosphene.errors import RequestError
from phosphene.objectives.likeness import Likeness
from phosphene.pictures import colour, files
from phosphene.rendering.recipe import find_recipe

ONE = torch.tensor([[[[1.0, 2.0], [0.0, -1.0]]]])
PICTURE = torch.linspace(0, 1, 48).reshape(1, 3, 4, 4)


def bound(objective: ph.Objective, features: Tensor = ONE) -> ph.Objective:
    return objective.bound(lambda picture, address: features)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "a photo.png"
    files.write_png(path, colour.image_of(PICTURE[0]))
    return path


def test_a_match_is_nought_at_the_picture_itself_and_minus_one_at_nothing() -> None:
    match = bound(ph.match("m", PICTURE))
    there = torch.cat([ONE, torch.zeros_like(ONE), 2 * ONE])
    assert match({"m": there}).tolist() == pytest.approx([0, -1, -1])


def test_a_caricature_is_the_length_along_the_picture() -> None:
    plain = bound(ph.caricature("m", PICTURE, power=0))
    length = ONE.norm().item()
    assert plain({"m": torch.cat([ONE, 3 * ONE, -ONE])}).tolist() == pytest.approx([length, 3 * length, -length])


def test_the_power_of_a_caricature_asks_for_the_angle() -> None:
    across = torch.tensor([[[[2.0, -1.0], [0.0, 0.0]]]])  # at a right angle to ONE
    both = ONE + across
    cosine = (ONE.norm() / both.norm()).item()
    squared = bound(ph.caricature("m", PICTURE, power=2))
    assert squared({"m": both}).item() == pytest.approx(ONE.norm().item() * cosine**2, rel=1e-5)


def test_a_file_and_its_text_name_the_same_objective(photo: Path) -> None:
    objective = 2 * ph.match("stage2.0", photo) - ph.caricature("stage1.0", photo, power=3)
    again = ph.parse(str(objective))
    assert (again, str(again), hash(again)) == (objective, str(objective), hash(objective))


def test_the_same_picture_by_two_paths_is_one_objective(photo: Path) -> None:
    other = photo.with_name("other.png")
    other.write_bytes(photo.read_bytes())
    assert ph.match("m", photo) == ph.match("m", other)
    assert ph.match("m", PICTURE) == ph.match("m", PICTURE.clone()) != ph.match("m", 1 - PICTURE)


def test_a_record_pins_the_file(photo: Path) -> None:
    pinned = str(ph.match("m", photo).inlined())
    assert str(ph.parse(pinned).inlined()) == pinned
    photo.write_bytes(photo.read_bytes() + b" ")
    with pytest.raises(RequestError, match="is another now than when it was named"):
        ph.parse(pinned)


def test_a_text_from_elsewhere_names_no_picture(photo: Path) -> None:
    for text in (str(ph.match("m", photo)), str(ph.caricature("m", photo))):
        with pytest.raises(RequestError, match="names a file, which a record from elsewhere must not"):
            ph.parse(text, files=False)


def test_it_wants_a_network_first() -> None:
    with pytest.raises(RequestError, match="is not bound to a network"):
        ph.match("m", PICTURE)({"m": ONE})


def test_features_that_are_all_zero_are_refused() -> None:
    with pytest.raises(RequestError, match="features at m are all zero; another layer"):
        bound(ph.match("m", PICTURE), torch.zeros_like(ONE))


@pytest.mark.parametrize(
    ("picture", "words"),
    [
        (torch.zeros(2, 3, 4, 4), r"match of a picture \(2, 3, 4, 4\); one \(1, c, h, w\) is needed"),
        (torch.zeros(1, 3, 4, 4, dtype=torch.long), "is torch.int64, whose white can be"),
        ("nowhere.png", "picture 'nowhere.png' is no file of up to"),
        ("a\0b", "is no file"),
    ],
)
def test_no_picture_is_answered_in_a_sentence(picture: Tensor | str, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        ph.match("m", picture)


def test_a_picture_in_memory_is_named_by_its_digest() -> None:
    (_, unit), *_ = ph.match("m", PICTURE).terms
    assert isinstance(unit, Likeness)
    assert str(unit) == f'match:m:"picture#{unit.digest}"'


def test_rendering_a_match_inverts_the_features() -> None:
    net = ph.load("demo:robust")
    wanted, recipe = ph.match("stage1.0", PICTURE), find_recipe("pixels", (3, 32, 32))
    start = ph.render(net, wanted, recipe=recipe, steps=1, views=[]).scores.item()
    found = ph.render(net, wanted, recipe=recipe, steps=64, views=[], projections=[], lr=0.02).scores.item()
    assert -0.1 < found < 0
    assert found > start


def test_a_match_holds_an_accentuated_picture_near_the_photograph(photo: Path) -> None:
    net = ph.load("demo:robust")
    recipe = ph.Recipe("near", canvas=ph.pixels(str(photo)), lr=0.02, steps=16)
    free = ph.render(net, "logit:cat", recipe=recipe).pictures
    held = ph.render(net, ph.logit("cat") + 20 * ph.match("stage1.0", photo), recipe=recipe).pictures
    real = net.preprocess.fit(ph.read(photo))
    assert (held - real).norm() < 0.7 * (free - real).norm()
    assert net.scores(held)[0, net.index("cat")] > net.scores(real)[0, net.index("cat")]


def test_a_match_runs_again_where_its_file_is_trusted(photo: Path, tmp_path: Path) -> None:
    net = ph.load("demo:robust")
    ph.render(net, ph.match("stage1.0", photo), steps=3, frames=0).save(tmp_path / "out")
    (made,) = [path for path in (tmp_path / "out").glob("*.png") if path.name != "contact_sheet.png"]
    with pytest.raises(ph.PhospheneError, match="names a file"):
        ph.rerun(made)
    assert ph.rerun(made, trust=True).identical
