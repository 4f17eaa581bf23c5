"""Maps of what vision transformers attend to: rollout, and relevance weighted by gradients.

The attention that runs is found while it runs, whoever wrote the layer: `scaled_dot_product_attention` is computed as
softmax(q kᵀ) v, and a softmax that is written out is kept. No hook is needed, and nothing is kept of layers afterwards.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from ..errors import RequestError
from ..network.grid import Grid, tokens_of
from ..network.network import NO_GRADIENT
from ..objectives.expression import values
from ..objectives.units import OUTPUT
from ..results.method import Maps, Method
from ..results.question import Question

_SOFTMAXES = (torch.softmax, F.softmax, Tensor.softmax)
_MULTI_HEAD = inspect.signature(F.multi_head_attention_forward)
_UNASKED = "attention does not depend on what is asked: rollout is of the picture, not of the class"


class Attention(TorchFunctionMode):
    """Inside, the attention (b, heads, n, n) of every layer is kept in the order in which it runs, with its gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention and not kwargs.get("enable_gqa"):
            return self._attended(*args, **{key: value for key, value in kwargs.items() if key != "enable_gqa"})
        if func is F.multi_head_attention_forward:  # whose inside runs without this mode
            given = dict(_MULTI_HEAD.bind(*args, **kwargs).arguments)
            if _is_plain_self_attention(given):
                return self._multi_head(given), None
        given = func(*args, **kwargs)
        if func in _SOFTMAXES and isinstance(given, Tensor) and given.ndim == 4 and given.shape[2] == given.shape[3]:
            self.kept.append(given)
        return given

    def _multi_head(self, given: dict[str, Any]) -> Tensor:
        """torch.nn.MultiheadAttention of tokens (n, b, k) with themselves."""
        tokens, heads = given["query"], given["num_heads"]
        n, b, k = tokens.shape
        parts = F.linear(tokens, given["in_proj_weight"], given["in_proj_bias"]).unflatten(2, (3, heads, k // heads))
        mixed = self._attended(*parts.permute(2, 1, 3, 0, 4))
        return F.linear(mixed.permute(2, 0, 1, 3).reshape(n, b, k), given["out_proj_weight"], given["out_proj_bias"])

    def _attended(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
    ) -> Tensor:
        """As torch defines it; in eval mode there is no dropout."""
        logits = query @ key.transpose(-2, -1) * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
        if is_causal:
            attn_mask = torch.ones(logits.shape[-2:], dtype=torch.bool, device=logits.device).tril()
        if attn_mask is not None:
            fixed = logits.masked_fill(~attn_mask, -math.inf) if attn_mask.dtype == torch.bool else logits + attn_mask
            logits = fixed
        found = torch.exp(torch.log_softmax(logits, -1))
        if found.ndim == 4 and found.shape[2] == found.shape[3]:
            self.kept.append(found)
        return found @ value


def _is_plain_self_attention(given: dict[str, Any]) -> bool:
    """Whether tokens attend to all tokens of themselves, without masks or further keys."""
    others = ("key_padding_mask", "attn_mask", "bias_k", "bias_v", "static_k", "static_v", "use_separate_proj_weight")
    same = given["key"] is given["query"] and given["value"] is given["query"]
    return same and not any(given.get(name) is not None and given.get(name) is not False for name in others)


@dataclass(frozen=True)
class AttentionRollout(Method):
    """The product over layers of (A + 1) / 2, A the attention averaged over heads: how much each patch reaches the class token.

    Of networks that average their patches instead of a class token it is the mean over patches.
    Source: Abnar & Zuidema 2020, §3, attention rollout.
    """

    @property
    def name(self) -> str:
        return "attention_rollout"

    def __call__(self, question: Question) -> Maps:
        def joined(attention: Tensor, gradient: Tensor, before: Tensor) -> Tensor:
            mixed = 0.5 * attention.mean(1) + 0.5 * torch.eye(attention.shape[-1]).to(attention)
            return mixed / mixed.sum(-1, keepdim=True) @ before

        return _maps(question, joined, (_UNASKED,), own=False)


@dataclass(frozen=True)
class AttentionRelevance(Method):
    """R ← R + Ā R over layers from R = 1, Ā the mean over heads of the positive part of A ⊙ ∂S/∂A: what a class looks at.

    Source: Chefer, Gur & Wolf 2021, "Generic Attention-model Explainability", equations 5 and 6, for self-attention.
    """

    @property
    def name(self) -> str:
        return "attention_relevance"

    def __call__(self, question: Question) -> Maps:
        def joined(attention: Tensor, gradient: Tensor, before: Tensor) -> Tensor:
            return before + (attention * gradient).clamp(min=0).mean(1) @ before

        return _maps(question, joined, (), own=True)


Joined = Callable[[Tensor, Tensor, Tensor], Tensor]


def _maps(question: Question, joined: Joined, notes: tuple[str, ...], own: bool) -> Maps:
    """own: without what each token is to itself, which every layer passes on."""
    with question.net.reading(question.network_seed) as read:

        def run(some: Sequence[int]) -> tuple[Tensor, Tensor, Tensor | None]:
            leaf = question.pictures[list(some)].detach().clone().requires_grad_(True)
            with Attention() as seen:
                given = read(leaf, question.reads)
            reached = values([question.resolved[i] for i in some], given)
            kept, grid = _checked(question, seen.kept, len(some))
            gradients = _gradients(reached.sum(), kept)
            flow = torch.eye(kept[0].shape[-1]).to(kept[0]).expand(len(some), -1, -1)
            for attention, gradient in zip(kept, gradients, strict=True):
                flow = joined(attention.detach(), gradient, flow)
            scores = given.get(OUTPUT)
            said = None if scores is None else scores.detach().cpu()
            return _of_patches(flow, gradients[-1], grid, own).cpu(), reached.detach().cpu(), said

        parts = [part for _, part in question.parts(range(len(question)), run)]
    scores = [part[2] for part in parts if part[2] is not None]
    return Maps(
        torch.cat([part[0] for part in parts]),
        notes=(notes,) * len(question) if notes else (),
        reached=torch.cat([part[1] for part in parts]),
        scores=torch.cat(scores) if scores else None,
    )


def _checked(question: Question, kept: list[Tensor], count: int) -> tuple[list[Tensor], Grid]:
    """The attention of layers over all tokens, and where these are in the picture."""
    name = question.net.name
    if not kept:
        raise RequestError(f"{name} ran no self-attention. The methods attention_… are for vision transformers")
    shapes = {tuple(one.shape[::2]) for one in kept}
    if len(shapes) > 1 or kept[0].shape[0] != count:
        shape = tuple(kept[0].shape)
        raise RequestError(
            f"{name} must attend over all tokens of a picture in every layer, got attention {shape} for {count} pictures, "
            "as of windows. grad_cam works with it"
        )
    h, w = question.pictures.shape[-2:]
    grid = tokens_of(kept[0].shape[-1], (int(h), int(w)))
    if grid is None:
        raise RequestError(f"{name} has {kept[0].shape[-1]} tokens, which are no grid of patches of {h}×{w} pictures")
    return kept, grid


def _gradients(total: Tensor, kept: Sequence[Tensor]) -> list[Tensor]:
    if not total.requires_grad:
        raise RequestError(NO_GRADIENT)
    found = torch.autograd.grad(total, list(kept), allow_unused=True)
    return [torch.zeros_like(one) if gradient is None else gradient for one, gradient in zip(kept, found, strict=True)]


def _of_patches(flow: Tensor, last: Tensor, grid: Grid, own: bool) -> Tensor:
    """(b, h, w): what reaches the class token where the answer hangs on it alone in the last layer, else all patches."""
    hangs = last.detach().abs().amax((0, 1, 3)) > 0
    if own:
        flow = flow - torch.eye(flow.shape[-1]).to(flow)
    by_class = grid.extra > 0 and not bool(hangs[grid.extra :].any())
    rows = flow[:, 0] if by_class else flow[:, grid.extra :].mean(1)
    maps: Tensor = rows[:, grid.extra :].unflatten(1, grid.size)
    return maps.float()
