"""Moments and histograms against torch on the whole, and their merging."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from phosphene.accumulate.histogram import Histogram, edges
from phosphene.accumulate.moments import Moments
from phosphene.errors import RequestError


def values(seed: int = 0, scale: float = 1.0) -> Tensor:
    return torch.randn(30, 4, 6, generator=torch.Generator().manual_seed(seed)) * scale


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e4, 1e15])
def test_moments_are_those_of_the_whole(scale: float) -> None:
    given_ = values(scale=scale)
    given_[:, 3] = -given_[:, 3].abs()
    got = Moments.of(4).update(given_).compute()
    flat = given_.transpose(0, 1).flatten(1).double()
    torch.testing.assert_close(got.mean.double(), flat.mean(1), rtol=1e-5, atol=1e-7 * scale)
    torch.testing.assert_close(got.spread.double(), flat.std(1, correction=0), rtol=1e-5, atol=1e-9)
    torch.testing.assert_close(got.sparsity.double(), (flat <= 0).double().mean(1), rtol=1e-6, atol=0)
    assert got.dead.tolist() == [False, False, False, True]


@given(seed=st.integers(0, 2**32), cuts=st.lists(st.integers(1, 29), max_size=6), power=st.integers(-8, 14))
@settings(max_examples=40)
def test_parts_in_any_order_give_the_same_bits(seed: int, cuts: list[int], power: int) -> None:
    whole = values(seed, 10.0**power)
    numbers = torch.Generator().manual_seed(seed)
    shuffled = whole[torch.randperm(30, generator=numbers)]
    ends = [0, *sorted(set(cuts)), 30]
    parts = [Moments.of(4).update(shuffled[a:b]) for a, b in pairwise(ends)]
    joined = Moments.of(4)
    for i in torch.randperm(len(parts), generator=numbers).tolist():
        joined = parts[i].merge(joined)
    straight = Moments.of(4).update(whole)
    assert all(torch.equal(a, b) for a, b in zip(joined.state().values(), straight.state().values(), strict=True))


def test_what_is_not_finite_is_counted_apart() -> None:
    given_ = torch.tensor([[[1.0, torch.nan, 3.0]], [[torch.inf, 2.0, 2.0]]])
    moments = Moments.of(1).update(given_)
    assert moments.faulty.tolist() == [2]
    assert moments.compute().mean.item() == 2.0


def test_nothing_seen_is_nan() -> None:
    got = Moments.of(2).compute()
    assert got.mean.isnan().all()
    assert not got.dead.any()


def test_sums_that_cancel_keep_their_small_part() -> None:
    given_ = torch.tensor([[[1e15]], [[1.0]], [[-1e15]]])
    assert Moments.of(1).update(given_).compute().mean.item() == pytest.approx(1 / 3)


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=30))
@settings(max_examples=60)
def test_every_value_falls_into_the_bin_of_its_edges(numbers: list[float]) -> None:
    counts = Histogram.of(1).update(torch.tensor(numbers)[:, None]).compute()[0]
    assert counts.sum() == len(numbers)
    ends = edges().double()
    for place in counts.nonzero().flatten().tolist():
        low, high = float(ends[place]) - 1e-6, float(ends[place + 1]) + 1e-6
        slack = 1e-5 * max(abs(low), abs(high))
        assert sum(low - slack <= number <= high + slack for number in numbers) >= counts[place]


def test_quantiles_are_known_to_a_fifth() -> None:
    numbers = torch.linspace(1, 1000, 1001)
    sketch = Histogram.of(1).update(numbers[:, None])
    for share in (0.1, 0.5, 0.9):
        assert sketch.quantile(share).item() == pytest.approx(float(numbers.quantile(share)), rel=0.2)


def test_histograms_add_up_in_any_order() -> None:
    a, b = (Histogram.of(4).update(values(seed).amax(2)) for seed in (1, 2))
    both = Histogram.of(4).update(torch.cat([values(1), values(2)]).amax(2))
    assert torch.equal(a.merge(b).counts, both.counts)
    assert torch.equal(b.merge(a).counts, both.counts)


def test_a_value_that_is_no_number_is_in_no_bin() -> None:
    assert Histogram.of(1).update(torch.tensor([[torch.nan], [1.0]])).counts.sum() == 1


@pytest.mark.parametrize("kind", [Moments, Histogram])
def test_other_numbers_of_units_do_not_merge(kind: type[Moments] | type[Histogram]) -> None:
    with pytest.raises(RequestError, match="do not merge"):
        kind.of(2).merge(kind.of(3))  # type: ignore[arg-type]


def test_an_empty_batch_changes_nothing() -> None:
    seen = Moments.of(4).update(values())
    assert torch.equal(seen.update(torch.zeros(0, 4, 6)).total, seen.total)


def test_the_spread_of_constant_units_is_zero() -> None:
    constants = torch.arange(1, 200) / 10
    spread = Moments.of(199).update(constants.expand(3, 199)[..., None]).compute().spread
    assert bool(torch.isfinite(spread).all())
    assert bool((spread <= 1e-3 * constants).all())  # what single precision leaves of a square's root


def test_a_quantile_of_few_items_is_the_item_that_reaches_it() -> None:
    histogram = Histogram.of(1).update(torch.tensor([[1.0], [10.0], [100.0]]))
    got = [float(histogram.quantile(share)) for share in (0.3, 0.5, 0.9)]
    assert got == pytest.approx([1, 10, 100], rel=0.2)
