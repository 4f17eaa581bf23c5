"""Rules: how a gradient passes a rectifier. They act on the nodes of the autograd graph, so functional, in-place and reused
rectifiers are all met; hooks on modules miss those.

With f the rectifier's input, R_out the gradient that arrives at its output, R_in the one that leaves:

    plain      R_in = [f > 0] · R_out
    guided     R_in = [f > 0] · [R_out > 0] · R_out
    deconvnet  R_in =           [R_out > 0] · R_out

Of ReLU6 [f > 0] is [0 < f < 6]; of a leaky rectifier it is its slope. Other activations are refused: guided backpropagation
has no meaning where nothing is cut off (GELU, SiLU, ELU …), and an operation whose inside torch does not show may hide
rectifiers. Gates and poolings (sigmoid, hard sigmoid, tanh, softmax, max pooling) keep the plain rule.

Source: Springenberg et al. 2015, figure 1; Zeiler & Fergus 2014, §2.1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

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
# CopySlices is an operation in place on a part of a tensor, which may be a rectifier.
_OPAQUE = ("CheckpointFunction", "CompiledFunction", "DifferentiableGraphBackward", "CopySlices")


def obey(rule: Rule, total: Tensor) -> int:
    """Make the coming backward pass from `total` obey the rule; gives the number of rectifiers it acts on.

    The hooks are on nodes of this one graph and vanish with it. None where the rule is plain.
    """
    if rule == "plain":
        return 0
    found = [node for node in nodes(total) if _rectifies(node, rule)]
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
    opaque = isinstance(node, BackwardCFunction) and not is_convolution(node)
    if opaque or any(word in full for word in _OPAQUE):
        raise RequestError(f"{rule} cannot see into {full}, which may hide rectifiers; saliency or smoothgrad does without")
    return name in _RECTIFIERS and _RECTIFIERS[name](node)


def _zero(bound: Any) -> bool:
    """Of a clamp: a number, a tensor, or None where it has no lower bound."""
    return bool((bound == 0).all()) if isinstance(bound, Tensor) else bound == 0


def _guide(outgoing: Gradients) -> Gradients:
    return tuple(None if g is None else g.clamp(min=0) for g in outgoing)


def _deconvolve(incoming: Gradients, outgoing: Gradients) -> Gradients:
    """The node's own rule is set aside: what arrives goes through, rectified."""
    first = outgoing[0]
    return (None if first is None else first.clamp(min=0), *incoming[1:])
