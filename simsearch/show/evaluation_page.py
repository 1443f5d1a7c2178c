"""An evaluation as one HTML page, whole in itself: first the answer, then everything that it rests on."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from typing import Any

from simsearch.figures import METHOD_FIGURES, Evaluation, HeadFigures, Retrieval
from simsearch.show import bars, class_table, confused_works, plots
from simsearch.show.bars import Bar, chart
from simsearch.show.evaluation import (
    FIGURE_NAMES,
    against_head,
    answer,
    artists,
    asked_in_words,
    leaning,
    method_name,
    shown,
    subject,
)
from simsearch.show.numbers import UNKNOWN, counted, decimals, estimate, per_cent, points
from simsearch.show.page import Thumbnail, bidi, image, once, page, text, thumbnail_of

CSS = """
.answer { font: 400 clamp(1.125rem, 1rem + .6vw, 1.5rem)/1.45 var(--serif); max-width: 46rem; margin-top: 1.25rem; }
.answer + .answer { font-size: 1.0625rem; margin-top: .6rem; color: var(--quiet); }
nav ul { display: flex; flex-wrap: wrap; gap: .4rem 1.5rem; margin-top: 1.75rem; }
main > section { margin-top: clamp(2.5rem, 5vw, 4rem); scroll-margin-top: 1rem; }
.said { max-width: 70ch; margin-bottom: 1.5rem; }
.said.after { margin: 1.25rem 0 0; }
.scroll { overflow: auto; }
.plots { display: grid; gap: 2rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); }
.plot img { display: block; max-width: 100%; height: auto; border: 1px solid var(--line); }
.plot .wide { min-width: 44rem; }
.plot figcaption { padding-top: .75rem; color: var(--quiet); max-width: 70ch; }
@media (min-width: 80rem) {
  .beside { display: grid; grid-template-columns: fit-content(80%) minmax(12rem, 1fr); gap: 2.5rem; }
  .plot.beside figcaption { padding: 0; }
}
.facts { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .35rem 1.5rem; max-width: 70rem; }
.facts dt { color: var(--quiet); }
.facts dd { font-variant-numeric: tabular-nums; }
.facts .facts { gap: .1rem 1rem; }
details { margin-top: 1.5rem; }
summary { cursor: pointer; color: var(--quiet); width: max-content; max-width: 100%; }
details[open] > summary { margin-bottom: 1rem; }
.plain { border-collapse: collapse; font-variant-numeric: tabular-nums; }
.plain :is(th, td) { text-align: right; font-weight: 400; padding: .25rem 0 .25rem 1.5rem; white-space: nowrap; }
.plain :is(th, td):first-child { text-align: left; padding-left: 0; }
.plain thead th { color: var(--quiet); border-bottom: 1px solid var(--line); }
@media screen and (max-width: 48rem) {
  .facts { grid-template-columns: minmax(0, 1fr); gap: 0; }
  .facts dd { margin-bottom: .6rem; }
}
@media print {
  nav, details:not([open]) { display: none; }
  main > section { margin-top: 8mm; }
  .plots { grid-template-columns: 1fr 1fr; gap: 6mm; }
  .plot { break-inside: avoid; }
  .plot .wide { min-width: 0; }
  .scroll { overflow: visible; max-height: none; }
}
"""

HINTS = {
    "top1": "The label that it names first is the right one.",
    "top5": "The right label is among the first five.",
    "macro_f1": "Precision and recall in one, the mean over classes: small classes count as much as large ones.",
}
LONG = 12
"""A card's list of more names and numbers is written in one paragraph."""
SECTIONS = {
    "methods": "Beside simpler ways",
    "classes": "Class by class",
    "confusion": "What is taken for what",
    "pairs": "Most often confused",
    "sureness": "How sure, and how right",
    "retrieval": "Nearest works, without a head",
    "measured": "What was measured",
}
RETRIEVAL = {
    "p1": ("P@1", "The nearest work has the same label."),
    "p10": ("P@10", "Share of the ten nearest works with the same label."),
    "map": ("mAP", "Mean average precision: 100 % if all works with the same label came before all others."),
}


