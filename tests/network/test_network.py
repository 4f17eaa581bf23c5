from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import phosphene as ph
from phosphene.errors import ModelError, OutputError, PhospheneError, RequestError, UnknownNameError, WeightsError
from phosphene.network.network import LIKELY_SIZES, is_out_of_memory
from tests.nets import HABITS, made, network, of_channels, plain

P = ph.Preprocess(size=12, mean=0.5, std=0.25)
NAMES = ["tench, Tinca tinca", "crane", "Great White Shark, white shark", "crane", "3"]
FIVE = ph.Network(plain(), P, NAMES)


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("tench, Tinca tinca", 0),
        ("tinca tinca", 0),
        (" Tench ", 0),
        ("GREAT WHITE SHARK, WHITE SHARK", 2),
        ("white shark", 2),
        ("3", 4),
        ("2", 2),
        ("02", 2),
        (2, 2),
        (np.int64(4), 4),
    ],
)
def test_a_class_is_found_by_name_synonym_or_index(name: Any, index: int) -> None:
    assert FIVE.index(name) == index


def test_a_name_as_it_is_written_goes_before_one_of_another_case() -> None:
    net = ph.Network(plain(classes=3), P, ["Cat", "cat", "CAT, x"])
    assert [net.index(name) for name in ("Cat", "cat", "cat, x", "x")] == [0, 1, 2, 2]
    with pytest.raises(RequestError, match=r"class 'CAT' stands at \[0, 1\]"):
        net.index("CAT")


def test_a_name_that_stands_twice_asks_for_the_index() -> None:
    with pytest.raises(RequestError, match=r"class 'crane' stands at \[1, 3\]; give one of these indices"):
        FIVE.index("crane")


def test_an_unknown_name_tells_the_three_nearest(robust: ph.Network) -> None:
    with pytest.raises(UnknownNameError, match="no class 'trunk'; nearest: truck, "):
        robust.index("trunk")
    with pytest.raises(UnknownNameError) as caught:
        FIVE.index("white shork")
    assert caught.value.near[0] == "Great White Shark, white shark"
    assert len(caught.value.near) == 3


