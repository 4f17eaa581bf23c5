"""FeatureMap: a data set's features on a plane, as a page whose points show their pictures."""

from __future__ import annotations

import base64
import html
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ..errors import ExtraError
from ..pictures import files

MOST_COLOURS = 24  # labels that have a colour of their own; the others are grey
_PAGE = """
const plot = document.getElementById('{plot_id}'), card = document.createElement('div'), image = new Image();
card.style.cssText = 'position:fixed;display:none;background:#fff;border:1px solid #999;padding:6px;font:13px sans-serif;' +
  'pointer-events:none;z-index:9;max-width:260px';
const words = document.createElement('div');
image.style.cssText = 'display:block;min-width:96px;max-width:200px;image-rendering:auto';
card.append(image, words);
document.body.append(card);
plot.on('plotly_hover', event => {
  const [thumbnail, name, label, prediction] = event.points[0].customdata;
  image.src = thumbnail;
  words.textContent = name + (label ? ' · ' + label : '') + ' · seen as ' + prediction;
  card.style.display = 'block';
  const {clientX: x, clientY: y} = event.event;
  card.style.left = Math.min(x + 16, innerWidth - 280) + 'px';
  card.style.top = Math.min(y + 16, innerHeight - 260) + 'px';
});
plot.on('plotly_unhover', () => { card.style.display = 'none'; });
"""


@dataclass(frozen=True, eq=False)
class FeatureMap:
    """What `feature_map` gives.

    points      (n, 2) float32
    ids, labels, predictions, thumbnails  of the pictures at the points
    method      pca or umap
    explained   of pca: the shares of the variance on the two axes
    notes       sentences on what may mislead
    """

    points: Tensor
    ids: tuple[str, ...]
    labels: tuple[str | None, ...]
    predictions: tuple[str, ...]
    thumbnails: tuple[bytes, ...]
    method: str
    explained: tuple[float, ...]
    title: str
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return f"FeatureMap({len(self)} by {self.method})"

    def page(self) -> str:
        """A web page by itself, that loads nothing. Points of a label have one colour; a point shows its picture."""
        return str(self._figure().to_html(include_plotlyjs=True, full_html=True, post_script=_PAGE, default_height="96vh"))

    def save(self, folder: str | Path) -> Path:
        """Write map.html and the points as map.npy into the folder; gives the page's path."""
        place = files.folder(folder)
        array = self.points.numpy()
        files.write_whole(place / "map.npy", lambda beside: np.save(beside, array, allow_pickle=False))
        return files.write_text(place / "map.html", self.page())

    def to_dict(self) -> dict[str, Any]:
        said = {"points": len(self), "method": self.method, "explained": [round(share, 6) for share in self.explained]}
        return said | ({"notes": list(self.notes)} if self.notes else {})

    def _repr_html_(self) -> str:
        return str(self._figure().to_html(include_plotlyjs="cdn", full_html=False, post_script=_PAGE))

    def _figure(self) -> Any:
        check_extra()
        from plotly import graph_objects

        axes = [f"{self.method.upper()} {i + 1}{_share(self.explained, i)}" for i in range(2)]
        traces = [self._trace(graph_objects, name, colour, rows) for name, colour, rows in self._groups()]
        figure = graph_objects.Figure(traces)
        figure.update_layout(
            title=html.escape(self.title),
            xaxis_title=axes[0],
            yaxis_title=axes[1],
            template="plotly_white",
            hovermode="closest",
        )
        figure.update_yaxes(scaleanchor="x")
        return figure

    def _groups(self) -> list[tuple[str, str, list[int]]]:
        """Name, colour and points of each label; where there are no labels, of each prediction."""
        names = [label if label is not None else "" for label in self.labels]
        names = names if any(names) else list(self.predictions)
        rows: dict[str, list[int]] = {}
        for i, name in enumerate(names):
            rows.setdefault(name, []).append(i)
        order = sorted(rows, key=lambda name: (-len(rows[name]), name))
        first, rest = order[:MOST_COLOURS], order[MOST_COLOURS:]
        groups = [(name or "without a label", _colour(i), rows[name]) for i, name in enumerate(first)]
        return groups + ([("others", "#b8bcc4", [i for name in rest for i in rows[name]])] if rest else [])

    def _trace(self, graph_objects: Any, name: str, colour: str, rows: Sequence[int]) -> Any:
        data = [[_url(self.thumbnails[i]), self.ids[i], self.labels[i] or "", self.predictions[i]] for i in rows]
        marker = {"size": 8, "color": colour, "line": {"width": 0.5, "color": "white"}}
        return graph_objects.Scattergl(
            x=self.points[rows, 0].tolist(),
            y=self.points[rows, 1].tolist(),
            mode="markers",
            name=html.escape(name),
            customdata=data,
            marker=marker,
            hoverinfo="none",
        )


def check_extra() -> None:
    """ExtraError without Plotly."""
    if importlib.util.find_spec("plotly") is None:
        raise ExtraError("a map of features needs Plotly; pip install 'phosphene[examples]'")


def _share(explained: Sequence[float], axis: int) -> str:
    return f" ({explained[axis]:.0%} of the variance)" if axis < len(explained) else ""


def _colour(place: int) -> str:
    """Hues by the golden angle, of alternating lightness: neighbours in the list are far apart."""
    import colorsys

    r, g, b = colorsys.hls_to_rgb((0.58 + place * 0.381966) % 1, (0.45, 0.62, 0.35)[place % 3], 0.65)
    return f"rgb({round(r * 255)},{round(g * 255)},{round(b * 255)})"


def _url(thumbnail: bytes) -> str:
    kind = "png" if thumbnail[:4] == b"\x89PNG" else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(thumbnail).decode()}"
