"""Which labels look wrong: confident learning (Northcutt, Jiang & Chuang 2021) on out-of-fold probabilities.

Each work is judged by a linear head, and by the neighbours, that never saw it nor a near-duplicate of it. Of each class
as many works are suspicious as the confident joint says are labelled wrongly, those with the least probability of their
label: the paper's "prune by class". They are ranked by that probability as a share of what works of the class get on
average, the paper's threshold. Of labels flipped at random this finds nearly twice as many as the paper's normalised
margin; of labels flipped to that of a look-alike it finds fewer (tests/benchmarks/audit_flips.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from simsearch.classifier import fit as linear
from simsearch.classifier.fit import Codes
from simsearch.classifier.split import folds as deal
from simsearch.errors import LabelError
from simsearch.vectors import Rows
from simsearch.watch import Watch, silent

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

FOLDS = 5
FEWEST = 5
"""Works of a class below which its labels are not checked: a fold would leave too few to learn the class from."""
NEIGHBOURS = 30
NEARNESS = 10.0
"""A neighbour's vote weighs exp(this x its cosine)."""
DOUBT = 0.05
"""Added to the votes, spread over all classes: a class without a neighbour is unlikely rather than impossible."""
VOTES_WEIGH = 0.25
"""Of the votes in the mix with the head; of 0, 0.25, 0.5 and 0.75 it found most of the labels flipped at random. Where
the wrong label is that of a look-alike, the votes mislead a little."""
SEARCHED = 6000
"""Works to train on that the penalty is chosen by, at most: the best one hardly depends on how many there are."""
LEAST = 1e-12
BLOCK_NUMBERS = 2**24


@dataclass(frozen=True, slots=True)
class Suspicion:
    """Labels that look wrong, the worst first."""

    places: Counts
    """(m,) of the works among those judged."""
    ratios: Floats
    """(m,) probability of the present label / threshold of its class, ascending; below 1 for all but odd classes."""
    best: Codes
    """(m,) the likeliest class, which is not the present one."""


def out_of_fold(
    rows: Rows, codes: Codes, groups: Counts, classes: int, *, folds: int = FOLDS, seed: int = 0, watch: Watch = silent
) -> Floats:
    """Calibrated probabilities (n, classes) of unit rows (n, dim), each by a head and neighbours of the other folds.

    Works of a near-duplicate group share a fold. The penalty is chosen on the first fold. The temperature of a fold is
    fitted on the others. A class whose works are all in one fold cannot be learned there: it has the probability zero,
    and all others a higher one. Raises LabelError where all works are near-duplicates of each other.
    """
    fold = deal(codes, groups, folds, seed)
    if len(np.unique(fold)) < 2:
        raise LabelError(
            f"all {len(rows):,} labelled works are near-duplicates of each other; there is nothing to learn"
        )
    head = by_head(rows, codes, fold, classes, watch)
    votes = by_neighbours(rows, codes, fold, classes, watch)
    mixed = (1 - VOTES_WEIGH) * np.log(np.maximum(head, LEAST)) + VOTES_WEIGH * np.log(np.maximum(votes, LEAST))
    return calibrated(np.where(head > 0, mixed, -np.inf), codes, fold)


def by_head(rows: Rows, codes: Codes, fold: Codes, classes: int, watch: Watch = silent) -> Floats:
    """Calibrated probabilities (n, classes), each by a linear head that was trained on the other folds."""
    penalty = _penalty(rows, codes, fold == 0, watch)
    logits = np.full((len(rows), classes), -np.inf)
    numbers = np.unique(fold).tolist()
    for done, number in enumerate(numbers):
        watch("judging labels by the other folds", done, len(numbers))
        held = fold == number
        logits[held] = _held_out(rows, codes, held, classes, penalty)
    watch("judging labels by the other folds", len(numbers), len(numbers))
    return calibrated(logits, codes, fold)


