"""What public verbs take as their first arguments, checked or read in one place: networks, photographs, objectives, heat maps.

    @takes(net=network, photo=photos)
    def explain(net, photo, …): …

Inside, `net` is a Network and `photo` tensors; whatever else was given was read, where its meaning is plain, or refused.
"""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from torch import Tensor, nn

from .. import checks
from ..errors import RequestError, shown
from ..network.load import load
from ..network.network import Network
from ..objectives.expression import Objective
from ..objectives.spec import Meant, listed
from ..pictures.converting import Converter
from .heatmap import Heatmap

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
# The argument's name, its value, all arguments -> what the verb is given.
Taker = Callable[[str, Any, Mapping[str, Any]], Any]


def takes(**takers: Taker) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Give each named argument through its taker before the verb is called, in the order in which they are named."""

    def decorated(verb: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(verb)

        @functools.wraps(verb)
        def called(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                bound = signature.bind(*args, **kwargs)
            except TypeError as error:  # a missing or unknown argument, as Python says it
                raise TypeError(f"{verb.__name__}(): {error}") from None
            for name, taker in takers.items():
                if name in bound.arguments:
                    bound.arguments[name] = taker(name, bound.arguments[name], bound.arguments)
            return verb(*bound.args, **bound.kwargs)

        return called

    return decorated


def network(name: str, value: Any, _arguments: Mapping[str, Any]) -> Network:
    """A Network as it is; the text of a reference is loaded."""
    if isinstance(value, Network):
        return value
    if isinstance(value, str | Path):
        return load(str(value))
    if isinstance(value, nn.Module):
        return _wrapped(value)
    raise RequestError(f"{name} must be a Network, a module or a reference such as 'torchvision:resnet50', got {shown(value)}")


def _wrapped(module: nn.Module) -> Network:
    """The Network of a module, with a warning of what was assumed."""
    net = Network(module)
    _warn([f"{net.name}: {'; '.join(net.assumed)}. Pass ph.Network(module, preprocess=…, classes=…) to say otherwise"])
    return net


def network_or_none(name: str, value: Any, arguments: Mapping[str, Any]) -> Network | None:
    return None if value is None else network(name, value, arguments)


def path(name: str, value: Any, _arguments: Mapping[str, Any]) -> Path:
    return checks.path(name, value)


def uri(name: str, value: Any, _arguments: Mapping[str, Any]) -> str:
    """A path, or the text of a URL, as a text."""
    if isinstance(value, str) and value:
        return value
    return str(checks.path(name, value))


def networks(name: str, value: Any, arguments: Mapping[str, Any]) -> list[Network]:
    """Several Networks; one, or the reference of one, is a list of one."""
    if isinstance(value, Network | str | Path | nn.Module):
        return [network(name, value, arguments)]
    if not isinstance(value, list | tuple):
        raise RequestError(f"{name} must be Networks, got {shown(value)}")
    return [network(name, one, arguments) for one in value]


def photos(name: str, value: Any, arguments: Mapping[str, Any]) -> Any:
    """A tensor (b, c, h, w), or several for a list: of whatever holds pictures, see `pictures.converting`."""
    notes: list[str] = []
    found = converter(name, _net_of(arguments), arguments.get("normalised", False)).all_of(value, notes)
    _warn(notes)
    return found if isinstance(value, list | tuple) else found[0]


def photo(name: str, value: Any, arguments: Mapping[str, Any]) -> Tensor:
    """One tensor (b, c, h, w) of whatever holds a picture."""
    notes: list[str] = []
    found = converter(name, _net_of(arguments), arguments.get("normalised", False)).one(value, notes)
    _warn(notes)
    return found


def photos_or_none(name: str, value: Any, arguments: Mapping[str, Any]) -> Any:
    return None if value is None else photos(name, value, arguments)


def converter(name: str, net: Network | None, normalised: object = False) -> Converter:
    """What reads the pictures that a verb is given, for its network."""
    if not isinstance(normalised, bool):
        raise RequestError(f"normalised must be True or False, got {shown(normalised)}")
    if net is None:
        if normalised:
            raise RequestError("normalised=True needs the network whose input it is")
        return Converter(name=name)
    preprocess = net.preprocess
    return Converter(preprocess.channels, preprocess.bands, preprocess.inverse if normalised else None, name=name)


def _net_of(arguments: Mapping[str, Any]) -> Network | None:
    net = arguments.get("net", getattr(arguments.get("self"), "net", None))
    return net if isinstance(net, Network) else None


def _warn(notes: list[str]) -> None:
    for note in notes:
        warnings.warn(note, stacklevel=5)


def objectives(name: str, value: Any, arguments: Mapping[str, Any]) -> Any:
    """Objectives and their texts; of a network's classes names and indices too, also as an array or a tensor of indices."""
    for one in listed(value):
        if not isinstance(one, str | Objective | int) or isinstance(one, bool):
            raise RequestError(
                f"{name} must be objectives such as ph.logit('cat') or 'logit:cat', or classes, got {shown(one)}"
            )
    return value


