"""artworks.csv, the table beside the images: what it says, when it is read again, and what is wrong with it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from simsearch import open_collection
from simsearch.errors import SourceError
from simsearch.records import Label

FILES = ("red", "rust", "sea", "ice")
TABLE = """path,title,artist,style,genre,date,begin_year,end_year,medium,wall no,note
red.png,Red,Ada,Plain,flag,c. 1650,1649,1651,oil,3,"a ""quoted"" word"
rust.png,Rust,Bo,Striped,flag,,,,,4,
sea.png,,,,,,-50,,,,
"""


def write(place, text: str, folder: str = "art", encoding: str = "utf-8") -> Path:
    path = place.folder / folder / "artworks.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding=encoding, newline="")
    return path


def works(place) -> dict:
    with open_collection(place.folder) as collection:
        return {work.source_id: work for work in collection.catalog.all_artworks()}


def titles(place) -> dict[str, str | None]:
    return {path: work.title for path, work in works(place).items()}


# -- what it says ------------------------------------------------------------------------------------------------------


def test_every_column_reaches_its_work(place) -> None:
    write(place, TABLE)
    report = place.index()
    assert (report.described, report.embedded, report.unchanged, report.absent, report.notes) == (4, 0, 4, 0, ())
    red, rust, sea, ice = (works(place)[f"{name}.png"] for name in FILES)
    assert (red.title, red.date, red.begin_year, red.end_year, red.medium) == ("Red", "c. 1650", 1649, 1651, "oil")
    assert red.labels == (Label("artist", "Ada"), Label("genre", "flag"), Label("style", "Plain"))
    assert red.extra == {"wall no": "3", "note": 'a "quoted" word'}
    assert (rust.title, rust.style, rust.date, rust.extra) == ("Rust", "Striped", None, {"wall no": "4"})
    assert (sea.title, sea.begin_year, sea.labels, sea.name) == (None, -50, (), "sea.png")
    assert (ice.title, ice.labels, ice.extra) == (None, (), {})


def test_a_new_work_is_described_in_the_run_that_adds_it(place) -> None:
    write(place, TABLE + "new.png,New,Cy,Plain,,,,,,9,\n")
    place.draw(art__new="mmmm")
    report = place.index()
    assert (report.added, report.embedded, report.described) == (1, 1, 4)
    assert (works(place)["new.png"].title, works(place)["new.png"].artist) == ("New", "Cy")
    again = place.index()
    assert (again.unchanged, again.described) == (5, 0)


def test_columns_that_the_catalog_does_not_have_can_be_asked_for(place, command) -> None:
    write(place, TABLE)
    place.index()

    def found(where: str) -> list[str]:
        hits = command("similar", "art/ice.png", "--where", where, "--json", cwd=place.folder).records
        return sorted(hit["source_id"] for hit in hits)

    assert found("\"wall no\" = '3'") == ["red.png"]
    assert found('"wall no" >= 3') == ["red.png", "rust.png"]
    assert found("note is not null and style = 'Plain'") == ["red.png"]
    assert found("begin_year < 0 or artist = 'Bo'") == ["rust.png", "sea.png"]
    refused = command("similar", "art/ice.png", "--where", "wal = 1", cwd=place.folder, status=2)
    assert "wal" in refused.err
    assert "wall no" in refused.err


def test_columns_of_the_catalogs_own_are_kept_under_another_name(place) -> None:
    write(place, "path,id,width,title\nred.png,inv. 7,30 cm,Red\n")
    place.index()
    red = works(place)["red.png"]
    assert red.extra == {"id in table": "inv. 7", "width in table": "30 cm"}
    assert (red.id, red.width, red.title) == (place.works()["art/red.png"], 16, "Red")


def test_a_byte_order_mark_backslashes_and_a_dot_in_front_do_no_harm(place) -> None:
    place.draw(art__deep__new="mmmm")
    write(place, " path ,title\r\n.\\deep\\new.png,New\r\n./red.png,Red\r\n", encoding="utf-8-sig")
    assert place.index().notes == ()
    assert titles(place) == {
        "red.png": "Red",
        "rust.png": None,
        "sea.png": None,
        "ice.png": None,
        "deep/new.png": "New",
    }


def test_a_table_nearer_to_the_image_wins_column_by_column(place) -> None:
    place.draw(art__deep__new="mmmm", art__deep__er__old="kkkk")
    write(place, "path,title,artist\ndeep/new.png,Far,Ada\ndeep/er/old.png,Far,Ada\nred.png,Red,Ada\n")
    write(place, "path,title,style\nnew.png,Near,Plain\ner/old.png,Middle,Plain\n", "art/deep")
    write(place, "path,title\nold.png,Nearest\nred.png,not that one\n", "art/deep/er")
    report = place.index()
    assert report.absent == 1
    new, old, red = (works(place)[path] for path in ("deep/new.png", "deep/er/old.png", "red.png"))
    assert [(w.title, w.artist, w.style) for w in (new, old, red)] == [
        ("Near", "Ada", "Plain"),
        ("Nearest", "Ada", "Plain"),
        ("Red", "Ada", None),
    ]


def test_a_run_over_a_subfolder_alone_heeds_the_table_above_it(place) -> None:
    write(place, "path,title\ndeep/new.png,New\n")
    assert place.index().absent == 1
    place.draw(art__deep__new="mmmm")
    assert place.counts("art/deep") == "1 added"
    assert titles(place)["deep/new.png"] == "New"


# -- when it is read again ---------------------------------------------------------------------------------------------


def test_a_changed_table_is_read_again_and_nothing_is_embedded(place, command) -> None:
    write(place, TABLE)
    place.index()
    place.sql(f"INSERT INTO label VALUES ({place.works()['art/red.png']}, 'style', 'human', 'Mine', NULL)")
    generations = place.sql("SELECT id FROM generation")
    write(place, "path,title,style,shelf\nred.png,Red II,Plain,A\n")
    done = command("index", cwd=place.folder)
    assert done.lines[0].startswith("0 added, 0 changed, 0 moved, 0 removed, 4 unchanged, 0 failed in ")
    assert done.lines[1] == "4 works described anew by tables and lists"
    red, rust = works(place)["red.png"], works(place)["rust.png"]
    assert (red.title, red.style, red.artist, red.extra) == ("Red II", "Mine", None, {"shelf": "A"})
    assert (rust.title, rust.labels, rust.extra) == (None, (), {})
    assert place.sql("SELECT id FROM generation") == generations
    report = json.loads(command("index", "--json", cwd=place.folder).out)
    assert (report["embedded"], report["described"], report["unchanged"]) == (0, 0, 4)


def test_a_table_that_is_gone_says_nothing_any_more(place) -> None:
    table = write(place, TABLE)
    place.index()
    table.unlink()
    assert place.index().described == 4
    assert set(titles(place).values()) == {None}
    assert place.sql("SELECT count(*) FROM label") == [(0,)]


def test_a_moved_work_takes_what_the_table_says_of_its_new_place(place) -> None:
    write(place, "path,title\nred.png,Red\nmoved.png,Moved\n")
    place.index()
    (place.folder / "art" / "red.png").rename(place.folder / "art" / "moved.png")
    assert place.counts() == "1 moved, 3 unchanged"
    assert titles(place)["moved.png"] == "Moved"


# -- what can be wrong with it -----------------------------------------------------------------------------------------

LEAVING = [
    "../out.png",
    "/etc/x.png",
    "C:\\x.png",
    "c:x.png",
    "..\\out.png",
    "a/../../out.png",
    "~/x.png",
    "\\\\host\\x",
]


def test_rows_that_leave_the_folder_are_left_aside_and_said(place, command) -> None:
    place.draw(out="mmmm")
    with (place.folder / "art" / "artworks.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["path", "title"], *([path, "Out"] for path in [*LEAVING, ""]), ["red.png", "Red"]])
    done = command("index", cwd=place.folder, status=3)
    said = [line for line in done.lines if "leaves the folder" in line]
    assert said == [
        f"artworks.csv line {line}: path {path!r} leaves the folder of the table; the row was left aside"
        for line, path in enumerate([*LEAVING, ""], start=2)
    ]
    assert titles(place) == {"red.png": "Red", "rust.png": None, "sea.png": None, "ice.png": None}
    command("index", cwd=place.folder)  # said once: the table is not read again


def test_rows_of_images_that_are_not_there_are_counted(place, command) -> None:
    write(place, "path,title\nred.png,Red\nlost.png,Lost\nRed.png,Case\n")
    assert "2 rows of tables and lists name images that are not there" in command("index", cwd=place.folder).lines


REFUSED = {
    "in cp1252": ("path,title\nred.png,Étoile\n".encode("cp1252"), "is not UTF-8 (byte 19: invalid continuation byte)"),
    "in utf-16": ("path,title\nred.png,Red\n".encode("utf-16"), "is not UTF-8 (byte 0: invalid start byte)"),
    "without paths": (b"file,title\nred.png,Red\n", "has no column 'path'; it has file, title. Name the images in it"),
    "with semicolons": (b"path;title\nred.png;Red\n", "has no column 'path'; it has path;title."),
    "empty": (b"", "has no column 'path'; it has no columns."),
    "with a huge cell": (b'path,title\nred.png,"' + b"x" * (1 << 21), "is no table of comma-separated values: field"),
}


@pytest.mark.parametrize("how", REFUSED)
def test_a_table_that_cannot_be_read_stops_the_run_before_anything_is_done(place, how: str) -> None:
    data, sentence = REFUSED[how]
    place.draw(art__new="mmmm")
    (place.folder / "art" / "artworks.csv").write_bytes(data)
    with pytest.raises(SourceError) as caught:
        place.index()
    assert str(caught.value).startswith(f"{place.folder}/art/artworks.csv {sentence}")
    assert "new.png" not in titles(place)


def test_a_table_in_a_wrong_encoding_is_one_sentence_that_says_how_to_mend_it(place, command) -> None:
    (place.folder / "art" / "artworks.csv").write_bytes(REFUSED["in cp1252"][0])
    for collection in (place.folder, place.folder / "new"):
        arguments = ("index", "art", "--encoder", place.network, "--collection", collection)
        done = command(*arguments, cwd=place.folder, status=1)
        assert done.err.splitlines()[-1] == (
            f"simsearch: {place.folder}/art/artworks.csv {REFUSED['in cp1252'][1]}; save it as UTF-8, for instance "
            "with `iconv -f CP1252 -t UTF-8`"
        )
    assert not (place.folder / "new" / ".simsearch").exists()


NO_YEARS = ["c. 1890", "19th century", "1890-1895", "123456", "MDCCC", "1890.5", "１８９０", "--5"]


def test_years_that_are_none_are_left_empty_and_said(place, command) -> None:
    rows = [f"{name}.png,{begin},{end}" for name, begin, end in zip(FILES, NO_YEARS[::2], NO_YEARS[1::2], strict=True)]
    place.draw(art__new="mmmm")
    write(place, "\n".join(["path,begin_year,end_year", *rows, "new.png,-44,1900.0"]))
    done = command("index", cwd=place.folder, status=3)
    said = [line for line in done.lines if "is not a year" in line]
    assert sorted(said) == sorted(
        f"{name}.png: {column} {year!r} is not a year; left empty"
        for column, years in (("begin_year", NO_YEARS[::2]), ("end_year", NO_YEARS[1::2]))
        for name, year in zip(FILES, years, strict=True)
    )
    years = {path: (work.begin_year, work.end_year) for path, work in works(place).items()}
    assert years == {f"{name}.png": (None, None) for name in FILES} | {"new.png": (-44, 1900)}


def test_titles_with_line_breaks_and_terminal_escapes_are_shown_harmless_and_kept_whole(place, command) -> None:
    title = "two\nlines\r\n\x1b[31mred\x07\u202e\u2028\x00end\x9b2J"
    with (place.folder / "art" / "artworks.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["path", "title", "artist", "style"], ["red.png", title, "A\x1b]0;x\x07", "S\n"]])
    place.index()
    assert works(place)["red.png"].title == title
    table = command("similar", "art/rust.png", "-k", 1, cwd=place.folder)
    assert len(table.lines) == 2
    assert "two lines �[31mred�� �end�2J" in table.lines[1]
    assert "A�]0;x�" in table.lines[1]
    assert all(letter.isprintable() for letter in table.out.replace("\n", ""))
    lines = command("similar", "art/rust.png", "-k", 1, "--json", cwd=place.folder).lines
    assert len(lines) == 1
    assert lines[0].isprintable()
    assert json.loads(lines[0])["title"] == title
