from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import phosphene as ph
from phosphene.rendering.render import stream_renderings
from tests.nets import HABITS, made, network, of_channels

FEW = ph.Recipe("few", lr=0.05, steps=6, views=(ph.rotate(5), ph.scale(0.9, 1.1), ph.jitter(0.1), ph.noise(0.05)))
ALL = [f"logit:{i}" for i in range(5)]


def few(net: ph.Network, objectives: Any, **settings: Any) -> ph.Rendering:
    return ph.render(net, objectives, recipe=FEW, **settings)


@pytest.mark.parametrize("habit", HABITS)
def test_a_picture_is_the_same_whatever_its_neighbours(habit: str) -> None:
    net = network(habit)
    together = few(net, ALL)
    alone = torch.cat([few(net, objective).pictures for objective in reversed(ALL)]).flip(0)
    torch.testing.assert_close(together.pictures, alone, atol=1e-4, rtol=0)


@pytest.mark.parametrize("habit", HABITS)
def test_the_same_request_gives_the_same_picture(habit: str) -> None:
    net = network(habit)
    first = few(net, ALL)
    torch.rand(3)
    assert torch.equal(first.pictures, few(net, ALL).pictures)
    assert not torch.equal(first.pictures, few(net, ALL, seed=1).pictures)


@pytest.mark.parametrize("habit", HABITS)
def test_the_score_grows(habit: str) -> None:
    net = network(habit)
    start = net.scores(net.preprocess.mean_picture())[0]
    assert (few(net, ALL, views=[]).scores > start).all()


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 11, 24])
def test_networks_of_any_number_of_channels_render(channels: int) -> None:
    net = of_channels(channels, (13, 18))
    rendering = few(net, ["logit:0", "layer:0:squares"])
    assert rendering.pictures.shape == (2, channels, 13, 18)
    assert rendering.contact_sheet().mode == "RGB"


@pytest.mark.parametrize("size", [9, (11, 17), (24, 15)])
def test_pictures_have_the_size_that_was_asked(size: int | tuple[int, int]) -> None:
    sides = (size, size) if isinstance(size, int) else size
    assert few(network("plain"), "logit:0", size=size).pictures.shape[2:] == sides


def test_a_step_of_a_linear_network_is_its_weight_normalised() -> None:
    linear = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    net = ph.Network(linear, ph.Preprocess(size=2))
    plain = ph.Recipe("plain", lr=0.1, steps=1)
    picture = ph.render(net, "logit:1", recipe=plain).pictures
    weight = next(p for p in linear.parameters() if p.shape == (2, 12))[1].detach().view(1, 3, 2, 2)
    torch.testing.assert_close(picture, 0.5 + 0.1 * weight / weight.square().mean().sqrt())


def test_the_penalised_optimum_of_a_linear_network_is_reached() -> None:
    """argmax of w·x − λ‖x − m‖² is m + w / 2λ."""
    linear = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    net = ph.Network(linear, ph.Preprocess(size=2))
    recipe = ph.Recipe("plain", lr=0.02, steps=300, anneal=1.0, optimiser="adam", priors=(2 * ph.l2(),))
    picture = ph.render(net, "logit:0", recipe=recipe).pictures
    weight = next(p for p in linear.parameters() if p.shape == (2, 12))[0].detach().view(1, 3, 2, 2)
    torch.testing.assert_close(picture, 0.5 + weight / 4, atol=2e-3, rtol=0)


def test_history_is_the_objective_at_each_step() -> None:
    net = network("plain")
    plain = ph.Recipe("plain", lr=0.05, steps=3)
    rendering = ph.render(net, "logit:2", recipe=plain, frames=4)
    pictures = rendering.frames[:, 0].float() / 255
    torch.testing.assert_close(rendering.history[:, 0], net.scores(pictures)[:3, 2], atol=0.02, rtol=0)


def test_scores_are_those_of_the_finished_pictures() -> None:
    net = network("plain")
    rendering = few(net, ["logit:1", "logit:3 - 0.5*logit:4"])
    scores = net.scores(rendering.pictures)
    torch.testing.assert_close(rendering.scores, torch.stack([scores[0, 1], scores[1, 3] - 0.5 * scores[1, 4]]))


def test_items_tell_class_probability_and_rank(robust: ph.Network) -> None:
    (item,) = ph.render(robust, "logit:cat", recipe="pixels", steps=40).items
    assert (item.name, item.index, item.rank) == ("cat", 3, 1)
    assert item.probability is not None
    assert item.probability > 0.5


def test_a_class_by_name_and_by_index_is_the_same_picture(robust: ph.Network) -> None:
    by_name, by_index = (ph.render(robust, text, steps=3).pictures for text in ("logit:cat", "logit:3"))
    assert torch.equal(by_name, by_index)


def _state(module: nn.Module) -> dict[str, Any]:
    return {
        "weights": {name: tensor.clone() for name, tensor in module.state_dict().items()},
        "modes": [part.training for part in module.modules()],
        "wishes": [p.requires_grad for p in module.parameters()],
        "gradients": [p.grad for p in module.parameters()],
        "hooks": [len(part._forward_hooks) + len(part._forward_pre_hooks) for part in module.modules()],
        "random": torch.get_rng_state(),
    }


