"""From a query to ranked hits: what is like this?"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from simsearch import images, vectors
from simsearch.collection import Collection, EncoderEntry, percentile
from simsearch.errors import ImageError, QueryError
from simsearch.index.base import NO_ID, Ids
from simsearch.index.exact import search_rows
from simsearch.records import Artwork, Hit
from simsearch.vectors import Rows

EXCLUDABLE = ("artist", "folder", "source")
ASK_CATALOG_BELOW = 4000
"""Up to this many allowed works their embeddings are read from the catalog rather than searched for in an IVF index,
which would have to look into every list that one of them may be in."""
SPARE = 8
"""Works that an approximate index proposes beyond those asked for, since it may order near ones differently."""

Image = str | Path | int | bytes
"""A path, an http(s) URL, ``-`` for standard input, an artwork's id, or an image file's bytes."""


@dataclass(frozen=True, slots=True)
class Query:
    """One image of a question: its embedding, and what the collection knows of it."""

    name: str
    row: Rows
    """Unit row (1, dim)."""
    artwork: Artwork | None = None
    """The artwork of the collection that the image is, by id or path."""
    path: Path | None = None
    data: bytes | None = None
    """The image file's bytes where they had to be read."""
    region: images.Region | None = None
    minus: bool = False

    @property
    def caption(self) -> str:
        """What to call the image: the artwork's title, or the file's name."""
        return self.artwork.name if self.artwork else PurePosixPath(self.name).name

    def picture(self, max_pixels: int = images.DEFAULT_MAX_PIXELS) -> images.Picture:
        """The image that was asked about, cut to the region. Raises ImageError where it cannot be reached any more."""
        data = self.data if self.data is not None else images.read_bytes(self.path or Path(self.name))
        picture = images.decode(data, self.name, max_pixels=max_pixels)
        return self.region.cut(picture) if self.region else picture


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
    region: str | None = None,
    filters: Filters | None = None,
    encoder: str | None = None,
    max_pixels: int = images.DEFAULT_MAX_PIXELS,
) -> list[Hit]:
    """At most `k` artworks like these images, the nearest first; of equal scores the lower id first.

    Several images and `minus` ones mix into one query: the sum of their embeddings, less those, brought to length 1.
    `region` is ``x,y,w,h`` in pixels or per cent of the one query image. Raises QueryError, ImageError, EncoderError.
    """
    with collection.catalog.snapshot():
        asked = ask(collection, queries, minus, region=region, encoder=encoder, max_pixels=max_pixels)
        return find(collection, asked, k, filters or Filters(), encoder)


def ask(
    collection: Collection,
    queries: Sequence[Image],
    minus: Sequence[Image] = (),
    *,
    region: str | None = None,
    encoder: str | None = None,
    max_pixels: int = images.DEFAULT_MAX_PIXELS,
) -> list[Query]:
    """The images of a question with their embeddings, in order, the `minus` ones last.

    A stored artwork's embedding is read; only an image that the collection has never seen loads the encoder.
    """
    if not queries:
        raise QueryError("no query: name an image, or the id of an artwork")
    if [*queries, *minus].count("-") > 1:
        raise QueryError("standard input holds one image; use - once")
    part = images.Region.parse(region) if region else None
    if part and len(queries) > 1:
        raise QueryError("--region takes one query image, there are several")
    entry = collection.encoder_entry(encoder)
    asked = [_query(collection, entry, image, part, max_pixels) for image in queries]
    return asked + [_query(collection, entry, image, None, max_pixels, minus=True) for image in minus]


def find(
    collection: Collection, asked: Sequence[Query], k: int, filters: Filters, encoder: str | None = None
) -> list[Hit]:
    """At most `k` hits for the mix of these images."""
    if k < 1:
        raise QueryError(f"k is {k}; ask for at least one hit")
    catalog = collection.catalog
    plus = np.concatenate([q.row for q in asked if not q.minus])
    taken = [q.row for q in asked if q.minus]
    row = vectors.mix(plus, np.concatenate(taken) if taken else None)
    own = set() if filters.include_self else {q.artwork.id for q in asked if q.artwork}
    entry = collection.encoder_entry(encoder)
    with catalog.snapshot():
        allowed = _allowed(collection, asked, filters)
        scores, ids = _nearest(collection, entry, row, k + len(own), allowed)
        kept = [(s, i) for s, i in zip(scores.tolist(), ids.tolist(), strict=True) if i not in own][:k]
        if filters.min_score is not None:
            kept = [(s, i) for s, i in kept if s >= filters.min_score]
        works = {work.id: work for work in catalog.artworks(i for _, i in kept)}
        shares = percentile(catalog.generation(entry.number), np.array([s for s, _ in kept], np.float32))
    found = [(round(s, 6), share, works[i]) for (s, i), share in zip(kept, shares, strict=True) if i in works]
    return [Hit(rank, score, share, work) for rank, (score, share, work) in enumerate(found, 1)]


