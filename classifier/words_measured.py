"""`simsearch evaluate --zero-shot`: labels by words alone, on the works that the head is measured on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from simsearch.classifier import metrics
from simsearch.classifier.measured import Draws, Measured
from simsearch.classifier.metrics import Codes, Floats
from simsearch.classifier.scores import TOP, Answers, differences, method, right_alone
from simsearch.classifier.zero_shot import ZERO_SHOT, Wording, Words, embedded, plain
from simsearch.collection import Collection, EncoderEntry
from simsearch.encoders.registry import reads_text
from simsearch.errors import LabelError, QueryError
from simsearch.figures import Comparison, Method, ZeroShotFigures
from simsearch.query import text_entry
from simsearch.vectors import Rows
from simsearch.watch import Watch, silent

SHOWN = 5
"""Labels that a sentence names."""


@dataclass(frozen=True)
class ByWords:
    """What words alone say of the works that are measured on."""

    on: Measured
    """The works, less those that the words' encoder has not embedded."""
    entry: EncoderEntry
    words: Words
    places: Codes
    """(labels,) code of each label: that of the class it names, and behind the classes those of the others."""
    shares: Floats
    """(n, codes) probabilities; 0 for a class that no label names."""

    @property
    def many(self) -> bool:
        """Whether there is more to choose among than five labels, so that the five best say something."""
        return min(len(self.on.classes), len(self.words.labels)) > TOP

    def method(self, draws: Draws) -> Method:
        """The figures of its answers."""
        top = metrics.top_k(self.on.true, self.shares, TOP) if self.many else None
        return method(ZERO_SHOT, self.on, metrics.predicted(self.shares), draws, top, self.shares.shape[1])

    def figures(self, head_shares: Rows | None, draws: Draws) -> ZeroShotFigures:
        """How it was asked, and its difference from the head, whose probabilities are `head_shares` (n, classes)."""
        return ZeroShotFigures(
            self.entry.info, self.words.labels, self.words.wording.sentences, self.words.scale,
            unnamed=int((~np.isin(self.on.true, self.places)).sum()),
            against_head=None if head_shares is None else self._against_head(head_shares, draws),
        )  # fmt: skip

    def _against_head(self, head_shares: Rows, draws: Draws) -> Comparison:
        assert self.on.head is not None
        true = self.on.true
        head, words = (Answers(true, shares, metrics.predicted(shares)) for shares in (head_shares, self.shares))
        return Comparison(
            self.on.kind, f"{self.on.entry.info.name}/{self.on.head.name}", f"{self.entry.info.name}/{ZERO_SHOT}",
            self.on.split, len(true), *right_alone(true, head, words),
            tuple(differences(true, head, words, self.shares.shape[1], draws, top5=self.many)),
        )  # fmt: skip


def ask_words(collection: Collection, on: Measured, wording: Wording, watch: Watch = silent) -> ByWords:
    """What words alone say of the works that are measured on.

    By the encoder that these were embedded with where it reads words, else by the first of the collection that does.
    Without labels the classes are chosen among. A label names the class that is written so, or that has the same words
    in small or capital letters. Raises EncoderError, QueryError where no label names a class, LabelError where the
    words' encoder has embedded none of the works.
    """
    entry = on.entry if reads_text(on.entry.location) else text_entry(collection)
    wording = replace(wording, labels=wording.labels or on.classes, kind=on.kind)
    places = _places(collection, on, wording.labels)
    on, rows = _embedded_by(collection, on, entry)
    words = embedded(collection.load(entry), wording, watch)
    shares = np.zeros((len(rows), max(len(on.classes), int(places.max()) + 1)))
    shares[:, places] = words.probabilities(rows)
    return ByWords(on, entry, words, places, shares)


def _places(collection: Collection, on: Measured, labels: tuple[str, ...]) -> Codes:
    exact = {name: i for i, name in enumerate(on.classes)}
    alike = {plain(name): i for name, i in reversed(exact.items())}  # of classes alike the first by name
    found = [exact.get(label, alike.get(plain(label))) for label in labels]
    if all(place is None for place in found):
        raise QueryError(
            f"none of the labels is a {on.kind} of the works that are measured on, such as {_some(on.classes)}; name "
            "some of those, or give --zero-shot without --labels to choose among all"
        )
    strange = [label for label, place in zip(labels, found, strict=True) if place is None]
    if strange:
        collection.notice(f"no work that is measured on has the {on.kind} {_some(strange)}: such an answer is wrong")
    after = iter(range(len(on.classes), len(on.classes) + len(labels)))
    return np.array([next(after) if place is None else place for place in found], dtype=np.int64)


def _embedded_by(collection: Collection, on: Measured, entry: EncoderEntry) -> tuple[Measured, Rows]:
    """The works that an encoder has embedded, and their unit rows (n, dim) by it."""
    if entry.number == on.entry.number:
        return on, on.works.rows
    rows, ids = collection.catalog.embeddings(entry.number, entry.info.dim, on.works.ids)
    known = np.isin(on.works.ids, ids)
    name = entry.info.name
    if not known.any():
        raise LabelError(
            f"{name}, which reads words, has embedded none of the works that are measured on; run `simsearch index "
            f"--encoder {entry.location}`"
        )
    left_out = on.left_out | ({f"that {name} has not embedded": int((~known).sum())} if not known.all() else {})
    on = replace(on, works=on.works.take(known), left_out=left_out)
    return on, rows[np.searchsorted(ids, on.works.ids)]


def _some(names: tuple[str, ...] | list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else "")