def _same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    weights = all(torch.equal(tensor, b["weights"][name]) for name, tensor in a["weights"].items())
    rest = all(a[key] == b[key] for key in ("modes", "wishes", "gradients", "hooks"))
    return weights and rest and torch.equal(a["random"], b["random"])


class Fails:
    def on_step(self, done: int, items: int, step: int, steps: int, pictures: Tensor, values: Tensor) -> None:
        raise RuntimeError("from the observer")


@pytest.mark.parametrize("habit", HABITS)
def test_render_leaves_no_trace(habit: str) -> None:
    module = made(habit)
    net = ph.Network(module, ph.Preprocess(size=12, mean=0.5, std=0.25))
    before = _state(module)
    few(net, ["logit:0", "logit:1"])
    assert _same(before, _state(module))
    with pytest.raises(RuntimeError, match="from the observer"):
        few(net, "logit:0", observers=[Fails()])
    assert _same(before, _state(module))


@pytest.mark.parametrize("guard", [torch.no_grad, torch.inference_mode])
def test_render_works_where_gradients_are_off(guard: Any) -> None:
    net = network("functional")
    expected = few(net, "logit:0").pictures
    with guard():
        given = few(net, "logit:0").pictures
    assert torch.equal(given, expected)


class Dead(nn.Module):
    """Score 0 wakes only far from grey; score 1 never does."""

    def forward(self, x: Tensor) -> Tensor:
        spread = (x - 0.5).abs().flatten(1).amax(1)
        return torch.stack([(spread - 0.15).relu(), (spread - 9).relu()], 1)


def test_an_item_without_a_gradient_begins_elsewhere_and_says_so() -> None:
    net = ph.Network(Dead(), ph.Preprocess(size=6))
    woken, dead = few(net, ["logit:0", "logit:1"]).items
    assert "the gradient was zero at the usual start" in woken.notes[0]
    assert woken.score > 0
    assert dead.notes == ("the gradient is zero at all 7 starts: a dead unit, the picture says nothing of it",)


def test_a_dead_unit_is_marked_on_the_sheet_and_in_the_page() -> None:
    rendering = few(ph.Network(Dead(), ph.Preprocess(size=6)), "logit:1")
    assert "dead unit" in rendering._repr_html_()


def test_numbers_that_are_not_finite_are_an_error() -> None:
    class Explodes(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x.flatten(1).sum(1, keepdim=True) * torch.nan).expand(-1, 2)

    net = ph.Network(Explodes(), ph.Preprocess(size=4))
    with pytest.raises(ph.PhospheneError, match="the gradient of logit:0 is not finite at any of 7 starts"):
        ph.render(net, "logit:0", recipe=ph.Recipe("plain", steps=1))


class StopsAfter:
    """Ctrl-C in the given batch."""

    def __init__(self, done: int) -> None:
        self.done = done

    def on_step(self, done: int, items: int, step: int, steps: int, pictures: Tensor, values: Tensor) -> None:
        if done >= self.done:
            raise KeyboardInterrupt


def test_an_interrupt_carries_what_is_finished() -> None:
    net = network("plain")
    with pytest.raises(ph.Interrupted) as stopped:
        few(net, ALL, batch=2, observers=[StopsAfter(2)])
    assert [item.objective for item in stopped.value.partial.items] == ALL[:2]
    with pytest.raises(ph.Interrupted) as stopped:
        few(net, ALL, observers=[StopsAfter(0)])
    assert stopped.value.partial is None


def test_running_out_of_memory_halves_the_batch_and_draws_the_same() -> None:
    class Full:
        sizes: list[int] = []  # noqa: RUF012  one test's own

        def on_step(self, done: int, items: int, step: int, steps: int, pictures: Tensor, values: Tensor) -> None:
            self.sizes.append(len(pictures))
            if len(pictures) > 1:
                raise torch.OutOfMemoryError("none left")

    found = few(network("plain"), ALL, batch=4, observers=[Full()])
    assert Full.sizes[:3] == [4, 2, 1]
    torch.testing.assert_close(found.pictures, few(network("plain"), ALL).pictures, atol=1e-4, rtol=0)


def test_one_picture_that_does_not_fit_is_an_error() -> None:
    class Full:
        def on_step(self, *_: Any) -> None:
            raise torch.OutOfMemoryError("none left")

    with pytest.raises(torch.OutOfMemoryError):
        few(network("plain"), "logit:0", observers=[Full()])


def test_observers_hear_every_step() -> None:
    heard: list[tuple[int, int, int, int]] = []

    class Hears:
        def on_step(self, done: int, items: int, step: int, steps: int, pictures: Tensor, values: Tensor) -> None:
            heard.append((done, items, step, len(values)))

    few(network("plain"), ALL[:3], batch=2, observers=[Hears()])
    assert heard == [(0, 3, s, 2) for s in range(1, 7)] + [(2, 3, s, 1) for s in range(1, 7)]


