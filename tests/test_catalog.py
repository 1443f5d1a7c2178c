"""The catalog by value: its tables and migrations, what it answers, and what a reader sees while a writer publishes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateTable

from simsearch.catalog import schema
from simsearch.catalog.catalog import Catalog, Generation, StoredFile, is_text
from simsearch.catalog.store import MIGRATIONS, Store
from simsearch.catalog.writing import ImageRow, Writer
from simsearch.errors import (
    ArtworkNotFoundError,
    CollectionLockedError,
    CollectionNotFoundError,
    CollectionTooNewError,
    CollectionWriteError,
    WhereError,
)
from simsearch.records import Artwork, EncoderInfo, Failure, Label, Preprocessing
from simsearch.vectors import to_bytes, unit_rows

DIM = 4
INFO = EncoderInfo("tiny", "1", "ab" * 32, DIM, Preprocessing(16, mean=(0.5, 0.25, 0.125)))
OTHER = EncoderInfo("other", "2", "cd" * 32, DIM, Preprocessing(8, "crop"))


def digest(name: str) -> bytes:
    return sha256(name.encode()).digest()


def vector(name: str) -> np.ndarray:
    """The unit row (1, DIM) of an image, as the catalog gives it back."""
    row = np.random.default_rng(list(digest(name)[:4])).normal(size=(1, DIM))
    return unit_rows(unit_rows(row).astype("<f2"))


class Filled:
    """A catalog that is filled by hand, with the numbers that it gave."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "catalog.db"
        self.store = Store.create(self.path)
        self.writer = Writer(self.store)
        self.catalog = Catalog(self.store, folder)
        self.source = self.writer.add_source("folder:art", "folder", "art")
        self.encoder = self.writer.add_encoder(INFO, "models/tiny")

    def add(self, path: str, image: str = "", *, said: Artwork | None = None, id: int | None = None) -> int:
        """Stores a work, or another image of the work `id`, in a run of its own; its id."""
        image = image or path
        row = ImageRow(
            self.source, path, 100, 5, digest(image), 30, 20, id, described=said or Artwork("folder:art", path)
        )
        vectors = {digest(image): to_bytes(vector(image))[0]}
        self.writer.store_batch(self.writer.begin_run(), self.encoder, [row], vectors, [])
        return self.ids()[path]

    def ids(self) -> dict[str, int]:
        return {path: stored.id for path, stored in self.writer.files(self.source).items()}

    def generation(self, run: int, folder: str, works: int = 0) -> Generation:
        background = np.array([-0.5, 0.25, 0.75], np.float32)
        return Generation(INFO, folder, "ivf", {"lists": 4}, works, run, 0.99, background, "2026-01-01")


@pytest.fixture
def filled(tmp_path: Path) -> Iterator[Filled]:
    made = Filled(tmp_path)
    yield made
    made.store.close()


def plainly(path: Path, sql: str) -> list[tuple[object, ...]]:
    """What plain sqlite3 reads, without anything of ours."""
    connection = sqlite3.connect(path)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.commit()
        connection.close()


# -- tables and migrations ---------------------------------------------------------------------------------------------


def test_migrations_lead_to_exactly_the_tables_of_the_schema(filled: Filled) -> None:
    def is_ours(name: str | None, kind: str, _: object) -> bool:
        """Not Alembic's own, and no part of the virtual table, which tests/test_words.py compares."""
        return name != "alembic_version" and not (kind == "table" and str(name).startswith("words"))

    with filled.store.transaction() as db:
        context = MigrationContext.configure(db, opts={"compare_type": True, "include_name": is_ours})
        assert compare_metadata(context, schema.metadata) == []


def test_autoincrement_keys_foreign_keys_and_not_null_survive_the_migrations(filled: Filled, tmp_path: Path) -> None:
    """What the comparison above does not look at."""
    made = sqlite3.connect(tmp_path / "by_schema.db")
    for table in schema.metadata.sorted_tables:
        made.execute(str(CreateTable(table).compile(dialect=sqlite.dialect())))
    made.close()
    for table in schema.metadata.sorted_tables:
        for pragma in (f"PRAGMA table_info({table.name})", f"PRAGMA foreign_key_list({table.name})"):
            assert plainly(filled.path, pragma) == plainly(tmp_path / "by_schema.db", pragma), pragma
    sql = "SELECT name FROM sqlite_master WHERE sql LIKE '%AUTOINCREMENT%' ORDER BY name"
    assert plainly(filled.path, sql) == plainly(tmp_path / "by_schema.db", sql)


