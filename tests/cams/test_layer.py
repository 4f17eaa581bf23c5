"""Which layer a map is of, when nobody says."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import phosphene as ph
from phosphene.cams.layer import targets
from phosphene.errors import ModelError, RequestError
from phosphene.network.grid import Grid
from tests.cams.pooled import net, pictures


def found(module: nn.Module, size: tuple[int, int] = (32, 48), reads: str = "") -> tuple[str, Grid]:
    torch.manual_seed(0)
    of = ph.Network(module, ph.Preprocess(size=size))
    (target,) = targets(of, {reads}, size)
    return target.address, target.grid


class Attention(nn.Module):
    """A block of a vision transformer."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.qkv, self.proj = nn.LayerNorm(8), nn.Linear(8, 24), nn.Linear(8, 8)
        self.norm2, self.mlp = nn.LayerNorm(8), nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm1(x)).chunk(3, -1)
        x = x + self.proj(F.scaled_dot_product_attention(q, k, v))
        added: Tensor = x + self.mlp(self.norm2(x))
        return added


class Vit(nn.Module):
    def __init__(self, extra: int = 1, pooled: bool = False) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 8, 8)
        self.token = nn.Parameter(torch.randn(1, extra, 8))
        self.blocks = nn.Sequential(Attention(), Attention(), Attention())
        self.norm, self.head, self.pooled = nn.LayerNorm(8), nn.Linear(8, 5), pooled

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).mT
        x = self.norm(self.blocks(torch.cat([self.token.expand(len(x), -1, -1), x], 1)))
        scores: Tensor = self.head(x[:, self.token.shape[1] :].mean(1) if self.pooled else x[:, 0])
        return scores


class Last(nn.Module):
    """Channels last, as Swin has them."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.block, self.head = (
            nn.Conv2d(3, 8, 4, 4),
            nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 8)),
            nn.Linear(8, 5),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).movedim(1, -1)
        scores: Tensor = self.head((x + self.block(x)).mean((1, 2)))
        return scores


class Branches(nn.Module):
    """The last that runs sees less than all; what joins them is a function."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.one, self.two = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 1), nn.Conv2d(6, 6, 3, padding=1)
        self.head = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Any:
        x = self.stem(x).relu()
        scores: Tensor = self.head((self.one(x) + self.two(x)).mean((2, 3)))
        return scores


