"""Reading a network with what a layer gives changed on the way."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import phosphene as ph
from phosphene.network import probe

Pair = namedtuple("Pair", ["note", "maps"])


class Giving(nn.Module):
    def __init__(self, form: Any) -> None:
        super().__init__()
        self.form = form

    def forward(self, x: Tensor) -> Any:
        return self.form(x)


class Taking(nn.Module):
    """A layer whose maps stand somewhere inside what it gives."""

    def __init__(self, form: Any, take: Any) -> None:
        super().__init__()
        self.inner, self.take = Giving(form), take

    def forward(self, x: Tensor) -> Tensor:
        maps: Tensor = self.take(self.inner(x))
        return maps.mean((2, 3))


FORMS: dict[str, tuple[Any, Any]] = {
    "tensor": (lambda x: x, lambda g: g),
    "tuple": (lambda x: ("a", x, x), lambda g: g[1]),
    "list": (lambda x: [x], lambda g: g[0]),
    "named": (lambda x: Pair("a", x), lambda g: g.maps),
    "dict": (lambda x: OrderedDict(note="a", maps=x), lambda g: g["maps"]),
    "nested": (lambda x: (None, {"maps": (x,)}), lambda g: g[1]["maps"][0]),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_change_takes_the_place_of_what_a_layer_gave(form: str) -> None:
    of = ph.Network(Taking(*FORMS[form]), ph.Preprocess(size=4, channels=2))
    shown = torch.rand(3, 2, 4, 4)
    with of.reading() as read:
        given = read(shown, {"", "inner"}, {"inner": lambda t: 2 * t})
    assert torch.equal(given["inner"], 2 * shown)
    assert torch.allclose(given[""], 2 * shown.mean((2, 3)))
    assert torch.allclose(of.scores(shown), shown.mean((2, 3)))


def test_a_change_may_make_another_number_of_pictures() -> None:
    of = ph.Network(Taking(*FORMS["tensor"]), ph.Preprocess(size=4, channels=2))
    with of.reading() as read:
        given = read(torch.rand(1, 2, 4, 4), {""}, {"inner": lambda t: t.expand(5, -1, -1, -1)}, 5)
    assert given[""].shape == (5, 2)


def test_a_pass_inside_another_stops_where_each_is_told() -> None:
    class Inside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(2, 3, 1), nn.ReLU(), nn.Conv2d(3, 4, 1))

        def forward(self, x: Tensor) -> Tensor:
            read, _ = probe.forward(self.body, x, {"1"}, {"0": 1, "1": 1, "2": 1})
            return read["1"].mean((2, 3))

    of = ph.Network(Inside(), ph.Preprocess(size=4, channels=2))
    shown = torch.rand(1, 2, 4, 4)
    assert of.features(shown, "body.0").shape == (1, 3, 4, 4)
    assert "body.2" not in of.calls
    assert torch.allclose(of.scores(shown), of.features(shown, "body.0").relu().mean((2, 3)))
