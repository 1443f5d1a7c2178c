"""How a head learns: the penalty and the temperature from a part of train, then a fit on all of it, and self-training.

The part (`TUNE`) keeps near-duplicates, and artists where whole artists are held out, on one side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from simsearch.catalog.catalog import Ids
from simsearch.catalog.labelled import Strings
from simsearch.classifier import fit as linear
from simsearch.classifier import metrics
from simsearch.classifier.fit import Codes
from simsearch.classifier.labelled import Labelled
from simsearch.classifier.metrics import Counts, Floats
from simsearch.classifier.prepare import together
from simsearch.classifier.split import Mask, part
from simsearch.vectors import Rows
from simsearch.watch import Watch, silent

if TYPE_CHECKING:
    from simsearch.classifier.train import Choices

TUNE = 0.15
"""Share of the train works that chooses the penalty and fits the temperature."""
WITHOUT_TUNING = (0.01, 1.0)
"""Penalty and temperature where there are too few works to keep some back."""
WORSE_BEFORE_STOP = 2


@dataclass(frozen=True, slots=True)
class Spare:
    """Works that nobody gave such a label, to self-train on."""

    rows: Rows
    """Unit embeddings (n, dim)."""
    ids: Ids
    groups: Ids
    """(n,) near-duplicate group."""
    artists: Strings
    """(n,) artists; empty where unknown."""

    def apart_from(self, works: Labelled, group_by: str | None) -> Self:
        """Those that show none of these works' pictures and, where artists are whole, are by another known artist."""
        keep = ~np.isin(self.groups, works.groups)
        if group_by == "artist":
            keep &= (self.artists != "") & ~np.isin(self.artists, works.artists)
        return type(self)(self.rows[keep], self.ids[keep], self.groups[keep], self.artists[keep])


