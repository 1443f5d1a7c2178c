"""Ranking by several encoders at once: a weighted mix of their cosines, each normalised for the query.

Cosines of two encoders do not compare: one gives any two pictures .8, another .1. So each encoder's cosines of a query
are brought to mean 0 and standard deviation 1 over the works before they are mixed (z-score normalisation of scores:
Jain, Nandakumar, Ross, Score normalization in multimodal biometric systems, Pattern Recognition 2005).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from simsearch import images, vectors
from simsearch.collection import Collection, EncoderEntry
from simsearch.errors import QueryError
from simsearch.index.base import Ids
from simsearch.query import Image, Query, ask, joined
from simsearch.records import Hit, Share
from simsearch.search import Filters, allowed_ids, own_works
from simsearch.vectors import Rows


def parse_blend(text: str) -> dict[str, float]:
    """Encoder to weight of ``art=0.6,clip=0.4``. Raises QueryError where it is not written so."""
    weights: dict[str, float] = {}
    for part in text.split(","):
        name, equals, number = (piece.strip() for piece in part.rpartition("="))
        try:
            weight = float(number)
        except ValueError:
            weight = math.nan
        if not (name and equals and math.isfinite(weight) and weight > 0):
            raise QueryError(f"--blend {text!r} has {part.strip()!r}; write ENCODER=WEIGHT,..., weights above 0")
        if name in weights:
            raise QueryError(f"--blend {text!r} names {name} twice; once is enough")
        weights[name] = weight
    return weights


def blended(
    collection: Collection,
    queries: Sequence[Image],
    weights: Mapping[str, float],
    k: int = 10,
    *,
    minus: Sequence[Image] = (),
    texts: Sequence[str] = (),
    minus_texts: Sequence[str] = (),
    region: str | None = None,
    filters: Filters | None = None,
    max_pixels: int = images.DEFAULT_MAX_PIXELS,
) -> tuple[list[Query], list[Hit]]:
    """(parts of the question, at most `k` hits by the mix of these encoders, the best first, ties by the lower id).

    Weights are brought to sum 1. Works that an encoder has no embedding of are left out. Every embedding of the
    collection is read, so that a filter changes no score. A hit's `blend` says what each encoder contributed. Raises
    QueryError, ImageError, EncoderError.
    """
    filters = filters or Filters()
    if k < 1:
        raise QueryError(f"k is {k}; ask for at least one hit")
    if filters.min_score is not None:
        raise QueryError("a least score is a cosine of one encoder, and a blend has several; leave one of both away")
    with collection.catalog.snapshot():
        entries = _entries(collection, weights)
        asked: list[Query] = []
        found: list[tuple[Rows, Ids]] = []
        for entry, _ in entries:
            asked = ask(
                collection, queries, minus, texts=texts, minus_texts=minus_texts, region=region,
                encoder=entry.info.name, max_pixels=max_pixels,
            )  # fmt: skip
            found.append(_cosines(collection, entry, asked))
        ids = found[0][1]
        for _, others in found[1:]:
            ids = np.intersect1d(ids, others, assume_unique=True)
        cosines = np.stack([scores[np.searchsorted(own, ids)] for scores, own in found])
        parts = normalised(cosines)
        total = np.round(np.array([weight for _, weight in entries]) @ parts, vectors.SCORE_DECIMALS)
        allowed = allowed_ids(collection, asked, filters)
        may = np.ones(len(ids), bool) if allowed is None else np.isin(ids, allowed)
        may &= ~np.isin(ids, sorted(own_works(asked, filters)))
        best = np.flatnonzero(may)
        best = best[np.lexsort((ids[best], -total[best]))][:k]
        works = {work.id: work for work in collection.catalog.artworks(ids[best])}
    hits = []
    for rank, i in enumerate(best, 1):
        shares = {
            entry.info.name: Share(weight, round(float(cosines[e, i]), 6), round(float(parts[e, i]), 6))
            for e, (entry, weight) in enumerate(entries)
        }
        hits.append(Hit(rank, float(total[i]), None, works[int(ids[i])], "blend", shares))
    return asked, hits


def normalised(cosines: Rows) -> npt.NDArray[np.float64]:
    """Each row of cosines (encoders, works) less its mean, in its standard deviations; 0 where all are equal."""
    rows = cosines.astype(np.float64)
    if not rows.shape[1]:
        return rows
    spread = rows.std(axis=1, keepdims=True)
    found: npt.NDArray[np.float64] = (rows - rows.mean(axis=1, keepdims=True)) / np.where(spread < 1e-9, np.inf, spread)
    return found


def _entries(collection: Collection, weights: Mapping[str, float]) -> list[tuple[EncoderEntry, float]]:
    """The encoders of a blend with their share of it."""
    if not weights:
        raise QueryError("a blend of no encoders; write ENCODER=WEIGHT,...")
    total = sum(weights.values())
    entries = [(collection.encoder_entry(name), weight / total) for name, weight in weights.items()]
    names = [entry.info.name for entry, _ in entries]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise QueryError(f"the blend has {twice} twice, under two names; once is enough")
    return entries


def _cosines(collection: Collection, entry: EncoderEntry, asked: Sequence[Query]) -> tuple[Rows, Ids]:
    """(cosines (n,), ids (n,) ascending) of the question and every work that the encoder has embedded."""
    rows, ids = collection.catalog.embeddings(entry.number, entry.info.dim)
    return vectors.settled_scores(joined(asked), rows), ids
