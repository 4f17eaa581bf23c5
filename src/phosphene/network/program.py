"""A network as a list of steps, run forwards and backwards by hand.

What follows a convolution, a sum or a rectifier, is computed with it, and so is the sum of the gradients where a path forked:
alone, each of them is a pass over the memory. Every operation that is no convolution has a small autograd graph of its own.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from ..errors import RequestError
from .folding import plain
from .packing import RECTIFIED, Bounds, Packed

Node = fx.Node
_FUNCTION, _METHOD = "call_function", "call_method"
_SUMS = {(_FUNCTION, operator.add), (_FUNCTION, operator.iadd), (_FUNCTION, torch.add), (_METHOD, "add"), (_METHOD, "add_")}
_RECTIFIERS: dict[tuple[str, Any], Bounds] = {
    **{(_FUNCTION, name): RECTIFIED for name in (F.relu, torch.relu, torch.relu_)},
    **{(_METHOD, name): RECTIFIED for name in ("relu", "relu_")},
    (_FUNCTION, F.relu6): (0.0, 6.0),
}
_RECTIFYING: dict[type[nn.Module], Bounds] = {nn.ReLU: RECTIFIED, nn.ReLU6: (0.0, 6.0)}


def program(module: nn.Module) -> Program:
    """The same output from a list of steps, with the same weights; raises where the module's code cannot be followed.

    module: packed. Its code is run once on stand-ins (`torch.fx`), so what comes of it has to be compared with what the module
    gives: code that asks for a value or a shape raises, other conditions are taken as they are now. Raises too where nothing
    would be gained: no convolution has anything to take in, or other things are done in place than they can take in.
    """
    if any(part._forward_hooks or part._forward_pre_hooks for part in module.modules()):
        raise RequestError("its hooks would be given stand-ins")
    return Program(module, _followed(module))


class Program(nn.Module):
    """Differentiable with respect to its input, once."""

    def __init__(self, module: nn.Module, graph: fx.Graph) -> None:
        super().__init__()
        self.module = module
        self.input = next(node for node in graph.nodes if node.op == "placeholder")
        asked = next(node for node in graph.nodes if node.op == "output").args[0]
        if not isinstance(asked, Node):
            raise RequestError("it gives more than one tensor")
        self.asked = asked
        self.steps = _steps(module, graph)
        if not any(isinstance(step, Convolving) and step.takes_in for step in self.steps):
            raise RequestError("no sum and no rectifier follows a convolution alone")
        _let_go(self.steps, asked)

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled() and x.requires_grad:
            y: Tensor = _There.apply(x, self)
            return y
        return self.run(x, None)

    def run(self, x: Tensor, tape: Tape | None) -> Tensor:
        """Noting on the tape how to come back."""
        values: dict[Node, Any] = {self.input: x}
        if tape is not None:
            tape.wanted.add(self.input)
        for step in self.steps:
            values[step.made] = step.run(values, tape)
            for node in step.done_with:
                del values[node]
        y: Tensor = values[self.asked]
        return y


class Tape:
    """wanted: what hangs on the input; back: for each step, what hands its gradient on."""

    def __init__(self) -> None:
        self.wanted: set[Node] = set()
        self.back: list[Callable[[Gradients], None]] = []


class Gradients:
    """On the way back, of the values that still wait for more. own: what nothing else holds and may be changed in place."""

    def __init__(self) -> None:
        self._of: dict[Node, Tensor] = {}
        self._own: set[Node] = set()

    def of(self, node: Node) -> Tensor | None:
        return self._of.get(node)

    def owns(self, node: Node) -> bool:
        return node in self._own

    def taken(self, node: Node) -> tuple[Tensor | None, bool]:
        """With whether it is the taker's own."""
        own = self.owns(node)
        self._own.discard(node)
        return self._of.pop(node, None), own

    def put(self, node: Node, gradient: Tensor) -> None:
        """Instead of what there was: one that nothing else holds."""
        self._of[node] = gradient
        self._own.add(node)

    def add(self, node: Node, more: Tensor, own: bool = False) -> None:
        if node not in self._of:
            self._of[node] = more
            self._own |= {node} if own else set()
        elif self.owns(node):
            self._of[node] += more
        else:
            self.put(node, self._of[node] + more)


class _There(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, program: Program) -> Tensor:
        ctx.program, ctx.tape = program, Tape()
        # Another tensor than the one that the tape may hold, or each would keep the other in memory.
        return program.run(x, ctx.tape).detach()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor | None, None]:
        program, back = ctx.program, ctx.tape.back
        if not back:
            raise RuntimeError("a program's gradient can be asked for once")
        gradients = Gradients()
        gradients.add(program.asked, above)
        while back:
            back.pop()(gradients)
        return gradients.of(program.input), None


