"""A class model three ways: without a prior, with L2, with L1; a GIF of each, and a sheet.

    python -m examples.flamingo MODEL [CLASS [OUT]]

MODEL as for `phosphene class-model -m`; CLASS and OUT are flamingo if not given. All three begin with the mean picture, take
the same steps, and differ in the prior alone, which is measured about the mean picture.
"""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path

import phosphene as ph
from phosphene.pictures.colour import image_of
from phosphene.pictures.contact_sheet import Tile, contact_sheet

STEPS, FRAMES = 256, 16
# What a picture of root mean square CONTRAST, or of mean absolute contrast, costs in points of score, whatever its size.
COST, CONTRAST = 300.0, 0.2
VISIBLE = 4 / 255  # what is nearer to the mean picture counts as grey


def recipes(shape: tuple[int, int, int]) -> dict[str, ph.Recipe]:
    numbers = math.prod(shape)
    plain = ph.Recipe("no prior", lr=0.02, anneal=1.0, steps=STEPS, views=(ph.jitter(0.0625),))
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
        drawn = ph.render(net, ph.logit(name), recipe=recipe, frames=FRAMES)
        drawn.animate(out / f"{title.lower().replace(' ', '-')}.gif")
        away = (drawn.pictures - net.preprocess.mean_picture(shape[1:])).abs()
        grey = float((away.amax(1) < VISIBLE).float().mean())
        contrast = float(away.square().mean().sqrt())
        said = f"score {drawn.items[0].score:.0f}, contrast {contrast:.2f}, {grey:.0%} grey"
        tiles.append(Tile(image_of(drawn.pictures[0]), (title, said)))
        print(f"{title}: {said}")
    contact_sheet(tiles, title=f"{name}, three ways", columns=3).save(out / "sheet.png")


if __name__ == "__main__":
    model, name, out = (*sys.argv[1:], *("", "flamingo", "flamingo")[len(sys.argv) - 1 :])[:3]
    if not model or len(sys.argv) > 4:
        sys.exit(__doc__)
    Path(out).mkdir(parents=True, exist_ok=True)
    draw(model, name, Path(out))
