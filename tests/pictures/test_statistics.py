from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import phosphene as ph
from phosphene.cli.app import main
from phosphene.pictures.colour import image_of
from phosphene.pictures.files import write_png
from phosphene.pictures.statistics import SIDE, Statistics, measure, statistics
from phosphene.rendering.spectral import phase

MEAN = torch.full((1, 3, SIDE, SIDE), 0.5)


def drawn(count: int) -> list[torch.Tensor]:
    """Pictures whose spectrum is known: it is that of natural ones."""
    surface = phase(contrast=0.4).surface(MEAN)
    return list(surface.picture(surface.start([str(k) for k in range(count)], 0, 0)).split(1))


def test_what_was_put_into_pictures_is_measured_again() -> None:
    found, given = measure(drawn(24)), statistics()
    ratio = found.spectrum[0, 1:40, 1:40] / given.spectrum[0, 1:40, 1:40]
    assert (ratio / ratio.mean()).log().std() < 0.25


def test_the_basis_makes_colours_again() -> None:
    pictures = [picture * torch.tensor([1.0, 0.5, 0.2]).view(1, 3, 1, 1) for picture in drawn(4)]
    found = measure(pictures)
    values = torch.cat([p.flatten(2)[0] for p in pictures], 1)
    torch.testing.assert_close(found.basis @ found.basis.T, torch.cov(values), rtol=0.1, atol=1e-3)
    torch.testing.assert_close(found.mean, values.mean(1), rtol=0.02, atol=0.01)


def test_statistics_are_a_file_that_comes_back(tmp_path: Path) -> None:
    found = measure(drawn(3))
    again = statistics(str(found.save(tmp_path / "s.safetensors")))
    torch.testing.assert_close(again.spectrum, found.spectrum, rtol=1e-2, atol=1e-3)
    torch.testing.assert_close(again.basis, found.basis)


def test_one_picture_has_no_statistics() -> None:
    with pytest.raises(ph.PhospheneError, match="statistics of 1 pictures"):
        measure(drawn(1))


@pytest.mark.parametrize("content", [b"", b"no", None])
def test_a_file_that_holds_none_is_told(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "s.safetensors").write_bytes(content)
    with pytest.raises(ph.PhospheneError, match="statistics"):
        statistics(str(tmp_path / "s.safetensors"))


def test_the_command_measures_a_folder_and_a_recipe_takes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for k, picture in enumerate(drawn(3)):
        write_png(tmp_path / f"{k}.png", image_of(picture[0]))
    (tmp_path / "notes.txt").write_text("no picture")
    out = tmp_path / "mine.safetensors"
    assert main(["statistics", str(tmp_path), "-o", str(out)]) == 0
    said = capsys.readouterr()
    assert "of 3 pictures" in said.out
    assert "left out" in said.err
    recipe = tmp_path / "r.toml"
    recipe.write_text(f'optimiser = "adam"\nlr = 0.1\ncanvas = {{kind = "phase", magnitude = "{out}"}}\n')
    assert (
        main(["class-model", "-m", "demo:robust", "-c", "cat", "--recipe", str(recipe), "--steps", "2", "-o", str(tmp_path)])
        == 0
    )


def test_the_command_measures_the_layers_of_a_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for k, picture in enumerate(drawn(9)):
        write_png(tmp_path / f"{k}.png", image_of(picture[0]))
    out = tmp_path / "a&b.safetensors"
    asked = ["-m", "demo:robust", "--layer", "stem.1", "--layer", "stage2.0.bn1"]
    assert main(["statistics", str(tmp_path), *asked, "-o", str(out)]) == 0
    told = capsys.readouterr().out
    assert "2 layers over 9 pictures" in told
    reference = told.split("'")[1]
    assert ph.load(reference).statistics.source == "9 photographs"  # type: ignore[union-attr]
    assert (
        main(["class-model", "-m", reference, "-c", "cat", "--recipe", "natural-fast", "--steps", "2", "-o", str(tmp_path)])
        == 0
    )
    assert main(["statistics", str(tmp_path), "--layer", "stem.1"]) == 2
    assert "name it with -m" in capsys.readouterr().err


def test_a_folder_that_is_not_there_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["statistics", "nowhere"]) == 2
    assert "is no folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    "changed",
    [
        {"basis": torch.eye(2)},
        {"spectrum": torch.ones(3, SIDE, SIDE)},
        {"spectrum": torch.full((3, SIDE, SIDE // 2 + 1), torch.inf)},
    ],
    ids=["basis", "spectrum", "infinite"],
)
def test_statistics_whose_parts_do_not_fit_are_refused(changed: dict[str, torch.Tensor], tmp_path: Path) -> None:
    whole = Statistics(torch.ones(3, SIDE, SIDE // 2 + 1), torch.zeros(3), torch.eye(3))
    assert statistics(str(whole.save(tmp_path / "whole.safetensors"))).basis.equal(torch.eye(3))
    path = replace(whole, **changed).save(tmp_path / "s.safetensors")
    with pytest.raises(ph.PhospheneError, match="is not what `phosphene statistics` writes"):
        statistics(str(path))
