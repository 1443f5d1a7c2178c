"""How far a figure can be trusted: bootstrap intervals, and paired tests of two predictors on the same rows.

Rows are drawn again with replacement, as many as there were, and the figure is taken anew (Efron 1979). A resample is
never laid out: it is a weight for each row, how often it was drawn. The interval of a mean or a ratio holds the middle
95 % of what came out (percentile interval). Means over classes and the calibration error are biased, and their
resamples twice so: with 350 classes of a dozen rows each the percentile interval of macro F1 held the true value in one
simulation of five. They have the basic interval, which takes the bias off (Davison & Hinkley 1997, 5.2.1).

With `groups` whole groups are drawn: works of one artist, or of one group of near-duplicates, are not independent, and
an interval that takes them so is too narrow (cluster bootstrap, Field & Welsh 2007). `groups` (n,) are integer codes; a
row with a negative one stands alone. An interval needs some dozens of rows or groups to mean anything; of a single one
it is a point.

The same seed gives the same resamples to every figure of the same rows and groups. Arguments of the wrong shape, no
rows, and NaN in what is given for each row are a caller's mistakes, and raise ValueError.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from simsearch.classifier import metrics
from simsearch.classifier.metrics import Codes, Counts, Floats
from simsearch.records import Estimate

RESAMPLES = 1_000
LEVEL = 0.95
BLOCK_NUMBERS = 4 * 2**20
"""Weights held at once: 32 MB of float64."""

Statistic = Callable[[Floats], Floats]
"""Weights of the rows (b, n) float64 -> the figure for each of b resamples, (b,), or k figures, (b, k)."""
ConfusionStatistic = Callable[[Counts], Floats]
"""A stack of confusion matrices (b, c + 1, c), the last row the unknown class -> (b,) or (b, k)."""


@dataclass(frozen=True, slots=True)
class Paired:
    """The difference of two predictors on the same rows."""

    difference: Estimate
    """The second's figure less the first's."""
    p: float
    """Two-sided: twice the share of resamples whose difference is 0 or of the other sign, at most 1."""


class McNemar(NamedTuple):
    """Rows that exactly one of two predictors has right, and how likely so uneven a split is by chance."""

    only_a: int
    only_b: int
    p: float


# -- one figure --------------------------------------------------------------------------------------------------------


def bootstrap(
    statistic: Statistic,
    n: int,
    *,
    groups: npt.ArrayLike | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Floats:
    """What `statistic` gives for each of the resamples of `n` rows, (resamples,) or (resamples, k).

    The weights of a resample sum to `n`, with `groups` only nearly so: groups are of different sizes.
    """
    members, clusters = _clusters(n, groups)
    rng = np.random.default_rng(seed)
    step = max(1, BLOCK_NUMBERS // n)
    out = []
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        drawn = rng.integers(0, clusters, (size, clusters))
        drawn += np.arange(size)[:, None] * clusters
        times = np.bincount(drawn.ravel(), minlength=size * clusters).reshape(size, clusters).astype(np.float64)
        out.append(statistic(times if members is None else times[:, members]))
    return np.concatenate(out)


def estimate(
    statistic: Statistic,
    n: int,
    *,
    basic: bool = False,
    groups: npt.ArrayLike | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """The figure that `statistic` (b, n) -> (b,) gives where every row has weight 1, and its interval.

    The percentile interval, or with `basic` the basic one; see :func:`interval` and :func:`basic_interval`.
    """
    drawn = bootstrap(statistic, n, groups=groups, resamples=resamples, seed=seed)
    return _chosen(basic)(float(statistic(np.ones((1, n)))[0]), drawn)


def estimates(
    statistic: Statistic,
    n: int,
    *,
    basic: bool = False,
    groups: npt.ArrayLike | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[Estimate, ...]:
    """Like :func:`estimate` for the k figures of a `statistic` (b, n) -> (b, k), all of the same resamples."""
    drawn = bootstrap(statistic, n, groups=groups, resamples=resamples, seed=seed)
    values = statistic(np.ones((1, n)))[0]
    return tuple(_chosen(basic)(float(v), column) for v, column in zip(values, drawn.T, strict=True))


def interval(value: float, drawn: Floats) -> Estimate:
    """The figure with the middle 95 % of what its resamples gave, (resamples,): the percentile interval.

    Resamples in which it is not defined (NaN) are left out; where that is all of them, both ends are NaN.
    """
    defined = drawn[~np.isnan(drawn)]
    if not len(defined):
        return Estimate(value, float("nan"), float("nan"))
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value, float(low), float(high))


def basic_interval(value: float, drawn: Floats) -> Estimate:
    """The figure, a share from 0 to 1, with the basic interval, cut to 0..1.

    It takes the resamples (resamples,) to lie about the figure as the figure lies about the true value, and so reaches
    from twice the figure less their upper end to twice the figure less their lower end.
    """
    found = interval(value, 2 * value - drawn)
    return Estimate(value, float(np.clip(found.low, 0, 1)), float(np.clip(found.high, 0, 1)))


def estimate_mean(
    per_row: npt.ArrayLike, *, groups: npt.ArrayLike | None = None, resamples: int = RESAMPLES, seed: int = 0
) -> Estimate:
    """Mean of per_row (n,), numbers or booleans, and its interval."""
    values = _per_row(per_row)
    return estimate(_mean(values), len(values), groups=groups, resamples=resamples, seed=seed)


def estimate_ratio(
    above: npt.ArrayLike,
    below: npt.ArrayLike,
    *,
    groups: npt.ArrayLike | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """Sum of above (n,) over sum of below (n,), and its interval: say right and answered, over answered."""
    above, below = _pair(above, below)
    return estimate(_ratio(above, below), len(above), groups=groups, resamples=resamples, seed=seed)


def estimate_confusion(
    statistics: Mapping[str, ConfusionStatistic],
    true: npt.ArrayLike,
    predicted: npt.ArrayLike,
    classes: int,
    *,
    groups: npt.ArrayLike | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Shares taken from the confusion matrix, (b, c + 1, c) -> (b,) each, with basic intervals, by name.

    A class of which a resample holds no row has no part in that resample's mean over classes. Top-1 accuracy is a mean:
    :func:`estimate_mean` of :func:`metrics.correct <simsearch.classifier.metrics.correct>` serves it.
    """
    of_weights = of_confusion(lambda m: np.stack([f(m) for f in statistics.values()], -1), true, predicted, classes)
    found = estimates(of_weights, np.size(true), basic=True, groups=groups, resamples=resamples, seed=seed)
    return dict(zip(statistics, found, strict=True))


