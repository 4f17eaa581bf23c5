"""Dreams: what a step is, that nothing else is changed, sizes, channels, guides, zooms and refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import phosphene as ph
from phosphene.errors import RecordError
from phosphene.pictures import files
from phosphene.rendering.guide import Guided
from phosphene.rendering.octaves import octave_sizes, regrown, resized, within, zoomed
from phosphene.results.record import Record
from tests import nets

LAYER = "layer:stage3.0:squares"


def photo(height: int = 40, width: int = 52, channels: int = 3, seed: int = 0) -> Tensor:
    """Smooth noise: shapes of some pixels."""
    coarse = torch.rand((1, channels, height // 4 + 2, width // 4 + 2), generator=torch.Generator().manual_seed(seed))
    return resized(coarse, (height, width))


def dreamt(net: ph.Network, picture: Tensor, objective: str = LAYER, **settings: object) -> ph.Dream:
    """Quick: two octaves of two steps, if nothing else is asked for."""
    return ph.dream(net, picture, objective, **{"octaves": 2, "steps": 2, "jitter": 4} | settings)  # type: ignore[arg-type]


class Interrupting:
    """Presses Ctrl-C at a step of a frame."""

    def __init__(self, step: int, frame: int = 0) -> None:
        self.at = (frame, step)

    def on_step(self, done: int, items: int, step: int, steps: int, pictures: Tensor, values: Tensor) -> None:
        if (done, step) == self.at:
            raise KeyboardInterrupt


@pytest.mark.parametrize("settings", [{"steps": 0}, {"strength": 0.0}, {"strength": 0, "octaves": 3, "jitter": 9}])
def test_without_steps_or_strength_the_photograph_comes_back_bit_for_bit(robust: ph.Network, settings: dict[str, Any]) -> None:
    picture = photo()
    made = dreamt(robust, picture, **settings)
    assert torch.equal(made.picture, picture)
    assert made.picture.data_ptr() != picture.data_ptr()


def test_one_step_is_the_gradient_over_its_mean_size() -> None:
    module = nets.made("plain")
    picture = photo(20, 23).requires_grad_(True)
    value = module[:4]((picture - 0.5) / 0.25).square().sum()  # type: ignore[index]
    (gradient,) = torch.autograd.grad(value, picture)
    wanted = (picture + 0.02 * gradient / gradient.abs().mean()).clamp(0, 1).detach()
    net = ph.Network(module, ph.Preprocess(size=12, mean=0.5, std=0.25))
    made = ph.dream(net, picture, "layer:3:squares", octaves=1, steps=1, strength=0.02, jitter=0)
    torch.testing.assert_close(made.picture, wanted)
    assert made.history.tolist() == pytest.approx([value.item()])


def test_jitter_gives_the_rolled_picture_s_step() -> None:
    net = nets.network("plain")
    picture = photo(24, 24)
    still, rolled = (dreamt(net, picture, "layer:0", octaves=1, steps=1, jitter=j).picture for j in (0, 8))
    # A convolution without a stride moves with the picture: only the borders, padded with zeros, tell.
    assert not torch.equal(still, rolled)
    torch.testing.assert_close(
        still[..., 9:15, 9:15] > picture[..., 9:15, 9:15], rolled[..., 9:15, 9:15] > picture[..., 9:15, 9:15]
    )


@pytest.mark.parametrize("objective", [LAYER, "channel:stage3.0:5 + channel:stage3.0:9", "logit:cat", "layer:stage1.0"])
def test_the_objective_grows_within_each_octave(robust: ph.Network, objective: str) -> None:
    history = ph.dream(robust, photo(), objective, octaves=2, steps=5, jitter=2).history.view(2, 5)
    assert (history[:, -1] > history[:, 0]).all()


def test_the_objective_of_the_finished_picture_is_larger_than_the_photograph_s(robust: ph.Network) -> None:
    picture = photo()
    before, after = (robust.features(p, "stage3.0").square().sum() for p in (picture, dreamt(robust, picture).picture))
    assert after > 1.2 * before


@pytest.mark.parametrize("size", [(33, 47), (64, 21), (12, 90)])
def test_a_photograph_keeps_its_size(robust: ph.Network, size: tuple[int, int]) -> None:
    made = dreamt(robust, photo(*size), tile=32)
    assert tuple(made.picture.shape) == (1, 3, *size)
    assert made.image().size == size[::-1]
    assert 0 <= made.picture.min() < made.picture.max() <= 1


@pytest.mark.parametrize("channels", [1, 2, 3, 11])
def test_pictures_of_any_number_of_channels_are_dreamt(channels: int) -> None:
    made = dreamt(nets.of_channels(channels), photo(25, 30, channels), "layer:3:squares")
    assert made.picture.shape == (1, channels, 25, 30)
    assert torch.isfinite(made.picture).all()


def test_grey_and_colour_become_what_the_network_takes(robust: ph.Network) -> None:
    grey = photo(channels=1)
    assert torch.equal(dreamt(robust, grey).picture, dreamt(robust, grey.expand(-1, 3, -1, -1)).picture)
    assert dreamt(nets.of_channels(1), photo(), "layer:3").picture.shape == (1, 1, 40, 52)


def test_white_in_colour_is_white_in_grey() -> None:
    made = dreamt(nets.of_channels(1), torch.ones(1, 3, 20, 20), "layer:3", steps=0)
    assert made.picture.max() <= 1


def test_the_same_seed_is_the_same_picture_and_another_one_is_not(robust: ph.Network) -> None:
    a, b, c = (dreamt(robust, photo(), seed=seed, tile=32).picture for seed in (3, 3, 4))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_a_class_by_name_and_by_index_is_the_same_dream(robust: ph.Network) -> None:
    assert torch.equal(dreamt(robust, photo(), "logit:cat").picture, dreamt(robust, photo(), "logit:3").picture)


def test_nothing_is_left_behind(robust: ph.Network) -> None:
    picture, state = photo(), torch.get_rng_state()
    copy, weights = picture.clone(), robust.sha256()
    dreamt(robust, picture)
    assert torch.equal(picture, copy)
    assert torch.equal(torch.get_rng_state(), state)
    assert robust.sha256() == weights
    assert all(p.grad is None for p in robust.module.parameters())
    assert not any(part._forward_hooks for part in robust.module.modules())


def test_gradients_are_ours_to_ask_for(robust: ph.Network) -> None:
    wanted = dreamt(robust, photo()).picture
    with torch.inference_mode():
        assert torch.equal(dreamt(robust, photo()).picture, wanted)


def test_without_detail_the_dream_is_blurred(robust: ph.Network) -> None:
    picture = photo()
    blurred = dreamt(robust, picture, steps=0, detail=0).picture
    half = resized(picture, octave_sizes((40, 52), 2, 1.4)[0])
    torch.testing.assert_close(blurred, resized(half, (40, 52)))
    between = dreamt(robust, picture, steps=0, detail=0.5).picture
    torch.testing.assert_close(between, (blurred + picture) / 2)


def test_what_was_dreamt_goes_up_with_the_detail() -> None:
    base = photo(20, 20)
    small = resized(base, (10, 10))
    lifted = regrown(small * 0.9, small, base * 0.9, 1.0)
    torch.testing.assert_close(lifted, 0.9 * base - resized(0.1 * small, (20, 20)))


def test_a_zoom_by_one_is_the_picture() -> None:
    torch.testing.assert_close(zoomed(photo(), 1.0), photo(), atol=1e-4, rtol=0)


def test_a_zoom_by_two_shows_the_middle() -> None:
    picture = torch.zeros(1, 1, 16, 16)
    picture[..., 4:8, 4:8] = 1  # the upper left quarter of the middle
    seen = zoomed(picture, 2.0)
    assert seen[..., 1:7, 1:7].min() == 1
    assert max(seen[..., 9:, :].max(), seen[..., 9:].max()) < 0.02


def test_a_picture_within_a_side_is_never_enlarged() -> None:
    assert tuple(within(photo(40, 52), 26).shape[2:]) == (20, 26)
    assert tuple(within(photo(40, 52), 99).shape[2:]) == (40, 52)


def test_a_guide_draws_features_to_its_own(robust: ph.Network) -> None:
    picture, guide = photo(), photo(30, 30, seed=1)
    likeness = Guided("stage3.0", robust.features(guide, "stage3.0")[0].flatten(1))
    guided, free, before = (
        likeness({"stage3.0": robust.features(p, "stage3.0")}).item()
        for p in (dreamt(robust, picture, guide=guide).picture, dreamt(robust, picture).picture, picture)
    )
    assert guided > free > before


def test_the_guide_s_objective_is_the_best_dot_product_of_each_place() -> None:
    f, g = torch.randn(2, 5, 3, 4), torch.randn(5, 7)
    wanted = torch.einsum("bcyx,cq->bqyx", f, g).amax(1).sum((1, 2))
    torch.testing.assert_close(Guided("a", g)({"a": f}), wanted)
    tokens = f.flatten(2).transpose(1, 2)
    torch.testing.assert_close(Guided("a", g)({"a": tokens}), wanted)
    torch.testing.assert_close(Guided("a", g)({"a": f[:, :, 0, 0]}), (f[:, :, 0, 0] @ g).amax(1))


def test_a_guide_in_parts_is_the_guide(monkeypatch: pytest.MonkeyPatch) -> None:
    f, g = torch.randn(1, 5, 6, 6), torch.randn(5, 7)
    whole = Guided("a", g)({"a": f})
    monkeypatch.setattr("phosphene.rendering.guide.PRODUCTS", 20)
    torch.testing.assert_close(Guided("a", g)({"a": f}), whole)


def test_a_guide_of_many_places_is_thinned_out(robust: ph.Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("phosphene.rendering.guide.PLACES", 10)
    assert torch.isfinite(dreamt(robust, photo(), guide=photo(32, 32, seed=1)).picture).all()


def test_a_guide_wants_layers(robust: ph.Network) -> None:
    with pytest.raises(ph.PhospheneError, match=r"'logit:3' with a guide; layers alone are needed"):
        dreamt(robust, photo(), "logit:cat", guide=photo())


def test_a_zoom_gives_its_frames_and_the_last_is_the_picture(robust: ph.Network, tmp_path: Path) -> None:
    made = dreamt(robust, photo(), zoom=3)
    assert made.frames.shape == (3, 3, 40, 52)
    assert len(made.history) == 3 * 2 * 2
    torch.testing.assert_close(made.frames[-1].float() / 255, made.picture[0], atol=0.5 / 255 + 1e-6, rtol=0)
    first = dreamt(robust, photo()).picture[0]
    torch.testing.assert_close(made.frames[0].float() / 255, first, atol=0.5 / 255 + 1e-6, rtol=0)
    with Image.open(made.animate(tmp_path / "a.gif")) as film:
        assert film.n_frames == 3  # type: ignore[attr-defined]  # of the plug-in's class


def test_a_dream_without_zoom_has_no_film(robust: ph.Network, tmp_path: Path) -> None:
    with pytest.raises(ph.PhospheneError, match="0 frames of a dream; at least two are needed: dream with zoom=2 or more"):
        dreamt(robust, photo()).animate(tmp_path / "a.gif")


def test_ctrl_c_gives_the_dream_so_far_at_full_size(robust: ph.Network) -> None:
    with pytest.raises(ph.Interrupted) as stopped:
        dreamt(robust, photo(), observers=[Interrupting(1)])
    partial = stopped.value.partial
    assert partial.notes == ("interrupted after 1 of 4 steps",)
    assert not partial.finished
    assert partial.picture.shape == (1, 3, 40, 52)
    assert not torch.equal(partial.picture, photo())


def test_ctrl_c_in_a_later_frame_keeps_the_earlier_ones(robust: ph.Network) -> None:
    with pytest.raises(ph.Interrupted) as stopped:
        dreamt(robust, photo(), zoom=3, observers=[Interrupting(3, frame=1)])
    assert len(stopped.value.partial.frames) == 1
    assert stopped.value.partial.picture.shape == (1, 3, 40, 52)


def test_an_observer_is_told_of_every_step(robust: ph.Network) -> None:
    told: list[tuple[int, ...]] = []

    class Watching:
        def on_step(self, done: int, items: int, step: int, steps: int, pictures: Tensor, values: Tensor) -> None:
            told.append((done, items, step, steps, pictures.shape[3], len(values)))

    dreamt(robust, photo(), zoom=2, observers=[Watching()])
    assert told[:4] == [(0, 2, 1, 4, 37, 1), (0, 2, 2, 4, 37, 1), (0, 2, 3, 4, 52, 1), (0, 2, 4, 4, 52, 1)]
    assert len(told) == 8


def test_a_saved_dream_says_everything_and_reruns_are_refused(robust: ph.Network, tmp_path: Path) -> None:
    made = dreamt(robust, photo(), zoom=2, seed=5)
    run = json.loads(made.save(tmp_path, animate="apng").read_text("utf-8"))
    (item,) = run["items"]
    assert (run["command"], run["model"], item["file"], item["animation"]) == (
        "dream",
        made.record.model,
        "dream.png",
        "dream.apng",
    )
    assert (item["seed"], item["size"], item["finished"], item["objective"]) == (5, [40, 52], True, LAYER)
    text = files.read_png(tmp_path / "dream.png")[1]
    assert json.loads(text)["recipe"] == item["settings"] == made.record.recipe
    assert json.loads(text)["verb"] == "dream"
    with pytest.raises(RecordError, match="verb is 'dream'; render is known"):
        ph.rerun(tmp_path / "dream.png")


def test_the_settings_of_a_record_dream_the_same_again(robust: ph.Network) -> None:
    made = dreamt(robust, photo(), strength=0.01)
    said = {k: v for k, v in made.record.recipe.items() if k not in ("name", "photo", "guide")}
    again = ph.dream(robust, photo(), made.record.objective, seed=made.record.seed, **said)
    assert again.record == made.record
    assert torch.equal(again.picture, made.picture)


def test_the_record_tells_photographs_and_guides_apart(robust: ph.Network) -> None:
    a, b, c = (
        dreamt(robust, p, steps=0, guide=g).record for p, g in ((photo(), None), (photo(seed=1), None), (photo(), photo()))
    )
    assert a.recipe["photo"] != b.recipe["photo"]
    assert a.recipe["photo"] == c.recipe["photo"] == c.recipe["guide"]
    assert isinstance(a, Record)


def test_a_dream_shows_itself(robust: ph.Network) -> None:
    dead = dreamt(robust, photo(), f"0*{LAYER}")
    assert repr(dead) == "Dream(3×40×52: '0.0*layer:stage3.0:squares')"
    assert dead.notes == ("the gradient was zero in 4 of 4 steps",)
    assert torch.equal(dead.picture, photo())
    assert "<li>the gradient was zero" in dead._repr_html_()


def test_a_constant_objective_is_refused() -> None:
    class Constant(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.ones(len(x), 3, 4, 4)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.still, self.head = Constant(), nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            scores: Tensor = self.head(self.still(x).mean((2, 3)) + x.mean((1, 2, 3)).unsqueeze(1))
            return scores

    with pytest.raises(ph.PhospheneError, match="layer:still cannot be dreamt: no gradient reaches the image"):
        dreamt(ph.Network(Net(), ph.Preprocess(size=8)), photo(), "layer:still")


def test_a_network_of_one_batch_size_dreams() -> None:
    net = ph.Network(nets.made("plain"), ph.Preprocess(size=12, mean=0.5, std=0.25), batch=3)
    torch.testing.assert_close(
        dreamt(net, photo(), "layer:3:squares").picture, dreamt(nets.network("plain"), photo(), "layer:3:squares").picture
    )


def test_half_precision_dreams_nearly_the_same(robust: ph.Network) -> None:
    full, half = (dreamt(robust, photo(), precision=p, octaves=1) for p in ("full", "half"))
    assert half.record.environment["precision"] == "half"
    change = [d.picture - photo() for d in (full, half)]
    assert torch.cosine_similarity(change[0].flatten(), change[1].flatten(), 0) > 0.9


def test_a_layer_before_a_fixed_head_takes_any_size() -> None:
    assert dreamt(nets.network("inplace"), photo(), "layer:2:squares").picture.shape == (1, 3, 40, 52)


def test_a_size_that_the_network_refuses_is_told_before_anything_is_dreamt() -> None:
    with pytest.raises(
        ph.PhospheneError, match=r"does not run on pictures .*tiles of every size up to 512 px; fewer octaves, another"
    ):
        dreamt(nets.network("inplace"), photo(), "logit:0", observers=[Interrupting(1)])


def test_a_network_of_fixed_size_dreams_in_tiles_of_it() -> None:
    assert dreamt(nets.network("inplace"), photo(), "logit:0", octaves=1, tile=12).picture.shape == (1, 3, 40, 52)


def test_the_tile_is_never_smaller_than_the_network_s_own_size() -> None:
    net = nets.network("plain", (12, 600))
    assert dreamt(net, photo(), "layer:0", steps=0).record.recipe["tile"] == 600
    assert dreamt(nets.network("plain"), photo(), "layer:0", steps=0).record.recipe["tile"] == 512


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"octaves": 0}, "octaves is 0; 1 to 100 is needed"),
        ({"octave_scale": 1}, r"octave_scale is 1; 1.01 to 100 is needed"),
        ({"octaves": 40}, "40 octaves of scale 1.4 shrink 52×40 pixels to nothing; fewer are needed"),
        ({"steps": -1}, "steps is -1; 0 to 1000000 is needed"),
        ({"strength": 2}, "strength is 2; 0 to 1 is needed"),
        ({"jitter": 1.5}, "jitter is 1.5; a whole number is needed"),
        ({"tile": 7}, "tile is 7; 8 to 8192 is needed"),
        ({"detail": 1.1}, "detail is 1.1; 0 to 1 is needed"),
        ({"zoom": 0}, "zoom is 0; 1 to 100000 is needed"),
        ({"zoom_factor": 0.9}, "zoom_factor is 0.9; 1 to 100 is needed"),
        ({"seed": -1}, "seed is -1; 0 to"),
        ({"precision": "low"}, "precision 'low'; auto, full or half is needed"),
        ({"guide": torch.ones(2, 3, 8, 8)}, r"guide must be one picture \(1, c, h, w\), got \(2, 3, 8, 8\)"),
    ],
)
def test_a_setting_out_of_range_is_refused(robust: ph.Network, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ph.PhospheneError, match=said):
        dreamt(robust, photo(), **settings)


def test_more_frames_than_memory_holds_are_refused(robust: ph.Network) -> None:
    with pytest.raises(ph.PhospheneError, match="zoom is 20000: so many frames of 200×200 are over 2 GiB; fewer, or"):
        dreamt(robust, photo(200, 200), zoom=20_000)


@pytest.mark.parametrize(
    ("picture", "said"),
    [
        ("street.jpg", "picture 'street.jpg' is not there; a file is needed"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.int32), "photo is torch.int32, whose white can be"),
        (torch.zeros(2, 3, 8, 8), r"photo must be one picture \(1, c, h, w\), got \(2, 3, 8, 8\)"),
        (torch.zeros(1, 4, 8, 8), "the picture has 4 channels; the network takes 3"),
        (torch.zeros(1, 3, 0, 8), "photo must hold pixels"),
        (torch.zeros(1, 3, 8, 9000), "photo's width is 9000; 1 to 8192 is needed"),
        (torch.full((1, 3, 8, 8), 1.5), r"photo reaches from 1.5 to 1.5; \[0, 1\] is needed"),
        (torch.full((1, 3, 8, 8), float("nan")), "photo reaches from nan to nan; .* It holds NaN"),
    ],
)
def test_what_is_no_photograph_is_refused(robust: ph.Network, picture: Tensor, said: str) -> None:
    with pytest.raises(ph.PhospheneError, match=said):
        dreamt(robust, picture)


@pytest.mark.parametrize(
    ("objective", "said"),
    [
        ("layer:stage9", "no layer 'stage9'; nearest: stage1"),
        ("channel:stage3.0:4000", "channel 4000 is outside stage3.0"),
        ("neuron:stage3.0:5,9,9", "y 9 is outside stage3.0, which has 8"),
        ("match:stage3.0:photo.png", "compares whole pictures, a dream reads tiles; guide= is for that"),
    ],
)
def test_an_objective_outside_the_network_is_refused(robust: ph.Network, tmp_path: Path, objective: str, said: str) -> None:
    files.write_png(tmp_path / "photo.png", Image.new("RGB", (8, 8), "red"))
    with pytest.raises(ph.PhospheneError, match=said):
        dreamt(robust, photo(), objective.replace("photo.png", f'"{tmp_path}/photo.png"'))


def test_a_dream_that_leaves_the_finite_numbers_is_an_error(robust: ph.Network) -> None:
    with pytest.raises(ph.PhospheneError, match="left the finite numbers") as failed:
        dreamt(robust, photo(), f"1e38*{LAYER}")
    assert failed.value.status == 1


def test_the_enlarged_middle_stays_between_black_and_white() -> None:
    """A cubic overshoots at edges."""
    edges = (photo(30, 30) > 0.5).float()
    assert [float(value) for value in zoomed(edges, 1.3).aminmax()] == [0, 1]


def test_a_picture_of_the_size_that_is_asked_for_is_given_back_itself() -> None:
    picture = photo(20, 30)
    assert resized(picture, (20, 30)) is picture


def test_a_dream_shows_before_and_after_in_a_size_that_a_page_holds(robust: ph.Network) -> None:
    small, large = dreamt(robust, photo(32, 32), steps=0).sheet(), dreamt(robust, photo(600, 900), steps=0, octaves=1).sheet()
    assert small.width > 2 * 160  # enlarged
    assert 2 * 480 < large.width < 2 * 480 + 60
    assert dreamt(robust, photo(600, 900), steps=0, octaves=1).image().size == (900, 600)
