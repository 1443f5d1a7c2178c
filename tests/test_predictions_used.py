"""What is made of stored predictions by the rest of the program, which tells them from labels that somebody gave."""

from __future__ import annotations

import csv
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from labelled_works import clusters, fill, indexed, painted, write_table

from simsearch import Artwork, Filters, Hit, Label, open_collection, similar
from simsearch.errors import QueryError, WhereError
from simsearch.show.hits import show_hits

STYLES = ["Baroque", "Cubism", "", "", "", "", "Baroque", ""]
GUESSES = {3: ("Baroque", 0.9), 4: ("Rococo", 0.75), 5: ("Baroque", 0.6), 6: ("Cubism", 0.9001)}
HUMAN = {7: "Rococo"}
EVERY = set(range(1, 9))

# -- filters -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def found(tmp_path):
    """Numbers of the works that an expression finds, of eight: 1, 2 and 7 have a style by a source, 7 by a person too,
    3 to 7 a prediction, 8 has nothing."""
    collection, _ = fill(tmp_path, clusters(["a"] * 8), {"style": STYLES}, extra={"shelf": ["x"] * 8})
    with collection:
        with collection.writer() as writer:
            guesses = [(id, value, share) for id, (value, share) in (GUESSES | {7: ("Moss", 0.99)}).items()]
            writer.store_predictions("style", guesses)
            writer.store_predictions("room", [(1, "north", 0.5)])
            writer.set_human_labels("style", list(HUMAN.items()))
        yield lambda where: set(collection.catalog.ids_where(where).tolist())


@pytest.mark.parametrize(
    ("where", "works"),
    [
        ("style_origin = 'predicted'", {3, 4, 5, 6}),
        ("style_origin = 'source'", {1, 2}),
        ("style_origin = 'human'", {7}),
        ("style_origin is null", {8}),
        ("style_origin != 'predicted'", {1, 2, 7, 8}),
        ("style_origin in ('human', 'predicted') and style is not null", {3, 4, 5, 6, 7}),
        ("style = 'Baroque'", {1, 3, 5}),
        ("style = 'Baroque' and style_origin = 'predicted'", {3, 5}),
        ("style = 'Rococo'", {4, 7}),
        ("style = 'Moss'", set()),
        ("STYLE_CONFIDENCE >= 0.9", {3, 6}),
        ("style_confidence > 0.9", {6}),
        ("style_confidence between 0.6 and 0.75", {4, 5}),
        ("style_confidence = 0.75", {4}),
        ("style_confidence is not null", {3, 4, 5, 6}),
        ("not style_confidence < 0.8", {1, 2, 3, 6, 7, 8}),
        ("style_confidence like '0.9%'", {3, 6}),
        ("room_origin = 'predicted' and room_confidence = 0.5", {1}),
        ("genre_origin is null and artist_confidence is null", EVERY),
    ],
)
def test_a_filter_finds_predictions_who_said_it_and_how_surely(found, where, works):
    assert found(where) == works


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("style_confidence = 'high'", "'high' at character 20 is no number, and style_confidence holds numbers"),
        ("style_origins = 'human'", "did you mean style_origin"),
        ("shelf_origin = 'human'", "shelf_origin at character 1 is not a column"),
        ("style_origin = predicted", "text needs quotes: style_origin = 'predicted'"),
        ("style_origin_origin = 'x'", "style_origin_origin at character 1 is not a column"),
    ],
)
def test_a_wrong_filter_on_them_is_explained(found, where, said):
    with pytest.raises(WhereError) as caught:
        found(where)
    assert said in str(caught.value)


@pytest.mark.parametrize("name", ["style_origin", "STYLE_Origin", "style_confidence"])
def test_an_attribute_of_a_table_keeps_its_name(tmp_path, name):
    collection, _ = fill(tmp_path, clusters(["a"] * 30), {}, extra={name: [f"no. {i}" for i in range(30)]})
    with collection:
        with collection.writer() as writer:
            writer.store_predictions("style", [(1, "predicted", 0.5)])
        for spelled in {name, name.upper(), name.lower()}:
            assert collection.catalog.ids_where(f"{spelled} = 'no. 3'").tolist() == [4]
            assert collection.catalog.ids_where(f"{spelled} = 'predicted'").tolist() == []
        assert len(collection.catalog.ids_where("genre_origin is null")) == 30


