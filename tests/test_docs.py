"""What must be documented is, and the links of the documents lead somewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from phosphene import registry
from phosphene.cli.app import app
from phosphene.errors import Interrupted, PhospheneError
from tests.conftest import ROOT

PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + sorted((ROOT / "docs").rglob("*.md"))
OVERVIEW = (ROOT / "docs" / "how-to" / "overview.md").read_text("utf-8")


def classes(root: type[BaseException]) -> Iterator[type[BaseException]]:
    yield root
    for child in root.__subclasses__():
        if child.__module__.startswith("phosphene"):
            yield from classes(child)


@pytest.mark.parametrize("kind", [*classes(PhospheneError), Interrupted], ids=lambda kind: kind.__name__)
def test_every_error_has_a_page(kind: type[BaseException]) -> None:
    page = ROOT / "docs" / "errors" / f"{kind.__name__}.md"
    assert page.is_file()
    assert page.name in (page.parent / "README.md").read_text("utf-8")


@pytest.mark.parametrize("folder", ["decisions", "errors"])
def test_every_page_is_in_its_index(folder: str) -> None:
    pages = {page.name for page in (ROOT / "docs" / folder).glob("*.md")} - {"README.md"}
    index = (ROOT / "docs" / folder / "README.md").read_text("utf-8")
    assert set(re.findall(r"\(([\w-]+\.md)\)", index)) == pages


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text("utf-8"))
    broken = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not broken


@pytest.mark.parametrize("kind", ["recipes", "sources", "priors", "projections", "views", "methods", "sinks"])
def test_the_overview_names_what_is_registered(kind: str) -> None:
    missing = [name for name in registry.names(kind) if not re.search(rf"`{re.escape(name)}[`:]", OVERVIEW)]
    assert not missing


def test_the_overview_names_every_command() -> None:
    names = [command.name for command in app.registered_commands] + [group.name for group in app.registered_groups]
    assert all(f"`{name}`" in OVERVIEW for name in names)
