"""How far maps of MobileNetV2 can be trusted, on photographs of known class: prints a Markdown table.

    python -m bench.trust --lab FOLDER --count 40 saliency guided_backprop cam
    python -m bench.trust --lab FOLDER --count 40 --samples 10 smoothgrad --out some.json

Photographs are taken evenly from FOLDER/photos, whose names begin with the index of their class. After each one the figures so
far are in --out; Ctrl-C prints them. FOLDER is that of bench.recognise.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

import phosphene as ph
from bench.imagenet import mobilenet_v2
from phosphene.evaluation.trust import MEASURES
from phosphene.results.method import Method, Sampled, find_method


def photographs(lab: Path, count: int) -> list[Path]:
    every = sorted((lab / "photos").glob("*.jpg"))
    return [every[int((k + 0.5) * len(every) / count)] for k in range(min(count, len(every)))]


def methods_of(names: list[str], samples: int | None) -> list[Method]:
    found = [find_method(name) for name in names]
    return [find_method(one, samples) if samples and isinstance(one, Sampled) else one for one in found]


def table(said: ph.evaluation.Trust) -> str:
    arrows = [f"{one.name} {'↓' if one.less else '↑'}" for one in MEASURES]
    heads = ["method", *arrows, "rank", "head random", "all random", "verdict"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for i in said.ranked:
        cells = []
        for one in MEASURES:
            error = said.error(one.name)
            cells.append(f"{float(said.mean(one.name)[i]):.3f}" + (f" ± {float(error[i]):.3f}" if error is not None else ""))
        shuffled = said.randomisation[i] if said.randomisation else None
        last = ["–"] * 3
        if shuffled is not None:
            means = shuffled.rank.mean(0).tolist()
            last = [f"{means[0]:.2f}", f"{means[-1]:.2f}", shuffled.word]
        lines.append("| " + " | ".join([said.methods[i], *cells, f"{float(said.rank[i]):.2f}", *last]) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="+", help="names of methods; the random map is always there")
    parser.add_argument("--lab", type=Path, default=Path(os.environ.get("PHOSPHENE_LAB", "../shared/imagenet")))
    parser.add_argument("--count", type=int, default=20, help="of photographs")
    parser.add_argument("--samples", type=int, help="of methods that have any, instead of their own number")
    parser.add_argument("--stages", type=int, default=3, help="of random weights; 0 leaves them")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="a file for the figures as JSON")
    given = parser.parse_args()
    lab = given.lab.resolve()
    net = mobilenet_v2(lab)
    methods, said, started = methods_of(given.methods, given.samples), None, time.monotonic()
    try:
        for path in photographs(lab, given.count):
            target, settings = ph.logit(int(path.name[:4])), {"stages": given.stages, "seed": given.seed}
            new = ph.evaluation.trust(net, ph.read(path), target, methods=methods, images=[path.name], **settings)
            said = new if said is None else said.joined(new)
            if given.out is not None:
                given.out.write_text(json.dumps(said.to_dict(), indent=1))
    except KeyboardInterrupt:
        pass
    if said is not None:
        print(f"{len(said.images)} photographs, {time.monotonic() - started:.0f} s\n\n{table(said)}")


if __name__ == "__main__":
    main()