def test_a_kind_keeps_its_name_and_strange_kinds_have_columns_too(tmp_path):
    kinds = {"style": ["Baroque", "", ""], "style_origin": ["Rome", "", "Delft"], 'it\'s "odd"': ["x", "y", ""]}
    collection, _ = fill(tmp_path, np.eye(3, 16), kinds)
    with collection:
        with collection.writer() as writer:
            writer.store_predictions('it\'s "odd"', [(3, "z", 0.7)])
        find = collection.catalog.ids_where
        assert find("style_origin = 'Delft'").tolist() == [3]
        assert find("style_origin_origin = 'source'").tolist() == [1, 3]
        assert find('"it\'s ""odd""_origin" = \'predicted\'').tolist() == [3]
        assert find('"it\'s ""odd""_confidence" > 0.65').tolist() == [3]


def test_works_of_the_same_artist_are_left_out_but_not_those_that_only_resemble_the_artists(tmp_path):
    rows = clusters(["a"] * 6)
    collection, _ = fill(tmp_path, rows, {"artist": ["Ada", "Ada", "Bo", "", "", ""]})
    with collection:
        with collection.writer() as writer:
            writer.store_predictions("artist", [(4, "Ada", 0.9), (5, "Bo", 0.9)])
        hits = similar(collection, 1, filters=Filters(exclude_same=["artist"]))
        assert sorted(hit.artwork.id for hit in hits) == [3, 4, 5, 6]
        with pytest.raises(QueryError, match="knows no artist of 4"):
            similar(collection, 4, filters=Filters(exclude_same=["artist"]))


# -- how they are shown ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hung(tmp_path_factory):
    """Drawn pictures, of which every sixth has no style and no artist but predictions; to be read only."""
    folder = tmp_path_factory.mktemp("hung")
    rows = painted(folder, works=60)
    for row in rows[::6]:
        row |= {"style": "", "artist": ""}
    write_table(folder / "art" / "artworks.csv", rows)
    indexed(folder)
    with open_collection(folder, write=True) as collection, collection.writer() as writer:
        guessed = collection.catalog.ids_where("style is null").tolist()
        writer.store_predictions("style", [(id, "Dawn <i>", 0.75) for id in guessed])
        writer.store_predictions("artist", [(guessed[0], "Ada Hill", 0.6)])
    return folder, guessed


