from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

import phosphene as ph
from phosphene import registry
from phosphene.errors import ModelError, PhospheneError, RequestError, UnknownNameError, WeightsError
from phosphene.network import load as loading
from phosphene.network.load import OPTIONS, parse, read_classes
from phosphene.network.opened import Opened, Request
from tests.nets import plain
from tests.network import traces

SCRIPT = """
import torch
from torch import nn
from dataclasses import dataclass

def small():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))

class Small(nn.Sequential):
    def __init__(self):
        super().__init__(*small())

class inner:
    made = small()

def failing():
    raise KeyError("no weights here")

def leaving():
    raise SystemExit(3)

number = 3
"""


@pytest.fixture
def script(tmp_path: Path) -> str:
    (tmp_path / "nets_of_mine.py").write_text(SCRIPT)
    return str(tmp_path / "nets_of_mine.py")


def state_of(net: ph.Network) -> dict[str, Tensor]:
    return {name: tensor.contiguous() for name, tensor in net.module.state_dict().items()}


def test_a_reference_comes_apart() -> None:
    found = parse("demo:robust?size=16,24&mean=0.5")
    assert (found.source, found.name, found.options) == ("demo", "robust", {"size": "16,24", "mean": "0.5"})


def test_what_no_source_claims_stays_whole() -> None:
    found = parse("my.package:factory?size=3")
    assert (found.source, found.name) == ("", "my.package:factory")


@pytest.mark.parametrize(
    ("reference", "runs"),
    [
        ("demo:robust", False),
        ("torchvision:resnet50?weights=none", True),
        ("timm:resnet50?size=4", False),
        ("hf:org/name", True),
        ("hf:/.hidden", True),
        ("demo:robust?classes=/etc/passwd", True),
        ("m:f", True),
        ("f.py:f", True),
        ("m.pt2", True),
    ],
)
def test_a_reference_that_reads_files_or_runs_code_says_so(reference: str, runs: bool) -> None:
    assert parse(reference).runs_code is runs


@pytest.mark.parametrize("reference", ["", "  ", "demo:\x00", "demo:\nrobust", None, 3, "a\ud800"])
def test_what_is_no_line_of_text_is_refused(reference: Any) -> None:
    with pytest.raises(ModelError, match="a reference such as demo:standard or torchvision:resnet50 is needed"):
        ph.load(reference)


@pytest.mark.parametrize("query", ["size", "size=3&", "=&&", "size=3&mean"])
def test_a_broken_query_is_refused(query: str) -> None:
    with pytest.raises(PhospheneError, match=r"must be key=value&key=value|no option of a reference"):
        ph.load(f"demo:robust?{query}")


def test_an_unknown_option_tells_the_three_nearest() -> None:
    with pytest.raises(UnknownNameError, match="no option of a reference 'sizes'; nearest: size, resize, classes"):
        ph.load("demo:robust?sizes=3")


def test_an_unknown_source_tells_the_three_nearest() -> None:
    with pytest.raises(
        UnknownNameError, match=r"no model 'torchvison:resnet18'; nearest: torchvision:NAME, .*no module torchvison"
    ):
        ph.load("torchvison:resnet18")


@pytest.mark.parametrize("name", ["robust", "standard"])
def test_the_demo_opens_with_names_and_preprocessing(name: str) -> None:
    net = ph.load(f"demo:{name}")
    assert net.preprocess == ph.Preprocess(size=32, mean=0.5, std=0.25)
    assert (net.name, len(net.classes), net.notes, net.ending) == (f"demo:{name}", 10, (), None)


def test_an_unknown_demo_tells_which_there_are() -> None:
    with pytest.raises(UnknownNameError, match="no network 'demo:robots'; nearest: demo:robust, demo:standard"):
        ph.load("demo:robots")


def test_the_demo_has_no_other_weights_of_its_own() -> None:
    with pytest.raises(RequestError, match="demo:robust has one set of weights"):
        ph.load("demo:robust?weights=V2")


