"""The works behind the worst confusions, beside typical works of the class that they were taken for."""

from __future__ import annotations

from simsearch.figures import Confused, HeadFigures
from simsearch.records import Artwork
from simsearch.show.numbers import per_cent
from simsearch.show.page import Thumbnail, bidi, hung, paragraph, text, titled

CSS = """
.pairs { display: grid; gap: 3rem clamp(2rem, 4vw, 4rem);
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 32rem), 1fr)); }
.pair h3 { font-size: 1.25rem; }
.pair h3 span { color: var(--quiet); font-style: italic; }
.pair h4 { font-size: .8125rem; font-weight: 400; color: var(--quiet); margin: 1rem 0 .5rem; }
.few { display: grid; gap: 1rem; grid-template-columns: repeat(4, minmax(0, 1fr)); }
.few .mat { padding: 6%; }
.few figcaption { padding-top: .4rem; font-size: .8125rem; line-height: 1.35; }
.few figcaption p { color: var(--quiet); }
.few .title { color: var(--ink); display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 2;
  overflow: hidden; }
.few .sure { color: var(--wrong); font-variant-numeric: tabular-nums; }
@media screen and (max-width: 30rem) { .few { grid-template-columns: repeat(2, minmax(0, 1fr)); } }
@media print {
  .pairs { display: block; }
  .pair { break-inside: avoid; margin-bottom: 8mm; }
  .sides { display: grid; grid-template-columns: 1fr 1fr; gap: 6mm; }
  .few { gap: 2mm; }
  .few figcaption { font-size: .7rem; }
}
"""

MOST_PAIRS = 12
IN_A_ROW = 4


def pairs(head: HeadFigures, thumbnail: Thumbnail) -> str:
    """The worst pairs, each with its examples; a sentence where nothing was confused."""
    if not head.confused:
        return '<p class="said">No class was taken for another.</p>'
    supports = {row.name: row.support for row in head.per_class}
    shown = "\n".join(_pair(pair, supports.get(pair.true), thumbnail) for pair in head.confused[:MOST_PAIRS])
    return f'<div class="pairs">\n{shown}\n</div>'


def _pair(pair: Confused, support: int | None, thumbnail: Thumbnail) -> str:
    of = f" of {support:,}" if support else ""
    several = pair.examples[: IN_A_ROW if pair.typical else 2 * IN_A_ROW]
    examples = "\n".join(_work(work, f'<p class="sure">{text(per_cent(p))}</p>', thumbnail) for work, p in several)
    typical = "\n".join(_work(work, "", thumbnail) for work in pair.typical[:IN_A_ROW])
    return f"""<article class="pair">
<h3>{bidi(pair.true)} <span>taken for</span> {bidi(pair.predicted)}</h3>
<p class="note">{pair.count:,}{of} works, {text(per_cent(pair.share))}</p>
<div class="sides">
{_row(f"labelled {pair.true}; the head says {pair.predicted}, with this probability", examples)}
{_row(f"for comparison, typical works labelled {pair.predicted}", typical)}
</div>
</article>"""


def _row(heading: str, works: str) -> str:
    return f'<div>\n<h4>{bidi(heading)}</h4>\n<ul class="few" role="list">\n{works}\n</ul>\n</div>' if works else ""


def _work(work: Artwork, measure: str, thumbnail: Thumbnail) -> str:
    return f"""<li><figure>
{hung(work, thumbnail)}
<figcaption><p class="title">{titled(work)}</p>
{paragraph("artist", work.artist)}{measure}</figcaption>
</figure></li>"""