def test_the_table_of_hits_marks_them_and_explains_the_mark(hung, command):
    folder, guessed = hung
    lines = command("similar", guessed[0], "--include-self", "-k", 60, cwd=folder).lines
    shown = {int(line.split()[-1]): line for line in lines[1:-1]}
    assert lines[-1].startswith("(?) what the work resembles, by a trained head: no person and no source has said it")
    assert {id for id, line in shown.items() if "Dawn <i> (?)" in line} == set(guessed)
    assert "Ada Hill (?)" in shown[guessed[0]]
    assert sum(line.count("(?)") for line in shown.values()) == len(guessed) + 1
    without = command("similar", guessed[0], "-k", 5, "--where", "style_origin = 'source'", cwd=folder)
    assert "(?)" not in without.out


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("columns", [30, 60, 70, 80, 200])
def test_on_a_narrow_terminal_the_mark_is_not_cut_off(monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    guesses = (Label("style", "Abstract Expressionism", "predicted", 0.9), Label("artist", "Vincent van Gogh"))
    out = Terminal()
    show_hits([Hit(1, 0.5, 50.0, Artwork("folder:a", "a long name of a file.png", 1, labels=guesses))], out)
    line = out.getvalue().splitlines()[1]
    assert line.endswith(" (?)   1")
    assert line.count("(?)") == 1
    assert ("Abstract Expressionism (?)" in line) is (columns == 200)
    assert len(line) <= max(columns, 60)


def test_json_keeps_them_apart_from_labels(hung, command):
    folder, guessed = hung
    (said,) = command("similar", guessed[0], "--include-self", "-k", 1, "--json", cwd=folder).records
    assert {"style", "artist"}.isdisjoint(said)
    assert said["resembles"] == {
        "artist": {"value": "Ada Hill", "probability": 0.6}, "style": {"value": "Dawn <i>", "probability": 0.75},
    }  # fmt: skip
    (other,) = command(
        "similar", guessed[0], "-k", 1, "--where", "style_origin = 'source'", "--json", cwd=folder
    ).records
    assert "resembles" not in other
    assert other["style"]


def test_csv_keeps_them_apart_from_labels(hung, command, tmp_path):
    folder, guessed = hung
    hits = command("similar", guessed[0], "--include-self", "-k", 60, "--csv", cwd=folder).out
    command("export", "--csv", tmp_path / "works.csv", "--parquet", tmp_path / "works.parquet", cwd=folder)
    with (tmp_path / "works.csv").open(newline="", encoding="utf-8") as file:
        exported = list(csv.DictReader(file))
    for rows in (list(csv.DictReader(io.StringIO(hits, newline=""))), exported):
        assert len(rows) == 60
        for row in rows:
            is_guess = int(row["id"]) in guessed
            assert bool(row["style"]) is not is_guess
            assert ("Dawn <i>" in row["resembles"]) is is_guess
    first = next(row for row in exported if int(row["id"]) == guessed[0])
    assert json.loads(first["resembles"])["artist"] == {"value": "Ada Hill", "probability": 0.6}
    table = {row["id"]: row for row in pq.read_table(tmp_path / "works.parquet").to_pylist()}
    assert (table[guessed[0]]["style"], table[guessed[0]]["resembles"]) == (None, first["resembles"])


def test_an_exported_table_does_not_make_labels_of_them_when_it_is_indexed(hung, command, tmp_path):
    folder, guessed = hung
    shutil.copytree(folder / "art", tmp_path / "art")
    command("export", "--csv", tmp_path / "works.csv", cwd=folder)
    with (tmp_path / "works.csv").open(newline="", encoding="utf-8") as file:
        rows = [row | {"path": Path(row["path"]).name} for row in csv.DictReader(file)]
    write_table(tmp_path / "art" / "artworks.csv", rows)
    with open_collection(indexed(tmp_path)) as collection:
        assert len(collection.catalog.ids_where("style is null")) == len(guessed)
        assert len(collection.catalog.ids_where("style like 'Dawn <%'")) == 0


def test_the_contact_sheet_says_resembles_and_nobody_is_named_as_the_artist(hung, command, tmp_path):
    folder, guessed = hung
    sheet = tmp_path / "sheet.html"
    command("similar", guessed[0], "--include-self", "-k", 60, "--html", sheet, cwd=folder)
    page = sheet.read_text(encoding="utf-8")
    assert page.count('<p class="guess"><bdi>resembles Dawn &lt;i&gt;') == len(guessed)
    assert page.count("resembles Dawn &lt;i&gt; · Ada Hill</bdi>") == 1
    assert page.count("Dawn &lt;i&gt;") == len(guessed)
    assert "What a work “resembles” is a prediction by a trained head" in page
    with open_collection(folder) as collection:
        by_ada = sum(work.artist == "Ada Hill" for work in collection.catalog.all_artworks())
    assert page.count('<p class="artist"><bdi>Ada Hill') == page.count(", by Ada Hill") == by_ada
    command("similar", guessed[0], "-k", 3, "--where", "style_origin = 'source'", "--html", sheet, cwd=folder)
    assert "resembles" not in sheet.read_text(encoding="utf-8")


def test_info_counts_them_beside_the_labels(hung, command):
    folder, guessed = hung
    (said,) = command("info", "--json", cwd=folder).records
    assert said["labels"] == {"style": 50, "genre": 60, "artist": 50}
    assert said["predicted"] == {"artist": 1, "style": len(guessed)}
    assert (
        "labelled    style 50 (10 more predicted), genre 60, artist 50 (1 more predicted)"
        in command("info", cwd=folder).lines
    )


def test_an_artwork_resembles_the_likeliest_prediction_where_nothing_was_said_of_it():
    guesses = (Label("style", "B", "predicted", 0.4), Label("style", "A", "predicted", 0.4),
               Label("style", "C", "predicted", 0.3), Label("genre", "g", "predicted"))  # fmt: skip
    work = Artwork("folder:a", "1.png", 1, labels=guesses)
    assert (work.style, work.genre, work.label("style")) == (None, None, None)
    assert work.resembles("style") == Label("style", "A", "predicted", 0.4)
    assert work.resembles("genre") == Label("genre", "g", "predicted")
    assert work.resembles("artist") is None
    assert work.to_dict()["resembles"] == {
        "style": {"value": "A", "probability": 0.4}, "genre": {"value": "g", "probability": None}
    }  # fmt: skip
    for origin in ("source", "human"):
        told = replace(work, labels=(*guesses, Label("style", "Z", origin)))
        assert (told.style, told.resembles("style")) == ("Z", None)
        assert told.to_dict()["style"] == "Z"
        assert list(told.to_dict()["resembles"]) == ["genre"]