def _nearest(collection: Collection, entry: EncoderEntry, row: Rows, k: int, allowed: Ids | None) -> tuple[Rows, Ids]:
    """(scores, ids), each (m,) with m at most k: the published index, and works newer than it searched beside it."""
    catalog = collection.catalog
    if allowed is not None and len(allowed) <= ASK_CATALOG_BELOW:
        rows, row_ids = catalog.embeddings(entry.number, entry.info.dim, allowed)
        scores, ids = search_rows(row, rows, row_ids, min(k, len(rows)))
        return scores[0], ids[0]
    generation = catalog.generation(entry.number)
    index = collection.open_index(entry, generation)
    if generation is None:
        scores, ids = index.search(row, min(k, len(index)), allowed)
        return _filled(scores[0], ids[0])
    fresh, gone = catalog.changed_since(generation.run)
    stale = np.union1d(fresh, gone)
    scores, ids = index.search(row, min(k + len(stale) + SPARE, len(index)), allowed)
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


def _allowed(collection: Collection, asked: Sequence[Query], filters: Filters) -> Ids | None:
    """Ids that may be hits, ascending, or None for all."""
    unknown = [name for name in filters.exclude_same if name not in EXCLUDABLE]
    if unknown:
        raise QueryError(f"cannot exclude works of the same {unknown[0]!r}; there are {', '.join(EXCLUDABLE)}")
    if filters.where is None and not filters.exclude_same:
        return filters.only
    plus = [q for q in asked if not q.minus]
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


def _query(
    collection: Collection,
    entry: EncoderEntry,
    image: Image,
    region: images.Region | None,
    max_pixels: int,
    *,
    minus: bool = False,
) -> Query:
    artwork = path = None
    data: bytes | None = None
    name = "the image" if isinstance(image, bytes) else str(image)
    if isinstance(image, bytes):
        data = image
    elif _is_id(image):
        artwork = collection.catalog.artwork(int(image))  # type: ignore[arg-type]
        path = Path(artwork.path) if artwork.path else None
    elif not name.startswith(("http://", "https://")) and name != "-":
        path = Path(name).expanduser().absolute()
        artwork = _artwork_at(collection, path)
    row = None
    if artwork and not region:
        digest = collection.catalog.digest(artwork.id)
        row = collection.catalog.embedding(entry.number, digest, entry.info.dim) if digest else None
    if row is None:
        if data is None:
            data, name = images.read_query(str(path or image))
        row = _embed(collection, entry, data, name, region, max_pixels)
    return Query(name, row, artwork, path, data, region, minus)


def _is_id(image: Image) -> bool:
    """A whole number is an artwork's id, unless a file of that name lies here."""
    return isinstance(image, int) or (isinstance(image, str) and image.isdecimal() and not Path(image).exists())


def _artwork_at(collection: Collection, path: Path) -> Artwork | None:
    """The artwork whose file this is, as long as the file has not changed since."""
    for place in dict.fromkeys((path, path.resolve())):
        stored = collection.catalog.find_file(place)
        if stored is None:
            continue
        try:
            stat = path.stat()
        except OSError:
            return collection.catalog.artwork(stored.id)  # the disk is away, the embedding is here
        if (stat.st_size, stat.st_mtime_ns) == (stored.size, stored.mtime_ns):
            return collection.catalog.artwork(stored.id)
        try:
            same = hashlib.sha256(images.read_bytes(path)).digest() == stored.digest
        except ImageError:
            same = False
        return collection.catalog.artwork(stored.id) if same else None
    return None


def _embed(
    collection: Collection, entry: EncoderEntry, data: bytes, name: str, region: images.Region | None, max_pixels: int
) -> Rows:
    """The embedding (1, dim) of an image file's bytes: the stored one where these bytes are known."""
    if region is None:
        known = collection.catalog.embedding(entry.number, hashlib.sha256(data).digest(), entry.info.dim)
        if known is not None:
            return known
    encoder = collection.load(entry)
    rule = encoder.info.preprocessing
    picture = images.decode(data, name, max_pixels=max_pixels, side=None if region else rule.size)
    if region:
        picture = region.cut(picture)
    return vectors.as_stored(encoder.embed_images(images.fit(picture, rule)[None]))
