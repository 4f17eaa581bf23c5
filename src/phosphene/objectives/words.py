"""How names stand in an objective's text: bare where that is plain, quoted as in JSON otherwise."""

from __future__ import annotations

import json
import re
from itertools import islice

from ..errors import RequestError, shown

# Words joined by single spaces; not beginning with a digit (that is an index), nor a lone sign (that joins terms).
_BARE = re.compile(r"[^\W\d][\w.'/@-]*(?: (?![+-](?: |$))[\w.'/@+-]+)*")
_SPECIAL = re.compile(r'["\\]')


def quoted(name: str) -> str:
    """
    >>> quoted("polar bear"), quoted("black-and-tan"), quoted("7"), quoted("a: b")
    ('polar bear', 'black-and-tan', '"7"', '"a: b"')
    """
    return name if _BARE.fullmatch(name) else json.dumps(name)


def unquoted(text: str) -> str:
    """The other way; what is not quoted stands for itself."""
    if not text.startswith('"'):
        if not text or _SPECIAL.search(text):
            raise RequestError(f"name {shown(text)}; a name, or one in double quotes as in JSON, is needed")
        return text
    try:
        name = json.loads(text)
    except ValueError:
        raise RequestError(f"name {shown(text)}; its quotes do not close") from None
    assert isinstance(name, str)
    return name


def split(text: str, pattern: str, most: int = 0) -> list[str]:
    """Split where the pattern matches outside quotes; what the pattern groups is kept between the parts.

    most: splits, the rest of the text is the last part; 0: as many as there are.
    """
    if '"' not in text:
        return re.split(pattern, text, maxsplit=most)
    # A quote that never closes reaches to the end, so that no place is read twice: the time grows with the length alone.
    closed = rf'(?:"(?:[^"\\]|\\[\s\S])*(?:"|\\?\Z))+|{pattern}'
    cuts = islice((m for m in re.finditer(closed, text) if not m.group().startswith('"')), most or None)
    parts, start = [], 0
    for cut in cuts:
        parts.append(text[start : cut.start()])
        parts.extend(group for group in cut.groups() if group is not None)
        start = cut.end()
    return [*parts, text[start:]]
