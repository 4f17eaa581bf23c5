"""Reader: a private copy of a network as a plain module, for tools that set hooks of their own."""

from __future__ import annotations

import copy
from collections.abc import Collection

import torch
from torch import Tensor, nn

from ..errors import ModelError, first_line
from .network import Network
from .prepared import Way, Ways


class Reader(nn.Module):
    """`reader(pictures, addresses)` is what `Network.reading` gives, read through a copy of the module that lies inside.

    What others hook into or change is this copy, in eval mode and frozen; the user's module is not touched.
    """

    def __init__(self, net: Network) -> None:
        super().__init__()
        self._net = net
        try:
            with torch.no_grad():
                self.module = copy.deepcopy(net.module).eval().requires_grad_(False)
        except Exception as error:  # whatever a module's own __deepcopy__ raises
            raise ModelError(f"{net.name} cannot be copied, and others may not change it: {first_line(error)}") from error

    def forward(self, pictures: Tensor, wanted: Collection[str]) -> dict[str, Tensor]:
        return self._net._read(Ways(Way(self.module)), pictures, wanted)
