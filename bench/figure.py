"""Curves of a few lines each, side by side in one PNG."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#0072b2", "#d55e00", "#009e73")  # that the colour-blind tell apart: Okabe & Ito 2008
INK, GUIDE = "#333333", "#999999"
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Panel:
    """lines: by name; guide: a name and points of a dashed line, what would be ideal; log: the logarithmic ones of "xy"."""

    title: str
    x: str
    y: str
    lines: Mapping[str, Points]
    guide: tuple[str, Points] | None = None
    log: str = "x"


def drawn(panels: Sequence[Panel], title: str) -> bytes:
    """A PNG, two panels a row."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    rows = -(-len(panels) // 2)
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12)
    figure = Figure(figsize=(10, 0.5 + 3.9 * rows), dpi=120, layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    figure.suptitle(title, color=INK, fontsize=13)
    for panel, axes in zip(panels, figure.subplots(rows, 2, squeeze=False).flat, strict=False):
        _draw(panel, axes)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def _draw(panel: Panel, axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

    axes.set_xscale("log" if "x" in panel.log else "linear")
    axes.set_yscale("log" if "y" in panel.log else "linear")
    if panel.guide is not None:
        name, points = panel.guide
        axes.plot(*zip(*points, strict=True), color=GUIDE, linewidth=1.2, linestyle="--", label=name)
    for colour, (name, points) in zip(COLOURS, panel.lines.items(), strict=False):
        axes.plot(*zip(*points, strict=True), color=colour, linewidth=2, marker="o", markersize=5, label=name)
    plain = FuncFormatter(lambda value, _: f"{value:,.10g}")
    axes.set_xticks(sorted({x for points in panel.lines.values() for x, _ in points}))
    axes.xaxis.set_major_formatter(plain)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(plain)
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.06, y=0.12)
    if "y" not in panel.log:
        axes.set_ylim(bottom=0)
    axes.set_title(panel.title, loc="left", color=INK, fontsize=11)
    axes.set_xlabel(panel.x, color=INK)
    axes.set_ylabel(panel.y, color=INK)
    axes.grid(which="both", color="#e6e6e6", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
