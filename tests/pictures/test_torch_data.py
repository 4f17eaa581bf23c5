"""DataLoaders, and torchvision's data sets with a Normalize among their transforms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset, SubsetRandomSampler, TensorDataset
from torchvision import transforms
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

import phosphene as ph
from phosphene.pictures.data import open_data
from tests.nets import made

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PIXELS = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
DATA = TensorDataset(PIXELS)


def pictures(data: Any, **more: Any) -> torch.Tensor:
    return torch.cat([batch.pictures for batch in open_data(data, **more).batches(lambda picture: picture, 4)])


@pytest.mark.parametrize(
    "loader", [DataLoader(DATA, 2), DataLoader(DATA, 4, shuffle=True), DataLoader(DATA, 5, drop_last=True)]
)
def test_of_a_loader_the_data_set_is_read_in_its_own_order(loader: Any) -> None:
    assert torch.equal(pictures(loader), PIXELS)


def test_a_sampler_of_a_subset_leaves_the_others_out() -> None:
    assert torch.equal(pictures(DataLoader(DATA, 2, sampler=SubsetRandomSampler([4, 1]))), PIXELS[[1, 4]])


def test_a_sampler_that_repeats_is_refused() -> None:
    sampler = torch.utils.data.RandomSampler(DATA, replacement=True)
    with pytest.raises(ph.PhospheneError, match=r"RandomSampler, which leaves items out or repeats them. Pass loader\.dataset"):
        open_data(DataLoader(DATA, 2, sampler=sampler))


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    for i, name in enumerate(("ant", "bee")):
        (tmp_path / name).mkdir()
        image = (PIXELS[i].permute(1, 2, 0) * 255).round().byte().numpy()
        Image.fromarray(image).save(tmp_path / name / f"{i}.png")
    return tmp_path


NORMALISING = {
    "v1": transforms.Compose([transforms.ToTensor(), transforms.Normalize(MEAN, STD)]),
    "nested": transforms.Compose(
        [transforms.Compose([transforms.ToTensor()]), transforms.Compose([transforms.Normalize(MEAN, STD)])]
    ),
    "v2": v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]),
}


@pytest.mark.parametrize("transform", NORMALISING.values(), ids=NORMALISING)
@pytest.mark.parametrize(
    "around", [lambda data: data, lambda data: Subset(data, [0, 1]), lambda data: ConcatDataset([data]), DataLoader]
)
def test_a_normalize_is_undone_and_told(transform: Any, around: Any, photographs: Path) -> None:
    plain = pictures(ImageFolder(photographs))
    with pytest.warns(
        UserWarning, match=r"normalises its pictures with mean \(0.485, 0.456, 0.406\) and std .* which is undone"
    ):
        found = pictures(around(ImageFolder(photographs, transform)))
    torch.testing.assert_close(found, plain, atol=1e-6, rtol=0)


def test_two_ways_of_normalising_are_refused(photographs: Path) -> None:
    other = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,) * 3, STD)])
    both: Any = ConcatDataset([ImageFolder(photographs, NORMALISING["v1"]), ImageFolder(photographs, other)])
    with pytest.raises(ph.PhospheneError, match="normalised in 2 ways; one is needed"):
        open_data(both)


class Normalised(Dataset[torch.Tensor]):
    """Tensors that nothing says are normalised."""

    def __len__(self) -> int:
        return len(PIXELS)

    def __getitem__(self, index: int) -> torch.Tensor:
        return (PIXELS[index] - 0.4) / 0.3


NET = ph.Network(made("plain", 8), ph.Preprocess(8, mean=0.4, std=0.3))


def test_verbs_over_data_take_normalised_tensors(tmp_path: Path) -> None:
    right, found = (
        ph.examples(NET, PIXELS, "channel:0:*", top=2),
        ph.examples(NET, Normalised(), "channel:0:*", top=2, normalised=True),
    )
    assert torch.equal(found.indices, right.indices)
    torch.testing.assert_close(found.values, right.values)
    index = ph.FeatureIndex.build(NET, Normalised(), tmp_path / "a.lance", normalised=True)
    assert index.query(PIXELS[2], k=1).features[0].id == "item-2"
    normalised = [(picture - 0.4) / 0.3 for picture in PIXELS]
    mean = ph.statistics(NET, normalised * 2, "3", normalised=True).layers["3"].mean
    torch.testing.assert_close(mean, ph.statistics(NET, list(PIXELS) * 2, "3").layers["3"].mean)


def test_statistics_take_a_folder_and_a_loader(tmp_path: Path) -> None:
    for i in range(8):
        Image.fromarray((PIXELS[i % 6] * 255).byte().permute(1, 2, 0).numpy()).save(tmp_path / f"{i}.png")
    whole = [ph.read(path) for path in sorted(tmp_path.iterdir())]
    right = ph.statistics(NET, whole, "3").layers["3"].mean
    assert torch.equal(ph.statistics(NET, tmp_path, "3").layers["3"].mean, right)
    assert torch.equal(ph.statistics(NET, DataLoader(TensorDataset(torch.cat(whole)), 3), "3").layers["3"].mean, right)
