"""Rollout and relevance, against a plain implementation that hooks each library's own layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torchvision.models.vision_transformer import VisionTransformer
from transformers import ViTConfig, ViTForImageClassification

import phosphene as ph
from tests.nets import made

PHOTOS = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def torchvision_vit() -> nn.Module:
    made: nn.Module = VisionTransformer(32, 8, num_layers=3, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=5)
    return made


def timm_vit(**more: Any) -> nn.Module:
    settings = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 3, "num_heads": 2, "num_classes": 5}
    made: nn.Module = timm.create_model("vit_tiny_patch16_224", **settings | more)
    return made


def hf_vit(attention: str) -> nn.Module:
    config = ViTConfig(
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=32,
        patch_size=8,
        num_labels=5,
    )
    config._attn_implementation = attention
    made: nn.Module = ViTForImageClassification(config)
    return made


NETS: dict[str, Callable[[], nn.Module]] = {
    "torchvision": torchvision_vit,
    "timm": timm_vit,
    "timm, patches averaged": lambda: timm_vit(global_pool="avg", class_token=False),
    "timm, patches averaged beside a class token": lambda: timm_vit(global_pool="avg"),
    "timm, registers": lambda: timm_vit(reg_tokens=3),
    "transformers": lambda: hf_vit("sdpa"),
    "transformers, eager": lambda: hf_vit("eager"),
}


def network(name: str) -> ph.Network:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = NETS[name]().eval()
        for parameter in module.parameters():  # far from zero, so that layers attend to something
            parameter.data.add_(0.3 * torch.randn(parameter.shape))
    return ph.Network(module, ph.Preprocess(32, mean=0.5, std=0.25))


def plainly(net: ph.Network, photo: Tensor, target: int) -> tuple[list[Tensor], list[Tensor]]:
    """Attention and its gradient of each layer of timm's, its fused attention switched off, by hooks on attn_drop."""
    kept: list[Tensor] = []
    module = net.module
    hooks = []
    for block in module.blocks:  # type: ignore[union-attr]
        block.attn.fused_attn = False
        hooks.append(block.attn.attn_drop.register_forward_hook(lambda _, given, output: kept.append(output)))
    scores = module(net.preprocess.forward(photo).requires_grad_(True))
    gradients = torch.autograd.grad(scores[0, target], kept, allow_unused=True)
    for hook in hooks:
        hook.remove()
    return [one.detach()[0] for one in kept], [g[0] if g is not None else torch.zeros_like(kept[0][0]) for g in gradients]


def test_they_are_what_the_papers_write_down() -> None:
    net = network("timm")
    found = {name: ph.explain(net, PHOTOS, 3, method=f"attention_{name}").values for name in ("rollout", "relevance")}
    for i, photo in enumerate(PHOTOS.split(1)):
        attention, gradients = plainly(net, photo, 3)
        rollout = relevance = torch.eye(17)
        for a, g in zip(attention, gradients, strict=True):
            rollout = (0.5 * a.mean(0) + 0.5 * torch.eye(17)) @ rollout
            relevance = relevance + (a * g).clamp(min=0).mean(0) @ relevance
        torch.testing.assert_close(found["rollout"][i].flatten(), rollout[0, 1:], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(found["relevance"][i].flatten(), relevance[0, 1:], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("method", ["attention_rollout", "attention_relevance"])
@pytest.mark.parametrize("name", NETS)
def test_every_library_is_understood(name: str, method: str) -> None:
    net = network(name)
    before = net.scores(PHOTOS)
    h = ph.explain(net, PHOTOS, [1, 2], method=method)
    assert h.values.shape == (2, 4, 4)
    assert (h.values >= 0).all()
    assert h.values.std() > 0
    torch.testing.assert_close(torch.tensor([item.score for item in h.items]), before[[0, 1], [1, 2]], atol=1e-4, rtol=1e-4)
    assert torch.equal(net.scores(PHOTOS), before)
    torch.testing.assert_close(ph.explain(net, PHOTOS[1:], 2, method=method).values[0], h.values[1], atol=1e-5, rtol=1e-4)


def test_ways_of_writing_attention_give_one_map() -> None:
    fused, eager = (
        ph.explain(network(f"transformers{more}"), PHOTOS, 1, method="attention_relevance") for more in ("", ", eager")
    )
    torch.testing.assert_close(fused.values, eager.values, atol=1e-5, rtol=1e-4)


def test_rollout_says_that_it_is_of_no_class_and_relevance_is_of_one() -> None:
    net = network("torchvision")
    rollouts = [ph.explain(net, PHOTOS, target, method="attention_rollout") for target in (0, 1)]
    assert torch.equal(rollouts[0].values, rollouts[1].values)
    assert any("rollout is of the picture, not of the class" in note for note in rollouts[0].items[0].notes)
    relevances = [ph.explain(net, PHOTOS, target, method="attention_relevance").values for target in (0, 1)]
    assert not torch.allclose(relevances[0], relevances[1])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("net", "words"),
    [
        (lambda: ph.Network(made("plain", 12), ph.Preprocess(12)), "ran no self-attention"),
        (
            lambda: ph.Network(timm.create_model("swin_tiny_patch4_window7_224", num_classes=2), ph.Preprocess(224)),
            "must attend over all tokens of a picture in every layer, got attention .* as of windows",
        ),
    ],
)
def test_networks_without_attention_over_all_tokens_are_refused(net: Any, words: str) -> None:
    asked = net()
    with pytest.raises(ph.PhospheneError, match=words):
        ph.explain(asked, torch.rand(1, 3, *asked.preprocess.sides), 0, method="attention_rollout")
