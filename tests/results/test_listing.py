from __future__ import annotations

from pathlib import Path

import pytest

from phosphene.results.listing import Listing


@pytest.mark.parametrize("names", [("cat", "Cat"), ("Cat", "cat")])
def test_names_that_differ_in_case_alone_get_files_of_their_own(tmp_path: Path, names: tuple[str, str]) -> None:
    listing = Listing(tmp_path, command="", model={})
    first, second = (listing._stem(name).casefold() for name in names)
    assert first != second
