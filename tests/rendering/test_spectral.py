from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import phosphene as ph
from phosphene.pictures.statistics import Statistics, falling, frequencies, statistics
from phosphene.rendering.spectral import Colours, PhaseSurface
from phosphene.rendering.waves import COARSE, a_picture
from tests.nets import of_channels

SIZES = st.tuples(st.integers(2, 17), st.integers(2, 17))
MEAN = torch.full((1, 3, 12, 10), 0.4)
LOCAL = ph.phase(freedom=1.0, grid=3, falloff=0.3)


def mean_of(channels: int, size: tuple[int, int]) -> torch.Tensor:
    return torch.full((1, channels, *size), 0.4)


def whole(surface: PhaseSurface, numbers: torch.Tensor) -> torch.Tensor:
    """The sum of the waves, before contrast and colours."""
    return surface.waves.added(numbers[:, :-1].unflatten(1, surface.shape))[0]


@given(SIZES, st.sampled_from([1, 3, 4]))
def test_numbers_of_waves_make_the_picture_again(size: tuple[int, int], channels: int) -> None:
    surface = ph.fourier().surface(mean_of(channels, size))
    pictures = 0.05 + 0.9 * torch.rand((2, channels, *size), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(surface.picture(surface.numbers(pictures)), pictures, atol=1e-4, rtol=0)


def test_waves_of_no_height_are_the_mean_picture() -> None:
    surface = ph.fourier(start="mean").surface(MEAN)
    torch.testing.assert_close(surface.picture(surface.start(["a"], 0, 0)), MEAN)


def test_waves_can_begin_at_black_and_at_noise() -> None:
    black, noisy = (ph.fourier(start=start).surface(MEAN) for start in ("zeros", "noise"))
    assert black.picture(black.start(["a"], 0, 0)).max() < 0.01
    first = noisy.start(["a", "b"], 0, 0)
    assert not torch.equal(first[0], first[1])
    assert torch.equal(first[1:], noisy.start(["b"], 0, 0))


def test_the_decay_weighs_a_wave_by_its_frequency() -> None:
    flat, steep = (ph.fourier(decay=power).surface(MEAN) for power in (0.0, 2.0))
    y, x = frequencies((12, 10))
    torch.testing.assert_close(steep.scale / flat.scale, torch.hypot(y, x).clamp(min=1 / 12) ** -2)


@pytest.mark.parametrize("canvas", [ph.fourier(), ph.phase(), ph.phase("1/f", freedom=0.5), LOCAL])
def test_the_gradient_of_a_canvas_is_the_adjoint_of_its_slope(canvas: Any) -> None:
    surface = canvas.surface(MEAN.double())
    numbers = surface.start(["a"], 0, 0).double()
    push = torch.randn(numbers.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    pull = torch.randn(MEAN.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    along = (surface.picture(numbers + 1e-5 * push) - surface.picture(numbers - 1e-5 * push)) / 2e-5
    leaf = numbers.clone().requires_grad_(True)
    (back,) = torch.autograd.grad(surface.picture(leaf), leaf, pull)
    torch.testing.assert_close((along * pull).sum(), (push * back).sum(), rtol=1e-5, atol=1e-6)


@settings(max_examples=30)
@given(SIZES, st.sampled_from(["natural", "1/f"]), st.integers(0, 5))
def test_phases_leave_every_frequency_as_strong_as_it_was(size: tuple[int, int], magnitude: str, seed: int) -> None:
    surface = ph.phase(magnitude).surface(mean_of(3, size))
    numbers = surface.start(["a"], seed, 0)
    found = torch.fft.rfft2(whole(surface, numbers)).abs()
    torch.testing.assert_close(found[0], surface.waves.magnitude, atol=1e-3, rtol=1e-3)
    assert whole(surface, numbers).square().mean().item() == pytest.approx(1, rel=1e-3)


def test_the_phases_of_an_ascent_keep_the_magnitude_too() -> None:
    surface: PhaseSurface = ph.phase().surface(MEAN)
    numbers = torch.randn((1, surface.start(["a"], 0, 0).shape[1]), generator=torch.Generator().manual_seed(3)) * 5
    assert torch.fft.rfft2(whole(surface, numbers)).abs().max() <= surface.waves.magnitude.max() * 1.001
    assert whole(surface, numbers).square().mean().item() == pytest.approx(1, rel=1e-3)


def test_a_phase_start_has_no_spike_in_the_corner() -> None:
    surface = ph.phase().surface(mean_of(3, (24, 20)))
    waves = whole(surface, surface.start([str(k) for k in range(200)], 0, 0))
    spread = waves.square().mean((0, 1)).sqrt()
    assert spread[0, 0] == pytest.approx(1, abs=0.15)
    assert waves[:, :, 0, 0].mean().abs() < 0.15


def test_the_phases_of_a_picture_draw_it_again() -> None:
    picture = ph.fourier(spread=1.0).surface(MEAN)
    shown = picture.picture(picture.start(["a"], 0, 0))
    surface = ph.phase("1/f").surface(MEAN)
    again = surface.picture(surface.numbers(shown))
    a, b = (p.flatten() - p.mean() for p in (shown, again))
    assert (a @ b / a.norm() / b.norm()).item() > 0.8


def test_contrast_stays_within_its_freedom() -> None:
    surface = ph.phase(contrast=1.5, freedom=0.5).surface(MEAN)
    numbers = surface.start(["a", "b", "c"], 0, 0)
    numbers[:, -1] = torch.tensor([-99.0, 0.0, 99.0])
    expected = 1.5 * torch.tensor([-0.5, 0.0, 0.5]).exp()
    torch.testing.assert_close(1.5 * surface.contrast(numbers).flatten(), expected)
    drawn = Colours(MEAN).picture(whole(surface, numbers) * expected.view(-1, 1, 1, 1))
    torch.testing.assert_close(surface.picture(numbers), drawn)


@settings(max_examples=30)
@given(SIZES, st.integers(1, 9), st.integers(0, 5))
def test_local_contrast_moves_strength_from_place_to_place_alone(size: tuple[int, int], grid: int, seed: int) -> None:
    surface = ph.phase(freedom=1.0, grid=grid).surface(mean_of(3, size))
    numbers = torch.cat([surface.start(["a"], seed, 0)] * 2)
    numbers[1, -(grid**2) :] = 99 * torch.randn(grid**2, generator=torch.Generator().manual_seed(seed))
    even, uneven = surface.local(numbers)
    torch.testing.assert_close(even, torch.ones_like(even))
    assert float(uneven.square().mean()) == pytest.approx(1, rel=1e-4)
    assert float(uneven.max() / uneven.min()) <= math.exp(2) * (1 + 1e-4)


@pytest.mark.parametrize("size", [(11, 9), (40, 64), (65, 30), (3, 5)])
def test_coarse_waves_and_fine_ones_add_up(size: tuple[int, int]) -> None:
    """The coarse part against the slow way: the whole spectrum weighed and transformed."""
    waves = ph.phase(grid=2).surface(mean_of(3, size)).waves
    phases = torch.rand((2, 3, size[0], size[1] // 2 + 1), generator=torch.Generator().manual_seed(0))
    picture, coarse = waves.added(phases)
    weights = torch.exp(-((a_picture(size) / COARSE) ** 2) / 2)
    slow = torch.fft.irfft2(torch.fft.rfft2(picture) * weights, s=size)
    torch.testing.assert_close(coarse, slow, atol=1e-3, rtol=0)


def test_without_a_difference_local_contrast_is_none() -> None:
    plain, local = (ph.phase(contrast=0.8, freedom=1.0, grid=grid).surface(MEAN) for grid in (1, 4))
    numbers = plain.start(["a"], 0, 0)
    torch.testing.assert_close(local.picture(torch.cat([numbers, torch.zeros(1, 15)], 1)), plain.picture(numbers))


def test_local_contrast_leaves_coarse_waves_as_they_are() -> None:
    """Where the fine waves are weakest, the picture is the coarse ones."""
    surface = ph.phase(freedom=3.0, grid=2).surface(mean_of(3, (64, 64)))
    numbers = surface.start(["a"], 0, 0)
    numbers[:, -4:] = torch.tensor([-99.0, 99.0, -99.0, 99.0])  # left weak, right strong
    z = surface.colours.z(surface.picture(numbers))[0]
    roughness = (z[:, 1:] - z[:, :-1]).square().mean((0, 1))
    assert roughness[:8].mean() < 0.02 * roughness[-8:].mean()
    assert z[:, :, :8].std() > 0.2


def test_the_falloff_divides_the_magnitude_by_a_power_of_the_frequency() -> None:
    plain, soft = (ph.phase("1/f", falloff=power).surface(mean_of(1, (16, 16))) for power in (0.0, 1.0))
    ratio = (soft.waves.magnitude / plain.waves.magnitude)[0, 0, 1:]
    torch.testing.assert_close(ratio * torch.arange(1.0, 9), ratio[:1].expand(8))
    assert float(whole(soft, soft.start(["a"], 0, 0)).square().mean()) == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
@pytest.mark.parametrize("canvas", [ph.fourier(), ph.phase(), LOCAL])
def test_spectral_canvases_render_any_number_of_channels(canvas: Any, channels: int) -> None:
    net = of_channels(channels, (13, 18))
    recipe = ph.Recipe("r", canvas=canvas, optimiser="adam", lr=0.1, steps=12)
    rendering = ph.render(net, "logit:0", recipe=recipe)
    assert rendering.pictures.shape == (1, channels, 13, 18)
    assert rendering.history[-1] > rendering.history[0]


def test_a_projection_that_would_change_the_magnitude_is_refused() -> None:
    with pytest.raises(ph.PhospheneError, match="Blur would change the magnitude of its frequencies"):
        ph.Recipe("r", canvas=ph.phase(), projections=(ph.blur(1.0),))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: ph.fourier(-1),
        lambda: ph.phase(contrast=0),
        lambda: ph.phase(freedom=9),
        lambda: ph.phase(grid=0),
        lambda: ph.phase(falloff=5),
        lambda: ph.fourier(start="x"),
    ],
)
def test_settings_out_of_range_are_refused(wrong: Any) -> None:
    with pytest.raises(ph.PhospheneError, match="is needed"):
        wrong()


def test_natural_statistics_are_shipped_and_orderly() -> None:
    found = statistics()
    assert found.spectrum.shape == (3, 256, 129)
    torch.testing.assert_close(found.magnitude(3, (256, 256))[:, :, 1:], found.spectrum[:, :, 1:], atol=1e-4, rtol=1e-4)
    assert (found.magnitude(3, (32, 48))[:, 0, 1:].diff() < 0.05).all()


def test_the_falling_magnitude_is_one_over_f() -> None:
    found = falling(1, (8, 8))[0]
    assert found[0, 0] == 0
    assert found[0, 4].item() == pytest.approx(2)
    assert found[3, 4].item() == pytest.approx(1 / (3**2 + 4**2) ** 0.5 * 8)


def test_statistics_of_ones_own_bring_their_colours(tmp_path: Path) -> None:
    own = Statistics(statistics().spectrum, torch.full((3,), 0.5), torch.diag(torch.tensor([0.1, 0.2, 0.3])))
    surface = ph.phase(str(own.save(tmp_path / "own.safetensors"))).surface(MEAN)
    torch.testing.assert_close(surface.colours.basis, torch.diag(torch.tensor([1 / 3, 2 / 3, 1.0])))
