"""A checked request to render: what is wanted, how, and one batch of it at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import checks
from ..errors import Interrupted, PictureError, RequestError, first_line, shown
from ..network import prepared
from ..network.compiling import Compile, check
from ..network.network import Network, Read
from ..network.preprocess import Preprocess
from ..objectives.expression import Objective, values
from ..objectives.likeness import file_of
from ..objectives.spec import Meant, coerce
from ..objectives.units import OUTPUT, ClassUnit
from ..pictures.converting import read
from ..results.kinds import Item, Rendering
from ..results.record import Record, environment
from ..seeding import stream_seed
from .batches import batch_for
from .layers import LayerPrior, layer_priors
from .loop import Ascended, Ascent
from .naturalness import Naturalness
from .observers import Observer, affordable, frame_steps
from .recipe import Recipe

UNLIKE = 1.5  # the distance above which a picture is noted; photographs have 1.25 at most (99, by EfficientNet-Lite0 and 2)


@dataclass(frozen=True)
class Wanted:
    """An objective as it was asked for, and with indices for class names. Its random streams are named by the latter, so
    that a class by name and by index is the same picture."""

    asked: Objective
    resolved: Objective
    seed: int

    @property
    def text(self) -> str:
        """What names its random streams and stands in its record: no matter how the class or the file was written."""
        return str(self.resolved.inlined())

    @property
    def target(self) -> int | None:
        """The class, where the objective is one class's score or probability."""
        only = self.resolved.only
        return only.target if isinstance(only, ClassUnit) and isinstance(only.target, int) else None


