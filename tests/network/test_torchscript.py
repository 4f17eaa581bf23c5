"""TorchScript modules and modules on the meta device: what works is right, the rest is refused with the reason."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import phosphene as ph
from phosphene.errors import ModelError, RequestError, WeightsError

from ..nets import plain

X = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))

PLAIN = plain().eval()


def net(module: nn.Module) -> ph.Network:
    return ph.Network(module, ph.Preprocess(size=16))


def kinds() -> dict[str, nn.Module]:
    python = PLAIN
    return {
        "script": torch.jit.script(python),
        "trace": torch.jit.trace(python, X),
        "frozen": torch.jit.freeze(torch.jit.script(python)),
    }


@pytest.mark.parametrize("kind", ["script", "trace", "frozen"])
@pytest.mark.filterwarnings("ignore")  # torch's own of TorchScript
def test_a_torchscript_module_is_explained_as_the_plain_one_is(kind: str) -> None:
    module = kinds()[kind]
    scripted, python = net(module), net(PLAIN)
    for method in ("saliency", "occlusion"):
        ours, theirs = (ph.explain(n, X, "logit:1", method=method).values for n in (scripted, python))
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
    asked: list[Any] = [lambda: scripted.layers(), lambda: ph.activations(scripted, X[:1])]
    for ask in (*asked, lambda: ph.render(scripted, "channel:0:1", steps=1)):
        with pytest.raises(ModelError, match="is a TorchScript module, whose layers cannot be read"):
            ask()


def test_a_module_without_values_is_refused() -> None:
    with torch.device("meta"):
        module = plain()
    with pytest.raises(WeightsError, match="is on the meta device and has no values"):
        net(module)


def test_a_preprocessing_that_is_none_is_refused() -> None:
    with pytest.raises(RequestError, match=r"preprocess must be a ph.Preprocess.*, got 'photographs'"):
        ph.Network(plain(), preprocess="photographs")
