"""Promises that every method keeps: neighbours, sizes, habits of networks, nothing left behind, refusals."""

from __future__ import annotations

import gc
import random
import resource
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import phosphene as ph
from phosphene import registry
from phosphene.attribution.methods import Saliency
from phosphene.errors import ModelError, RequestError, UnknownNameError
from phosphene.results.method import Maps, Method, Sampled, find_method
from phosphene.results.question import Question, fitted
from tests.attribution.linear import pictures
from tests.nets import HABITS, made, network, of_channels

NAMES = [
    name for name in registry.names("methods") if registry.find("methods", name).__module__.startswith("phosphene.attribution")
]
# Attention is of transformers alone, see test_attention.py.
METHODS = [name for name in NAMES if name != "captum" and not name.startswith("attention_")]
RULED = ("guided_backprop", "deconvnet")
RELUS = ("plain", "inplace", "functional", "random at training", "frozen")  # the others end in ELU


def quick(name: str) -> Method:
    """The method, with few samples."""
    method = find_method(name)
    return find_method(method, 6) if isinstance(method, Sampled) else method


def explained(net: ph.Network, shown: Any, objective: Any = "logit:1", method: str = "saliency", **settings: Any) -> ph.Heatmap:
    return ph.explain(net, shown, objective, method=quick(method), **settings)


def habits(method: str) -> list[str]:
    return [habit for habit in HABITS if habit in RELUS or method not in RULED]


CELLS = [(method, habit) for method in METHODS for habit in habits(method)]


def test_these_methods_are_found_by_name() -> None:
    gradients = ("saliency", "gradient", "gradient_x_input", "guided_backprop", "deconvnet", "smoothgrad", "vargrad")
    assert sorted((*gradients, "integrated_gradients", "occlusion", "rise")) == METHODS
    assert all(find_method(name).name == name for name in METHODS)


@pytest.mark.parametrize(("method", "habit"), CELLS)
def test_a_map_is_the_same_whatever_its_neighbours(method: str, habit: str) -> None:
    net, shown = network(habit), pictures(3, (12, 12))
    asked = ["logit:0", "logit:4 - logit:2", "logit:1"]
    together = explained(net, shown, asked, method)
    alone = torch.cat([explained(net, shown[i : i + 1], asked[i], method).values for i in (2, 1, 0)]).flip(0)
    top = alone.abs().amax((1, 2), keepdim=True)
    torch.testing.assert_close(together.values / top, alone / top, atol=1e-4, rtol=0)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 11, 24])
def test_pictures_of_any_number_of_channels_and_not_square(method: str, channels: int) -> None:
    net = of_channels(channels, (13, 18))
    h = explained(net, pictures(2, (13, 18), channels), [ph.layer("1", "squares"), "logit:0"], method)
    assert h.values.shape == (2, 13, 18)
    assert torch.isfinite(h.values).all()
    assert h.values.abs().amax((1, 2)).min() > 0
    assert h.overlay().mode == h.contour().mode == h.sheet().mode == "RGB"


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "objective",
    ["probability:2", "channel:stage2.0:5", "neuron:stage1.0:5,2,1", "layer:stage1.0", "logit:0 - 0.5*channel:stem.0:1"],
)
def test_any_objective_is_explained(method: str, objective: str, robust: ph.Network) -> None:
    h = explained(robust, pictures(2, (32, 32)), objective, method)
    assert torch.isfinite(h.values).all()
    assert [item.objective for item in h.items] == [objective] * 2
    assert (h.items[0].probability is not None) == objective.startswith("probability")


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_is_the_same_map_bit_for_bit(method: str) -> None:
    net, shown = network("functional"), pictures(2, (12, 12))
    first = explained(net, shown, method=method, seed=3)
    torch.rand(5)
    assert torch.equal(first.values, explained(net, shown, method=method, seed=3).values)
    other = explained(net, shown, method=method, seed=4)
    assert torch.equal(first.values, other.values) == (method not in ("smoothgrad", "vargrad", "rise"))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("chunk", [1, 2, 5])