def test_random_weights_are_those_of_the_seed() -> None:
    one, same, other = (ph.load(f"demo:robust?weights=none&seed={seed}").sha256() for seed in (1, 1, 2))
    assert one == same != other
    assert ph.load("demo:robust?weights=none").sha256() == ph.load("demo:robust?weights=none&seed=0").sha256()


def test_loading_draws_nothing_from_the_global_generators() -> None:
    before = traces.of_generators()
    ph.load("demo:standard?weights=none")
    assert traces.of_generators() == before


def test_the_reference_wins_over_the_source() -> None:
    reference = "demo:robust?size=16,24&mean=0.1,0.2,0.3&std=0.5&range=-1,1&order=bgr&resize=40&interpolation=bicubic"
    expected = ph.Preprocess(
        size=(16, 24), mean=(0.1, 0.2, 0.3), std=0.5, range=(-1, 1), order="bgr", resize=40, interpolation="bicubic"
    )
    assert ph.load(reference).preprocess == expected


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("size=big", "size='big'; a whole number is needed"),
        ("size=1,2,3", "one side or"),
        ("mean=a", "mean='a'; numbers joined by commas are needed"),
        ("mean=nan", "mean is nan; a finite number is needed"),
        ("std=0", "positive numbers are needed"),
        ("channels=x", "channels='x'; a whole number is needed"),
        ("seed=x", "seed='x'; a whole number is needed"),
        ("seed=-1", "seed is -1"),
        ("order=abc", "order is 'abc'"),
        ("channels=5", r"does not run on pictures \(2, 5, 32, 32\)"),
        ("layout=bhwc", r"does not run on pictures \(2, 3, 32, 32\)"),
        ("classes=nowhere.txt", "classes file 'nowhere.txt' cannot be read"),
        ("weights=nowhere.pt", "weights 'nowhere.pt' is not there"),
    ],
)
def test_a_wrong_option_is_refused_in_words(options: str, words: str) -> None:
    with pytest.raises(PhospheneError, match=words):
        ph.load(f"demo:robust?{options}")


@pytest.mark.parametrize("attribute", ["small", "Small", "inner.made"])
def test_a_script_gives_a_network(script: str, attribute: str) -> None:
    net = ph.load(f"{script}:{attribute}?size=8&classes={classes_file(script)}")
    assert (net.classes, net.preprocess.sides, net.name.startswith(script)) == (("a", "b"), (8, 8), True)


def classes_file(script: str) -> str:
    path = Path(script).with_name("names.txt")
    path.write_text("a\n\nb\n")
    return str(path)


def test_a_module_of_the_working_folder_gives_a_network(script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(script).parent)
    before = list(sys.path)
    net = ph.load("nets_of_mine:small?size=8")
    assert len(net.classes) == 2
    assert sys.path == before


def test_an_installed_module_gives_a_network() -> None:
    assert ph.load("tests.nets:plain?size=12&mean=0.5").preprocess == ph.Preprocess(size=12, mean=0.5)


def test_a_script_finds_its_neighbours(script: str) -> None:
    user = Path(script).with_name("other_of_mine.py")
    user.write_text("from nets_of_mine import small as made\n")
    before = list(sys.path)
    assert len(ph.load(f"{user}:made?size=8").classes) == 2
    assert sys.path == before


