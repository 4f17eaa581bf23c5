"""A class model three ways: without a prior, with L2, with L1; a GIF of each, and a sheet.

    python -m examples.flamingo MODEL [CLASS] [OUT]

MODEL as for `phosphene class-model -m`. All three begin with the mean picture and differ in the prior alone, measured about it.
"""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path

import phosphene as ph
from phosphene.pictures.colour import image_of
from phosphene.pictures.contact_sheet import Tile, contact_sheet

STEPS = 256
# What a picture of root mean square CONTRAST, or of mean absolute contrast, costs in points of score, whatever its size.
COST, CONTRAST = 40.0, 0.2


def recipes(shape: tuple[int, int, int]) -> dict[str, ph.Recipe]:
    numbers = math.prod(shape)
    plain = ph.Recipe("no prior", lr=0.02, anneal=0.5, steps=STEPS, views=(ph.jitter(0.03125),))
    return {
        "no prior": plain,
        "L2": replace(plain, name="L2", priors=(COST / (CONTRAST**2 * numbers) * ph.l2(),)),
        "L1": replace(plain, name="L1", priors=(COST / (CONTRAST * numbers) * ph.l1(),)),
    }


def draw(model: str, name: str, out: Path) -> None:
    net = ph.load(model)
    shape = (net.preprocess.channels, *net.preprocess.sides)
    tiles = []
    for title, recipe in recipes(shape).items():
        drawn = ph.render(net, ph.logit(name), recipe=recipe, frames=48)
        drawn.animate(out / f"{title.lower().replace(' ', '-')}.gif")
        away = (drawn.pictures - net.preprocess.mean_picture(shape[1:])).abs()
        quiet = float((away.amax(1) < 4 / 255).float().mean())
        contrast = float(away.square().mean().sqrt())
        said = f"score {drawn.items[0].score:.0f}, contrast {contrast:.2f}, {quiet:.0%} grey"
        tiles.append(Tile(image_of(drawn.pictures[0]), (title, said)))
        print(f"{title}: {said}")
    contact_sheet(tiles, title=f"{name}, three ways", columns=3).save(out / "sheet.png")


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 4:
        sys.exit(__doc__)
    model, name, out = [*sys.argv[1:], "flamingo", "flamingo"][:3] if len(sys.argv) == 2 else [*sys.argv[1:], "flamingo"][:3]
    Path(out).mkdir(parents=True, exist_ok=True)
    draw(model, name, Path(out))
