"""What is this? Answers by trained heads, with the works behind them, and by neighbours where no head was trained.

An answer says what an image resembles. It never says who made it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from simsearch import images, search
from simsearch.catalog.catalog import Ids
from simsearch.catalog.labelled import Strings, trusted_labels
from simsearch.classifier import neighbours
from simsearch.classifier.head import Head, head_of, heads_of, names_of
from simsearch.classifier.prepare import merged
from simsearch.classifier.shipped import in_order, predictions, shipped_heads
from simsearch.collection import Collection, EncoderEntry
from simsearch.errors import HeadError, QueryError
from simsearch.query import Image, Query, ask
from simsearch.records import Hit, Prediction
from simsearch.vectors import Rows
from simsearch.watch import Watch, silent

WAYS = ("auto", "head", "neighbours")
EVIDENCE = 3
"""Works shown behind an answer."""
WORKS_AT_ONCE = 8192


@dataclass(frozen=True, slots=True)
class Labelling:
    """What labelling a whole collection with one head did, in numbers of works."""

    kind: str
    head: str
    predicted: int
    """Works that got a prediction."""
    unsure: int
    """Works whose best class is below the threshold; they keep no prediction."""
    said_already: int
    """Works that a person or a source has labelled; nothing is predicted for them."""
    not_embedded: int
    """Works that nobody has labelled and the head's encoder has not embedded; nothing can be predicted for them."""

    def to_dict(self) -> dict[str, str | int]:
        """Plain values for JSON."""
        return {"kind": self.kind, "head": self.head, "predicted": self.predicted, "unsure": self.unsure,
                "said_already": self.said_already, "not_embedded": self.not_embedded}  # fmt: skip


class Classifier:
    """The heads of one encoder and the labels behind them, read once to answer many times.

    They are the collection's own, and for kinds that none was trained for those that came with the encoder. What is
    trained or labelled later is known to the next one that is made.
    """

    def __init__(
        self, collection: Collection, *, labels: Sequence[str] = (), by: str = "auto", encoder: str | None = None
    ) -> None:
        """`labels` limits the kinds. Of several heads of a kind the one that has its name answers, unless `labels`
        names another. `by` is ``head``, ``neighbours``, or ``auto``: a head where there is one.

        Raises HeadError, EncoderMismatchError, LabelError, EncoderError.
        """
        if by not in WAYS:
            raise QueryError(f"by is {by!r}; there are {', '.join(WAYS)}")
        self.collection = collection
        self.entry: EncoderEntry = collection.encoder_entry(encoder)
        with collection.catalog.snapshot():
            self._answering = _answering(collection, self.entry, labels, by)
        self.heads: list[Head] = [head for _, head in self._answering if head]
        """Those that answer, in the order of their answers."""
        self._votes = len(self.heads) < len(self._answering)
        self._said: dict[str, tuple[Ids, Strings]] = {}

    def classify(
        self,
        image: Image,
        *,
        top: int = 1,
        voters: int = neighbours.VOTERS,
        evidence: int = EVIDENCE,
        threshold: float | None = None,
        max_pixels: int = images.DEFAULT_MAX_PIXELS,
    ) -> list[Prediction]:
        """For each kind the `top` values, the likeliest first, each with the `evidence` nearest works that carry it.

        Where a head gives its best value less than `threshold`, by default the head's own, the answer is unsure, and
        the evidence are the nearest labelled works of whatever value. The image itself is never evidence. With
        `evidence` 0 a stored artwork, by id, costs a read of its embedding and a matrix product for each head. Raises
        ImageError, EncoderError, QueryError.
        """
        if top < 1 or voters < 1:
            raise QueryError(f"top is {top} and voters {voters}; both start at 1")
        _check(threshold)
        with self.collection.catalog.snapshot():
            asked = self._ask(image, max_pixels, embedding_only=evidence < 1 and not self._votes)
            out: list[Prediction] = []
            for kind, head in self._answering:
                if head is None:
                    ids, _ = self._labels(kind)
                    out += neighbours.answer(self.collection, kind, asked, top, voters, ids, self.entry.info.name)
                else:
                    out += self._by_head(head, asked, top, evidence, threshold)
            return out

    def _ask(self, image: Image, max_pixels: int, embedding_only: bool) -> Query:
        if embedding_only and isinstance(image, int):
            row, found = self.collection.catalog.embeddings(self.entry.number, self.entry.info.dim, [image])
            if len(found):
                return Query(str(image), row)
        return ask(self.collection, [image], encoder=self.entry.info.name, max_pixels=max_pixels)[0]

    def _by_head(self, head: Head, asked: Query, top: int, evidence: int, threshold: float | None) -> list[Prediction]:
        said = predictions(head, asked.row, top, threshold)
        if evidence < 1:
            return said
        ids, values = self._labels(head.kind)
        if said[0].sure:
            classes = merged(values, head.card.get("choices", {}).get("merge", {}))
            return [replace(p, neighbours=self._nearest(asked, ids[classes == p.value], evidence)) for p in said]
        near = self._nearest(asked, ids, evidence)
        return [replace(p, neighbours=near) for p in said]

    def _labels(self, kind: str) -> tuple[Ids, Strings]:
        """(ids, labels) of works that a person or a source gave a label of this kind."""
        if kind not in self._said:
            self._said[kind] = trusted_labels(self.collection.catalog, kind)
        return self._said[kind]

    def _nearest(self, asked: Query, ids: Ids, k: int) -> tuple[Hit, ...]:
        return tuple(search.find(self.collection, [asked], k, search.Filters(only=ids), self.entry.info.name))


