"""Figures of predictions, for one kind of label.

A class is its place 0..c-1 in a tuple of class names sorted by name; `probabilities` (n, c) have their columns in that
order. A true class may be :data:`UNKNOWN`, one that the head was never shown. Such a row is always counted: as wrong
wherever right and wrong are counted, and as a class of probability 0 in Brier's score and in the logarithmic loss.

Arguments of the wrong shape, a code that is no class, NaN and rows that do not sum to 1 are a caller's mistakes, and
raise ValueError. So does a mean over no rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[Any]
"""Confusion matrices (..., r, c), whole numbers or weights."""

UNKNOWN = -1
"""Code of a true class that the head does not know."""
BINS = 15
LEAST_PROBABILITY = float(np.finfo(np.float32).eps)
"""What the logarithmic loss takes instead of less: a head's probabilities are float32."""


# -- counts of right and wrong -----------------------------------------------------------------------------------------


class PerClass(NamedTuple):
    """Figures of each class, arrays (..., c)."""

    precision: Floats
    recall: Floats
    f1: Floats
    support: Counts
    """Rows that truly are of the class."""


class Average(NamedTuple):
    """Means over classes, arrays (...)."""

    precision: Floats
    recall: Floats
    f1: Floats


def correct(true: npt.ArrayLike, predicted: npt.ArrayLike) -> Flags:
    """Whether each prediction (n,) is right; never where the true class is :data:`UNKNOWN`."""
    true, predicted = np.asarray(true), np.asarray(predicted)
    if true.shape != predicted.shape:
        raise ValueError(f"{true.shape} true classes and {predicted.shape} predicted ones")
    return np.asarray((true == predicted) & (true != UNKNOWN))


def confusion(
    true: npt.ArrayLike, predicted: npt.ArrayLike, classes: int, *, unknown_row: bool = False
) -> npt.NDArray[np.int64]:
    """Numbers of rows (c, c) by true class (rows) and predicted class (columns), int64.

    With `unknown_row` (c + 1, c): the last row counts what was predicted where the true class is unknown. Without it
    such a row raises ValueError: it would be missing from accuracy and precision. Every figure below takes both forms.
    """
    true, predicted = codes_of(true, classes, least=UNKNOWN), codes_of(predicted, classes)
    if len(true) != len(predicted):
        raise ValueError(f"{len(true)} true classes and {len(predicted)} predicted ones")
    unknown = int((true == UNKNOWN).sum())
    if unknown and not unknown_row:
        raise ValueError(f"{unknown} rows are of a class that the head does not know; count them with unknown_row")
    rows = classes + 1 if unknown_row else classes
    cells = np.where(true == UNKNOWN, classes, true) * classes + predicted
    return np.bincount(cells, minlength=rows * classes).reshape(rows, classes).astype(np.int64)


def accuracy(confusions: Counts) -> Floats:
    """Share of the rows that are right, (...); of those of unknown class none is. NaN where there are no rows."""
    return _ratio(_right(confusions).sum(-1), confusions.sum((-2, -1)), np.nan)


def per_class(confusions: Counts) -> PerClass:
    """Precision, recall, F1 and support of each class; a figure whose denominator is 0 is 0.

    A row of unknown class that was taken for a class counts against the precision of that class.
    """
    right = _right(confusions)
    predicted = confusions.sum(-2)
    support = confusions[..., : confusions.shape[-1], :].sum(-1)
    return PerClass(
        _ratio(right, predicted, 0.0), _ratio(right, support, 0.0), _ratio(2 * right, predicted + support, 0.0), support
    )


def macro(confusions: Counts) -> Average:
    """Means over the classes that have a true row, each class counting alike. NaN where there is none.

    A class that was predicted and has no true row has no recall that could be measured, and is left out: this is
    scikit-learn's figure with ``labels`` the known classes among the true ones and ``zero_division=0``. Without
    ``labels`` scikit-learn takes the predicted ones in as well, with an F1 of 0. The unknown class is no class here:
    its rows lower the precision, and through it the F1, of the classes that they were taken for.
    """
    figures = per_class(confusions)
    return _average(figures, (figures.support > 0).astype(np.float64))


def weighted(confusions: Counts) -> Average:
    """Means over the classes, weighted by their support. NaN where no row is of a known class.

    The weighted recall is the accuracy over the rows of known class.
    """
    figures = per_class(confusions)
    return _average(figures, figures.support.astype(np.float64))


def _average(figures: PerClass, weights: Floats) -> Average:
    total = weights.sum(-1)
    precision, recall, f1 = (_ratio((v * weights).sum(-1), total, np.nan) for v in figures[:3])
    return Average(precision, recall, f1)


