"""Rules: how a gradient passes a rectifier. They act on the nodes of the autograd graph, so functional, in-place and reused
rectifiers are all met; hooks on modules miss those.

With f the rectifier's input, R_out the gradient that arrives at its output, R_in the one that leaves:

    plain      R_in = [f > 0] · R_out
    guided     R_in = [f > 0] · [R_out > 0] · R_out
    deconvnet  R_in =           [R_out > 0] · R_out

Of ReLU6 [f > 0] is [0 < f < 6]; of a leaky rectifier it is its slope. Other activations are refused: guided backpropagation
has no meaning where nothing is cut off (GELU, SiLU, ELU …), and an operation whose inside torch does not show may hide
rectifiers. Gates and poolings (sigmoid, hard sigmoid, tanh, softmax, max pooling) keep the plain rule,
also a gate written relu6(x + 3) / 6; x · gate(x) written by hand is refused like SiLU, and so is a choice by a mask.

Source: Springenberg et al. 2015, figure 1; Zeiler & Fergus 2014, §2.1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction

from ..errors import RequestError
from ..network.packing import is_convolution

Rule = Literal["plain", "guided", "deconvnet"]
Gradients = tuple[Tensor | None, ...]

# Names of nodes are private to torch; a test pins them. Each says whether a node of that name cuts off at zero.
_RECTIFIERS: dict[str, Callable[[Any], bool]] = {
    "ReluBackward": lambda node: True,
    "LeakyReluBackward": lambda node: True,
    "PreluKernelBackward": lambda node: True,
    "RreluWithNoiseBackward": lambda node: True,
    "HardtanhBackward": lambda node: _zero(node._saved_min_val),
    "ThresholdBackward": lambda node: _zero(node._saved_threshold),
    "ClampBackward": lambda node: _zero(node._saved_min),
    "ClampMinBackward": lambda node: _zero(node._saved_min),
    "MaximumBackward": lambda node: _constant_zero(node),
}
_SMOOTH = {
    "GeluBackward": "GELU",
    "SiluBackward": "SiLU",
    "EluBackward": "ELU",
    "CeluBackward": "CELU",
    "MishBackward": "Mish",
    "SoftplusBackward": "Softplus",
    "HardswishBackward": "Hardswish",
    "LogSigmoidBackward": "LogSigmoid",
}
_OPAQUE = ("CheckpointFunction", "CompiledFunction", "DifferentiableGraphBackward")
_CHOOSING = ("WhereBackward", "MaskedFillBackward")
# Nodes of operations that work on each number by itself. The squashing ones make a gate of x in x · gate(x).
_AFFINE = ("AddBackward", "SubBackward", "RsubBackward", "MulBackward", "DivBackward", "NegBackward", "CloneBackward")
_SQUASHING = (
    *("SigmoidBackward", "TanhBackward", "HardsigmoidBackward", "HardtanhBackward", "ClampBackward", "SoftplusBackward"),
    *("ErfBackward", "ErfcBackward", "ExpBackward", "LogBackward", "Log1PBackward", "ReciprocalBackward", "Expm1Backward"),
)
_POINTWISE = (*_AFFINE, *_SQUASHING, "PowBackward", "SqrtBackward", "ClampMinBackward")


def obey(rule: Rule, total: Tensor) -> int:
    """Make the coming backward pass from `total` obey the rule; gives the number of rectifiers it acts on.

    The hooks are on nodes of this one graph and vanish with it. None where the rule is plain.
    """
    if rule == "plain":
        return 0
    every = list(nodes(total))
    gates = {gate for node in every for gate in _gates(node, rule)}
    found = [node for node in every if _rectifies(node, rule) and node not in gates]
    if not found:
        raise RequestError(
            f"{rule} needs rectifiers (ReLU, ReLU6, leaky ReLU, a threshold at 0) between objective and picture, and there are "
            "none; saliency works with any activation"
        )
    for node in found:
        if rule == "guided":
            node.register_prehook(_guide)
        else:
            node.register_hook(_deconvolve)
    return len(found)


def nodes(total: Tensor) -> Iterator[Any]:
    """Every node of the graph that `total` hangs on, each once."""
    left: list[Any] = [total.grad_fn]
    seen: set[Any] = set()
    while left:
        node = left.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        yield node
        left += [before for before, _ in node.next_functions]


def _rectifies(node: Any, rule: Rule) -> bool:
    full = str(node.name())
    name = full.rstrip("0123456789")
    if name in _SMOOTH:
        raise RequestError(f"{rule} is not defined for {_SMOOTH[name]}, which cuts nothing off; saliency or smoothgrad is")
    if name.startswith(_CHOOSING) or _masks(node, name):
        raise RequestError(
            f"{rule} cannot tell whether {name}, a choice by a mask, is a rectifier written by hand. "
            "Write it as torch.relu, or use saliency or smoothgrad."
        )
    opaque = isinstance(node, BackwardCFunction) and not is_convolution(node)
    # An operation in place on a part of a tensor. With a second operand it is a sum, a product or an assignment.
    opaque |= "CopySlices" in full and sum(before is not None for before, _ in node.next_functions) < 2
    if opaque or any(word in full for word in _OPAQUE):
        raise RequestError(f"{rule} cannot see into {full}, which may hide rectifiers; saliency or smoothgrad does without")
    return name in _RECTIFIERS and _RECTIFIERS[name](node)


def _gates(node: Any, rule: Rule) -> Iterator[Any]:
    """The bounded rectifiers, as in relu6(x + 3) / 6, that serve as a gate in this product, and keep the plain rule.

    A product x · gate(x) is a smooth activation written by hand (SiLU, Hardswish, GELU) and is refused like those of torch.
    """
    operands = [before for before, _ in node.next_functions if before is not None]
    if len(operands) < 2 or not str(node.name()).startswith(("MulBackward", "DivBackward")):
        return
    for factor, gate in (operands, operands[::-1]):
        before = _reached(gate, _POINTWISE)
        if any(_is(one, _SQUASHING) for one in before) and _stems(factor) & before:
            raise RequestError(
                f"{rule} is not defined for x · gate(x), an activation written by hand (SiLU, Hardswish, GELU ...) that cuts "
                "nothing off; saliency or smoothgrad is"
            )
        for one in _reached(gate, _AFFINE):
            bounded = _is(one, ("HardtanhBackward", "ClampBackward")) and one.next_functions[0][0] is not None
            shifted = bounded and _is(one.next_functions[0][0], ("AddBackward", "SubBackward"))
            if shifted and len([before for before, _ in one.next_functions[0][0].next_functions if before is not None]) == 1:
                yield one


def _is(node: Any, names: tuple[str, ...]) -> bool:
    return str(node.name()).startswith(names)


def _reached(node: Any, through: tuple[str, ...], most: int = 64) -> set[Any]:
    """The node and those before it that it reaches through nodes of these names alone, the last ones included."""
    met: set[Any] = set()
    left = [node]
    while left and len(met) < most:
        one = left.pop()
        if one is not None and one not in met:
            met.add(one)
            if _is(one, through):
                left += [before for before, _ in one.next_functions]
    return met


def _stems(node: Any) -> set[Any]:
    """The node and those before it of which it is a multiple, or shifted by a constant."""
    met = {node}
    while _is(node, _AFFINE):
        before = [one for one, _ in node.next_functions if one is not None]
        if len(before) != 1:
            break
        node = before[0]
        met.add(node)
    return met


def _masks(node: Any, name: str) -> bool:
    """Whether it is a product with a constant mask of the tensor's own shape, as x * (x > 0)."""
    if not name.startswith("MulBackward") or sum(before is not None for before, _ in node.next_functions) != 1:
        return False
    try:
        factors = [node._saved_self, node._saved_other]
    except RuntimeError:  # overwritten in place since; the backward pass says so better
        return False
    shape = tuple(node._input_metadata[0].shape)
    masks = [factor for factor in factors if isinstance(factor, Tensor) and tuple(factor.shape) == shape and factor.ndim > 1]
    return any(mask.dtype == torch.bool or bool(((mask == 0) | (mask == 1)).all()) for mask in masks)


def _zero(bound: Any) -> bool:
    """Of a clamp: a number, a tensor, or None where it has no lower bound."""
    return bool((bound == 0).all()) if isinstance(bound, Tensor) else bound == 0


def _constant_zero(node: Any) -> bool:
    """Of a maximum: whether one side is the constant 0. Of two tensors it is a pooling."""
    sides = zip((node._saved_self, node._saved_other), node.next_functions, strict=True)
    return any(before is None and _zero(side) for side, (before, _) in sides)


def _guide(outgoing: Gradients) -> Gradients:
    return tuple(None if g is None else g.clamp(min=0) for g in outgoing)


def _deconvolve(incoming: Gradients, outgoing: Gradients) -> Gradients:
    """The node's own rule is set aside: what arrives goes through, rectified."""
    first = outgoing[0]
    if first is None:
        return (None, *incoming[1:])
    return tuple(None if g is None else first.clamp(min=0) if g.shape == first.shape else g for g in incoming)
