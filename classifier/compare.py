"""`simsearch evaluate --compare`: two heads or two encoders on the works that were held out from both."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import NamedTuple

import numpy as np

from simsearch.classifier import metrics
from simsearch.classifier.evaluate import check
from simsearch.classifier.groups import Groups, near_duplicates
from simsearch.classifier.head import Head, names_of
from simsearch.classifier.intervals import RESAMPLES
from simsearch.classifier.labelled import check_kind
from simsearch.classifier.learn import codes
from simsearch.classifier.measured import Draws, Measured, head_for, measured
from simsearch.classifier.metrics import Codes
from simsearch.classifier.prepare import VAL
from simsearch.classifier.retrieval import retrieval
from simsearch.classifier.scores import TOP, Answers, differences, of_rows, right_alone
from simsearch.collection import Collection, EncoderEntry
from simsearch.errors import HeadError, LabelError, QueryError
from simsearch.figures import Comparison, Difference
from simsearch.watch import Watch, silent


class Side(NamedTuple):
    """One of the two that are compared."""

    entry: EncoderEntry
    head: Head | None

    @property
    def name(self) -> str:
        """Encoder and head, or the encoder alone."""
        return f"{self.entry.info.name}/{self.head.name}" if self.head else self.entry.info.name


def compare(
    collection: Collection,
    kind: str,
    a: str,
    b: str,
    *,
    split: str = VAL,
    encoder: str | None = None,
    where: str | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
    watch: Watch = silent,
) -> Comparison:
    """Figures of two heads, or of two encoders, side by side, with the difference and how likely it is by chance.

    Each of `a` and `b` is the name of a head for `encoder`, the name of an encoder, which stands for its head of this
    kind, or ``encoder/head``. Measured is on works that were held out from both and carry the same label for both, so
    that neither was trained on one of them or on its near-duplicate. A label that only one of them knows is left out,
    but an answer with it counts as wrong. Retrieval is compared where the encoders differ, and alone where not both
    have a head.

    Raises LabelError where no such work is left, HeadError, EncoderError, WhereError, EmbeddingError, QueryError.
    """
    check(resamples)
    check_kind(collection.catalog, kind)
    entry = collection.encoder_entry(encoder)
    sides = [side_of(collection, kind, name, entry) for name in (a, b)]
    if sides[0].name == sides[1].name:
        raise QueryError(f"{a!r} and {b!r} are both {sides[0].name}; name two that differ")
    if not all(side.head for side in sides):
        sides = [_neighbours_alone(collection, kind, sides, side) for side in sides]
    groups = _groups(collection, kind, sides, watch)
    on = [
        measured(collection, kind, *side, split=split, where=where, seed=seed, groups=groups, watch=watch)
        for side in sides
    ]
    pair = _on_both(collection, sides, on)
    # whole artists are drawn where they were held out from one of the two
    draws = min((side.draws(resamples, seed) for side in (pair.a, pair.b)), key=lambda d: len(np.unique(d["groups"])))
    rows: list[Difference] = []
    only: tuple[int | None, int | None] = (None, None)
    if all(side.head for side in sides):
        found, only = _of_heads(pair, draws)
        rows += found
    if sides[0].entry.number != sides[1].entry.number:
        rows += _of_encoders(pair, draws, watch)
    return Comparison(kind, sides[0].name, sides[1].name, split, len(pair.a.works), *only, tuple(rows))


def side_of(collection: Collection, kind: str, name: str, entry: EncoderEntry) -> Side:
    """What a name means: a head for `entry`, an encoder with its head of this kind, or ``encoder/head``.

    Raises HeadError with names that there are.
    """
    entries = {each.info.name: each for each in collection.encoders()}
    if name in names_of(collection, entry):
        return Side(entry, head_for(collection, entry, kind, name))
    if name in entries:
        return Side(entries[name], head_for(collection, entries[name], kind))
    before, _, after = name.rpartition("/")
    if before in entries:
        return Side(entries[before], head_for(collection, entries[before], kind, after))
    known = [*names_of(collection, entry), *entries]
    near = get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
    raise HeadError(f"{name!r} is neither a head for the encoder {entry.info.name} nor an encoder; {hint}")


@dataclass(frozen=True, slots=True)
class _Pair:
    a: Measured
    b: Measured
    classes: tuple[str, ...]
    """Of either, by name."""
    true: Codes

    def answers(self) -> tuple[Answers, Answers]:
        """What each head says of the works, its answers in codes of `classes`."""
        place = {name: i for i, name in enumerate(self.classes)}
        out = []
        for side in (self.a, self.b):
            own = np.array([place[name] for name in side.classes], dtype=np.int64)
            shares = side.probabilities()
            out.append(Answers(side.true, shares, own[metrics.predicted(shares)]))
        return out[0], out[1]


def _on_both(collection: Collection, sides: list[Side], on: list[Measured]) -> _Pair:
    """Both, on the works that are measured on by both under the same label."""
    a, b = (side.works for side in on)
    ids, of_a, of_b = np.intersect1d(a.ids, b.ids, assume_unique=True, return_indices=True)
    ids = ids[a.values[of_a] == b.values[of_b]]
    if not len(ids):
        raise LabelError(
            f"no work was held out from both {sides[0].name} and {sides[1].name} under the same {a.kind}; train both "
            "on one split: the published one, or the same --seed and --held-out"
        )
    gallery, of_a, of_b = np.intersect1d(on[0].gallery.ids, on[1].gallery.ids, assume_unique=True, return_indices=True)
    gallery = gallery[on[0].gallery.values[of_a] == on[1].gallery.values[of_b]]
    alone = [f"{len(side.works) - len(ids):,} of {name.name}" for side, name in zip(on, sides, strict=True)]
    if len(a) != len(ids) or len(b) != len(ids):
        collection.notice(
            f"measured on the {len(ids):,} works that were held out from both; left out: {' and '.join(alone)}"
        )
    pair = [side.take(ids, gallery) for side in on]
    if on[0].classes != on[1].classes and all(side.head for side in sides):
        collection.notice(
            f"{sides[0].name} knows {len(on[0].classes)} classes and {sides[1].name} {len(on[1].classes)}, "
            f"{len(set(on[0].classes) & set(on[1].classes))} of them in common: works of these were measured on"
        )
    classes = tuple(sorted({*on[0].classes, *on[1].classes}))
    return _Pair(pair[0], pair[1], classes, codes(pair[0].works.values, classes))


def _of_heads(pair: _Pair, draws: Draws) -> tuple[list[Difference], tuple[int, int]]:
    """The differences of :func:`scores.differences`, and how many works one alone names rightly."""
    a, b = pair.answers()
    top5 = min(len(pair.a.classes), len(pair.b.classes)) > TOP
    return differences(pair.true, a, b, len(pair.classes), draws, top5=top5), right_alone(pair.true, a, b)


def _of_encoders(pair: _Pair, draws: Draws, watch: Watch) -> list[Difference]:
    """Precision of the ten nearest works, of the same queries among the same works."""
    rows = []
    known = pair.a.kind != "artist" and (pair.a.works.artists != "").any()
    for name, without in (("P@10", False), ("P@10, other artists only", True))[: 1 + bool(known)]:
        watch(f"ranking the works {'by other artists' if without else 'by all artists'}", 0, 1)
        found = [retrieval(*side.sides(), without_same_artist=without, ks=(10,)) for side in (pair.a, pair.b)]
        counted = found[0].counted & found[1].counted
        if counted.any():
            some = Draws(groups=draws["groups"][counted], resamples=draws["resamples"], seed=draws["seed"])
            rows.append(of_rows(name, [side.precision_at(10)[counted] for side in found], some))
    return rows


def _neighbours_alone(collection: Collection, kind: str, sides: list[Side], side: Side) -> Side:
    if sides[0].entry.number == sides[1].entry.number:
        raise HeadError(f"{side.entry.info.name} has no head {kind!r} to compare; name two heads or two encoders")
    if side.head is None:
        collection.notice(
            f"there is no head {kind!r} for the encoder {side.entry.info.name}, so retrieval alone is compared; "
            f"`simsearch train --label {kind} --encoder {side.entry.info.name}` makes one"
        )
    return Side(side.entry, None)


def _groups(collection: Collection, kind: str, sides: list[Side], watch: Watch) -> Groups | None:
    """Near-duplicates, found once for both where both have them at one threshold."""
    found = {side.head.card.get("choices", {}).get("near_duplicate") if side.head else None for side in sides}
    if len(found) > 1:
        return None
    threshold = found.pop()
    ids = collection.catalog.labelled_ids(kind)
    return near_duplicates(collection, ids, watch=watch, **({"threshold": threshold} if threshold else {}))
