"""ArtGAN's lists: the published ones by their own counts, names put right, and lists that are not as they should be."""

from __future__ import annotations

import csv
import gzip
from collections import Counter
from pathlib import Path

import pytest
from wikiart_set import FEAST, LISTS, STYLES, draw, rows, said_of, write

from simsearch.errors import SourceError
from simsearch.indexer.scan import scan
from simsearch.indexer.sources import labels, wikiart
from simsearch.indexer.sources.lists import Told, person, read_classes, repaired

ART = Path(__file__).parents[2] / "shared" / "art"
PUBLISHED = ART / "artgan_lists"
only_with_lists = pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the published lists are not at hand")


# -- the published lists -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def published() -> tuple[wikiart.WikiArt, Told]:
    found = wikiart.find(labels.lists_in(PUBLISHED), {}, Told())
    assert found is not None
    return found, Told()


@only_with_lists
@pytest.mark.parametrize(
    ("kind", "train", "val", "classes"), [("style", 57_025, 24_421, 27), ("genre", 45_503, 19_492, 10)]
)
def test_the_published_lists_are_read_line_by_line(published, kind: str, train: int, val: int, classes: int) -> None:
    task = published[0].task(kind, Told())
    assert Counter(part for _, _, part in task.rows) == {"train": train, "val": val}
    assert sorted(task.classes) == list(range(classes))
    assert {index for _, index, _ in task.rows} == set(task.classes)
    of_both = {path for path, _, part in task.rows if part == "train"} & {
        path for path, _, part in task.rows if part == "val"
    }
    assert of_both == set()


@only_with_lists
def test_the_one_image_with_two_published_genres_gets_none_and_stays_held_out(published) -> None:
    told = Told()
    task = published[0].task("genre", told)
    twice = "Post_Impressionism/maurice-de-vlaminck_the-village.jpg"
    assert [path for path, name in task.names().items() if not name] == [twice]
    assert Counter(task.parts().values()) == {"train": 45_503, "val": 19_491}
    assert [remark for remark in told.remarks if twice in remark] == [
        f"the genre lists give 1 image two classes, such as {twice}; what has two gets no genre"
    ]


@only_with_lists
def test_the_order_of_the_ten_genres_and_the_official_split_are_those_of_another_hands_table(published) -> None:
    table = ART / "wikiart" / "artworks.csv"
    with table.open(newline="", encoding="utf-8") as file:
        rows = {row["path"].rpartition(".")[0]: row for row in csv.DictReader(file)}
    genre, style = (published[0].task(kind, Told()) for kind in ("genre", "style"))
    genres = {path.rpartition(".")[0]: name for path, name in genre.names().items()}
    parts = {path.rpartition(".")[0]: part for path, part in style.parts().items()}
    assert {path: row["genre"] for path, row in rows.items() if row["genre"]} == {
        path: genres[path] for path in rows if path in genres
    }
    assert {path: row["split"] for path, row in rows.items()} == {path: parts[path] for path in rows}


@only_with_lists
def test_every_published_name_is_put_right_and_no_path_is(published, tmp_path: Path) -> None:
    garbled = {path for path, *_ in published[0].task("style", Told()).rows if not path.isascii()}
    names = {person(path.split("/")[1].split("_")[0].replace("-", " ")) for path in garbled}
    assert names == {
        "Grégoire Michonze", "Joaquín Sorolla", "Arnold Böcklin", "Ferdinand Georg Waldmüller", "Roger Bissière",
        "António De Carvalho Da Silva Porto", "Eugène Grasset", "Mestre Ataíde", "Georges Lacombe",
        "Félix Del Marle", "André Lhote",
    }  # fmt: skip
    some = sorted(garbled)[::60]
    for path in some:
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
    found = published[0].read(tmp_path, scan(tmp_path).files, Told())
    assert found.keys() == set(some)
    assert {said["artist"] for said in found.values()} <= names
    assert {said["style_split"] for said in found.values()} <= {"train", "val"}


# -- names -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("garbled", "right"),
    [("joaquã\xadn", "joaquín"), ("Ã‰douard", "Ã‰douard"), ("Ã\x89douard", "Édouard"), ("lacombeâ\xa0", "lacombe\xa0"),
     ("edgar", "edgar"), ("joão", "joão"), ("josé", "josé"), ("grã©goire josé", "grã©goire josé"),
     ("wÅ\x82adysÅ\x82aw", "władysław"), ("å\x91", "ő"), ("Ã", "Ã"), ("", "")],
)  # fmt: skip
def test_names_are_put_right_only_where_every_letter_fits(garbled: str, right: str) -> None:
    assert repaired(garbled) == right
    assert repaired(right) == right


def test_a_class_file_numbers_its_classes_or_lists_them(tmp_path: Path) -> None:
    for text in (
        "0 Pop_Art\n1 Ukiyo_e\n",
        "1\tUkiyo_e\r\n0  Pop_Art",
        "Pop_Art\n\nUkiyo_e\n",
        "\ufeff0 Pop_Art\n1 Ukiyo_e",
    ):
        (tmp_path / "classes.txt").write_text(text, encoding="utf-8", newline="")
        assert read_classes(tmp_path / "classes.txt") == {0: "Pop Art", 1: "Ukiyo e"}


# -- bad lists ---------------------------------------------------------------------------------------------------------

