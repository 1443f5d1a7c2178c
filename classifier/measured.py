"""Which works a figure is taken on: a head, the works that it learned from, and the works that were held out."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypedDict

import numpy as np

from simsearch.catalog.catalog import Ids
from simsearch.classifier.groups import NEAR_DUPLICATE, Groups
from simsearch.classifier.head import Head, head_of, heads_of, names_of
from simsearch.classifier.labelled import Labelled, load
from simsearch.classifier.learn import codes
from simsearch.classifier.metrics import Codes
from simsearch.classifier.prepare import (
    SPLIT_NAMES,
    TRAIN,
    VAL,
    SplitChoices,
    divide,
    drawn_together,
    has_official,
    held_out,
)
from simsearch.classifier.retrieval import NOBODY, Works
from simsearch.collection import Collection, EncoderEntry
from simsearch.errors import EncoderMismatchError, HeadError, LabelError
from simsearch.vectors import Rows
from simsearch.watch import Watch, silent

SEEN = "that the head has seen, or near-duplicates of those"
"""Why works are not measured on; the words of :func:`prepare.held_out`."""


class Draws(TypedDict):
    """How the bootstrap draws works."""

    groups: Ids
    """(n,) works of one group are drawn together."""
    resamples: int
    seed: int


@dataclass(frozen=True)
class Measured:
    """Works to measure on, works that answer, and the classes of both."""

    entry: EncoderEntry
    head: Head | None
    gallery: Labelled
    """The head's train works, or all train works where there is no head; every label is one of `classes`."""
    works: Labelled
    """What is measured on; every label is one of `classes`."""
    left_out: dict[str, int]
    split: str
    classes: tuple[str, ...]
    """By name."""

    @property
    def kind(self) -> str:
        """The kind of label."""
        return self.works.kind

    @property
    def seen(self) -> bool:
        """Whether the head was trained on the very works that are measured on."""
        return _is_train(self.split)

    @cached_property
    def true(self) -> Codes:
        """The class (n,) of each work that is measured on."""
        return codes(self.works.values, self.classes)

    @cached_property
    def known(self) -> Codes:
        """The class (m,) of each work of the gallery."""
        return codes(self.gallery.values, self.classes)

    def probabilities(self, classes: tuple[str, ...] | None = None) -> Rows:
        """The head's (n, classes) of the works that are measured on, in the order of `classes`, found by name."""
        assert self.head is not None
        place = {name: i for i, name in enumerate(self.head.classes)}
        return self.head.probabilities(self.works.rows)[:, [place[name] for name in classes or self.classes]]

    def sides(self) -> tuple[Works, Works]:
        """(queries, gallery) for retrieval: the works that are measured on, and those that answer."""
        _, artists = np.unique(np.concatenate([self.works.artists, self.gallery.artists]), return_inverse=True)
        sides = []
        start = 0
        for side, labels in ((self.works, self.true), (self.gallery, self.known)):
            artist = np.where(side.artists == "", NOBODY, artists[start : start + len(side)])
            sides.append(Works(side.rows, labels, artists=artist, groups=side.groups, ids=side.ids))
            start += len(side)
        return sides[0], sides[1]

    def draws(self, resamples: int, seed: int) -> Draws:
        """How the bootstrap draws these works: see :func:`prepare.drawn_together`."""
        group_by = self.head.card.get("split", {}).get("group_by") if self.head is not None else None
        groups = drawn_together(self.works, group_by)
        return Draws(groups=groups, resamples=resamples, seed=seed)

    def take(self, ids: Ids, gallery_ids: Ids) -> Measured:
        """The same with these works and this gallery alone."""
        works = self.works.take(np.isin(self.works.ids, ids))
        return replace(self, works=works, gallery=self.gallery.take(np.isin(self.gallery.ids, gallery_ids)))


def measured(
    collection: Collection,
    kind: str,
    entry: EncoderEntry,
    head: Head | None,
    *,
    split: str = VAL,
    where: str | None = None,
    seed: int = 0,
    groups: Groups | None = None,
    watch: Watch = silent,
) -> Measured:
    """The works of a part of the split, and those that answer for them.

    With a head the gallery is what it was trained on, under its classes, and without `where` its own filter holds.
    Without one the published split is kept, or a fifth of the works is held out by `seed`; near-duplicates of works
    that are measured on do not answer. Raises LabelError, WhereError, EmbeddingError.
    """
    choices = head.card.get("choices", {}) if head else {}
    everything = load(
        collection, kind, entry, split=choices.get("split_by", "auto"),
        near_duplicate=choices.get("near_duplicate", NEAR_DUPLICATE), groups=groups, watch=watch,
    )  # fmt: skip
    labelled = _fitting(collection, everything, where or choices.get("where"))
    if head is not None:
        gallery, works, left_out = held_out(labelled, head, split)
        if not _is_train(split):
            works = _unseen(works, everything, head, left_out)
        classes = tuple(sorted(head.classes))
        gallery = gallery.take(np.isin(gallery.values, classes))
        works = works.take(np.isin(works.values, classes))
    else:
        gallery, works, left_out = _without_head(labelled, split, seed)
        classes = tuple(np.unique(gallery.values).tolist())
    if not len(gallery) or not len(works):
        raise LabelError(_nobody(kind, head, split, where))
    return Measured(entry, head, gallery, works, left_out, split, classes)