def classify(
    collection: Collection,
    image: Image,
    *,
    labels: Sequence[str] = (),
    top: int = 1,
    by: str = "auto",
    voters: int = neighbours.VOTERS,
    evidence: int = EVIDENCE,
    threshold: float | None = None,
    encoder: str | None = None,
    max_pixels: int = images.DEFAULT_MAX_PIXELS,
) -> list[Prediction]:
    """What an image resembles, for each kind of label the `top` values, the best first.

    By the trained heads where there are any, or by vote of the `voters` nearest labelled works; `by` says which. To ask
    about many images make a :class:`Classifier` once. Raises ImageError, EncoderError, HeadError, and QueryError where
    no work has a label.
    """
    return Classifier(collection, labels=labels, by=by, encoder=encoder).classify(
        image, top=top, voters=voters, evidence=evidence, threshold=threshold, max_pixels=max_pixels
    )


def label_collection(
    collection: Collection,
    *,
    labels: Sequence[str] = (),
    encoder: str | None = None,
    threshold: float | None = None,
    watch: Watch = silent,
) -> list[Labelling]:
    """Stores predictions for all works that nobody has labelled, in place of earlier ones, one report a kind.

    What a person or a source said of a work is left alone, and outranks any prediction. Each kind is one transaction:
    an interrupted run has replaced all of a kind's predictions or none. Raises HeadError where there is no head,
    QueryError for two heads of one kind, CollectionLockedError, CollectionWriteError.
    """
    _check(threshold)
    asked = Classifier(collection, labels=labels, by="head", encoder=encoder)
    names = [head.name for head in asked.heads]
    kinds = [head.kind for head in asked.heads]
    if len(set(kinds)) < len(kinds):
        raise QueryError(f"the heads {', '.join(names)} are not all of different kinds; name one head of each")
    with collection.writer() as writer:
        done = []
        for head in asked.heads:
            predictions, report = _predictions(collection, asked.entry, head, threshold, watch)
            writer.store_predictions(head.kind, predictions)
            done.append(report)
    return done


