"""What a head got right and wrong, as PNG pictures for a page or a paper.

Each plot is drawn with matplotlib's defaults, whatever the user's own settings say, and carries no date or version:
the same figures give the same bytes. Right answers are blue and wrong ones are rust, which stay apart for every kind of
colour blindness; darker is more.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from simsearch.figures import HeadFigures
from simsearch.show.confusion import Excerpt, excerpt
from simsearch.show.numbers import decimals, estimate, per_cent
from simsearch.show.text import harmless

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 200
SHOWN_DPI = 100
"""An inch of a plot takes this many pixels on a page; the file has twice as many."""

PAPER, INK, QUIET, LINE = "#fdfcfa", "#24211d", "#645d53", "#d9d3c8"
RIGHT, WRONG, PALE = "#1f5a92", "#a8471a", "#cfdbe7"
SMALL = 8.5
LEGEND = ("right", "taken for another")
NAME_LENGTH = 26
"""Longer names are cut."""
NUMBERED = 24
"""Up to so many classes each cell of a confusion matrix bears its number."""

FONTS = ("DejaVu Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Noto Sans", "Hiragino Sans",
         "PingFang SC", "Microsoft YaHei", "Arial Unicode MS")  # fmt: skip
"""The first comes with matplotlib; of the others those that are installed fill in letters that it lacks."""


def confusion_plot(head: HeadFigures) -> bytes:
    """The confusion matrix, each row in shares of its class; of many classes those most often confused, as PNG."""
    return _png(lambda: confusion_figure(head), (head.name, *head.classes))


def reliability_plot(head: HeadFigures) -> bytes:
    """Accuracy over probability beside the diagonal, and how many answers have which probability, as PNG."""
    return _png(lambda: reliability_figure(head), (head.name,))


def coverage_plot(head: HeadFigures) -> bytes:
    """Accuracy among the answers over the share of works answered, the head's own threshold marked, as PNG."""
    return _png(lambda: coverage_figure(head), (head.name,))


# -- confusion ---------------------------------------------------------------------------------------------------------


def confusion_figure(head: HeadFigures) -> Figure:
    """The matrix as two layers of one picture, right answers and wrong ones; a cell is the share of its row, 0 to 1."""
    from matplotlib.colors import LinearSegmentedColormap, PowerNorm

    part = excerpt(head)
    rows, columns = part.shares.shape
    side = _cell_side(columns)
    names = [_clipped(name) for name in part.columns]
    supports = [f"{_clipped(name)}  {count:,}" for name, count in zip(part.rows, part.support, strict=True)]
    size = SMALL if side >= 0.3 else 7
    left, bottom = _text_inches(supports, size) + 0.5, _text_inches(names, size) + 0.55
    if columns <= 3:
        left, bottom = max(left, 1.2), 0.6
        side = max(side, _text_inches(names, size) + 0.15)
    numbered = columns <= NUMBERED
    note = "per cent of each class" if numbered else "darker is a larger share of the class"
    width = max(columns * side, _text_inches(["".join(LEGEND) + note], SMALL) + 1.0)
    figure = _figure(left + width + 0.15, bottom + rows * side + 0.6)
    axes = _axes(figure, left, bottom, columns * side, rows * side)

    diagonal = np.eye(rows, columns, dtype=bool)
    for mask, colour in ((~diagonal, RIGHT), (diagonal, WRONG)):
        shades = LinearSegmentedColormap.from_list("shades", [PAPER, colour])
        layer = np.ma.masked_array(part.shares, mask)
        axes.imshow(layer, cmap=shades, norm=PowerNorm(0.6, 0, 1), interpolation="nearest", aspect="auto")
    _grid(axes, rows, columns)
    upright = 0 if columns <= 3 else 90
    axes.set_xticks(range(columns), names, rotation=upright, fontsize=size, parse_math=False)
    axes.set_yticks(range(rows), supports, fontsize=size, parse_math=False)
    axes.set_xlabel(f"named by the head as{_of_all(part)}", fontsize=SMALL, color=QUIET)
    axes.set_ylabel("true class, with its held-out works", fontsize=SMALL, color=QUIET)
    if numbered:
        _write_numbers(axes, part.shares, min(9.0, 22 * side))
    _legend(figure, left, note)
    return figure


def _cell_side(columns: int) -> float:
    """Inches of a cell: a matrix fills the page from a dozen classes on."""
    return max(0.2, min(0.64, 7.4 / columns)) if columns > 3 else 1.1