def objective_list(name: str, value: Any) -> list[Meant]:
    objectives(name, value, {})
    return listed(value)


def objectives_or_none(name: str, value: Any, arguments: Mapping[str, Any]) -> Any:
    return None if value is None else objectives(name, value, arguments)


def heatmap(name: str, value: Any, _arguments: Mapping[str, Any]) -> Heatmap:
    if not isinstance(value, Heatmap):
        raise RequestError(f"{name} must be a Heatmap as ph.cam or ph.explain gives it, got {shown(value)}")
    return value


def layer_or_none(name: str, value: Any, _arguments: Mapping[str, Any]) -> Any:
    """The address of a layer."""
    if value is not None and not isinstance(value, str):
        raise RequestError(f"{name} must be the address of a layer, such as 'layer4.1', got {shown(value)}")
    return value


def layers_or_none(name: str, value: Any, _arguments: Mapping[str, Any]) -> Any:
    """The address of a layer, or several."""
    several = value if isinstance(value, list | tuple) else [value]
    if value is not None and not all(isinstance(one, str) for one in several):
        raise RequestError(f"{name} must be the address of a layer, such as 'layer4.1', got {shown(value)}")
    return value


def tensors(name: str, value: Any, _arguments: Mapping[str, Any]) -> Any:
    """A tensor, or several."""
    several = value if isinstance(value, list | tuple) else [value]
    if not all(isinstance(one, Tensor) for one in several):
        raise RequestError(f"{name} must be a tensor, or several, got {shown(value)}")
    return value


def all_of(kind: type[T], name: str, values: Any) -> Iterator[T]:
    """The values one after another, each checked to be of a kind; one alone stands for itself."""
    if isinstance(values, kind):
        values = [values]
    if not isinstance(values, Iterable) or isinstance(values, str | bytes | type):
        raise RequestError(f"{name} must be several {kind.__name__}, got {shown(values)}")
    for value in values:
        if not isinstance(value, kind):
            raise RequestError(f"{name} must be several {kind.__name__}, got {shown(value)} among them")
        yield value


def several(name: str, value: Any, _arguments: Mapping[str, Any]) -> Any:
    """One part of a recipe stands for a list of one."""
    if value is None or isinstance(value, list | tuple):
        return value
    return [value]


def observers(name: str, value: Any, _arguments: Mapping[str, Any]) -> Any:
    """Those that are told of every step."""
    for one in several(name, value, _arguments) or ():
        if not callable(getattr(one, "on_step", None)):
            raise RequestError(
                f"{name} must have a method on_step(done, items, step, steps, pictures, values), got {shown(one)}"
            )
    return several(name, value, _arguments) or ()


def names(name: str, value: Any, _arguments: Mapping[str, Any]) -> Any:
    """Several names or indices; one stands for a list of one."""
    if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
        return [value]
    if not isinstance(value, list | tuple):
        raise RequestError(f"{name} must be a list of class names or indices, got {shown(value)}")
    return value
