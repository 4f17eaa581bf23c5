"""What an index of 100,000 × 1280 vectors costs, and how right its approximate answers are: prints a Markdown table.

    python -m bench.neighbours                       in a folder that is taken away afterwards
    python -m bench.neighbours --count 20000 --queries 20

The vectors are rectified mixtures of 64 directions with noise, as features are: about half of the numbers are zero. `clusters`
lie about 1,000 centres, `spread` about none, which is harder. Queries are new ones of the same kind. Recall@10 is the share of
the ten nearest by comparison of all that the index for large sets finds; both are asked for through `FeatureIndex.search`.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

import phosphene as ph
from phosphene.accumulate.feature_about import PIXELS_SIDE
from phosphene.accumulate.feature_index import FeatureIndex
from phosphene.accumulate.feature_store import Store

HEAD = (
    "| vectors | written, s | index, s | opened, ms | a query, all, ms | a query, index, ms | recall@10 |\n" + "|---" * 7 + "|"
)
WIDTH, DIRECTIONS, CENTRES, CHUNK = 1280, 64, 1000, 4096


class Maker:
    """Vectors of one kind."""

    def __init__(self, kind: str) -> None:
        self._rng = np.random.default_rng(0)
        self._basis = self._rng.standard_normal((DIRECTIONS, WIDTH), dtype=np.float32)
        self._centres = self._rng.standard_normal((CENTRES, DIRECTIONS), dtype=np.float32)
        self._kind = kind

    def some(self, count: int) -> np.ndarray:
        weights = self._rng.standard_normal((count, DIRECTIONS), dtype=np.float32)
        if self._kind == "clusters":
            weights = self._centres[self._rng.integers(0, CENTRES, count)] + 0.5 * weights
        noise = 2.4 * self._rng.standard_normal((count, WIDTH), dtype=np.float32)
        made: np.ndarray = np.maximum(weights @ self._basis + noise, 0)
        return made


def network() -> ph.Network:
    """Any whose layer has as many numbers."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, WIDTH), nn.Linear(WIDTH, 10))
    return ph.Network(module, ph.Preprocess(size=32))


def written(net: ph.Network, place: str, maker: Maker, count: int) -> tuple[float, float]:
    """Seconds to write, and to make the index."""
    started = time.monotonic()
    seed = FeatureIndex.build(net, torch.rand(1, 3, 32, 32), place, layer="2")
    store = Store.create(place, seed.about)
    for start in range(0, count, CHUNK):
        vectors = maker.some(min(CHUNK, count - start))
        names = [str(i) for i in range(start, start + len(vectors))]
        nothing: list[None] = [None] * len(vectors)
        row = {"id": names, "position": list(map(int, names)), "path": nothing, "label": nothing, "prediction": nothing}
        empty = np.zeros((len(vectors), 3 * PIXELS_SIDE**2), dtype=np.uint8)
        store.add(row | {"probability": [0.0] * len(vectors), "vector": vectors, "pixels": empty, "thumbnail": nothing})
    wrote = time.monotonic()
    store.finish(large=True)
    return wrote - started, time.monotonic() - wrote


def row(kind: str, count: int, queries: int) -> str:
    net, maker = network(), Maker(kind)
    with tempfile.TemporaryDirectory() as folder:
        place = str(Path(folder) / "features.lance")
        wrote, indexed = written(net, place, maker, count)
        started = time.monotonic()
        index = FeatureIndex.open(place, net)
        opened = time.monotonic() - started
        asked = [torch.from_numpy(one) for one in maker.some(queries)]
        times, found = {}, {}
        for exact in (True, False):
            index.search(asked[0], 10, exact=exact)  # once for what is read once
            started = time.monotonic()
            found[exact] = [{one.id for one in index.search(vector, 10, exact=exact)} for vector in asked]
            times[exact] = (time.monotonic() - started) / queries
    recall = sum(len(right & near) for right, near in zip(found[True], found[False], strict=True)) / (10 * queries)
    numbers = f"{wrote:.0f} | {indexed:.0f} | {1000 * opened:.0f} | {1000 * times[True]:.0f} | {1000 * times[False]:.0f}"
    return f"| {count:,} × {WIDTH}, {kind} | {numbers} | {recall:.3f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=50)
    given = parser.parse_args()
    print(HEAD)
    for kind in ("clusters", "spread"):
        print(row(kind, given.count, given.queries), flush=True)


if __name__ == "__main__":
    main()
