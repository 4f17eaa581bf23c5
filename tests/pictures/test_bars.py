"""A chart of bars: how long each is, and that rows stand apart."""

from __future__ import annotations

import numpy as np
import pytest

from phosphene.errors import RequestError
from phosphene.pictures import bars, contact_sheet


def test_a_bar_is_as_long_as_its_value_and_rows_stand_apart() -> None:
    values = [0.0, 0.25, 1.0]
    sheet = np.asarray(bars.chart([(f"class {i}", value, "") for i, value in enumerate(values)], title="three"))
    bar, track = ((sheet == colour).all(2) for colour in (bars._BAR, bars._TRACK))
    filled = np.flatnonzero((bar | track).sum(1) > bars._LENGTH)
    rows = np.split(filled, np.flatnonzero(np.diff(filled) > 1) + 1)
    assert [len(row) for row in rows] == [contact_sheet.LINE - 6] * 3
    assert [int(bar[row[0]].sum()) for row in rows] == [0, bars._LENGTH // 4 + 1, bars._LENGTH + 1]


def test_a_chart_of_nothing_is_refused() -> None:
    with pytest.raises(RequestError, match="a chart of no rows"):
        bars.chart([])
