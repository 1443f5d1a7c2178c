"""Search by words: in what the catalog says of the works, and how two rankings become one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import fsum

import numpy as np

from simsearch.catalog.words import Match, find
from simsearch.collection import Collection
from simsearch.errors import QueryError
from simsearch.index.base import Ids
from simsearch.query import Query, ask, weighed
from simsearch.records import Hit
from simsearch.search import Filters, allowed_ids
from simsearch.search import find as similar_works

MODES = ("auto", "metadata", "pictures")
FUSED = 100
"""Works of each search that a fusion looks at."""
RRF_C = 60
"""Damps the first ranks of a reciprocal rank fusion; the value that its authors chose."""


def search_text(
    collection: Collection,
    texts: Sequence[str],
    k: int = 10,
    *,
    minus: Sequence[str] = (),
    filters: Filters | None = None,
    encoder: str | None = None,
    mode: str = "auto",
) -> tuple[list[Query], list[Hit]]:
    """(parts of the question, at most `k` hits) of works that show what the texts say, less what `minus` says.

    `mode` ``pictures`` compares embeddings: scores are cosines. ``metadata`` looks for the words in titles, artists and
    terms. ``auto`` compares embeddings and, where the catalog holds works with every word of the question, fuses both
    by rank. Raises QueryError; EncoderError where embeddings are wanted and no encoder of the collection reads words.
    """
    filters = filters or Filters()
    if mode not in MODES:
        raise QueryError(f"mode is {mode!r}; there are {', '.join(MODES)}")
    words = " ".join(weighed(text)[0] for text in texts)
    with collection.catalog.snapshot():
        if mode == "metadata":
            if minus or filters.min_score is not None:
                raise QueryError("words of the catalog have no cosine to take away or to ask for; use --where instead")
            asked = [Query(words, np.empty((1, 0), np.float32), is_text=True)]
            return asked, metadata_hits(collection, words, k, allowed_ids(collection, asked, filters))
        asked = ask(collection, texts=texts, minus_texts=minus, encoder=encoder)
        if mode == "auto" and not minus and filters.min_score is None:
            allowed = allowed_ids(collection, asked, filters)
            whole = _whole(collection, words, max(k, FUSED), allowed)
            if whole:
                pictures = similar_works(collection, asked, max(k, FUSED), filters, encoder)
                return asked, fused_hits({"pictures": pictures, "metadata": whole}, k)
        return asked, similar_works(collection, asked, k, filters, encoder)


def _whole(collection: Collection, words: str, k: int, allowed: Ids | None) -> list[Hit]:
    """Hits that hold every word; none where the question has no word in it that can be looked for."""
    try:
        return metadata_hits(collection, words, k, allowed, whole=True)
    except QueryError:
        return []


def search_metadata(
    collection: Collection, words: str, k: int, allowed: Ids | None = None, *, whole: bool = False
) -> list[Match]:
    """At most `k` works (id, score, words, whole) whose title, artist or terms hold these words, the best first.

    Works with every word come first, then those with any of them, each by bm25 with the weights title > artist > terms;
    ties by id. With `whole` only works with every word are found. The last word may be only begun. Nothing in `words`
    is read as a sign of a query language. `allowed` are the ids (n,) that may be found; None for all. Predicted labels
    are not searched. Raises QueryError where `words` has no word in it, or `k` is below 1.
    """
    _check(k)
    return find(collection.catalog, words, k, allowed, whole=whole)


def metadata_hits(
    collection: Collection, words: str, k: int, allowed: Ids | None = None, *, whole: bool = False
) -> list[Hit]:
    """What :func:`search_metadata` finds, as hits with the scale ``bm25``; they have no percentile."""
    with collection.catalog.snapshot():
        found = search_metadata(collection, words, k, allowed, whole=whole)
        works = collection.catalog.artworks(match.id for match in found)
    scores = {match.id: match.score for match in found}
    return [Hit(rank, scores[work.id or 0], None, work, scale="bm25") for rank, work in enumerate(works, 1)]


def fuse(rankings: Sequence[Sequence[int]], k: int, c: float = RRF_C) -> list[tuple[int, float]]:
    """At most `k` (id, score) of several rankings of ids, each the best first; ties by id.

    Reciprocal rank fusion: the score is the sum over the rankings of 1 / (c + rank), the first rank being 1; a ranking
    that an id is not in adds nothing (Cormack, Clarke and Buettcher 2009, "Reciprocal rank fusion outperforms Condorcet
    and individual rank learning methods"). An id that a ranking names twice counts once there. Raises QueryError where
    `k` is below 1 or `c` below 0.
    """
    _check(k)
    if not c >= 0:
        raise QueryError(f"c is {c}; a fusion needs 0 or more")
    parts: dict[int, list[float]] = {}
    for ranking in rankings:
        for rank, id in enumerate(dict.fromkeys(ranking), 1):
            parts.setdefault(id, []).append(1 / (c + rank))
    scores = {
        id: fsum(shares) for id, shares in parts.items()
    }  # which does not depend on their order, so that ties tie
    return sorted(scores.items(), key=lambda found: (-found[1], found[0]))[:k]


def fused_hits(found: Mapping[str, Sequence[Hit]], k: int) -> list[Hit]:
    """At most `k` hits of several searches, fused by rank, with the scale ``rrf`` and the `ranks` that they had.

    `found` are the hits of each search by its name, the best first: ``{"pictures": ..., "metadata": ...}``.
    """
    order = {name: [hit.artwork.id or 0 for hit in hits] for name, hits in found.items()}
    works = {hit.artwork.id or 0: hit.artwork for hits in found.values() for hit in hits}
    ranks = {name: {id: rank for rank, id in enumerate(ids, 1)} for name, ids in order.items()}
    return [
        Hit(rank, round(score, 6), None, works[id], scale="rrf",
            ranks={name: places[id] for name, places in ranks.items() if id in places})
        for rank, (id, score) in enumerate(fuse(list(order.values()), k), 1)
    ]  # fmt: skip


def _check(k: int) -> None:
    if k < 1:
        raise QueryError(f"k is {k}; ask for at least one hit")
