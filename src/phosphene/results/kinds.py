"""Rendering: pictures that were optimised, with their scores, how they formed, and what can make them again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from .. import checks
from ..ambient import shielded_methods
from ..errors import RequestError, shown
from ..pictures import animation, colour, contact_sheet
from ..pictures.notebook import figure
from ..pictures.transparency import opacity
from .record import Record
from .several import Several, columns_of


@dataclass(frozen=True)
class Item:
    """One picture in words and numbers.

    objective    its text, as it was asked for
    name, index  of the class, where the objective is one class's score or probability
    score        the objective's value at the finished picture, without views or penalties
    probability, rank  of that class by the network that was rendered; rank 1 is the highest score
    notes        sentences on what may mislead: a dead unit, a start that had to be changed
    distance     of the statistics of layers from those of photographs, in standard deviations, as `layer_statistics` has it:
                 about 1 for photographs; None where the network has no statistics
    finished     False where Ctrl-C came before the picture's last step
    """

    objective: str
    name: str | None
    index: int | None
    seed: int
    score: float
    probability: float | None
    rank: int | None
    notes: tuple[str, ...] = ()
    finished: bool = True
    distance: float | None = None

    def to_dict(self) -> dict[str, Any]:
        said = {
            "objective": self.objective,
            "class": self.name,
            "index": self.index,
            "seed": self.seed,
            "score": self.score,
            "probability": self.probability,
            "rank": self.rank,
        }
        more: dict[str, Any] = {"notes": list(self.notes)} if self.notes else {}
        more |= {} if self.distance is None else {"distance": self.distance}
        return said | more | ({} if self.finished else {"finished": False})

    @classmethod
    def from_dict(cls, said: Mapping[str, Any]) -> Item:
        """The Item of which `to_dict` gave this."""
        same = {key: said[key] for key in ("objective", "index", "seed", "score", "probability", "rank")}
        return cls(
            name=said["class"],
            notes=tuple(said.get("notes", ())),
            finished=said.get("finished", True),
            distance=said.get("distance"),
            **same,
        )

    @property
    def label(self) -> tuple[str, str]:
        """Two lines for a sheet."""
        if self.name is None:
            return self.objective, f"value {self.score:.4g}"
        if self.of_probability:
            return f"{self.name}, by probability", f"p {self.score:.2f}"
        certainty = f", p {self.probability:.2f}" if self.probability is not None else ""
        return self.name, f"score {self.score:.1f}{certainty}"

    @property
    def of_probability(self) -> bool:
        """Whether a class's probability was maximised, and not its score."""
        return self.objective.startswith("probability:")