@dataclass(eq=False)
class Convolving:
    """A convolution, the sum of what it gives and something else, and the rectifier after that."""

    part: Packed
    x: Node
    added: Node | None
    bounds: Bounds | None
    made: Node
    done_with: list[Node] = field(default_factory=list)

    @property
    def takes_in(self) -> bool:
        return self.added is not None or self.bounds is not None

    @property
    def takes(self) -> list[Node]:
        return [self.x] if self.added is None else [self.x, self.added]

    def run(self, values: dict[Node, Any], tape: Tape | None) -> Tensor:
        x, added = values[self.x], None if self.added is None else values[self.added]
        if not self.part.takes(x):
            y: Tensor = Another(self._apart, (self.x, self.added), {}, self.made).run(values, tape)
            return y
        y = self.part.convolved(x, added, self.bounds)
        if tape is not None and not tape.wanted.isdisjoint(self.takes):
            tape.wanted.add(self.made)
            wanted = [node for node in self.takes if node in tape.wanted]
            cut, needed, shape = (y if self.bounds else None), (None if self.part.phases else x), x.shape
            tape.back.append(lambda gradients: self._back(gradients, wanted, cut, needed, shape))
        return y

    def _apart(self, x: Tensor, added: Tensor | None) -> Tensor:
        y: Tensor = self.part(x)
        y = y if added is None else y + added
        return y if self.bounds is None else y.clamp(*self.bounds)

    def _back(
        self, gradients: Gradients, wanted: list[Node], cut: Tensor | None, x: Tensor | None, shape: tuple[int, ...]
    ) -> None:
        above, own = gradients.taken(self.made)
        if above is None:
            return
        if cut is not None:
            above, own = self._rectified(above, cut, own), True
        if self.x in wanted:
            self._hand_on(gradients, above, x, shape)
        if self.added is not None and self.added in wanted:
            gradients.add(self.added, above, own)

    def _hand_on(self, gradients: Gradients, above: Tensor, x: Tensor | None, shape: tuple[int, ...]) -> None:
        before = gradients.of(self.x)
        if self.part.adds:
            gradients.put(self.x, self.part.gradient(above, x, shape, before))
        elif self.part.skips and before is not None and gradients.owns(self.x):
            self.part.add_gradient(above, before)
        else:
            gradients.add(self.x, self.part.gradient(above, x, shape), own=True)

    def _rectified(self, above: Tensor, y: Tensor, own: bool) -> Tensor:
        """The gradient before the rectifier, from what it is after it, where y came out."""
        above = above.contiguous(memory_format=torch.channels_last)  # as an average's is not; two layouts at once are slow
        if self.bounds != RECTIFIED:
            below: Tensor = torch.ops.aten.hardtanh_backward(above, y, *(self.bounds or ()))
        elif own:
            below = torch.ops.aten.threshold_backward.grad_input(above, y, 0, grad_input=above)
        else:
            below = torch.ops.aten.threshold_backward(above, y, 0)
        return below


@dataclass(eq=False)
class Another:
    """Any other operation."""

    function: Callable[..., Any]
    args: Any
    kwargs: Any
    made: Node
    done_with: list[Node] = field(default_factory=list)

    @property
    def takes(self) -> list[Node]:
        found: list[Node] = []
        fx.node.map_arg((self.args, self.kwargs), found.append)
        return found

    def run(self, values: dict[Node, Any], tape: Tape | None) -> Any:
        leaves: dict[Node, Tensor] = {}

        def value(node: Node) -> Any:
            if tape is None or node not in tape.wanted:
                return values[node]
            return leaves.setdefault(node, values[node].detach().requires_grad_(True))

        args, kwargs = fx.node.map_arg((self.args, self.kwargs), value)
        with torch.set_grad_enabled(bool(leaves)):
            given = self.function(*args, **kwargs)
        if tape is None or not leaves:
            return given
        if isinstance(given, tuple | list) and any(isinstance(each, Tensor) for each in given):
            raise RequestError(f"{self.made} gives several tensors")
        if not isinstance(given, Tensor) or not given.requires_grad:
            return given
        tape.wanted.add(self.made)
        tape.back.append(lambda gradients: self._back(gradients, given, leaves))
        return given.detach()

    def _back(self, gradients: Gradients, given: Tensor, leaves: dict[Node, Tensor]) -> None:
        above, _ = gradients.taken(self.made)
        if above is None:
            return
        below = torch.autograd.grad(given, list(leaves.values()), above, allow_unused=True)
        for node, each in zip(leaves, below, strict=True):
            if each is not None:
                gradients.add(node, each)


