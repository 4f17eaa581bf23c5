from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import phosphene as ph
from phosphene.errors import ExtraError, ModelError, RequestError, UnknownNameError, WeightsError
from phosphene.network.opened import Request
from phosphene.network.sources import transformers as hf
from phosphene.network.sources.torchvision import _preprocess as torchvision_preprocess
from tests.nets import plain

IMAGENET: dict[str, Any] = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
# The export's own reader warns of itself in this torch.
OWN_WARNING = pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*:FutureWarning")


@pytest.fixture(scope="module")
def resnet() -> ph.Network:
    return ph.load("torchvision:resnet18?weights=none&size=32")


def test_torchvision_brings_preprocessing_and_names(resnet: ph.Network) -> None:
    assert resnet.preprocess == ph.Preprocess(size=32, resize=256, **IMAGENET)
    assert len(resnet.classes) == 1000
    assert resnet.classes[resnet.index("goldfish")] == "goldfish"
    assert resnet.notes == ()


def test_a_residual_network_is_known_exactly(resnet: ph.Network) -> None:
    layers = {layer.address: layer for layer in resnet.layers(size=64)}
    field = layers["layer1"].receptive_field
    assert field is not None
    assert (field.size, field.stride, field.exact) == ((43, 43), (4, 4), True)  # 7 + 2·2 + 4·(2·4)
    assert all(layer.receptive_field and layer.receptive_field.exact for layer in layers.values())
    assert layers["layer1.0.relu"].calls == 2


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_networks_that_change_their_input_do_not_do_it_again(name: str) -> None:
    net = ph.load(f"torchvision:{name}?weights=none&size=96")
    assert not net.module.transform_input
    assert len(net.classes) == 1000


def test_an_unknown_torchvision_network_tells_the_three_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"no torchvision network 'resnet8'; nearest: resnet18, resnet34, resnet50$"):
        ph.load("torchvision:resnet8?weights=none")


def test_unknown_torchvision_weights_tell_which_there_are() -> None:
    with pytest.raises(UnknownNameError, match="no weights 'V9'; nearest: IMAGENET1K_V1, DEFAULT, none"):
        ph.load("torchvision:resnet18?weights=V9")


@pytest.mark.parametrize("tag", ["", "?weights=IMAGENET1K_V1"])
def test_torchvision_weights_that_cannot_be_had_tell_the_ways_out(monkeypatch: pytest.MonkeyPatch, tag: str) -> None:
    from torchvision.models import _api

    def offline(*_: Any, **__: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(_api.WeightsEnum, "get_state_dict", offline)
    with pytest.raises(
        WeightsError, match=r"torchvision:resnet18 cannot be had \(no route to host\); offline, give \?weights=FILE"
    ):
        ph.load(f"torchvision:resnet18{tag}")


def test_a_torchvision_network_that_cannot_be_made_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import models

    def failing(*_: Any, **__: Any) -> None:
        raise ValueError("not today")

    monkeypatch.setattr(models, "get_model", failing)
    with pytest.raises(ModelError, match="torchvision:resnet18 cannot be made: not today"):
        ph.load("torchvision:resnet18?weights=none")


def test_a_torchvision_network_without_weights_tells_no_preprocessing() -> None:
    assert torchvision_preprocess(None) is None


def test_torchvision_weights_come_from_a_file(tmp_path: Path, resnet: ph.Network) -> None:
    torch.save({"model": {f"module.{k}": v for k, v in resnet.module.state_dict().items()}}, tmp_path / "w.pth")
    other = ph.load(f"torchvision:resnet18?seed=4&size=32&weights={tmp_path}/w.pth")
    assert other.sha256() == resnet.sha256()


def test_timm_brings_preprocessing_and_names() -> None:
    net = ph.load("timm:test_resnet.r160_in1k?weights=none")
    assert net.preprocess == ph.Preprocess(size=160, resize=168, mean=0.5, std=0.5)
    assert net.index("goldfish") == net.index("Carassius auratus") == 1


def test_an_unknown_timm_network_tells_the_three_nearest() -> None:
    with pytest.raises(UnknownNameError, match="no timm network 'resnet81'; nearest: resnet18, "):
        ph.load("timm:resnet81?weights=none")


def test_an_unknown_timm_tag_is_refused() -> None:
    with pytest.raises(ModelError, match=r"timm:resnet18.nosuchtag cannot be had \(Invalid pretrained tag"):
        ph.load("timm:resnet18.nosuchtag?weights=none")


def test_timm_weights_that_cannot_be_had_tell_the_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    def offline(*_: Any, **__: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(
        WeightsError, match=r"cannot be had \(no route to host\); offline, give \?weights=FILE or \?weights=none"
    ):
        ph.load("timm:test_resnet")


def test_timm_tags_stand_in_the_name() -> None:
    with pytest.raises(RequestError, match="timm names its weights in the network's name"):
        ph.load("timm:resnet18?weights=a1_in1k")


def test_a_timm_network_of_other_classes_has_none_of_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    import timm.data

    monkeypatch.setattr(timm.data, "infer_imagenet_subset", lambda _: None)
    assert ph.load("timm:test_resnet?weights=none").classes[:2] == ("0", "1")


@pytest.mark.parametrize(
    ("reference", "library", "words"),
    [
        ("torchvision:resnet18", "torchvision", r"torchvision is not installed; pip install 'phosphene\[torchvision\]'"),
        ("timm:resnet18", "timm", r"timm does not import \(.*\); pip install 'phosphene\[timm\]'"),
        ("hf:a/b", "transformers", r"transformers does not import \(.*\); pip install 'phosphene\[hf\]'"),
    ],
)
def test_a_library_that_is_missing_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, reference: str, library: str, words: str
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ExtraError, match=words) as caught:
        ph.load(reference)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("reference", "library"), [("torchvision:resnet18", "torchvision"), ("timm:resnet18", "timm")])