@dataclass(frozen=True)
class Job:
    """What `render` was asked, checked once."""

    net: Network
    items: tuple[Wanted, ...]
    recipe: Recipe
    size: tuple[int, int]
    together: int
    frames: int
    half: bool
    compile: Compile
    observers: tuple[Observer, ...]
    sha256: str
    notes: tuple[str, ...] = ()
    naturalness: Naturalness | None = None
    layer_priors: tuple[LayerPrior, ...] = ()

    @classmethod
    def of(
        cls,
        net: Network,
        objectives: Sequence[Meant],
        recipe: Recipe,
        *,
        size: tuple[int, int],
        seeds: Sequence[int],
        together: int,
        frames: int,
        precision: prepared.Precision,
        compile: Compile,
        observers: Sequence[Observer],
        sha256: str | None = None,
    ) -> Job:
        if not objectives:
            raise RequestError("no objectives; at least one is needed, as in logit:cat")
        asked = [coerce(objective, net.index) for objective in objectives]
        reads = frozenset().union(*(one.reads for one in asked))
        if recipe.diversity:
            reads |= {_apart_at(recipe, together)}
        layouts = net.layouts(reads, size)  # also shows whether the network runs on pictures of this size
        # By identity: logit(1) and the text logit:1 are equal, yet may name two classes.
        bound = {
            key: one.resolved(net.index, net.link).bound(_features(net, size)) for key, one in {id(o): o for o in asked}.items()
        }
        items = tuple(Wanted(one, bound[id(one)].laid_out(layouts), seed) for one, seed in zip(asked, seeds, strict=True))
        numbers = len(items) * net.preprocess.channels * size[0] * size[1]
        kept = affordable(checks.whole("frames", frames, low=0, high=10_000), numbers)
        check(compile)
        half, notes = net.computes_half(precision, size)
        natural = _naturalness(net, recipe, size)
        others = layer_priors(net, recipe, size)
        sha256 = sha256 or net.sha256()
        return cls(net, items, recipe, size, together, kept, half, compile, tuple(observers), sha256, notes, natural, others)

    @property
    def climbs_by(self) -> Naturalness | None:
        """Where the distance from photographs is part of what is rendered, and not told alone."""
        return self.naturalness if self.recipe.layers_weight else None

    @property
    def batch(self) -> int:
        """How many items to render at once."""
        return batch_for(self.net, len(self.items), _reads(self.items), self.size, self.recipe.samples, self.half)

    @property
    def least(self) -> int:
        """Pictures that are drawn in one batch at least: those that are kept apart, or whose statistics are taken together."""
        if self.recipe.over_batches:
            return len(self.items)
        return self.together if self.recipe.diversity else 1

    @property
    def _programmed(self) -> bool:
        return self.climbs_by is None and not self.layer_priors  # a program gives scores alone

    @property
    def request(self) -> dict[str, Any]:
        """All that the pictures depend on beside the network, the contents of files included, as JSON has it."""
        return {
            "objectives": [item.text for item in self.items],
            "recipe": self.recipe.to_dict(),
            "files": [_file_sha256(file) for file in self.recipe.canvas.files],
            "size": list(self.size),
            "seed": [item.seed for item in self.items],
            "precision": "half" if self.half else "full",
            **({"statistics": self.climbs_by.statistics.sha256} if self.climbs_by else {}),
            **{prior.kind: prior.told for prior in self.layer_priors},
            "compile": self.compile,
            "frames": self.frames,
        }

    def run(self, first: int, count: int, observers: Sequence[Observer] = ()) -> Rendering:
        """Render `count` items from `first` on, as one batch. observers: further ones.

        On Ctrl-C Interrupted, whose `partial` is the batch as it stands; its items tell whether they are finished.
        """
        items = self.items[first : first + count]
        private = stream_seed(items[0].seed, "network")
        # Gradients are ours to ask for, also where the caller has switched them off.
        with torch.inference_mode(False), torch.enable_grad():
            passes = self.recipe.steps * -(-(len(self.items) - first) // count)
            with self.net.reading(
                private, half=self.half, programmed=self._programmed, compile=self.compile, passes=passes
            ) as climb:
                stop: KeyboardInterrupt | None = None
                try:
                    ascended = self._ascent(items, climb, first, (*self.observers, *observers)).run()
                except Interrupted as stopped:
                    ascended, stop = stopped.partial, stopped
            compiled = getattr(climb, "told", "no")
            try:
                rendering = self._rendering(items, ascended, private, compiled)
            except KeyboardInterrupt as stopped:  # into the scores of pictures that may be finished: they are not lost
                rendering, stop = self._rendering(items, ascended, private, compiled), stopped
        if stop is not None:
            raise Interrupted(rendering) from stop
        return rendering

    def _rendering(self, items: Sequence[Wanted], ascended: Ascended, private: int, compiled: str) -> Rendering:
        with torch.no_grad(), self.net.reading(private) as read:
            said = self._said(items, ascended, read)
        records = self._records(items, compiled)
        if not all(ascended.finished):
            where = f"at step {ascended.made} of {self.recipe.steps}"
            records = tuple(r if item.finished else _stopped(r, where) for r, item in zip(records, said, strict=True))
        scores = torch.tensor([item.score for item in said])
        steps = frame_steps(self.frames, self.recipe.steps)
        return Rendering(
            ascended.pictures,
            scores,
            ascended.history,
            said,
            records,
            ascended.frames,
            steps,
            (*self.net.notes, *self.notes),
            ascended.attribution,
        )

    def _ascent(self, items: Sequence[Wanted], read: Read, first: int, observers: Sequence[Observer]) -> Ascent:
        def tell(step: int, pictures: Tensor, reached: Tensor) -> None:
            for observer in observers:
                observer.on_step(first, len(self.items), step, self.recipe.steps, pictures, reached)

        return Ascent(
            read,
            objectives=[item.resolved for item in items],
            names=[item.text for item in items],
            recipe=self.recipe,
            seeds=[item.seed for item in items],
            together=self.together,
            mean=self.net.preprocess.mean_picture(self.size).to(self.net.device),
            frames=self.frames,
            naturalness=self.climbs_by,
            layer_priors=self.layer_priors,
            on_step=tell if observers else None,
        )

    def _said(self, items: Sequence[Wanted], ascended: Ascended, reading: Read) -> tuple[Item, ...]:
        objectives, natural, look = [item.resolved for item in items], self.naturalness, None
        if natural is not None:
            look = natural.look(natural.shares_of(reading, self.net.preprocess.mean_picture(self.size), objectives))
        given = reading(ascended.pictures, _reads(items), look.changes if look else None)
        distances = look.close().tolist() if look else [None] * len(items)
        depths = look.depths() if look else [""] * len(items)
        reached = values(objectives, given).tolist()
        scores = given.get(OUTPUT)
        each = (
            self._item(item, reached[i], None if scores is None else scores[i], ascended.notes[i], distances[i], depths[i])
            for i, item in enumerate(items)
        )
        late = f"interrupted at step {ascended.made} of {self.recipe.steps}"
        return tuple(
            item if finished else replace(item, notes=(late, *item.notes), finished=False)
            for item, finished in zip(each, ascended.finished, strict=True)
        )

    def _item(
        self, item: Wanted, reached: float, scores: Tensor | None, notes: tuple[str, ...], distance: float | None, depth: str
    ) -> Item:
        target = item.target
        notes = (*notes, *(prior.note for prior in self.layer_priors))
        if distance is not None and distance > UNLIKE:
            far = f"its layers are {distance:.1f} from theirs, which have 1, most of all {depth}"
            notes = (*notes, f"score {reached:.3g}, but unlike photographs: {far}")
        if target is None or scores is None:
            return Item(str(item.asked), None, None, item.seed, reached, None, None, notes, distance=distance)
        certain = self.net.probabilities(scores)[target]
        rank = 1 + int((scores > scores[target]).sum())
        name = self.net.classes[target]
        return Item(str(item.asked), name, target, item.seed, reached, float(certain), rank, notes, distance=distance)

    def _records(self, items: Sequence[Wanted], compiled: str) -> tuple[Record, ...]:
        record = Record(
            model={"ref": self.net.name, "sha256": self.sha256},
            preprocess=self.net.preprocess.to_dict(),
            recipe=self.recipe.to_dict(),
            size=self.size,
            seed=items[0].seed,
            batch=tuple(item.text for item in items),
            position=0,
            environment={
                **environment(self.net.device),
                "precision": "half" if self.half else "full",
                "prepared": self.net.preparation(_reads(items), self.half, programmed=self._programmed),
                **({"statistics": self.climbs_by.told} if self.climbs_by else {}),
                **{prior.kind: prior.told for prior in self.layer_priors},
                "compiled": compiled,
            },
        )
        seeds = tuple(item.seed for item in items)
        several = seeds if len(set(seeds)) > 1 else ()
        return tuple(replace(record, position=i, seed=seed, seeds=several) for i, seed in enumerate(seeds))


def _naturalness(net: Network, recipe: Recipe, size: tuple[int, int]) -> Naturalness | None:
    """Of the network's statistics; None if it has none. Raises if the recipe asks for their distance then."""
    statistics = net.statistics
    if statistics is None:
        if not recipe.layers_weight:
            return None
        raise RequestError(
            f"layer_statistics: {net.name} must have statistics of its layers, got no batch norms and none that were measured. "
            f"Measure them: phosphene statistics PHOTOS -m … -o FILE.safetensors, then ?statistics=FILE"
        )
    return Naturalness.of(net, statistics, size, recipe.layers_weight)


def _features(net: Network, size: tuple[int, int]) -> Callable[[Tensor | str, str], Tensor]:
    """Of a picture, or of the one in a file, fitted to the size."""
    fitting = Preprocess(size=size, channels=net.preprocess.channels, resize=min(size))

    def features(picture: Tensor | str, address: str) -> Tensor:
        photo = picture if isinstance(picture, Tensor) else read(file_of(picture), channels=net.preprocess.bands)
        return net.features(fitting.fit(photo), address)

    return features


def _file_sha256(file: str) -> str:
    """Of a photograph or statistics that a canvas begins with."""
    try:
        with Path(file).open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except (OSError, ValueError) as error:
        raise PictureError(f"{shown(file)} cannot be read: {first_line(error)}") from error


def _stopped(record: Record, where: str) -> Record:
    """Of a picture that is not finished: `rerun` tells it beside what else differs."""
    return replace(record, environment=record.environment | {"interrupted": where})


def _apart_at(recipe: Recipe, together: int) -> str:
    if not recipe.diversity_at:
        raise RequestError("diversity at no layer; diversity_at, the address of a layer with maps, is needed")
    if together < 2:
        raise RequestError("diversity of one picture an objective; several seeds are needed, as in seeds=4")
    return recipe.diversity_at


def sides(net: Network, size: int | tuple[int, int] | None) -> tuple[int, int]:
    """(height, width), the network's own if none was given."""
    return net.preprocess.sides if size is None else checks.size(size)


def _reads(items: Sequence[Wanted]) -> frozenset[str]:
    return frozenset().union(*(item.resolved.reads for item in items))