def test_chunks_change_nothing(method: str, chunk: int) -> None:
    net, shown = network("plain"), pictures(3, (12, 12))
    whole = explained(net, shown, method=method).values
    torch.testing.assert_close(explained(net, shown, method=method, chunk=chunk).values, whole, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("around", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("method", METHODS)
def test_it_works_where_gradients_are_switched_off(method: str, around: Any) -> None:
    net, shown = network("plain"), pictures(2, (12, 12))
    wanted = explained(net, shown, method=method)
    with around():
        assert torch.equal(explained(net, shown, method=method).values, wanted.values)
        assert torch.equal(explained(net, shown.clone(), method=method).values, wanted.values)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("method", METHODS)
def test_networks_of_other_precision_have_nearly_the_same_maps(method: str, dtype: torch.dtype) -> None:
    shown, preprocess = pictures(1, (12, 12)), ph.Preprocess(size=12, mean=0.5, std=0.25)
    full = explained(ph.Network(made("plain"), preprocess), shown, method=method).values
    other = explained(ph.Network(made("plain").to(dtype), preprocess), shown, method=method).values
    assert other.dtype == torch.float32
    assert torch.isfinite(other).all()
    assert torch.corrcoef(torch.stack([full.flatten(), other.flatten()]))[0, 1] > 0.95


def traces(module: nn.Module) -> tuple[Any, ...]:
    """All that a call could leave behind on a module and in the process."""
    hooks = [
        len(getattr(part, name))
        for part in module.modules()
        for name in ("_forward_hooks", "_backward_hooks", "_forward_pre_hooks")
    ]
    state = {name: (t.clone(), t._version, t.requires_grad, t.grad) for name, t in module.named_parameters()}
    buffers = {name: t.clone() for name, t in module.named_buffers()}
    modes = [part.training for part in module.modules()]
    rng = (torch.get_rng_state(), random.getstate(), np.random.get_state(legacy=False)["state"]["key"].tolist())
    return hooks, state, buffers, modes, rng, torch.is_grad_enabled(), torch.get_num_threads()


def assert_same(before: Any, after: Any) -> None:
    if isinstance(before, Tensor):
        assert torch.equal(before, after)
    elif isinstance(before, dict):
        for key in before:
            assert_same(before[key], after[key])
    elif isinstance(before, tuple | list):
        for one, other in zip(before, after, strict=True):
            assert_same(one, other)
    else:
        assert before == after


@pytest.mark.parametrize(("method", "habit"), CELLS)
def test_nothing_is_left_behind(method: str, habit: str) -> None:
    module, shown = made(habit), pictures(2, (12, 12)).requires_grad_(True)
    net = ph.Network(module, ph.Preprocess(size=12, mean=0.5, std=0.25))
    before, kept = traces(module), shown.detach().clone()
    explained(net, shown, method=method)
    assert_same(before, traces(module))
    assert shown.grad is None
    assert torch.equal(shown, kept)


class Tripping(nn.Module):
    """Runs while it is looked at, and breaks when it is asked in earnest."""

    broken = False

    def __init__(self) -> None:
        super().__init__()
        self.body = made("plain")

    def forward(self, x: Tensor) -> Tensor:
        if self.broken:
            raise ValueError("broken")
        scores: Tensor = self.body(x)
        return scores


@pytest.mark.parametrize("method", METHODS)
def test_nothing_is_left_behind_where_the_network_raises(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = Tripping()
    net = ph.Network(module, ph.Preprocess(size=12))
    monkeypatch.setattr(Tripping, "broken", True)
    before = traces(module)
    with pytest.raises(ModelError, match=r"does not run on pictures .*: broken"):
        explained(net, pictures(1, (12, 12)), method=method)
    assert_same(before, traces(module))


@pytest.mark.parametrize("method", METHODS)
def test_memory_does_not_grow(method: str) -> None:
    net, shown = network("plain"), pictures(1, (12, 12))
    explained(net, shown, method=method)
    gc.freeze()  # what is there already is neither searched nor counted
    try:
        for _ in range(5):
            explained(net, shown, method=method)
        gc.collect()
        assert sum(issubclass(type(thing), Tensor) for thing in gc.get_objects()) <= 2
    finally:
        gc.unfreeze()


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_memory_does_not_grow_over_two_hundred_calls(method: str) -> None:
    net, shown = network("plain"), pictures(1, (12, 12))
    for _ in range(20):
        explained(net, shown, method=method)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(200):
        explained(net, shown, method=method)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8 << 10  # KiB


def test_no_hook_of_a_method_is_on_a_module_while_it_runs() -> None:
    """Rules act on the graph: what the network's own forward pass sees is its own modules."""
    seen: list[int] = []

    class Watching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.relu = nn.Conv2d(3, 4, 3), nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            seen.append(len(self.relu._forward_hooks) + len(self.relu._backward_hooks))
            return self.relu(self.conv(x)).mean((2, 3))  # type: ignore[no-any-return]  # a module's call

    net = ph.Network(Watching(), ph.Preprocess(size=8))
    seen.clear()
    explained(net, torch.rand(1, 3, 8, 8), method="guided_backprop")
    assert seen == [0]


def test_running_out_of_memory_halves_the_chunk_and_goes_on() -> None:
    sizes: list[int] = []

    class Small(nn.Module):
        """Holds two pictures and no more."""

        def forward(self, x: Tensor) -> Tensor:
            sizes.append(len(x))
            if len(x) > 2:
                raise torch.OutOfMemoryError("can't allocate memory")
            return x.mean((2, 3))

    net, shown = ph.Network(Small(), ph.Preprocess(size=4)), torch.rand(5, 3, 4, 4)
    sizes.clear()
    h = ph.explain(net, shown, "logit:1", method="gradient", chunk=5)
    assert sizes == [5, 2, 2, 1]
    assert h.colour is not None
    torch.testing.assert_close(h.colour[:, 1], torch.full((5, 4, 4), 1 / 16))


def test_running_out_of_memory_with_one_picture_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(nn.Module):
        full = False

        def forward(self, x: Tensor) -> Tensor:
            if self.full:
                raise torch.OutOfMemoryError("out of memory")
            return x.mean((2, 3))

    net = ph.Network(Full(), ph.Preprocess(size=4))
    monkeypatch.setattr(Full, "full", True)
    with pytest.raises(torch.OutOfMemoryError):
        ph.explain(net, torch.rand(1, 3, 4, 4), "logit:0")


def test_without_an_objective_each_picture_s_likeliest_class_is_explained(robust: ph.Network) -> None:
    shown = pictures(3, (32, 32))
    h = ph.explain(robust, shown)
    likeliest = robust.scores(shown).argmax(1).tolist()
    assert [item.index for item in h.items] == likeliest
    assert [item.name for item in h.items] == [robust.classes[index] for index in likeliest]


def test_an_item_tells_what_was_asked_and_the_answer(robust: ph.Network) -> None:
    shown = pictures(1, (32, 32))
    (item,) = ph.explain(robust, shown, "logit:cat", images=["a.jpg"]).items
    scores = robust.scores(shown)[0]
    assert (item.image, item.objective, item.name, item.index, item.method) == ("a.jpg", "logit:cat", "cat", 3, "saliency")
    assert item.score == pytest.approx(float(scores[3]), abs=1e-5)
    assert item.probability == pytest.approx(float(scores.softmax(0)[3]), abs=1e-6)


def test_several_objectives_for_one_picture(robust: ph.Network) -> None:
    shown = pictures(1, (32, 32))
    h = ph.explain(robust, shown, ["logit:cat", "logit:dog", "logit:cat - logit:dog"], method="gradient")
    assert len(h) == 3
    assert h.colour is not None
    torch.testing.assert_close(h.colour[0] - h.colour[1], h.colour[2], atol=1e-6, rtol=1e-4)


def test_a_network_with_one_output_has_the_probability_of_its_sigmoid() -> None:
    net = ph.Network(nn.Sequential(nn.Flatten(), nn.Linear(12, 1)), ph.Preprocess(size=2))
    (item,) = ph.explain(net, torch.rand(1, 3, 2, 2), "logit:0").items
    assert item.probability == pytest.approx(1 / (1 + np.exp(-item.score)), abs=1e-6)


def test_photographs_of_several_sizes_are_fitted_as_the_network_fits_them(robust: ph.Network) -> None:
    photos = [pictures(1, (40, 60)), pictures(1, (90, 50)), pictures(1, (64, 64), 1)]
    h = ph.explain(robust, photos, "logit:cat")
    wanted = torch.cat([robust.preprocess.fit(photo) for photo in photos])
    torch.testing.assert_close(h.pictures, wanted)
    torch.testing.assert_close(h.values, ph.explain(robust, wanted, "logit:cat").values)


def test_a_picture_of_the_network_s_size_is_taken_as_it_is_also_where_photographs_are_cropped() -> None:
    net = ph.Network(made("plain"), ph.Preprocess(size=12, resize=16, mean=0.5, std=0.25))
    shown = pictures(1, (12, 12))
    assert torch.equal(fitted(net, shown), shown)
    assert torch.equal(fitted(net, shown[:, :1]), shown[:, :1].expand(-1, 3, -1, -1))


def test_a_network_that_takes_batches_of_one_size_alone_is_explained() -> None:
    preprocess = ph.Preprocess(size=12, mean=0.5, std=0.25)

    class Only(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = made("plain")

        def forward(self, x: Tensor) -> Tensor:
            if len(x) != 2:
                raise ValueError(f"2 pictures are needed, not {len(x)}")
            scores: Tensor = self.body(x)
            return scores

    shown = pictures(3, (12, 12))
    found = explained(ph.Network(Only(), preprocess, batch=2), shown)
    torch.testing.assert_close(found.values, explained(network("plain"), shown).values)


@pytest.mark.parametrize(
    ("shown", "words"),
    [
        (torch.zeros(1, 3, 12, 12, dtype=torch.int64), "photo is torch.int64, whose white can be 1, 255 or"),
        (torch.zeros(0, 3, 12, 12), r"photo must hold pixels, got float32 \(0, 3, 12, 12\)"),
        ("photo.jpg", "picture 'photo.jpg' is not there; a file is needed"),
        ([], "no pictures; at least one"),
        (3, r"photo must be a path, a URL, bytes, .* got 3"),
        (
            torch.full((1, 3, 12, 12), 1.5),
            r"photo reaches from 1.5 to 1.5; \[0, 1\] is needed. Pass the photograph itself, or norm",
        ),
        (torch.full((1, 3, 12, 12), 200.0), r"photo reaches from 200 to 200; \[0, 1\] is needed. Divide it by 255"),
        (torch.full((1, 3, 12, 12), -0.5), "photo reaches from -0.5 to -0.5"),
        (torch.full((1, 3, 12, 12), torch.nan), "photo reaches from nan to nan; .* It holds NaN"),
        (torch.rand(1, 5, 12, 12), "the picture has 5 channels; the network takes 3"),
        (torch.rand(1, 3, 1, 1), "a picture of 1×1 pixels has no places to tell apart; a larger one is needed"),
        (torch.rand(1, 3, 1, 101), "a picture of 1×101 pixels is too long; a longer side of up to 100 times"),
    ],
)
def test_what_is_no_picture_is_refused(shown: Any, words: str) -> None:
    with pytest.raises(ph.PhospheneError, match=words):
        ph.explain(network("plain"), shown, "logit:0")


@pytest.mark.parametrize(
    ("objective", "settings", "words"),
    [
        (["logit:0", "logit:1"], {}, "2 objectives for 3 pictures; one for all or one per picture is needed"),
        ([], {}, "0 objectives for 3 pictures"),
        ("logit:9", {}, "no class 9"),
        (ph.channel("9", 0), {}, "no layer '9'"),
        (ph.channel("3", 99), {}, "channel 99 is outside 3, which has 12"),
        (ph.neuron("3", 0, 99, 0), {}, "y 99 is outside 3"),
        ("logit:0", {"method": "salience"}, "no method 'salience'; nearest: saliency"),
        ("logit:0", {"method": "saliency:x"}, "no method 'saliency:x'"),
        ("logit:0", {"method": "captum"}, "no method 'captum'.*captum:NAME asks Captum"),
        ("logit:0", {"method": ""}, "method ''; a name is needed, such as"),
        ("logit:0", {"method": 3}, "method 3; a name is needed"),
        ("logit:0", {"chunk": 0}, "chunk is 0; 1 or more is needed"),
        ("logit:0", {"seed": -1}, "seed is -1"),
        ("logit:0", {"images": ["a"]}, "images are .'a'.; 3 names are needed, one per picture"),
        ("logit:0", {"images": "abc"}, "images are 'abc'; 3 names"),
    ],
)
def test_a_wrong_request_is_refused(objective: Any, settings: dict[str, Any], words: str) -> None:
    with pytest.raises((RequestError, UnknownNameError), match=words):
        ph.explain(network("plain"), pictures(3, (12, 12)), objective, **settings)


class Mine(Saliency):
    """A method of a user's own."""

    @property
    def name(self) -> str:
        return "mine"

    def __call__(self, question: Question) -> Maps:
        values = question.pictures.mean(1)
        values[0, 0, 0] = torch.nan
        return Maps(values, colour=question.pictures / 0)


@pytest.fixture
def mine() -> Iterator[None]:
    with registry.registered("methods", "mine", Mine):
        yield


@pytest.mark.usefixtures("mine")
def test_a_method_of_one_s_own_is_found_and_what_is_not_finite_is_said() -> None:
    shown = pictures(2, (12, 12))
    h = ph.explain(network("plain"), shown, "logit:0", method="mine")
    assert h.values[0, 0, 0] == 0
    assert h.colour is not None
    assert torch.isfinite(h.colour).all()
    torch.testing.assert_close(h.values[1], shown[1].mean(0))
    assert h.items[0].notes == ("1 values of the map were not finite and are told as 0",)
    assert h.items[1].notes == ()
    assert h.items[0].score == pytest.approx(float(network("plain").scores(shown)[0, 0]), abs=1e-6)


def test_what_is_no_method_is_refused() -> None:
    with (
        registry.registered("methods", "odd", lambda: 3),
        pytest.raises(RequestError, match="method 'odd' is int; a Method is needed"),
    ):
        ph.explain(network("plain"), pictures(1, (12, 12)), "logit:0", method="odd")


def test_a_match_with_another_picture_is_explained(robust: ph.Network, tmp_path: Any) -> None:
    shown = pictures(2, (32, 32))
    objective = ph.match("stage1.0", shown[1:])
    h = ph.explain(robust, shown, objective, method="gradient")
    assert h.values[0].abs().max() > 0
    assert h.values[1].abs().max() < 1e-6  # the same picture: nothing makes it more alike


def test_the_question_can_be_asked_anew(robust: ph.Network) -> None:
    question = Question.of(robust, pictures(1, (32, 32)), "logit:cat", seed=2)
    other = question.asking([ph.logit(5)])
    reached, scores = other.said()
    assert scores is not None
    assert float(reached) == float(scores[0, 5])
    assert (other.seed, other.target(0)) == (2, 5)


@pytest.mark.parametrize("method", METHODS)
def test_contributions_have_a_sign_and_sensitivities_are_laid_over_by_their_size(method: str) -> None:
    h = explained(network("plain"), pictures(1, (12, 12)), method=method)
    gradients = ("gradient", "guided_backprop", "deconvnet", "smoothgrad")
    assert h.by_size == (method in gradients)
    assert bool(h.has_sign) == (method not in (*gradients, "saliency", "vargrad"))
