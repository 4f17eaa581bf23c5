from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from phosphene.seeding import GlobalNumbers, Injected, private_rng, stream, stream_seed


def drawn() -> tuple[float, float, float]:
    """A number from each of the global generators."""
    return random.random(), float(np.random.rand()), float(torch.rand(()))


@given(st.integers(0, 2**63 - 1), st.lists(st.text(), max_size=3))
def test_a_stream_seed_fits_63_bits_and_repeats(seed: int, names: list[str]) -> None:
    assert 0 <= stream_seed(seed, *names) < 2**63
    assert stream_seed(seed, *names) == stream_seed(seed, *names)


def test_other_seeds_and_names_give_other_streams() -> None:
    seeds = [stream_seed(0), stream_seed(1), stream_seed(0, "a"), stream_seed(0, "a", "b"), stream_seed(0, "ab")]
    assert len(set(seeds)) == 5


def test_a_stream_seed_stays_what_it_was() -> None:
    """Pictures made before must be made again alike: this number must not change."""
    assert stream_seed(0, "view", "logit:3") == 6735761139597633351


def test_a_stream_gives_the_same_numbers_whatever_ran_before() -> None:
    first = torch.rand(4, generator=stream(3, "x"))
    torch.rand(7)
    torch.testing.assert_close(torch.rand(4, generator=stream(3, "x")), first, rtol=0, atol=0)


def test_a_stream_draws_nothing_from_the_global_generator() -> None:
    before = torch.get_rng_state()
    torch.rand(4, generator=stream(3, "x"))
    assert torch.equal(torch.get_rng_state(), before)


def test_inside_the_global_numbers_start_from_the_seed() -> None:
    with private_rng(5):
        first = drawn()
    drawn()
    with private_rng(5):
        assert drawn() == first


def test_a_seed_of_63_bits_suits_every_generator() -> None:
    with private_rng(2**63 - 1):
        drawn()


@pytest.mark.parametrize("raises", [False, True])
def test_outside_the_global_numbers_go_on_as_before(raises: bool) -> None:
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    expected = [drawn(), drawn()]
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    found = [drawn()]
    try:
        with private_rng(0):
            drawn()
            if raises:
                raise RuntimeError
    except RuntimeError:
        pass
    assert [*found, drawn()] == expected


DRAWS: dict[str, Callable[[], torch.Tensor]] = {
    "rand": lambda: torch.rand(4),
    "randn": lambda: torch.randn(4),
    "randint": lambda: torch.randint(0, 9, (4,)),
    "randperm": lambda: torch.randperm(6),
    "rand_like": lambda: torch.rand_like(torch.ones(3)),
    "normal_": lambda: torch.empty(4).normal_(),
    "bernoulli": lambda: torch.bernoulli(torch.full((8,), 0.5)),
    "multinomial": lambda: torch.multinomial(torch.ones(5), 3),
    "dropout": lambda: functional.dropout(torch.ones(6), 0.5),
    "dropout with a gradient": lambda: functional.dropout(torch.ones(6, requires_grad=True), 0.5).detach(),
    "weights": lambda: torch.nn.Linear(2, 2).weight.detach(),
    "distribution": lambda: torch.distributions.Normal(0.0, 1.0).sample(torch.Size([2])),
}


@pytest.mark.parametrize("draw", DRAWS)
def test_injected_numbers_are_those_of_the_seed_and_leave_the_global_generator_alone(draw: str) -> None:
    with private_rng(7):
        expected = DRAWS[draw]()
    before = GlobalNumbers()
    with Injected(7) as injected:
        found = DRAWS[draw]()
    assert injected.drew
    assert torch.equal(found, expected)
    assert not before.changed()


def test_a_draw_from_a_generator_of_the_callers_is_left_to_it() -> None:
    expected = torch.rand(3, generator=torch.Generator().manual_seed(2))
    with Injected(7) as injected:
        found = torch.rand(3, generator=torch.Generator().manual_seed(2))
    assert torch.equal(found, expected)
    assert not injected.drew


def test_native_dropout_keeps_and_scales() -> None:
    x = torch.ones(1000)
    with Injected(1):
        kept, mask = torch.native_dropout(x, 0.25, True)
    assert torch.equal(kept, mask / 0.75)
    assert 0.7 < float(mask.float().mean()) < 0.8


def test_attention_without_dropout_draws_nothing() -> None:
    query = torch.rand(1, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    with Injected(1) as injected:
        found = functional.scaled_dot_product_attention(query, query, query)
    torch.testing.assert_close(found, functional.scaled_dot_product_attention(query, query, query))
    assert not injected.drew
