"""Every public verb with every kind of wrong first and second argument: an error of ours, or what was meant."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import phosphene as ph
from phosphene.results import door

NET = ph.load("demo:standard")
X = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
verbs: Any = ph  # called with what their types forbid
evaluation: Any = ph.evaluation
# Each with its first two arguments left to be filled in.
VERBS: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "explain": (lambda *a: verbs.explain(*a), (NET, X)),
    "cam": (lambda *a: verbs.cam(*a), (NET, X)),
    "locate": (lambda heatmap, way: verbs.locate(heatmap, way), (ph.cam(NET, X), "threshold")),
    "render": (lambda *a: verbs.render(*a, steps=1), (NET, "logit:cat")),
    "dream": (lambda *a: verbs.dream(*a, "logit:cat", octaves=1, steps=1), (NET, X)),
    "examples": (lambda net, objective: verbs.examples(net, X, objective, top=1), (NET, "logit:cat")),
    "activations": (lambda *a: verbs.activations(*a), (NET, X)),
    "filters": (lambda *a: verbs.filters(*a), (NET, "stem.0")),
    "trust": (lambda *a: evaluation.trust(*a, "logit:cat", methods=("saliency",), stages=1, steps=2), (NET, X)),
    "randomisation": (lambda *a: evaluation.randomisation(*a, "logit:cat", stages=1), (NET, X)),
    "insertion_deletion": (lambda *a: evaluation.insertion_deletion(*a, "saliency", steps=2), (NET, X)),
    "average_drop": (lambda *a: evaluation.average_drop(*a, "saliency"), (NET, X)),
    "recognisability": (lambda pictures, judges: evaluation.recognisability(pictures, ["cat"], judges), (X, [NET])),
}
WRONG = {
    "none": None,
    "number": 5,
    "module": NET.module,
    "text": "no such thing",
    "bytes": b"x",
    "mapping": {"a": 1},
    "empty": [],
    "numbers": [1, 2],
    "function": print,
    "class": ph.Network,
    "array": np.zeros((3, 4, 5, 6)),
}


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("verb", VERBS)
def test_a_wrong_argument_is_one_sentence(verb: str, place: int) -> None:
    ask, right = VERBS[verb]
    for kind, wrong in WRONG.items():
        arguments = [*right[:place], wrong, *right[place + 1 :]]
        if (verb, place, kind) == ("filters", 1, "none"):
            continue  # the network's first convolution
        with pytest.raises(ph.PhospheneError) as caught:
            ask(*arguments)
        assert "\n" not in str(caught.value), kind


@pytest.mark.parametrize("verb", ["explain", "cam", "dream", "activations"])
def test_what_is_plainly_meant_is_taken(verb: str, tmp_path: Path) -> None:
    ask, _ = VERBS[verb]
    image = Image.fromarray((X[0].permute(1, 2, 0) * 255).round().byte().numpy())
    path = tmp_path / "a.png"
    image.save(path)

    def numbers(result: Any) -> torch.Tensor:
        values = getattr(result, "values", getattr(result, "picture", None))
        return values if isinstance(values, torch.Tensor) else result.maps[0].values

    right = numbers(ask(NET, ph.read(path)))
    for given in (path, str(path), image, np.asarray(image), [path]):
        if not (verb == "dream" and isinstance(given, list)):
            assert torch.equal(numbers(ask(NET, given)), right)
    assert torch.equal(numbers(ask("demo:standard", path)), right)


def test_one_part_stands_for_a_list_of_one() -> None:
    one, several = (verbs.render(NET, "logit:cat", steps=2, priors=p).pictures for p in (ph.l2(), [ph.l2()]))
    assert torch.equal(one, several)


@pytest.mark.parametrize(
    "settings", [{"recipe": None}, {"recipe": {"lr": 0.1}}, {"canvas": 5}, {"canvas": "none"}, {"priors": 0.5}]
)
def test_wrong_settings_of_a_rendering_are_one_sentence(settings: dict[str, Any]) -> None:
    with pytest.raises(ph.PhospheneError):
        ph.render(NET, "logit:cat", steps=1, **settings)


@pytest.mark.parametrize(("value", "meant"), [("cat", ["cat"]), (3, [3]), (["cat", 3], ["cat", 3]), ((1, 2), (1, 2))])
def test_one_class_stands_for_a_list_of_one(value: Any, meant: Any) -> None:
    assert door.names("classes", value, {}) == meant


@pytest.mark.parametrize("value", [True, 1.5, None])
def test_what_is_no_class_is_no_list_of_one(value: Any) -> None:
    with pytest.raises(ph.PhospheneError, match="classes must be a list of class names or indices"):
        door.names("classes", value, {})