def _right(confusions: Counts) -> Counts:
    rows, columns = confusions.shape[-2:]
    if rows - columns not in (0, 1):
        raise ValueError(f"a confusion matrix of {rows} rows and {columns} columns; c or c + 1 rows wanted")
    return np.diagonal(confusions, axis1=-2, axis2=-1)


def _ratio(above: Counts, below: Counts, otherwise: float) -> Floats:
    out = np.full(np.shape(below), otherwise)
    np.divide(above, below, out=out, where=np.asarray(below) != 0)
    result: Floats = out[()]  # of one matrix a number rather than an array without dimensions
    return result


# -- probabilities -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reliability:
    """Confidence held against accuracy, bin by bin."""

    edges: Floats
    """(bins + 1,), 0 to 1. A bin holds confidences above its lower edge and up to its upper one."""
    confidence: Floats
    """(bins,) mean probability of the predicted class; NaN in an empty bin."""
    accuracy: Floats
    """(bins,) share of right predictions; NaN in an empty bin."""
    count: npt.NDArray[np.int64]
    """(bins,) rows in the bin."""


@dataclass(frozen=True, slots=True)
class CoverageAccuracy:
    """What is answered, and how well, as the threshold falls; arrays of one point for each confidence that occurs."""

    threshold: Floats
    """Descending; rows with at least this confidence are answered."""
    coverage: Floats
    """Share of all rows that are answered; the last is 1."""
    accuracy: Floats
    """Share of the answered rows that are right."""


def predicted(probabilities: npt.ArrayLike) -> Codes:
    """The most probable class of each row, (n,) int64; of equal ones the first."""
    return np.asarray(_finite(probabilities).argmax(axis=1), np.int64)


def top_k(true: npt.ArrayLike, probabilities: npt.ArrayLike, k: int) -> Flags:
    """Whether the true class is among the `k` most probable ones, (n,) bool; equal ones rank in the order of classes.

    Only the order of each row counts here, so that logits do as well.
    """
    if k < 1:
        raise ValueError(f"k is {k}; it starts at 1")
    values = _finite(probabilities)
    true = codes_of(true, values.shape[1], least=UNKNOWN, n=len(values))
    own = np.take_along_axis(values, np.maximum(true, 0)[:, None], axis=1)
    before = np.arange(values.shape[1]) < true[:, None]
    rank = (values > own).sum(axis=1) + ((values == own) & before).sum(axis=1)
    return np.asarray((rank < k) & (true != UNKNOWN))


def ece(true: npt.ArrayLike, probabilities: npt.ArrayLike, bins: int = BINS) -> float:
    """Expected calibration error, 0 to 1: the mean distance of confidence and accuracy over bins of equal width.

    Bins are weighted by their rows (Naeini et al. 2015; Guo et al. 2017). The figure is biased upwards, the more so
    the fewer the rows: a calibrated head's is above 0.
    """
    _, gaps = calibration_gaps(true, probabilities, bins)
    return float(np.abs(gaps.sum(axis=0)).sum() / len(gaps))


def calibration_gaps(true: npt.ArrayLike, probabilities: npt.ArrayLike, bins: int = BINS) -> tuple[Codes, Floats]:
    """The bin of each row (n,), and (n, bins): right (1 or 0) less confidence in the row's bin, 0 in the others.

    The absolute values of the gaps' column sums, added up and divided by n, are the expected calibration error.
    """
    hits, confidence = _answers(true, probabilities)
    places = np.searchsorted(_edges(bins)[1:-1], confidence, side="left")
    gaps = np.zeros((len(hits), bins))
    gaps[np.arange(len(hits)), places] = hits - confidence
    return places, gaps


def reliability(true: npt.ArrayLike, probabilities: npt.ArrayLike, bins: int = BINS) -> Reliability:
    """Mean confidence, accuracy and count of each of `bins` bins of equal width (Guo et al. 2017)."""
    hits, confidence = _answers(true, probabilities)
    places, _ = calibration_gaps(true, probabilities, bins)
    count = np.bincount(places, minlength=bins)
    means = [_ratio(np.bincount(places, v, minlength=bins), count, np.nan) for v in (confidence, hits)]
    return Reliability(_edges(bins), means[0], means[1], count.astype(np.int64))


def brier_rows(true: npt.ArrayLike, probabilities: npt.ArrayLike) -> Floats:
    """Brier's score of each row (n,), 0 to 2: the sum over classes of the squared error of the probability.

    1 more than the sum of the squared probabilities where the class is unknown, since it got the probability 0.
    """
    true, values = _judged(true, probabilities)
    # sum of (p - y)^2 with y one-hot: the squares, less twice the true class's probability, plus 1
    return np.asarray(np.square(values).sum(axis=1) - 2 * _own(true, values) + 1)