@pytest.mark.parametrize(
    ("attribute", "kind", "words"),
    [
        ("smoll", UnknownNameError, "no factory in .*'smoll'; nearest: Small, small, "),
        ("inner.x", UnknownNameError, "'inner.x'; nearest: made"),
        ("number.x", UnknownNameError, "'number.x'; there is no factory"),
        ("number", ModelError, "number gives int; a torch.nn.Module is needed"),
        ("dataclass", ModelError, "dataclass gives function"),
        ("failing", ModelError, "failing raised KeyError: 'no weights here'"),
        ("leaving", ModelError, "leaving raised SystemExit: 3"),
        ("", ModelError, "package.module:factory or path/file.py:factory is needed"),
        ("a-b", ModelError, "package.module:factory or path/file.py:factory is needed"),
    ],
)
def test_a_script_that_gives_no_network_is_refused(script: str, attribute: str, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        ph.load(f"{script}:{attribute}?size=8")


def test_a_script_that_fails_is_told_with_its_error(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("1 / 0")
    with pytest.raises(ModelError, match=r"broken.py raised ZeroDivisionError: division by zero"):
        ph.load(f"{tmp_path}/broken.py:f")


def test_a_module_whose_attributes_fail_is_told_with_its_error(tmp_path: Path) -> None:
    (tmp_path / "lazy.py").write_text("def __getattr__(name):\n    raise ImportError('needs more')")
    with pytest.raises(ModelError, match=r"lazy.py raised ImportError: needs more"):
        ph.load(f"{tmp_path}/lazy.py:f")


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("resnet50", "no model 'resnet50'; nearest: .*package.module:factory or path/file.py:factory is needed"),
        ("nowhere.py:f", "'nowhere.py' is not there"),
        ("nowhere.pt2", "'nowhere.pt2' is not there; a .pt2 file from torch.export.save is needed"),
        ("no_such_package:f", "there is no module no_such_package"),
        ("tests.no_such_module:f", "tests.no_such_module raised ModuleNotFoundError"),
        ("a b:f", "no model 'a b:f'"),
        ("json:loads", "json:loads raised TypeError"),
        (":", "is needed"),
        ("m:f?weights=V1", "weights 'V1' is not a file; .safetensors, .pt, .pth or none is needed"),
    ],
)
def test_what_leads_nowhere_is_refused(reference: str, words: str) -> None:
    with pytest.raises(ModelError if "no model" not in words and "no module" not in words else UnknownNameError, match=words):
        ph.load(reference)


def test_half_of_the_preprocessing_asks_for_the_rest(script: str) -> None:
    with pytest.raises(RequestError, match="the reference says mean but no size; add size=224"):
        ph.load(f"{script}:small?mean=0.5")


def test_without_any_preprocessing_the_size_is_assumed(script: str) -> None:
    net = ph.load(f"{script}:small")
    assert net.preprocess == ph.Preprocess(size=224)
    assert "no size was given" in net.notes[1]


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt", "w.pth"])
def test_weights_come_from_a_file(tmp_path: Path, script: str, name: str) -> None:
    donor, path = ph.load(f"{script}:small?size=8&seed=5"), tmp_path / name
    save = save_file if name.endswith("safetensors") else torch.save
    save({f"module.{key}": value for key, value in state_of(donor).items()}, path)
    assert ph.load(f"{script}:small?size=8&weights={path}").sha256() == donor.sha256()


def test_weights_of_the_demo_come_from_a_file(tmp_path: Path, standard: ph.Network) -> None:
    torch.save({"state_dict": state_of(standard)}, tmp_path / "w.pt")
    net = ph.load(f"demo:robust?weights={tmp_path}/w.pt")
    assert net.sha256() == standard.sha256()
    assert net.classes == standard.classes


def test_a_safetensors_file_tells_what_nobody_else_does(tmp_path: Path, script: str) -> None:
    said = {"size": "[8, 9]", "mean": "0.5", "std": "[0.1, 0.2, 0.3]", "channels": "3", "classes": '["x", "y"]', "config": "{}"}
    save_file(state_of(ph.load(f"{script}:small?size=8")), tmp_path / "w.safetensors", said)
    net = ph.load(f"{script}:small?weights={tmp_path}/w.safetensors&mean=0.25")
    assert net.preprocess == ph.Preprocess(size=(8, 9), mean=0.25, std=(0.1, 0.2, 0.3))
    assert net.classes == ("x", "y")