class Base(nn.Module):
    """Returns its maps and their mean beside them, as the bases of Hugging Face do."""

    def __init__(self, k: int) -> None:
        super().__init__()
        self.encoder, self.pooler = nn.Sequential(nn.Conv2d(3, k, 3, padding=1), nn.ReLU()), nn.AdaptiveAvgPool1d(1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.encoder(x)
        return {"last_hidden_state": x, "pooler_output": self.pooler(x.flatten(2)).flatten(1)}


class Based(nn.Module):
    def __init__(self, k: int = 6) -> None:
        super().__init__()
        self.base, self.head = Base(k), nn.Linear(k, 5)

    def forward(self, x: Tensor) -> Any:
        return self.head(self.base(x)["pooler_output"])


def test_it_is_the_map_that_is_used_not_one_returned_beside_what_is_used() -> None:
    assert found(Based()) == ("base.encoder", Grid("bkhw", (32, 48)))


@pytest.mark.parametrize("method", ["grad_cam", "ablation_cam", "fine_cam"])
def test_maps_of_such_a_network_are_those_of_the_weights(method: str) -> None:
    of = ph.Network(Based(), ph.Preprocess(size=(12, 16)))
    shown = pictures(2, (12, 16))
    h = ph.explain(of, shown, "logit:1", method=method)
    zhou = ph.cam(of, shown, "logit:1").values
    assert h.items[0].layer == "base.encoder"
    assert h.values.any()
    if method == "grad_cam":  # linear after the maps: in proportion
        assert torch.allclose(F.normalize(h.values.flatten(1)), F.normalize(zhou.flatten(1)), atol=1e-5)


def test_pooled_features_are_no_tokens() -> None:
    address, grid = found(Based(64), (16, 16))  # 64 numbers are no 8×8 places
    assert (address, grid.size) == ("base.encoder", (16, 16))


class Checkpointed(nn.Module):
    def __init__(self, reentrant: bool = True, pooled: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU()), nn.Linear(6, 5)
        self.aside, self.reentrant = nn.Conv2d(6, 2, 1), reentrant
        if pooled:
            self.body.append(nn.MaxPool2d(2))

    def forward(self, x: Tensor) -> Any:
        x = checkpoint(self.body, x, use_reentrant=True) if self.reentrant else self.body(x)
        self.aside(x)
        return self.head(x.mean((2, 3)))


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("method", ["eigen_cam", "score_cam", "ablation_cam"])
def test_methods_without_a_gradient_find_the_same_layer_without_one(method: str, pooled: bool) -> None:
    nets = [ph.Network(Checkpointed(re, pooled), ph.Preprocess(size=12)) for re in (True, False)]
    maps = [ph.cam(of, pictures(1, (12, 12)), "logit:1", method=method) for of in nets]
    assert maps[0].items[0].layer == maps[1].items[0].layer == ("body.1" if pooled else "body")
    torch.testing.assert_close(maps[0].values, maps[1].values)


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize("reentrant", [False, True])
def test_ablation_refuses_a_layer_that_the_scores_do_not_depend_on(reentrant: bool) -> None:
    of = ph.Network(Checkpointed(reentrant), ph.Preprocess(size=12))
    with pytest.raises(RequestError, match="layer aside has no part in the objective"):
        ph.cam(of, pictures(1, (12, 12)), "logit:1", method="ablation_cam", layer="aside")


def test_a_head_of_zeros_costs_two_questions_about_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    module = Vit()
    nn.init.zeros_(module.head.weight)
    of, asked, grad = ph.Network(module, ph.Preprocess(size=(32, 48))), [], torch.autograd.grad

    def counted(*args: Any, **kwargs: Any) -> Any:
        asked.append(args)
        return grad(*args, **kwargs)

    monkeypatch.setattr(torch.autograd, "grad", counted)
    (found,) = targets(of, {""}, (32, 48))
    assert len(asked) <= 2
    assert found.address == "norm"  # the last of all, where nothing tells one from another


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
def test_re_entrant_checkpointing_is_named() -> None:
    of = ph.Network(Checkpointed(), ph.Preprocess(size=12))
    for ask in (
        lambda: ph.explain(of, pictures(1, (12, 12)), "logit:1"),
        lambda: ph.cam(of, pictures(1, (12, 12)), "logit:1", method="grad_cam"),
        lambda: ph.render(of, "logit:1", steps=1),
    ):
        with pytest.raises(ModelError, match="without re-entrant checkpointing"):
            ask()
    assert ph.cam(of, pictures(1, (12, 12)), "logit:1").exact  # no gradient is needed
    assert ph.cam(of, pictures(1, (12, 12)), "logit:1", method="score_cam", layer="body.1").values.any()


def test_it_is_the_last_map_before_pooling() -> None:
    assert found(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)))[0] == "1"


def test_pooling_that_leaves_places_counts_to_the_head() -> None:
    """As in VGG."""
    module = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2)),
        nn.AdaptiveAvgPool2d((2, 3)),
        nn.Flatten(),
        nn.Linear(24, 5),
    )
    assert found(module) == ("0.1", Grid("bkhw", (30, 46)))


def test_pooling_alone_is_taken_where_there_is_nothing_else() -> None:
    assert found(nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(288, 5)))[0] == "0"


def test_the_outermost_of_several_names_is_given() -> None:
    body = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()))
    assert found(nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)))[0] == "0"


def test_it_is_a_layer_that_everything_goes_through() -> None:
    assert found(Branches())[0] == "stem"


@pytest.mark.parametrize("extra", [1, 2, 5])
def test_of_a_transformer_it_is_the_last_block_whose_places_are_read(extra: int) -> None:
    assert found(Vit(extra)) == ("blocks.1", Grid("bnk", (4, 6), extra))