@shielded_methods
@dataclass(frozen=True, eq=False)
class Rendering(Several):
    """What `render` gives. r[0], iteration, np.asarray(r) and r.plot(): see `Several`.

    pictures  (b, c, h, w) float32 in [0, 1]
    scores    (b,) the objectives' values at the finished pictures
    history   (steps, b) the objectives' values at each step, as the network saw the picture then (through the views);
              NaN for steps that Ctrl-C left out
    items     one Item per picture
    records   one Record per picture
    frames    (n, b, c, h, w) uint8: the pictures as they formed, at the steps `frame_steps`
    notes     sentences on the network that may mislead
    attribution  (b, h, w) where the network looked while the picture formed: the absolute gradient at each pixel, over all
              channels and steps, divided by its sum
    """

    pictures: Tensor
    scores: Tensor
    history: Tensor
    items: tuple[Item, ...]
    records: tuple[Record, ...]
    frames: Tensor
    frame_steps: tuple[int, ...]
    notes: tuple[str, ...] = ()
    attribution: Tensor | None = None

    def __len__(self) -> int:
        return len(self.items)

    def __repr__(self) -> str:
        c, h, w = self.pictures.shape[1:]
        return f"Rendering({len(self)} of {c}×{h}×{w}: {shown(', '.join(item.objective for item in self.items))})"

    def chosen(self, rows: Sequence[int]) -> Rendering:
        """These pictures alone, in this order."""
        kept = list(rows)
        return replace(
            self,
            pictures=self.pictures[kept],
            scores=self.scores[kept],
            history=self.history[:, kept],
            items=tuple(self.items[row] for row in kept),
            records=tuple(self.records[row] for row in kept),
            frames=self.frames[:, kept],
            attribution=None if self.attribution is None else self.attribution[kept],
        )

    @property
    def array(self) -> Tensor:
        """The pictures, for np.asarray."""
        return self.pictures

    def title_of(self, item: int) -> str:
        return " · ".join(self.items[self._place(item)].label)

    def to_dict(self) -> dict[str, list[Any]]:
        """What was rendered and the scores, a column each, as pandas.DataFrame takes them."""
        return columns_of([item.to_dict() for item in self.items])

    def sheet(self) -> Image.Image:
        """The contact sheet."""
        return self.contact_sheet()

    @property
    def record(self) -> Record:
        """The first picture's Record; `records` has one for each."""
        return self.records[0]

    @property
    def title(self) -> str:
        return titled(self.records)

    def image(self, item: int = 0) -> Image.Image:
        """A picture as Pillow has it, pixel for pixel as it is saved."""
        return colour.image_of(self.pictures[self._place(item)])

    def transparent(self, item: int = 0) -> Image.Image:
        """The picture with transparency where the network hardly looked while it formed.

        Source: Fel et al. 2023 (MACO), §3.3: the gradient accumulated over the ascent as opacity. Differs: the absolute
        gradient, smoothed over 3 % of the shorter side, opaque from its 90th percentile on and clear below its 10th.
        """
        if self.attribution is None:
            raise RequestError("this rendering has no attribution; one that `render` gives has")
        image = self.image(item).convert("RGB")
        image.putalpha(colour.image_of(opacity(self.attribution[self._place(item)])))
        return image

    def signed_record(self, item: int) -> Record:
        """The Record with the hash of the pixels as they are saved."""
        return replace(self.records[item], pixels_sha256=colour.pixels_sha256(self.image(item)))

    def contact_sheet(self, columns: int | None = None) -> Image.Image:
        """All pictures with their labels, small ones enlarged without blur."""
        if columns is not None:
            checks.whole("columns", columns, low=1)
        tiles = [contact_sheet.Tile(self.image(i), _lines(item)) for i, item in enumerate(self.items)]
        return contact_sheet.contact_sheet(tiles, title=self.title, columns=columns)

    def animate(self, path: str | Path, item: int | None = None, *, seconds: float = animation.SECONDS) -> Path:
        """How the pictures formed, as .gif, .webp, .apng, .png (APNG) or .mp4 (extra mp4); all of them in a grid, or one."""
        if item is None and len(self) > 1:
            frames = [_sheet_of(frame) for frame in self.frames]
        else:
            place = self._place(item or 0)
            frames = [colour.image_of(frame[place].float() / 255) for frame in self.frames]
        return animation.write_animation(path, frames, seconds=seconds)

    def save(self, folder: str | Path, *, animate: str | None = None) -> Path:
        """Write the pictures, each with its Record, contact_sheet.png and run.json into the folder.

        animate: also one animation a picture, of this kind: gif, webp, apng or mp4.
        """
        from .folder import RunFolder  # here: that file needs this one

        run = RunFolder(folder, command="render", model=self.record.model, device=self.record.environment["device"])
        run.add(self, animate=animate)
        return run.finish()

    def _repr_html_(self) -> str:
        return figure(self.contact_sheet(), self.title, (*self.notes, *(n for i in self.items for n in i.notes)))

    def _place(self, item: int) -> int:
        return checks.whole("item", item, low=0, high=len(self) - 1)


def join(parts: Sequence[Rendering]) -> Rendering:
    """Renderings of the same settings, one after another, as one."""
    if not parts:
        raise RequestError("no renderings to join; at least one is needed")
    first = parts[0]
    return Rendering(
        torch.cat([part.pictures for part in parts]),
        torch.cat([part.scores for part in parts]),
        torch.cat([part.history for part in parts], 1),
        tuple(item for part in parts for item in part.items),
        tuple(record for part in parts for record in part.records),
        torch.cat([part.frames for part in parts], 1),
        first.frame_steps,
        first.notes,
        torch.cat([part.attribution for part in parts if part.attribution is not None])
        if all(part.attribution is not None for part in parts)
        else None,
    )


def titled(records: Sequence[Record]) -> str:
    """What pictures of one network have in common; where they differ, each tells its own, or nobody."""
    name = records[0].model["ref"].partition("?")[0].rpartition("/")[2]
    facts = (
        (str(record.recipe.get("name")), f"{record.recipe.get('steps')} steps", f"seed {record.seed}") for record in records
    )
    common = [each[0] for each in zip(*facts, strict=True) if len(set(each)) == 1]
    return f"{name} · {', '.join(common)}"


def _lines(item: Item) -> tuple[str, ...]:
    dead = any("gradient is zero" in note for note in item.notes)
    return (*item.label, *(("dead: no gradient",) if dead else ()), *(() if item.finished else ("unfinished",)))


def _sheet_of(frame: Tensor) -> Image.Image:
    from ..pictures.tiles import grid

    shown = torch.stack([colour.display(picture.float() / 255) for picture in frame])
    return colour.image_of(grid(shown))
