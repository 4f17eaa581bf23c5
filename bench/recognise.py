"""How often networks recognise what another network drew: a matrix of networks that draw and networks that judge.

    python -m bench.recognise                                   the three natural recipes, every tenth class, three that draw
    python -m bench.recognise --by lite0 --judges lite2 natural-fast
    python -m bench.recognise --classes figure --site PEERS torchbearer lucent maco2023 natural      beside peers
    python -m bench.recognise --classes figure --by lite0 --starts 3 --out figure natural            the documentation's sheet
    python -m bench.recognise --classes tuning FILE.toml        the classes to choose settings on, of which none is reported
    python -m bench.recognise --write                           also into RESULTS.md

Networks: lite0, lite1, lite2 (EfficientNet-Lite, see bench/imagenet.py), mobilenet_v2, mobilenet_v1. A judge is any of them
but the one that draws. The laboratory's folder (PHOSPHENE_LAB by default) holds photographs, class names and the last two.
"""

from __future__ import annotations

import argparse
import copy
import math
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor
from torch.nn import functional as F

import phosphene as ph
from bench import machine, results
from bench.imagenet import NETWORKS, Lab, photographs, with_statistics
from bench.measured import Bar, Measured, judged
from bench.peers import PEERS, FromPictures
from bench.verbs import ORDER
from phosphene.network.prepared import Precision
from phosphene.pictures import files
from phosphene.pictures.colour import image_of

FIGURE = (
    "washer, computer keyboard, kit fox, goose, ostrich, limousine, dumbbell, cup, dalmatian, bell pepper, lemon, "
    "Siberian husky, flamingo, black widow"
)
CLASSES = {
    "tenth": [str(i) for i in range(0, 1000, 10)],
    "tuning": [str(i) for i in range(3, 1000, 10)],
    "figure": FIGURE.split(", "),
}
BELOW = {"natural": 0.0, "natural-fast": 8.0}  # points under photographs that a recipe may stand
Z = 1.96  # of a 95 % interval


@dataclass(frozen=True)
class Said:
    """What a judge says of pictures: the rank of the class that was meant, and its first choice, (b,) each."""

    ranks: Tensor
    choices: Tensor
    nearest: float  # mean cosine similarity to the nearest photograph, in the judge's last maps

    def top(self, k: int) -> float:
        return 100 * float((self.ranks <= k).double().mean())

    def __str__(self) -> str:
        low, high = wilson(int((self.ranks <= 1).sum()), len(self.ranks))
        return f"{self.top(1):.0f}/{self.top(5):.0f} ({low:.0f}–{high:.0f})"


@dataclass
class Court:
    """Judges by name, and what each says of the photographs."""

    lab: Lab
    judges: Mapping[str, ph.Network]
    features: dict[str, Tensor] = field(default_factory=dict)  # of the photographs
    photographs: dict[str, Said] = field(default_factory=dict)

    def __post_init__(self) -> None:
        meant = [index for _, index in self.lab.photographs]
        for name, judge in self.judges.items():
            shown = photographs(self.lab, judge)
            self.features[name] = _features(judge, shown)
            self.photographs[name] = self._said(name, shown, meant, others=True)

    def said(self, pictures: Tensor, meant: Sequence[int], but: str) -> dict[str, Said]:
        """Of pictures as they are saved, by all judges but one."""
        saved = (pictures.clamp(0, 1) * 255).round() / 255
        return {
            name: self._said(name, judge.preprocess.fit(saved), meant) for name, judge in self.judges.items() if name != but
        }

    def _said(self, name: str, shown: Tensor, meant: Sequence[int], others: bool = False) -> Said:
        judge = self.judges[name]
        scores = torch.cat([judge.scores(some) for some in shown.split(16)])
        ranks = 1 + (scores > scores.gather(1, torch.tensor(meant)[:, None])).sum(1)
        alike = _features(judge, shown) @ self.features[name].T
        if others:
            alike.fill_diagonal_(-1)
        return Said(ranks, scores.argmax(1), float(alike.amax(1).mean()))


def wilson(hits: int, count: int) -> tuple[float, float]:
    """The 95 % interval of a share, in per cent. Source: Wilson 1927, the score interval."""
    share, room = hits / count, Z**2 / count
    middle, half = share + room / 2, Z * math.sqrt(share * (1 - share) / count + room / (4 * count))
    return 100 * (middle - half) / (1 + room), 100 * (middle + half) / (1 + room)


def agreement(said: Mapping[str, Said]) -> float:
    """In per cent: of pairs of judges and pictures, those with the same first choice."""
    every = list(said.values())
    same = [(a.choices == b.choices).double().mean() for i, a in enumerate(every) for b in every[:i]]
    return 100 * float(torch.stack(same).mean()) if same else math.nan


def mean(said: Mapping[str, Said], k: int) -> float:
    return sum(one.top(k) for one in said.values()) / len(said)


def _features(judge: ph.Network, shown: Tensor) -> Tensor:
    layers = [layer.address for layer in judge.layers() if layer.by_image and len(layer.shape) == 3]
    found = [judge.features(some, layers[-1]).mean((2, 3)) for some in shown.split(16)]
    return F.normalize(torch.cat(found), dim=1)


