"""FeatureMap: a data set's features on a plane, as a page whose points show their pictures."""

from __future__ import annotations

import base64
import colorsys
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
from .neighbours import within

MOST_COLOURS = 24  # names that have a colour of their own; the others are grey
THUMBNAILS = 24 << 20  # bytes of all of a page's pictures, before base64; of many points each is smaller
CROWD = 1000  # points; of more each is smaller
GREY = "#b8bcc4"
_BUTTONS = ["toImage", "zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]  # none that shares what is on the page
_LONGEST = 40  # characters of a name in the legend
Group = tuple[str, dict[str, Any], list[int]]  # name, marker, points

# The policy forbids the page to load or send anything, whoever wrote the words on it.
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
img-src data: blob:; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ margin: 0 }}
#card {{ position: fixed; display: none; box-sizing: border-box; width: 174px; padding: 6px; z-index: 9; pointer-events: none;
  background: #fff; border: 1px solid #999; font: 13px/1.35 sans-serif; white-space: pre-line; overflow-wrap: anywhere }}
#card img {{ display: block; width: 160px; height: 160px; object-fit: contain }}
#card img[hidden] {{ display: none }}
</style>
</head>
<body>
<div id="card"><img alt=""><span></span></div>
{plot}
</body>
</html>
"""
_SCRIPT = """
const plot = document.getElementById('{plot_id}'), card = document.getElementById('card');
const [image, words] = card.children;
image.onload = () => { image.style.imageRendering = image.naturalWidth > 64 ? 'auto' : 'pixelated'; };
plot.on('plotly_hover', event => {
  const [thumbnail, ...lines] = event.points[0].customdata;
  image.hidden = !thumbnail;
  image.src = thumbnail;
  words.textContent = lines.filter(Boolean).join('\\n');
  card.style.display = 'block';
  const {clientX: x, clientY: y} = event.event, {offsetWidth: w, offsetHeight: h} = card;
  card.style.left = (x + 16 + w < innerWidth ? x + 16 : Math.max(0, x - 16 - w)) + 'px';
  card.style.top = Math.max(0, Math.min(y + 16, innerHeight - 4 - h)) + 'px';
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
        """A web page by itself, that loads and sends nothing. Points of a name have one colour; a point shows its picture.

        The same map gives the same bytes: at most 24 MiB of pictures as base64, and Plotly's own 5.
        """
        plot = self._figure().to_html(
            include_plotlyjs=True,
            full_html=False,
            post_script=_SCRIPT,
            default_height="100vh",
            div_id="map",
            config={"displaylogo": False, "modeBarButtons": [_BUTTONS]},
        )
        return _PAGE.format(title=html.escape(self.title), plot=plot)

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
        page = html.escape(self.page())
        return f'<iframe srcdoc="{page}" sandbox="allow-scripts" style="width: 100%; height: 640px; border: 0"></iframe>'

    def _figure(self) -> Any:
        check_extra()
        from plotly import graph_objects

        groups, (kind, _) = self._groups(), self._names()
        said = "".join(f"<br><sub>{_plain(note)}</sub>" for note in self.notes)
        figure = graph_objects.Figure([self._trace(graph_objects, *group) for group in groups])
        figure.update_layout(
            title={"text": _plain(self.title) + said, "x": 0, "xref": "paper", "y": 0.97, "yanchor": "top"},
            template="plotly_white",
            hovermode="closest",
            margin={"l": 64, "r": 24, "t": 56 + 20 * len(self.notes), "b": 56},
            showlegend=len(groups) > 1,
            legend={"title": {"text": kind}},
        )
        axes = [f"{self.method.upper()} {i + 1}{_share(self.explained, i)}" for i in range(2)]
        own = {"zeroline": False, "showticklabels": bool(self.explained)}  # UMAP's units mean nothing
        figure.update_xaxes(title=axes[0], **own)
        figure.update_yaxes(title=axes[1], scaleanchor="x", **own)
        return figure

    def _names(self) -> tuple[str, list[str]]:
        """What the colours are of, and its name at each point: the label, or where there are none, the prediction."""
        if any(self.labels):
            return "label", [label or "" for label in self.labels]
        return "predicted class", list(self.predictions)

    def _groups(self) -> list[Group]:
        """Those of one name each. Of more names than colours those that stand once are among the others."""
        rows: dict[str, list[int]] = {}
        for i, name in enumerate(self._names()[1]):
            rows.setdefault(name, []).append(i)
        without = rows.pop("", [])
        order = sorted(rows, key=lambda name: (-len(rows[name]), name))
        most = len(order) if len(order) <= MOST_COLOURS else sum(len(rows[name]) > 1 for name in order[:MOST_COLOURS])
        others = [i for name in order[most:] for i in rows[name]]
        groups: list[Group] = [
            # Drawn first, so that they lie below; told last.
            ("without a label", {"color": GREY, "symbol": "circle-open", "line": {"width": 1.5}}, without),
            ("others", {"color": GREY}, others),
            *((name, _marker(i), rows[name]) for i, name in enumerate(order[:most])),
        ]
        return [group for group in groups if group[2]]

    def _trace(self, graph_objects: Any, name: str, marker: dict[str, Any], rows: Sequence[int]) -> Any:
        most = THUMBNAILS // len(self)
        data = [
            [_url(within(self.thumbnails[i], most)), Path(self.ids[i]).name, self.labels[i], f"seen as {self.predictions[i]}"]
            for i in rows
        ]
        short = name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
        return graph_objects.Scatter(  # not Scattergl, which draws nothing where there is no WebGL
            x=self.points[rows, 0].tolist(),
            y=self.points[rows, 1].tolist(),
            mode="markers",
            name=_plain(f"{short} ({len(rows):,})"),
            customdata=data,
            marker={"size": 8 if len(self) <= CROWD else 5, "line": {"width": 0.5, "color": "white"}} | marker,
            hoverinfo="none",
            legendrank=2000 if marker["color"] == GREY else 1000,
        )


def check_extra() -> None:
    """ExtraError without Plotly."""
    if importlib.util.find_spec("plotly") is None:
        raise ExtraError("a map of features needs Plotly; pip install 'phosphene[maps]'")


def _plain(text: str) -> str:
    """For Plotly, which takes tags and these three entities."""
    return html.escape(text, quote=False)


def _share(explained: Sequence[float], axis: int) -> str:
    return f" ({explained[axis]:.0%} of the variance)" if axis < len(explained) else ""


def _marker(place: int) -> dict[str, Any]:
    """Hues by the golden angle, of alternating lightness; those that come near an earlier one have another form."""
    r, g, b = colorsys.hls_to_rgb((0.58 + place * 0.381966) % 1, (0.45, 0.62, 0.35)[place % 3], 0.65)
    symbol = ("circle", "square", "diamond")[place // 8 % 3]
    return {"color": f"rgb({round(r * 255)},{round(g * 255)},{round(b * 255)})", "symbol": symbol}


def _url(thumbnail: bytes) -> str:
    if not thumbnail:
        return ""
    kind = "png" if thumbnail[:4] == b"\x89PNG" else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(thumbnail).decode()}"