def evaluation_page(evaluation: Evaluation, thumbnail: Thumbnail = thumbnail_of) -> str:
    """An HTML page of an evaluation; it loads nothing, and its one small script only sorts the table of classes.

    `thumbnail` gives the JPEG bytes of an artwork, or None where its image cannot be reached; it is asked once for each
    path. All text is escaped. The page encodes as UTF-8; the same evaluation gives the same page.
    """
    head = evaluation.head
    parts = {"methods": _methods(evaluation)}
    if head:
        parts["classes"] = class_table.class_table(head)
        parts["confusion"] = _confusion(head)
        parts["pairs"] = confused_works.pairs(head, once(thumbnail))
        parts["sureness"] = _sureness(head)
    parts["retrieval"] = _retrieval(evaluation)
    parts["measured"] = _measured(evaluation)
    parts = {name: markup for name, markup in parts.items() if markup}
    links = "".join(f'<li><a href="#{name}">{text(SECTIONS[name])}</a></li>' for name in parts)
    sections = "\n".join(_section(name, markup) for name, markup in parts.items())
    title = f"Naming the {evaluation.kind} of a work"
    body = f"""<header>
<h1>{bidi(title)}</h1>
<p class="note">{bidi(subject(evaluation))}. Encoder {bidi(str(evaluation.encoder))}.</p>
{"".join(f'<p class="answer">{bidi(sentence)}</p>' for sentence in answer(evaluation))}
<nav aria-label="On this page"><ul role="list">{links}</ul></nav>
</header>
<main>
{sections}
</main>
<footer><p>Bars carry 95 % intervals: the works were drawn again {evaluation.resamples:,} times with replacement (seed
{evaluation.seed}). What a head says of a work is a resemblance, not an attribution.</p></footer>"""
    css = bars.CSS + CSS + class_table.CSS + confused_works.CSS
    return page(title, body, css, class_table.SCRIPT if head else "")


def _section(name: str, markup: str) -> str:
    return f"""<section id="{name}" aria-labelledby="h-{name}">
<h2 id="h-{name}">{text(SECTIONS[name])}</h2>
{markup}
</section>"""


# -- sections ----------------------------------------------------------------------------------------------------------


def _methods(evaluation: Evaluation) -> str:
    charts = "\n".join(_chart_of(evaluation, name) for name in shown(evaluation))
    measured = [name for name in METHOD_FIGURES if any(name in m.figures for m in evaluation.methods)]
    names = "".join(f'<th scope="col">{text(FIGURE_NAMES[name])}</th>' for name in measured)
    rows = "\n".join(
        f'<tr><th scope="row">{bidi(method_name(m, evaluation))}</th>'
        + "".join(f"<td>{estimate(m.figures[n]) if n in m.figures else UNKNOWN}</td>" for n in measured)
        + "</tr>"
        for m in evaluation.methods
    )
    return f"""<div class="charts">
{charts}
</div>
{_zero_shot(evaluation)}<details><summary>All figures</summary>
<div class="scroll" tabindex="0" role="region" aria-label="All figures">
<table class="plain"><thead><tr><th scope="col">method</th>{names}</tr></thead>
<tbody>
{rows}
</tbody></table></div></details>"""


def _zero_shot(evaluation: Evaluation) -> str:
    """How words alone were asked, and whether the head is better."""
    if not evaluation.zero_shot:
        return ""
    sentences = [asked_in_words(evaluation.zero_shot), *against_head(evaluation.zero_shot)]
    return f'<p class="said after">{" ".join(bidi(f"{s[:1].upper()}{s[1:]}.") for s in sentences)}</p>\n'


