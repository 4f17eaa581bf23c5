from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

import phosphene as ph
from phosphene.rendering.diversity import likeness_within, style
from tests.nets import network

FEW = ph.Recipe("few", lr=0.05, steps=12, views=(ph.jitter(0.1),))
APART = FEW.replace(diversity=5.0, diversity_at="3")


def test_a_style_is_the_normalised_gram_matrix() -> None:
    maps = torch.rand(2, 3, 4, 5)
    rows = maps.flatten(2)
    expected = F.normalize((rows @ rows.transpose(1, 2)).flatten(1), dim=1)
    torch.testing.assert_close(style(maps), expected)
    torch.testing.assert_close(style(rows.transpose(1, 2)), expected)  # the same as tokens


def test_a_style_does_not_know_places() -> None:
    maps = torch.rand(1, 3, 4, 4)
    torch.testing.assert_close(style(maps), style(maps.flip(2).roll(1, 3)))


def test_views_of_one_picture_are_one_style() -> None:
    maps = torch.rand(2, 3, 4, 4)
    torch.testing.assert_close(style(maps.repeat_interleave(3, 0), 3), style(maps))


def test_likeness_is_the_mean_cosine_with_the_others_of_the_group() -> None:
    styles = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    assert likeness_within(styles, 2).tolist() == [0, 0, 1, 1]
    assert likeness_within(styles, 4).tolist() == pytest.approx([2 / 3, 0, 2 / 3, 2 / 3])


def likeness(rendering: ph.Rendering, net: ph.Network) -> float:
    return float(likeness_within(style(net.features(rendering.pictures, "3")), len(rendering)).mean())


def test_diversity_keeps_the_pictures_of_several_seeds_apart() -> None:
    net = network("plain")
    assert likeness(ph.render(net, "logit:0", recipe=APART, seeds=4), net) < likeness(
        ph.render(net, "logit:0", recipe=FEW, seeds=4), net
    )


def test_several_seeds_are_the_pictures_of_each() -> None:
    net = network("plain")
    together = ph.render(net, ["logit:0", "logit:1"], recipe=FEW, seeds=3, seed=5)
    assert [item.seed for item in together.items] == [5, 6, 7, 5, 6, 7]
    alone = ph.render(net, "logit:1", recipe=FEW, seed=7)
    torch.testing.assert_close(together.pictures[5:], alone.pictures, atol=1e-4, rtol=0)


def test_groups_are_not_cut_by_the_batch() -> None:
    net = network("plain")
    whole = ph.render(net, ["logit:0", "logit:1"], recipe=APART, seeds=2)
    small = ph.render(net, ["logit:0", "logit:1"], recipe=APART, seeds=2, batch=1)
    torch.testing.assert_close(whole.pictures, small.pictures, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("changes", "seeds", "words"),
    [
        ({"diversity": 1.0}, 2, "diversity at no layer"),
        ({"diversity": 1.0, "diversity_at": "3"}, 1, "several seeds are needed"),
        ({"diversity": 1.0, "diversity_at": "7"}, 2, "one with maps is needed"),
        ({"diversity": 1.0, "diversity_at": "no"}, 2, "no layer 'no'"),
        ({}, 0, "seeds is 0"),
    ],
)
def test_what_cannot_be_kept_apart_is_told(changes: dict[str, object], seeds: int, words: str) -> None:
    with pytest.raises(ph.PhospheneError, match=words):
        ph.render(network("plain"), "logit:0", recipe=FEW.replace(**changes), seeds=seeds)