def test_of_a_transformer_that_pools_it_is_the_last_layer() -> None:
    assert found(Vit(pooled=True)) == ("norm", Grid("bnk", (4, 6), 1))


def test_channels_may_be_last() -> None:
    assert found(Last()) == ("patch", Grid("bkhw", (8, 12)))
    of = ph.Network(Last(), ph.Preprocess(size=(32, 48)))
    h = ph.cam(of, pictures(1, (32, 48)), "logit:0", method="grad_cam", layer="block.1")
    assert h.values.shape == (1, 8, 12)


def test_for_a_hidden_unit_it_is_the_last_before_that() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4928, 5))
    assert [found(module, reads=layer)[0] for layer in ("1", "2", "4")] == ["1", "2", "3"]


@pytest.mark.parametrize("method", ["grad_cam", "hires_cam", "layer_cam", "ablation_cam", "eigen_cam", "score_cam"])
@pytest.mark.parametrize("module", [Vit, Last])
def test_transformers_have_maps_that_say_something(module: type[nn.Module], method: str) -> None:
    torch.manual_seed(1)
    of = ph.Network(module(), ph.Preprocess(size=(32, 48)))
    h = ph.cam(of, pictures(2, (32, 48)), "logit:0", method=method)
    assert float(h.values.std()) > 0
    assert h.values.shape[1] * 12 == h.values.shape[2] * 8


def test_the_last_block_of_a_transformer_can_be_asked_and_says_that_it_is_empty() -> None:
    of = ph.Network(Vit(), ph.Preprocess(size=(32, 48)))
    h = ph.cam(of, pictures(1, (32, 48)), "logit:0", method="grad_cam", layer="blocks.2")
    assert h.notes[-1] == "empty: the map is zero everywhere"


def test_a_network_without_places_is_refused() -> None:
    of = ph.Network(nn.Sequential(nn.Flatten(), nn.Linear(432, 5)), ph.Preprocess(size=12))
    with pytest.raises(RequestError, match=r"has no layer with places, .* before the scores; explain asks for the pixels"):
        ph.cam(of, pictures(1, (12, 12)), method="grad_cam")
    with pytest.raises(RequestError, match=r"layer 1 has no places .* no layer has them"):
        ph.cam(of, pictures(1, (12, 12)), method="grad_cam", layer="1")


def test_a_layer_without_a_part_in_the_objective_is_refused() -> None:
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.idle, self.body, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3), nn.Linear(4, 5)

        def forward(self, x: Tensor) -> Tensor:
            self.idle(x)
            scores: Tensor = self.head(self.body(x).mean((2, 3)))
            return scores

    of = ph.Network(Idle(), ph.Preprocess(size=12))
    with pytest.raises(RequestError, match="layer idle has no part in the objective"):
        ph.cam(of, pictures(1, (12, 12)), method="grad_cam", layer="idle")


def test_objectives_with_different_layers_are_asked_apart() -> None:
    of = net(nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 6, 1))
    with pytest.raises(RequestError, match=r"different target layers \(1, 3\); ask apart, or give layer="):
        ph.cam(of, pictures(2), ["logit:a", "channel:1:0"], method="grad_cam")
    assert len(ph.cam(of, pictures(2), ["logit:a", "channel:1:0"], method="grad_cam", layer="1")) == 2


def test_a_network_without_a_gradient_still_has_its_last_layer() -> None:
    class Rounded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 5)

        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                scores: Tensor = self.head(self.body(x).relu().mean((2, 3)))
                return scores

    of = ph.Network(Rounded(), ph.Preprocess(size=12))
    assert ph.cam(of, pictures(1, (12, 12)), method="eigen_cam").items[0].layer == "body"
    assert ph.cam(of, pictures(1, (12, 12)), method="cam").exact
    with pytest.raises(RequestError, match="layer body: no gradient reaches the image"):
        ph.cam(of, pictures(1, (12, 12)), method="grad_cam")