def estimate_per_class(
    statistic: ConfusionStatistic,
    true: npt.ArrayLike,
    predicted: npt.ArrayLike,
    classes: int,
    *,
    groups: npt.ArrayLike | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[Estimate, ...]:
    """A figure of each class, (b, c + 1, c) -> (b, c), such as ``lambda m: metrics.per_class(m).f1``.

    With percentile intervals, one for each class. Of a class with few rows the interval says little.
    """
    of_weights = of_confusion(statistic, true, predicted, classes)
    return estimates(of_weights, np.size(true), groups=groups, resamples=resamples, seed=seed)


def estimate_ece(
    true: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    bins: int = metrics.BINS,
    *,
    groups: npt.ArrayLike | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """Expected calibration error and its basic interval, which reaches down to 0 where all of it may be noise."""
    _, gaps = metrics.calibration_gaps(true, probabilities, bins)

    def error(weights: Floats) -> Floats:
        return np.asarray(np.abs(weights @ gaps).sum(axis=1) / weights.sum(axis=1))

    return estimate(error, len(gaps), basic=True, groups=groups, resamples=resamples, seed=seed)


# -- two predictors ----------------------------------------------------------------------------------------------------


def mcnemar(correct_a: npt.ArrayLike, correct_b: npt.ArrayLike) -> McNemar:
    """McNemar's test (1947) of two predictors' right answers (n,) bool on the same rows, by the exact binomial.

    Two-sided: twice the probability of a split at least as uneven as that of the rows that one alone has right, were
    each as likely either's; 1 where there is no such row. The exact test serves any number of rows, so that the usual
    chi-squared approximations for many are not needed; it errs towards the larger p. It takes the rows as independent:
    where they come in groups, :func:`paired_bootstrap` does not.
    """
    from scipy.special import bdtr

    a, b = _pair(correct_a, correct_b)
    if not (np.isin(a, (0, 1)).all() and np.isin(b, (0, 1)).all()):
        raise ValueError("McNemar's test takes right and wrong, not amounts")
    only_a, only_b = int((a > b).sum()), int((b > a).sum())
    tail = float(bdtr(min(only_a, only_b), only_a + only_b, 0.5))
    return McNemar(only_a, only_b, min(1.0, 2 * tail))


def paired_bootstrap(
    per_row_a: npt.ArrayLike,
    per_row_b: npt.ArrayLike,
    *,
    groups: npt.ArrayLike | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Paired:
    """How much higher the mean of per_row_b (n,) is than that of per_row_a (n,), with interval and p."""
    a, b = _pair(per_row_a, per_row_b)
    statistic = _mean(b - a)
    drawn = bootstrap(statistic, len(a), groups=groups, resamples=resamples, seed=seed)
    return _paired(float((b - a).mean()), drawn)


def paired_confusion(
    statistic: ConfusionStatistic,
    true: npt.ArrayLike,
    predicted_a: npt.ArrayLike,
    predicted_b: npt.ArrayLike,
    classes: int,
    *,
    groups: npt.ArrayLike | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Paired:
    """How much higher a figure of the confusion matrix is for predicted_b (n,) than for predicted_a (n,).

    With the basic interval, and p of the same: the two may be biased by different amounts.
    """
    of_a, of_b = (of_confusion(statistic, true, p, classes) for p in (predicted_a, predicted_b))
    drawn = bootstrap(lambda w: of_b(w) - of_a(w), np.size(true), groups=groups, resamples=resamples, seed=seed)
    whole = np.ones((1, np.size(true)))
    value = float((of_b(whole) - of_a(whole))[0])
    return _paired(value, 2 * value - drawn)


def paired_macro_f1(
    true: npt.ArrayLike,
    predicted_a: npt.ArrayLike,
    predicted_b: npt.ArrayLike,
    classes: int,
    *,
    groups: npt.ArrayLike | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Paired:
    """How much higher the macro F1 of predicted_b (n,) is than that of predicted_a (n,), with interval and p."""
    return paired_confusion(
        lambda m: metrics.macro(m).f1, true, predicted_a, predicted_b, classes,
        groups=groups, resamples=resamples, seed=seed,
    )  # fmt: skip


def _paired(value: float, drawn: Floats) -> Paired:
    defined = drawn[~np.isnan(drawn)]
    # the observed sample counts as one of the resamples, so that p is never 0 (Davison & Hinkley 1997, 4.2)
    beyond = min(int((defined <= 0).sum()), int((defined >= 0).sum())) + 1
    return Paired(interval(value, drawn), min(1.0, 2 * beyond / (len(defined) + 1)))


def _chosen(basic: bool) -> Callable[[float, Floats], Estimate]:
    return basic_interval if basic else interval


# -- statistics of weights ---------------------------------------------------------------------------------------------


def of_confusion(
    statistic: ConfusionStatistic, true: npt.ArrayLike, predicted: npt.ArrayLike, classes: int
) -> Statistic:
    """The figure of the confusion matrix (b, c + 1, c) -> (b,) or (b, k) as a statistic of the rows' weights (b, n)."""
    true = metrics.codes_of(true, classes, least=metrics.UNKNOWN)
    predicted = metrics.codes_of(predicted, classes, n=len(true))
    cells = np.where(true == metrics.UNKNOWN, classes, true) * classes + predicted
    order = np.argsort(cells, kind="stable")
    # most cells of a large matrix are empty: only those that occur are summed
    occurring, starts = np.unique(cells[order], return_index=True)
    step = max(1, BLOCK_NUMBERS // ((classes + 1) * classes))

    def of_weights(weights: Floats) -> Floats:
        sums = np.add.reduceat(weights[:, order], starts, axis=1)
        out = []
        for start in range(0, len(sums), step):
            block = sums[start : start + step]
            stack = np.zeros((len(block), (classes + 1) * classes))
            stack[:, occurring] = block
            out.append(statistic(stack.reshape(-1, classes + 1, classes)))
        return np.concatenate(out)

    return of_weights


def _mean(values: Floats) -> Statistic:
    return _ratio(values, np.ones_like(values))


def _ratio(above: Floats, below: Floats) -> Statistic:
    def ratio(weights: Floats) -> Floats:
        total = weights @ below
        out = np.full(len(weights), np.nan)
        np.divide(weights @ above, total, out=out, where=total != 0)
        return out

    return ratio


def _clusters(n: int, groups: npt.ArrayLike | None) -> tuple[Codes | None, int]:
    """The place of each row's group among the groups, None where every row is its own, and the number of groups."""
    if n < 1:
        raise ValueError("no rows to draw from")
    if groups is None:
        return None, n
    codes = np.array(groups)
    if codes.shape != (n,) or codes.dtype.kind not in "iu":
        raise ValueError(f"groups as {codes.dtype} of shape {codes.shape}; ({n},) integers wanted")
    codes = codes.astype(np.int64)
    alone = codes < 0
    codes[alone] = codes.max() + 1 + np.arange(alone.sum())
    found, members = np.unique(codes, return_inverse=True)
    return members.astype(np.int64), len(found)


def _per_row(values: npt.ArrayLike) -> Floats:
    out = np.asarray(values, np.float64)
    if out.ndim != 1 or not len(out):
        raise ValueError(f"figures of the rows have shape {out.shape}; (n,) wanted, of one row at least")
    if not np.isfinite(out).all():
        raise ValueError(f"the figure of row {int(np.argmin(np.isfinite(out)))} is not finite; leave such rows out")
    return out


def _pair(first: npt.ArrayLike, second: npt.ArrayLike) -> tuple[Floats, Floats]:
    a, b = _per_row(first), _per_row(second)
    if len(a) != len(b):
        raise ValueError(f"{len(a)} rows and {len(b)} rows; a pair is of the same rows")
    return a, b