@pytest.mark.parametrize("index", [5, "5", 10**8])
def test_an_index_too_large_tells_the_last(index: int | str) -> None:
    with pytest.raises(UnknownNameError, match="indices go from 0 to 4"):
        FIVE.index(index)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (True, "class True; a name or an index is needed"),
        (-1, "class is -1; 0 or more is needed"),
        (1.5, "class is 1.5; a whole number is needed"),
        (None, "class is None; a whole number is needed"),
    ],
)
def test_what_is_neither_name_nor_index_is_refused(name: Any, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        FIVE.index(name)


@settings(max_examples=100)
@given(st.text() | st.integers() | st.sampled_from(["²", "٣", "-1", "1e3", " 1", "1 ", "9" * 5000]))
def test_any_class_is_found_or_refused(name: str | int) -> None:
    try:
        assert 0 <= FIVE.index(name) < 5
    except PhospheneError:
        pass


def test_classes_without_names_are_numbered() -> None:
    assert network("plain").classes == ("0", "1", "2", "3", "4")


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        (["a", "b"], "2 class names were given; Sequential gives 5 scores"),
        ("abcde", "classes are 'abcde'; a sequence of names is needed"),
        ([1, 2, 3, 4, 5], "a sequence of names is needed"),
        (5, "classes are 5; a sequence of names is needed"),
    ],
)
def test_classes_that_do_not_fit_are_refused(classes: Any, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        ph.Network(plain(), P, classes)


@pytest.mark.parametrize("habit", HABITS)
def test_every_habit_gives_five_finite_scores_a_picture(habit: str) -> None:
    scores = network(habit).scores(torch.rand(2, 3, 12, 12))
    assert scores.shape == (2, 5)
    assert scores.isfinite().all()


@pytest.mark.parametrize("channels", [1, 2, 4, 24])
def test_pictures_need_neither_colours_nor_a_square(channels: int) -> None:
    net = of_channels(channels)
    assert net.scores(torch.rand(1, channels, 12, 16)).shape == (1, 5)
    assert repr(net) == f"Network(Sequential, {channels}×12×16, 5 classes)"


def test_a_picture_gets_the_same_scores_in_any_company() -> None:
    net, pictures = network("functional"), torch.rand(4, 3, 12, 12)
    torch.testing.assert_close(net.scores(pictures)[[2, 0]], net.scores(pictures[[2, 0]]))


def test_without_preprocessing_the_notes_say_what_was_assumed() -> None:
    net = ph.Network(plain(2))
    assert net.preprocess == ph.Preprocess(size=224, channels=2)
    assert net.notes == (
        "no preprocessing was given: pictures in [0, 1] go in as they are",
        "no size was given: 224 px was assumed, the first that runs",
    )


@pytest.mark.parametrize("side", [32, 28])
def test_without_a_size_the_first_that_runs_is_assumed(side: int) -> None:
    module = nn.Sequential(nn.Conv2d(3, 1, 1), nn.Flatten(), nn.Linear(side * side, 4))
    assert ph.Network(module).preprocess.sides == (side, side)


def test_if_no_likely_size_runs_the_input_is_asked_for() -> None:
    module = nn.Sequential(nn.Conv2d(3, 1, 1), nn.Flatten(), nn.Linear(7, 4))
    assert 7 not in LIKELY_SIZES
    with pytest.raises(
        ModelError, match=r"does not run on pictures \(2, 3, 224, 224\).*preprocess=Preprocess\(size=, channels=\)"
    ):
        ph.Network(module)


def test_without_a_convolution_the_channels_are_asked_for() -> None:
    with pytest.raises(ModelError, match="Sequential has no Conv2d to tell its channels; give preprocess="):
        ph.Network(nn.Sequential(nn.Flatten(), nn.Linear(12, 3)))


def test_an_output_that_no_size_mends_is_said_at_once() -> None:
    with pytest.raises(OutputError, match="the network returned Tensor"):
        ph.Network(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(2)))


def test_what_is_no_module_is_refused() -> None:
    name: Any = "resnet50"
    with pytest.raises(RequestError, match=r"a network is 'resnet50'; a torch.nn.Module is needed"):
        ph.Network(name)


def test_a_lazy_module_that_never_ran_is_refused() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.LazyLinear(5))
    with pytest.raises(ModelError, match=r"2.weight is not initialised yet; run the module once on a batch"):
        ph.Network(module, P)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(value: float) -> None:
    module = made("functional")
    module.get_buffer("norm.running_mean")[3] = value
    with pytest.raises(WeightsError, match=r"norm.running_mean holds NaN or infinite values; finite weights are needed"):
        ph.Network(module, P)


def test_a_batch_is_a_whole_number() -> None:
    with pytest.raises(RequestError, match="batch is 0; 1 or more is needed"):
        ph.Network(plain(), P, batch=0)


def test_a_size_that_does_not_run_is_said_with_the_shape() -> None:
    net = network("inplace")
    with pytest.raises(ModelError, match=r"Sequential does not run on pictures \(1, 3, 20, 20\): mat1 and mat2 shapes"):
        net.scores(torch.rand(1, 3, 20, 20))
    with pytest.raises(ModelError, match=r"does not run on pictures \(1, 3, 2, 2\)"):
        net.layers(size=2)