def _of_all(part: Excerpt) -> str:
    if part.of == len(part.rows):
        return ""
    return f"\nthe {len(part.rows)} of {part.of} classes that are confused most; the last column is all others together"


def _write_numbers(axes: Axes, shares: npt.NDArray[np.float64], size: float) -> None:
    for (row, column), share in np.ndenumerate(shares):
        whole = round(100 * float(share))
        if whole or row == column:
            # The shade passes the middle grey at a share of about a third: its norm is share ** 0.6.
            colour = PAPER if share > 0.34 else INK
            axes.text(column, row, f"{whole}", ha="center", va="center", fontsize=size, color=colour)


def _grid(axes: Axes, rows: int, columns: int) -> None:
    axes.set_xticks(np.arange(columns + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(rows + 1) - 0.5, minor=True)
    axes.grid(which="minor", color=LINE, linewidth=0.6)
    axes.tick_params(which="both", length=0, colors=INK)
    for spine in axes.spines.values():
        spine.set_color(LINE)


def _legend(figure: Figure, left: float, note: str) -> None:
    """One line above the axes: what the colours say."""
    from matplotlib.patches import Rectangle

    width, height = figure.get_size_inches()
    x, y = left, height - 0.36
    for words, colour in zip(LEGEND, (RIGHT, WRONG), strict=True):
        figure.add_artist(Rectangle((x / width, y / height), 0.14 / width, 0.14 / height, color=colour))
        x += 0.2
        figure.text(x / width, y / height, words, fontsize=SMALL, color=INK)
        x += _text_inches([words], SMALL) + 0.25
    figure.text(x / width, y / height, note, fontsize=SMALL, color=QUIET)


# -- reliability -------------------------------------------------------------------------------------------------------


def reliability_figure(head: HeadFigures) -> Figure:
    """Above, accuracy over probability bin by bin; below, how many answers each bin holds."""
    from matplotlib.ticker import MaxNLocator

    bins = head.reliability
    edges, count = np.array(bins.edges), np.array(bins.count)
    filled = count > 0
    confidence, accuracy = np.array(bins.confidence)[filled], np.array(bins.accuracy)[filled]
    low, high = wilson(accuracy, count[filled])
    width, left = np.diff(edges), edges[:-1]

    figure = _figure(6.2, 5.5)
    axes = _axes(figure, 0.8, 1.75, 5.1, 3.3)
    axes.bar(left[filled], accuracy, width[filled], align="edge", color=PALE, edgecolor=PAPER)
    axes.plot([0, 1], [0, 1], color=QUIET, linewidth=1, linestyle=(0, (4, 3)), label="as often right as it says")
    errors = np.maximum(0, [accuracy - low, high - accuracy])
    axes.errorbar(confidence, accuracy, errors, fmt="o", color=RIGHT, markersize=4.5, linewidth=1.3, capsize=2,
                  clip_on=False, zorder=3, label="share right, with 95 % interval")  # fmt: skip
    axes.set(xlim=(0, 1), ylim=(0, 1), ylabel="share right")
    axes.tick_params(labelbottom=False)
    axes.legend(loc="upper left", frameon=False, fontsize=SMALL, labelcolor=INK)
    axes.set_title(f"Expected calibration error {estimate(head.ece)}", loc="left", fontsize=10, color=INK, pad=10)

    below = _axes(figure, 0.8, 0.6, 5.1, 0.95)
    below.bar(left, count, width, align="edge", color="#8f887d", edgecolor=PAPER)
    below.set(xlim=(0, 1), xlabel="probability of the answer", ylabel="works")
    for part in (axes, below):
        _sober(part)
        _in_per_cent(part.xaxis)
    _in_per_cent(axes.yaxis)
    below.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    below.yaxis.set_major_formatter("{x:,.0f}")
    figure.align_ylabels([axes, below])
    return figure


def wilson(shares: npt.ArrayLike, counts: npt.ArrayLike) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """95 % score interval of shares (n,) of counts (n,) of at least 1 (Wilson 1927)."""
    p, n, z = np.asarray(shares, np.float64), np.asarray(counts, np.float64), 1.959964
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    return middle - half, middle + half


# -- coverage ----------------------------------------------------------------------------------------------------------


def coverage_figure(head: HeadFigures) -> Figure:
    """Accuracy among the answers as fewer and fewer works are answered; the threshold's point with its intervals."""
    curve = np.array([(c, a) for c, a in head.coverage if c > 0 and math.isfinite(a)]).reshape(-1, 2)
    figure = _figure(6.2, 5.5)
    axes = _axes(figure, 0.8, 0.6, 5.1, 4.45)
    axes.plot(curve[:, 0], curve[:, 1], color=RIGHT, linewidth=1.6)
    x, y = head.answered, head.accuracy_answered
    if math.isfinite(y.value):
        errors = [[[max(0.0, v.value - v.low)], [max(0.0, v.high - v.value)]] for v in (x, y)]
        axes.errorbar(x.value, y.value, errors[1], errors[0], fmt="o", color=WRONG, markersize=6, capsize=2.5)
        words = (f"from a probability of {decimals(head.threshold)} on:\n"
                 f"{per_cent(x.value)} answered, {per_cent(y.value)} of them rightly")  # fmt: skip
        _beside(axes, (x.value, y.value), words, WRONG)
    lowest = min([*curve[:, 1], y.low if math.isfinite(y.low) else 1.0], default=0.0)
    bottom = max(0.0, math.floor(20 * lowest - 1) / 20)
    axes.set(xlim=(0, 1.01), ylim=(bottom, 1.01))
    if len(curve) and abs(curve[-1, 1] - y.value) > 0.12 * (1 - bottom):  # else its words would lie on the others
        _beside(axes, (curve[-1, 0], curve[-1, 1]), f"everything answered: {per_cent(curve[-1, 1])} rightly", RIGHT)
    axes.set(xlabel="share of works answered", ylabel="share of the answers that are right")
    axes.set_title("Answering only where the head is sure", loc="left", fontsize=10, color=INK, pad=10)
    _sober(axes)
    _in_per_cent(axes.xaxis)
    _in_per_cent(axes.yaxis)
    return figure


def _beside(axes: Axes, point: tuple[float, float], words: str, colour: str) -> None:
    """Words below a point and on the side where there is room: the curve falls from the left above to the right."""
    left = point[0] > 0.55
    axes.annotate(words, point, (-9 if left else 9, -9), textcoords="offset points", ha="right" if left else "left",
                  va="top", fontsize=SMALL, color=colour,
                  bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 1.5})  # fmt: skip


