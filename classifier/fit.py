"""The linear head's arithmetic: multinomial logistic regression, and the temperature that makes shares probabilities.

Embeddings are standardised before the fit, and the standardisation is folded into weights and bias: a head is one
matrix product on the rows that search uses.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from simsearch.vectors import Rows

GRID = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Inverse strengths of the L2 penalty that the search tries, the strongest penalty first."""
TEMPERATURES = (0.05, 20.0)
MOST_STEPS = 300

Codes = npt.NDArray[np.int64]
Weights = npt.NDArray[np.float64]


def fit(rows: Rows, codes: Codes, classes: int, *, C: float, sample_weight: Weights | None = None) -> tuple[Rows, Rows]:
    """(weights (classes, dim), bias (classes,)) float32 of a head, from rows (n, dim) and their class codes (n,).

    `C` is the inverse strength of the L2 penalty, as scikit-learn has it. Every class must have a row; two classes get
    the two opposite halves of one weight vector. The answer depends on the processor's arithmetic in its last digits.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    mean = rows.mean(axis=0, dtype=np.float64)
    std = rows.std(axis=0, dtype=np.float64)
    std[std < 1e-9] = 1.0  # a number that never changes says nothing, and must not be blown up
    standard = ((rows - mean) / std).astype(np.float32)
    model = LogisticRegression(C=C, max_iter=MOST_STEPS, tol=1e-4)
    # one thread: the products are small, so that two wait for each other more than they work (fifteen times as long on
    # a busy machine), and the sums, and with them the head, would depend on how many there are
    with warnings.catch_warnings(), threadpool_limits(limits=1):
        # a weak penalty on few works may not settle in so many steps; the search then prefers a stronger one
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(standard, codes, sample_weight=sample_weight)
    if len(model.classes_) != classes:
        raise ValueError(f"{classes} classes, but rows of {len(model.classes_)}")
    weights = np.asarray(model.coef_, np.float64)
    bias = np.asarray(model.intercept_, np.float64)
    if classes == 2:
        weights, bias = np.concatenate([-weights, weights]) / 2, np.concatenate([-bias, bias]) / 2
    weights = weights / std
    return weights.astype(np.float32), (bias - weights @ mean).astype(np.float32)


def logits(rows: Rows, weights: Rows, bias: Rows) -> Rows:
    """(n, classes) float32: rows times weights, plus bias."""
    return np.asarray(rows @ weights.T + bias, np.float32)


def probabilities(logits: Rows, temperature: float = 1.0) -> Rows:
    """Softmax of logits over a temperature, (n, classes) float32, each row adding up to 1."""
    scaled = logits.astype(np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    np.exp(scaled, out=scaled)
    scaled /= scaled.sum(axis=1, keepdims=True)
    return scaled.astype(np.float32)


def temperature(logits: Rows, codes: Codes) -> tuple[float, float]:
    """(temperature, log loss at it) that fits logits (n, classes) of held-out works best (Guo et al. 2017).

    One number: it changes how sure the answers are, never which one comes first. One more work is thought of, whose
    logits are the others' and which carries every label alike: where a few works are all named rightly, the best
    temperature by these alone is 0, and every answer would be certain. To some hundred works it makes no difference.
    """
    from scipy.optimize import minimize_scalar

    wide = logits.astype(np.float64)
    top = wide.max(axis=1)
    below = top - wide[np.arange(len(codes)), codes], top - wide.mean(axis=1)

    def loss(log_t: float) -> float:
        t = np.exp(log_t)
        spread = np.log(np.exp((wide - top[:, None]) / t).sum(axis=1))
        real, imagined = ((spread + gap / t).mean() for gap in below)
        return float((len(codes) * real + imagined) / (len(codes) + 1))

    found: Any = minimize_scalar(loss, bounds=np.log(TEMPERATURES), method="bounded", options={"xatol": 1e-3})
    return float(np.exp(found.x)), float(found.fun)


def balanced(codes: Codes, classes: int, how: str, seed: int) -> tuple[Codes, Weights | None]:
    """(places (m,) of the rows to fit on, weights (m,) or None): how the classes are brought level.

    ``none`` leaves them; ``weights`` weighs each row by n / (classes x rows of its class); ``sampling`` draws as many
    rows as there are, with replacement, each class as often as the next.
    """
    counts = np.bincount(codes, minlength=classes)
    share = len(codes) / (classes * np.maximum(counts, 1.0))
    if how == "weights":
        return np.arange(len(codes)), share[codes]
    if how == "sampling":
        draw = np.random.default_rng(seed)
        each = -(-len(codes) // classes)
        return np.concatenate([draw.choice(np.flatnonzero(codes == c), each) for c in range(classes)]), None
    if how != "none":
        raise ValueError(f"balance {how!r}")
    return np.arange(len(codes)), None
