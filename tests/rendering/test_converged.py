"""Items that have converged leave the batch, and nothing else changes by it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import phosphene as ph
from phosphene.errors import RequestError
from phosphene.rendering.recipe import Recipe

ROWS: list[int] = []


class Hills(nn.Module):
    """Score c is −(c + 1) · ‖x − 0.5 − 0.1 c‖², reached sooner or later."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 1, bias=False)
        nn.init.ones_(self.conv.weight)

    def forward(self, x: Tensor) -> Tensor:
        ROWS.append(len(x))
        far = torch.stack([(self.conv(x) - 0.5 - 0.1 * c).square().mean((1, 2, 3)) for c in range(3)], 1)
        return 1 - far


@pytest.fixture
def hills() -> ph.Network:
    return ph.Network(Hills(), ph.Preprocess(size=8, channels=1))


CLIMBING = Recipe("climbing", optimiser="adam", lr=0.02, steps=60, canvas=ph.pixels("zeros"), patience=5)
ALL = ["logit:0", "logit:1", "logit:2"]


def drawn(net: ph.Network, objectives: list[str], recipe: Recipe = CLIMBING, **settings: object) -> ph.Rendering:
    return ph.render(net, objectives, recipe=recipe, **settings)  # type: ignore[arg-type]


def converged(rendering: ph.Rendering) -> list[int]:
    """After how many steps."""
    return [int(item.notes[0].split()[2]) for item in rendering.items]


def test_a_converged_picture_is_that_of_so_many_steps(hills: ph.Network) -> None:
    found = drawn(hills, ALL)
    steps = converged(found)
    assert len(set(steps)) == 3
    assert max(steps) < CLIMBING.steps
    for i, count in enumerate(steps):
        alone = drawn(hills, [ALL[i]], CLIMBING.replace(steps=count, patience=0))
        torch.testing.assert_close(found.pictures[i : i + 1], alone.pictures, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(found.history[:count, i : i + 1], alone.history, rtol=1e-5, atol=1e-6)
        assert (found.history[count:, i] == found.history[count - 1, i]).all()


def test_the_network_sees_fewer(hills: ph.Network) -> None:
    ROWS.clear()
    steps = converged(drawn(hills, ALL, frames=0))
    assert sum(rows == 3 for rows in ROWS) >= min(steps)
    assert sum(rows in (1, 2) for rows in ROWS[-max(steps) :]) >= max(steps) - min(steps) - 2


def test_frames_and_observers_are_told_of_every_step_and_item(hills: ph.Network) -> None:
    heard: list[tuple[int, int]] = []

    class Hears:
        def on_step(self, done: int, items: int, step: int, steps: int, pictures: Tensor, values: Tensor) -> None:
            heard.append((len(pictures), len(values)))

    found = drawn(hills, ALL, frames=7, observers=[Hears()])
    assert heard == [(3, 3)] * CLIMBING.steps
    assert found.frames.shape == (7, 3, 1, 8, 8)
    assert torch.equal(found.frames[-1], (found.pictures.clamp(0, 1) * 255).round().byte())


def test_neighbours_views_and_optimisers_do_not_notice(robust: ph.Network) -> None:
    recipe = Recipe(
        "seen",
        optimiser="nadam",
        lr=0.002,
        steps=12,
        samples=2,
        canvas=ph.fourier(),
        views=(ph.jitter(0.1), ph.noise(0.05)),
        patience=2,
    )
    together = drawn(robust, ["logit:cat", "logit:ship", "logit:dog"], recipe)
    assert any(item.notes for item in together.items)
    for i, one in enumerate(("cat", "ship", "dog")):
        alone = drawn(robust, [f"logit:{one}"], recipe)
        assert alone.items[0].notes == together.items[i].notes
        torch.testing.assert_close(alone.pictures[0], together.pictures[i], rtol=1e-3, atol=1e-3)


def test_without_patience_every_step_is_taken(hills: ph.Network) -> None:
    assert not any(item.notes for item in drawn(hills, ALL, CLIMBING.replace(patience=0)).items)


def test_patience_and_diversity_do_not_go_together() -> None:
    with pytest.raises(RequestError, match="patience with diversity"):
        CLIMBING.replace(diversity=0.1)
