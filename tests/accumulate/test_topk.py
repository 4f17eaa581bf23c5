"""TopK against sorting everything."""

from __future__ import annotations

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from phosphene.accumulate.topk import Best, TopK
from phosphene.errors import RequestError


def brute(values: Tensor, indices: Tensor, k: int, largest: bool, one_each: bool) -> list[list[tuple[float, int, int]]]:
    """Every entry of every unit, sorted by Python in the documented order."""
    found = []
    for unit in range(values.shape[1]):
        entries = {
            (float(values[row, unit, place]), int(item), place)
            for row, item in enumerate(indices)
            for place in range(values.shape[2])
        }
        ordered = sorted(entries, key=lambda e: (-e[0] if largest else e[0], e[1], e[2]))
        if one_each:
            seen: set[int] = set()
            ordered = [e for e in ordered if not (e[1] in seen or seen.add(e[1]))]  # type: ignore[func-returns-value]
        found.append(ordered[:k])
    return found


def told(best: Best) -> list[list[tuple[float, int, int]]]:
    rows = zip(best.values.tolist(), best.indices.tolist(), best.places.tolist(), strict=True)
    return [[e for e in zip(*row, strict=True) if e[1] >= 0] for row in rows]


@given(
    seed=st.integers(0, 2**32),
    items=st.integers(1, 40),
    units=st.integers(1, 4),
    places=st.integers(1, 6),
    k=st.integers(1, 12),
    levels=st.sampled_from([1, 2, 5, 10_000]),
    largest=st.booleans(),
    one_each=st.booleans(),
    shards=st.integers(1, 4),
)
@settings(max_examples=150)
def test_it_is_the_head_of_the_sorted_whole(
    seed: int, items: int, units: int, places: int, k: int, levels: int, largest: bool, one_each: bool, shards: int
) -> None:
    """Few levels make ties; batches, shards, their order and items that come twice change nothing; k may be too large."""
    chance = random.Random(seed)
    numbers = torch.Generator().manual_seed(seed)
    values = torch.randint(-levels, levels + 1, (items, units, places), generator=numbers) / 4
    order = list(range(items)) + [chance.randrange(items) for _ in range(chance.randrange(4))]
    chance.shuffle(order)
    parts = [TopK.of(units, k, largest=largest, one_each=one_each) for _ in range(shards)]
    while order:
        some, order = torch.tensor(order[: (cut := chance.randrange(1, 9))]), order[cut:]
        at = chance.randrange(shards)
        parts[at] = parts[at].update(values[some], some)
    while len(parts) > 1:
        chance.shuffle(parts)
        parts.append(parts.pop().merge(parts.pop()))
    assert told(parts[0].compute()) == brute(values, torch.arange(items), k, largest, one_each)


def test_what_is_not_there_is_told_so() -> None:
    best = TopK.of(2, 3).update(torch.ones(1, 2, 4), torch.tensor([7])).compute()
    assert best.indices.tolist() == [[7, -1, -1]] * 2
    assert best.places.tolist() == [[0, -1, -1]] * 2
    assert best.values[:, 1:].isnan().all()


def test_nan_never_enters() -> None:
    values = torch.tensor([[[torch.nan, 1.0]], [[torch.nan, torch.nan]], [[3.0, torch.nan]]])
    assert told(TopK.of(1, 5).update(values, torch.arange(3)).compute()) == [[(3.0, 2, 0), (1.0, 0, 1)]]


def test_updating_leaves_the_old_value_as_it_was() -> None:
    old = TopK.of(1, 2).update(torch.ones(1, 1, 1), torch.tensor([0]))
    old.update(torch.full((1, 1, 1), 5.0), torch.tensor([1]))
    assert told(old.compute()) == [[(1.0, 0, 0)]]


def test_a_state_comes_back_bit_for_bit() -> None:
    top = TopK.of(3, 2, largest=False, one_each=False).update(torch.rand(5, 3, 4), torch.arange(5))
    again = TopK.from_state(top.state())
    assert all(torch.equal(a, b) for a, b in zip(top.state().values(), again.state().values(), strict=True))
    assert (again.largest, again.one_each) == (False, False)


def test_nothing_is_the_neutral_element() -> None:
    top = TopK.of(2, 3).update(torch.rand(5, 2, 4), torch.arange(5))
    for joined in (top.merge(TopK.of(2, 3)), TopK.of(2, 3).merge(top)):
        assert torch.equal(joined.keys, top.keys)
        assert torch.equal(joined.items, top.items)


def test_two_kinds_do_not_merge() -> None:
    with pytest.raises(RequestError, match="the 2 largest of 1 units, one an item and the 2 smallest"):
        TopK.of(1, 2).merge(TopK.of(1, 2, largest=False))


def test_values_of_another_number_of_units_are_refused() -> None:
    with pytest.raises(RequestError, match=r"\(b, 3, places\)"):
        TopK.of(3, 2).update(torch.zeros(1, 2, 1), torch.tensor([0]))
