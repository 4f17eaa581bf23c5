from __future__ import annotations

import numpy as np
import pytest

from phosphene.training import guard


def test_what_draws_from_numpy_inside_does_not_move_its_generator() -> None:
    before = np.random.get_state()
    try:
        np.random.seed(3)
        expected = np.random.rand()
        np.random.seed(3)
        with guard.untouched():
            np.random.rand(7)
        assert np.random.rand() == pytest.approx(expected, abs=0)
    finally:
        np.random.set_state(before)