BAD = {
    "an index out of range": (
        {"style_val.csv": f"{FEAST},0\n{FEAST},3\n"},
        "{lists}/style_val.csv line 2: class index 3 is out of range; {lists}/style_class.txt has 3 classes, 0 to 2",
    ),
    "a genre out of range": (
        {"genre_val.csv": f"{FEAST},10\n"},
        "{lists}/genre_val.csv line 1: class index 10 is out of range; ArtGAN's list of genres has 10 classes, 0 to 9",
    ),
    "no index": (
        {"style_val.csv": f"{FEAST},Baroque\n"},
        "{lists}/style_val.csv line 1: 'Baroque' is no class index; a list has lines 'image path,class index'",
    ),
    "a class file that skips": (
        {"style_class.txt": "0 Baroque\n1 Art_Nouveau\n3 Pop_Art\n"},
        "{lists}/style_class.txt gives no class the number 2; its 3 classes are to be numbered from 0 to 2",
    ),
    "a class file that repeats": (
        {"style_class.txt": "0 Baroque\n1 Art_Nouveau\n1 Pop_Art\n"},
        "{lists}/style_class.txt line 3 gives the number 1 a second time; number each class once",
    ),
    "a class file that names twice": (
        {"style_class.txt": "0 Baroque\n1 Art_Nouveau\n2 Art Nouveau\n"},
        "{lists}/style_class.txt line 3 names 'Art Nouveau' a second time; name each class once",
    ),
    "a class file that stops numbering": (
        {"style_class.txt": "0 Baroque\nArt_Nouveau\n"},
        "{lists}/style_class.txt line 2: 'Art_Nouveau' has no number, but the lines before it have one; number it",
    ),
    "an empty class file": (
        {"style_class.txt": "\n"},
        "{lists}/style_class.txt is empty; a class file has a line for each class, such as '0 Baroque'",
    ),
    "an empty list": (
        {"style_val.csv": "\n"}, "{lists}/style_val.csv is an empty list; fetch it again, or leave it out"
    ),
    "a list in latin-1": (
        {"style_val.csv": b"Pop_Art/gr\xe9goire.jpg,1\n"},
        "{lists}/style_val.csv is not UTF-8 (byte 10: invalid continuation byte); save it as UTF-8, for instance with "
        "`iconv -f CP1252 -t UTF-8`",
    ),
    "no gzip file": (
        {"style_val.csv.gz": b"Pop_Art/x.jpg,1\n", "style_val.csv": None},
        "{lists}/style_val.csv.gz cannot be read: Not a gzipped file (b'Po')",
    ),
    "half a gzip file": (
        {"style_val.csv.gz": gzip.compress(f"{FEAST},0\n".encode() * 500)[:50], "style_val.csv": None},
        "{lists}/style_val.csv.gz is no whole gzip file (Compressed file ended before the end-of-stream marker was "
        "reached); fetch it again, or unpack it",
    ),
    "a class without name or file": (
        {"style_class.txt": None, "style_val.csv": f"{FEAST},1\n"},
        "there is no style_class.txt beside the style lists, and class 1 has images of both 'Art_Nouveau_Modern' and "
        "'Baroque', so nothing says what it is called; put the class file beside the lists, or name one: --classes "
        "FILE=style",
    ),
    "no list at all": (
        dict.fromkeys(LISTS),
        "{lists} holds no list that is known by its name (style_train.csv, labels.mat and the like); name a CSV itself",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_a_bad_list_is_one_sentence_and_leaves_the_collection_as_it_was(place, command, what: str) -> None:
    files, sentence = BAD[what]
    lists = write(place.folder / "lists", LISTS)
    for name, content in files.items():
        if content is None:
            (lists / name).unlink()
        else:
            (lists / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    draw(place.folder / "wa")
    before = rows(place)
    done = command("index", "wa", "--labels", lists, cwd=place.folder, status=1)
    assert done.out == ""
    assert done.err.splitlines()[-1] == "simsearch: " + sentence.format(lists=lists)
    assert rows(place) == before


def test_a_list_that_turns_bad_later_stops_the_run_and_takes_nothing_back(place) -> None:
    write(draw(place.folder / "wa"), LISTS)
    place.index("wa")
    write(place.folder / "wa", {"style_val.csv": f"{FEAST},99\n"})
    before = rows(place)
    with pytest.raises(SourceError, match=r"class index 99 is out of range.*\(--labels none leaves out all lists\)$"):
        place.index()
    assert rows(place) == before


def test_a_new_collection_is_not_left_behind_by_a_bad_list(place, command) -> None:
    lists = write(place.folder / "lists", LISTS | {"style_val.csv": f"{FEAST},99\n"})
    draw(place.folder / "wa")
    new = place.folder / "new"
    command("index", "wa", "--labels", lists, "--collection", new, cwd=place.folder, status=1)
    assert not (new / ".simsearch").exists()


def test_lists_that_name_no_image_of_the_folder_are_said_with_an_example_of_each(place, command) -> None:
    lists = write(place.folder / "lists", LISTS)
    done = command("index", "art", "--labels", lists, cwd=place.folder, status=3)
    assert done.lines[1:] == [
        "4 works described anew by tables and lists",
        "5 rows of tables and lists name images that are not there",
        f"none of the images in {place.folder}/art is listed in ArtGAN's lists: a listed path is '{FEAST}', the folder "
        "has 'ice.png'; index the folder that listed paths start from",
    ]


def test_rows_that_leave_the_folder_are_left_aside_and_said(place) -> None:
    lists = {"style_class.txt": STYLES, "style_train.csv": f"../{FEAST},0\n/etc/x.jpg,1\n,0\n{FEAST},0\n"}
    write(draw(place.folder / "wa"), lists)
    assert place.index("wa").notes == tuple(
        f"style_train.csv line {line}: path {path!r} leaves the folder of the images; the row was left aside"
        for line, path in enumerate([f"../{FEAST}", "/etc/x.jpg", ""], 1)
    )
    assert said_of(place)[FEAST][2] == {"style_split": "train"}
