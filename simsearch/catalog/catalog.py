"""What a collection holds: the questions that the rest of the house asks of the catalog. `writing.py` fills it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import Connection, Row, Select, and_, func, not_, select
from sqlalchemy.sql import ColumnElement

from simsearch import vectors
from simsearch.catalog import schema as t
from simsearch.catalog.columns import columns, label_column
from simsearch.catalog.store import Store
from simsearch.catalog.where import compile_where
from simsearch.errors import ArtworkNotFoundError, EmbeddingError
from simsearch.records import (
    LABEL_COLUMNS,
    METADATA,
    Artwork,
    EncoderInfo,
    Failure,
    Label,
    Preprocessing,
)
from simsearch.vectors import Rows

IDS_AT_ONCE = 900
"""SQLite builds before 3.32 take at most 999 parameters in a statement."""

ROWS_AT_ONCE = 4096

Ids = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, slots=True)
class Generation:
    """A published index, as the catalog names it."""

    encoder: EncoderInfo
    folder: str
    """Below the collection, with forward slashes."""
    kind: str
    parameters: dict[str, Any]
    works: int
    run: int
    recall_at_10: float | None
    """Share of the ten nearest by exact search that the index finds; None where it searches exactly itself."""
    background: Rows
    """Cosines of random pairs of different works (m,), ascending."""
    created: str


class StoredFile(NamedTuple):
    """What the catalog knows of an artwork's file."""

    id: int
    size: int
    mtime_ns: int
    digest: bytes


