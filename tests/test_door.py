"""Every public verb with every kind of wrong first and second argument: an error of ours, or what was meant."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

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
training: Any = ph.training
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
    "statistics": (lambda *a: verbs.statistics(*a), (NET, [X] * 8)),
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


CLASSES = ("render", "examples")  # whose second argument may be classes


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("verb", VERBS)
def test_a_wrong_argument_is_one_sentence(verb: str, place: int) -> None:
    ask, right = VERBS[verb]
    for kind, wrong in WRONG.items():
        arguments = [*right[:place], wrong, *right[place + 1 :]]
        if (verb, place, kind) == ("filters", 1, "none") or (verb in CLASSES and place == 1 and kind.startswith("number")):
            continue  # the network's first convolution; classes
        if kind == "module" and right[place] in (NET, [NET]):
            continue  # a network
        with pytest.raises(ph.PhospheneError) as caught:
            ask(*arguments)
        assert "\n" not in str(caught.value), kind


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


class Given(NamedTuple):
    """Something public, right arguments for it, and kinds that are right too and take long."""

    call: Callable[..., Any]
    right: tuple[Any, ...]
    works: tuple[str, ...] = ()


INDEX_OF = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
BOX = torch.tensor([[0.0, 0.0, 4.0, 4.0]])
P = ph.Preprocess(32)
# Every function and constructor of `phosphene.__all__` that is not in VERBS; then methods and functions of its packages.
FACE: dict[str, Given] = {
    "Network": Given(verbs.Network, (NET.module, P)),
    "Preprocess": Given(verbs.Preprocess, (32,)),
    "Recipe": Given(verbs.Recipe, ("n",)),
    "blur": Given(verbs.blur, (1.0,)),
    "caricature": Given(verbs.caricature, ("stem.0", X)),
    "channel": Given(verbs.channel, ("stem.0", 0)),
    "clip_contribution": Given(verbs.clip_contribution, (10.0,)),
    "clip_norm": Given(verbs.clip_norm, (10.0,)),
    "clip_value": Given(verbs.clip_value, (10.0,)),
    "colour": Given(verbs.colour, (0.1,)),
    "concept": Given(lambda *a: verbs.concept(NET, *a, "stem.0", runs=1), ([X] * 6, [X] * 6)),
    "crop": Given(verbs.crop, (0.5, 1.0)),
    "custom": Given(verbs.custom, (lambda read: read["stem.0"].sum((1, 2, 3)), ["stem.0"], "name")),
    "cutout": Given(verbs.cutout, (0.1,)),
    "decay": Given(verbs.decay, (0.1,)),
    "direction": Given(verbs.direction, ("stem.0", [1.0] * 16)),
    "fourier": Given(verbs.fourier, (1.0,)),
    "jitter": Given(verbs.jitter, (0.1,)),
    "l1": Given(verbs.l1, ()),
    "l2": Given(verbs.l2, ()),
    "layer_statistics": Given(verbs.layer_statistics, (1.0,)),
    "batch_statistics": Given(verbs.batch_statistics, (1.0, 10.0)),
    "feature_distributions": Given(verbs.feature_distributions, (1.0, "photos")),
    "layer": Given(verbs.layer, ("stem.0", "sum")),
    "load": Given(verbs.load, ("demo:standard",)),
    "logit": Given(verbs.logit, ("cat",)),
    "match": Given(verbs.match, ("stem.0", X)),
    "neuron": Given(verbs.neuron, ("stem.0", 0, 1, 1)),
    "noise": Given(verbs.noise, (0.1,)),
    "parse": Given(verbs.parse, ("logit:cat",)),
    "parts": Given(lambda *a: verbs.parts(*a, "stem.0", 2), (NET, X)),
    "phase": Given(verbs.phase, ()),
    "pixels": Given(verbs.pixels, ("mean", 0.1)),
    "probability": Given(verbs.probability, ("cat",)),
    "read": Given(verbs.read, ("no.png",)),
    "sample": Given(verbs.sample, ()),
    "rerun": Given(verbs.rerun, ("no.png", NET)),
    "rotate": Given(verbs.rotate, (1.0,)),
    "scale": Given(verbs.scale, (0.9, 1.1)),
    "shift": Given(verbs.shift, (0.1,)),
    "total_variation": Given(verbs.total_variation, (2.0,)),
    "FeatureIndex.build": Given(lambda net: verbs.FeatureIndex.build(net, INDEX_OF, "no/such"), (NET,)),
    "FeatureIndex.open": Given(verbs.FeatureIndex.open, ("no/such", NET)),
    "Network.scores": Given(lambda pictures: verbs.Network.scores(NET, pictures), (X,)),
    "Network.features": Given(lambda *a: verbs.Network.features(NET, *a), (X, "stem.0")),
    "Network.index": Given(lambda name: verbs.Network.index(NET, name), ("cat",)),
    "Network.channels": Given(lambda address: verbs.Network.channels(NET, address), ("stem.0",)),
    "Network.layouts": Given(lambda wanted: verbs.Network.layouts(NET, wanted), (["stem.0"],)),
    "Network.probabilities": Given(lambda scores: verbs.Network.probabilities(NET, scores), (torch.zeros(1, 10),)),
    "Preprocess.fit": Given(lambda picture: verbs.Preprocess.fit(P, picture), (X,)),
    "Preprocess.taken": Given(lambda picture: verbs.Preprocess.taken(P, picture), (X,)),
    "Preprocess.forward": Given(lambda picture: verbs.Preprocess.forward(P, picture), (X,)),
    "Preprocess.inverse": Given(lambda picture: verbs.Preprocess.inverse(P, picture), (X,)),
    "Preprocess.placing": Given(lambda size: verbs.Preprocess.placing(P, size), ((8, 8),)),
    "Preprocess.mean_picture": Given(lambda size: verbs.Preprocess.mean_picture(P, size), ((8, 8),)),
    "Heatmap.save": Given(lambda folder: verbs.Heatmap.save(ph.cam(NET, X), folder), ("",)),
    "localisation_error": Given(evaluation.localisation_error, (BOX, [BOX])),
    "max_box_acc": Given(evaluation.max_box_acc, (torch.rand(1, 8, 8), [BOX])),
    "pointing_game": Given(evaluation.pointing_game, (torch.rand(1, 2), [BOX], [(8, 8)])),
    "road": Given(lambda *a: evaluation.road(*a, "saliency"), (NET, X)),
    "localised": Given(evaluation.localised, (NET, [evaluation.Case("a", X, 0, BOX)])),
    "tune": Given(lambda *a: evaluation.tune(*a, trials=1), (NET, ["cat"], [NET]), ("numbers", "number")),
    "training.Activations": Given(lambda *a: training.Activations(*a), (NET, X), ("module", "none")),
    "training.Filters": Given(lambda *a: training.Filters(*a), (NET, "stem.0"), ("module", "none")),
    "training.TopExamples": Given(lambda *a: training.TopExamples(*a), (NET, X, "logit:cat"), ("module", "none")),
    "training.ClassModels": Given(lambda *a: training.ClassModels(*a), (NET, ["cat"]), ("module", "none")),
    "training.Objectives": Given(lambda *a: training.Objectives(*a), (NET, ["logit:cat"]), ("module", "none")),
    "training.Saliency": Given(lambda *a: training.Saliency(*a), (NET, X), ("module", "none")),
}
# What verbs give and nobody makes; the base of all errors; Objective and FeatureIndex are made by functions.
GIVEN = {"Activations", "Dream", "Examples", "Filters", "Heatmap", "Interrupted", "Neighbours", "PhospheneError", "Record"}
GIVEN |= {"Rendering", "Objective", "FeatureIndex"}


def test_the_tables_hold_everything_public() -> None:
    assert set(ph.__all__) <= {*VERBS, *FACE, *GIVEN}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FACE)
def test_a_wrong_argument_is_an_error_of_ours_or_works(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    call, right, works = FACE[name]
    for place in range(min(2, len(right))):
        for wrong in (wrong for kind, wrong in WRONG.items() if kind not in works):
            with suppress(ph.PhospheneError):
                call(*right[:place], wrong, *right[place + 1 :])


@pytest.mark.parametrize("wrong", [None, 5, NET.module, "text", Path("a.png"), [], X])
def test_what_examples_give_is_asked_by_whole_numbers(wrong: Any) -> None:
    found: Any = ph.examples(NET, X, "logit:cat", top=1)
    asks: list[Callable[[], object]] = [
        lambda: found.box(wrong, 0),
        lambda: found.box(0, wrong),
        lambda: found.unit_at(wrong, 0),
        lambda: found.row(wrong),
    ]
    for ask in asks:
        with pytest.raises(ph.PhospheneError, match="is needed"):
            ask()


def test_an_index_takes_references_paths_and_images(tmp_path: Path) -> None:
    index: Any = verbs.FeatureIndex.build("demo:standard", INDEX_OF, tmp_path / "f.lance")
    image = Image.fromarray((X[0].permute(1, 2, 0) * 255).round().byte().numpy())
    image.save(tmp_path / "a.png")
    right = index.vector(ph.read(tmp_path / "a.png"))
    for given in (image, np.asarray(image), tmp_path / "a.png", str(tmp_path / "a.png")):
        assert torch.equal(index.vector(given), right)
    for ask in (index.vector, index.query, index.search, index.delete, index.upsert):
        for kind, wrong in WRONG.items():
            if (ask, kind) not in {(index.delete, "text"), (index.delete, "empty")}:  # an id that is not there, and none
                with pytest.raises(ph.PhospheneError):
                    ask(wrong)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: verbs.render(NET, 3, observers=[print], steps=1), r"observers must have a method on_step\(.*got <built-in"),
        (lambda: verbs.load("resnet50"), "nearest: .*torchvision:resnet50"),
        (lambda: verbs.load("resnet50"), "nearest: .*timm:resnet50"),
        (lambda: verbs.match("stem.0", "nofile.png"), "^picture 'nofile.png' is no file of up to 512 MiB$"),
    ],
)
def test_first_calls_that_went_wrong_are_answered(call: Callable[[], Any], words: str) -> None:
    with pytest.raises(ph.PhospheneError, match=words):
        call()