def head_for(collection: Collection, entry: EncoderEntry, kind: str, name: str | None = None) -> Head | None:
    """The head of this name, or the one named like its kind, or None where nobody asked for one and there is none.

    Raises HeadError for a head that is not there, is damaged, or names another kind of label; EncoderMismatchError.
    """
    if name is None and kind not in names_of(collection, entry):
        return None
    head = head_of(collection, entry, name or kind)
    if head.kind != kind:
        raise HeadError(
            f"the head {head.name!r} names {head.kind}, not {kind}; ask with --label {head.kind}, or name another head"
        )
    return head


def no_head(collection: Collection, entry: EncoderEntry, kind: str) -> str:
    """A sentence for who measures without a head."""
    others: list[str] = []
    with suppress(HeadError, EncoderMismatchError):
        others = [repr(head.name) for head in heads_of(collection, entry) if head.kind == kind]
    way = f"--head names {', '.join(others)}" if others else f"`simsearch train --label {kind}` makes one"
    if entry != collection.encoders()[0]:
        way += "" if others else f" with --encoder {entry.info.name}"
    return f"there is no head {kind!r} for the encoder {entry.info.name}, so neighbours alone are measured; {way}"


def _nobody(kind: str, head: Head | None, split: str, where: str | None) -> str:
    if where is not None:
        return f"no work to answer for {kind}, or none of the part {split!r}, fits --where {where!r}; widen the filter"
    if head is None:
        return f"no work of the part {split!r} can be held out to measure {kind} by; label more works"
    return (
        f"no work that the head {head.name!r} was trained on, or none that it was not, is here under its {kind} any "
        f"more; run `simsearch train --label {kind}` again"
    )


def _is_train(split: str) -> bool:
    return SPLIT_NAMES.get(split, split) == TRAIN


def _fitting(collection: Collection, labelled: Labelled, where: str | None) -> Labelled:
    if where is None:
        return labelled
    fitting = np.isin(labelled.ids, collection.catalog.ids_where(where))
    if not fitting.any():
        raise LabelError(
            f"no work with a label {labelled.kind!r} fits --where {where!r}; leave the filter away, or widen it"
        )
    return labelled.take(fitting)


def _unseen(works: Labelled, everything: Labelled, head: Head, left_out: dict[str, int]) -> Labelled:
    """The works less near-duplicates of train works that a filter hides, which `left_out` counts with the others."""
    seen = np.isin(works.groups, everything.groups[np.isin(everything.images, head.trained_on)])
    if seen.any():
        left_out[SEEN] = left_out.get(SEEN, 0) + int(seen.sum())
    return works.take(~seen)


def _without_head(labelled: Labelled, split: str, seed: int) -> tuple[Labelled, Labelled, dict[str, int]]:
    which = SPLIT_NAMES.get(split, split)
    train, val, left_out = divide(labelled, SplitChoices(seed=seed))
    names = np.array([SPLIT_NAMES.get(name, name) for name in labelled.parts.tolist()], dtype=np.str_)
    official = has_official(labelled)
    asked = {TRAIN: train, VAL: val}.get(which, (names == which) & official)
    if not asked.any():
        there = sorted(set(names.tolist()) - {""}) if official else [TRAIN, VAL]
        raise LabelError(f"no work belongs to the part {split!r}; there are {', '.join(there)}")
    if which not in (TRAIN, VAL):
        train = train & ~np.isin(labelled.groups, labelled.groups[asked])
        left_out = {}
    classes = np.unique(labelled.values[train])
    if len(classes) < 2:
        raise LabelError(
            f"the works to answer by have {'one class' if len(classes) else 'no class'} of {labelled.kind} only; "
            "two or more can be told apart: label more works"
        )
    known = asked & np.isin(labelled.values, classes)
    left_out |= {"of classes that no work to answer by has": int((asked & ~known).sum())}
    return labelled.take(train), labelled.take(known), {reason: n for reason, n in left_out.items() if n}