LONG = "x" * 5000


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        (f"{LONG}.py:f", "is not there"),
        (f"{LONG}.pt2", "is not there"),
        (f"demo:robust?weights={LONG}", "demo:robust has one set of weights"),
        (f"demo:robust?weights={LONG}.pt", "is not there; a file is needed"),
        (f"demo:robust?classes={LONG}", "cannot be read"),
        ("demo:robust?weights=%00.pt", "is not there; a file is needed"),
        ("demo:robust?weights=%00", "demo:robust has one set of weights"),
        ("demo:robust?classes=%00", "cannot be read"),
        (f"demo:{LONG}", "no network"),
        (f"{LONG}:f", "there is no module"),
    ],
)
def test_a_text_that_no_file_can_have_for_a_name_is_refused(reference: str, words: str) -> None:
    with pytest.raises(PhospheneError, match=words):
        ph.load(reference)


def test_class_names_in_a_file_that_are_no_names_are_left(tmp_path: Path, script: str) -> None:
    save_file(state_of(ph.load(f"{script}:small?size=8")), tmp_path / "w.safetensors", {"classes": "[1, 2]"})
    assert ph.load(f"{script}:small?size=8&weights={tmp_path}/w.safetensors").classes == ("0", "1")


def test_weights_with_nan_are_refused(tmp_path: Path, script: str) -> None:
    state = state_of(ph.load(f"{script}:small?size=8"))
    state["3.weight"][1, 2] = float("nan")
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=r"3.weight holds NaN or infinite values"):
        ph.load(f"{script}:small?size=8&weights={tmp_path}/w.pt")


def test_weights_of_another_shape_are_refused(tmp_path: Path, script: str) -> None:
    save_file(state_of(ph.load(f"{script}:small?size=8")) | {"3.bias": torch.ones(7)}, tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match=r"w.safetensors: 3.bias is \(7,\); the network has \(2,\)"):
        ph.load(f"{script}:small?weights={tmp_path}/w.safetensors")


def test_a_safetensors_file_without_tensors_is_refused(tmp_path: Path) -> None:
    save_file({}, tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match=r"does not fit DemoNet: .* missing"):
        ph.load(f"demo:robust?weights={tmp_path}/w.safetensors")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("c.json", '["tench, Tinca tinca", "b"]'),
        ("c.json", '{"1": "b", "0": "tench, Tinca tinca"}'),
        ("c.txt", "tench, Tinca tinca\n\nb\n"),
    ],
)
def test_class_names_come_from_a_file(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    assert read_classes(str(tmp_path / name)) == ("tench, Tinca tinca", "b")


def test_indices_of_class_names_are_sorted_as_numbers(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text(json.dumps({str(i): f"class {i}" for i in reversed(range(12))}))
    assert read_classes(str(tmp_path / "c.json"))[10] == "class 10"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("c.json", b"[1, 2]", "holds no list of names"),
        ("c.json", b'{"a": "b"}', "holds no list of names"),
        ("c.json", b"3", "holds no list of names"),
        ("c.json", b"[", "cannot be read"),
        ("c.txt", b"\xff\xfe\xff", "cannot be read"),
    ],
)
def test_a_file_without_names_is_refused(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RequestError, match=words):
        read_classes(str(tmp_path / name))


def test_a_huge_file_of_names_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "LARGEST_CLASS_FILE", 1)
    (tmp_path / "c.txt").write_text("a\nb\n")
    with pytest.raises(RequestError, match="is over 0 MiB"):
        read_classes(str(tmp_path / "c.txt"))


