"""`simsearch evaluate`: what a head and its encoder know of one kind of label, on works that were held out.

Classes stand by name from the first step to the last: a head's columns are found by the names in its card, never by
their place.
"""

from __future__ import annotations

import time

import numpy as np

from simsearch import figures as f
from simsearch import vectors
from simsearch.catalog.catalog import Ids
from simsearch.classifier import intervals, metrics
from simsearch.classifier.groups import Groups
from simsearch.classifier.intervals import RESAMPLES
from simsearch.classifier.measured import Draws, Measured, head_for, measured, no_head
from simsearch.classifier.prepare import VAL
from simsearch.classifier.retrieval import KS, retrieval
from simsearch.classifier.scores import baselines, head_method
from simsearch.classifier.words_measured import ask_words
from simsearch.classifier.zero_shot import Wording
from simsearch.collection import Collection
from simsearch.errors import QueryError
from simsearch.vectors import Rows
from simsearch.watch import Watch, silent

PAIRS = 12
"""Confused pairs that are told."""
EXAMPLES = 6
"""Works that show each of them."""
TYPICAL = 4
"""Works of the class that they are taken for."""
POINTS = 200
"""Points of the coverage-accuracy curve, at most."""


def evaluate(
    collection: Collection,
    kind: str,
    *,
    split: str = VAL,
    head: str | None = None,
    encoder: str | None = None,
    where: str | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
    groups: Groups | None = None,
    zero_shot: Wording | None = None,
    watch: Watch = silent,
) -> f.Evaluation:
    """What a head, the nearest works and similarity itself know of a kind of label, each figure with its interval.

    `head` names one; by default it is the one named like the kind, and where there is none neighbours and retrieval
    alone are measured. A head is measured on the works that were held out from it, in the part `split`; ``train``
    measures on what it has seen. `where` narrows both the works and those that answer; by default it is the head's own
    filter. `groups` are near-duplicates that were found before. The same `seed` gives the same figures.

    `zero_shot` has the same works named by words alone as well, of `encoder`, or of the first of the collection that
    reads words. Its labels are by default the classes; works that its encoder has not embedded are left out for all.

    Raises LabelError for a kind that no work has, with the nearest there is, and for a part without works; HeadError,
    EncoderError, EncoderMismatchError, WhereError, EmbeddingError, QueryError.
    """
    check(resamples)
    started = time.perf_counter()
    entry = collection.encoder_entry(encoder)
    found = head_for(collection, entry, kind, head)
    on = measured(
        collection, kind, entry, found, split=split, where=where, seed=seed, groups=groups, watch=watch
    )  # fmt: skip
    by_words = ask_words(collection, on, zero_shot, watch) if zero_shot else None
    if by_words:
        on = by_words.on
    if found is None:
        collection.notice(no_head(collection, entry, kind))
    elif on.seen:
        collection.notice(f"the head {found.name!r} was trained on these very works: this says what it remembers")
    draws = on.draws(resamples, seed)
    shares = on.probabilities() if found else None
    methods = baselines(on, draws, watch)
    if by_words:
        methods.insert(0, by_words.method(draws))
    if shares is not None:
        methods.insert(0, head_method(on, shares, draws))
    return f.Evaluation(
        kind, entry.info, split, len(on.works), len(on.gallery), len(set(on.works.artists.tolist()) - {""}),
        on.left_out, tuple(methods),
        head=head_figures(collection, on, shares, draws) if shares is not None else None,
        retrieval=retrieved(on, resamples, seed, watch), seed=seed, resamples=resamples,
        seconds=time.perf_counter() - started, zero_shot=by_words.figures(shares, draws) if by_words else None,
    )  # fmt: skip


def check(resamples: int) -> None:
    """Raises QueryError for a number of resamples that gives no interval."""
    if resamples < 1:
        raise QueryError(f"resamples is {resamples}; an interval takes some, say {RESAMPLES}")


def head_figures(collection: Collection, on: Measured, shares: Rows, draws: Draws) -> f.HeadFigures:
    """What only a head has, by its probabilities (n, classes): confusions, calibration and abstention."""
    assert on.head is not None
    counts = metrics.confusion(on.true, metrics.predicted(shares), len(on.classes))
    trained = np.bincount(on.known, minlength=len(on.classes))
    of_class = metrics.per_class(counts)
    hits = metrics.correct(on.true, metrics.predicted(shares))
    answered = shares.max(axis=1) >= on.head.threshold
    return f.HeadFigures(
        on.head.name, on.classes,
        per_class=tuple(
            f.ClassFigures(name, int(of_class.support[i]), int(trained[i]), *(float(v[i]) for v in of_class[:3]))
            for i, name in enumerate(on.classes)
        ),
        confusion=tuple(tuple(row) for row in counts.tolist()),
        confused=_confused(collection, on, shares, counts),
        ece=intervals.estimate_ece(on.true, shares, **draws),
        brier=intervals.estimate_mean(metrics.brier_rows(on.true, shares), **draws),
        reliability=_reliability(on, shares), coverage=_coverage(on, shares), threshold=on.head.threshold,
        answered=intervals.estimate_mean(answered, **draws),
        accuracy_answered=intervals.estimate_ratio(hits & answered, answered, **draws),
        card=on.head.card,
    )  # fmt: skip


