"""The sheet at the top of the README, and the picture of its lines of Python.

    python -m bench.front [FOLDER]         front.png and readme.png into docs/pictures by default

EfficientNet-Lite0 anybody can install (bench/imagenet.py says how); the photographs are the laboratory's (PHOSPHENE_LAB).
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

import phosphene as ph
from bench.imagenet import NETWORKS, Lab
from phosphene.pictures import files
from phosphene.pictures.colour import image_of
from phosphene.pictures.contact_sheet import FAINT, INK, PAPER, Tile, contact_sheet
from phosphene.rendering.render import settle
from phosphene.rendering.settings import varied

SIDE, GAP, MARGIN, LINE, HEAD = 168, 10, 16, 22, 40  # pixels: of a tile, between tiles, around all, of a label, of a heading
MODELS = ("goose", "bell pepper", "dalmatian", "ostrich", "cup", "kit fox")
SETTINGS = {"falloff": 0.3, "noise": 0.05}  # softer than natural's: clearer to people, less so to other networks
STARTS, JUDGES = 4, ("lite1", "lite2", "mobilenet_v2", "mobilenet_v1")
FORMING, STEPS = "flamingo", (0, 16, 64, 128, 256, 512)
UNITS = ("channel:_blocks.9._expand_conv:29", "channel:_blocks.12._expand_conv:5")
METHODS = ("saliency", "guided_backprop", "cam", "fine_cam")


@dataclass(frozen=True)
class Row:
    heading: str
    tiles: Sequence[Tile]


def soft(net: ph.Network) -> ph.Recipe:
    return functools.reduce(lambda recipe, one: varied(recipe, *one), SETTINGS.items(), settle(net, "natural", None))


def models(net: ph.Network, lab: Lab) -> Row:
    judges = [NETWORKS[name](lab) for name in JUDGES]
    drawn = ph.render(net, list(MODELS), recipe=soft(net), starts=STARTS, judges=judges, frames=0)
    return Row("The picture that the network has of a class", [Tile(drawn.image(i), (name,)) for i, name in enumerate(MODELS)])


def maps(net: ph.Network) -> Row:
    photo = net.preprocess.taken(ph.sample())
    found = [Tile(ph.explain(net, photo, method=method).overlay(), (method,)) for method in METHODS]
    located = ph.locate(ph.explain(net, photo, method="fine_cam"), "threshold", picture=photo)
    tiles = [Tile(image_of(photo[0]), ("yawl",)), *found, Tile(located.image(0), ("located",))]
    return Row("Where its answer comes from", tiles)


def patches(net: ph.Network, lab: Lab) -> Row:
    found = ph.examples(net, lab.folder / "photos", UNITS, top=3)
    names = [f"block {unit.split('.')[1]}, channel {unit.split(':')[-1]}" for unit in UNITS]
    tiles = [Tile(image_of(patch), (name,)) for name, row in zip(names, found.patches(), strict=True) for patch in row]
    return Row("The patches of photographs that excite a unit most", tiles)


def forming(net: ph.Network) -> Row:
    drawn = ph.render(net, FORMING, recipe=soft(net), frames=STEPS[-1] // 16 + 1)
    tiles = [Tile(image_of(drawn.frames[step // 16, 0] / 255), (f"{FORMING}, step {step}",)) for step in STEPS]
    return Row("How such a picture forms", tiles)


def sheet(rows: Sequence[Row]) -> Image.Image:
    across = max(len(row.tiles) for row in rows)
    tall = HEAD + SIDE + LINE + GAP
    page = Image.new("RGB", (2 * MARGIN + across * (SIDE + GAP) - GAP, MARGIN + len(rows) * tall), PAPER)
    draw = ImageDraw.Draw(page)
    for i, row in enumerate(rows):
        top = MARGIN + i * tall
        draw.text((MARGIN, top), row.heading, INK, ImageFont.load_default(18))
        for k, tile in enumerate(row.tiles):
            left = MARGIN + k * (SIDE + GAP)
            page.paste(ImageOps.fit(tile.image.convert("RGB"), (SIDE, SIDE), Image.Resampling.LANCZOS), (left, top + HEAD - 8))
            draw.text((left, top + HEAD + SIDE - 4), tile.lines[0], FAINT, ImageFont.load_default(14))
    return page


def lines_of_python() -> Image.Image:
    """What the README's lines of Python draw."""
    net = ph.load("demo:standard")
    photo = ph.sample()
    heatmap = ph.cam(net, photo)
    drawn = ph.render(net, ["logit:ship", "logit:cat"])
    tiles = [Tile(image_of(net.preprocess.taken(photo)[0]), ("photo",)), Tile(heatmap.overlay(), ("heatmap",))]
    return contact_sheet([*tiles, *(Tile(drawn.image(i), (f"class model, {name}",)) for i, name in enumerate(("ship", "cat")))])


def main(folder: Path) -> None:
    files.write_png(folder / "readme.png", lines_of_python())
    lab = Lab(Path(os.environ.get("PHOSPHENE_LAB", "../shared/imagenet")))
    net = NETWORKS["lite0"](lab)
    files.write_png(folder / "front.png", sheet([models(net, lab), maps(net), patches(net, lab), forming(net)]))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/pictures"))