@dataclass(frozen=True, slots=True)
class Gain:
    """What self-training brought: figures before and after, on works that were not trained on."""

    threshold: float
    added: int
    """Unlabelled works whose prediction was sure enough to be trained on."""
    of: int
    kept: bool
    """Whether the head learned from them: it does where macro F1 on the part of train does not fall."""
    tune: tuple[float, float]
    """Macro F1 on that part, before and after."""
    held_out: tuple[float, float]
    """Macro F1 on the held-out works, before and after; it decides nothing."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"threshold": self.threshold, "added": self.added, "of": self.of, "kept": self.kept,
                "macro_f1_tune": [round(f, 4) for f in self.tune],
                "macro_f1_held_out": [round(f, 4) for f in self.held_out]}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Learned:
    """The numbers of a head, and how they were found."""

    weights: Rows
    bias: Rows
    temperature: float
    C: float
    tried: tuple[tuple[float, float], ...]
    """(C, log loss on the part of train at its best temperature)."""
    gain: Gain | None = None
    taught: Ids = field(default_factory=lambda: np.empty(0, np.int64))
    """Ids of the unlabelled works that it learned from."""

    def probabilities(self, rows: Rows) -> Rows:
        """(n, classes) float32 of unit rows (n, dim)."""
        return linear.probabilities(linear.logits(rows, self.weights, self.bias), self.temperature)


def learn(
    learning: Labelled,
    classes: Sequence[str],
    choices: Choices,
    spare: Spare | None = None,
    held: Labelled | None = None,
    watch: Watch = silent,
) -> Learned:
    """A head's numbers from works of these classes, by name.

    `spare` are unlabelled works to self-train on, apart from `held`, the works to measure that by.
    """
    known = codes(learning.values, classes)
    tune = tuning_part(learning, known, choices)
    task = _Task(len(classes), choices.balance, choices.split.seed)
    penalty, temperature, tried = search(task, learning.rows, known, tune, watch)
    watch("fitting the head", 0, 1)
    weights, bias = task.fit(learning.rows, known, penalty)
    learned = Learned(weights, bias, temperature, penalty, tried)
    if spare is not None and choices.pseudo_label is not None and held is not None:
        apart = spare.apart_from(learning.take(tune), choices.split.group_by)
        learned = _self_train(task, learned, learning.rows, known, tune, apart, held, classes, choices)
    watch("fitting the head", 1, 1)
    return learned


def tuning_part(learning: Labelled, known: Codes, choices: Choices) -> Mask:
    """The works (n,) of train that choose: none of a class that would have no other left."""
    groups = learning.groups
    if choices.split.group_by == "artist":
        groups = together(groups, learning.artists)
    tune = part(learning.values, groups, TUNE, choices.split.seed)
    left = np.unique(known[~tune])
    return tune & np.isin(known, left)


@dataclass(frozen=True, slots=True)
class _Task:
    classes: int
    balance: str
    seed: int

    def fit(self, rows: Rows, known: Codes, penalty: float) -> tuple[Rows, Rows]:
        places, weights = linear.balanced(known, self.classes, self.balance, self.seed)
        return linear.fit(rows[places], known[places], self.classes, C=penalty, sample_weight=weights)


def search(
    task: _Task, rows: Rows, known: Codes, tune: Mask, watch: Watch = silent
) -> tuple[float, float, tuple[tuple[float, float], ...]]:
    """(C, temperature, (C, log loss) of each try): the least log loss on the works of a mask.

    The search goes from the strongest penalty to the weakest and stops when the loss has grown twice in a row.
    """
    if not tune.any():
        return *WITHOUT_TUNING, ()
    tried, best, worse = [], (np.inf, *WITHOUT_TUNING), 0
    for i, penalty in enumerate(linear.GRID):
        watch("choosing the penalty", i, len(linear.GRID))
        weights, bias = task.fit(rows[~tune], known[~tune], penalty)
        temperature, loss = linear.temperature(linear.logits(rows[tune], weights, bias), known[tune])
        tried.append((penalty, loss))
        worse = worse + 1 if loss > best[0] else 0
        best = min(best, (loss, penalty, temperature))
        if worse == WORSE_BEFORE_STOP:
            break
    watch("choosing the penalty", len(linear.GRID), len(linear.GRID))
    return best[1], best[2], tuple(tried)


def _self_train(
    task: _Task, plain: Learned, rows: Rows, known: Codes, tune: Mask, spare: Spare, held: Labelled,
    classes: Sequence[str], choices: Choices,
) -> Learned:  # fmt: skip
    """One round of self-training (Scudder 1965): sure predictions become labels, and the head is fitted again.

    It is tried on the part of train that is not `tune` and judged on `tune`, which also gives the temperature anew: so
    many more works change the scale of the logits. The fit on all of train then follows suit.
    """
    threshold = choices.pseudo_label or 0.0

    def again(by: Learned, rows: Rows, known: Codes) -> tuple[Learned, Ids]:
        shares = by.probabilities(spare.rows)
        sure = surest(shares, threshold, np.bincount(known, minlength=task.classes))
        more = np.concatenate([rows, spare.rows[sure]]), np.concatenate([known, shares[sure].argmax(axis=1)])
        return Learned(*task.fit(*more, plain.C), plain.temperature, plain.C, plain.tried), spare.ids[sure]

    first = Learned(*task.fit(rows[~tune], known[~tune], plain.C), plain.temperature, plain.C, plain.tried)
    second, _ = again(first, rows[~tune], known[~tune])
    taught, sure = again(plain, rows, known)
    if tune.any():
        on_part = linear.logits(rows[tune], second.weights, second.bias)
        taught = replace(taught, temperature=linear.temperature(on_part, known[tune])[0])
    true = codes(held.values, classes)
    on_tune = _f1(first, rows[tune], known[tune]), _f1(second, rows[tune], known[tune])
    on_held = _f1(plain, held.rows, true), _f1(taught, held.rows, true)
    kept = len(sure) > 0 and bool(tune.any()) and on_tune[1] >= on_tune[0]
    gain = Gain(threshold, len(sure), len(spare.ids), kept, on_tune, on_held)
    return replace(taught, gain=gain, taught=sure) if kept else replace(plain, gain=gain)


def surest(shares: Rows, threshold: float, counts: Counts) -> Ids:
    """Places (m,), ascending, of predictions (n, classes) to learn from: at least this sure, the surest of each class.

    So many of each class that classes stay in the proportion that they have among labels (`counts`): a head that is
    surer of one class would else teach itself that class alone (Zou et al. 2018, class-balanced self-training).
    """
    guess, sure = shares.argmax(axis=1), shares.max(axis=1)
    found = np.bincount(guess[sure >= threshold], minlength=len(counts))
    wanted = np.floor(counts * (found / counts).min()).astype(np.int64)
    order = np.argsort(-sure, kind="stable")
    taken = [order[guess[order] == c][:n] for c, n in enumerate(wanted.tolist())]
    return np.sort(np.concatenate(taken))


def _f1(learned: Learned, rows: Rows, true: Codes) -> float:
    if not len(true):
        return 0.0
    guess = learned.probabilities(rows).argmax(axis=1)
    return float(macro_f1(metrics.confusion(true, guess, len(learned.bias))[None])[0])


def macro_f1(confusions: Counts) -> Floats:
    """(b,) macro F1 of a stack of confusion matrices."""
    return metrics.macro(confusions).f1


def codes(values: np.ndarray[Any, Any], classes: Sequence[str]) -> Codes:
    """The number (n,) of each label among classes by name. Raises KeyError for a label that is none of them."""
    number = {name: i for i, name in enumerate(classes)}
    return np.array([number[value] for value in values.tolist()], dtype=np.int64)