def _chart_of(evaluation: Evaluation, name: str) -> str:
    main = evaluation.head.name if evaluation.head else None
    rows = [Bar(method_name(m, evaluation), m.figures.get(name), m.name == main) for m in evaluation.methods]
    return chart(FIGURE_NAMES[name], HINTS[name], rows)


def _confusion(head: HeadFigures) -> str:
    png = plots.confusion_plot(head)
    alt = (
        f"Confusion matrix of {counted(len(head.classes), 'class', 'classes')}, rows true, columns as named by the head"
    )
    words = "A row is a class: blue is the share of its works that the head names rightly, rust what it takes them for."
    scroll = '<div class="scroll" tabindex="0" role="region" aria-label="Confusion matrix">'
    matrix = _plot(png, alt, "wide" if len(head.classes) > 6 else "")
    return f'<figure class="plot beside">{scroll}{matrix}</div><figcaption>{text(words)}</figcaption></figure>'


def _sureness(head: HeadFigures) -> str:
    reliable = (
        "Works by the probability of the answer: of those named with 80 %, 80 in 100 should be right; then the points "
        f"lie on the dashed line. The expected calibration error is {estimate(head.ece)}, the Brier score "
        f"{estimate(head.brier)}; the head is {leaning(head)}."
    )
    covered = (
        f"Below a probability of {decimals(head.threshold)} the head says that it is unsure. It then answers for "
        f"{_of_works(head)}. Further to the left it answers for fewer works, and should be right more often."
    )
    plots_of = (
        (plots.reliability_plot(head), "Reliability: share right by probability of the answer", reliable),
        (plots.coverage_plot(head), "Share of right answers over share of works answered", covered),
    )
    figures = "\n".join(
        f'<figure class="plot">{_plot(png, alt)}<figcaption>{text(words)}</figcaption></figure>'
        for png, alt, words in plots_of
    )
    return f'<div class="plots">\n{figures}\n</div>'


def _of_works(head: HeadFigures) -> str:
    answered = f"{per_cent(head.answered.value)} of the works ({bars.interval(head.answered)})"
    if not math.isfinite(head.accuracy_answered.value):
        return answered
    right = f"{per_cent(head.accuracy_answered.value)} of those ({bars.interval(head.accuracy_answered)})"
    return f"{answered} and is right for {right}"


def _plot(png: bytes, alt: str, kind: str = "") -> str:
    """A plot at its own size: its file has twice the pixels, so that it is sharp on fine screens and on paper."""
    width, height = struct.unpack(">II", png[16:24])
    scale = plots.SHOWN_DPI / plots.DPI
    size = f' width="{round(width * scale)}" height="{round(height * scale)}"' + (f' class="{kind}"' if kind else "")
    return image(png, alt, "png").removesuffix(">") + size + ">"


def _retrieval(evaluation: Evaluation) -> str:
    if not evaluation.retrieval:
        return ""
    charts = "\n".join(
        chart(title, hint, _retrieval_bars(evaluation, name)) for name, (title, hint) in RETRIEVAL.items()
    )
    depths = sorted({k for row in evaluation.retrieval for k in row.recall})
    names = "".join(f'<th scope="col">recall@{k}</th>' for k in depths)
    rows = "\n".join(_recalls(row, depths) for row in evaluation.retrieval)
    return f"""<p class="said">{bidi(_artist_words(evaluation))}</p>
<div class="charts">
{charts}
</div>
<details><summary>Recall and queries</summary>
<div class="scroll" tabindex="0" role="region" aria-label="Recall">
<table class="plain"><thead><tr><th scope="col">who may answer</th>{names}<th scope="col">queries</th>
<th scope="col">with nothing to find</th></tr></thead>
<tbody>
{rows}
</tbody></table></div></details>"""


def _retrieval_bars(evaluation: Evaluation, name: str) -> list[Bar]:
    return [Bar(artists(row), getattr(row, name), not row.same_artist) for row in evaluation.retrieval]


