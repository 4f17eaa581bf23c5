"""Question: what is asked of pictures, checked once; what every method that makes maps is given."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from .. import checks
from ..errors import RequestError, shown
from ..network.network import Network, is_out_of_memory
from ..objectives.expression import Objective, values
from ..objectives.likeness import file_of
from ..objectives.spec import Meant, coerce, listed
from ..objectives.units import OUTPUT, ClassUnit, logit
from ..pictures.converting import Converter, Pictures, read
from ..seeding import stream_seed

# Of all pictures that go through at once: 16 of 224 px on a CPU, 64 elsewhere. On a CPU 16 are a quarter quicker than 4 for
# ResNet-50, and up to a quarter slower for MobileNetV2, which is quick.
CPU_PIXELS, CHUNK_PIXELS = 810_000, 3_300_000
LARGEST_CHUNK = 64

Asked = Meant | Sequence[Meant] | Tensor | np.ndarray[Any, Any] | None
Job = TypeVar("Job")
Part = TypeVar("Part")


@dataclass(frozen=True, eq=False)
class Question:
    """Pictures, and what is asked of each.

    pictures   (b, c, h, w) in [0, 1], of the network's size, on its device
    asked      the objectives as they were given, one per picture; `resolved` has indices for class names
    images     names of the pictures
    chunk      pictures that go through the network at once
    """

    net: Network
    pictures: Tensor
    asked: tuple[Objective, ...]
    resolved: tuple[Objective, ...]
    images: tuple[str, ...]
    seed: int
    chunk: int

    @classmethod
    def of(
        cls,
        net: Network,
        photos: Pictures,
        objective: Asked = None,
        *,
        images: Sequence[str] | None = None,
        seed: int = 0,
        chunk: int | None = None,
    ) -> Question:
        """Photographs of any size are fitted as in training, those of the network's own size are taken as they are.

        objective: one for all pictures, one per picture, or several for one picture; None: each picture's likeliest class.
        """
        with torch.inference_mode(False), torch.no_grad():
            pictures = fitted(net, photos)
            at_once = _chunk_for(pictures) if chunk is None else checks.whole("chunk", chunk, low=1)
            if objective is None:
                asked = _likeliest(net, pictures, at_once)
            else:
                asked = tuple(coerce(one, net.index) for one in listed(objective))
            pictures, asked, names = _paired(pictures, asked, _names(images, len(pictures)))
            # By identity: logit(1) and the text logit:1 are equal, yet may name two classes.
            found = {
                key: one.resolved(net.index, net.link).bound(_features(net)) for key, one in {id(o): o for o in asked}.items()
            }
            resolved = _checked(net, tuple(found[id(one)] for one in asked))
        return cls(net, pictures, asked, resolved, names, checks.seed(seed), at_once)

    def __len__(self) -> int:
        return len(self.pictures)

    @property
    def reads(self) -> frozenset[str]:
        """The addresses that the objectives need."""
        return frozenset().union(*(objective.reads for objective in self.resolved))

    @property
    def network_seed(self) -> int:
        """For `Network.reading`."""
        return stream_seed(self.seed, "network")

    def target(self, i: int) -> int | None:
        """The class, where objective i is one class's score or probability."""
        only = self.resolved[i].only
        return only.target if isinstance(only, ClassUnit) and isinstance(only.target, int) else None

    def mean_picture(self) -> Tensor:
        """(1, c, h, w): what stands for nothing."""
        h, w = self.pictures.shape[-2:]
        return self.net.preprocess.mean_picture((int(h), int(w))).to(self.pictures)

    def parts(
        self, jobs: Sequence[Job], run: Callable[[Sequence[Job]], Part], at_once: int | None = None
    ) -> Iterator[tuple[Sequence[Job], Part]]:
        """`run` on a chunk of jobs after another; running out of memory halves the chunk and goes on."""
        done, at_once = 0, at_once or self.chunk
        while done < len(jobs):
            some = jobs[done : done + at_once]
            try:
                part = run(some)
            except Exception as error:
                if not is_out_of_memory(error) or at_once == 1:
                    raise
                at_once //= 2
                continue
            done += len(some)
            yield some, part

    def value_of(self, jobs: Sequence[tuple[int, int]], seen: Callable[[int, int], Tensor], half: bool = False) -> Tensor:
        """The objectives' values (n,), on the CPU, at changed pictures: job (i, k) is objective i at `seen(i, k)` (c, h, w)."""
        with torch.no_grad(), self.net.reading(self.network_seed, half=half) as read:

            def run(some: Sequence[tuple[int, int]]) -> Tensor:
                pictures = torch.stack([seen(i, k) for i, k in some])
                # Convolutions on a CPU are faster on this layout.
                given = read(pictures.contiguous(memory_format=torch.channels_last), self.reads)
                return values([self.resolved[i] for i, _ in some], given).cpu()

            return torch.cat([part for _, part in self.parts(jobs, run)])

    def said(self) -> tuple[Tensor, Tensor | None]:
        """The objectives' values (b,) at the pictures, and the raw scores (b, classes) where an objective reads them."""
        with torch.inference_mode(False), torch.no_grad(), self.net.reading(self.network_seed) as read:

            def run(some: Sequence[int]) -> tuple[Tensor, Tensor | None]:
                given = read(self.pictures[some[0] : some[-1] + 1], self.reads)
                scores = given.get(OUTPUT)
                return values([self.resolved[i] for i in some], given).cpu(), None if scores is None else scores.cpu()

            parts = [part for _, part in self.parts(range(len(self)), run)]
        scores = [rows for _, rows in parts if rows is not None]
        return torch.cat([reached for reached, _ in parts]), torch.cat(scores) if scores else None

    def asking(self, objectives: Sequence[Objective]) -> Question:
        """The same pictures asked something else, one resolved objective per picture."""
        return replace(self, asked=tuple(objectives), resolved=tuple(objectives))


