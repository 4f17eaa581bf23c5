"""`feature_map`: the features of an index on a plane, by principal components or by UMAP."""

from __future__ import annotations

import importlib.util
import warnings
from typing import Any

import torch
from torch import Tensor

from .. import checks
from ..errors import ExtraError, RequestError, shown
from ..results.feature_map import FeatureMap, check_extra
from ..seeding import stream_seed
from .feature_index import FeatureIndex

MOST = 4000  # points: a page of more than that is slow
LARGEST = 10_000  # points that can be asked for
_FEW = 10  # points below which UMAP has no neighbourhoods


def feature_map(index: FeatureIndex, *, method: str = "auto", most: int = MOST, seed: int = 0) -> FeatureMap:
    """The pictures of an index on a plane: near one another where their features are.

    method  pca: the two directions of the largest variance. umap: keeps neighbourhoods, and distances between far points mean
            nothing; needs the extra `umap`. auto: umap where it is installed, else pca
    most    points at most; their ids choose which
    """
    check_extra()
    if method not in ("auto", "pca", "umap"):
        raise RequestError(f"map by {shown(method)}; auto, pca or umap is needed")
    if method == "umap" and importlib.util.find_spec("umap") is None:
        raise ExtraError("a map by UMAP needs umap-learn; pip install 'phosphene[maps]', or take pca")
    kept = _kept(index, checks.whole("most", most, low=2, high=LARGEST), checks.seed(seed))
    rows = _rows(index, kept)
    by_umap = (method == "umap" or (method == "auto" and importlib.util.find_spec("umap") is not None)) and len(kept) >= _FEW
    points, explained = (_umap(rows["vector"], index.about["metric"], seed), ()) if by_umap else pca(rows["vector"])
    name = "umap" if by_umap else "pca"
    notes = [] if len(kept) == len(index) else [f"{len(kept):,} of {len(index):,} pictures are shown"]
    notes += ["distances between far points mean nothing in a map by UMAP"] if by_umap else []
    notes += [f"by PCA: {len(kept)} pictures are too few for UMAP"] if method == "umap" and not by_umap else []
    model = index.about["model"]["ref"].partition("?")[0].rpartition("/")[2]
    return FeatureMap(
        points=points,
        ids=tuple(rows["id"]),
        labels=tuple(rows["label"]),
        predictions=tuple(rows["prediction"]),
        thumbnails=tuple(one or b"" for one in rows["thumbnail"]),
        method=name,
        explained=explained,
        title=f"{model} · {index.layer} of {len(kept):,} picture{'' if len(kept) == 1 else 's'}, {name.upper()}",
        notes=tuple(notes),
    )


def pca(vectors: Tensor) -> tuple[Tensor, tuple[float, ...]]:
    """(n, d) -> (n, 2) on the two directions of the largest variance, and the shares of the variance that they have.

    The sign of an axis makes its largest component positive.
    >>> points, shares = pca(torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 1.0], [3.0, 1.0]]))
    >>> points.round(decimals=2).abs().tolist()[0], [round(share, 2) for share in shares]
    ([1.5, 0.5], [0.9, 0.1])
    """
    x = vectors.double() - vectors.double().mean(0)
    n, d = x.shape
    if d <= n:
        variances, axes = torch.linalg.eigh(x.T @ x)
        axes = axes.flip(1)[:, :2]
    else:  # the same axes from the smaller matrix of inner products
        variances, weights = torch.linalg.eigh(x @ x.T)
        axes = x.T @ weights.flip(1)[:, :2]
        axes = axes / axes.norm(dim=0).clamp(min=1e-300)
    if axes.shape[1] < 2:
        axes = torch.cat([axes, torch.zeros_like(axes)], 1)
    largest = axes.gather(0, axes.abs().argmax(0, keepdim=True))
    axes = axes * torch.where(largest < 0, -1.0, 1.0)
    total = float(variances.clamp(min=0).sum()) or 1.0
    shares = tuple(float(v) / total for v in variances.clamp(min=0).flip(0)[:2])
    return (x @ axes).float(), shares


def _umap(vectors: Tensor, metric: str, seed: int) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of numba's and scikit-learn's changes to come, and that a seed means one thread
        import umap

        neighbours = min(15, len(vectors) - 1)
        name = "cosine" if metric == "cosine" else "euclidean"
        reducer: Any = umap.UMAP(n_components=2, n_neighbors=neighbours, metric=name, random_state=seed % 2**32)
        return torch.from_numpy(reducer.fit_transform(vectors.numpy())).float()


def _kept(index: FeatureIndex, most: int, seed: int) -> set[str]:
    names = index.ids()
    return set(sorted(names, key=lambda name: stream_seed(seed, "map", name))[:most] if len(names) > most else names)


def _rows(index: FeatureIndex, kept: set[str]) -> dict[str, Any]:
    """The kept rows in the order of their ids, so that a map does not depend on how the index was written."""
    columns = ("id", "label", "prediction", "thumbnail")
    found: list[tuple[Any, ...]] = []
    vectors: list[Tensor] = []
    for rows in index.rows((*columns, "vector")):
        places = [i for i, name in enumerate(rows["id"]) if name in kept]
        found += [tuple(rows[name][i] for name in columns) for i in places]
        vectors += [torch.from_numpy(rows["vector"][i].copy()) for i in places]
    order = sorted(range(len(found)), key=lambda i: found[i][0])
    return {name: [found[i][at] for i in order] for at, name in enumerate(columns)} | {
        "vector": torch.stack([vectors[i] for i in order])
    }
