"""The table of classes on an evaluation's page: how well a head does on each, and what it takes it for."""

from __future__ import annotations

import numpy as np

from simsearch.figures import ClassFigures, HeadFigures
from simsearch.show.bars import plain
from simsearch.show.numbers import decimals, per_cent
from simsearch.show.page import bidi, text

CSS = """
.classes { max-height: 44rem; }
.classes table { width: 100%; min-width: 46rem; border-collapse: collapse; }
.classes thead th { position: sticky; top: 0; z-index: 1; background: var(--wall); text-align: left; font-weight: 400;
  color: var(--quiet); padding: .4rem 1.25rem .4rem 0; box-shadow: inset 0 -1px var(--line); white-space: nowrap; }
.classes tbody :is(th, td) { text-align: left; font-weight: 400; padding: .3rem 1.25rem .3rem 0;
  border-bottom: 1px solid var(--line); }
.classes tbody th { min-width: 9rem; }
.classes :is(thead, tbody) .count { text-align: right; font-variant-numeric: tabular-nums; }
.classes .share { width: 15%; }
.classes td.share { white-space: nowrap; font-variant-numeric: tabular-nums; }
.classes td.share .bar { display: inline-block; width: calc(100% - 2.6rem); margin-right: .5rem; vertical-align: middle;
  height: .5rem; }
.classes .f1 .bar { --fill: var(--right); }
.classes .taken { color: var(--quiet); padding-right: 0; white-space: nowrap; }
.classes button { all: unset; cursor: pointer; }
.classes button:focus-visible { outline: 2px solid var(--brass); outline-offset: 2px; }
.classes button:hover { color: var(--ink); }
.classes [aria-sort] { color: var(--ink); }
.classes [aria-sort=descending]::after { content: " \\2193"; }
.classes [aria-sort=ascending]::after { content: " \\2191"; }
@media screen and (max-width: 48rem) {
  .classes table { min-width: 38rem; }
  .classes td.share .bar, .classes .trained { display: none; }
  .classes :is(thead, tbody) :is(th, td) { padding-right: .75rem; }
  .classes tbody th { min-width: 0; width: 7.5rem; }
  .classes .share { width: auto; }
}
@media print {
  .classes table { min-width: 0; }
  .classes .taken { white-space: normal; }
  .classes thead th { position: static; }
  .classes thead th::after { display: none; }
  .classes td.share .bar { min-width: 0; }
  .classes tr { break-inside: avoid; }
}
"""

SCRIPT = """
for (const table of document.querySelectorAll(".classes table")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  const key = (row, i) => row.cells[i].dataset.value ?? row.cells[i].textContent.trim();
  heads.forEach((head, i) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const numbers = body.rows[0]?.cells[i].hasAttribute("data-value");
      const now = head.getAttribute("aria-sort");
      const down = now ? now === "ascending" : numbers;
      const order = numbers ? (a, b) => key(a, i) - key(b, i) : (a, b) => key(a, i).localeCompare(key(b, i), "en");
      body.append(...[...body.rows].sort((a, b) => down ? order(b, a) : order(a, b)));
      heads.forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
    });
  });
}
"""


def class_table(head: HeadFigures) -> str:
    """One row a class, the best F1 first and equal ones by name; a click on a column's head sorts by it."""
    taken = _most_taken_for(head)
    ordered = sorted(zip(head.per_class, taken, strict=True), key=lambda pair: (-pair[0].f1, pair[0].name))
    rows = "\n".join(_row(figures, words) for figures, words in ordered)
    return f"""<p class="said">{bidi(_best_and_worst(head))}</p>
<div class="scroll classes" tabindex="0" role="region" aria-label="Classes">
<table>
<thead><tr>
<th scope="col">class</th><th scope="col" class="count">works</th><th scope="col" class="count trained">trained on</th>
<th scope="col" class="share" aria-sort="descending">F1</th><th scope="col" class="share">recall</th>
<th scope="col" class="share">precision</th><th scope="col" class="taken">most often taken for</th>
</tr></thead>
<tbody>
{rows}
</tbody>
</table>
</div>
<p class="said after">Recall: of the works of the class, how many the head names so. Precision: of the works that it
names so, how many are of the class. F1 is their harmonic mean.</p>"""


def _row(figures: ClassFigures, taken: tuple[str, float] | None) -> str:
    words = f"{bidi(taken[0])} {text(per_cent(taken[1]))}" if taken else ""
    counts = "".join(
        f'<td class="{kind}" data-value="{number}">{number:,}</td>'
        for kind, number in (("count", figures.support), ("count trained", figures.trained))
    )
    shares = "".join(
        f'<td class="share {kind}" data-value="{share:.6f}">{plain(share)}{decimals(share)}</td>'
        for kind, share in (("f1", figures.f1), ("recall", figures.recall), ("precision", figures.precision))
    )
    return f'<tr><th scope="row">{bidi(figures.name)}</th>{counts}{shares}<td class="taken">{words}</td></tr>'


def _most_taken_for(head: HeadFigures) -> list[tuple[str, float] | None]:
    """For each class the one it is most often taken for and the share of its works, or None where it never is."""
    counts = np.array(head.confusion, np.int64).reshape(len(head.classes), -1)
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    return [
        (head.classes[int(row.argmax())], float(row.max() / whole.sum())) if row.any() else None
        for row, whole in zip(wrong, counts, strict=True)
    ]


def _best_and_worst(head: HeadFigures) -> str:
    known = [row for row in head.per_class if row.support]
    if not known:
        return ""
    best = min(known, key=lambda row: (-row.f1, row.name))
    worst = min(known, key=lambda row: (row.f1, row.name))
    words = f"It tells {best.name} best (F1 {decimals(best.f1)}) and {worst.name} least (F1 {decimals(worst.f1)})."
    empty = len(head.per_class) - len(known)
    verb = "class has" if empty == 1 else "classes have"
    return words + (f" {empty:,} {verb} no held-out work." if empty else "")
