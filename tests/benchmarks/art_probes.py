"""What of a work can be read from its embedding: linear heads, and the works and queries that they are asked about."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from art_changes import same_picture
from art_embeddings import Gallery
from art_report import share
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.preprocessing import StandardScaler

from simsearch.classifier import intervals, metrics


def linear_head(rows: np.ndarray, labels: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """What the yardstick's head, trained on rows (n, d) and labels (n,), says of the rows asked (m, d)."""
    if len(np.unique(labels)) < 2:
        raise SystemExit("a head needs train rows of two classes at least; look at the column of labels")
    scale = StandardScaler().fit(rows)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # 300 steps are the yardstick's, whether they end or not
        head = LogisticRegression(C=0.01, max_iter=300).fit(scale.transform(rows), labels)
    return head.predict(scale.transform(asked))


def codes(*columns: np.ndarray) -> np.ndarray:
    """(n,) the same number where columns (n,) of str agree in all of them."""
    table = np.stack(columns, axis=1)
    return np.unique(table, axis=0, return_inverse=True)[1].reshape(-1)


def matched(groups: np.ndarray, letterboxed: np.ndarray, known: np.ndarray, seed: int = 0) -> np.ndarray:
    """Places of works: of each group as many of one origin as of the other, drawn by a seed."""
    draw, chosen = np.random.default_rng(seed), []
    for group in np.unique(groups[known]):
        sides = [np.flatnonzero(known & (groups == group) & (letterboxed == side)) for side in (0, 1)]
        n = min(map(len, sides))
        chosen += [draw.choice(side, n, replace=False) for side in sides if n]
    return np.sort(np.concatenate(chosen)) if chosen else np.empty(0, np.int64)


def probed(true: np.ndarray, guess: np.ndarray, artist: np.ndarray) -> dict[str, Any]:
    """Balanced accuracy; its interval draws whole artists."""
    recall = {"recall": lambda m: metrics.macro(m).recall}
    found = intervals.estimate_confusion(recall, true, guess, 2, groups=artist)["recall"]
    return {"balanced_accuracy": found.to_dict(), "works": len(true), "artists": len(np.unique(artist))}


def probed_by_folds(rows: np.ndarray, true: np.ndarray, artist: np.ndarray, chosen: np.ndarray) -> dict[str, Any]:
    """A probe of the chosen works, each asked of a head that saw no work by its artist; no figure of one artist."""
    folds = min(5, len(np.unique(artist[chosen])))
    if folds < 2:
        return {"balanced_accuracy": None, "works": len(chosen), "artists": folds}
    guess = np.empty(len(chosen), np.int64)
    for fit_on, ask in GroupKFold(folds).split(chosen, groups=artist[chosen]):
        seen, asked = chosen[fit_on], chosen[ask]
        guess[ask] = linear_head(rows[seen], true[seen], rows[asked])
    return probed(true[chosen], guess, artist[chosen])


def first_found(
    gallery: Gallery, more: Sequence[str], asked: Sequence[tuple[str, str]], art: Path
) -> dict[str, Any] | None:
    """How many queries find their work first among `more` images and all of wikiart, and what the others find."""
    names = [*more, *(gallery.path(i) for i in range(len(gallery.table)))]
    place = {name: i for i, name in enumerate(names)}
    asked = [(query, work) for query, work in asked if work in place]
    if not asked:
        return None
    rows = np.vstack(
        [gallery.centred(gallery.stored.rows[[gallery.stored.place[name] for name in more]]), gallery.rows]
    )
    queries = gallery.centred(gallery.stored.rows[[gallery.stored.place[query] for query, _ in asked]])
    cosines = queries @ rows.T
    best = cosines.argmax(axis=1)
    own = np.array([place[work] for _, work in asked])
    missed = [
        {"query": asked[i][0], "work": asked[i][1], "found": names[best[i]],
         "place_of_work": int((cosines[i] > cosines[i, own[i]]).sum()) + 1,
         "cosines": [round(float(cosines[i, j]), 4) for j in (own[i], best[i])],
         "same_picture": same_picture(art / asked[i][1], art / names[best[i]])}
        for i in np.flatnonzero(best != own)
    ]  # fmt: skip
    return {"queries": len(asked), "found": share(len(asked) - len(missed), len(asked)), "missed": missed}