def test_the_revision_is_the_newest_migration() -> None:
    assert max(path.name.partition("_")[0] for path in (MIGRATIONS / "versions").glob("*.py")) == schema.REVISION


def test_a_catalog_of_the_first_schema_is_brought_to_the_newest_by_a_writer_with_all_that_it_holds(
    tmp_path: Path,
) -> None:
    path = tmp_path / "catalog.db"
    made = sqlite3.connect(path)
    for table in schema.metadata.sorted_tables:
        made.execute(str(CreateTable(table).compile(dialect=sqlite.dialect())))
    made.executescript(
        "ALTER TABLE source DROP COLUMN labels; CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL);"
        "CREATE INDEX artwork_digest ON artwork (digest); INSERT INTO alembic_version VALUES ('0001');"
        "INSERT INTO source (name, kind, location, table_stamp) VALUES ('folder:art', 'folder', 'art', 'stamp');"
    )
    made.close()
    with pytest.raises(CollectionWriteError, match=r"older schema 0001; run `simsearch index` to bring it to 0003"):
        Store(path)
    store = Store(path, write=True)
    writer = Writer(store)
    assert (writer.table_stamp(1), writer.labels(1)) == ("stamp", None)
    writer.set_labels(1, "[]")
    assert writer.labels(1) == "[]"
    store.close()
    assert plainly(path, "SELECT version_num FROM alembic_version") == [("0003",)]


def test_plain_sqlite_reads_works_labels_and_embeddings(filled: Filled) -> None:
    said = Artwork("folder:art", "a.png", title="A", labels=(Label("style", "Baroque"),), extra={"shelf": "B2"})
    filled.add("a.png", said=said)
    rows = plainly(
        filled.path,
        "SELECT a.source_id, a.title, l.kind, l.value, json_extract(a.extra, '$.shelf'), hex(a.digest), e.vector "
        "FROM artwork a JOIN label l ON l.artwork = a.id JOIN embedding e ON e.digest = a.digest",
    )
    assert rows == [
        ("a.png", "A", "style", "Baroque", "B2", digest("a.png").hex().upper(), to_bytes(vector("a.png"))[0])
    ]
    assert plainly(filled.path, "PRAGMA journal_mode") == [("wal",)]


def test_a_catalog_of_a_newer_version_is_refused_and_left_alone(filled: Filled) -> None:
    filled.store.close()
    plainly(filled.path, "UPDATE alembic_version SET version_num = '9999'")
    before = filled.path.read_bytes()
    for write in (False, True):
        with pytest.raises(CollectionTooNewError, match=r"schema 9999.*newer simsearch.*knows 0003.*pip install -U"):
            Store(filled.path, write=write)
    assert filled.path.read_bytes() == before


