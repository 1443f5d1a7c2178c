"""What mixes of original and tuned weights can do, as a PNG picture: what was tuned for against what is retained.

Drawn like `curves.py`: the same figures give the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from simsearch.show.plots import INK, QUIET, RIGHT, SMALL, WRONG, _axes, _clipped, _figure, _png, _sober

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEFT, BOTTOM, SIDE = 0.8, 0.75, 4.2
"""Inches of the panel."""
ROOM = 0.08
"""Share of the figures' range that stays free around them."""


def trade_off_plot(trade_off: Mapping[str, Any], name: str) -> bytes:
    """The curve from the original to the tuned weights as PNG. Raises ValueError where nothing was measured."""
    return _png(lambda: trade_off_figure(trade_off, name), (name, trade_off["task"], trade_off["retained"]))


def trade_off_figure(trade_off: Mapping[str, Any], name: str) -> Figure:
    """A point a mix: retained ability across, task upwards; the chosen one is marked, and the least that is kept."""
    points = [p for p in trade_off["points"] if p["task"] is not None and p["retained"] is not None]
    if not points:
        raise ValueError("no mix was measured")
    figure = _figure(LEFT + SIDE + 0.35, BOTTOM + SIDE + 0.75)
    axis = _axes(figure, LEFT, BOTTOM, SIDE, SIDE)
    across, up = [p["retained"] for p in points], [p["task"] for p in points]
    axis.plot(across, up, color=RIGHT, linewidth=1.5, marker="o", markersize=4, clip_on=False, zorder=2)
    chosen = [p for p in points if p["alpha"] == trade_off["chosen"]]
    axis.plot(
        [p["retained"] for p in chosen], [p["task"] for p in chosen], linestyle="", marker="o", markersize=9,
        markerfacecolor="none", markeredgecolor=WRONG, markeredgewidth=1.8, clip_on=False, zorder=3,
    )  # fmt: skip
    least = trade_off["keep"] * trade_off["points"][0]["retained"] if points[0]["alpha"] == 0 else math.nan
    _limits(axis, [*across, *([least] if math.isfinite(least) else [])], up)
    if math.isfinite(least):
        axis.axvline(least, color=QUIET, linewidth=1.2, linestyle=(0, (5, 2)), zorder=0)
    for point in points:
        axis.annotate(
            f"{point['alpha']:g}", (point["retained"], point["task"]), (5, 4), textcoords="offset points",
            fontsize=SMALL, color=WRONG if point in chosen else QUIET, annotation_clip=False,
        )  # fmt: skip
    _sober(axis)
    axis.set_title(_clipped(name), loc="left", fontsize=10, color=INK, pad=20, parse_math=False)
    axis.annotate(
        "share of tuned weights; ring: chosen; dashes: least kept", (0, 1), (0, 6),
        xycoords="axes fraction", textcoords="offset points", fontsize=SMALL, color=QUIET,
    )  # fmt: skip
    axis.set_xlabel(trade_off["retained"], parse_math=False)
    axis.set_ylabel(trade_off["task"], parse_math=False, fontsize=SMALL)
    return figure


def _limits(axis: Axes, across: Sequence[float], up: Sequence[float]) -> None:
    for low_high, setter in ((across, axis.set_xlim), (up, axis.set_ylim)):
        low, high = min(low_high), max(low_high)
        room = max(ROOM * (high - low), 0.01)
        setter(low - room, high + room)