# -- what all share ----------------------------------------------------------------------------------------------------


def _figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, facecolor=PAPER)
    FigureCanvasAgg(figure)
    return figure


def _axes(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Axes at a place in inches."""
    across, up = figure.get_size_inches()
    return figure.add_axes((left / across, bottom / up, width / across, height / up), facecolor=PAPER)


def _sober(axes: Axes) -> None:
    axes.grid(color=LINE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, pad=6, colors=QUIET, labelsize=SMALL)
    axes.xaxis.label.set(color=INK, fontsize=9)
    axes.yaxis.label.set(color=INK, fontsize=9)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(LINE)


def _in_per_cent(axis: Any) -> None:
    from matplotlib.ticker import PercentFormatter

    axis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))


def _clipped(name: str) -> str:
    name = harmless(name).strip() or "without a name"
    return name if len(name) <= NAME_LENGTH else name[: NAME_LENGTH - 1].rstrip() + "…"


def _text_inches(texts: Iterable[str], size: float) -> float:
    """Width of the longest text."""
    figure = _figure(1, 1)
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    widths = []
    for words in texts:
        text = figure.text(0, 0, words, fontsize=size, parse_math=False)
        widths.append(float(text.get_window_extent(renderer).width) / DPI)
        text.remove()
    return max(widths, default=0.0)


def _png(draw: Callable[[], Figure], texts: Iterable[str]) -> bytes:
    out = io.BytesIO()
    with _defaults("".join(texts)):
        # Without it the file would say which matplotlib drew it.
        draw().savefig(out, format="png", dpi=DPI, metadata={"Software": None})
    return out.getvalue()


@contextmanager
def _defaults(text: str) -> Iterator[None]:
    """matplotlib with its default settings and with fonts for these letters; the user's settings come back after."""
    import matplotlib

    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams["font.family"] = _fonts(text)
        # A letter that no font has is shown as a box; that is no reason to fail.
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from", UserWarning)
        yield


def _fonts(text: str) -> list[str]:
    from matplotlib import font_manager

    own = font_manager.get_font(font_manager.findfont(FONTS[0])).get_charmap()
    if all(ord(letter) in own for letter in text):
        return [FONTS[0]]
    installed = {font.name for font in font_manager.fontManager.ttflist}
    return [FONTS[0], *(name for name in FONTS[1:] if name in installed)]