def test_a_half_made_catalog_is_finished_by_a_writer_and_explained_to_a_reader(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    path.touch()
    with pytest.raises(CollectionWriteError, match="older schema none; run `simsearch index`"):
        Store(path)
    store = Store(path, write=True)
    assert Catalog(store, tmp_path).count() == 0
    store.close()


def test_a_catalog_that_is_not_there_is_not_made_by_opening_it(tmp_path: Path) -> None:
    with pytest.raises(CollectionNotFoundError, match="is missing; run `simsearch index FOLDER`"):
        Store(tmp_path / "catalog.db", write=True)
    assert list(tmp_path.iterdir()) == []


def test_a_reader_cannot_write(filled: Filled) -> None:
    reader = Store(filled.path)
    with pytest.raises(CollectionWriteError, match="readonly"):
        Writer(reader).set_meta("key", "value")
    reader.close()


# -- works and labels --------------------------------------------------------------------------------------------------


def test_a_work_comes_back_as_it_was_stored(filled: Filled, tmp_path: Path) -> None:
    said = Artwork(
        "folder:art", "sub/a.png", title="A", date="c. 1650", begin_year=-3, end_year=1651, medium="oil",
        classification="painting", credit_line="gift", rights="CC0", source_url="https://x.example/1", iiif_url="i",
        labels=(Label("artist", "Ada"), Label("style", "Baroque", confidence=0.5)), extra={'we"ird $ key': "v"},
    )  # fmt: skip
    id = filled.add("sub/a.png", said=said)
    found = filled.catalog.artwork(id)
    stored = {"id": id, "path": str(tmp_path / "art" / "sub" / "a.png"), "width": 30, "height": 20}
    assert found == Artwork(**{name: getattr(said, name) for name in said.__dataclass_fields__} | stored)
    assert filled.catalog.find_file(tmp_path / "art" / "sub" / "a.png") == StoredFile(id, 100, 5, digest("sub/a.png"))
    assert filled.catalog.find_file(tmp_path / "elsewhere" / "a.png") is None
    assert filled.catalog.find_file(tmp_path / "art" / "b\udcff.png") is None
    assert filled.catalog.digest(id) == digest("sub/a.png")


def test_names_that_no_text_can_hold_are_told_apart() -> None:
    assert [is_text(name) for name in ("a.png", "Étoile 🎨\n.png", "caf\udce9.png")] == [True, True, False]


def test_works_come_in_the_order_asked_for_and_gone_ones_are_left_out(filled: Filled) -> None:
    a, b, c = (filled.add(name) for name in ("a", "b", "c"))
    assert [work.id for work in filled.catalog.artworks([c, 99, a, b, a])] == [c, a, b, a]
    assert [work.source_id for work in filled.catalog.all_artworks()] == ["a", "b", "c"]
    with pytest.raises(ArtworkNotFoundError, match="has no artwork 99"):
        filled.catalog.artwork(99)


def test_a_number_is_never_given_twice(filled: Filled) -> None:
    last = filled.add("a")
    filled.writer.remove(filled.writer.begin_run(), [last])
    assert filled.add("b") == last + 1


def label(filled: Filled, id: int, value: str, origin: str, confidence: float | None = None) -> None:
    row = f"({id}, 'style', '{origin}', '{value}', {'NULL' if confidence is None else confidence})"
    plainly(filled.path, f"INSERT INTO label (artwork, kind, origin, value, confidence) VALUES {row}")


def test_a_persons_label_wins_over_the_sources_and_that_over_a_prediction(filled: Filled) -> None:
    only_predicted, from_source, by_person = (filled.add(name) for name in ("a", "b", "c"))
    for id in (only_predicted, from_source, by_person):
        label(filled, id, "Rococo", "predicted", 0.6)
        label(filled, id, "Fauvism", "predicted", 0.9)
    for id in (from_source, by_person):
        label(filled, id, "Baroque", "source")
    label(filled, by_person, "Cubism", "human")
    styles = {"Fauvism": only_predicted, "Baroque": from_source, "Cubism": by_person}
    for style, id in styles.items():
        work = filled.catalog.artwork(id)
        assert (work.style or work.resembles("style").value) == style
        assert filled.catalog.ids_where(f"style = '{style}'").tolist() == [id]  # the same order in SQL
    assert filled.catalog.artwork(only_predicted).style is None
    assert filled.catalog.artwork(only_predicted).resembles("style") == Label("style", "Fauvism", "predicted", 0.9)
    assert [filled.catalog.artwork(id).resembles("style") for id in (from_source, by_person)] == [None, None]
    assert filled.catalog.ids_where("style = 'Rococo'").tolist() == []
    assert filled.catalog.labelled_ids("style").tolist() == [from_source, by_person]
    assert filled.catalog.label_kinds() == ["style"]


def test_describing_again_replaces_what_the_source_said_and_nothing_else(filled: Filled) -> None:
    said = Artwork("folder:art", "a", title="Old", medium="oil", labels=(Label("style", "Baroque"),), extra={"x": "1"})
    id = filled.add("a", said=said)
    label(filled, id, "Cubism", "human")
    again = Artwork("folder:art", "a", title="New", labels=(Label("artist", "Ada"),))
    filled.writer.describe([(id, again)], filled.source, "stamp 2")
    found = filled.catalog.artwork(id)
    assert (found.title, found.medium, found.extra) == ("New", None, {})
    assert found.labels == (Label("artist", "Ada"), Label("style", "Cubism", "human"))
    assert filled.writer.table_stamp(filled.source) == "stamp 2"


# -- filters -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def shelves(filled: Filled) -> dict[str, int]:
    """Works in nested folders, by their path."""
    artists = {"a.png": "Ada", "x/b.png": "Bo", "x/y/c.png": "Ada", "x%/d.png": "", "x_/e.png": "Cy"}
    for path, artist in artists.items():
        labels = (Label("artist", artist),) if artist else ()
        filled.add(path, said=Artwork("folder:art", path, labels=labels, extra={"wall": path[0]}))
    filled.writer.add_extra_columns(["wall"])
    return filled.ids()


@pytest.mark.parametrize(
    ("excluded", "kept"),
    [
        ({}, "a.png x/b.png x/y/c.png x%/d.png x_/e.png"),
        ({"exclude_label": ("artist", ["Ada", "Bo"])}, "x%/d.png x_/e.png"),
        ({"exclude_folders": [("folder:art", ".")]}, "x/b.png x/y/c.png x%/d.png x_/e.png"),
        ({"exclude_folders": [("folder:art", "x")]}, "a.png x/y/c.png x%/d.png x_/e.png"),
        ({"exclude_folders": [("folder:art", "x%"), ("folder:art", "x_")]}, "a.png x/b.png x/y/c.png"),
        ({"exclude_folders": [("folder:other", ".")]}, "a.png x/b.png x/y/c.png x%/d.png x_/e.png"),
        ({"exclude_sources": ["folder:art"]}, ""),
        ({"where": "artist is null"}, "x%/d.png"),
        ({"where": "wall = 'x' and artist <> 'Bo'"}, "x/y/c.png x%/d.png x_/e.png"),
        ({"where": "path like 'x/%'", "exclude_label": ("artist", ["Bo"])}, "x/y/c.png"),
    ],
)
def test_filters_keep_what_they_say(filled: Filled, shelves: dict[str, int], excluded: dict, kept: str) -> None:
    assert filled.catalog.ids_where(**excluded).tolist() == sorted(shelves[path] for path in kept.split())


def test_single_works_can_be_excluded(filled: Filled, shelves: dict[str, int]) -> None:
    b = shelves["x/b.png"]
    assert filled.catalog.ids_where(exclude=[b, 99]).tolist() == sorted(set(shelves.values()) - {b})
    with pytest.raises(WhereError, match="wal"):
        filled.catalog.ids_where("wal = 'x'")


# -- embeddings, changes and failures ----------------------------------------------------------------------------------


def test_embeddings_come_by_id_whatever_order_they_are_asked_in(filled: Filled) -> None:
    ids = [filled.add(name) for name in ("c", "a", "b")]
    rows, found = filled.catalog.embeddings(filled.encoder, DIM)
    assert found.tolist() == ids
    np.testing.assert_array_equal(rows, np.concatenate([vector(name) for name in ("c", "a", "b")]))
    rows, found = filled.catalog.embeddings(filled.encoder, DIM, [ids[2], 99, ids[0]])
    assert found.tolist() == [ids[0], ids[2]]
    np.testing.assert_array_equal(rows, np.concatenate([vector("c"), vector("b")]))
    rows, found = filled.catalog.embeddings(filled.encoder, DIM, [])
    assert (rows.shape, found.shape) == ((0, DIM), (0,))


def test_works_with_the_same_bytes_share_one_embedding_until_the_last_is_gone(filled: Filled) -> None:
    first, second = filled.add("a", "same"), filled.add("b", "same")
    assert plainly(filled.path, "SELECT count(*) FROM embedding") == [(1,)]
    assert filled.catalog.embedded(filled.encoder) == 2
    filled.writer.remove(filled.writer.begin_run(), [first])
    np.testing.assert_array_equal(filled.catalog.embedding(filled.encoder, digest("same"), DIM), vector("same"))
    filled.writer.remove(filled.writer.begin_run(), [second])
    assert filled.catalog.embedding(filled.encoder, digest("same"), DIM) is None


def test_another_encoder_has_embeddings_of_its_own(filled: Filled) -> None:
    filled.add("a")
    other = filled.writer.add_encoder(OTHER, "other")
    assert filled.catalog.encoders() == [(filled.encoder, INFO, "models/tiny"), (other, OTHER, "other")]
    assert filled.writer.without_embedding(filled.encoder, filled.source) == set()
    assert filled.writer.without_embedding(other, filled.source) == {"a"}
    assert len(filled.catalog.embeddings(other, DIM)[1]) == 0
    assert filled.writer.add_encoder(OTHER, "moved") == other
    assert filled.catalog.encoders()[1][2] == "moved"


def test_what_changed_since_a_run_is_new_changed_and_removed_works(filled: Filled) -> None:
    stays, changes, goes = (filled.add(name) for name in ("a", "b", "c"))
    run = filled.writer.begin_run()
    filled.writer.publish(filled.encoder, filled.generation(run, "index/1"))
    assert [ids.tolist() for ids in filled.catalog.changed_since(run)] == [[], []]
    filled.add("b", "b, painted over", id=changes)
    new = filled.add("d")
    filled.writer.remove(filled.writer.begin_run(), [goes])
    assert [sorted(ids.tolist()) for ids in filled.catalog.changed_since(run)] == [[changes, new], [goes]]
    assert stays not in filled.catalog.changed_since(run)[0]


def test_the_last_generation_is_the_one_that_counts_and_two_are_kept(filled: Filled) -> None:
    assert filled.catalog.generation(filled.encoder) is None
    dropped = []
    for number in (1, 2, 3, 4):
        dropped += filled.writer.publish(filled.encoder, filled.generation(number, f"index/{number}", works=number))
    found = filled.catalog.generation(filled.encoder)
    assert found is not None
    assert (found.folder, found.works, found.encoder, found.parameters) == ("index/4", 4, INFO, {"lists": 4})
    np.testing.assert_array_equal(found.background, np.array([-0.5, 0.25, 0.75], np.float32))
    assert dropped == ["index/1", "index/2"]


def test_failures_are_forgotten_where_they_are_over_and_kept_where_nobody_looked(
    filled: Filled, tmp_path: Path
) -> None:
    names = ("a.png", "b.png", "shut/c.png", "sub/d.png")
    failures = [(filled.source, Failure("folder:art", name, "empty", f"{name} is empty")) for name in names]
    filled.writer.store_batch(filled.writer.begin_run(), filled.encoder, [], {}, failures)
    found = filled.catalog.failures()[0]
    assert found == Failure("folder:art", "a.png", "empty", "a.png is empty", str(tmp_path / "art" / "a.png"))
    filled.writer.forget_failures(filled.source, ["a.png"], "", ["shut"])
    assert [failure.source_id for failure in filled.catalog.failures()] == ["a.png", "shut/c.png"]
    filled.writer.forget_failures(filled.source, [], "shut")
    assert [failure.source_id for failure in filled.catalog.failures()] == ["a.png"]


# -- readers and writers at once ---------------------------------------------------------------------------------------


def test_a_reader_sees_no_half_of_a_publish(filled: Filled) -> None:
    filled.add("a")
    filled.writer.publish(filled.encoder, filled.generation(1, "index/1", works=1))
    reading = Store(filled.path)
    reader = Catalog(reading, filled.path.parent)

    def seen() -> tuple[int, int, str]:
        generation = reader.generation(filled.encoder)
        assert generation is not None
        return reader.count(), len(reader.embeddings(filled.encoder, DIM)[1]), generation.folder

    with reader.snapshot():
        assert seen() == (1, 1, "index/1")
        with filled.store.transaction():  # everything inside is one commit
            filled.add("b")
            assert seen() == (1, 1, "index/1")
            filled.writer.publish(filled.encoder, filled.generation(2, "index/2", works=2))
            assert seen() == (1, 1, "index/1")
        assert filled.catalog.count() == 2
        assert seen() == (1, 1, "index/1")
        filled.store.checkpoint()  # does not wait for the reader, nor take anything from it
        assert seen() == (1, 1, "index/1")
    assert seen() == (2, 2, "index/2")
    reading.close()


def test_a_failed_batch_leaves_nothing_behind(filled: Filled) -> None:
    filled.add("a")
    twice = [ImageRow(filled.source, "b", 1, 1, digest("b"), 1, 1) for _ in range(2)]
    with pytest.raises(Exception, match="UNIQUE"):
        filled.writer.store_batch(9, filled.encoder, twice, {digest("b"): to_bytes(vector("b"))[0]}, [])
    assert filled.ids().keys() == {"a"}
    assert plainly(filled.path, "SELECT count(*) FROM embedding") == [(1,)]


def test_a_foreign_writer_that_holds_the_file_is_named_as_such(filled: Filled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simsearch.catalog.store.BUSY_TIMEOUT_S", 0.05)
    impatient = Store(filled.path, write=True)
    with filled.store.transaction(), pytest.raises(CollectionLockedError, match="in use by another process"):
        Writer(impatient).set_meta("key", "value")
    Writer(impatient).set_meta("key", "1")
    assert filled.catalog.meta("key") == "1"
    impatient.close()
