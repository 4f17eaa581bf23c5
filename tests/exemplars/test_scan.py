"""`examples` against running everything and sorting it; shards, checkpoints, bad input."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

import phosphene as ph
from phosphene.errors import FolderError, Interrupted, PictureError, RequestError, UnknownNameError
from phosphene.exemplars.examples import Examples, merged
from phosphene.exemplars.scan import CHECKPOINT
from phosphene.exemplars.state import State
from phosphene.pictures.colour import image_of
from tests.nets import network, of_channels

UNITS = ["channel:1:*", "channel:4:0-2", "neuron:3:2,1,4", "logit:1 - logit:2"]


def pictures(count: int = 30, size: int = 12, levels: int = 4) -> Tensor:
    """Few levels and items that come twice make ties."""
    numbers = torch.Generator().manual_seed(0)
    some = torch.randint(0, levels, (count, 3, size, size), generator=numbers) / (levels - 1)
    some[count // 2] = some[-1]
    return some


def same(one: Examples, other: Examples) -> None:
    for name in ("values", "indices", "places", "boxes", "windows", "histogram"):
        assert torch.equal(getattr(one, name).nan_to_num(-9), getattr(other, name).nan_to_num(-9)), name
    assert all(torch.equal(a, b) for a, b in zip(one.stats, other.stats, strict=True))
    assert one.entries == other.entries
    assert (one.seen, one.refused, one.refusals) == (other.seen, other.refused, other.refusals)


def test_ranks_are_those_of_sorting_every_picture() -> None:
    net, data = network("plain"), pictures()
    found = ph.examples(net, data, UNITS, top=7, batch=8)
    # In the same batches: the last bits of a convolution depend on them.
    maps = {a: torch.cat([net.features(some, a) for some in data.split(8)]) for a in ("1", "4", "3")}
    scores = torch.cat([net.scores(some) for some in data.split(8)])
    values = [maps["1"].amax((2, 3)), maps["4"].amax((2, 3))[:, :3], maps["3"][:, 2, 1, 4][:, None]]
    whole = torch.cat([*values, (scores[:, 1] - scores[:, 2])[:, None]], 1)
    for row in range(len(found)):
        order = sorted(range(30), key=lambda i: (-float(whole[i, row]), i))[:7]
        assert found.indices[row].tolist() == order
        assert torch.equal(found.values[row], whole[order, row])


def test_places_are_the_first_of_the_largest() -> None:
    net, data = network("plain"), pictures()
    found = ph.examples(net, data, "channel:1:*", top=4, batch=8)
    maps = torch.cat([net.features(some, "1") for some in data.split(8)])
    for row in range(8):
        for index, (y, x) in zip(found.indices[row].tolist(), found.places[row].tolist(), strict=True):
            assert y * 12 + x == maps[index, row].flatten().argmax()


def test_a_picture_may_stand_in_a_row_with_all_its_places() -> None:
    net, data = network("plain"), pictures(4)
    found = ph.examples(net, data, "channel:1:0", top=600, one_per_picture=False, batch=4)
    maps = net.features(data, "1")[:, 0].flatten(1)
    entries = sorted((-float(maps[i, p]), i, p) for i in range(4) for p in range(144))
    told = zip(found.indices[0].tolist(), found.places[0].tolist(), strict=True)
    assert [(i, y * 12 + x) for i, (y, x) in told if i >= 0] == [(i, p) for _, i, p in entries]
    assert (found.indices[0, 576:] == -1).all()


def test_the_lowest_are_the_highest_of_the_turned_sign() -> None:
    net, data = network("plain"), pictures()
    lowest = ph.examples(net, data, "logit:1", top=1, bottom=5).bottom
    highest = ph.examples(net, data, -ph.logit(1), top=5)
    assert lowest is not None
    assert torch.equal(lowest.indices, highest.indices)
    assert torch.equal(lowest.values, -highest.values)


def test_statistics_are_of_all_places() -> None:
    net, data = network("plain"), pictures()
    found = ph.examples(net, data, "channel:1:*", batch=8)
    maps = torch.cat([net.features(some, "1") for some in data.split(8)]).transpose(0, 1).flatten(1).double()
    torch.testing.assert_close(found.stats.mean.double(), maps.mean(1))
    torch.testing.assert_close(found.stats.spread.double(), maps.std(1, correction=0))
    torch.testing.assert_close(found.stats.sparsity.double(), (maps <= 0).double().mean(1))
    assert found.stats.dead.tolist() == (maps <= 0).all(1).tolist()
    assert found.histogram.sum(1).tolist() == [30] * 8


def test_shards_merge_in_any_order() -> None:
    net, data = network("plain"), [*pictures(), None]
    parts = [ph.examples(net, data, UNITS, top=6, shard=(i, 3), batch=1) for i in range(3)]
    whole = ph.examples(net, data, UNITS, top=6, batch=1)
    for seed in range(4):
        random.Random(seed).shuffle(parts)
        same(merged(net, parts), whole)


def test_shards_that_share_items_do_not_merge() -> None:
    net = network("plain")
    one, other = (ph.examples(net, pictures(6), "logit:1", shard=shard) for shard in ((0, 2), (2, 4)))
    with pytest.raises(RequestError, match="0 of 2 and 2 of 4 hold the same items"):
        merged(net, [one, other])


def test_scans_of_other_units_do_not_merge() -> None:
    net = network("plain")
    one = ph.examples(net, pictures(6), "logit:1", shard=(0, 2))
    other = ph.examples(net, pictures(6), "logit:2", shard=(1, 2))
    with pytest.raises(RequestError, match="is of objectives"):
        merged(net, [one, other])


class Few(IterableDataset[Tensor]):
    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(pictures())


def test_an_iterable_data_set_gives_the_same() -> None:
    net = network("plain")
    one, other = (ph.examples(net, data, UNITS, top=3, batch=8) for data in (Few(), pictures()))
    same(one, other)
    assert all(
        torch.equal(a, b) for row in zip(one.patches([0]), other.patches([0]), strict=True) for a, b in zip(*row, strict=True)
    )


@pytest.mark.parametrize("habit", ["inplace", "functional", "dict", "random at training", "frozen"])
def test_networks_of_every_habit_are_ranked(habit: str) -> None:
    net = network(habit)
    found = ph.examples(net, pictures(5), "logit:1", top=5, batch=5)
    assert torch.equal(found.values[0], net.scores(pictures(5))[found.indices[0], 1])


@pytest.mark.parametrize("channels", [1, 2, 11])
def test_pictures_of_any_number_of_channels_are_ranked(channels: int) -> None:
    found = ph.examples(of_channels(channels), torch.rand(4, channels, 12, 16), "channel:3:1", top=2)
    assert {patch.shape[0] for patch in found.patches()[0]} == {channels}


def test_the_module_and_the_random_numbers_are_left_as_they_were() -> None:
    net = network("random at training")
    before = {name: tensor.clone() for name, tensor in net.module.state_dict().items()}
    rng = torch.random.get_rng_state()
    ph.examples(net, pictures(5), "channel:2:*")
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.module.state_dict().items())
    assert net.module.training
    assert not any(part._forward_hooks for part in net.module.modules())
    assert torch.equal(torch.random.get_rng_state(), rng)


def test_what_is_no_picture_is_counted_and_named() -> None:
    data = [pictures(1)[0], None, "a text", torch.full((3, 12, 12), 7.0), torch.full((3, 4, 4), torch.nan), pictures(1)[0]]
    found = ph.examples(network("plain"), data, "logit:1", top=5)
    assert (found.seen, found.refused) == (2, 4)
    assert [one.index for one in found.refusals] == [1, 2, 3, 4]
    assert "reaches from 7 to 7" in found.refusals[2].reason
    assert found.indices[0].tolist() == [0, 5, -1, -1, -1]
    assert "4 items are no pictures" in found.notes[0]
    (note,) = ph.examples(network("plain"), data[:2], "logit:1").notes
    assert note.startswith("one item is no picture and was left out: item-1: it is None")


def test_data_without_a_single_picture_say_why() -> None:
    with pytest.raises(PictureError, match=r"none of 2 items of list is a picture; the first: item-0: it is None"):
        ph.examples(network("plain"), [None, None], "logit:1")
    with pytest.raises(PictureError, match=r"the one item read of list is no picture: item-0: it is None"):
        ph.examples(network("plain"), [None], "logit:1")


def test_a_layer_that_is_not_there_is_named() -> None:
    with pytest.raises(UnknownNameError, match=r"no layer 'nowhere'"):
        ph.examples(network("plain"), pictures(2), "channel:nowhere:*")


def test_a_channel_that_is_not_there_is_named() -> None:
    with pytest.raises(RequestError, match="channel 8 is outside 1"):
        ph.examples(network("plain"), pictures(2), "channel:1:8")


def test_a_folder_that_cannot_be_written_is_told_before_the_scan(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderError, match="cannot be written"):
        ph.examples(network("plain"), pictures(2), "logit:1", folder=tmp_path / "file")


def stopping(after: int) -> object:
    def on_batch(done: int, total: int | None) -> None:
        if done >= after:
            raise KeyboardInterrupt

    return on_batch


@pytest.mark.parametrize("after", [1, 9, 30])
def test_an_interrupted_scan_goes_on_as_if_it_had_not_been(tmp_path: Path, after: int) -> None:
    net, data = network("plain"), [*pictures(), None]
    whole = ph.examples(net, data, UNITS, top=6, batch=4)
    with pytest.raises(Interrupted) as stop:
        ph.examples(net, data, UNITS, top=6, batch=4, folder=tmp_path, on_batch=stopping(after))  # type: ignore[arg-type]
    assert stop.value.partial.seen >= after
    calls: list[int] = []
    again = ph.examples(net, data, UNITS, top=6, batch=4, folder=tmp_path, on_batch=lambda done, _: calls.append(done))
    same(again, whole)
    assert calls == [
        done for done in (4, 8, 12, 16, 20, 24, 28, 31) if done > stop.value.partial.seen + stop.value.partial.refused
    ]
    again = ph.examples(net, data, UNITS, top=6, batch=4, folder=tmp_path, on_batch=stopping(0))  # type: ignore[arg-type]
    same(again, whole)  # it is finished: nothing runs


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"objectives": ["logit:2"]}, "objectives"),
        ({"top": 3}, "top"),
        ({"batch": 5}, "batch"),
        ({"data": pictures(29)}, "data"),
        ({"net": network("functional")}, "model"),
        ({"shard": (0, 2)}, "shard"),
    ],
)
def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path, change: dict[str, object], word: str) -> None:
    asked = {"net": network("plain"), "data": pictures(), "objectives": ["logit:1"], "top": 2, "folder": tmp_path, "batch": 4}
    ph.examples(**asked)  # type: ignore[arg-type]
    with pytest.raises(RequestError, match=word):
        ph.examples(**{**asked, **change})  # type: ignore[arg-type]


def test_what_differs_in_a_checkpoint_is_named(tmp_path: Path) -> None:
    ph.examples(network("plain"), pictures(4), "channel:1:*", folder=tmp_path)
    said = """objectives 'channel:"1":3' and 7 more, this one of 'channel:"1":2' and 2 more; the same"""
    with pytest.raises(RequestError, match=said):
        ph.examples(network("plain"), pictures(4), "channel:1:0-2", folder=tmp_path)


@pytest.mark.parametrize("content", [b"", b"junk", b"\x08\x00\x00\x00\x00\x00\x00\x00{}      ", None])
def test_a_checkpoint_that_is_none_is_refused(tmp_path: Path, content: bytes | None) -> None:
    net = network("plain")
    ph.examples(net, pictures(4), "logit:1", folder=tmp_path)
    file = tmp_path / CHECKPOINT
    file.write_bytes(file.read_bytes()[:-9] if content is None else content)
    with pytest.raises(RequestError, match=r"is no scan that can go on.*take it away"):
        ph.examples(net, pictures(4), "logit:1", folder=tmp_path)


def test_a_damaged_bit_of_a_checkpoint_is_noticed(tmp_path: Path) -> None:
    net = network("plain")
    ph.examples(net, pictures(4), "logit:1", folder=tmp_path)
    whole = (tmp_path / CHECKPOINT).read_bytes()
    draw = random.Random(7)
    for at in [len(whole) - 1, *(draw.randrange(len(whole)) for _ in range(60))]:
        (tmp_path / CHECKPOINT).write_bytes(whole[:at] + bytes([whole[at] ^ 1 << draw.randrange(8)]) + whole[at + 1 :])
        with pytest.raises(RequestError, match=r"scan\.safetensors' is no scan that can go on"):
            ph.examples(net, pictures(4), "logit:1", folder=tmp_path)


def test_the_file_that_has_changed_is_named(tmp_path: Path) -> None:
    net, data, out = network("plain"), tmp_path / "data", tmp_path / "out"
    data.mkdir()
    for i, one in enumerate(pictures(4)):
        image_of(one).save(data / f"{i}.png")
    ph.examples(net, data, "logit:1", folder=out)
    image_of(pictures(1, size=9)[0]).save(data / "2.png")
    with pytest.raises(RequestError, match=r"other data: '.*2\.png' is new or has changed; 1 of the files of then are gone"):
        ph.examples(net, data, "logit:1", folder=out)
    (data / "2.png").unlink()
    with pytest.raises(RequestError, match=r"other data: 1 of the files of then are gone or have changed; the same"):
        ph.examples(net, data, "logit:1", folder=out)
    paths = [data / f"{i}.png" for i in (0, 1, 3, 0)]
    ph.examples(net, paths, "logit:1", folder=tmp_path / "again")
    with pytest.raises(RequestError, match="the files are in another order"):
        ph.examples(net, paths[::-1], "logit:1", folder=tmp_path / "again")


def test_a_ceiling_is_told() -> None:
    """After a ReLU6 the best are all 6: their order is that of the data alone."""
    first, data = torch.nn.Conv2d(3, 2, 1), torch.rand(9, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        first.weight.fill_(100)
    module = torch.nn.Sequential(first, torch.nn.ReLU6(), torch.nn.Flatten(), torch.nn.Linear(288, 2))
    found = ph.examples(ph.Network(module, ph.Preprocess(size=12)), data, ["channel:0:*", "channel:1:*"], top=3)
    (note,) = found.notes
    assert note.startswith("1: the best of 2 of 2 units are all equal")
    assert found.indices[2:].tolist() == [[0, 1, 2]] * 2


def test_a_checkpoint_of_other_tensors_is_refused(tmp_path: Path) -> None:
    net, data = network("plain"), pictures()
    for folder, units in (("three", "channel:4:0-2"), ("four", "channel:4:0-3")):
        ph.examples(net, data, units, top=6, folder=tmp_path / folder)
    three, four = (State.load(tmp_path / folder / CHECKPOINT) for folder in ("three", "four"))
    replace(four, about=three.about).save(tmp_path / "three" / CHECKPOINT)
    with pytest.raises(RequestError, match=r"the scan in .* does not fit these units; take it away to begin anew"):
        ph.examples(net, data, "channel:4:0-2", top=6, folder=tmp_path / "three")
