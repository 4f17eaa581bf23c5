"""What all tests share: the bundled pair, the tiny networks, the laboratory's folder."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch
from hypothesis import settings

import phosphene as ph

ROOT = Path(__file__).parents[1]
LAB = Path(os.environ.get("PHOSPHENE_LAB", ROOT.parent / "shared" / "imagenet"))

# A clock judges the machine's other load, not the code.
settings.register_profile("here", deadline=None)
settings.load_profile("here")

# Tests run side by side, on tiny networks: several threads each would only wait for one another.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"


# A shell that starts a job in the background lets it ignore Ctrl-C, and nohup SIGHUP; the programs that tests stop would too.
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def robust() -> ph.Network:
    return ph.load("demo:robust")


@pytest.fixture(scope="session")
def standard() -> ph.Network:
    return ph.load("demo:standard")


@pytest.fixture(scope="session")
def lab() -> Path:
    """The folder with the real ImageNet networks and photographs."""
    if not LAB.is_dir():
        pytest.skip(f"no ImageNet networks in {LAB}; PHOSPHENE_LAB names the folder")
    return LAB
