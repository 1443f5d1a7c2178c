"""From a query to ranked hits: what is like this?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import numpy as np

from simsearch import images
from simsearch.collection import Collection, EncoderEntry, percentile
from simsearch.errors import QueryError
from simsearch.index.base import NO_ID, Ids
from simsearch.index.exact import search_rows
from simsearch.query import Image, Query, ask, joined, question_entry
from simsearch.records import Hit
from simsearch.vectors import Rows

EXCLUDABLE = ("artist", "folder", "source")
ASK_CATALOG_BELOW = 4000
"""Up to this many allowed works their embeddings are read from the catalog rather than searched for in an IVF index,
which would have to look into every list that one of them may be in."""
SPARE = 8
"""Works that an approximate index proposes beyond those asked for, since it may order near ones differently."""


@dataclass(frozen=True, slots=True)
class Filters:
    """Which artworks may be hits."""

    where: str | None = None
    """An expression over the catalog's columns, such as ``style = 'Baroque' and width > 400``."""
    exclude_same: Sequence[str] = ()
    """Leaves out works that share these with the query: ``artist``, ``folder``, ``source``."""
    include_self: bool = False
    """Keeps the query itself among the hits where it is an artwork of the collection."""
    min_score: float | None = None
    only: Ids | None = field(default=None, compare=False)
    """Ids (n,) that may be hits; None for all."""


def similar(
    collection: Collection,
    *queries: Image,
    k: int = 10,
    minus: Sequence[Image] = (),
    texts: Sequence[str] = (),
    minus_texts: Sequence[str] = (),
    region: str | None = None,
    filters: Filters | None = None,
    encoder: str | None = None,
    max_pixels: int = images.DEFAULT_MAX_PIXELS,
) -> list[Hit]:
    """At most `k` artworks like these images and words, the nearest first; of equal scores the lower id first.

    Several parts mix into one query: the sum of their embeddings, each times its weight (``0.5:at night``), less the
    `minus` ones, brought to length 1. `region` is ``x,y,w,h`` in pixels or per cent of the one query image. `encoder`
    is one of the collection by name, or what like means: ``style``, ``content``, ``colour``. Raises QueryError,
    ImageError, EncoderError.
    """
    with collection.catalog.snapshot():
        asked = ask(
            collection, queries, minus, texts=texts, minus_texts=minus_texts, region=region, encoder=encoder,
            max_pixels=max_pixels,
        )  # fmt: skip
        return find(collection, asked, k, filters or Filters(), encoder)


def find(
    collection: Collection, asked: Sequence[Query], k: int, filters: Filters, encoder: str | None = None
) -> list[Hit]:
    """At most `k` hits for the mix of these parts.

    A hit has a percentile where the question is of images alone: pairs of images say nothing of how near words come.
    """
    if k < 1:
        raise QueryError(f"k is {k}; ask for at least one hit")
    catalog = collection.catalog
    row = joined(asked)
    own = own_works(asked, filters)
    words = any(query.is_text for query in asked)
    entry = question_entry(collection, encoder, words=words)
    with catalog.snapshot():
        allowed = allowed_ids(collection, asked, filters)
        scores, ids = _nearest(collection, entry, row, k + len(own), allowed, of_text=words)
        kept = [(s, i) for s, i in zip(scores.tolist(), ids.tolist(), strict=True) if i not in own][:k]
        if filters.min_score is not None:
            kept = [(s, i) for s, i in kept if s >= filters.min_score]
        works = {work.id: work for work in catalog.artworks(i for _, i in kept)}
        sample = None if words else catalog.generation(entry.number)
        shares = percentile(sample, np.array([s for s, _ in kept], np.float32))
    found = [(round(s, 6), share, works[i]) for (s, i), share in zip(kept, shares, strict=True) if i in works]
    return [Hit(rank, score, share, work) for rank, (score, share, work) in enumerate(found, 1)]


def own_works(asked: Sequence[Query], filters: Filters) -> set[int]:
    """Ids of the artworks that the question itself is made of, which are no answers to it."""
    return set() if filters.include_self else {query.artwork.id for query in asked if query.artwork}