def retrieved(on: Measured, resamples: int, seed: int, watch: Watch) -> tuple[f.Retrieval, ...]:
    """Similarity as retrieval, with works by the query's artist and, where artists are known, without.

    For artists as labels there is no second figure: nothing relevant would be left.
    """
    apart = on.kind != "artist" and (on.works.artists != "").any()
    return tuple(_retrieval(on, without, resamples, seed, watch) for without in (False, True)[: 1 + bool(apart)])


def _retrieval(on: Measured, without: bool, resamples: int, seed: int, watch: Watch) -> f.Retrieval:
    watch(f"ranking the works {'by other artists' if without else 'by all artists'}", 0, 1)
    queries, gallery = on.sides()
    found = retrieval(queries, gallery, without_same_artist=without)
    counted = found.counted
    if not counted.any():
        nothing = intervals.interval(float("nan"), np.full(1, np.nan))
        return f.Retrieval(not without, 0, len(counted), nothing, nothing, nothing, dict.fromkeys(KS, nothing))
    draws = Draws(groups=on.draws(resamples, seed)["groups"][counted], resamples=resamples, seed=seed)
    p1, p10, average = (
        intervals.estimate_mean(column[counted], **draws)
        for column in (found.precision_at(1), found.precision_at(10), found.average_precision)
    )
    recall = {k: intervals.estimate_mean(found.recall_at(k)[counted], **draws) for k in KS}
    return f.Retrieval(not without, int(counted.sum()), int((~counted).sum()), p1, p10, average, recall)


def _confused(collection: Collection, on: Measured, shares: Rows, counts: metrics.Counts) -> tuple[f.Confused, ...]:
    """The pairs of classes most often confused; of equally many works those that are more of their class first."""
    guess = metrics.predicted(shares)
    support = counts.sum(axis=1)
    pairs = [
        (int(counts[i, j]), float(counts[i, j] / support[i]), int(i), int(j))
        for i, j in np.argwhere(counts * (1 - np.eye(len(counts), dtype=np.int64)))
    ]
    out = []
    for count, share, i, j in sorted(pairs, key=lambda p: (-p[0], -p[1], p[2], p[3]))[:PAIRS]:
        places = np.flatnonzero((on.true == i) & (guess == j))
        surest = places[np.argsort(-shares[places, j], kind="stable")][:EXAMPLES]
        works = collection.catalog.artworks(on.works.ids[surest].tolist())
        sure = tuple((work, float(shares[place, j])) for work, place in zip(works, surest.tolist(), strict=True))
        typical = tuple(collection.catalog.artworks(_typical(on, j).tolist()))
        out.append(f.Confused(on.classes[i], on.classes[j], count, share, sure, typical))
    return tuple(out)


def _typical(on: Measured, of: int) -> Ids:
    """Ids of the gallery's works of a class that are nearest the mean of them all, the nearest first."""
    of_class = on.gallery.take(on.known == of)
    nearness = vectors.rounded(of_class.rows @ of_class.rows.sum(axis=0) / max(len(of_class), 1))
    return of_class.ids[np.lexsort((of_class.ids, -nearness))[:TYPICAL]]


def _reliability(on: Measured, shares: Rows) -> f.Reliability:
    found = metrics.reliability(on.true, shares)
    means = (np.nan_to_num(column, nan=0.0) for column in (found.confidence, found.accuracy))
    confidence, accuracy = (tuple(round(v, 6) for v in column.tolist()) for column in means)
    return f.Reliability(tuple(found.edges.tolist()), confidence, accuracy, tuple(found.count.tolist()))


def _coverage(on: Measured, shares: Rows) -> tuple[tuple[float, float], ...]:
    found = metrics.coverage_accuracy(on.true, shares)
    last = len(found.coverage) - 1
    kept = np.unique(np.linspace(0, last, min(POINTS, last + 1)).round().astype(int))
    return tuple(zip(found.coverage[kept].tolist(), found.accuracy[kept].tolist(), strict=True))