def _followed(module: nn.Module) -> fx.Graph:
    """What runs. Not by `Tracer.trace`, which while it lasts changes what calling a module means, in all threads."""
    tracer = fx.Tracer()
    tracer.root, tracer.graph = module, fx.Graph()
    tracer.tensor_attrs = {tensor: name for name, tensor in module.named_buffers()}
    parts = {name: part for name, part in module.named_modules() if _is_leaf(tracer, name, part)}
    try:
        for name, part in parts.items():
            part.forward = partial(_stand_in, tracer, name)
        given = module(tracer.create_proxy("placeholder", "x", (), {}))
    finally:
        for part in parts.values():
            part.__dict__.pop("forward", None)
    tracer.create_node("output", "output", (tracer.create_arg(given),), {})
    return tracer.graph


def _is_leaf(tracer: fx.Tracer, name: str, part: nn.Module) -> bool:
    return isinstance(part, Packed) or tracer.is_leaf_module(part, name)


def _stand_in(tracer: fx.Tracer, name: str, *args: Any, **kwargs: Any) -> fx.Proxy:
    return tracer.create_proxy("call_module", name, args, kwargs)


def _steps(module: nn.Module, graph: fx.Graph) -> list[Convolving | Another]:
    for node in list(graph.nodes):
        if _is(node, module, nn.Identity, nn.Dropout):  # in eval mode
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
    steps: dict[Node, Convolving | Another] = {}
    taken: set[Node | None] = set()
    for node in graph.nodes:
        if _is(node, module, Packed):
            part: Any = module.get_submodule(str(node.target))
            total, added = _sum_of(node)
            if total in taken:  # by the first convolution in it
                total = added = None
            last, bounds = _cut_of(total or node, module, RECTIFIED if total else None)
            steps[last] = Convolving(part, node.args[0], added, bounds, last)
            taken |= {node, total, last}
    for node in graph.nodes:
        if node not in taken and node.op not in ("placeholder", "output"):
            if _in_place(node, module):
                raise RequestError(f"{node} changes in place what the way back may need")
            steps[node] = Another(_function(node, module), node.args, node.kwargs, node)
    return _skipping_first([steps[node] for node in graph.nodes if node in steps])


def _in_place(node: Node, module: nn.Module) -> bool:
    """As far as it is told; the rest fails where it is tried."""
    if node.op == "call_module":
        return bool(getattr(module.get_submodule(str(node.target)), "inplace", False))
    return bool(node.kwargs.get("inplace")) or (node.op == _METHOD and str(node.target).endswith("_"))


def _skipping_first(steps: list[Convolving | Another]) -> list[Convolving | Another]:
    """Strided convolutions of one tap right after what they take: the way back then has something to add their gradient to."""
    moved = [step for step in steps if isinstance(step, Convolving) and step.part.skips and step.added is None]
    rest = [step for step in steps if step not in moved]
    for step in moved:
        made = [before.made for before in rest]
        rest.insert(made.index(step.x) + 1 if step.x in made else 0, step)
    return rest


def _let_go(steps: list[Convolving | Another], asked: Node) -> None:
    """Values are let go after the last step that takes them."""
    needed = {asked}
    for step in reversed(steps):
        step.done_with = [node for node in dict.fromkeys((*step.takes, step.made)) if node not in needed]
        needed.update(step.done_with)


def _function(node: Node, module: nn.Module) -> Callable[..., Any]:
    target: Any = node.target
    if node.op == "call_module":
        return module.get_submodule(target)
    if node.op == "get_attr":
        return lambda: operator.attrgetter(target)(module)
    if node.op == _METHOD:
        return lambda it, *args, **kwargs: getattr(it, target)(*args, **kwargs)
    function: Callable[..., Any] = target
    return function


def _is(node: Node, module: nn.Module, *kinds: type[nn.Module]) -> bool:
    """Whether it runs a module of these kinds on one tensor, and nothing more."""
    if node.op != "call_module" or len(node.args) != 1 or node.kwargs:
        return False
    part = module.get_submodule(str(node.target))
    return any(plain(part, kind) for kind in kinds)


def _user(node: Node) -> Node | None:
    """The only one."""
    return next(iter(node.users)) if len(node.users) == 1 else None


def _sum_of(node: Node) -> tuple[Node | None, Node | None]:
    """The sum that alone uses it, and what else is in it."""
    user = _user(node)
    if user is None or (user.op, user.target) not in _SUMS or len(user.args) != 2 or user.kwargs:
        return None, None
    others = [arg for arg in user.args if isinstance(arg, Node) and arg is not node]
    return (user, others[0]) if others else (None, None)


def _cut_of(node: Node, module: nn.Module, only: Bounds | None) -> tuple[Node, Bounds | None]:
    """The rectifier that alone uses it and its bounds; only: the bounds that will do."""
    user = _user(node)
    if user is None:
        return node, None
    found = _RECTIFIERS.get((user.op, user.target))
    for kind, bounds in _RECTIFYING.items():
        found = bounds if _is(user, module, kind) else found
    return (user, found) if found and only in (None, found) else (node, None)
