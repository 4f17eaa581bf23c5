from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from phosphene.errors import PhospheneError, RequestError, UnknownNameError
from phosphene.network.addresses import check, split, unwrapped

CALLS = {"stem": 1, "stage1": 1, "stage2": 1, "relu": 3}


def test_an_address_is_a_path_and_a_run() -> None:
    assert split("layer1.0.relu@1") == ("layer1.0.relu", 1)
    assert split("stem") == ("stem", None)


@pytest.mark.parametrize("address", ["relu@", "relu@x", "relu@-1", "relu@²", "relu@1.0"])
def test_a_run_is_a_number(address: str) -> None:
    with pytest.raises(RequestError, match="after @ stands the number of the run, from 0"):
        split(address)


def test_a_module_may_have_the_sign_in_its_name() -> None:
    calls = {**CALLS, "heads.p@2": 2}
    assert split("heads.p@2", calls) == ("heads.p@2", None)
    assert split("heads.p@2@1", calls) == ("heads.p@2", 1)
    check(["heads.p@2", "heads.p@2@1"], calls)
    with pytest.raises(UnknownNameError, match="no layer 'relu@1'"):
        check(["relu@1@2"], CALLS)


@pytest.mark.parametrize("address", ["", "stem", "relu", "relu@0", "relu@2"])
def test_what_runs_can_be_read(address: str) -> None:
    check([address], CALLS)


@pytest.mark.parametrize("address", ["stage3", "stage3@0", "@0"])
def test_an_unknown_address_tells_the_three_nearest(address: str) -> None:
    with pytest.raises(UnknownNameError, match=r"no layer '.*'; nearest: \w+, \w+, \w+. `phosphene layers` lists them"):
        check(["stem", address], CALLS)


def test_a_run_too_many_tells_how_often_the_layer_runs() -> None:
    with pytest.raises(RequestError, match="layer relu runs 3 times in a forward pass; run 3 was asked for"):
        check(["relu@3"], CALLS)


@given(st.text())
def test_any_text_is_an_address_or_refused(address: str) -> None:
    try:
        check([address], CALLS)
    except PhospheneError:
        pass


def test_wrappers_are_taken_off_however_deep() -> None:
    module = nn.Linear(1, 1)
    wrapper = nn.Module()
    wrapper._orig_mod = nn.DataParallel(module)
    assert unwrapped(nn.DataParallel(wrapper)) is module


def test_a_bare_module_is_itself() -> None:
    module = nn.Linear(1, 1)
    assert unwrapped(module) is module