def test_running_out_of_memory_is_passed_on_as_it_is() -> None:
    class Hungry(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            if len(x) > 2:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
            y: Tensor = self.conv(x)
            return y.mean((2, 3))

    with pytest.raises(RuntimeError, match="can't allocate memory") as caught:
        ph.Network(Hungry(), P).scores(torch.rand(3, 3, 12, 12))
    assert is_out_of_memory(caught.value)
    assert not isinstance(caught.value, PhospheneError)


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory")])
def test_memory_errors_are_known_as_such(error: BaseException) -> None:
    assert is_out_of_memory(error)
    assert not is_out_of_memory(RuntimeError("shapes"))


def test_data_parallel_is_taken_off() -> None:
    module = plain()
    net = ph.Network(nn.DataParallel(module), P)
    assert net.module is module
    assert "0" in net.calls


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
def test_a_compiled_module_is_taken_off_and_not_compiled() -> None:
    module = plain()
    compiled: Any = torch.compile(module)
    net = ph.Network(nn.DataParallel(compiled), P)
    assert net.module is module
    assert "0" in net.calls


def test_calls_count_the_runs() -> None:
    assert network("functional").calls == {"one": 1, "norm": 1, "two": 1, "relu": 2, "head": 1}


def test_addresses_are_checked_with_the_nearest() -> None:
    net = network("functional")
    net.check_addresses(["", "relu@1", "two"])
    with pytest.raises(UnknownNameError, match="no layer 'heads'; nearest: head, "):
        net.check_addresses(["heads"])


def test_device_and_precision_are_those_of_the_weights() -> None:
    net = ph.Network(plain().double(), P)
    assert (net.device, net.dtype) == (torch.device("cpu"), torch.float64)


def test_a_network_without_weights_is_on_the_cpu_in_float32() -> None:
    module = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    net = ph.Network(module, ph.Preprocess(size=4))
    assert (net.device, net.dtype) == (torch.device("cpu"), torch.float32)
    assert net.scores(torch.full((1, 3, 4, 4), 0.25)).tolist() == [[0.25, 0.25, 0.25]]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_pictures_of_any_precision_are_taken(dtype: torch.dtype) -> None:
    net, pictures = network("plain"), torch.ones(1, 3, 12, 12)
    torch.testing.assert_close(net.scores(pictures.to(dtype)), net.scores(pictures))


def test_the_hash_is_of_values_names_and_kinds() -> None:
    module = made("functional")
    net = ph.Network(module, P)
    first = net.sha256()
    assert first == ph.Network(copy.deepcopy(module), P).sha256()
    with torch.no_grad():
        module.get_parameter("head.bias")[0] += 1
    assert net.sha256() != first
    assert len(first) == 64


def test_the_hash_takes_every_kind_of_tensor() -> None:
    module = plain()
    for name, value in {"flag": torch.tensor(True), "empty": torch.zeros(0), "halves": torch.ones(2, 2).bfloat16().T}.items():
        module.register_buffer(name, value)
    first = ph.Network(module, P).sha256()
    module.flag = torch.tensor(False)
    assert ph.Network(module, P).sha256() != first


def test_a_channels_last_network_takes_the_same_pictures() -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = plain()

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.body(x.permute(0, 3, 1, 2))
            return y

    module, pictures = Last(), torch.rand(2, 3, 12, 12)
    scores = ph.Network(module, P.replace(layout="bhwc")).scores(pictures)
    torch.testing.assert_close(scores, ph.Network(module.body, P).scores(pictures))


def test_a_network_that_changes_its_input_in_place_is_listed() -> None:
    module = nn.Sequential(nn.ReLU(inplace=True), nn.Upsample(scale_factor=2), *plain().children())
    fields = {layer.address: layer.receptive_field for layer in ph.Network(module, P).layers()}
    assert fields["0"] is not None
    assert fields["2"] is not None


def test_the_hash_tells_apart_equal_bytes_of_another_name_shape_or_kind() -> None:
    same = plain()

    def of(name: str, value: torch.Tensor) -> str:
        module = copy.deepcopy(same)
        module.register_buffer(name, value)
        return ph.Network(module, P).sha256()

    ones = [
        of("a", torch.zeros(2, 3)),
        of("b", torch.zeros(2, 3)),
        of("a", torch.zeros(3, 2)),
        of("a", torch.zeros(2, 3).int()),
    ]
    assert len(set(ones)) == 4