def brier(true: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Mean of :func:`brier_rows` (Brier 1950), 0 to 2; lower is better."""
    return float(brier_rows(true, probabilities).mean())


def log_loss_rows(true: npt.ArrayLike, probabilities: npt.ArrayLike) -> Floats:
    """Negative natural logarithm of the true class's probability, (n,).

    Less than :data:`LEAST_PROBABILITY` counts as that much, so that no row costs more than 15.94.
    """
    true, values = _judged(true, probabilities)
    return -np.log(np.maximum(_own(true, values), LEAST_PROBABILITY))


def log_loss(true: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Mean of :func:`log_loss_rows`; lower is better."""
    return float(log_loss_rows(true, probabilities).mean())


def coverage_accuracy(true: npt.ArrayLike, probabilities: npt.ArrayLike) -> CoverageAccuracy:
    """Coverage and accuracy at every threshold that makes a difference; rows of equal confidence come in together."""
    hits, confidence = _answers(true, probabilities)
    order = np.argsort(-confidence, kind="stable")
    falling = confidence[order]
    last = np.flatnonzero(np.append(falling[1:] != falling[:-1], True))
    answered = last + 1
    return CoverageAccuracy(falling[last], answered / len(hits), np.cumsum(hits[order])[last] / answered)


def accuracy_at(true: npt.ArrayLike, probabilities: npt.ArrayLike, threshold: float) -> tuple[float, float]:
    """(coverage, accuracy) where rows with at least `threshold` confidence are answered; accuracy NaN where none is."""
    hits, confidence = _answers(true, probabilities)
    answered = confidence >= threshold
    return float(answered.mean()), float(hits[answered].mean()) if answered.any() else float("nan")


# -- what is taken -----------------------------------------------------------------------------------------------------


def codes_of(values: npt.ArrayLike, classes: int, *, least: int = 0, n: int | None = None) -> Codes:
    """These codes (n,) as int64. Raises ValueError for what is no whole number from `least` to `classes` - 1."""
    codes = np.asarray(values)
    if codes.size == 0:
        codes = codes.astype(np.int64)
    if codes.ndim != 1 or codes.dtype.kind not in "iu" or (n is not None and len(codes) != n):
        raise ValueError(
            f"classes as {codes.dtype} of shape {codes.shape}; ({'n' if n is None else n},) integers wanted"
        )
    if len(codes) and not least <= codes.min() <= codes.max() < classes:
        raise ValueError(f"classes from {codes.min()} to {codes.max()}; there are {least} to {classes - 1}")
    return codes.astype(np.int64)


def _finite(values: npt.ArrayLike) -> Floats:
    out = np.asarray(values, np.float64)
    if out.ndim != 2 or not out.shape[1]:
        raise ValueError(f"probabilities of shape {out.shape}; (n, c) wanted")
    if not np.isfinite(out).all():
        raise ValueError(f"the probabilities of row {int(np.argmin(np.isfinite(out).all(axis=1)))} are not finite")
    return out


def _judged(true: npt.ArrayLike, probabilities: npt.ArrayLike) -> tuple[Codes, Floats]:
    """True classes and probabilities, of one row at least, that can be taken for what they are called."""
    values = _finite(probabilities)
    codes = codes_of(true, values.shape[1], least=UNKNOWN, n=len(values))
    if not len(values):
        raise ValueError("no rows to measure")
    wrong = (np.abs(values.sum(axis=1) - 1) > 1e-3) | (values < 0).any(axis=1)
    if wrong.any():
        raise ValueError(f"row {int(wrong.argmax())} does not hold probabilities: they are below 0 or do not sum to 1")
    return codes, values


def _answers(true: npt.ArrayLike, probabilities: npt.ArrayLike) -> tuple[Flags, Floats]:
    """Whether the most probable class is right, and its probability."""
    codes, values = _judged(true, probabilities)
    return correct(codes, values.argmax(axis=1)), values.max(axis=1)


def _own(true: Codes, values: Floats) -> Floats:
    own = np.take_along_axis(values, np.maximum(true, 0)[:, None], axis=1)[:, 0]
    return np.where(true == UNKNOWN, 0.0, own)


def _edges(bins: int) -> Floats:
    if bins < 1:
        raise ValueError(f"{bins} bins; there is at least 1")
    return np.linspace(0.0, 1.0, bins + 1)