def by_neighbours(rows: Rows, codes: Codes, fold: Codes, classes: int, watch: Watch = silent) -> Floats:
    """Shares (n, classes) of the votes of the nearest works of other folds, by cosine centred on the mean of all."""
    centred = rows - rows.mean(axis=0, dtype=np.float64).astype(np.float32)
    centred /= np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), LEAST)
    out = np.empty((len(rows), classes))
    step = max(1, BLOCK_NUMBERS // max(1, len(rows)))
    most = min(NEIGHBOURS, int(min((fold != number).sum() for number in np.unique(fold))))
    for start in range(0, len(rows), step):
        watch("asking the neighbours", start, len(rows))
        block = slice(start, start + step)
        cosines = centred[block] @ centred.T
        cosines[fold[block, None] == fold[None, :]] = -2.0
        near = np.argpartition(-cosines, most - 1, axis=1)[:, :most]
        weights = np.exp(NEARNESS * np.take_along_axis(cosines, near, axis=1))
        place = np.arange(len(cosines))[:, None] * classes + codes[near]
        votes = np.bincount(place.ravel(), weights.ravel(), minlength=len(cosines) * classes)
        votes = votes.reshape(len(cosines), classes)
        out[block] = (votes / votes.sum(axis=1, keepdims=True) + DOUBT / classes) / (1 + DOUBT)
    return out


def calibrated(logits: Floats, codes: Codes, fold: Codes) -> Floats:
    """Probabilities (n, classes) of logits over a temperature; that of a fold is fitted on the other folds.

    So no work's own label has a part in its probability. It is zero only where the logit is minus infinity.
    """
    out = np.zeros_like(logits)
    known = np.isfinite(logits[np.arange(len(codes)), codes])
    for number in np.unique(fold):
        held, others = fold == number, (fold != number) & known
        # a class that a head does not know takes no part: -1e4 is as good as never, and arithmetic goes on
        finite = np.maximum(logits, -1e4)
        temperature = linear.temperature(finite[others], codes[others])[0] if others.any() else 1.0
        scaled = logits[held] / temperature
        shares = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        out[held] = np.where(np.isfinite(scaled), np.maximum(shares, np.finfo(np.float64).tiny), 0.0)
    return out


# -- confident learning ------------------------------------------------------------------------------------------------


def thresholds(shares: Floats, codes: Codes) -> Floats:
    """(classes,) the mean probability of class j among the works labelled j: Northcutt et al., equation 2."""
    own = shares[np.arange(len(codes)), codes]
    counts = np.bincount(codes, minlength=shares.shape[1])
    return np.asarray(np.bincount(codes, own, minlength=shares.shape[1]) / np.maximum(counts, 1))


def confident_joint(shares: Floats, codes: Codes) -> Counts:
    """(classes, classes): works labelled i that are confidently j, calibrated to the works of each label.

    A work is confidently the likeliest of the classes whose threshold its probability reaches, if there is any
    (Northcutt et al., equation 1). Each row is then scaled to the number of works with that label (equation 3), and
    rounded; a row that nothing was counted in stands for right labels.
    """
    reached = shares >= thresholds(shares, codes)
    best = np.where(reached, shares, -1.0).argmax(axis=1)
    confident = reached.any(axis=1)
    n = shares.shape[1]
    counted = np.bincount(codes[confident] * n + best[confident], minlength=n * n).reshape(n, n).astype(np.float64)
    empty = counted.sum(axis=1) == 0
    counted[empty, empty] = 1.0
    labelled = np.bincount(codes, minlength=n)
    return np.asarray((counted / counted.sum(axis=1, keepdims=True) * labelled[:, None]).round(), np.int64)


def suspicious(shares: Floats, codes: Codes) -> Suspicion:
    """Works whose label the probabilities (n, classes) contradict, the worst first; of equal ones the first first.

    A work whose own label has the probability zero was not judged.
    """
    own = shares[np.arange(len(codes)), codes]
    best = shares.argmax(axis=1)
    joint = confident_joint(shares, codes)
    wrong = joint.sum(axis=1) - joint.diagonal()
    picked = np.zeros(len(codes), bool)
    for label, most in enumerate(wrong.tolist()):
        of_class = np.flatnonzero((codes == label) & (own > 0))
        picked[of_class[np.argsort(own[of_class], kind="stable")[:most]]] = True
    places = np.flatnonzero(picked & (best != codes))
    ratios = own[places] / np.maximum(thresholds(shares, codes)[codes[places]], LEAST)
    order = np.argsort(ratios, kind="stable")
    return Suspicion(places[order], ratios[order], best[places[order]])


# -- the head ----------------------------------------------------------------------------------------------------------


def _penalty(rows: Rows, codes: Codes, held: npt.NDArray[np.bool_], watch: Watch) -> float:
    """The C of the least log loss on the held-out works; from the strongest penalty on, until the loss grows."""
    train = np.flatnonzero(~held)
    train = train[:: -(-len(train) // SEARCHED)]
    classes, known = np.unique(codes[train], return_inverse=True)
    judged = held & np.isin(codes, classes)
    true = np.searchsorted(classes, codes[judged])
    best = (np.inf, linear.GRID[len(linear.GRID) // 2])
    for i, penalty in enumerate(linear.GRID):
        watch("choosing the penalty", i, len(linear.GRID))
        if not judged.any() or len(classes) < 2:
            break
        weights, bias = linear.fit(rows[train], known, len(classes), C=penalty)
        loss = linear.temperature(linear.logits(rows[judged], weights, bias), true)[1]
        if loss > best[0]:
            break
        best = (loss, penalty)
    return best[1]


def _held_out(rows: Rows, codes: Codes, held: npt.NDArray[np.bool_], classes: int, penalty: float) -> Any:
    """Logits (m, classes) of the held-out works; minus infinity for classes that no other work has."""
    there, known = np.unique(codes[~held], return_inverse=True)
    out = np.full((int(held.sum()), classes), -np.inf)
    if len(there) == 1:
        out[:, there] = 0.0
        return out
    weights, bias = linear.fit(rows[~held], known, len(there), C=penalty)
    out[:, there] = linear.logits(rows[held], weights, bias)
    return out
