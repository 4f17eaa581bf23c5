"""Torch's ambient state of the caller changes no result, and is as it was afterwards."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
import torch

import phosphene as ph
from phosphene.ambient import shield

PICTURES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
VERBS: dict[str, Callable[[ph.Network], torch.Tensor]] = {
    "scores": lambda net: net.scores(PICTURES),
    "explain": lambda net: ph.explain(net, PICTURES, "logit:1").values,
    "smoothgrad": lambda net: ph.explain(net, PICTURES[:1], "logit:1", method="smoothgrad").values,
    "cam": lambda net: ph.cam(net, PICTURES, "logit:1").values,
    "grad_cam": lambda net: ph.cam(net, PICTURES, "logit:1", method="grad_cam").values,
    "render": lambda net: ph.render(net, "logit:1", steps=2).pictures,
    "natural": lambda net: ph.render(net, "logit:1", recipe="natural-fast", steps=2).pictures,
    "dream": lambda net: ph.dream(net, PICTURES[:1], "layer:stage1.0", octaves=1, steps=1).picture,
    "filters": lambda net: ph.filters(net).values,
    "activations": lambda net: ph.activations(net, PICTURES[:1], "stage1.0").maps[0].values,
    "locate": lambda net: ph.locate(ph.cam(net, PICTURES, "logit:1"), picture=PICTURES).boxes,
}


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


AMBIENTS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "inference mode": torch.inference_mode,
    "no gradients": torch.no_grad,
    "float64 by default": lambda: default_dtype(torch.float64),
    "another device by default": lambda: torch.device("meta"),
}


@pytest.fixture(scope="module")
def expected(robust: ph.Network) -> dict[str, torch.Tensor]:
    return {name: verb(robust) for name, verb in VERBS.items()}


@pytest.mark.parametrize("ambient", AMBIENTS)
def test_the_callers_state_changes_no_result(robust: ph.Network, expected: dict[str, torch.Tensor], ambient: str) -> None:
    for name, verb in VERBS.items():
        with AMBIENTS[ambient]():
            found = verb(robust)
        assert found.dtype == expected[name].dtype, name
        assert torch.equal(found, expected[name]), name


@pytest.mark.parametrize("ambient", AMBIENTS)
def test_a_network_can_be_made_in_any_state(robust: ph.Network, ambient: str) -> None:
    with AMBIENTS[ambient]():
        net = ph.Network(robust.module, robust.preprocess)
    assert torch.equal(net.scores(PICTURES), robust.scores(PICTURES))


def state() -> tuple[Any, ...]:
    return (
        torch.is_autocast_enabled("cpu"),
        torch.is_inference_mode_enabled(),
        torch.is_grad_enabled(),
        torch.get_default_dtype(),
        torch.get_default_device().type,
    )


@pytest.mark.parametrize("raises", [False, True])
@pytest.mark.parametrize("ambient", AMBIENTS)
def test_the_callers_state_is_given_back(ambient: str, raises: bool) -> None:
    with AMBIENTS[ambient]():
        before = state()
        try:
            with shield():
                assert state() == (False, False, torch.is_grad_enabled(), torch.float32, "cpu")
                if raises:
                    raise ZeroDivisionError
        except ZeroDivisionError:
            pass
        assert state() == before


def test_every_public_function_that_computes_is_shielded() -> None:
    makers = "blur clip_contribution clip_norm clip_value decay l1 l2 layer_statistics total_variation fourier phase pixels"
    makers += " batch_statistics feature_distributions"
    makers += " colour crop cutout jitter noise rotate scale shift"  # settings of a loop
    makers += " caricature channel custom direction layer logit match neuron parse probability"  # objectives
    functions = {name for name in ph.__all__ if inspect.isfunction(getattr(ph, name))} - {*makers.split()}
    functions |= {f"evaluation.{name}" for name in ph.evaluation.__all__ if inspect.isfunction(getattr(ph.evaluation, name))}
    for name in functions:
        owner = ph.evaluation if name.startswith("evaluation.") else ph
        assert hasattr(getattr(owner, name.removeprefix("evaluation.")), "shielded"), name