def _recalls(row: Retrieval, depths: list[int]) -> str:
    cells = "".join(f"<td>{estimate(row.recall[k]) if k in row.recall else UNKNOWN}</td>" for k in depths)
    counts = f"<td>{row.queries:,}</td><td>{row.without_relevant:,}</td>"
    return f'<tr><th scope="row">{text(artists(row))}</th>{cells}{counts}</tr>'


def _artist_words(evaluation: Evaluation) -> str:
    """What the difference between the two rows means."""
    asked = "Every held-out work asks, and the labelled works answer by likeness alone, without a head. "
    by = {row.same_artist: row for row in evaluation.retrieval}
    if len(by) < 2 or not all(math.isfinite(row.p10.value) for row in by.values()):
        return asked + f"A work answers well if it has the same {evaluation.kind}."
    gap = by[True].p10.value - by[False].p10.value
    seen = f"Of the ten nearest works {per_cent(by[True].p10.value)} share the {evaluation.kind}; "
    alone = f"without works by the same artist, {per_cent(by[False].p10.value)}. "
    if by[False].p10.high >= by[True].p10.low:
        return asked + seen + alone + "The intervals overlap: an artist's own works make little difference here."
    return (
        asked + seen + alone + f"{points(gap).capitalize()} of the agreement are an artist's works finding each other: "
        "for an artist whom the collection does not know, expect the lower figure."
    )


def _measured(evaluation: Evaluation) -> str:
    facts = {
        "measured on": f"{counted(evaluation.works, 'work')} of {evaluation.split}",
        "answered by": counted(evaluation.gallery, "labelled work"),
        "artists measured": f"{evaluation.artists:,}" if evaluation.artists else "none known",
        "left out": [f"{counted(n, 'work')} {reason}" for reason, n in evaluation.left_out.items()] or "nothing",
    }
    if evaluation.zero_shot:
        facts["labels in words"] = ", ".join(evaluation.zero_shot.labels)
        facts["put into"] = list(evaluation.zero_shot.templates)
    card = evaluation.head.card if evaluation.head else {}
    split = card.get("split")
    if isinstance(split, Mapping):
        facts["split"] = _split(split)
    facts["intervals"] = f"95 %, percentiles of {evaluation.resamples:,} bootstrap resamples, seed {evaluation.seed}"
    folded = f"<details><summary>The head's card</summary>\n{_facts(card)}</details>" if card else ""
    return f"{_facts(facts)}\n{folded}"


def _split(said: Mapping[str, Any]) -> list[str]:
    """How works were held out when the head was trained, in sentences."""
    if said.get("official"):
        out = ["as published with the works"]
    else:
        share, seed = said.get("share"), said.get("seed")
        out = [f"{per_cent(share)} of the works held out, class by class" if isinstance(share, float) else "of its own"]
        out += [f"drawn with seed {seed}"] if seed is not None else []
    if said.get("group_by"):
        out.append(f"whole {said['group_by']}s are held out: none stands on both sides")
    if isinstance(said.get("near_duplicate"), float):
        out.append(f"near-duplicates (cosine from {decimals(said['near_duplicate'])}) stand on one side only")
    return out


def _facts(values: Mapping[str, Any]) -> str:
    """Names and values as a list; what is nested is a list again."""
    rows = "\n".join(f"<dt>{bidi(str(name).replace('_', ' '))}</dt><dd>{_value(v)}</dd>" for name, v in values.items())
    return f'<dl class="facts">\n{rows}\n</dl>'


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        if len(value) > LONG and all(isinstance(v, str | int | float) for v in value.values()):
            return bidi(", ".join(f"{name} {v}" for name, v in value.items()))
        return _facts(value) if value else UNKNOWN
    if isinstance(value, list | tuple) and all(isinstance(v, str) for v in value):
        return "<br>".join(bidi(v) for v in value) if len(value) <= 4 else bidi(", ".join(value))
    if value is None or value == []:
        return UNKNOWN
    return bidi(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
