"""A review sheet of suspicious labels as one HTML page: `simsearch audit`.

The page stands beside a CSV with the same findings. Whoever reviews writes into the CSV, or decides on the page and
downloads the CSV from there; `simsearch audit --apply` reads either.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from simsearch.figures import REASONS, REVIEW_COLUMNS, Finding
from simsearch.records import Hit
from simsearch.show.bars import CSS as BARS
from simsearch.show.bars import plain
from simsearch.show.numbers import counted, per_cent
from simsearch.show.page import Thumbnail, bidi, hung, named, once, page, paragraph, text, thumbnail_of, titled
from simsearch.show.review_file import csv_line
from simsearch.show.review_style import CSS, SCRIPT
from simsearch.show.text import REPLACEMENT, harmless

CSV_NAME = "review.csv"
MOST_EVIDENCE = 4

TITLES = {
    "label": "Another label fits better",
    "outlier": "Unlike its class",
    "duplicate": "One picture, two labels",
}
WORDS = {
    "label": "A head that was trained without the work names it otherwise, and is sure of it.",
    "outlier": "The picture lies far from the others with the same label: a wrong label, or an unusual work. "
    "Most often it is the latter.",
    "duplicate": "The same picture, or nearly the same, stands in the collection with another label. At least one of "
    "the two is wrong, unless the label may be both.",
}
FOOTER = "<footer><p>A finding is a reason to look, not a verdict: a head is wrong, too.</p></footer>"
EVIDENCE = {
    "label": "nearest works labelled {suggestion}",
    "outlier": "the works nearest to it",
    "duplicate": "the same picture",
}


def review_page(findings: Sequence[Finding], thumbnail: Thumbnail = thumbnail_of, csv_name: str = CSV_NAME) -> str:
    """An HTML page of findings, grouped by reason and in the order given; it loads nothing.

    `thumbnail` gives the JPEG bytes of an artwork, or None where its image cannot be reached; it is asked once for each
    path. Without scripts the page is a sheet to look at; with them it can be decided on, and gives the CSV `csv_name`
    of :func:`~simsearch.show.review_file.review_text`, filled in. All text is escaped. The page encodes as UTF-8.
    """
    thumbnail = once(thumbnail)
    numbered = list(enumerate(findings, 1))
    groups = {reason: [(n, f) for n, f in numbered if f.reason == reason] for reason in _reasons(findings)}
    sections = "\n".join(_section(reason, group, _list_ids(findings), thumbnail) for reason, group in groups.items())
    title = f"{counted(len(findings), 'label')} to look at again" if findings else "No label to look at again"
    body = f"""<header>
<h1>{text(title)}</h1>
{_how_to(csv_name) if findings else paragraph("note", "Nothing in these labels is suspicious enough to be shown.")}
{_contents(groups)}
</header>
<main>
{sections}
{_known_labels(findings)}
</main>
{_bar(csv_name) if findings else ""}
{FOOTER if findings else ""}"""
    return page(title, body, BARS + CSS, SCRIPT if findings else "")


def _reasons(findings: Sequence[Finding]) -> list[str]:
    """Reasons that occur, the known ones first and in their order."""
    return sorted({f.reason for f in findings}, key=lambda r: (REASONS.index(r) if r in REASONS else len(REASONS), r))


def _how_to(csv_name: str) -> str:
    return f"""<p class="note">Nothing has been changed yet.</p>
<ol class="steps">
<li><code>simsearch audit --csv {text(csv_name)}</code> writes a line for each finding. Write <code>yes</code> under
<code>accept</code> to take the suggested label, or the right label under <code>correction</code>, which goes before the
suggestion. Leave both empty where the present label is right or you are not sure.<span class="scripted" hidden> Or
decide here, and download the file filled in.</span></li>
<li>Then run <code>simsearch audit --apply {text(csv_name)}</code>. What you accepted becomes your own label of the
work, which counts for more than the source's.</li>
</ol>"""


def _contents(groups: dict[str, list[tuple[int, Finding]]]) -> str:
    if len(groups) < 2:
        return ""
    links = "".join(
        f'<li><a href="#{text(reason)}">{text(TITLES.get(reason, reason))}</a> {len(group):,}</li>'
        for reason, group in groups.items()
    )
    return f'<nav aria-label="On this page"><ul role="list">{links}</ul></nav>'


def _section(reason: str, group: list[tuple[int, Finding]], lists: dict[str, str], thumbnail: Thumbnail) -> str:
    items = "\n".join(_finding(number, finding, lists[finding.kind], thumbnail) for number, finding in group)
    name = text(reason)
    return f"""<section id="{name}" aria-labelledby="h-{name}">
