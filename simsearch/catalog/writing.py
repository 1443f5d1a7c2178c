"""Fills the catalog. Whoever holds the collection's lock has the one Writer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, CursorResult, bindparam, delete, func, insert, literal, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from simsearch.catalog import schema as t
from simsearch.catalog import words
from simsearch.catalog.catalog import ROWS_AT_ONCE, Generation, StoredFile, fault
from simsearch.catalog.store import Store
from simsearch.errors import EmbeddingError, EncoderMismatchError
from simsearch.records import METADATA, Artwork, EncoderInfo, Failure
from simsearch.vectors import from_bytes


@dataclass(frozen=True, slots=True)
class ImageRow:
    """One file whose bytes were read in this run, on its way into the catalog."""

    source: int
    source_id: str
    size: int
    mtime_ns: int
    digest: bytes
    width: int
    height: int
    id: int | None = None
    """Of the artwork whose file this is already; None for a new one."""
    same_image: bool = False
    """The artwork has these very bytes already, so no index needs to learn of it."""
    described: Artwork | None = None
    """What a table says of it; None leaves the descriptive columns as they are."""


NOTHING = Artwork("", "")
"""What is said of a work that no table names."""


class Writer:
    """Writes one collection's catalog. Each method is one transaction, unless called inside `Store.transaction`."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def set_meta(self, key: str, value: str) -> None:
        """Stores a setting of the collection."""
        with self.store.transaction() as db:
            db.execute(
                upsert(t.meta).values(key=key, value=value).on_conflict_do_update(["key"], set_={"value": value})
            )

    def add_source(self, name: str, kind: str, location: str) -> int:
        """The number of a source, which is stored where it is new."""
        with self.store.transaction() as db:
            db.execute(upsert(t.source).values(name=name, kind=kind, location=location).on_conflict_do_nothing())
            return int(db.execute(select(t.source.c.id).where(t.source.c.name == name)).scalar_one())

    def add_encoder(self, info: EncoderInfo, location: str) -> int:
        """The number of an encoder, which is stored where it is new; where to find it is brought up to date.

        Raises EncoderMismatchError where the same weights and revision had another preprocessing or width.
        """
        c = t.encoder.c
        values = {"name": info.name, "revision": info.revision, "digest": info.digest, "dim": info.dim,
                  "preprocessing": info.preprocessing.to_dict(), "location": location}  # fmt: skip
        with self.store.transaction() as db:
            keys = ["name", "revision", "digest"]
            db.execute(upsert(t.encoder).values(values).on_conflict_do_update(keys, set_={"location": location}))
            same = (c.name == info.name, c.revision == info.revision, c.digest == info.digest)
            row = db.execute(select(c.id, c.dim, c.preprocessing).where(*same)).one()
            if (row.dim, row.preprocessing) != (info.dim, values["preprocessing"]):
                raise EncoderMismatchError(
                    f"{location}/card.json says something else of {info} than when the collection was indexed; "
                    "put it back, or give it a new revision"
                )
            return int(row.id)

    # -- a run ---------------------------------------------------------------------------------------------------------

    def begin_run(self) -> int:
        """The number of a new run, higher than all before."""
        with self.store.transaction() as db:
            return _new_id(db.execute(insert(t.run).values(started=_now())))

    def finish_run(self, run: int, report: Mapping[str, Any]) -> None:
        """Stores what a run did."""
        with self.store.transaction() as db:
            db.execute(update(t.run).where(t.run.c.id == run).values(finished=_now(), report=dict(report)))

    def files(self, source: int, below: str = "") -> dict[str, StoredFile]:
        """What is known of a source's files, by their path below it; with `below`, of that subfolder's alone."""
        sql = "SELECT source_id, id, file_size, file_mtime_ns, digest FROM artwork WHERE source = ?"
        parameters: list[Any] = [source]
        if below:
            sql, parameters = sql + " AND substr(source_id, 1, ?) = ?", [source, len(below) + 1, f"{below}/"]
        with self.store.transaction() as db:
            return {path: StoredFile(*known) for path, *known in db.connection.cursor().execute(sql, parameters)}

    def listing(self, source: int) -> str | None:
        """The digest of the walk after which every file of a source was in the catalog, or None."""
        with self.store.transaction() as db:
            return db.scalar(select(t.source.c.listing).where(t.source.c.id == source))

    def set_listing(self, source: int, listing: str) -> None:
        """Stores that digest."""
        with self.store.transaction() as db:
            db.execute(update(t.source).where(t.source.c.id == source).values(listing=listing))

    def forget_listings(self) -> None:
        """Forgets those digests, before artworks change."""
        with self.store.transaction() as db:
            db.execute(update(t.source).values(listing=None))

    def labels(self, source: int) -> str | None:
        """What `set_labels` stored for a source, or None."""
        with self.store.transaction() as db:
            return db.scalar(select(t.source.c.labels).where(t.source.c.id == source))

    def set_labels(self, source: int, labels: str) -> None:
        """Stores, as JSON, which lists of labels were named for a source."""
        with self.store.transaction() as db:
            db.execute(update(t.source).where(t.source.c.id == source).values(labels=labels))

    def table_stamp(self, source: int) -> str | None:
        """The stamp of the tables and lists that described this source last."""
        with self.store.transaction() as db:
            return db.scalar(select(t.source.c.table_stamp).where(t.source.c.id == source))

    def known_images(self, encoder: int) -> dict[bytes, tuple[int, int]]:
        """Digest to (width, height) of every image that has an embedding by this encoder, and not a damaged one."""
        a, e = t.artwork.c, t.embedding.c
        query = select(a.digest, a.width, a.height).join_from(t.artwork, t.embedding, e.digest == a.digest)
        with self.store.transaction() as db:
            known = {row.digest: (row.width, row.height) for row in db.execute(query.where(e.encoder == encoder))}
            for digest in self._damaged(db, encoder):
                known.pop(digest, None)
        return known

    def without_embedding(self, encoder: int, source: int) -> set[str]:
        """Paths below a source of works that this encoder has not embedded, or whose embedding is damaged."""
        a, e = t.artwork.c, t.embedding.c
        has = select(literal(1)).where(e.encoder == encoder, e.digest == a.digest).exists()
        with self.store.transaction() as db:
            paths = set(db.scalars(select(a.source_id).where(a.source == source, ~has)))
            for digest in self._damaged(db, encoder):
                paths.update(db.scalars(select(a.source_id).where(a.source == source, a.digest == digest)))
        return paths

    def _damaged(self, db: Connection, encoder: int) -> list[bytes]:
        """Digests of images whose embedding by this encoder cannot be read."""
        dim = db.scalar(select(t.encoder.c.dim).where(t.encoder.c.id == encoder)) or 0
        cursor, out = db.connection.cursor(), []
        cursor.execute("SELECT digest, vector FROM embedding WHERE encoder = ?", (encoder,))
        while block := cursor.fetchmany(ROWS_AT_ONCE):
            try:
                from_bytes([vector for _, vector in block], dim)
            except EmbeddingError:
                out += [digest for digest, vector in block if fault(vector, dim)]
        return out

    def store_batch(
        self,
        run: int,
        encoder: int,
        images: Sequence[ImageRow],
        embeddings: Mapping[bytes, bytes],
        failures: Sequence[tuple[int, Failure]],
    ) -> None:
        """Commits images, their embeddings (digest to float16 bytes) and failures (source number, failure) together.

        An embedding takes the place of one that the image has already: that one was damaged.
        """
        with self.store.transaction() as db:
            if embeddings:
                rows = [{"encoder": encoder, "digest": d, "vector": v} for d, v in embeddings.items()]
                row = upsert(t.embedding)
                newer = row.on_conflict_do_update(["encoder", "digest"], set_={"vector": row.excluded.vector})
                db.execute(newer, rows)
            self._update_images(db, run, [image for image in images if image.id is not None])
            self._insert_images(db, run, [image for image in images if image.id is None])
            if images:
                at = (t.failure.c.source == bindparam("row_source"), t.failure.c.source_id == bindparam("row_path"))
                rows = [{"row_source": image.source, "row_path": image.source_id} for image in images]
                db.execute(delete(t.failure).where(*at), rows)
            for source, failure in failures:
                values = {"reason": failure.reason, "message": failure.message, "run": run}
                failed = upsert(t.failure).values(source=source, source_id=failure.source_id, **values)
                db.execute(failed.on_conflict_do_update(["source", "source_id"], set_=values))

    def _insert_images(self, db: Connection, run: int, images: Sequence[ImageRow]) -> None:
        """Adds artworks with what is said of them.

        The one writer numbers them itself, above any number that was ever given, so that a batch is one statement.
        """
        if not images:
            return
        last = db.exec_driver_sql("SELECT seq FROM sqlite_sequence WHERE name = 'artwork'").scalar() or 0
        numbered = [(id, image, image.described or NOTHING) for id, image in enumerate(images, last + 1)]
        rows = [
            {"id": id, "changed_run": run, **_file_values(image), **_described_values(work)}
            for id, image, work in numbered
        ]
        db.execute(insert(t.artwork), rows)
        self._add_labels(db, [(id, work) for id, _, work in numbered])
        words.refresh(db, [id for id, _, _ in numbered])

    def _update_images(self, db: Connection, run: int, images: Sequence[ImageRow]) -> None:
        """Gives artworks another file or place, and what is said of them there."""
        for same in (True, False):
            rows = [{"row_id": i.id, **_file_values(i)} for i in images if i.same_image is same]
            if rows:
                change: dict[str, Any] = {name: bindparam(name) for name in rows[0] if name != "row_id"}
                if not same:
                    change["changed_run"] = run
                db.execute(update(t.artwork).where(t.artwork.c.id == bindparam("row_id")).values(change), rows)
            if rows and not same:  # what a head said, it said of the picture that was there before
                said = t.label.c
                gone = delete(t.label).where(said.artwork == bindparam("row_id"), said.origin == "predicted")
                db.execute(gone, [{"row_id": row["row_id"]} for row in rows])
        self._describe(db, [(i.id, i.described) for i in images if i.id is not None and i.described is not None])

    def describe(self, described: Sequence[tuple[int, Artwork]], source: int, stamp: str) -> None:
        """Replaces what the source says of these artworks (id, record); labels of persons and predictions stay."""
        with self.store.transaction() as db:
            self._describe(db, described)
            db.execute(update(t.source).where(t.source.c.id == source).values(table_stamp=stamp))

    def add_extra_columns(self, names: Iterable[str]) -> None:
        """Lets ``--where`` know these extra attributes."""
        with self.store.transaction() as db:
            known = json.loads(db.scalar(select(t.meta.c.value).where(t.meta.c.key == "extra_columns")) or "[]")
            merged = sorted({*known, *names})
            if merged != known:
                self.set_meta("extra_columns", json.dumps(merged, ensure_ascii=False))

    def _describe(self, db: Connection, described: Sequence[tuple[int, Artwork]]) -> None:
        if not described:
            return
        rows = [{"row_id": id, **_described_values(work)} for id, work in described]
        change: dict[str, Any] = {name: bindparam(name) for name in ("extra", *METADATA)}
        db.execute(update(t.artwork).where(t.artwork.c.id == bindparam("row_id")).values(change), rows)
        said = t.label.c
        gone = delete(t.label).where(said.artwork == bindparam("row_id"), said.origin == "source")
        db.execute(gone, [{"row_id": id} for id, _ in described])
        self._add_labels(db, described)
        words.refresh(db, [id for id, _ in described])

    def _add_labels(self, db: Connection, described: Sequence[tuple[int, Artwork]]) -> None:
        labels = [
            {"artwork": id, "kind": v.kind, "origin": v.origin, "value": v.value, "confidence": v.confidence}
            for id, work in described
            for v in work.labels
        ]
        if labels:
            db.execute(upsert(t.label).on_conflict_do_nothing(), labels)

    def store_predictions(self, kind: str, predictions: Sequence[tuple[int, str, float]]) -> None:
        """Replaces all predictions of a kind by these (id, value, probability). Other labels stay as they are."""
        c = t.label.c
        rows = [
            {"artwork": id, "kind": kind, "origin": "predicted", "value": value, "confidence": confidence}
            for id, value, confidence in predictions
        ]
        with self.store.transaction() as db:
            db.execute(delete(t.label).where(c.kind == kind, c.origin == "predicted"))
            if rows:
                db.execute(insert(t.label), rows)

    def set_human_labels(self, kind: str, labels: Sequence[tuple[int, str]]) -> None:
        """Gives works (id, value) a person's label of a kind, in place of any that a person gave before."""
        c = t.label.c
        if not labels:
            return
        rows = [{"artwork": id, "kind": kind, "origin": "human", "value": value} for id, value in labels]
        gone = delete(t.label).where(c.artwork == bindparam("row_id"), c.kind == kind, c.origin == "human")
        with self.store.transaction() as db:
            db.execute(gone, [{"row_id": id} for id, _ in labels])
            db.execute(insert(t.label), rows)
            words.refresh(db, [id for id, _ in labels])

    def remove(self, run: int, ids: Sequence[int]) -> None:
        """Removes artworks, their labels, and embeddings that no other artwork shares."""
        if not ids:
            return
        rows = [{"row_id": id} for id in ids]
        c = t.artwork.c
        with self.store.transaction() as db:
            db.execute(delete(t.artwork).where(c.id == bindparam("row_id")), rows)
            words.refresh(db, ids)
            db.execute(upsert(t.removed).on_conflict_do_nothing(), [{"artwork": id, "run": run} for id in ids])
            self.drop_orphans()

    def drop_orphans(self) -> None:
        """Removes embeddings of images that no artwork has any more."""
        used = select(t.artwork.c.digest).where(t.artwork.c.digest == t.embedding.c.digest).exists()
        with self.store.transaction() as db:
            db.execute(delete(t.embedding).where(~used))

    def forget_failures(self, source: int, still: Iterable[str], below: str = "", unseen: Iterable[str] = ()) -> None:
        """Removes the failures of a source, or of a subfolder, but for those in `still` and in the folders `unseen`."""
        f = t.failure.c
        prefix = below + "/" if below else ""
        hidden = tuple(f"{folder}/" for folder in unseen)
        with self.store.transaction() as db:
            known = set(db.scalars(select(f.source_id).where(f.source == source)))
            over = [name for name in known - set(still) if name.startswith(prefix)]
            gone = [{"gone": name} for name in over if not (hidden and name.startswith(hidden))]
            if gone:
                db.execute(delete(t.failure).where(f.source == source, f.source_id == bindparam("gone")), gone)

    def prune_source(self, source: int) -> None:
        """Forgets a source that holds no artwork any more."""
        with self.store.transaction() as db:
            left = db.scalar(select(func.count()).select_from(t.artwork).where(t.artwork.c.source == source))
            if not left:
                db.execute(delete(t.failure).where(t.failure.c.source == source))
                db.execute(delete(t.source).where(t.source.c.id == source))

    # -- publishing ----------------------------------------------------------------------------------------------------

    def publish(self, encoder: int, generation: Generation) -> list[str]:
        """Makes a generation the one that readers open; folders of generations before the last two, now unused."""
        g = t.generation.c
        with self.store.transaction() as db:
            db.execute(
                insert(t.generation).values(
                    encoder=encoder, folder=generation.folder, kind=generation.kind, parameters=generation.parameters,
                    works=generation.works, run=generation.run, recall_at_10=generation.recall_at_10,
                    background=generation.background.astype("<f4").tobytes(), created=generation.created,
                )
            )  # fmt: skip
            old = db.execute(select(g.id, g.folder).where(g.encoder == encoder).order_by(g.id.desc()).offset(2)).all()
            db.execute(delete(t.generation).where(g.id.in_([row.id for row in old])))
            oldest = db.scalar(select(func.min(g.run)))
            db.execute(delete(t.removed).where(t.removed.c.run <= oldest))
        return [row.folder for row in old]


def _file_values(image: ImageRow) -> dict[str, Any]:
    return {
        "source": image.source,
        "source_id": image.source_id,
        "file_size": image.size,
        "file_mtime_ns": image.mtime_ns,
        "digest": image.digest,
        "width": image.width,
        "height": image.height,
    }


def _described_values(work: Artwork) -> dict[str, Any]:
    return {"extra": dict(work.extra), **{name: getattr(work, name) for name in METADATA}}


def _new_id(result: CursorResult[Any]) -> int:
    key = result.inserted_primary_key
    assert key is not None  # every insert of one row has one
    return int(key[0])


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
