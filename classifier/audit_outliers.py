"""Works unlike the others with their label: an isolation forest (Liu, Ting & Zhou 2008) for each class.

A forest cuts along one number at a time, and of hundreds of them most tell nothing of a class. On the eight principal
components of all labelled works it finds up to twice as many foreign works as on the embeddings themselves.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from simsearch.classifier.fit import Codes
from simsearch.vectors import Rows
from simsearch.watch import Watch, silent

Floats = npt.NDArray[np.float64]

COMPONENTS = 8
TREES = 200
FEWEST = 30
"""Works of a class below which it has no outliers: a forest of so few isolates any of them quickly."""
FROM = 0.6
"""Anomaly score from which a work counts as an outlier; an average work has 0.5, whatever the size of its class."""


def anomalies(rows: Rows, codes: Codes, *, seed: int = 0, watch: Watch = silent) -> Floats:
    """(n,) anomaly score of each unit row (n, dim) among those of its class; NaN in classes of fewer than `FEWEST`.

    0 to 1: 2 to the minus (mean depth at which a work is alone / mean depth in a random tree of as many works), so
    scores of different classes can be compared.
    """
    from sklearn.ensemble import IsolationForest

    components = principal(rows, COMPONENTS)
    out = np.full(len(rows), np.nan)
    classes = np.flatnonzero(np.bincount(codes) >= FEWEST).tolist() if len(codes) else []
    for number, label in enumerate(classes):
        watch("looking for outliers", number, len(classes))
        own = components[codes == label]
        forest = IsolationForest(n_estimators=TREES, random_state=seed).fit(own)
        out[codes == label] = -forest.score_samples(own)
    watch("looking for outliers", len(classes), len(classes))
    return out


def principal(rows: Rows, components: int) -> Floats:
    """(n, at most `components`) projections on the directions of the largest variance, the largest first."""
    centred = rows - rows.mean(axis=0, dtype=np.float64)
    _, directions = np.linalg.eigh(centred.T @ centred)
    return np.asarray(centred @ directions[:, ::-1][:, :components])