def test_the_request_is_checked_before_work_begins() -> None:
    with pytest.raises(ph.PhospheneError, match="no layer 'nowhere'"):
        stream_renderings(network("plain"), "layer:nowhere", FEW)


@pytest.mark.parametrize(
    ("objectives", "settings", "words"),
    [
        ([], {}, "at least one is needed"),
        ("logit:9", {}, "indices go from 0 to 4"),
        ("channel:0:8", {}, "channel 8 is outside 0, which has 8"),
        ("neuron:0:0,99,0", {}, "y 99 is outside 0"),
        ("logit:0", {"size": 0}, "size is 0; 1 to 8192 is needed"),
        ("logit:0", {"size": (1, 2, 3)}, "one side or"),
        ("logit:0", {"steps": 0}, "steps is 0"),
        ("logit:0", {"seed": -1}, "seed is -1"),
        ("logit:0", {"batch": 0}, "batch is 0"),
        ("logit:0", {"frames": -1}, "frames is -1"),
        ("logit:0", {"lr": float("nan")}, "lr is nan"),
    ],
)
def test_a_wrong_request_is_told(objectives: Any, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ph.PhospheneError, match=words):
        few(network("plain"), objectives, **settings)


def test_a_size_on_which_the_network_does_not_run_is_told() -> None:
    with pytest.raises(ph.PhospheneError, match=r"does not run on pictures \(1, 3, 3, 3\)"):
        few(network("inplace"), "logit:0", size=3)


def test_the_network_of_one_batch_size_renders_any_number() -> None:
    net = ph.Network(made("plain"), ph.Preprocess(size=12, mean=0.5, std=0.25), batch=3)
    expected = few(network("plain"), ALL).pictures
    torch.testing.assert_close(few(net, ALL).pictures, expected, atol=1e-4, rtol=0)


def test_settings_replace_those_of_a_recipe() -> None:
    rendering = few(
        network("plain"), "logit:0", steps=2, lr=0.1, optimiser="adam", priors=[ph.l2()], projections=[], views=[ph.jitter(0.2)]
    )
    said = rendering.record.recipe
    assert (said["steps"], said["lr"], said["optimiser"]) == (2, 0.1, "adam")
    assert [part["kind"] for part in (*said["priors"], *said["views"])] == ["l2", "jitter"]


@pytest.mark.parametrize("start", ["zeros", "noise"])
def test_every_start_renders(start: Any) -> None:
    assert few(network("plain"), "logit:0", canvas=ph.pixels(start)).pictures.isfinite().all()


def test_samples_average_the_views() -> None:
    net = network("plain")
    still = ph.Recipe("r", lr=1e-6, steps=1, views=(ph.shift(0.2),), canvas=ph.pixels("noise", 0.3))
    one, four = (ph.render(net, "logit:0", recipe=still.replace(samples=k)).history.item() for k in (1, 4))
    assert one != four
    again = ph.render(net, ["logit:1", "logit:0"], recipe=still.replace(samples=4)).history[0, 1].item()
    assert again == pytest.approx(four, abs=1e-5)


def test_a_threshold_moves_only_pixels_of_large_gradient() -> None:
    net = network("plain")
    few_pixels = ph.Recipe("r", lr=0.05, steps=1, threshold=90.0)
    moved = ph.render(net, "logit:0", recipe=few_pixels).pictures != net.preprocess.mean_picture()
    assert 0.05 <= moved.float().mean() <= 0.11


def test_half_precision_draws_nearly_the_same_picture() -> None:
    net = network("functional")
    full, half = (few(net, ALL, precision=precision) for precision in ("full", "half"))
    assert half.record.environment["precision"] == "half"
    assert (full.pictures - half.pictures).abs().mean() < 0.05
    torch.testing.assert_close(half.scores, net.scores(half.pictures).diagonal())


def test_half_precision_follows_the_users_weights() -> None:
    module = made("plain")
    net = ph.Network(module, ph.Preprocess(size=12, mean=0.5, std=0.25))
    before = few(net, "logit:0", precision="half").history
    with torch.no_grad():
        next(module.parameters()).mul_(3)
    assert not torch.equal(few(net, "logit:0", precision="half").history, before)


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(ph.PhospheneError, match="auto, full or half is needed"):
        few(network("plain"), "logit:0", precision="double")


def test_an_ascent_can_begin_at_a_photograph(tmp_path: Any) -> None:
    from PIL import Image

    Image.new("RGB", (40, 20), (255, 0, 0)).save(tmp_path / "red.png")
    still = ph.Recipe("r", lr=1e-9, steps=1, canvas=ph.pixels(str(tmp_path / "red.png")))
    rendering = ph.render(network("plain"), "logit:0", recipe=still)
    torch.testing.assert_close(rendering.pictures[0, :, 5, 5], torch.tensor([1.0, 0.0, 0.0]), atol=1e-5, rtol=0)
    rendering.save(tmp_path / "out")
    with pytest.raises(ph.PhospheneError, match=r"names a file, .*red\.png"):
        ph.rerun(tmp_path / "out" / "0.png", network("plain"))
    assert ph.rerun(tmp_path / "out" / "0.png", network("plain"), trust=True).identical
