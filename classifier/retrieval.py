"""Similarity as retrieval: are the works that a search ranks first of the query's own kind?

Relevant is a work with the same label. The ranking is the one that `simsearch similar` shows: by cosine to six
decimals, and of works with the same cosine the earlier of the gallery first. Left out of it is what would flatter: the
query itself, works of its near-duplicate group (the same work again is no evidence of a style), and on demand works by
its artist. A query with nothing relevant left says nothing and is not counted: its figures are NaN.

Arrays that do not fit together are a caller's mistake, and raise ValueError; rows that are no unit embeddings raise
EmbeddingError.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simsearch import vectors
from simsearch.classifier.metrics import Codes, Flags, Floats
from simsearch.errors import EmbeddingError
from simsearch.vectors import Rows

KS = (1, 5, 10, 50, 100)
NOBODY = -1
"""Code of no label, an unknown artist, no group, no id. It never counts as the same, not as another NOBODY either."""
BLOCK_NUMBERS = 4 * 2**20
"""Cosines ranked at once: 32 MB of keys."""

# A key sorts like the ranking: how far the cosine lies below 1, in millionths, then the place in the gallery. Sorting
# whole numbers is three times faster than a stable argsort of the cosines.
_STEPS = 10**vectors.SCORE_DECIMALS
_PLACE_BITS = 31
_PLACES = 2**_PLACE_BITS - 1
_LEFT_OUT = (2 * _STEPS + 1) << _PLACE_BITS


class Works:
    """Embeddings and what is known of each work; queries and gallery share their codes."""

    def __init__(
        self,
        rows: Rows,
        labels: npt.ArrayLike,
        *,
        artists: npt.ArrayLike | None = None,
        groups: npt.ArrayLike | None = None,
        ids: npt.ArrayLike | None = None,
    ) -> None:
        """Unit rows (n, dim) float32 with integer codes (n,) each; `groups` are those of near-duplicates.

        A negative code, and what is not given, is :data:`NOBODY`. Raises ValueError for arrays of another shape or
        type, EmbeddingError for a row that is not finite or not of length 1.
        """
        self.rows = np.asarray(rows, np.float32)
        if self.rows.ndim != 2:
            raise ValueError(f"rows of shape {self.rows.shape}; (n, dim) wanted")
        lengths = np.sqrt(np.einsum("ij,ij->i", self.rows, self.rows))
        if not (np.abs(lengths - 1) < 1e-3).all():  # NaN is not below either
            bad = int(np.argmin(np.abs(lengths - 1) < 1e-3))
            raise EmbeddingError(
                f"embedding {bad} has length {lengths[bad]:.4g} where 1 is wanted; see vectors.unit_rows"
            )
        self.labels, self.artists, self.groups, self.ids = (
            self._codes(name, values)
            for name, values in (("labels", labels), ("artists", artists), ("groups", groups), ("ids", ids))
        )

    def _codes(self, name: str, values: npt.ArrayLike | None) -> Codes:
        if values is None:
            return np.full(len(self.rows), NOBODY, np.int64)
        codes = np.asarray(values)
        if codes.shape != (len(self.rows),) or (codes.size and codes.dtype.kind not in "iu"):
            raise ValueError(f"{name} as {codes.dtype} of shape {codes.shape}; ({len(self.rows)},) integers wanted")
        return np.maximum(codes.astype(np.int64), NOBODY)

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, slots=True, eq=False)
class Retrieval:
    """What each of q queries finds. Figures are float64, and NaN where a query is not counted."""

    ks: tuple[int, ...]
    precision: Floats
    """(q, ks): share of the first k that are relevant; divided by k also where fewer than k are left to rank."""
    recall: Floats
    """(q, ks): share of the relevant that are among the first k."""
    average_precision: Floats
    """(q,): mean over the relevant of the precision at their rank, over the whole ranking."""
    relevant: Codes
    """(q,): works that could have been found."""
    candidates: Codes
    """(q,): works that were ranked. `relevant` over these is the precision of a random ranking."""

    @property
    def counted(self) -> Flags:
        """(q,): whether there was anything relevant to find."""
        return np.asarray(self.relevant > 0)

    def precision_at(self, k: int) -> Floats:
        """(q,) precision among the first `k`, one of :attr:`ks`."""
        return self.precision[:, self.ks.index(k)]

    def recall_at(self, k: int) -> Floats:
        """(q,) recall among the first `k`, one of :attr:`ks`."""
        return self.recall[:, self.ks.index(k)]


def retrieval(
    queries: Works,
    gallery: Works,
    *,
    without_same_artist: bool = False,
    centre: bool = False,
    ks: Sequence[int] = KS,
) -> Retrieval:
    """Precision, recall and average precision of each query against the gallery, without itself and its copies.

    A query without a label is not counted; a gallery work without one is ranked, and never relevant. With
    `without_same_artist` only works that are known to be by another artist are ranked: those of an unknown artist are
    left out too, and a query of an unknown artist is not counted. With `centre` the gallery's mean is taken off all
    rows before they are compared; `simsearch similar` does not do so.
    """
    if not ks or min(ks) < 1:
        raise ValueError(f"ks are {tuple(ks)}; at least one is wanted, and each starts at 1")
    q = len(queries)
    within = np.zeros((q, len(ks)))
    summed = np.zeros(q)
    relevant, candidates = np.zeros(q, np.int64), np.zeros(q, np.int64)
    for block, keys in _ranked(queries, gallery, without_same_artist, centre, len(gallery)):
        kept = keys < _LEFT_OUT
        candidates[block] = kept.sum(axis=1)
        same = kept & (queries.labels[block, None] == gallery.labels) & (queries.labels[block, None] != NOBODY)
        # the lowest bit says whether the work is relevant, so that sorting the keys carries it along
        keys <<= 1
        keys |= same
        keys.sort(axis=1)
        query, place = np.nonzero(keys & 1)
        found = same.sum(axis=1)
        nth = np.arange(len(query)) - np.repeat(np.cumsum(found) - found, found) + 1
        relevant[block] = found
        summed[block] = np.bincount(query, nth / (place + 1), minlength=len(found))
        for column, k in enumerate(ks):
            within[block, column] = np.bincount(query[place < k], minlength=len(found))
    some = np.where(relevant > 0, relevant, np.nan)
    precision = np.where(relevant[:, None] > 0, within / np.array(ks), np.nan)
    return Retrieval(tuple(ks), precision, within / some[:, None], summed / some, relevant, candidates)


def knn_predict(
    queries: Works,
    gallery: Works,
    k: int,
    *,
    without_same_artist: bool = False,
    centre: bool = False,
) -> Codes:
    """The label that most of the `k` nearest labelled gallery works carry, (q,) int64; NOBODY where none is left.

    Between labels of as many votes the one whose voters' cosines sum to more wins, then the lower code: the vote of
    `simsearch classify` (k nearest neighbours, Cover & Hart 1967). What is left out of the ranking is what
    :func:`retrieval` leaves out.
    """
    if k < 1:
        raise ValueError(f"k is {k}; it starts at 1")
    classes = int(gallery.labels.max(initial=0)) + 1
    out = np.full(len(queries), NOBODY, np.int64)
    for block, keys in _ranked(queries, gallery, without_same_artist, centre, max(classes, len(gallery))):
        keys[:, gallery.labels == NOBODY] = _LEFT_OUT
        nearest = np.partition(keys, k - 1, axis=1)[:, :k] if k < keys.shape[1] else keys
        voter, column = np.nonzero(nearest < _LEFT_OUT)
        key = nearest[voter, column]
        cells = voter * classes + gallery.labels[key & _PLACES]
        size = len(keys) * classes
        votes = np.bincount(cells, minlength=size)
        # sums of whole millionths are exact, and one vote outweighs any difference of them
        sums = np.bincount(cells, _STEPS - (key >> _PLACE_BITS), minlength=size)
        standing = (votes * (2.0 * _STEPS * k + 1) + sums).reshape(-1, classes)
        out[block] = np.where(standing.any(axis=1), standing.argmax(axis=1), NOBODY)
    return out


def _ranked(
    queries: Works, gallery: Works, without_same_artist: bool, centre: bool, width: int
) -> Iterator[tuple[slice, Codes]]:
    """Blocks of queries, each with keys (b, g) that sort like its rankings; left-out works have `_LEFT_OUT` or more."""
    if queries.rows.shape[1] != gallery.rows.shape[1]:
        raise ValueError(f"queries of {queries.rows.shape[1]} numbers, a gallery of {gallery.rows.shape[1]}")
    if not len(gallery):
        yield slice(0, len(queries)), np.empty((len(queries), 0), np.int64)
        return
    asked, held = queries.rows, gallery.rows
    if centre:
        mean = held.mean(axis=0, dtype=np.float64)
        asked, held = vectors.unit_rows(asked - mean), vectors.unit_rows(held - mean)
    places = np.arange(len(gallery))
    step = max(1, BLOCK_NUMBERS // width)
    for start in range(0, len(queries), step):
        block = slice(start, min(start + step, len(queries)))
        below = vectors.scores(asked[block], held) * np.float32(-_STEPS)
        keys = np.rint(below, out=below).astype(np.int64)
        keys += _STEPS
        keys[_left_out(queries, gallery, block, without_same_artist)] = 2 * _STEPS + 1
        keys <<= _PLACE_BITS
        keys |= places
        yield block, keys


def _left_out(queries: Works, gallery: Works, block: slice, without_same_artist: bool) -> Flags:
    left = _same(queries.ids[block], gallery.ids) | _same(queries.groups[block], gallery.groups)
    if without_same_artist:
        left |= _same(queries.artists[block], gallery.artists)
        left |= (queries.artists[block, None] == NOBODY) | (gallery.artists == NOBODY)
    return left


def _same(asked: Codes, held: Codes) -> Flags:
    return np.asarray((asked[:, None] == held) & (asked[:, None] != NOBODY))
