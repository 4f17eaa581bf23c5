"""Of several starts the picture that holds best under random views is kept."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

import phosphene as ph
from phosphene.rendering import starts as module
from phosphene.rendering.job import Job
from phosphene.rendering.judges import certainty
from phosphene.results.kinds import titled

ASKED = ["logit:cat", "logit:ship"]
SETTINGS = {"steps": 3, "frames": 3}


@pytest.fixture(scope="module")
def all_of_them(robust: ph.Network) -> ph.Rendering:
    return ph.render(robust, ASKED, seeds=3, **SETTINGS)  # type: ignore[arg-type]


@pytest.mark.parametrize("batch", [None, 1, 4])
def test_one_of_the_starts_is_kept_whatever_the_batch(robust: ph.Network, all_of_them: ph.Rendering, batch: int | None) -> None:
    kept = ph.render(robust, ASKED, starts=3, batch=batch, **SETTINGS)  # type: ignore[arg-type]
    assert [item.objective for item in kept.items] == ASKED
    for i, item in enumerate(kept.items):
        place = 3 * i + item.seed
        assert all_of_them.items[place].seed == item.seed
        torch.testing.assert_close(kept.pictures[i], all_of_them.pictures[place], atol=0.03, rtol=0)
        torch.testing.assert_close(kept.history[:, i], all_of_them.history[:, place], atol=0.05, rtol=0.05)
    assert kept.frames.shape[:2] == (3, 2)


def test_the_kept_one_is_the_steadiest(robust: ph.Network, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[torch.Tensor] = []

    def noted(job: Job, rows: Sequence[int], pictures: torch.Tensor) -> torch.Tensor:
        held.append(measured(job, rows, pictures))
        return held[-1]

    measured = module._held
    monkeypatch.setattr(module, "_held", noted)
    kept = ph.render(robust, ASKED, starts=3, steps=3)
    assert [item.seed for item in kept.items] == torch.cat(held).view(2, 3).argmax(1).tolist()


def test_without_views_it_is_the_one_of_the_largest_score(robust: ph.Network) -> None:
    asked = {"recipe": "pixels", "steps": 3, "views": []}
    kept = ph.render(robust, ASKED, starts=3, **asked)  # type: ignore[arg-type]
    scores = ph.render(robust, ASKED, seeds=3, **asked).scores.view(2, 3)  # type: ignore[arg-type]
    assert [item.seed for item in kept.items] == scores.argmax(1).tolist()


def test_starts_and_seeds_do_not_go_together(robust: ph.Network) -> None:
    with pytest.raises(ph.PhospheneError, match="starts 2 with seeds 3"):
        ph.render(robust, "logit:cat", starts=2, seeds=3, steps=1)


def test_a_sheet_of_several_seeds_names_none(robust: ph.Network) -> None:
    several = ph.render(robust, "logit:cat", seeds=2, steps=1)
    assert "seed" not in several.title
    assert several.chosen([1]).title.endswith("seed 1")


def test_a_sheet_tells_what_all_its_pictures_have_in_common(robust: ph.Network) -> None:
    short, long = (ph.render(robust, "logit:cat", recipe="pixels", steps=steps).record for steps in (1, 2))
    assert titled([short]) == "demo:robust · pixels, 1 steps, seed 0"
    assert titled([short, long]) == "demo:robust · pixels, seed 0"


def test_judges_keep_the_start_of_whose_class_they_are_surest(
    robust: ph.Network, standard: ph.Network, all_of_them: ph.Rendering
) -> None:
    kept = ph.render(robust, ASKED, starts=3, judges=[standard], **SETTINGS)  # type: ignore[arg-type]
    shown = standard.preprocess.fit(all_of_them.pictures)
    certain = standard.probabilities(standard.scores(shown)).gather(1, torch.tensor([[3], [3], [3], [8], [8], [8]]))
    assert [item.seed for item in kept.items] == certain.view(2, 3).argmax(1).tolist()
    assert all("3 starts as demo:standard judged them" in item.notes[-1] for item in kept.items)


def test_several_judges_count_alike(robust: ph.Network, standard: ph.Network, all_of_them: ph.Rendering) -> None:
    shown = all_of_them.pictures, [str(item.name) for item in all_of_them.items]
    both = certainty([robust, standard], *shown)
    each = [certainty([judge], *shown) for judge in (robust, standard)]
    torch.testing.assert_close(both, (each[0] + each[1]) / 2)
    assert float(each[0].max()) <= 0


def test_judges_that_cannot_choose_are_refused_at_once(robust: ph.Network, standard: ph.Network) -> None:
    for objective, starts, said in (
        ("logit:cat", 1, "starts must be 2 or more, got 1"),
        ("channel:stage1.0:0", 2, "objectives must be logit: or probability:, got channel:stage1.0:0"),
    ):
        with pytest.raises(ph.PhospheneError, match=said):
            ph.render(robust, objective, starts=starts, judges=[standard], steps=1)
    other = ph.Network(standard.module, standard.preprocess, classes=[f"thing {i}" for i in range(10)], name="other")
    with pytest.raises(ph.PhospheneError, match="judge 'other' does not know the class"):
        ph.render(robust, "logit:cat", starts=2, judges=[other], steps=1)