class Catalog:
    """Reads one collection's catalog. It belongs to the thread that opened it."""

    def __init__(self, store: Store, base: Path) -> None:
        """`base` is the folder that relative locations of sources start from."""
        self.store = store
        self.base = base

    def snapshot(self) -> AbstractContextManager[Connection]:
        """One consistent view for all questions asked inside, whatever is published meanwhile."""
        return self.store.transaction()

    def meta(self, key: str) -> str | None:
        """A setting of the collection, or None."""
        with self.snapshot() as db:
            return db.scalar(select(t.meta.c.value).where(t.meta.c.key == key))

    # -- artworks ------------------------------------------------------------------------------------------------------

    def count(self) -> int:
        """How many artworks there are."""
        with self.snapshot() as db:
            return db.scalar(select(func.count()).select_from(t.artwork)) or 0

    def artworks(self, ids: Iterable[int]) -> list[Artwork]:
        """The artworks of these ids, in this order. Ids that are gone are left out."""
        wanted = [int(i) for i in ids]
        found: dict[int, Artwork] = {}
        with self.snapshot() as db:
            for part in _parts(wanted):
                labels = self._labels(db, part)
                for row in db.execute(_artwork_rows().where(t.artwork.c.id.in_(part))):
                    found[row.id] = self._artwork(row, labels[row.id])
        return [found[i] for i in wanted if i in found]

    def all_artworks(self) -> Iterator[Artwork]:
        """Every artwork, by id."""
        with self.snapshot() as db:
            ids = list(db.scalars(select(t.artwork.c.id).order_by(t.artwork.c.id)))
            for part in _parts(ids):
                yield from self.artworks(part)

    def artwork(self, id: int) -> Artwork:
        """The artwork of an id. Raises ArtworkNotFoundError."""
        found = self.artworks([id])
        if not found:
            raise ArtworkNotFoundError(f"this collection has no artwork {id}; `simsearch similar --json` shows the ids")
        return found[0]

    def find_file(self, path: Path) -> StoredFile | None:
        """What is known of the file at an absolute path, if a source of this collection holds it."""
        if not is_text(str(path)):
            return None
        with self.snapshot() as db:
            for source in db.execute(select(t.source.c.id, t.source.c.location)):
                root = self.absolute(source.location)
                if not path.is_relative_to(root):
                    continue
                a = t.artwork.c
                row = db.execute(
                    select(a.id, a.file_size, a.file_mtime_ns, a.digest).where(
                        a.source == source.id, a.source_id == path.relative_to(root).as_posix()
                    )
                ).first()
                if row:
                    return StoredFile(*row)
        return None

    def absolute(self, location: str) -> Path:
        """The folder of a source's location."""
        return self.base / location

    def sources(self) -> list[tuple[int, str, Path]]:
        """(number, name, folder) of every source."""
        with self.snapshot() as db:
            rows = db.execute(select(t.source.c.id, t.source.c.name, t.source.c.location).order_by(t.source.c.id))
            return [(row.id, row.name, self.absolute(row.location)) for row in rows]

    def find_source(self, name: str) -> int | None:
        """The number of the source of this name, or None."""
        with self.snapshot() as db:
            return db.scalar(select(t.source.c.id).where(t.source.c.name == name))

    def failures(self) -> list[Failure]:
        """Files that gave no embedding at the last attempt, by source and path."""
        f, s = t.failure.c, t.source.c
        with self.snapshot() as db:
            rows = db.execute(
                select(s.name, s.location, f.source_id, f.reason, f.message)
                .join_from(t.failure, t.source)
                .order_by(f.source, f.source_id)
            ).all()
        return [
            Failure(r.name, r.source_id, r.reason, r.message, str(self.absolute(r.location) / r.source_id))
            for r in rows
        ]

    # -- filters and labels --------------------------------------------------------------------------------------------

    def ids_where(
        self,
        where: str | None = None,
        *,
        exclude: Iterable[int] = (),
        exclude_label: tuple[str, Sequence[str]] | None = None,
        exclude_folders: Sequence[tuple[str, str]] = (),
        exclude_sources: Sequence[str] = (),
    ) -> Ids:
        """Ids (n,) int64, ascending, of the artworks that an expression of `where.py` keeps, less the excluded ones.

        Folders are given as (source name, folder below it). A label excludes the works that it was said of, not those
        that it was only predicted for. Raises WhereError.
        """
        a = t.artwork.c
        with self.snapshot() as db:
            query = select(a.id).join_from(t.artwork, t.source)
            if where is not None:
                query = query.where(compile_where(where, self.columns()))
            if exclude_label:
                kind, values = exclude_label
                query = query.where(func.coalesce(label_column(kind, said=True).in_(values), False) == False)  # noqa: E712
            for source, folder in exclude_folders:
                prefix = "" if folder == "." else folder + "/"
                inside = and_(
                    t.source.c.name == source,
                    func.substr(a.source_id, 1, len(prefix)) == prefix,
                    func.instr(func.substr(a.source_id, len(prefix) + 1), "/") == 0,
                )
                query = query.where(not_(inside))
            if exclude_sources:
                query = query.where(t.source.c.name.not_in(exclude_sources))
            found = np.fromiter(db.scalars(query.order_by(a.id)), dtype=np.int64)
        return np.setdiff1d(found, np.fromiter(exclude, dtype=np.int64), assume_unique=True)

    def columns(self) -> dict[str, ColumnElement[Any]]:
        """What ``--where`` can name: see :mod:`simsearch.catalog.columns`."""
        with self.snapshot():
            return columns(self.label_kinds(), json.loads(self.meta("extra_columns") or "[]"))

    def label_kinds(self, *, said: bool = False) -> list[str]:
        """Kinds of label that some artwork has: the usual ones first, then the others by name.

        With `said` only those that a person or a source gave, not those that are only predicted.
        """
        query = select(t.label.c.kind).distinct()
        with self.snapshot() as db:
            kinds = set(db.scalars(query.where(t.label.c.origin != "predicted") if said else query))
        return [k for k in ("style", "genre", "artist") if k in kinds] + sorted(kinds - set(LABEL_COLUMNS))

    def labelled_ids(self, kind: str) -> Ids:
        """Ids (n,) int64, ascending, of artworks that a person or a source gave a label of this kind."""
        c = t.label.c
        query = select(c.artwork).where(c.kind == kind, c.origin != "predicted").distinct().order_by(c.artwork)
        with self.snapshot() as db:
            return np.fromiter(db.scalars(query), dtype=np.int64)

    def predicted(self) -> dict[str, int]:
        """Kind to number of artworks whose label of that kind is a prediction, because nobody has given one."""
        c, other = t.label.c, t.label.alias()
        given = select(other.c.artwork).where(
            other.c.artwork == c.artwork, other.c.kind == c.kind, other.c.origin != "predicted"
        )
        query = select(c.kind, func.count(c.artwork.distinct()).label("n")).where(
            c.origin == "predicted", ~given.exists()
        )
        with self.snapshot() as db:
            return {row.kind: row.n for row in db.execute(query.group_by(c.kind).order_by(c.kind))}

    # -- encoders and embeddings ---------------------------------------------------------------------------------------

    def encoders(self) -> list[tuple[int, EncoderInfo, str]]:
        """(number, encoder, where to find it) for every encoder that the collection has embeddings of."""
        with self.snapshot() as db:
            return [
                (row.id, _encoder(row), row.location) for row in db.execute(select(t.encoder).order_by(t.encoder.c.id))
            ]

    def embedded(self, encoder: int) -> int:
        """How many artworks have an embedding by the encoder of this number."""
        e = t.embedding.c
        query = select(func.count()).select_from(t.artwork.join(t.embedding, e.digest == t.artwork.c.digest))
        with self.snapshot() as db:
            return db.scalar(query.where(e.encoder == encoder)) or 0

    def embedding(self, encoder: int, digest: bytes, dim: int) -> Rows | None:
        """The embedding (1, dim) of the image with this digest, or None."""
        e = t.embedding.c
        with self.snapshot() as db:
            blob = db.scalar(select(e.vector).where(e.encoder == encoder, e.digest == digest))
        return None if blob is None else vectors.from_bytes([blob], dim)

    def embeddings(self, encoder: int, dim: int, ids: Iterable[int] | None = None) -> tuple[Rows, Ids]:
        """(rows (n, dim), ids (n,)), by id, of all artworks that have an embedding, or of those among `ids`."""
        # CROSS keeps the order of the loops: from a hundred ids on SQLite would otherwise go through all embeddings and
        # look for each among all the ids, which takes it seconds at 20,000 works
        sql = (
            f"SELECT artwork.id, embedding.vector FROM artwork {'' if ids is None else 'CROSS '}JOIN embedding "
            "ON embedding.encoder = ? AND embedding.digest = artwork.digest "
        )
        wanted: list[Sequence[int]] = [()] if ids is None else list(_parts(sorted(int(i) for i in ids)))
        with self.snapshot() as db:
            cursor = db.connection.cursor()
            # filled block by block: at a million works a second copy would be a gigabyte and a half
            most = self.count() if ids is None else sum(map(len, wanted))
            rows, found, n = np.empty((most, dim), np.float32), np.empty(most, np.int64), 0
            for part in wanted:
                marks = f"WHERE artwork.id IN ({','.join('?' * len(part))}) " if part else ""
                cursor.execute(f"{sql}{marks}ORDER BY artwork.id", (encoder, *part))
                while block := cursor.fetchmany(ROWS_AT_ONCE):
                    end = n + len(block)
                    found[n:end] = [id for id, _ in block]
                    rows[n:end] = self._sound([vector for _, vector in block], encoder, dim, found[n:end])
                    n = end
        return rows[:n], found[:n]

    def _sound(self, blobs: Sequence[bytes], encoder: int, dim: int, ids: Ids) -> Rows:
        """The embeddings (n, dim) of artworks. Raises EmbeddingError that names the one that is damaged."""
        try:
            return vectors.from_bytes(blobs, dim)
        except EmbeddingError as error:
            bad, why = next((i, why) for i, blob in enumerate(blobs) if (why := fault(blob, dim)))
            where = next(location for number, _, location in self.encoders() if number == encoder)
            raise EmbeddingError(
                f"the stored embedding of artwork {ids[bad]} is damaged: {why}; "
                f"`simsearch index --rebuild --encoder {where}` embeds the image again"
            ) from error

    def digest(self, id: int) -> bytes | None:
        """The digest of an artwork's image."""
        with self.snapshot() as db:
            return db.scalar(select(t.artwork.c.digest).where(t.artwork.c.id == id))

    # -- generations ---------------------------------------------------------------------------------------------------

    def generation(self, encoder: int) -> Generation | None:
        """The index published last for the encoder of this number."""
        g = t.generation.c
        query = select(t.generation, t.encoder.c.name, t.encoder.c.revision, t.encoder.c.digest, t.encoder.c.dim,
                       t.encoder.c.preprocessing).join_from(t.generation, t.encoder)  # fmt: skip
        with self.snapshot() as db:
            row = db.execute(query.where(g.encoder == encoder).order_by(g.id.desc()).limit(1)).first()
        if row is None:
            return None
        background = np.frombuffer(row.background, "<f4")
        return Generation(_encoder(row), row.folder, row.kind, row.parameters, row.works, row.run, row.recall_at_10,
                          background, row.created)  # fmt: skip

    def generation_folders(self) -> set[str]:
        """Folders, below the collection, of the published indexes that are kept, of all encoders."""
        with self.snapshot() as db:
            return set(db.scalars(select(t.generation.c.folder)))

    def changed_since(self, run: int) -> tuple[Ids, Ids]:
        """(ids that got a new image in later runs than this, ids that were removed in later runs)."""
        a, r = t.artwork.c, t.removed.c
        with self.snapshot() as db:
            fresh = np.fromiter(db.scalars(select(a.id).where(a.changed_run > run)), dtype=np.int64)
            gone = np.fromiter(db.scalars(select(r.artwork).where(r.run > run)), dtype=np.int64)
        return fresh, gone

    # -- from rows to records ------------------------------------------------------------------------------------------

    def _labels(self, db: Connection, ids: Sequence[int]) -> dict[int, list[Label]]:
        out: dict[int, list[Label]] = defaultdict(list)
        c = t.label.c
        for row in db.execute(select(t.label).where(c.artwork.in_(ids)).order_by(c.artwork, c.kind, c.origin, c.value)):
            out[row.artwork].append(Label(row.kind, row.value, row.origin, row.confidence))
        return out

    def _artwork(self, row: Row[Any], labels: Sequence[Label]) -> Artwork:
        described = {name: getattr(row, name) for name in METADATA}
        path = self.absolute(row.location) / PurePosixPath(row.source_id)
        return Artwork(row.source_name, row.source_id, row.id, str(path), row.width, row.height, labels=tuple(labels),
                       extra=row.extra, **described)  # fmt: skip


def fault(blob: bytes, dim: int) -> str | None:
    """What makes stored bytes no embedding of this width, or None."""
    if len(blob) != 2 * dim:
        return f"it does not have {dim} numbers"
    row = np.frombuffer(blob, "<f2")
    if not np.isfinite(row).all():
        return "it holds a number that is not finite"
    return None if row.any() else "it is all zeros"


def is_text(name: str) -> bool:
    """Whether the catalog can hold a name. It cannot where bytes of a path are no UTF-8 and so came as surrogates."""
    return name.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in name)


def _artwork_rows() -> Select[Any]:
    a = t.artwork.c
    described = [a[name] for name in METADATA]
    return select(
        a.id,
        a.source_id,
        a.width,
        a.height,
        a.extra,
        t.source.c.name.label("source_name"),
        t.source.c.location,
        *described,
    ).join_from(t.artwork, t.source)


def _encoder(row: Row[Any]) -> EncoderInfo:
    return EncoderInfo(row.name, row.revision, row.digest, row.dim, Preprocessing.from_dict(row.preprocessing))


def _parts(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(ids), IDS_AT_ONCE):
        yield ids[start : start + IDS_AT_ONCE]
