"""Exact search: every work is compared. The oracle for the other kinds, and the quickest up to the `auto` threshold."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np

from simsearch import vectors
from simsearch.errors import IndexFileError
from simsearch.index.base import NO_ID, Ids
from simsearch.vectors import Rows

MARGIN = np.float32(4e-6)
"""Above what float32 can err by in two cosines, and a step of the rounding."""
CHUNK_NUMBERS = 64 * 2**20
"""Scores held at once: 256 MB of float32."""


class ExactIndex:
    """All embeddings as one matrix, which is mapped from its file rather than read."""

    kind = "exact"

    def __init__(self) -> None:
        self._rows: Rows = np.empty((0, 0), np.float32)
        self._ids: Ids = np.empty(0, np.int64)

    def build(self, rows: Rows, ids: Ids) -> None:
        """Holds these unit rows (n, dim), and nothing else, under these ids (n,), each once."""
        order = np.argsort(ids, kind="stable")
        ordered = np.asarray(ids, np.int64)[order]
        if (np.diff(ordered) == 0).any():
            raise ValueError("an id stands twice among those to be indexed")
        if (ordered != ids).any():
            rows = rows[order]
        self._rows, self._ids = np.ascontiguousarray(rows, np.float32), ordered

    def add(self, rows: Rows, ids: Ids) -> None:
        """Holds these as well. Raises ValueError for an id that is there already."""
        if not len(self._ids):
            self.build(rows, ids)
        else:
            self.build(np.concatenate([self._rows, rows]), np.concatenate([self._ids, ids]))

    def remove(self, ids: Ids) -> int:
        """Forgets these; how many of them were there."""
        keep = ~np.isin(self._ids, ids)
        self._rows, self._ids = self._rows[keep], self._ids[keep]
        return int((~keep).sum())

    def search(self, rows: Rows, k: int, allowed: Ids | None = None, *, of_text: bool = False) -> tuple[Rows, Ids]:
        """(scores, ids), each (q, k), the nearest first, of unit rows (q, dim), among the `allowed` ids alone."""
        del of_text  # all rows are looked at in any case
        matrix, ids = self._rows, self._ids
        if allowed is not None and len(ids):
            wanted = np.unique(allowed)
            places = np.minimum(np.searchsorted(ids, wanted), len(ids) - 1)
            places = places[ids[places] == wanted]
            matrix, ids = matrix[places], ids[places]
        return search_rows(rows, matrix, ids, k)

    def parameters(self) -> dict[str, Any]:
        """Nothing: there is nothing to choose."""
        return {}

    def save(self, folder: Path) -> None:
        """Writes vectors.npy (n, dim) float32 and ids.npy (n,) int64."""
        np.save(folder / "vectors.npy", self._rows)
        np.save(folder / "ids.npy", self._ids)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """The index that was saved there. Raises IndexFileError where it cannot be read."""
        index = cls()
        try:
            index._ids = np.load(folder / "ids.npy")
            # an empty file cannot be mapped
            index._rows = np.load(folder / "vectors.npy", mmap_mode="r" if len(index._ids) else None)
        except (OSError, ValueError, EOFError) as error:
            raise IndexFileError(f"the index in {folder} cannot be read: {error}") from error
        if index._rows.ndim != 2 or index._ids.shape != (len(index._rows),):
            raise IndexFileError(f"the index in {folder} is damaged: {index._rows.shape} rows, {index._ids.shape} ids")
        return index

    def __len__(self) -> int:
        return len(self._ids)


def search_rows(queries: Rows, rows: Rows, ids: Ids, k: int) -> tuple[Rows, Ids]:
    """(scores, ids), each (q, k), of the nearest among rows (n, dim) with ids (n,) in ascending order; ties by id."""
    out_scores = np.full((len(queries), k), -np.inf, np.float32)
    out_ids = np.full((len(queries), k), NO_ID, np.int64)
    if not len(rows) or k < 1:
        return out_scores, out_ids
    step = max(1, CHUNK_NUMBERS // len(rows))
    for start in range(0, len(queries), step):
        for i, rough in enumerate(queries[start : start + step] @ rows.T, start):
            places = _candidates(rough, k)
            scores = vectors.settled_scores(queries[i : i + 1], rows[places])
            best = nearest(scores, k)
            out_scores[i, : len(best)], out_ids[i, : len(best)] = scores[best], ids[places[best]]
    return out_scores, out_ids


def _candidates(rough: Rows, k: int) -> Ids:
    """Places, ascending, of all that may be among the k nearest, were the scores (n,) without float32's error."""
    if k >= len(rough):
        return np.arange(len(rough))
    edge = np.partition(rough, len(rough) - k)[len(rough) - k]
    return np.flatnonzero(rough >= edge - MARGIN)


def nearest(scores: Rows, k: int) -> Ids:
    """Places of the k highest of scores (n,), the highest first; of equal ones the earlier place first."""
    if k < len(scores):
        edge = np.partition(scores, len(scores) - k)[len(scores) - k]
        # all that tie with the last place are candidates: a partition alone would keep any of them
        places = np.flatnonzero(scores >= edge)
    else:
        places = np.arange(len(scores))
    return places[np.argsort(-scores[places], kind="stable")][:k]
