"""Class models of the two bundled networks, side by side: what `make demo` runs.

The same by hand, in Python:

    import phosphene as ph
    net = ph.load("demo:robust")
    ph.render(net, [ph.logit(name) for name in net.classes]).save("out")
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from PIL import Image

from phosphene.cli.app import main
from phosphene.pictures.contact_sheet import Tile, contact_sheet

NETWORKS = ("robust", "standard")


def tiles(folder: Path, network: str) -> list[Tile]:
    """The pictures that a run.json lists, with their labels."""
    items = json.loads((folder / "run.json").read_text("utf-8"))["items"]
    return [Tile(Image.open(folder / i["file"]), (i["class"], f"{network}, score {i['score']:.0f}")) for i in items]


def draw(out: Path) -> int:
    started = time.monotonic()
    for network in NETWORKS:
        print(f"demo:{network}: ten class models")
        if status := main(["class-model", "-m", f"demo:{network}", "--all", "-o", str(out / network)]):
            return status
    rows = [tile for network in NETWORKS for tile in tiles(out / network, network)]
    sheet = contact_sheet(rows, title="What two networks have learned: adversarially trained above, standard below", columns=10)
    sheet.save(out / "both.png")
    print(f"\ndone in {time.monotonic() - started:.0f} s. Look at {out / 'both.png'}")
    print(f"pictures, contact_sheet.png and run.json: {', '.join(str(out / network) + '/' for network in NETWORKS)}")
    return 0


if __name__ == "__main__":
    sys.exit(draw(Path(sys.argv[1] if len(sys.argv) > 1 else "demo-output")))
