"""How a network's training went, as PNG pictures: what it lost step by step, and what it could do epoch by epoch.

Drawn like `plots.py`: the same log gives the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from simsearch.show.plots import INK, LINE, PALE, QUIET, RIGHT, SMALL, WRONG, _axes, _clipped, _figure, _png, _sober

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Line = Mapping[str, Any]
Points = npt.NDArray[np.float64]

COLOURS = (RIGHT, WRONG, "#2f7f6f", "#7d5a9e", "#a08217", "#4f4a44", "#b8578a", "#5fa3d0")
SAFE = 4
"""So many of the colours stay apart for every kind of colour blindness; the next so many lines have dashes too."""
DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)))
FIGURES = {"accuracy": "accuracy", "f1": "macro F1", "p10": "P@10", "p10_other": "P@10, other artists"}
"""Held-out figures of a kind that are drawn, and their names."""
SMOOTHED = 20
"""A running mean of the loss is over a window of one in so many of its points."""
LEFT, WIDTH, HEIGHT, GAP = 0.8, 6.2, 2.5, 0.75
"""Inches of a panel: its left edge, its width and height, and what is between two."""


def losses_plot(log: Sequence[Line], name: str) -> bytes:
    """The loss and its terms over epochs, and below them the learning rate, as PNG. Raises ValueError without steps."""
    return _png(lambda: losses_figure(log, name), (name, *_terms(log)))


def held_out_plot(log: Sequence[Line], name: str) -> bytes:
    """Figures on the works held out over epochs, a panel a kind of label, as PNG. Raises ValueError where none are."""
    return _png(lambda: held_out_figure(log, name), (name, *_kinds(log)))


def has_steps(log: Sequence[Line]) -> bool:
    """Whether there is a loss to draw."""
    return any("loss" in line for line in log)


def has_held_out(log: Sequence[Line]) -> bool:
    """Whether there are held-out figures to draw."""
    return bool(_kinds(log))


# -- figures -----------------------------------------------------------------------------------------------------------


def losses_figure(log: Sequence[Line], name: str) -> Figure:
    """Three panels over epochs: the whole loss, with its running mean; its terms; the learning rate."""
    steps = [line for line in log if "loss" in line]
    if not steps:
        raise ValueError("the log holds no step")
    epochs = _epochs(log, steps)
    terms = _terms(log)
    panels = ["loss", *(["terms"] if len(terms) > 1 else []), "rate"]
    figure, axes = _panels(len(panels), _clipped(name))
    for panel, axis in zip(panels, axes, strict=True):
        if panel == "loss":
            loss = _column(steps, "loss")
            axis.plot(epochs, loss, color=PALE, linewidth=1)
            axis.plot(epochs, running_mean(loss), color=RIGHT, linewidth=1.6, label="loss, running mean")
            axis.set_ylabel("loss")
        elif panel == "terms":
            for number, term in enumerate(terms):
                value = running_mean(_within(steps, "losses", term))
                axis.plot(epochs, value, label=_shown(term), **_style(number))
            axis.set_ylabel("terms of the loss")
            _key(axis)
        else:
            axis.plot(epochs, _column(steps, "lr"), color=QUIET, linewidth=1.4)
            axis.set_ylabel("learning rate")
            axis.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
            axis.yaxis.get_offset_text().set(fontsize=SMALL, color=QUIET)
    _finish(axes, log)
    return figure


def held_out_figure(log: Sequence[Line], name: str) -> Figure:
    """For each kind of label a panel of shares, 0 to 1, over epochs; a point an epoch."""
    kinds = _kinds(log)
    if not kinds:
        raise ValueError("the log holds no figures of held-out works")
    measured = [line for line in log if line.get("held_out")]
    epochs = _epochs(log, measured)
    figure, axes = _panels(len(kinds), _clipped(name))
    for kind, axis in zip(kinds, axes, strict=True):
        for number, (key, words) in enumerate(FIGURES.items()):
            value = _within(measured, "held_out", f"{kind}_{key}")
            if np.isfinite(value).any():
                axis.plot(epochs, value, marker="o", markersize=3.5, clip_on=False, label=words, **_style(number))
        axis.set_ylabel(f"{_clipped(kind)}, held out", parse_math=False)
        axis.yaxis.set_major_formatter("{x:.2f}")
        _key(axis)
    _finish(axes, log)
    return figure


# -- what is in a log --------------------------------------------------------------------------------------------------


def running_mean(values: Points) -> Points:
    """Mean of each value with those around it, (n,), over a window that shrinks evenly towards both ends."""
    half = len(values) // (2 * SMOOTHED)
    sums = np.concatenate([[0.0], np.cumsum(np.nan_to_num(values))])
    counts = np.concatenate([[0], np.cumsum(np.isfinite(values))])
    place = np.arange(len(values))
    reach = np.minimum(half, np.minimum(place, len(values) - 1 - place))
    low, high = place - reach, place + reach + 1
    with np.errstate(invalid="ignore"):
        return np.asarray((sums[high] - sums[low]) / (counts[high] - counts[low]))


def phase_starts(log: Sequence[Line]) -> dict[int, float]:
    """Phase to the epochs of all phases before it, by number."""
    longest: dict[int, float] = {}
    for line in log:
        longest[line["phase"]] = max(longest.get(line["phase"], 0.0), float(line["epoch"]))
    starts, passed = {}, 0.0
    for phase in sorted(longest):
        starts[phase] = passed
        passed += longest[phase]
    return starts


def _epochs(log: Sequence[Line], lines: Sequence[Line]) -> Points:
    starts = phase_starts(log)
    return np.array([starts[line["phase"]] + float(line["epoch"]) for line in lines])


def _terms(log: Sequence[Line]) -> list[str]:
    return list(dict.fromkeys(term for line in log for term in line.get("losses", {})))


def _kinds(log: Sequence[Line]) -> list[str]:
    """Kinds of label with a figure to draw."""
    names = dict.fromkeys(name for line in log for name in line.get("held_out") or {})
    found = [name[: -len(key) - 1] for name in names for key in FIGURES if name.endswith(f"_{key}")]
    return list(dict.fromkeys(found))


def _column(lines: Sequence[Line], key: str) -> Points:
    return np.array([float(line.get(key, math.nan)) for line in lines], dtype=np.float64)


def _within(lines: Sequence[Line], key: str, inner: str) -> Points:
    return np.array([float(line.get(key, {}).get(inner, math.nan)) for line in lines], dtype=np.float64)


# -- drawing -----------------------------------------------------------------------------------------------------------


def _panels(count: int, title: str) -> tuple[Figure, list[Axes]]:
    """A figure of panels one above the other, the first at the top."""
    height = 0.7 + count * HEIGHT + (count - 1) * GAP + 0.6
    figure = _figure(LEFT + WIDTH + 0.25, height)
    bottoms = [0.6 + (count - 1 - number) * (HEIGHT + GAP) for number in range(count)]
    axes = [_axes(figure, LEFT, bottom, WIDTH, HEIGHT) for bottom in bottoms]
    axes[0].set_title(title, loc="left", fontsize=10, color=INK, pad=20, parse_math=False)
    return figure, axes


def _finish(axes: Sequence[Axes], log: Sequence[Line]) -> None:
    """What all panels share: the axis of epochs, and lines where a phase begins."""
    starts = phase_starts(log)
    end = max(starts[line["phase"]] + float(line["epoch"]) for line in log)
    for axis in axes:
        _sober(axis)
        axis.set_xlim(0, end or 1)
        for phase, start in starts.items():
            if start:
                axis.axvline(start, color=LINE, linewidth=1.2, zorder=0)
            if len(starts) > 1 and axis is axes[0]:
                axis.annotate(f"phase {phase}", (start, 1), (0, 4), xycoords=("data", "axes fraction"),
                              textcoords="offset points", va="bottom", fontsize=SMALL, color=QUIET)  # fmt: skip
    axes[-1].set_xlabel("epochs")


def _style(number: int) -> dict[str, Any]:
    dash = DASHES[number // SAFE % len(DASHES)]
    return {"color": COLOURS[number % len(COLOURS)], "linewidth": 1.5, "linestyle": dash}


def _key(axis: Axes) -> None:
    for text in axis.legend(loc="best", frameon=False, fontsize=SMALL, labelcolor=INK).get_texts():
        text.set_parse_math(False)


def _shown(term: str) -> str:
    """A name for the key, from which matplotlib leaves out those that begin with an underscore."""
    name = _clipped(term)
    return f" {name}" if name.startswith("_") else name
