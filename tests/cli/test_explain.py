"""`phosphene explain`: photographs of every kind, folders, classes and objectives, and one bad file among good ones."""

from __future__ import annotations

import json
import re
import struct
import zlib
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import phosphene as ph
from phosphene.cli import explain as command
from phosphene.pictures import files

from .conftest import Phosphene, contents

ROBUST = ("explain", "-m", "demo:robust")
measuring: Any = import_module("phosphene.evaluation.trust")  # the package's attribute of this name is the function


def noise(width: int = 50, height: int = 40, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def said(folder: str = "out") -> dict[str, Any]:
    read: dict[str, Any] = json.loads(Path(folder, "run.json").read_text("utf-8"))
    return read


def raw(item: dict[str, Any], folder: str = "out") -> np.ndarray:
    values: np.ndarray = np.load(Path(folder, item["array"]))
    return values


def test_the_example_in_the_help_runs(phosphene: Phosphene) -> None:
    example = re.search(r"Example: phosphene (.*)", str(command.explain.__doc__))
    assert example
    noise().save("photo.png")
    ran = phosphene(*example.group(1).split())
    assert (ran.status, ran.out) == (0, "2 maps, contact_sheet.png and run.json are in out/\n")


def test_it_writes_what_explain_gives(phosphene: Phosphene, robust: ph.Network) -> None:
    noise().save("photo.png")
    ran = phosphene(*ROBUST, "photo.png", "-c", "cat")
    wanted = ph.explain(robust, ph.read("photo.png"), "logit:cat")
    (item,) = said()["items"]
    assert (ran.status, item["image"], item["objective"], item["class"], item["index"], item["method"]) == (
        (0, "photo.png", "logit:cat", "cat", 3, "saliency")
    )
    assert item["score"] == pytest.approx(wanted.items[0].score, abs=1e-5)
    np.testing.assert_allclose(raw(item), wanted.values[0].numpy(), atol=1e-6)
    assert files.read_png(f"out/{item['file']}")[0].size == (160, 160)
    assert {path.name for path in Path("out").iterdir()} == {item["file"], item["array"], "contact_sheet.png", "run.json"}


def test_the_run_tells_the_arguments(phosphene: Phosphene) -> None:
    noise().save("photo.png")
    phosphene(*ROBUST, "photo.png", "--method", "smoothgrad", "--samples", "2", "--chunk", "1", "--seed", "5", "-o", "new/out")
    run = said("new/out")
    assert (run["command"], run["model"]["ref"], run["device"]) == ("explain", "demo:robust", "cpu")
    assert run["arguments"] == {
        "photos": ["photo.png"],
        "classes": None,
        "objectives": None,
        "methods": ["smoothgrad"],
        "samples": 2,
        "chunk": 1,
        "contour": False,
        "trust": False,
        "seed": 5,
    }


def test_without_a_class_the_likeliest_is_explained(phosphene: Phosphene, robust: ph.Network) -> None:
    noise().save("photo.png")
    phosphene(*ROBUST, "photo.png")
    (item,) = said()["items"]
    assert item["index"] == int(robust.scores(robust.preprocess.fit(ph.read("photo.png"))).argmax())


def test_classes_by_name_and_index_and_methods_side_by_side(phosphene: Phosphene) -> None:
    for seed in (0, 1):
        noise(seed=seed).save(f"{seed}.png")
    ran = phosphene(
        *ROBUST,
        "0.png",
        "1.png",
        "-c",
        "cat",
        "-c",
        "8",
        "-c",
        "CAT",
        "--method",
        "saliency",
        "--method",
        "deconvnet",
        "--contour",
    )
    asked = [(item["image"], item["class"], item["method"]) for item in said()["items"]]
    methods = ("saliency", "deconvnet")
    assert (ran.status, asked) == (
        (0, [(image, name, method) for image in ("0.png", "1.png") for name in ("cat", "ship") for method in methods])
    )
    assert all(Path("out", item["contour"]).is_file() for item in said()["items"])
    assert len({item["file"] for item in said()["items"]}) == 8


def test_one_class_rather_than_another_is_asked_by_an_objective(phosphene: Phosphene, robust: ph.Network) -> None:
    noise().save("photo.png")
    ran = phosphene(*ROBUST, "photo.png", "--objective", "logit:cat - logit:dog", "--objective", "channel:stage3.0:0-1")
    items = said()["items"]
    assert ran.status == 0
    assert [item["objective"] for item in items] == ["logit:cat - logit:dog", "channel:stage3.0:0", "channel:stage3.0:1"]
    assert items[0]["class"] is items[0]["index"] is items[0]["probability"] is None
    np.testing.assert_allclose(
        raw(items[0]), ph.explain(robust, ph.read("photo.png"), "logit:cat - logit:dog").values[0].numpy(), atol=1e-6
    )


def test_many_pictures_are_explained_in_several_goes(phosphene: Phosphene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "AT_ONCE", 2)
    for seed in range(5):
        noise(seed=seed).save(f"{seed}.png")
    assert phosphene(*ROBUST, *(f"{seed}.png" for seed in range(5)), "0.png").status == 0
    assert [item["image"] for item in said()["items"]] == [f"{seed}.png" for seed in range(5)]


def test_a_folder_is_searched_but_not_where_we_write_nor_what_is_hidden(phosphene: Phosphene) -> None:
    Path("photos/deep").mkdir(parents=True)
    noise().save("photos/a.png")
    noise().save("photos/deep/b.jpg")
    Path("photos/.hidden").write_text("words")
    for _ in range(2):
        ran = phosphene(*ROBUST, "photos", "-o", "photos/out")
        assert (ran.status, ran.err) == (0, "")
        assert [item["image"] for item in said("photos/out")["items"]] == ["photos/a.png", "photos/deep/b.jpg"]


def chunk(name: bytes, data: bytes) -> bytes:
    """Of a PNG."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def bad(kind: str) -> None:
    """Writes what cannot be explained to bad.jpg."""
    file = Path("bad.jpg")
    noise().save(file)
    whole = file.read_bytes()
    if kind == "one pixel":
        noise(1, 1).save(file)
    elif kind == "thread":
        noise(1, 300).save(file)
    elif kind == "bomb":
        parts = [(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(bytes(99)))]
        file.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in (*parts, (b"IEND", b""))))
    else:
        file.write_bytes({"text": b"words", "empty": b"", "truncated": whole[: len(whole) // 2]}[kind])


BAD = {
    "text": r"'bad\.jpg' is not a picture that can be read",
    "empty": r"'bad\.jpg' is not a picture that can be read",
    "truncated": r"picture 'bad\.jpg' cannot be read: image file is truncated.*",
    "bomb": r"picture 'bad\.jpg' (is too large|has 60000×60000 pixels).*",
    "one pixel": r"picture 'bad\.jpg': a picture of 1×1 pixels has no places to tell apart; a larger one is needed",
    "thread": r"picture 'bad\.jpg': a picture of 300×1 pixels is too long; .*",
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_picture_alone_is_refused_in_one_line_and_nothing_is_written(phosphene: Phosphene, kind: str) -> None:
    bad(kind)
    ran = phosphene(*ROBUST, "bad.jpg")
    assert (ran.status, ran.out) == (2, "")
    assert re.fullmatch(f"phosphene: {BAD[kind]}", ran.line)
    assert not Path("out").exists()


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_picture_among_good_ones_is_named_and_the_others_are_done(phosphene: Phosphene, kind: str) -> None:
    bad(kind)
    noise().save("a.png")
    noise().save("z.png")
    ran = phosphene(*ROBUST, "a.png", "bad.jpg", "z.png")
    assert (ran.status, ran.out) == (1, "2 maps, contact_sheet.png and run.json are in out/\n")
    assert re.fullmatch(f"phosphene: {BAD[kind]}", ran.line)
    assert [item["image"] for item in said()["items"]] == ["a.png", "z.png"]
    (failed,) = said()["failed"]
    assert (failed["image"], bool(re.fullmatch(BAD[kind], failed["reason"]))) == ("bad.jpg", True)
    assert "missing" not in said()


def test_where_all_are_bad_one_line_says_so(phosphene: Phosphene) -> None:
    Path("photos").mkdir()
    for name in ("a.jpg", "b.jpg"):
        Path("photos", name).write_text("words")
    ran = phosphene(*ROBUST, "photos")
    assert (ran.status, ran.line) == (
        2,
        "phosphene: none of 2 pictures can be explained; the first: 'photos/a.jpg' is not a picture that can be read",
    )


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("photo.png -c kat", r"no class 'kat'; nearest: cat"),
        ("photo.png -c 10", r"no class '?10'?"),
        ("photo.png --objective channel:stage9.0:1", r"no layer 'stage9\.0'; nearest: stage"),
        ("photo.png --objective channel:stage3.0:999", r"channel 999 is outside stage3\.0"),
        ("photo.png --objective chanel:stage3.0:9", r"no kind of objective 'chanel'"),
        ("photo.png -c cat --objective logit:dog", r"of what\? give -c CLASS or --objective TEXT, not both"),
        ("photo.png --method salience", r"no method 'salience'; nearest: saliency"),
        ("photo.png --samples 3", r"--samples 3; saliency takes none"),
        ("photo.png --method rise --samples 0", r"samples is 0; 1 to"),
        ("photo.png --chunk 0", r"chunk is 0; 1 or more is needed"),
        ("photo.png --seed -1", r"seed is -1"),
        ("none.png", r"picture 'none\.png' is not there; a file is needed"),
        ("empty", r"folder 'empty' holds no files; pictures are needed in it"),
        ("", r"Missing argument 'PHOTO"),
    ],
)
def test_a_wrong_request_is_answered_in_one_line(phosphene: Phosphene, line: str, words: str) -> None:
    noise().save("photo.png")
    Path("empty").mkdir()
    ran = phosphene(*ROBUST, *line.split())
    assert (ran.status, ran.out) == (2, "")
    assert re.search(words, ran.line)
    assert not Path("out").exists()


def test_guided_backprop_of_a_network_without_rectifiers_is_refused(phosphene: Phosphene) -> None:
    Path("smooth.py").write_text(
        "from torch import nn\n"
        "def net():\n    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.GELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())\n"
    )
    noise().save("photo.png")
    ran = phosphene("explain", "-m", "smooth.py:net?size=16", "photo.png", "--method", "guided_backprop")
    assert ran.status == 2
    assert "guided is not defined for GELU, which cuts nothing off; saliency or smoothgrad is" in ran.err.splitlines()[-1]
    assert not Path("out").exists()


def test_all_channels_of_a_layer_are_asked_by_a_star(phosphene: Phosphene) -> None:
    Path("nets.py").write_text(
        "from torch import nn\n"
        "def net():\n    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())\n"
    )
    noise().save("photo.png")
    ran = phosphene("explain", "-m", "nets.py:net?size=16", "photo.png", "--objective", 'channel:"1":*')
    assert (ran.status, [item["objective"] for item in said()["items"]]) == (0, [f'channel:"1":{i}' for i in range(4)])


def picture_of(phosphene: Phosphene, name: str, *more: str) -> np.ndarray:
    assert phosphene(*ROBUST, name, "-c", "cat", *more).status == 0
    return raw(said()["items"][0])


def test_the_orientation_in_exif_is_obeyed(phosphene: Phosphene) -> None:
    image = noise()
    image.save("upright.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    image.transpose(Image.Transpose.ROTATE_90).save("turned.png", exif=exif)
    np.testing.assert_array_equal(picture_of(phosphene, "turned.png"), picture_of(phosphene, "upright.png"))


def test_transparency_is_laid_over_white(phosphene: Phosphene) -> None:
    image = noise().convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    image.save("clear.png")
    Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB").save("white.png")
    np.testing.assert_array_equal(picture_of(phosphene, "clear.png"), picture_of(phosphene, "white.png"))


def test_grey_and_sixteen_bits_are_read(phosphene: Phosphene) -> None:
    grey = np.asarray(noise().convert("L"))
    Image.fromarray(grey).save("grey.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save("deep.png")
    Image.fromarray(grey).convert("RGB").save("three.png")
    wanted = picture_of(phosphene, "three.png")
    for name in ("grey.png", "deep.png"):
        np.testing.assert_allclose(picture_of(phosphene, name), wanted, atol=1e-6)


@pytest.mark.parametrize("suffix", ["jpg", "webp", "bmp", "tiff", "gif", "ppm"])
def test_any_format_is_read(phosphene: Phosphene, suffix: str) -> None:
    noise().save(f"photo.{suffix}")
    assert np.abs(picture_of(phosphene, f"photo.{suffix}")).max() > 0


def test_what_may_mislead_is_told(phosphene: Phosphene) -> None:
    Image.new("RGB", (40, 40), (128, 128, 128)).save("grey.png")
    ran = phosphene(*ROBUST, "grey.png", "-c", "cat", "--method", "captum:GuidedBackprop")
    assert ran.status == 0
    assert "note: grey.png, captum:GuidedBackprop of logit:cat: captum:GuidedBackprop acts on modules" in ran.err


@pytest.mark.parametrize("after", [0, 1])
def test_ctrl_c_keeps_what_is_finished_and_says_what_is_missing(
    phosphene: Phosphene, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    monkeypatch.setattr(command, "AT_ONCE", 1)
    real, calls = command._Asking.of, list[Any]()

    def interrupted(asking: Any, photos: Any) -> Any:
        if len(calls) == after:
            raise KeyboardInterrupt
        calls.append(photos)
        return real(asking, photos)

    monkeypatch.setattr(command._Asking, "of", interrupted)
    for name in "abc":
        noise().save(f"{name}.png")
    ran = phosphene(*ROBUST, "a.png", "b.png", "c.png")
    assert ran.status == 1
    if not after:
        assert (ran.line, Path("out").exists()) == ("phosphene: interrupted", False)
        return
    missing = "missing are those of b.png, c.png (run.json lists them)"
    assert ran.line == f"interrupted: out holds 1 map; {missing}; the same line goes on"
    assert said()["missing"] == ["b.png", "c.png"]
    assert Path("out/contact_sheet.png").is_file()


PHOTOS = ("a.png", "b.txt", "c.png", "d.png", "e.png")


def half_explained(phosphene: Phosphene, monkeypatch: pytest.MonkeyPatch, *more: str) -> None:
    """Explains four photographs and one that is none into `whole`, and into `out` up to Ctrl-C in the second two."""
    monkeypatch.setattr(command, "AT_ONCE", 2)
    for k, name in enumerate(PHOTOS):
        noise(seed=k).save(name, "PNG")
    Path("b.txt").write_text("no picture")
    phosphene(*ROBUST, *PHOTOS, *more, "-o", "whole")
    of = command._Asking.of

    def stopped(self: Any, photos: Any) -> Any:
        if "d.png" in photos:
            raise KeyboardInterrupt
        return of(self, photos)

    with monkeypatch.context() as during:
        during.setattr(command._Asking, "of", stopped)
        assert phosphene(*ROBUST, *PHOTOS, *more, "-o", "out").status == 1


@pytest.mark.parametrize(
    "more", [("--method", "guided_backprop", "--method", "smoothgrad", "--contour"), ("-c", "cat", "-c", "dog")]
)
def test_the_same_line_goes_on_and_ends_in_the_same_files(
    phosphene: Phosphene, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...]
) -> None:
    half_explained(phosphene, monkeypatch, *more)
    asked = list[Any]()
    of = command._Asking.of

    def of_these(self: Any, photos: Any) -> Any:
        asked.append(list(photos))
        return of(self, photos)

    monkeypatch.setattr(command._Asking, "of", of_these)
    ran = phosphene(*ROBUST, *PHOTOS, *more, "-o", "out")
    assert ran.err.splitlines()[0] == "resumed: 2 of 5 photographs are in out already, of the same request"
    assert asked == [["d.png", "e.png"]]
    assert contents("out") == contents("whole")


def test_what_was_lost_or_changed_is_made_again(phosphene: Phosphene, monkeypatch: pytest.MonkeyPatch) -> None:
    half_explained(phosphene, monkeypatch)
    (first,) = Path("out").glob("a-*.png")
    (array,) = Path("out").glob("c-*.npy")
    first.write_bytes(next(Path("out").glob("c-*.png")).read_bytes())
    array.unlink()
    phosphene(*ROBUST, *PHOTOS, "-o", "out")
    assert contents("out") == contents("whole")


def test_another_photograph_under_the_name_is_another_request(phosphene: Phosphene, monkeypatch: pytest.MonkeyPatch) -> None:
    half_explained(phosphene, monkeypatch)
    noise(seed=9).save("a.png")
    ran = phosphene(*ROBUST, *PHOTOS, "-o", "out")
    assert ran.err.splitlines()[0] == "note: the unfinished run in out was of another request, and is not resumed"
    assert said()["items"][0]["score"] != said("whole")["items"][0]["score"]


def test_trust_is_measured_again(phosphene: Phosphene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("phosphene.cli.trust.MOST", 1)
    monkeypatch.setattr(measuring, "trust", partial(measuring.trust, stages=0))
    half_explained(phosphene, monkeypatch, "--trust", "-c", "cat")
    ran = phosphene(*ROBUST, *PHOTOS, "--trust", "-c", "cat", "-o", "out")
    assert "3 more maps a method are not measured" in ran.out
    assert contents("out") == contents("whole")


def test_rerun_refuses_a_map_in_one_line(phosphene: Phosphene) -> None:
    noise().save("photo.png")
    phosphene(*ROBUST, "photo.png", "-c", "cat")
    ran = phosphene("rerun", f"out/{said()['items'][0]['file']}")
    assert (ran.status, "verb is 'explain'; render is known" in ran.line) == (2, True)
