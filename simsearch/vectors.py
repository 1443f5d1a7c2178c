"""The one place that knows the norm rule: an embedding is a float32 row of length 1, kept as float16.

Cosine of two embeddings is therefore their dot product. Scores are rounded to six decimals. The last bits of a float32
product of matrices depend on the processor and on how many rows it takes at once, so equal rows can still differ by one
in the sixth decimal; where works with the same embedding must tie, :func:`settled_scores` sums in float64.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from simsearch.errors import EmbeddingError, QueryError

Rows = npt.NDArray[np.float32]
SCORE_DECIMALS = 6
SETTLED_AT_ONCE = 8192


def unit_rows(rows: npt.ArrayLike, dim: int | None = None) -> Rows:
    """Rows (n, dim) float32, each divided by its Euclidean length.

    Raises EmbeddingError for a NaN or infinite number, a row of length zero, or another width than `dim`.
    """
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused below
        out = np.atleast_2d(np.asarray(rows, dtype=np.float32))
    if out.ndim != 2 or (dim is not None and out.shape[1] != dim):
        raise EmbeddingError(
            f"embeddings have shape {out.shape}, {'(n, ' + str(dim) + ')' if dim else '(n, dim)'} wanted"
        )
    if not np.isfinite(out).all():
        bad = int(np.flatnonzero(~np.isfinite(out).all(axis=1))[0])
        raise EmbeddingError(f"embedding {bad} holds a number that is not finite; the encoder's weights may be damaged")
    # float64 for the length: squares of float32 values near 1e20 overflow
    length = np.sqrt(np.einsum("ij,ij->i", out, out, dtype=np.float64))
    if (length < 1e-12).any():
        bad = int(np.flatnonzero(length < 1e-12)[0])
        raise EmbeddingError(f"embedding {bad} is all zeros, so it has no direction to compare")
    return np.asarray(out / length[:, None], dtype=np.float32)


def to_bytes(rows: Rows) -> list[bytes]:
    """Each row (n, dim) as little-endian float16 bytes: half the size, and an error in the cosine below 0.0005."""
    return [row.tobytes() for row in rows.astype("<f2")]


def from_bytes(blobs: Sequence[bytes], dim: int) -> Rows:
    """Unit rows (n, dim) float32 of what :func:`to_bytes` gave, in its order."""
    if any(len(blob) != 2 * dim for blob in blobs):
        raise EmbeddingError(f"a stored embedding does not have {dim} numbers; run `simsearch index --rebuild`")
    if not blobs:
        return np.empty((0, dim), np.float32)
    return unit_rows(np.frombuffer(b"".join(blobs), "<f2").reshape(-1, dim))


def as_stored(rows: Rows) -> Rows:
    """Rows as they come back from the catalog, so that a new image and a stored copy of it score exactly alike."""
    return unit_rows(rows.astype("<f2"))


def mix(rows: Rows, weights: npt.ArrayLike | None = None) -> Rows:
    """One unit row (1, dim): the sum of unit rows (n, dim), each times its weight (n,), below 0 for what is taken away.

    Without weights each counts 1. Raises QueryError where the parts cancel out.
    """
    factors = np.ones(len(rows)) if weights is None else np.asarray(weights, np.float64)
    total = factors @ rows.astype(np.float64)
    if np.linalg.norm(total) < 1e-4 * np.abs(factors).sum():
        raise QueryError("the parts of this query cancel each other out; leave one of them away")
    return unit_rows(total)


def scores(queries: Rows, rows: Rows) -> Rows:
    """Cosines (q, n) of unit rows, in -1..1, rounded to :data:`SCORE_DECIMALS`."""
    return rounded(queries @ rows.T)


def settled_scores(query: Rows, rows: Rows) -> Rows:
    """Cosines (n,) of one unit row (1, dim) and unit rows (n, dim) as :func:`scores`, but equal rows score alike.

    Each row is summed by itself in float64, which takes several times as long as a product of matrices.
    """
    out = np.empty(len(rows), np.float32)
    one = query[0].astype(np.float64)
    for start in range(0, len(rows), SETTLED_AT_ONCE):
        part = np.einsum("ij,j->i", rows[start : start + SETTLED_AT_ONCE].astype(np.float64), one)
        out[start : start + SETTLED_AT_ONCE] = np.round(np.clip(part, -1.0, 1.0), SCORE_DECIMALS)
    return out


def rounded(cosines: Rows) -> Rows:
    """Cosines cut to -1..1 and rounded, in place."""
    np.clip(cosines, -1.0, 1.0, out=cosines)
    return np.round(cosines, SCORE_DECIMALS, out=cosines)
