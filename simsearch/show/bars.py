"""Small bars beside their numbers, by HTML and CSS alone: shares of 0 to 1, with intervals where there are any."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from simsearch.records import Estimate
from simsearch.show.numbers import UNKNOWN, per_cent
from simsearch.show.page import bidi, text

CSS = """
:root { --right: #1f5a92; --wrong: #a8471a; --other: #a39b8e; --track: #e8e3da; }
@media (prefers-color-scheme: dark) {
  :root { --right: #79acd9; --wrong: #e08e66; --other: #7d766b; --track: #2e2b27; }
}
.bar { display: block; position: relative; height: .625rem; min-width: 3rem; background: var(--track);
  print-color-adjust: exact; -webkit-print-color-adjust: exact; }
.bar i { position: absolute; inset: 0 auto 0 0; width: var(--v); background: var(--fill, var(--other)); }
.bar b { position: absolute; top: -.1875rem; bottom: -.1875rem; left: var(--low); width: calc(var(--high) - var(--low));
  min-width: 1px; border: solid var(--ink); border-width: 0 1px;
  background: linear-gradient(var(--ink), var(--ink)) center / 100% 1px no-repeat; }
.blank { background: none; }
.main .bar { --fill: var(--right); }
.charts { display: grid; gap: 2.5rem clamp(2rem, 4vw, 4rem); align-items: start;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)); }
.chart figcaption { padding: 0 0 .5rem; color: var(--quiet); }
.chart figcaption strong { display: block; font: 400 1.0625rem/1.4 var(--serif); color: var(--ink); }
.chart li { display: grid; grid-template-columns: minmax(0, 1fr) auto; gap: 0 1rem; padding: .45rem 0;
  color: var(--quiet); }
.chart .number { color: var(--ink); }
.chart .bar { grid-column: 1 / -1; margin: .3rem 0 .1rem; }
.chart .main { color: var(--ink); font-weight: 600; }
.number { white-space: nowrap; font-variant-numeric: tabular-nums; }
.number small { color: var(--quiet); font-size: .75rem; font-weight: 400; }
@media (min-width: 48.01rem) { .chart figcaption { min-height: 5.5em; } }
@media screen and (max-width: 48rem) { .chart .blank { display: none; } }
@media print {
  :root { --right: #1f5a92; --wrong: #a8471a; --other: #a39b8e; --track: #eee; }
  .charts { grid-template-columns: repeat(auto-fit, minmax(28%, 1fr)); gap: 6mm 8mm; }
  .chart figcaption { min-height: 5.5em; }
  .chart { break-inside: avoid; }
}
"""

BLANK = '<span class="bar blank" aria-hidden="true"></span>'
"""Keeps the place of a bar, so that charts side by side stay level."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One row of a chart."""

    name: str
    figure: Estimate | None
    main: bool = False
    """Set in the colour of what the page is about."""


def chart(title: str, hint: str, bars: Sequence[Bar]) -> str:
    """Bars below each other under one heading, on a scale of 0 to 1; one without a figure says so."""
    rows = "\n".join(_row(bar) for bar in bars)
    return f"""<figure class="chart">
<figcaption><strong>{text(title)}</strong> {text(hint)}</figcaption>
<ul role="list">
{rows}
</ul>
</figure>"""


def _row(bar: Bar) -> str:
    kind = ' class="main"' if bar.main else ""
    name = f'<span class="name">{bidi(bar.name)}</span>'
    if bar.figure is None or not math.isfinite(bar.figure.value):
        return f'<li{kind}>{name} <span class="number">{UNKNOWN}</span>{BLANK}</li>'
    return f'<li{kind}>{name} <span class="number">{with_interval(bar.figure)}</span>{drawn(bar.figure)}</li>'


def drawn(figure: Estimate) -> str:
    """The bar of a figure with its interval; not read out, since it says what the number beside it says."""
    interval = f'<b style="--low:{_place(figure.low)};--high:{_place(figure.high)}"></b>'
    return f'<span class="bar" aria-hidden="true"><i style="--v:{_place(figure.value)}"></i>{interval}</span>'


def plain(share: float) -> str:
    """The bar of a share that has no interval."""
    return f'<span class="bar" aria-hidden="true"><i style="--v:{_place(share)}"></i></span>'


def with_interval(figure: Estimate) -> str:
    """Per cent with the interval behind it, as markup."""
    return f"{per_cent(figure.value)} <small>{interval(figure)}</small>"


def interval(figure: Estimate) -> str:
    """The ends of the interval in per cent, as in ``60.6–63.4``."""
    return f"{100 * figure.low:z.1f}–{100 * figure.high:z.1f}"


def _place(share: float) -> str:
    """A place on the scale; what lies beyond its ends (an interval may) is drawn at the end."""
    return f"{100 * min(1.0, max(0.0, share)):.2f}%"
