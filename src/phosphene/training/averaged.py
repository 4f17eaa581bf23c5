"""Averaged: the network with other weights than those that are trained, such as their moving average."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from ..errors import ModelError, RequestError, first_line, shown
from ..network import addresses
from ..network.network import Network

State = Mapping[str, Tensor]
Weights = nn.Module | Callable[[], nn.Module | State]


def averaged(net: Network, weights: Weights) -> Callable[[], Network]:
    """Gives the network with the averaged weights as they are when it is called. Neither module is changed."""
    if not callable(weights):  # a module is
        raise RequestError(f"weights are {shown(weights)}; a module, or a function that gives one or a state dict, is needed")
    with torch.no_grad():
        private = copy.deepcopy(net.module)
    own = Network(private, net.preprocess, net.classes, output=net._output, name=f"{net.name} (averaged)", batch=net.batch)

    def now() -> Network:
        given = weights if isinstance(weights, nn.Module) else weights()
        try:
            with torch.no_grad():
                private.load_state_dict(_state(given))
        except Exception as error:
            raise ModelError(f"the averaged weights do not fit {net.name}: {first_line(error)}") from error
        return own

    return now


def _state(given: nn.Module | State) -> State:
    if not isinstance(given, nn.Module):
        return given
    module = addresses.unwrapped(given)
    if isinstance(module, torch.optim.swa_utils.AveragedModel):
        module = addresses.unwrapped(module.module)
    return module.state_dict()
