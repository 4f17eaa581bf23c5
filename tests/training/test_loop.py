"""A loop of one's own: the losses are those of a training without the callback, whatever the loop does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
import torch
from PIL import Image
from torch import nn

from phosphene import Network
from phosphene.pictures.colour import image_of
from phosphene.pictures.sample import sample
from phosphene.training import Activations, Callback, ClassModels, Filters, Objectives, Saliency, Shown, TopExamples
from phosphene.training.moment import Moment
from phosphene.training.sinks import tag

from . import small


def run(module: nn.Module, callback: Callback | None, **settings: object) -> list[float]:
    if callback is None:
        return small.by_hand(module, None, **settings)  # type: ignore[arg-type]
    with callback.for_loop() as loop:
        return small.by_hand(module, loop, **settings)  # type: ignore[arg-type]


def test_losses_are_bit_identical(tmp_path: Path) -> None:
    def put(watch: ClassModels) -> Callback:
        return watch.on_val().on_train(every=3).to_file(tmp_path / "{phase}{epoch}-{step}-{class}.png").to_state(list("abc"))

    small.assert_same(run, put)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert "train1-3-red.png" in names
    assert "val0-2-blue-..-up.png" in names
    assert len(names) == 3 * (3 + 2)


def test_losses_are_bit_identical_in_mixed_precision() -> None:
    small.assert_same(
        lambda module, callback: run(module, callback, bfloat=True, workers=0),
        lambda watch: watch.on_train("1 step").with_handler(lambda shown: None),
    )


def test_inside_autocast_pictures_are_those_of_outside() -> None:
    _, net = small.network()
    seen: list[Shown] = []
    loop = small.watch(net).on_val().with_handler(seen.append, index=0).for_loop()
    loop.val()
    with torch.autocast("cpu", torch.bfloat16):
        loop.val()
        assert torch.is_autocast_enabled("cpu")
    with torch.inference_mode():
        loop.val()
    assert [shown.score for shown in seen] == [seen[0].score] * 3


def test_gradients_hooks_and_modes_are_as_they_were_in_the_middle_of_accumulation() -> None:
    module, net = small.network()
    calls: list[Shown] = []
    handle = module.norm.register_forward_hook(lambda *_: None)
    module(torch.rand(2, 3, 8, 8)).sum().backward()
    grads = {name: None if p.grad is None else p.grad.clone() for name, p in module.named_parameters()}
    modes = [part.training for part in module.modules()]
    small.watch(net).on_val().with_handler(calls.append).for_loop().val()
    assert len(calls) == 3
    assert modes == [part.training for part in module.modules()]
    for name, p in module.named_parameters():
        assert (p.grad is None) if grads[name] is None else torch.equal(p.grad, grads[name])  # type: ignore[arg-type]
    assert list(module.norm._forward_hooks) == [handle.id]


def test_a_compiled_module_is_drawn_as_the_one_inside() -> None:
    module, net = small.network()
    plain: list[float | None] = []
    compiled: list[float | None] = []
    small.watch(net).on_val().with_handler(lambda shown: plain.append(shown.score)).for_loop().val()
    other = cast(nn.Module, torch.compile(module, backend="eager"))
    twin = Network(other, net.preprocess, small.CLASSES)
    small.watch(twin).on_val().with_handler(lambda shown: compiled.append(shown.score)).for_loop().val()
    assert compiled == plain


def test_averaged_weights_are_drawn_and_the_module_is_not() -> None:
    module, net = small.network()
    ema = torch.optim.swa_utils.AveragedModel(module)
    before: list[float | None] = []
    small.watch(net).on_val().with_handler(lambda shown: before.append(shown.score)).for_loop().val()
    with torch.no_grad():
        module.head.weight.add_(1.0)
    for weights in (ema, lambda: ema, lambda: ema.module.state_dict()):
        drawn: list[float | None] = []
        watch = ClassModels(net, targets=small.CLASSES, steps=3, weights=weights).budget(None).on_val()
        watch.with_handler(lambda shown, drawn=drawn: drawn.append(shown.score)).for_loop().val()  # type: ignore[misc]
        assert drawn == before
    own: list[float | None] = []
    small.watch(net).on_val().with_handler(lambda shown: own.append(shown.score)).for_loop().val()
    assert own != before


def test_class_models_change_as_the_network_learns_and_the_animation_shows_it(tmp_path: Path) -> None:
    module, net = small.network()
    watch = small.watch(net).on_val().to_animation(tmp_path / "{class}.gif", label=False)
    run(module, watch, workers=0)
    assert watch.problems == []
    with Image.open(tmp_path / "red.gif") as film:
        frames = []
        for i in range(small.EPOCHS):
            film.seek(i)
            frames.append(film.convert("RGB").tobytes())
        assert film.n_frames == small.EPOCHS  # type: ignore[attr-defined]
    assert len(set(frames)) == small.EPOCHS


def test_saliency_and_objectives_are_drawn_too(tmp_path: Path) -> None:
    _, net = small.network()
    photos = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    saliency = (
        Saliency(net, photos, "red", method="gradient_x_input").budget(None).on_val().to_file(tmp_path / "{class}{epoch}.png")
    )
    hidden = Objectives(net, ["channel:norm:1", "logit:red"], steps=3).budget(None).on_val().make_grid()
    hidden.to_file(tmp_path / "{kind}-{class}.jpg")
    for watch in (saliency, hidden):
        watch.for_loop().val()
        assert watch.problems == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["objectives-all.jpg", "red0-1.png", "red0.png"]


@pytest.mark.parametrize("every", [0, -1, 1.5, "often", "0 epochs", "1.5 steps", True])
def test_a_wrong_every_is_refused(every: object) -> None:
    _, net = small.network()
    with pytest.raises(ValueError, match="every is"):
        small.watch(net).on_train(every=every)  # type: ignore[arg-type]


def test_filters_activations_and_top_examples_are_drawn_too(tmp_path: Path) -> None:
    _, net = small.network()
    photos = torch.rand(12, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    for watch in (
        Filters(net, ["stem", "head"]),
        Activations(net, photos[:1], ["stem", "norm"]),
        TopExamples(net, photos, ["channel:norm:0", "logit:red"], top=4),
    ):
        watch.budget(None).on_val().to_file(tmp_path / "{kind}-{index}-{class}.png").for_loop().val()
        assert watch.problems == []
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [
        "activations-0-stem.png",
        "activations-1-norm.png",
        "filters-0-stem.png",
        "filters-1-head.png",
        "top-examples-0-channel-norm-0.png",
        "top-examples-1-red.png",
    ]


@pytest.mark.parametrize(
    "make",
    [
        lambda net: Filters(net, "nowhere"),
        lambda net: Activations(net, torch.rand(1, 3, 8, 8), "nowhere"),
        lambda net: TopExamples(net, torch.rand(2, 3, 8, 8), "channel:nowhere:1"),
    ],
)
def test_an_unknown_layer_is_refused_before_the_training(make: Callable[[Network], Callback]) -> None:
    _, net = small.network()
    with pytest.raises(LookupError, match="no layer 'nowhere'"):
        make(net)


def test_a_photograph_keeps_its_tag_whatever_its_class(tmp_path: Path) -> None:
    names = [str(tmp_path / name) for name in ("a.png", "b.png")]
    for name in names:
        image_of(sample()[0]).resize((8, 8)).save(name)
    watch = Saliency(small.network()[1], [*names, names[0]])
    drawn = watch.draw(watch.net, range(3), Moment("val", 0, 0))
    assert [tag(one) for one in drawn] == ["saliency/a.png", "saliency/b.png", "saliency/picture-3"]
    assert [one.fields["photo"] for one in drawn] == ["a.png", "b.png", "picture-3"]


def test_a_short_training_is_drawn_at_every_moment_within_five_seconds() -> None:
    watch = ClassModels(small.network()[1], targets=["red"], steps=1).on_val().to_state(["red"])
    with watch.for_loop() as loop:
        for _ in range(3):
            loop.val()
    assert (watch.drawings, watch.put_off) == (3, 0)
