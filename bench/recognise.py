"""How well class models of MobileNetV2 are recognised by a network that took no part: prints a Markdown table.

    python -m bench.recognise --lab FOLDER natural-fast natural          every tenth class
    python -m bench.recognise --lab FOLDER --classes figure natural      Simonyan et al. 2013, figure 1, and two more
    python -m bench.recognise --lab FOLDER --classes tuning FILE.toml    25 classes that the others are not among
    python -m bench.recognise --lab FOLDER --classes figure --site PEERS torchbearer lucent natural      beside two peers
    python -m bench.recognise --lab FOLDER --precision full natural      in float32

FOLDER holds mobilenets.py, the weights of both networks and classes.json (PHOSPHENE_LAB by default).
"""

from __future__ import annotations

import argparse
import copy
import os
import sys
import time
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor

import phosphene as ph
from bench.peers import PEERS, FromPictures
from phosphene.network.prepared import Precision
from phosphene.pictures import files
from phosphene.pictures.colour import image_of

HEAD = "| recipe | classes | judge top-1 | top-5 | mean p | own top-1 | spectrum | s a picture |\n" + "|---" * 8 + "|"
FIGURE = (
    "washer, computer keyboard, kit fox, goose, ostrich, limousine, dumbbell, cup, dalmatian, bell pepper, lemon, "
    "Siberian husky, flamingo, black widow"
)
CLASSES = {
    "tenth": [str(i) for i in range(0, 1000, 10)],
    "tuning": [str(i) for i in range(5, 1000, 40)],
    "figure": FIGURE.split(", "),
}


def opened(lab: Path, factory: str, weights: str, size: int) -> ph.Network:
    options = f"classes={lab}/classes.json&size={size}&mean=0.5&std=0.5"
    return ph.load(f"{lab}/mobilenets.py:{factory}?weights={lab}/{weights}&{options}")


def judge_of(lab: Path) -> ph.Network:
    maker = Path(__file__).with_name("judge.py")
    options = f"classes={lab}/classes.json&size=192&mean=0.5&std=0.5"
    os.environ["PHOSPHENE_LAB"] = str(lab)
    return ph.load(f"{maker}:make?weights={lab}/mobilenet_v1_075_imagenet.safetensors&{options}")


def drawn(net: ph.Network, recipe: str, indices: list[int], seed: int, precision: Precision, out: Path | None) -> Tensor:
    """By a recipe of ours, or by the peer of that name."""
    if recipe in PEERS:
        torch.manual_seed(seed)
        module = FromPictures(copy.deepcopy(net.module), net.preprocess.forward).eval()
        pictures = PEERS[recipe](module, indices, net.preprocess.height).clamp(0, 1)
        if out is not None:
            (out / recipe).mkdir(parents=True, exist_ok=True)
            for index, picture in zip(indices, pictures, strict=True):
                image_of(picture).save(out / recipe / f"{files.slug(net.classes[index])}.png")
        return pictures
    rendering = ph.render(net, [ph.logit(index) for index in indices], recipe=recipe, seed=seed, precision=precision, frames=0)
    if out is not None:
        rendering.save(out / Path(recipe).stem)
    return rendering.pictures


def row(
    net: ph.Network, judge: ph.Network, recipe: str, names: list[str], seed: int, precision: Precision, out: Path | None
) -> str:
    indices = [net.index(name) for name in names]
    started = time.monotonic()
    pictures = drawn(net, recipe, indices, seed, precision, out)
    seconds = (time.monotonic() - started) / len(names)
    found = ph.evaluation.recognisability(pictures, [str(index) for index in indices], [judge, net])
    said, itself = found.judgements
    shares = f"{said.top(1):.0%} | {said.top(5):.0%} | {float(said.probabilities.mean()):.2f} | {itself.top(1):.0%}"
    return f"| {recipe} | {len(names)} | {shares} | {float(found.spectrum.mean()):.2f} | {seconds:.1f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="+", help=f"names, .toml files, or {', '.join(PEERS)}, which --site holds")
    parser.add_argument("--site", type=Path, action="append", default=[], help="a folder in which a peer is installed")
    parser.add_argument("--lab", type=Path, default=Path(os.environ.get("PHOSPHENE_LAB", "../shared/imagenet")))
    parser.add_argument("--classes", choices=CLASSES, default="tenth")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", choices=get_args(Precision), default="auto", help="of ours")
    parser.add_argument("--out", type=Path, help="also save the pictures there")
    given = parser.parse_args()
    lab = given.lab.resolve()
    sys.path[:0] = [str(site.resolve()) for site in given.site]
    net = opened(lab, "MobileNetV2", "mobilenet_v2_imagenet.safetensors", 224)
    judge = judge_of(lab)
    print(HEAD)
    for recipe in given.recipes:
        print(row(net, judge, recipe, CLASSES[given.classes], given.seed, given.precision, given.out), flush=True)


if __name__ == "__main__":
    main()
