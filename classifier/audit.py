"""`simsearch audit`: labels that look wrong, works unlike their class, pictures that stand there with two labels.

A finding is a reason for a person to look. Nothing is changed by an audit.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from simsearch.catalog.catalog import Generation
from simsearch.classifier import audit_labels as labels
from simsearch.classifier import audit_outliers as outliers
from simsearch.classifier.audit_labels import Counts, Floats
from simsearch.classifier.groups import Groups, near_duplicates
from simsearch.classifier.labelled import Labelled, check_kind, load
from simsearch.collection import Collection, percentile
from simsearch.errors import LabelError, QueryError
from simsearch.figures import REASONS, Finding
from simsearch.records import Artwork, Hit
from simsearch.show.findings import Audit
from simsearch.vectors import rounded
from simsearch.watch import Watch, silent

EVIDENCE = 4
"""Works shown beside a finding."""
TOLD = 5
"""Labels with too few works that are named."""


def audit(
    collection: Collection,
    kind: str,
    *,
    encoder: str | None = None,
    folds: int = labels.FOLDS,
    limit: int | None = None,
    where: str | None = None,
    seed: int = 0,
    groups: Groups | None = None,
    watch: Watch = silent,
) -> Audit:
    """Labels of a kind that a person should look at again, by reason and then the most suspicious first.

    Every work is judged by what the works of other folds teach, never by itself or a near-duplicate. At most `limit`
    findings of each reason are given, None for all. `where` narrows the works that are judged and that teach. The same
    `seed` gives the same findings. `groups` are near-duplicates that were found before.

    Raises LabelError for a kind that no work has, and where fewer than two labels have works enough to be learned;
    WhereError, EncoderError, EmbeddingError.
    """
    if folds < 2 or (limit is not None and limit < 1):
        raise QueryError(f"folds is {folds} and limit {limit}; there are two folds at least, and one finding")
    started = time.perf_counter()
    entry = collection.encoder_entry(encoder)
    with collection.catalog.snapshot():  # a work that goes while others are judged is still there to be shown
        works = load(collection, kind, entry, where=where, split="none", groups=groups, watch=watch)
        judged = _judge(works, max(labels.FEWEST, folds), folds, seed, watch)
        found = _labels(judged) + _outliers(works, judged, seed, watch) + _duplicates(works, judged)
        kept = [case for reason in REASONS for case in [c for c in found if c.reason == reason][:limit]]
        told = _Told(collection, works, collection.catalog.generation(entry.number))
        findings = tuple(told.finding(case) for case in kept)
    counts = Counter(case.reason for case in found)
    return Audit(
        kind, entry.info, int(judged.checked.sum()), len(judged.classes), judged.agreement, findings,
        {reason: counts[reason] for reason in REASONS}, judged.left_out, time.perf_counter() - started,
    )  # fmt: skip


def audit_kinds(
    collection: Collection, kinds: Sequence[str] = (), *, watch: Watch = silent, **options: Any
) -> list[Audit]:
    """An audit of each of these kinds of label, with the options of :func:`audit`.

    Without kinds of every one that works have; then one that cannot be checked is noticed and passed over, unless it is
    the same with all of them. Near-duplicates are looked for once. Raises as :func:`audit` does.
    """
    catalog = collection.catalog
    there = kinds or [kind for kind in catalog.label_kinds() if len(catalog.labelled_ids(kind))]
    for kind in there or [""]:
        check_kind(catalog, kind)
    labelled = np.unique(np.concatenate([catalog.labelled_ids(kind) for kind in there]))
    groups = near_duplicates(collection, labelled, watch=watch)
    done: list[Audit] = []
    refused: list[LabelError] = []
    for kind in dict.fromkeys(there):
        try:
            done.append(audit(collection, kind, groups=groups, watch=watch, **options))
        except LabelError as error:
            if kinds:
                raise
            refused.append(error)
    if refused and not done:
        raise refused[0]
    for why in refused:
        collection.notice(f"not checked: {why}")
    return done


@dataclass(frozen=True, slots=True)
class _Judged:
    """What the other works say of each label."""

    classes: tuple[str, ...]
    """Labels that were learned, by name."""
    places: Counts
    """(m,) among all labelled works, of those with such a label."""
    codes: Counts
    """(m,)"""
    shares: Floats
    """(m, classes)"""
    checked: npt.NDArray[np.bool_]
    """(m,) whether a fold could judge the label."""
    left_out: dict[str, int]

    @property
    def agreement(self) -> float:
        """Share of the checked works whose label is the likeliest."""
        right = self.shares.argmax(axis=1) == self.codes
        return float(right[self.checked].mean()) if self.checked.any() else 0.0

    def probability(self, place: int, value: str) -> float | None:
        """Of a label for the work at a place among all labelled ones; None where it was not judged."""
        i = int(np.searchsorted(self.places, place))
        if i == len(self.places) or self.places[i] != place or value not in self.classes:
            return None
        return float(self.shares[i, self.classes.index(value)])


@dataclass(frozen=True, slots=True)
class _Case:
    """A finding by places among the labelled works, before its works are read."""

    reason: str
    place: int
    suggestion: str | None
    score: float
    probability: float | None
    own_probability: float | None
    beside: tuple[int, ...] | None = None
    """Places of the works that are its evidence; None for the nearest that carry the suggestion, or the nearest."""
    note: str = ""


def _judge(works: Labelled, fewest: int, folds: int, seed: int, watch: Watch) -> _Judged:
    names, counts = np.unique(works.values, return_counts=True)
    enough = names[counts >= fewest]
    if len(enough) < 2:
        raise LabelError(_too_few(works.kind, names.tolist(), counts.tolist(), fewest))
    places = np.flatnonzero(np.isin(works.values, enough))
    codes = np.searchsorted(enough, works.values[places])
    shares = labels.out_of_fold(
        works.rows[places], codes, works.groups[places], len(enough), folds=folds, seed=seed, watch=watch
    )
    checked = shares[np.arange(len(codes)), codes] > 0
    left_out = {}
    if len(places) < len(works):
        left_out[_rare(names[counts < fewest].tolist(), fewest)] = len(works) - len(places)
    if not checked.all():
        left_out["of a label whose works are all near-duplicates of each other"] = int((~checked).sum())
    return _Judged(tuple(enough.tolist()), places, codes, shares, checked, left_out)


def _labels(judged: _Judged) -> list[_Case]:
    """Labels that what the other works teach contradicts."""
    found = labels.suspicious(judged.shares, judged.codes)
    out = []
    for i, ratio, best in zip(found.places.tolist(), found.ratios.tolist(), found.best.tolist(), strict=True):
        likely, own = float(judged.shares[i, best]), float(judged.shares[i, judged.codes[i]])
        score = max(0.0, 1.0 - ratio)
        out.append(_Case("label", int(judged.places[i]), judged.classes[best], score, likely, own))
    return out


def _outliers(works: Labelled, judged: _Judged, seed: int, watch: Watch) -> list[_Case]:
    """Works that are easily told from all others with their label."""
    names, codes, counts = np.unique(works.values, return_inverse=True, return_counts=True)
    scores = outliers.anomalies(works.rows, codes, seed=seed, watch=watch)
    found = np.flatnonzero(scores >= outliers.FROM)  # not where it is NaN
    found = found[np.argsort(-scores[found], kind="stable")]
    return [
        _Case(
            "outlier",
            i,
            None,
            float(scores[i]),
            None,
            judged.probability(i, str(names[codes[i]])),
            note=f"unlike the other {counts[codes[i]] - 1:,} works labelled {names[codes[i]]}",
        )
        for i in found.tolist()
    ]  # fmt: skip


def _duplicates(works: Labelled, judged: _Judged) -> list[_Case]:
    """Works of a near-duplicate group whose labels differ; those that carry the label of the most are right."""
    order = np.argsort(works.groups, kind="stable")
    _, start = np.unique(works.groups[order], return_index=True)
    out = []
    for group in np.split(order, start[1:]):
        if len(group) > 1 and (works.values[group] != works.values[group[0]]).any():
            out += _differing(works, judged, group)
    return sorted(out, key=lambda case: (-case.score, works.groups[case.place], case.place))


def _differing(works: Labelled, judged: _Judged, group: Counts) -> list[_Case]:
    votes = Counter(works.values[group].tolist()).most_common()
    majority = votes[0][0] if votes[0][1] * 2 > len(group) else None
    said = ", ".join(f"{value} ({n})" if n > 1 else value for value, n in sorted(votes))
    out = []
    for i in group.tolist():
        own = str(works.values[i])
        others = group[works.values[group] != own]
        if own == majority:
            continue
        cosines = works.rows[others] @ works.rows[i]
        same = works.images[others] == works.images[i]
        score = 1.0 if same.any() else float(np.clip(cosines.max(), 0.0, 1.0))
        beside = others[np.argsort(-np.where(same, 2.0, cosines), kind="stable")][:EVIDENCE]
        likely = judged.probability(i, majority) if majority else None
        note = f"{'the same file' if same.any() else 'nearly the same picture'}, labelled {said}"
        out.append(_Case("duplicate", i, majority, score, likely, judged.probability(i, own), tuple(beside), note))
    return out


def _nearest(works: Labelled, place: int, among: npt.NDArray[np.bool_]) -> tuple[int, ...]:
    """Places of the nearest works of a mask, the nearest first, the work itself left out."""
    others = np.flatnonzero(among)
    others = others[others != place]
    cosines = works.rows[others] @ works.rows[place]
    return tuple(others[np.argsort(-cosines, kind="stable")[:EVIDENCE]].tolist())


class _Told:
    """Makes findings of cases: reads their works from the catalog."""

    def __init__(self, collection: Collection, works: Labelled, generation: Generation | None) -> None:
        self._collection, self._works, self._generation = collection, works, generation

    def finding(self, case: _Case) -> Finding:
        works = self._works
        beside = case.beside
        if beside is None:
            alike = works.values == case.suggestion if case.suggestion else works.groups != works.groups[case.place]
            beside = _nearest(works, case.place, alike)
        read = self._collection.catalog.artworks(works.ids[[case.place, *beside]].tolist())
        return Finding(
            case.reason, read[0], works.kind, str(works.values[case.place]), case.suggestion, case.score,
            case.probability, case.own_probability, self._hits(case.place, beside, read[1:]), case.note,
        )  # fmt: skip

    def _hits(self, place: int, beside: Sequence[int], read: Sequence[Artwork]) -> tuple[Hit, ...]:
        cosines = rounded(self._works.rows[list(beside)] @ self._works.rows[place])
        shares = percentile(self._generation, cosines)
        return tuple(
            Hit(rank, round(float(cosine), 6), share, work)
            for rank, (cosine, share, work) in enumerate(zip(cosines, shares, read, strict=True), 1)
        )


def _rare(names: Sequence[str], fewest: int) -> str:
    more = f" and {len(names) - TOLD:,} more" if len(names) > TOLD else ""
    return f"of labels with fewer than {fewest} works: {', '.join(names[:TOLD])}{more}"


def _too_few(kind: str, names: Sequence[str], counts: Sequence[int], fewest: int) -> str:
    if len(names) == 1:
        return f"{kind} has one class only ({names[0]!r}, {counts[0]:,} works); nothing can contradict it"
    enough = sum(n >= fewest for n in counts)
    return (
        f"of {len(names)} classes of {kind} {'only one has' if enough else 'none has'} {fewest} works, which it takes "
        "to learn what belongs to a class; label more works"
    )