def _nearest(
    collection: Collection, entry: EncoderEntry, row: Rows, k: int, allowed: Ids | None, *, of_text: bool = False
) -> tuple[Rows, Ids]:
    """(scores, ids), each (m,) with m at most k: the published index, and works newer than it searched beside it."""
    catalog = collection.catalog
    if allowed is not None and len(allowed) <= ASK_CATALOG_BELOW:
        rows, row_ids = catalog.embeddings(entry.number, entry.info.dim, allowed)
        scores, ids = search_rows(row, rows, row_ids, min(k, len(rows)))
        return scores[0], ids[0]
    generation = catalog.generation(entry.number)
    index = collection.open_index(entry, generation)
    if generation is None:
        scores, ids = index.search(row, min(k, len(index)), allowed, of_text=of_text)
        return _filled(scores[0], ids[0])
    fresh, gone = catalog.changed_since(generation.run)
    stale = np.union1d(fresh, gone)
    scores, ids = index.search(row, min(k + len(stale) + SPARE, len(index)), allowed, of_text=of_text)
    keep = (ids[0] != NO_ID) & ~np.isin(ids[0], stale)
    new = fresh if allowed is None else np.intersect1d(fresh, allowed)
    if index.kind != "exact":  # its float16 rows are not quite of length 1: compare with the embeddings themselves
        new, keep = np.union1d(new, ids[0][keep]), np.zeros_like(keep)
    new_rows, new_ids = catalog.embeddings(entry.number, entry.info.dim, new)
    new_scores, new_ids = search_rows(row, new_rows, new_ids, min(k, len(new_ids)))
    all_scores = np.concatenate([scores[0][keep], new_scores[0]])
    all_ids = np.concatenate([ids[0][keep], new_ids[0]])
    order = np.lexsort((all_ids, -all_scores))[:k]
    return all_scores[order], all_ids[order]


def _filled(scores: Rows, ids: Ids) -> tuple[Rows, Ids]:
    return scores[ids != NO_ID], ids[ids != NO_ID]


def allowed_ids(collection: Collection, asked: Sequence[Query], filters: Filters) -> Ids | None:
    """Ids that may be hits, ascending, or None for all."""
    unknown = [name for name in filters.exclude_same if name not in EXCLUDABLE]
    if unknown:
        raise QueryError(f"cannot exclude works of the same {unknown[0]!r}; there are {', '.join(EXCLUDABLE)}")
    if filters.where is None and not filters.exclude_same:
        return filters.only
    plus = [q for q in asked if not (q.minus or q.is_text)]
    artists = _shared(plus, "artist", [q.artwork.artist if q.artwork else None for q in plus], filters)
    sources = _shared(plus, "source", [q.artwork.source if q.artwork else None for q in plus], filters)
    ids = collection.catalog.ids_where(
        filters.where,
        exclude_label=("artist", artists) if artists else None,
        exclude_folders=_folders(collection, plus) if "folder" in filters.exclude_same else (),
        exclude_sources=sources,
    )
    return ids if filters.only is None else np.intersect1d(ids, filters.only)


def _shared(plus: Sequence[Query], what: str, known: Sequence[str | None], filters: Filters) -> list[str]:
    """What the queries have of `what`, where works that share it are to be left out."""
    if what not in filters.exclude_same:
        return []
    for query, value in zip(plus, known, strict=True):
        if value is None:
            raise QueryError(
                f"--exclude-same {what}: the collection knows no {what} of {query.name}; leave the option away"
            )
    return [value for value in known if value is not None]


def _folders(collection: Collection, plus: Sequence[Query]) -> list[tuple[str, str]]:
    """(source, folder below it) of the queries that lie in a folder of the collection."""
    out = []
    for query in plus:
        if query.artwork:
            out.append((query.artwork.source, str(PurePosixPath(query.artwork.source_id).parent)))
        elif query.path:
            for _, name, root in collection.catalog.sources():
                if query.path.parent.is_relative_to(root):
                    out.append((name, query.path.parent.relative_to(root).as_posix()))
    return out
