"""Wrong requests: one line on standard error that says what would be right, status 2, nothing written."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as some
from PIL import Image
from safetensors.torch import save_file

import phosphene as ph
from phosphene.cli.app import main
from phosphene.cli.options import size_of
from phosphene.errors import RequestError
from phosphene.pictures import files

from .conftest import Phosphene

CLASS_MODEL = "class-model -m demo:robust -o out"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (f"{CLASS_MODEL} -c kat", r"no class 'kat'; nearest: cat, "),
        (f"{CLASS_MODEL} -c 10", r"no class 10; .*indices go from 0 to 9"),
        (f"{CLASS_MODEL} -c -1", r"no class '-1'; nearest: "),
        (f"{CLASS_MODEL}", r"which classes\? give -c CLASS, once or several times, or --all"),
        (f"{CLASS_MODEL} -c cat --all", r"which classes\?"),
        (f"{CLASS_MODEL} -c cat --recipe pixel", r"no recipe 'pixel'; nearest: pixels"),
        (f"{CLASS_MODEL} -c cat --size 0", r"--size is 0; 1 to 8192 is needed"),
        (f"{CLASS_MODEL} -c cat --size abc", r"--size 'abc'; pixels, as in 224, or HEIGHTxWIDTH"),
        (f"{CLASS_MODEL} -c cat --size --5", r"--size '--5'; pixels"),
        (f"{CLASS_MODEL} -c cat --steps 0", r"steps is 0; 1 to 1000000 is needed"),
        (f"{CLASS_MODEL} -c cat --steps two", r"'--steps'.*integer"),
        (f"{CLASS_MODEL} -c cat --seed -1", r"seed is -1; 0 to .* is needed"),
        (f"{CLASS_MODEL} -c cat --seed 99999999999999999999", r"seed is 99999999999999999999; 0 to "),
        (f"{CLASS_MODEL} -c cat --batch 0", r"batch is 0; 1 or more is needed"),
        (f"{CLASS_MODEL} -c cat --animate xyz", r"animation 'xyz'; one of gif, webp, apng, png, mp4 is needed"),
        (f"{CLASS_MODEL} -c cat --device abacus", r"device 'abacus' cannot be used"),
        (f"{CLASS_MODEL} -c cat --stepz 3", r"No such option: --stepz.*--steps"),
        (f"{CLASS_MODEL} -c", r"'-c' requires an argument"),
        ("class-model -c cat -o out", r"Missing option '-m'"),
        ("class-model -m demo:robus -c cat -o out", r"no network 'demo:robus'; nearest: demo:robust, demo:standard"),
        ("class-model -m demo:robust?sise=3 -c cat -o out", r"no option of a reference 'sise'; nearest: size"),
        ("class-model -m nowhere.py:net -c cat -o out", r"nowhere\.py"),
        ("class-model -m nowhere:net -c cat -o out", r"nowhere"),
        ("class-model -m net.pt2 -c cat -o out", r"net\.pt2"),
        ("class-model -m demo:robust?weights=nowhere.safetensors -c cat -o out", r"'nowhere\.safetensors' is not there"),
        ("render -m demo:robust channel:stage9.0:5 -o out", r"no layer 'stage9\.0'; nearest: stage"),
        ("render -m demo:robust channel:stage3.0:9999 -o out", r"channel 9999 is outside stage3\.0, which has 128: 0 to 127"),
        ("render -m demo:robust chanel:stage3.0:5 -o out", r"no kind of objective 'chanel'; nearest: channel"),
        ("render -m demo:robust direction:stage3.0:no.npy -o out", r"direction 'no\.npy' is not a \.npy file"),
        ("render -m demo:robust logit:cat logit:kat -o out", r"no class 'kat'; nearest: cat"),
        ("render -m demo:robust -o out", r"Missing argument 'OBJECTIVE"),
        ("layers -m demo:robust --size 1x2x3", r"--size '1x2x3'"),
        ("layers -m demo:robust extra", r"unexpected extra argument"),
        ("rerun none.png -o out", r"picture 'none\.png' is not there; a PNG that Phosphene wrote is needed"),
        ("doctor -m demo:robust none.png", r"picture 'none\.png' is not there; a file is needed"),
        ("doctor -m demo:robust .", r"picture '\.' is a folder; a file is needed"),
        ("class-modle -m demo:robust", r"No such command 'class-modle'.*class-model"),
    ],
)
def test_a_wrong_request_is_answered_in_one_line(phosphene: Phosphene, line: str, words: str) -> None:
    ran = phosphene(*line.split())
    assert ran.status == 2
    assert ran.line.startswith("phosphene: ")
    assert re.search(words, ran.line)
    assert not Path("out").exists()


@pytest.mark.parametrize("place", ["file", "file/out", "n" * 300])
def test_a_folder_that_cannot_be_written_is_refused(phosphene: Phosphene, place: str) -> None:
    Path("file").write_text("")
    for line in ("class-model -m demo:robust -c cat --steps 1", "render -m demo:robust logit:cat --steps 1"):
        ran = phosphene(*line.split(), "-o", place)
        assert ran.status == 2
        assert re.fullmatch(rf"phosphene: '{place[:10]}.* cannot be written: \w.*", ran.line)


def weights_of(net: ph.Network) -> dict[str, torch.Tensor]:
    return {name: tensor.clone().contiguous() for name, tensor in net.module.state_dict().items()}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        ("truncated", r"w\.safetensors is not a whole safetensors file"),
        ("empty", r"w\.safetensors is not a checkpoint: it is empty"),
        ("shape", r"w\.safetensors: classifier\.bias is \(7,\); the network has \(10,\)"),
        ("missing", r"w\.safetensors does not fit DemoNet: 1 missing \(classifier\.bias\)"),
        ("nan", r"not finite|NaN|nan"),
    ],
)
def test_weights_that_do_not_fit_are_refused(phosphene: Phosphene, robust: ph.Network, make: str, words: str) -> None:
    weights, file = weights_of(robust), Path("w.safetensors")
    if make == "shape":
        weights["classifier.bias"] = torch.zeros(7)
    if make == "missing":
        del weights["classifier.bias"]
    if make == "nan":
        weights["classifier.bias"][0] = torch.nan
    save_file(weights, file)
    if make in ("truncated", "empty"):
        file.write_bytes(file.read_bytes()[: 1000 if make == "truncated" else 0])
    ran = phosphene("class-model", "-m", "demo:robust?weights=w.safetensors", "-c", "cat", "-o", "out")
    assert ran.status == 2
    assert re.search(words, ran.line)
    assert not Path("out").exists()


@pytest.mark.parametrize("content", [b"", b"\x80\x02", b"words", b"PK\x03\x04"])
def test_a_damaged_pickle_is_refused(phosphene: Phosphene, content: bytes) -> None:
    Path("w.pt").write_bytes(content)
    ran = phosphene("layers", "-m", "demo:robust?weights=w.pt")
    assert (ran.status, "w.pt" in ran.line) == (2, True)


@pytest.mark.parametrize("make", ["text", "empty", "jpeg", "plain", "odd record", "truncated"])
def test_rerun_of_what_carries_no_record_is_refused(phosphene: Phosphene, make: str) -> None:
    file, image = Path("a.png"), Image.new("RGB", (8, 8))
    files.write_png(file, image, "{}" if make == "odd record" else None)
    if make == "jpeg":
        image.save(file, "JPEG")
    elif make != "plain" and make != "odd record":
        file.write_bytes({"text": b"words", "empty": b"", "truncated": file.read_bytes()[:40]}[make])
    ran = phosphene("rerun", "a.png", "-o", "out")
    assert ran.status == 2
    assert re.search(r"PNG|record|cannot be read", ran.line)
    assert not Path("out").exists()


@pytest.mark.parametrize("content", [b"words", b"", b"\xff\xd8\xff\xe0\x00\x10JFIF"])
def test_doctor_refuses_a_photo_that_is_none(phosphene: Phosphene, content: bytes) -> None:
    Path("a.jpg").write_bytes(content)
    ran = phosphene("doctor", "-m", "demo:robust", "a.jpg")
    assert (ran.status, ran.out) == (2, "")
    assert re.fullmatch(r"phosphene: ('a.jpg' is not a picture that can be read|picture 'a.jpg' cannot be read: .*)", ran.line)


def test_a_picture_from_elsewhere_must_not_name_code(phosphene: Phosphene) -> None:
    phosphene("class-model", "-m", "demo:robust", "-c", "cat", "--steps", "1", "-o", "out")
    image, text = files.read_png("out/cat.png")
    files.write_png(Path("bad.png"), image, text.replace("demo:robust", "os:getcwd"))
    ran = phosphene("rerun", "bad.png", "-o", "again")
    assert ran.status == 2
    assert "'os:getcwd', which runs code" in ran.line


def test_debug_shows_the_traceback_at_any_place_in_the_line(phosphene: Phosphene) -> None:
    for line in ("--debug class-model -m demo:robust -c kat", "class-model -m demo:robust -c kat --debug"):
        ran = phosphene(*line.split())
        assert ran.status == 2
        assert ran.err.startswith("Traceback (most recent call last)")
        assert ran.err.splitlines()[-1].startswith("phosphene: no class 'kat'")


def test_no_command_at_all_shows_the_help_and_what_is_missing(phosphene: Phosphene) -> None:
    ran = phosphene()
    assert ran.status == 2
    assert "class-model" in ran.out
    assert ran.line == "phosphene: a command is needed; phosphene --help lists them"


EXAMPLES = pytest.mark.parametrize("count", [8, pytest.param(100, marks=pytest.mark.slow)])
quietly = settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def answered(capsys: pytest.CaptureFixture[str], *arguments: str) -> int:
    """The status of a command line, that told no bug."""
    status = main(arguments)
    err = capsys.readouterr().err
    assert status in (0, 2), err
    assert "Traceback" not in err
    assert "(a bug" not in err
    return status


@EXAMPLES
def test_any_class_name_is_drawn_or_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path, count: int) -> None:
    @settings(quietly, max_examples=count)
    @given(
        some.text() | some.text("catdog 0-+*:\"'\\\n\0") | some.sampled_from(["--help", "-c", "", "٣", "\ud800", "9" * 5000])
    )
    def ask(name: str) -> None:
        answered(capsys, "class-model", "-m", "demo:robust", "-c", name, "--steps", "1", "-o", str(tmp_path / "out"))

    ask()


@EXAMPLES
def test_any_objective_is_drawn_or_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path, count: int) -> None:
    @settings(quietly, max_examples=count)
    @given(some.text() | some.text('logitchaner: +-*"\\0123456789.e[],'))
    @example("logit:cat + logit:cat")
    @example("1e999*logit:cat")
    @example('logit:"cat')
    @example("1e38*logit:cat")
    def ask(text: str) -> None:
        answered(capsys, "render", "-m", "demo:robust", "--steps", "1", "-o", str(tmp_path / "out"), "--", text)

    ask()


REFERENCES = some.sampled_from(["", "demo:", "demo:robust?", "demo:robust?size=", "demo:robust?weights=", "a.py:", "a.pt2"])


@pytest.mark.parametrize("option", ["weights", "classes"])
def test_a_file_name_that_no_system_takes_is_refused(capsys: pytest.CaptureFixture[str], option: str) -> None:
    assert answered(capsys, "layers", "-m", f"demo:robust?{option}={'n' * 5000}") == 2


@quietly
@given(REFERENCES, some.text() | some.text("demorbust:?=&%/.,0123456789-"))
@example("", "n" * 5000)
@example("demo:robust?size=", "1,2,3")
@example("demo:robust?size=", "9" * 5000)
@example("demo:robust?", "seed=" + "9" * 50)
@example("demo:robust?", "classes=" + "n" * 5000)
@example("demo:robust?", "mean=nan")
@example("demo:robust?", "std=0")
@example("", "\0")
def test_any_reference_is_opened_or_refused(capsys: pytest.CaptureFixture[str], source: str, text: str) -> None:
    answered(capsys, "layers", "-m", source + text)


@quietly
@given(some.text() | some.text("0123456789xX-, "))
def test_any_size_is_taken_or_refused(text: str) -> None:
    with suppress(RequestError):
        assert size_of(text) is not None


def test_a_group_of_commands_without_one_shows_its_help(phosphene: Phosphene) -> None:
    ran = phosphene("evaluate")
    assert ran.status == 2
    assert "trust" in ran.out
