"""`simsearch audit --apply`: what a person decided on a review becomes that person's labels.

A line counts only where it is about a work of this collection that still has the label that the review showed. All of
it is written in one transaction, or nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

from simsearch.catalog.labelled import trusted_labels
from simsearch.collection import Collection
from simsearch.errors import SourceError
from simsearch.records import Artwork
from simsearch.show.findings import Applied
from simsearch.show.review_file import ReviewRow


def apply(collection: Collection, rows: Sequence[ReviewRow]) -> Applied:
    """Gives works the labels that the lines of a review ask for, as a person's; what was done, and what was not.

    Lines are left aside, each with a sentence, where the work is gone, is another one here, has another label by now,
    or where two lines ask for different labels. Raises SourceError where no line that asks for something is about a
    work of this collection; CollectionLockedError, CollectionWriteError.
    """
    asking = [row for row in rows if row.wanted is not None]
    doubts = [f"line {row.line}: {row.doubt}; the label stays" for row in rows if row.doubt]
    with collection.writer() as writer, writer.store.transaction():
        checked = _Check(collection, asking)
        for row in asking:
            checked.take(row)
        if asking and checked.strange == len(asking):
            raise SourceError(f"this review is of another collection, or its works are gone: {checked.problems[0]}")
        for kind, labels in checked.labels.items():
            writer.set_human_labels(kind, sorted(labels.items()))
    return Applied(
        sum(map(len, checked.labels.values())), checked.already, len(rows) - len(asking) - len(doubts),
        tuple(checked.new_values()), tuple(checked.problems + doubts),
    )  # fmt: skip


@dataclass
class _Check:
    """Holds the lines of a review against the collection as it is now."""

    collection: Collection
    asking: Sequence[ReviewRow]
    labels: dict[str, dict[int, str]] = field(default_factory=lambda: defaultdict(dict))
    """Kind to id to the label to write."""
    problems: list[str] = field(default_factory=list)
    already: int = 0
    strange: int = 0
    """Lines about works that are not in the collection."""

    def __post_init__(self) -> None:
        catalog = self.collection.catalog
        ids = {int(row.id) for row in self.asking if _is_id(row.id)}
        self._works = {work.id: work for work in catalog.artworks(sorted(ids))}
        self._kinds = catalog.label_kinds()
        self._now = {
            kind: dict(zip(*(column.tolist() for column in trusted_labels(catalog, kind)), strict=True))
            for kind in {row.kind for row in self.asking} & set(self._kinds)
        }
        wanted: dict[tuple[str, str], set[str | None]] = defaultdict(set)
        for row in self.asking:
            wanted[row.id, row.kind].add(row.wanted)
        self._torn = {place for place, labels in wanted.items() if len(labels) > 1}

    def take(self, row: ReviewRow) -> None:
        """Takes a line's label, or notes why not."""
        work, wanted = self._work(row), row.wanted
        if work is None or wanted is None:
            return
        now = self._now.get(row.kind, {}).get(work.id)
        if row.kind not in self._kinds:
            self._aside(row, f"no work of this collection has a label {row.kind!r}{_near(row.kind, self._kinds)}")
        elif (row.id, row.kind) in self._torn:
            self._aside(row, f"the lines of work {row.id} ask for different labels; keep one of them")
        elif now == wanted:
            self.already += 1
        elif (now or "").strip() != row.value:
            self._aside(row, f"work {row.id} is labelled {now!r} by now, not {row.value!r}")
        else:
            self.labels[row.kind][work.id] = wanted

    def new_values(self) -> list[str]:
        """A sentence for each label that no work had, with the nearest one there is."""
        known = {kind: sorted(set(self._now[kind].values())) for kind in self.labels}
        return [
            f"{value!r} is a new {kind}: no other work had it{_near(value, known[kind])}"
            for kind, labels in self.labels.items()
            for value in sorted(set(labels.values()) - set(known[kind]))
        ]

    def _work(self, row: ReviewRow) -> Artwork | None:
        """The work that a line is about, or None, which is noted."""
        work = self._works.get(int(row.id)) if _is_id(row.id) else None
        if work is not None and (work.source, work.source_id) == (row.source, row.source_id):
            return work
        self.strange += 1
        named = f"{row.source_id} of {row.source}"
        if work is None:
            self._aside(row, f"work {row.id or '(no id)'}, {named}, is not in this collection (any more)")
        else:
            self._aside(row, f"work {row.id} is {work.source_id} of {work.source} here, not {named}")
        return None

    def _aside(self, row: ReviewRow, why: str) -> None:
        self.problems.append(f"line {row.line}: {why}")


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 19


def _near(value: str, known: Sequence[str]) -> str:
    """The nearest known spelling as a question, or nothing."""
    folded = {name.casefold(): name for name in known}
    near = get_close_matches(value.casefold(), folded, n=1)
    return f"; did you mean {folded[near[0]]!r}?" if near else ""