def drawn(net: ph.Network, recipe: str, indices: list[int], given: argparse.Namespace) -> Tensor:
    """By a recipe of ours, or by the peer of that name."""
    out: Path | None = None if given.out is None else given.out / net.name / Path(recipe).stem
    if recipe in PEERS:
        torch.manual_seed(given.seed)
        module = FromPictures(copy.deepcopy(net.module), net.preprocess.forward).eval()
        pictures = PEERS[recipe](module, indices, net.preprocess.height).clamp(0, 1)
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            for index, picture in zip(indices, pictures, strict=True):
                image_of(picture).save(out / f"{files.slug(net.classes[index])}.png")
        return pictures
    objectives = [ph.logit(index) for index in indices]
    how = {"recipe": recipe, "seed": given.seed, "starts": given.starts, "precision": given.precision}
    rendering = ph.render(net, objectives, **how, frames=0)
    if out is not None:
        rendering.save(out)
    return rendering.pictures


@dataclass
class Matrix:
    """What was measured so far: a row for each recipe and network that draws."""

    court: Court
    classes: Sequence[str]
    rows: list[tuple[str, ...]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)

    def __post_init__(self) -> None:
        real = self.court.photographs
        self.rows.append(("photographs", "", *map(str, real.values()), "", "", "", ""))
        self.notes.append(f"photographs: {agreement(real):.0f} % agree, cosine to the nearest other {_nearest(real)}.")

    def add(self, recipe: str, by: str, net: ph.Network, given: argparse.Namespace) -> None:
        indices = [net.index(name) for name in self.classes]
        started = time.monotonic()
        pictures = drawn(net, recipe, indices, given)
        each = (time.monotonic() - started) / len(indices)
        said = self.court.said(pictures, indices, by)
        real = {name: self.court.photographs[name] for name in said}
        cells = [str(said[name]) if name in said else "" for name in self.court.judges]
        means = [f"{mean(what, 1):.1f}/{mean(what, 5):.1f}" for what in (said, real)]
        recognised = each / (mean(said, 1) / 100) if mean(said, 1) else math.inf
        self.rows.append((recipe, net.name, *cells, *means, f"{each:.1f}", f"{recognised:.1f}"))
        self.notes.append(f"{recipe} by {net.name}: {agreement(said):.0f} % agree, cosine {_nearest(said)}.")
        print(*self.rows[-1], sep=" | ", file=sys.stderr, flush=True)
        for k in (1, 5) if recipe in BELOW else ():
            what = f"{recipe} by {net.name}, top-{k} less that of photographs"
            self.bars.append(Bar(what, mean(said, k) - mean(real, k), -BELOW[recipe], " points"))


def measure(given: argparse.Namespace) -> Measured:
    lab = Lab(given.lab.resolve())
    nets = {name: NETWORKS[name](lab) for name in dict.fromkeys((*given.by, *given.judges))}
    draw = {name: with_statistics(lab, nets[name]) for name in given.by}
    matrix = Matrix(Court(lab, {name: nets[name] for name in given.judges}), CLASSES[given.classes][: given.count])
    for by in given.by:
        for recipe in given.recipes:
            matrix.add(recipe, by, draw[by], given)
    judges = [nets[name].name for name in given.judges]
    head = ("recipe", "drawn by", *judges, "mean", "photographs", "s a picture", "s a recognised one")
    text = (
        f"Class models of {len(matrix.classes)} classes ({given.classes}), seed {given.seed}, default settings: top-1/top-5 in "
        "% by networks that took no part, with the 95 % interval of top-1 (Wilson). Mean: over these judges; photographs: the "
        f"same judges' mean for {len(lab.photographs)} of them. Below: how many pairs of judges agree on their first choice, "
        "and how like the nearest photograph a picture is in each judge's last maps."
    )
    return Measured(text, head, tuple(matrix.rows), tuple(matrix.notes), tuple(matrix.bars), torch.get_num_threads())


def _nearest(said: Mapping[str, Said]) -> str:
    return ", ".join(f"{one.nearest:.2f} ({name})" for name, one in said.items())


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", help=f"names, .toml files, or {', '.join(PEERS)}, which --site holds")
    parser.add_argument("--by", nargs="+", choices=NETWORKS, default=["lite0", "lite1", "mobilenet_v2"], help="that draw")
    parser.add_argument("--judges", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--site", type=Path, action="append", default=[], help="a folder in which a peer is installed")
    parser.add_argument("--lab", type=Path, default=Path(os.environ.get("PHOSPHENE_LAB", "../shared/imagenet")))
    parser.add_argument("--classes", choices=CLASSES, default="tenth")
    parser.add_argument("--count", type=int, help="the first so many of them alone")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--starts", type=int, default=1, help="of ours, of which the best is kept")
    parser.add_argument("--precision", choices=get_args(Precision), default="auto", help="of ours")
    parser.add_argument("--out", type=Path, help="also save the pictures there")
    parser.add_argument("--check", action="store_true", help="exit status 1 where a bar is missed")
    parser.add_argument("--write", action="store_true", help=f"also into {results.FILE}")
    given = parser.parse_args(arguments)
    given.recipes = given.recipes or ["natural-sketch", "natural-fast", "natural"]
    return given


def main(arguments: Sequence[str] | None = None) -> int:
    given = parsed(arguments)
    sys.path[:0] = [str(site.resolve()) for site in given.site]
    about = machine.described()
    measured = measure(given)
    command = " ".join(["python -m bench.recognise", *(sys.argv[1:] if arguments is None else arguments)])
    said = results.section("recognise", measured, f"{datetime.now(UTC):%Y-%m-%d}", about, command)
    print(said)
    if given.write:
        results.write(Path(__file__).parent, "recognise", said, ORDER)
    return judged(measured.bars) if given.check else 0


if __name__ == "__main__":
    sys.exit(main())