def test_too_few_names_are_refused(tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text("a\nb\n")
    with pytest.raises(RequestError, match=r"2 class names were given; .* gives 10 scores"):
        ph.load(f"demo:robust?classes={tmp_path}/c.txt")


def test_the_network_is_put_on_a_device() -> None:
    assert ph.load("demo:robust", device="cpu").device == torch.device("cpu")


@pytest.mark.parametrize("device", ["gpu", "cpu:x", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(device: str) -> None:
    with pytest.raises(RequestError, match=f"device '{device}' cannot be used"):
        ph.load("demo:robust", device=device)


def test_a_source_of_a_plug_in_is_as_good_as_ours() -> None:
    def source(request: Request) -> Opened:
        return Opened(plain(), {"size": 12}, output=lambda o: o * 2, batch=2, notes=(f"{request.name}, {request.weights}",))

    with registry.registered("sources", "mine", source):
        net = ph.load("mine:x?weights=tag")
    assert (net.batch, net.notes, net.name) == (2, ("x, tag",), "mine:x?weights=tag")


WORDS = (
    "demo : robust standard ? & = size mean weights none 16 0 , classes seed %00 order bgr layout range -1 1e999 . / @ é ² # +"
)
pieces = st.sampled_from([*WORDS.split(), " ", *OPTIONS])
mutations = st.builds(
    lambda base, place, change: base[: place % len(base)] + change + base[place % len(base) :],
    st.sampled_from(
        ["demo:robust", "demo:robust?size=16", "demo:standard?mean=0.5,0.5,0.5&std=0.2", "demo:robust?weights=none"]
    ),
    st.integers(0, 40),
    st.text("?&=:,.-+%/ 0123456789abcé\x00\n", max_size=3),
)


@settings(max_examples=80)
@given(st.text() | st.lists(pieces).map("".join) | mutations)
def test_any_text_is_a_reference_or_refused(text: str) -> None:
    try:
        parse(text)
    except PhospheneError:
        pass


@settings(max_examples=60)
@given(st.lists(pieces).map(lambda parts: "demo:" + "".join(parts)) | mutations)
def test_any_mutated_reference_opens_or_is_refused(text: str) -> None:
    if any(len(number) > 2 for number in text.partition("size=")[2].replace(",", "&").split("&")[:2]):
        return  # a large picture is a right request, but takes long
    try:
        assert isinstance(ph.load(text), ph.Network)
    except PhospheneError:
        pass


def test_a_reference_can_say_multilabel_and_identity_tells_it() -> None:
    net = ph.load("demo:robust?multilabel=1")
    assert net.probabilities(torch.zeros(1, 10)).eq(0.5).all()
    assert net.identity()["multilabel"] == "1"
    assert "multilabel" not in ph.load("demo:robust?multilabel=0").identity()
    with pytest.raises(RequestError, match="multilabel='yes'; 0 or 1 is needed"):
        ph.load("demo:robust?multilabel=yes")


def test_a_reference_wins_over_the_source_and_the_source_over_the_weights_file(tmp_path: Path, robust: ph.Network) -> None:
    file = tmp_path / "w.safetensors"
    said = {"size": "[16, 24]", "mean": "[0.9, 0.9, 0.9]", "std": "[2.0, 2.0, 2.0]", "classes": json.dumps(["c"] * 10)}
    save_file(state_of(robust), file, said)
    net = ph.load(f"demo:robust?weights={file}")
    assert net.preprocess == robust.preprocess
    assert net.classes == robust.classes
    wished = ph.load(f"demo:robust?weights={file}&size=48&mean=0.25")
    assert (wished.preprocess.size, wished.preprocess.mean) == ((48, 48), (0.25,) * 3)
    assert wished.preprocess.std == robust.preprocess.std


def test_a_weights_file_says_what_its_source_does_not(tmp_path: Path, script: str) -> None:
    file = tmp_path / "w.safetensors"
    save_file(state_of(ph.load(f"{script}:small?size=8")), file, {"size": "[16, 24]", "classes": '["one", "two"]'})
    net = ph.load(f"{script}:small?weights={file}")
    assert (net.preprocess.size, net.classes) == ((16, 24), ("one", "two"))
    assert ph.load(f"{script}:small?weights={file}&size=9").preprocess.size == (9, 9)