def test_a_library_built_for_another_torch_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, reference: str, library: str
) -> None:
    (tmp_path / library).mkdir()
    (tmp_path / library / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, library, raising=False)
    with pytest.raises(ExtraError, match=r"does not import here \(operator torchvision::nms does not exist\); install the"):
        ph.load(reference)


PROCESSOR = {
    "do_center_crop": True,
    "crop_size": {"height": 32, "width": 40},
    "size": {"shortest_edge": 48},
    "resample": 3,
    "image_mean": [0.1, 0.2, 0.3],
    "image_std": [0.4, 0.5, 0.6],
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder made by save_pretrained of a tiny residual network."""
    import transformers

    folder = tmp_path_factory.mktemp("hf")
    names = {0: "cat", 1: "dog", 2: "ship"}
    config = transformers.ResNetConfig(
        embedding_size=4,
        hidden_sizes=[4, 8],
        depths=[1, 1],
        layer_type="basic",
        id2label=names,
        label2id={name: index for index, name in names.items()},
    )
    with torch.random.fork_rng():
        transformers.ResNetForImageClassification(config).save_pretrained(folder)
    return folder


def with_processor(folder: Path, **said: Any) -> Path:
    (folder / "preprocessor_config.json").write_text(json.dumps(said))
    return folder


def test_a_saved_folder_brings_preprocessing_and_names(saved: Path) -> None:
    net = ph.load(f"hf:{with_processor(saved, **PROCESSOR)}")
    expected = ph.Preprocess(size=(32, 40), resize=48, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), interpolation="bicubic")
    assert net.preprocess == expected
    assert net.classes == ("cat", "dog", "ship")


def test_a_saved_folder_gives_the_scores_of_the_library(saved: Path) -> None:
    import transformers

    module = transformers.ResNetForImageClassification.from_pretrained(saved).eval()
    net = ph.load(f"hf:{with_processor(saved, **PROCESSOR)}")
    pictures = torch.rand(2, 3, 32, 40)
    torch.testing.assert_close(net.scores(pictures), module(net.preprocess.forward(pictures)).logits.detach())


@pytest.mark.parametrize(
    ("id2label", "classes"),
    [
        ({0: "cat", 1: "dog"}, ("cat", "dog")),
        ({1: "dog", 0: "cat"}, ("cat", "dog")),
        (None, ("0", "1")),
        ({0: "cat"}, ("0", "1")),
        ({0: "cat", 2: "dog"}, ("0", "1")),
    ],
)
def test_a_hugging_face_network_given_directly_has_its_labels(id2label: Any, classes: tuple[str, ...]) -> None:
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    module.config = SimpleNamespace(id2label=id2label)  # type: ignore[assignment]
    assert ph.Network(module, ph.Preprocess(size=8)).classes == classes
    assert ph.Network(module, ph.Preprocess(size=8), ["a", "b"]).classes == ("a", "b")


@pytest.mark.parametrize(
    ("name", "words"), [("fcn_resnet50", "segmentation"), ("ssdlite320_mobilenet_v3_large", "detection"), ("r3d_18", "video")]
)
def test_a_torchvision_network_of_another_task_is_told(name: str, words: str) -> None:
    with pytest.raises(ModelError, match=f"must be a classifier of pictures, got a {words} network"):
        ph.load(f"torchvision:{name}?weights=none")


def test_random_weights_are_made_of_the_configuration(saved: Path) -> None:
    with_processor(saved, **PROCESSOR)
    random, trained = ph.load(f"hf:{saved}?weights=none"), ph.load(f"hf:{saved}")
    assert random.sha256() != trained.sha256()
    assert random.classes == trained.classes


def test_weights_of_a_folder_come_from_a_file(saved: Path) -> None:
    net = ph.load(f"hf:{with_processor(saved, **PROCESSOR)}?weights={saved}/model.safetensors")
    assert net.sha256() == ph.load(f"hf:{saved}").sha256()


def said_preprocess(saved: Path, **said: Any) -> dict[str, Any]:
    return hf.load_transformers(Request(str(with_processor(saved, **said)))).preprocess or {}


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"size": 36}, {"size": (36, 36), "resize": None, "interpolation": "bilinear"}),
        ({"size": {"height": 20, "width": 24}, "resample": 0}, {"size": (20, 24), "interpolation": "nearest"}),
        ({"size": {"longest_edge": 20}}, {"size": (224, 224), "resize": None}),
        ({"size": {"shortest_edge": 224}, "crop_pct": 0.875}, {"size": (224, 224), "resize": 256}),
        ({"size": {"shortest_edge": 384}, "crop_pct": 0.875}, {"size": (384, 384), "resize": None}),
        ({"size": 36, "crop_size": 32, "do_center_crop": False}, {"size": (36, 36), "resize": None}),
        ({"size": 36, "do_rescale": False}, {"range": (0.0, 255.0)}),
        ({"size": 36, "image_mean": [1, 2, 3], "image_std": [1, 1, 1]}, {"mean": (1, 2, 3), "channels": 3}),
    ],
)
def test_every_way_of_writing_a_processor_is_read(saved: Path, said: dict[str, Any], expected: dict[str, Any]) -> None:
    found = said_preprocess(saved, **said)
    assert expected.items() <= found.items()


def test_a_processor_that_does_not_normalise_has_no_mean(saved: Path) -> None:
    found = said_preprocess(saved, size=36, do_normalize=False, image_mean=[1, 2, 3], image_std=[1, 1, 1])
    assert "mean" not in found


def test_without_a_processor_the_size_is_that_of_the_configuration(saved: Path) -> None:
    import transformers

    (saved / "preprocessor_config.json").unlink(missing_ok=True)
    config = transformers.AutoConfig.from_pretrained(saved)
    assert hf._preprocess(str(saved), config) is None
    config.image_size = 48
    assert hf._preprocess(str(saved), config) == {"size": 48, "channels": 3}


def test_a_network_given_directly_brings_what_its_folder_says(saved: Path) -> None:
    import transformers

    folder = with_processor(saved, **PROCESSOR)
    net = ph.Network(transformers.ResNetForImageClassification.from_pretrained(folder))
    assert net.preprocess == ph.load(f"hf:{folder}").preprocess
    assert [note for note in net.notes if "preprocessing" in note] == [
        "no preprocessing was given: that of the image processor's file beside the weights was taken"
    ]
    stated = ph.Preprocess(size=32)
    given = ph.Network(transformers.ResNetForImageClassification.from_pretrained(folder), stated)
    assert given.preprocess == stated
    assert given.notes == ()


def test_a_network_of_a_configuration_brings_its_side() -> None:
    import transformers

    config = transformers.ViTConfig(
        image_size=48, patch_size=16, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        num_channels=1,
    )  # fmt: skip
    with torch.random.fork_rng():
        net = ph.Network(transformers.ViTForImageClassification(config))
    assert (net.preprocess.sides, net.preprocess.channels) == ((48, 48), 1)
    assert net.notes == ("no preprocessing was given: pictures in [0, 1] go in as they are",)


def test_a_name_that_is_not_here_is_not_asked_for(monkeypatch: pytest.MonkeyPatch, saved: Path) -> None:
    import transformers

    module = transformers.ResNetForImageClassification.from_pretrained(saved)
    module.config.name_or_path = "nobody/has-this"
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("the network was asked"))
    assert ph.Network(module).preprocess.sides == (224, 224)


@pytest.mark.parametrize(
    ("reference", "kind", "words"),
    [
        ("hf:", ModelError, "hf: needs ORG/NAME, as in hf:microsoft/resnet-50"),
        ("hf:a/b?weights=V1", RequestError, r"hf: takes \?weights=none or a file"),
        ("hf:/no/such/folder/anywhere", ModelError, r"cannot be had \(.*\); ORG/NAME of an image classifier, or its folder"),
    ],
)
def test_what_is_not_on_the_hub_is_refused(reference: str, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        ph.load(reference)


def exported(path: Path, module: nn.Module, shape: tuple[int, ...] = (2, 3, 12, 16), **dynamic: Any) -> str:
    program = torch.export.export(module.eval(), (torch.rand(shape),), **dynamic)
    torch.export.save(program, path)
    return str(path)


FREE = {"dynamic_shapes": ({0: torch.export.Dim("b")},)}


@OWN_WARNING
@pytest.mark.parametrize("dynamic", [{}, FREE], ids=["fixed batch", "free batch"])
def test_an_export_gives_what_its_module_gives(tmp_path: Path, dynamic: dict[str, Any]) -> None:
    module, pictures = plain(), torch.rand(5, 3, 12, 16)
    net = ph.load(exported(tmp_path / "m.pt2", module, **dynamic))
    torch.testing.assert_close(net.scores(pictures), module(pictures).detach())
    assert net.batch == (None if dynamic else 2)
    assert net.preprocess == ph.Preprocess(size=(12, 16))
    assert "an export does not tell its preprocessing" in net.notes[0]


@OWN_WARNING
@pytest.mark.parametrize("dynamic", [{}, FREE], ids=["fixed batch", "free batch"])
def test_an_export_keeps_its_addresses_and_its_gradient(tmp_path: Path, dynamic: dict[str, Any]) -> None:
    module, pictures = nn.Sequential(*plain().children()), torch.rand(3, 3, 12, 16).requires_grad_(True)
    net = ph.load(exported(tmp_path / "m.pt2", module, **dynamic))
    with net.reading() as read:
        given = read(pictures, {"3", ""})
        (found,) = torch.autograd.grad(given["3"].sum(), pictures)
    (expected,) = torch.autograd.grad(module[:4](pictures).sum(), pictures)
    torch.testing.assert_close(found, expected)
    fields = {layer.address: layer.receptive_field for layer in net.layers()}
    assert fields["3"] == ph.Network(module, net.preprocess).layers()[3].receptive_field


@OWN_WARNING
def test_an_export_of_any_size_asks_for_one(tmp_path: Path) -> None:
    sides = {2: torch.export.Dim("h", min=8), 3: torch.export.Dim("w", min=8)}
    path = exported(tmp_path / "m.pt2", nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 3), Means()), dynamic_shapes=(sides,))
    with pytest.raises(RequestError, match="says channels but no size; add size=224"):
        ph.load(path)
    assert ph.load(f"{path}?size=20").scores(torch.rand(2, 3, 20, 20)).shape == (2, 5)


class Means(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


@OWN_WARNING
def test_an_export_that_takes_no_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"the program takes inputs \[\(2, 3\)\]; one batch of pictures \(b, c, h, w\)"):
        ph.load(exported(tmp_path / "m.pt2", nn.Linear(3, 2), (2, 3)))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not an archive", b"text"])
def test_a_broken_export_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.pt2").write_bytes(content)
    with pytest.raises(ModelError, match=r"m.pt2 is not a whole torch.export program"):
        ph.load(f"{tmp_path}/m.pt2")


def v2(lab: Path) -> str:
    return f"{lab}/mobilenets.py:MobileNetV2?weights={lab}/mobilenet_v2_imagenet.safetensors&classes={lab}/classes.json"


SEEN = "&size=224&mean=0.5&std=0.5"


@pytest.mark.lab
def test_a_real_network_knows_real_photographs(lab: Path) -> None:
    net = ph.load(v2(lab) + SEEN)
    photos = sorted((lab / "photos").glob("*.jpg"))[::10]
    pictures = torch.cat([net.preprocess.fit(ph.read(photo)) for photo in photos])
    truth = torch.tensor([int(photo.name[:4]) for photo in photos])
    assert len(photos) >= 15
    assert (net.scores(pictures).argmax(1) == truth).float().mean() > 0.6


@pytest.mark.lab
def test_every_layer_of_a_real_network_has_a_field(lab: Path) -> None:
    net = ph.load(v2(lab) + SEEN)
    layers = net.layers()
    assert all(layer.receptive_field is not None for layer in layers)
    assert layers[-1].kind == "Linear"
    assert len(net.classes) == 1000
