"""The words of the works: what is a word of a work, that they stay in step with the catalog, and how they came in."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from simsearch.catalog import schema, words
from simsearch.catalog.store import Store
from simsearch.catalog.writing import ImageRow, Writer
from simsearch.collection import Collection
from simsearch.errors import CollectionError, CollectionWriteError
from simsearch.records import Artwork, EncoderInfo, Label, Preprocessing
from simsearch.vectors import to_bytes

INFO = EncoderInfo("tiny", "1", "ab" * 32, 4, Preprocessing(16))
ROW = to_bytes(np.eye(1, 4, dtype=np.float32))[0]

WHEATFIELD = Artwork(
    "folder:art", "a.png", title="Wheatfield with Crows", date="July 1890", medium="oil on canvas",
    classification="painting", credit_line="Museum Stichting", rights="CC0", source_url="https://collection.example/1",
    labels=(
        Label("artist", "Vincent van Gogh"), Label("style", "Post Impressionism"), Label("genre", "landscape"),
        Label("technique", "impasto"), Label("style", "Romanticism", "predicted", 0.9),
    ),
    extra={"wall": "north", "note": "sehr düster"},
)  # fmt: skip
"""A work of which everything is said."""


class Shelf:
    """A collection that is filled by hand."""

    def __init__(self, folder: Path) -> None:
        self.collection = Collection.create(folder)
        self.path = self.collection.folder / "catalog.db"
        self.writer = Writer(self.collection._store)
        self.source = self.writer.add_source("folder:art", "folder", "art")
        self.encoder = self.writer.add_encoder(INFO, "models/tiny")

    def put(self, *works: Artwork | None, ids: tuple[int | None, ...] = (), image: str = "") -> list[int]:
        """Stores works in one batch; their ids."""
        rows = [
            ImageRow(self.source, work.source_id if work else "x", 9, 5, sha256(f"{image}{i}".encode()).digest(), 3, 2,
                     ids[i] if ids else None, described=work)
            for i, work in enumerate(works)
        ]  # fmt: skip
        self.writer.store_batch(self.writer.begin_run(), self.encoder, rows, {row.digest: ROW for row in rows}, [])
        known = self.writer.files(self.source)
        return [known[row.source_id].id for row in rows]

    def found(self, text: str) -> list[int]:
        return [match.id for match in words.find(self.collection.catalog, text, 10, whole=True)]

    def stored(self) -> list[tuple[object, ...]]:
        return plainly(self.path, "SELECT rowid, title, artist, terms FROM words ORDER BY rowid")


def plainly(path: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as db:
        rows = db.execute(sql).fetchall()
        db.commit()
        return rows


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    made = Shelf(tmp_path)
    yield made
    made.collection.close()


# -- what is a word of a work ------------------------------------------------------------------------------------------


def test_title_artist_and_terms_are_kept_apart_and_predictions_left_out(shelf: Shelf) -> None:
    (id,) = shelf.put(WHEATFIELD)
    terms = ["landscape", "Post Impressionism", "technique impasto", "July 1890", "oil on canvas", "painting", "north",
             "sehr düster"]  # fmt: skip
    assert shelf.stored() == [(id, "Wheatfield with Crows", "Vincent van Gogh", "\n".join(terms))]


@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        ("wheatfield", True), ("WHEATFIELD", True), ("van gogh", True), ("post impressionism", True), ("1890", True),
        ("canvas", True), ("painting", True), ("technique", True), ("impasto", True), ("north", True),
        ("duster", True), ("DÜSTER", True), ("du\u0308ster", True), ("impressio", True), ("with", True),
        ("impressio landscape", False), ("romanticism", False), ("museum", False), ("cc0", False), ("example", False),
        ("png", False), ("style", False), ("wall", False), ("heatfield", False),
    ],
)  # fmt: skip
def test_a_work_is_found_by_what_was_said_of_it_whatever_its_accents(shelf: Shelf, text: str, is_found: bool) -> None:
    (id,) = shelf.put(WHEATFIELD)
    assert shelf.found(text) == ([id] if is_found else [])


def test_a_work_of_which_nothing_is_said_has_no_words(shelf: Shelf) -> None:
    (id,) = shelf.put(Artwork("folder:art", "a.png"))
    assert shelf.stored() == [(id, None, None, None)]


# -- in step -----------------------------------------------------------------------------------------------------------


def test_describing_a_work_again_replaces_its_words(shelf: Shelf) -> None:
    (id,) = shelf.put(WHEATFIELD)
    again = Artwork("folder:art", "a.png", title="Almond Blossom", labels=(Label("style", "Japonism"),))
    shelf.writer.describe([(id, again)], shelf.source, "stamp")
    assert shelf.stored() == [(id, "Almond Blossom", None, "Japonism")]
    assert [shelf.found(text) for text in ("almond japonism", "crows", "gogh")] == [[id], [], []]


def test_another_picture_in_a_works_file_leaves_its_words_and_another_description_does_not(shelf: Shelf) -> None:
    (id,) = shelf.put(WHEATFIELD)
    before = shelf.stored()
    shelf.put(None, ids=(id,), image="other")
    assert shelf.stored() == before
    shelf.put(Artwork("folder:art", "b.png", title="Iris"), ids=(id,), image="third")
    assert shelf.stored() == [(id, "Iris", None, None)]


def test_a_persons_label_takes_the_place_of_the_sources_and_other_kinds_stay(shelf: Shelf) -> None:
    (id,) = shelf.put(WHEATFIELD)
    shelf.writer.set_human_labels("style", [(id, "Expressionism")])
    shelf.writer.set_human_labels("artist", [(id, "A copyist")])
    texts = ("expressionism", "post", "copyist", "gogh", "landscape crows")
    assert [bool(shelf.found(text)) for text in texts] == [True, False, True, False, True]


def test_all_labels_of_a_kind_that_the_source_gives_are_words(shelf: Shelf) -> None:
    labels = (Label("artist", "Rubens"), Label("artist", "Jan Brueghel"), Label("genre", "allegory"))
    (id,) = shelf.put(Artwork("folder:art", "a.png", labels=labels))
    assert shelf.found("rubens brueghel allegory") == [id]


def test_a_prediction_changes_no_words(shelf: Shelf) -> None:
    (id,) = shelf.put(WHEATFIELD)
    before = shelf.stored()
    shelf.writer.store_predictions("genre", [(id, "cityscape", 0.9)])
    assert shelf.stored() == before


def test_the_words_of_removed_works_go_with_them_and_others_stay(shelf: Shelf) -> None:
    first, second = shelf.put(WHEATFIELD, Artwork("folder:art", "b.png", title="Crows"))
    shelf.writer.remove(shelf.writer.begin_run(), [first])
    assert (shelf.found("crows"), shelf.found("wheatfield")) == ([second], [])
    assert [row[0] for row in shelf.stored()] == [second]


def test_a_batch_that_fails_leaves_no_words(shelf: Shelf) -> None:
    twice = Artwork("folder:art", "a.png", title="Twice")
    with pytest.raises(Exception, match="UNIQUE"):
        shelf.put(twice, twice)
    assert shelf.stored() == []


def test_a_run_over_folders_keeps_words_in_step_with_tables_and_files(place) -> None:
    table = place.folder / "art" / "artworks.csv"
    table.write_text("path,title,artist,wall\nred.png,Red flag,Ada,north\nrust.png,Rusty flag,Bo,south\n")
    place.index("art")
    ids = {path.removeprefix("art/"): id for path, id in place.works().items()}

    def found(text: str) -> list[int]:
        with Collection.open(place.folder) as collection:
            return sorted(match.id for match in words.find(collection.catalog, text, 10, whole=True))

    assert found("flag") == sorted([ids["red.png"], ids["rust.png"]])
    assert (found("ada north"), found("bo sou")) == ([ids["red.png"]], [ids["rust.png"]])
    (place.folder / "art" / "rust.png").rename(place.folder / "art" / "moved.png")
    table.write_text("path,title,artist,wall\nred.png,Red banner,Ada,north\nmoved.png,Rusty flag,Cy,south\n")
    place.index("art")
    assert (found("flag"), found("banner ada"), found("bo")) == ([ids["rust.png"]], [ids["red.png"]], [])
    (place.folder / "art" / "red.png").unlink()
    place.index("art")
    assert found("banner") == []
    assert place.sql("SELECT count(*) FROM words") == place.sql("SELECT count(*) FROM artwork")


# -- how they came in --------------------------------------------------------------------------------------------------


def test_the_migration_makes_the_table_of_the_schema(shelf: Shelf) -> None:
    assert plainly(shelf.path, "SELECT sql FROM sqlite_master WHERE name = 'words'") == [(schema.WORDS,)]


def aged(shelf: Shelf) -> None:
    """Makes the catalog one of schema 0002."""
    shelf.collection.close()
    plainly(shelf.path, "DROP TABLE words")
    plainly(shelf.path, "UPDATE alembic_version SET version_num = '0002'")


def test_a_collection_from_before_gets_the_same_words_from_a_writer(shelf: Shelf) -> None:
    first, _ = shelf.put(WHEATFIELD, Artwork("folder:art", "b.png", title="Crows"))
    shelf.writer.set_human_labels("genre", [(first, "marine")])
    before = shelf.stored()
    aged(shelf)
    Store(shelf.path, write=True).close()
    assert shelf.stored() == before
    assert plainly(shelf.path, "SELECT version_num FROM alembic_version") == [("0003",)]


def test_a_reader_of_a_collection_from_before_is_told_to_index_and_nothing_changes(shelf: Shelf) -> None:
    shelf.put(WHEATFIELD)
    aged(shelf)
    before = shelf.path.read_bytes()
    with pytest.raises(CollectionWriteError, match=r"older schema 0002; run `simsearch index` to bring it to 0003"):
        Store(shelf.path)
    assert shelf.path.read_bytes() == before


def test_an_sqlite_without_the_module_is_named_and_nothing_is_changed(shelf: Shelf) -> None:
    """SQLite says the same of any module that it was built without."""
    store = Store(shelf.path, write=True)
    sql = "CREATE VIRTUAL TABLE other USING fts5_as_if_absent(title)"
    said = r"keeps the words of its works in FTS5, and the SQLite 3\..* built without it .*; use a Python whose SQLite"
    with pytest.raises(CollectionError, match=said), store.transaction() as db:
        db.exec_driver_sql(sql)
    store.close()
    assert plainly(shelf.path, "SELECT name FROM sqlite_master WHERE name = 'other'") == []
