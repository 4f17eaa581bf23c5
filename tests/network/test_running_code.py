"""The hash of the code behind a network."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import phosphene as ph
from phosphene.network.running_code import code_sha256

NET = """
from torch import nn
from helper_of_net import gate
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3)
    def forward(self, x):
        return gate(self.conv(x)).mean((2, 3))
def net():
    return Net()
"""


class Doubled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * x


class Tripled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 3 * x


def test_a_change_in_what_the_network_s_file_imports_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net.py").write_text(NET)
    helper = tmp_path / "helper_of_net.py"
    helper.write_text("def gate(x):\n    return x.relu()\n")
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    net = ph.load(f"{tmp_path}/net.py:net?size=8")
    first = code_sha256(net.module)
    assert code_sha256(net.module) == first
    helper.write_text("def gate(x):\n    return x.sigmoid()\n")
    assert code_sha256(net.module) != first


def test_the_code_of_a_graph_counts() -> None:
    two, three = torch.fx.symbolic_trace(Doubled()), torch.fx.symbolic_trace(Tripled())
    assert code_sha256(two) != code_sha256(three)
    assert code_sha256(two) == code_sha256(torch.fx.symbolic_trace(Doubled()))