def fitted(net: Network, photos: Pictures) -> Tensor:
    """Photographs, one or several of different sizes, as pictures (b, c, h, w) of the network's size on its device."""
    notes: list[str] = []
    found = Converter(net.preprocess.channels, net.preprocess.bands, name="pictures").all_of(photos, notes)
    for note in notes:
        warnings.warn(note, stacklevel=3)
    return torch.cat([net.preprocess.taken(photo.to(net.device).clone()) for photo in found])


def _chunk_for(pictures: Tensor) -> int:
    pixels = CPU_PIXELS if pictures.device.type == "cpu" else CHUNK_PIXELS
    return max(1, min(LARGEST_CHUNK, pixels // (pictures.shape[-2] * pictures.shape[-1])))


def _likeliest(net: Network, pictures: Tensor, at_once: int) -> tuple[Objective, ...]:
    scores = torch.cat([net.scores(some) for some in pictures.split(at_once)])
    return tuple(logit(int(index)) for index in scores.argmax(1))


def _paired(
    pictures: Tensor, asked: tuple[Objective, ...], images: tuple[str, ...]
) -> tuple[Tensor, tuple[Objective, ...], tuple[str, ...]]:
    if len(asked) == 1:
        return pictures, asked * len(pictures), images
    if len(pictures) == 1 and asked:
        return pictures.expand(len(asked), -1, -1, -1).contiguous(), asked, images * len(asked)
    if len(asked) != len(pictures):
        raise RequestError(f"{len(asked)} objectives for {len(pictures)} pictures; one for all or one per picture is needed")
    return pictures, asked, images


def _names(images: Sequence[str] | None, count: int) -> tuple[str, ...]:
    if images is None:
        return tuple(f"picture-{i + 1}" for i in range(count))
    if isinstance(images, str) or len(images) != count:
        raise RequestError(f"images are {shown(images)}; {count} names are needed, one per picture")
    return tuple(images)


def _features(net: Network) -> Callable[[Tensor | str, str], Tensor]:
    """What an address gives for a picture, or a file of one, that an objective compares with."""

    def features(picture: Tensor | str, address: str) -> Tensor:
        photo = picture if isinstance(picture, Tensor) else read(file_of(picture), channels=net.preprocess.bands)
        return net.features(fitted(net, photo), address)

    return features


def _checked(net: Network, objectives: tuple[Objective, ...]) -> tuple[Objective, ...]:
    """The objectives as this network's layers are laid out, if they are inside it.

    Class indices are, since `Network.index` found them.
    """
    reads = frozenset().union(*(objective.reads for objective in objectives))
    if reads == {OUTPUT}:
        return objectives
    layouts = net.layouts(reads)
    return tuple(objective.laid_out(layouts) for objective in objectives)