<h2 id="h-{name}">{text(TITLES.get(reason, reason))}</h2>
{paragraph("said", WORDS.get(reason))}
<ol class="findings" role="list">
{items}
</ol>
</section>"""


def _finding(number: int, finding: Finding, list_id: str, thumbnail: Thumbnail) -> str:
    """One work: its picture, what it is labelled, what speaks for something else, and the works that show it."""
    work = finding.artwork
    details = " · ".join(part for part in (work.artist, work.date) if part)
    return f"""<li class="finding" id="f{number}" data-row="{_line(finding)}">
{hung(work, thumbnail)}
<div class="case">
<h3>{titled(work)}</h3>
{paragraph("artist", details)}
{_labels(finding)}
{_why(finding)}
{paragraph("why", finding.note)}
{_choices(number, finding, list_id)}
</div>
{_evidence(finding, thumbnail)}
</li>"""


def _labels(finding: Finding) -> str:
    value = bidi(finding.value) if finding.value else "<em>none</em>"
    rows = [("present", f"{finding.kind} now", value, finding.own_probability)]
    if finding.suggestion:
        rows.append(("suggested", "suggested", bidi(finding.suggestion), finding.probability))
    cells = "\n".join(
        f'<div class="{kind}"><dt>{text(words)}</dt><dd>{markup}{_probability(p)}</dd></div>'
        for kind, words, markup, p in rows
    )
    return f'<dl class="labels">\n{cells}\n</dl>'


def _probability(probability: float | None) -> str:
    if probability is None:
        return ""
    return f' <span class="share">{plain(probability)}<span>{text(per_cent(probability))}</span></span>'


def _why(finding: Finding) -> str:
    """How suspicious a work is for which there are no probabilities."""
    if finding.reason != "outlier":
        return ""
    return f'<p class="why">suspicion {finding.score:.2f} of 1</p>'


def _evidence(finding: Finding, thumbnail: Thumbnail) -> str:
    if not finding.evidence:
        return ""
    words = EVIDENCE.get(finding.reason, "beside it").format(suggestion=finding.suggestion or "otherwise")
    works = "\n".join(_neighbour(finding, hit, thumbnail) for hit in finding.evidence[:MOST_EVIDENCE])
    return f'<div class="evidence">\n<h4>{bidi(words)}</h4>\n<ul role="list">\n{works}\n</ul>\n</div>'


def _neighbour(finding: Finding, hit: Hit, thumbnail: Thumbnail) -> str:
    work = hit.artwork
    return f"""<li><figure>
{hung(work, thumbnail)}
<figcaption><p class="title">{titled(work)}</p>
{paragraph("kind", work.label(finding.kind))}
<p class="measure">cosine {hit.score:z.2f}</p></figcaption>
</figure></li>"""


# -- deciding on the page ----------------------------------------------------------------------------------------------


def _line(finding: Finding) -> str:
    """The line of the CSV up to ``accept``, for an attribute; the page's script puts the answers behind it."""
    row = finding.to_row()
    return _attribute(csv_line([row[name] for name in REVIEW_COLUMNS[:-2]]))


def _attribute(value: str) -> str:
    """A value for an attribute that the page's script reads back letter by letter, but for NUL, which HTML has not."""
    return escape(value.replace("\0", REPLACEMENT)).replace("\r", "&#13;").replace("\n", "&#10;")


def _choices(number: int, finding: Finding, list_id: str) -> str:
    """Radio buttons and a field for another label; shown by the page's script, without which they would do nothing."""
    options = [("no", bidi(f"keep {finding.value}") if finding.value else "leave it without")]
    if finding.suggestion:
        options.append(("yes", bidi(f"change to {finding.suggestion}")))
    radios = [_radio(number, value, words) for value, words in options]
    legend = f"The right {bidi(finding.kind)} of {bidi(named(finding.artwork))}"
    return f"""<fieldset class="scripted" hidden><legend>{legend}</legend>
{"".join(radios)}
<div class="other">{_radio(number, "other", "another:")}
<input type="text" list="{list_id}" aria-label="another label" autocomplete="off"></div>
</fieldset>"""


def _radio(number: int, value: str, words: str) -> str:
    return f'<label><input type="radio" name="f{number}" value="{value}"> {words}</label>'


def _list_ids(findings: Sequence[Finding]) -> dict[str, str]:
    """The id of the list of known labels of each kind."""
    return {kind: f"known-{place}" for place, kind in enumerate(sorted({finding.kind for finding in findings}))}


def _known_labels(findings: Sequence[Finding]) -> str:
    """Labels to choose from while writing another one."""
    known: dict[str, set[str]] = {}
    for finding in findings:
        near = [hit.artwork.label(finding.kind) for hit in finding.evidence]
        known.setdefault(finding.kind, set()).update(v for v in (finding.value, finding.suggestion, *near) if v)
    lists = []
    for kind, id in _list_ids(findings).items():
        options = "".join(f"<option>{escape(harmless(value))}</option>" for value in sorted(known[kind]))
        lists.append(f'<datalist id="{id}">{options}</datalist>')
    return "\n".join(lists)


def _bar(csv_name: str) -> str:
    head = ",".join(REVIEW_COLUMNS)
    return f"""<div class="bar-below scripted" hidden data-head="{text(head)}" data-name="{text(csv_name)}">
<p role="status">nothing decided yet</p>
<button type="button">Download {text(csv_name)}</button>
</div>"""