def _predictions(
    collection: Collection, entry: EncoderEntry, head: Head, threshold: float | None, watch: Watch
) -> tuple[list[tuple[int, str, float]], Labelling]:
    """((id, class, probability) of each work that the head is sure about and nobody has labelled, what was done)."""
    catalog = collection.catalog
    every, said = catalog.ids_where(), catalog.labelled_ids(head.kind)
    ids = np.setdiff1d(every, said, assume_unique=True)
    predictions: list[tuple[int, str, float]] = []
    embedded = 0
    for start in range(0, len(ids), WORKS_AT_ONCE):  # in blocks: the rows of a million works are gigabytes
        watch(f"labelling by {head.name}", start, len(ids))
        rows, found = catalog.embeddings(entry.number, entry.info.dim, ids[start : start + WORKS_AT_ONCE])
        embedded += len(found)
        predictions += _sure(head, rows, found, threshold)
    watch(f"labelling by {head.name}", len(ids), len(ids))
    return predictions, Labelling(
        head.kind, head.name, len(predictions), embedded - len(predictions), len(said), len(ids) - embedded
    )


def _sure(head: Head, rows: Rows, ids: Ids, threshold: float | None) -> list[tuple[int, str, float]]:
    """(id, class, probability) of the works that the head is sure about."""
    shares = head.probabilities(rows)
    best = shares.argmax(axis=1)
    top = shares[np.arange(len(ids)), best]
    sure = np.flatnonzero(top >= (head.threshold if threshold is None else threshold)).tolist()
    return [(int(ids[i]), head.classes[best[i]], round(float(top[i]), 4)) for i in sure]


def _answering(
    collection: Collection, entry: EncoderEntry, labels: Sequence[str], by: str
) -> list[tuple[str, Head | None]]:
    """(kind, the head that answers, or None where neighbours vote), in the order of the labels, or else of the kinds.

    The collection's own heads go before those that came with the encoder.
    """
    if by == "neighbours":
        return [(kind, None) for kind in neighbours.kinds(collection, labels)]
    shipped = shipped_heads(entry.info)
    some = shipped or names_of(collection, entry)
    if by == "auto" and not some and (others := _encoders_with_heads(collection)):
        collection.notice(
            f"no head was trained on embeddings by {entry.info.name}, so neighbours vote; "
            f"--encoder {others[0]} asks the heads that there are"
        )
    if labels:
        found = [_for_label(collection, entry, label, by, shipped) for label in labels]
        return list({(kind, head.name if head else None): (kind, head) for kind, head in found}.values())
    heads: dict[str, Head] = {}
    for head in (*heads_of(collection, entry), *shipped):  # those named like their kind come first
        heads.setdefault(head.kind, head)
    if by == "head":
        if not heads:
            raise _no_head(collection, entry)
        kinds = set(heads)
    else:
        kinds = {*heads, *(collection.catalog.label_kinds(said=True) if heads else neighbours.kinds(collection, ()))}
    return [(kind, heads.get(kind)) for kind in sorted(kinds, key=in_order)]


def _for_label(
    collection: Collection, entry: EncoderEntry, label: str, by: str, shipped: Sequence[Head]
) -> tuple[str, Head | None]:
    """(kind, head or None) of a label that was asked for: a head's name, or else a kind."""
    names = names_of(collection, entry)
    if label in names:
        head = head_of(collection, entry, label)
        return head.kind, head
    for head in (*heads_of(collection, entry), *shipped):
        if label in (head.kind, head.name):
            return head.kind, head
    if by == "head":
        if shipped:
            there = ", ".join([*names, *(head.name for head in shipped)])
            raise HeadError(f"no head {label!r} for the encoder {entry.info.name}; there are {there}")
        if not names:
            raise _no_head(collection, entry)
        head_of(collection, entry, label)  # says which heads there are
    return neighbours.kinds(collection, [label])[0], None


def _no_head(collection: Collection, entry: EncoderEntry) -> HeadError:
    others = _encoders_with_heads(collection)
    way_out = "`simsearch train --label KIND` makes one"
    if others:
        way_out += f", and --encoder {others[0]} asks those that there are"
    return HeadError(f"no head was trained on embeddings by {entry.info.name}; {way_out}")


def _encoders_with_heads(collection: Collection) -> list[str]:
    """Names of the collection's encoders that heads were trained for."""
    return [entry.info.name for entry in collection.encoders() if names_of(collection, entry)]


def _check(threshold: float | None) -> None:
    if threshold is not None and not 0 <= threshold <= 1:
        raise QueryError(f"the threshold is {threshold}; a probability lies between 0 and 1")
