"""What the README and the pages of docs/how-to show, runs; and what the README links to is there."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest
from PIL import Image

from phosphene.cli.app import main
from phosphene.pictures.colour import image_of
from phosphene.pictures.sample import sample
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text("utf-8")
ADDRESS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["urls"]["Source"]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs" / "how-to").glob("*.md"))]
BLOCK = re.compile(r"```(python|console)\n(.*?)```", re.DOTALL)
DRAWN = ("class-model", "render", "dream")


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder but for what the pages take for granted: a photograph, a folder for each class, a folder of more."""
    monkeypatch.chdir(tmp_path)
    whole = image_of(sample()[0])
    whole.save("photo.jpg")
    for name, left in (("ship", 120), ("airplane", 0)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(4):
            whole.crop((left + 20 * i, 10 * i, left + 20 * i + 320, 10 * i + 320)).save(f"photos/{name}/{i}.png")
    (tmp_path / "more").mkdir()
    whole.crop((200, 100, 440, 340)).save("more/boat.png")
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
@pytest.mark.filterwarnings("ignore")  # what may mislead in made pictures
def test_blocks_of_a_page_run_one_after_another(page: Path, photos: Path) -> None:
    """Commands that draw take few steps: of an option that is given twice the last counts."""
    names: dict[str, object] = {}
    for kind, block in BLOCK.findall(page.read_text("utf-8")):
        if kind == "python":
            exec(compile(block, page.name, "exec"), names)
            continue
        for line in block.replace("\\\n", " ").splitlines():
            program, *arguments = shlex.split(line)
            assert program == "phosphene"
            assert main(arguments + (["--steps", "3"] if arguments[0] in DRAWN else [])) == 0, line


def test_the_readme_shows_python_and_a_command() -> None:
    assert {kind for kind, _ in BLOCK.findall(README)} == {"python", "console"}


def test_the_python_of_the_readme_draws(photos: Path) -> None:
    (block,) = (block for kind, block in BLOCK.findall(README) if kind == "python")
    exec(compile(block, "README.md", "exec"), {})
    assert {folder.parent.name for folder in photos.rglob("contact_sheet.png")} == {"why", "models"}


def test_the_readme_is_a_front_page() -> None:
    assert len(README.splitlines()) <= 120


def test_links_of_the_readme_are_absolute_and_lead_to_files() -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", README)
    assert all(link.startswith(f"{ADDRESS}/") for link in links)
    paths = [re.sub(r"^(blob|raw)/main/|#.*$", "", link.removeprefix(f"{ADDRESS}/")) for link in links]
    assert [path for path in paths if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("name", re.findall(r"/raw/main/([^)\s]+)\)", README))
def test_pictures_of_the_readme_are_whole(name: str) -> None:
    with Image.open(ROOT / name) as image:
        image.load()
        assert image.width <= 1400


@pytest.mark.slow
def test_commands_of_the_overview_run_as_shown(photos: Path) -> None:
    page = (ROOT / "docs" / "how-to" / "overview.md").read_text("utf-8")
    for kind, block in BLOCK.findall(page):
        for line in block.splitlines() if kind == "console" else ():
            assert main(shlex.split(line)[1:]) == 0, line
