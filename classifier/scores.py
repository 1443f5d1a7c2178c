"""Figures of each way to name a label, with their intervals: a head, the nearest works, and what knows nothing.

And the differences between two ways on the same works, with a test of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from simsearch.classifier import intervals, metrics
from simsearch.classifier.intervals import Paired
from simsearch.classifier.learn import macro_f1
from simsearch.classifier.measured import Draws, Measured
from simsearch.classifier.metrics import Codes, Counts, Flags, Floats
from simsearch.classifier.retrieval import NOBODY, knn_predict
from simsearch.figures import Difference, Method
from simsearch.records import Estimate
from simsearch.vectors import Rows
from simsearch.watch import Watch

TOP = 5
VOTERS = 10
OF_CLASSES = ("macro_precision", "macro_recall", "macro_f1", "weighted_precision", "weighted_recall", "weighted_f1")


def head_method(on: Measured, shares: Rows, draws: Draws) -> Method:
    """The head, whose probabilities are `shares` (n, classes)."""
    assert on.head is not None
    top = metrics.top_k(on.true, shares, TOP) if len(on.classes) > TOP else None
    return method(on.head.name, on, metrics.predicted(shares), draws, top)


def baselines(on: Measured, draws: Draws, watch: Watch) -> list[Method]:
    """What a head is held against: the vote of the nearest works, the commonest class, and chance.

    The vote is that of `simsearch classify --by neighbours` over the gallery, without near-duplicates of the work
    itself. `majority` names the class that is commonest in the gallery, of equally common ones the first by name; its
    five best are the five commonest. `chance` is :func:`chance`.
    """
    queries, gallery = on.sides()
    common = np.bincount(on.known, minlength=len(on.classes))
    by_size = np.argsort(-common, kind="stable")
    out = []
    for name, voters in (("nearest work", 1), (f"{VOTERS} nearest works", VOTERS)):
        watch(f"asking the {name}", 0, 1)
        said = knn_predict(queries, gallery, voters)
        # a work whose every neighbour was left out is answered as one of which nothing is known
        out.append(method(name, on, np.where(said == NOBODY, by_size[0], said), draws))
    top = np.isin(on.true, by_size[:TOP]) if len(on.classes) > TOP else None
    out.append(method("majority", on, np.full(len(on.true), by_size[0]), draws, top))
    return [*out, chance(on, draws)]


def method(
    name: str, on: Measured, guess: Codes, draws: Draws, top: Flags | None = None, classes: int | None = None
) -> Method:
    """Figures of guesses (n,), and of `top` (n,), whether the right class is among the five best.

    With five classes or fewer there is no top-5, which would be 1 whatever is guessed. `classes` is how many there are
    to guess, where some stand behind those of the works.
    """
    of_weights = intervals.of_confusion(_of_classes, on.true, guess, classes or len(on.classes))
    found = intervals.estimates(of_weights, len(on.true), basic=True, **draws)
    figures = {"top1": intervals.estimate_mean(metrics.correct(on.true, guess), **draws)}
    figures |= dict(zip(OF_CLASSES, found, strict=True))
    if top is not None:
        figures["top5"] = intervals.estimate_mean(top, **draws)
    return Method(name, figures)


def chance(on: Measured, draws: Draws) -> Method:
    """Figures of one who guesses each of the K classes equally often, whatever the work.

    They are those of the expected confusion matrix, in which a class of s works among n has s / K in each column: top-1
    and every recall 1 / K, top-5 5 / K, a class's precision s / n and its F1 2 s / (n + K s). Macro F1 is the mean of
    these, which is below 1 / K where classes differ in size. Intervals are over the works alone: in each resample, too,
    the guesses are taken as expected.
    """
    k = len(on.classes)
    member = np.eye(k)[on.true]

    def figures(weights: Floats) -> Floats:
        support = weights @ member
        total = support.sum(axis=1, keepdims=True)
        of_class = np.stack([support / total, np.full_like(support, 1 / k), 2 * support / (total + k * support)])
        present = support > 0
        macro = (of_class * present).sum(axis=2) / present.sum(axis=1)
        weighted = (of_class * support).sum(axis=2) / total[:, 0]
        return np.stack([*macro, *weighted], axis=1)

    found = {"top1": Estimate(1 / k, 1 / k, 1 / k)}
    found |= dict(zip(OF_CLASSES, intervals.estimates(figures, len(on.true), basic=True, **draws), strict=True))
    if k > TOP:
        found["top5"] = Estimate(TOP / k, TOP / k, TOP / k)
    return Method("chance", found)


class Answers(NamedTuple):
    """What one way says of the works that are measured on."""

    true: Codes
    """(n,) the works' classes, in codes of the columns of `shares`."""
    shares: Rows | Floats
    """(n, c) its probabilities."""
    guess: Codes
    """(n,) its answers, in codes that both ways share."""


def differences(true: Codes, a: Answers, b: Answers, classes: int, draws: Draws, *, top5: bool) -> list[Difference]:
    """Figures of both and b less a: top-1 by McNemar's test, the others by the paired bootstrap.

    `true` (n,) and the guesses are codes of the same `classes`; `top5` is whether both choose among more than five.
    """
    hits = [metrics.correct(true, side.guess) for side in (a, b)]
    top1 = of_rows("top1", hits, draws)
    rows = [Difference("top1", top1.a, top1.b, top1.difference, intervals.mcnemar(*hits).p)]
    f1 = [intervals.estimate_confusion({"f1": macro_f1}, true, side.guess, classes, **draws)["f1"] for side in (a, b)]
    rows.append(_row("macro_f1", f1[0], f1[1], intervals.paired_macro_f1(true, a.guess, b.guess, classes, **draws)))
    if top5:
        rows.append(of_rows("top5", [metrics.top_k(side.true, side.shares, TOP) for side in (a, b)], draws))
    rows.append(of_rows("Brier", [metrics.brier_rows(side.true, side.shares) for side in (a, b)], draws))
    return rows


def right_alone(true: Codes, a: Answers, b: Answers) -> tuple[int, int]:
    """How many works a alone names rightly, and b alone."""
    test = intervals.mcnemar(*(metrics.correct(true, side.guess) for side in (a, b)))
    return test.only_a, test.only_b


def of_rows(name: str, per_row: Sequence[Flags] | Sequence[Floats], draws: Draws) -> Difference:
    """The means of a figure of each row (n,), of one and of the other."""
    a, b = (intervals.estimate_mean(values, **draws) for values in per_row)
    return _row(name, a, b, intervals.paired_bootstrap(*per_row, **draws))


def _row(name: str, a: Estimate, b: Estimate, paired: Paired) -> Difference:
    return Difference(name, a, b, paired.difference, paired.p)


def _of_classes(confusions: Counts) -> Floats:
    """(b, 6) in the order of :data:`OF_CLASSES`."""
    return np.stack([*metrics.macro(confusions), *metrics.weighted(confusions)], axis=-1)
