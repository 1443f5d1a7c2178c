"""The part of a confusion matrix that can be looked at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simsearch.figures import HeadFigures

MOST_CLASSES = 40
"""A matrix of more classes is too fine to read at the width of a page."""
EXCERPT = 30
"""So many of them are shown then."""
OTHERS = "all others"


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A confusion matrix to be drawn, whole or cut down to the classes that are confused most."""

    rows: tuple[str, ...]
    """True classes, in the order of the head's."""
    columns: tuple[str, ...]
    """The same, and :data:`OTHERS` at the end where classes were left away."""
    support: tuple[int, ...]
    """Held-out works of each row."""
    shares: npt.NDArray[np.float64]
    """(rows, columns): shares of each row's held-out works, 0 to 1; 0 throughout where a class has none."""
    of: int
    """Classes of the whole matrix."""


def excerpt(head: HeadFigures, most: int = MOST_CLASSES, shown: int = EXCERPT) -> Excerpt:
    """The whole matrix up to `most` classes; of more, the `shown` ones that take part in the most frequent confusions.

    Equal confusions go by the order of classes.
    """
    counts = np.array(head.confusion, np.int64).reshape(len(head.classes), -1)
    chosen = np.arange(len(counts)) if len(counts) <= most else _most_confused(counts, shown)
    support = counts.sum(axis=1)
    inner = counts[np.ix_(chosen, chosen)]
    columns = tuple(head.classes[i] for i in chosen)
    names = columns
    if len(chosen) < len(counts):
        inner = np.column_stack([inner, support[chosen] - inner.sum(axis=1)])
        columns = (*columns, OTHERS)
    shares = inner / np.maximum(support[chosen], 1)[:, None]
    return Excerpt(names, columns, tuple(int(n) for n in support[chosen]), shares, len(counts))


def _most_confused(counts: npt.NDArray[np.int64], shown: int) -> npt.NDArray[np.int64]:
    """Places of the classes of the most frequent confusions, ascending."""
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    chosen: dict[int, None] = {}
    for cell in np.argsort(-wrong, axis=None, kind="stable"):
        for place in divmod(int(cell), counts.shape[1]):
            if len(chosen) < shown:
                chosen[place] = None
        if len(chosen) >= shown:
            break
    return np.array(sorted(chosen), np.int64)
