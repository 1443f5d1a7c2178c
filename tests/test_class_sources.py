"""Labels by the folder an image lies in, and by lists of paths with labels or class indices."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from simsearch import open_collection
from simsearch.indexer.scan import scan
from simsearch.indexer.sources import labels

KINDS = Path(__file__).parents[2] / "shared" / "art" / "kinds"


def said_of(place, source: str) -> dict[str, tuple[dict[str, str], dict[str, str]]]:
    """Path to (labels of the source, extra attributes) of the works that have either."""
    with open_collection(place.folder) as collection:
        works = [work for work in collection.catalog.all_artworks() if work.source == f"folder:{source}"]
    out = {w.source_id: ({v.kind: v.value for v in w.labels if v.origin == "source"}, dict(w.extra)) for w in works}
    return {path: said for path, said in out.items() if said != ({}, {})}


def write(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="")
    return str(path)


@pytest.fixture
def pics(place):
    """The place, with pictures in folders beside those at the top."""
    place.draw(pics__engraving__a="rrrr", pics__engraving__deep__b="rrry", pics__oil_painting__c="bbbb", pics__d="mmmm")
    return place


# -- a folder a class --------------------------------------------------------------------------------------------------


def test_the_top_folder_of_an_image_is_its_label(pics) -> None:
    report = pics.index("pics", labels=("folders=kind",))
    assert (report.added, report.absent, report.notes) == (4, 0, ())
    assert said_of(pics, "pics") == {
        "engraving/a.png": ({"kind": "engraving"}, {}),
        "engraving/deep/b.png": ({"kind": "engraving"}, {}),
        "oil_painting/c.png": ({"kind": "oil painting"}, {}),
    }
    assert pics.said == [f"1 image of {pics.folder}/pics not in a folder that names a kind"]
    pics.draw(pics__engraving__new="kkkk")
    assert pics.index().described == 0
    assert said_of(pics, "pics")["engraving/new.png"] == ({"kind": "engraving"}, {})
    (pics.folder / "pics" / "engraving" / "a.png").rename(pics.folder / "pics" / "oil_painting" / "a.png")
    assert pics.counts() == "1 moved, 8 unchanged"
    assert said_of(pics, "pics")["oil_painting/a.png"] == ({"kind": "oil painting"}, {})


def test_folders_called_as_parts_of_a_split_give_the_part(place) -> None:
    place.draw(set__Train__print__a="rrrr", set__Train__oil__b="rrry", set__test__oil__c="bbbb", set__test__d="mmmm")
    place.index("set", labels=("folders=style",))
    assert said_of(place, "set") == {
        "Train/print/a.png": ({"style": "print"}, {"style_split": "train"}),
        "Train/oil/b.png": ({"style": "oil"}, {"style_split": "train"}),
        "test/oil/c.png": ({"style": "oil"}, {"style_split": "val"}),
    }


def test_a_test_folder_beside_one_for_validation_stays_a_part_of_its_own(place) -> None:
    place.draw(set__train__oil__a="rrrr", set__valid__oil__b="rrry", set__test__oil__c="bbbb")
    place.index("set", labels=("folders=style",))
    assert [extra for _, (_, extra) in sorted(said_of(place, "set").items())] == [
        {"style_split": "test"}, {"style_split": "train"}, {"style_split": "val"},
    ]  # fmt: skip


def test_one_folder_called_otherwise_makes_all_of_them_classes(place) -> None:
    place.draw(set__train__a="rrrr", set__ship__b="rrry")
    place.index("set", labels=("folders=genre",))
    assert said_of(place, "set") == {"train/a.png": ({"genre": "train"}, {}), "ship/b.png": ({"genre": "ship"}, {})}


def test_a_folder_without_folders_is_said(place, command) -> None:
    done = command("index", "art", "--labels", "folders=kind", cwd=place.folder, status=3)
    assert f"no image of {place.folder}/art lies in a folder that could name its kind" in done.lines


@pytest.mark.skipif(not KINDS.is_dir(), reason="the five kinds are not at hand")
def test_the_five_kinds_are_as_many_as_their_own_table_says() -> None:
    import csv
    from collections import Counter

    seen = scan(KINDS)
    chosen = labels.choice(["folders=kind"])
    assert chosen is not None
    found = labels.find(chosen, KINDS, [], fresh=True).read(seen.files)
    with (KINDS / "artworks.csv").open(newline="", encoding="utf-8") as file:
        table = {row["path"]: row["kind"] for row in csv.DictReader(file)}
    assert {path: said["kind"] for path, said in found.items()} == table
    assert set(Counter(said["kind"] for said in found.values()).values()) == {190}


# -- lists -------------------------------------------------------------------------------------------------------------

NAMES = "0 Flat_Colour\n1 Two_Colours\n2 Sea\n"
FORMS = {
    "labels": "path,label\nred.png,Flat Colour\nrust.png,Two Colours\nsea.png,Sea\nlost.png,Sea\n",
    "another order": "label,note,path\nFlat Colour,x,red.png\nTwo Colours,,rust.png\nSea,,sea.png\nSea,,x.png",
    "its own column": "path,label,genre\nred.png,a,Flat Colour\nrust.png,b,Two Colours\nsea.png,c,Sea\nl.png,d,e\n",
    "no header": "red.png,Flat Colour\nrust.png,Two Colours\nsea.png,Sea\nlost.png,Sea\n",
    "indices": "image_path,class_index\nred.png,0\nrust.png,1\nsea.png,2\nlost.png,2\n",
    "indices as labels": "path,label\r\nred.png,0\r\nrust.png,1\r\nsea.png,2\r\nlost.png,0\r\n",
    "indices without a header": "red.png,0\nrust.png,1\nsea.png,2\nlost.png,2\n",
    "indices beside names": "path,label,class_index\nred.png,x,0\nrust.png,x,1\nsea.png,x,2\nlost.png,x,0\n",
    "other suffixes": "path,label\nred.jpg,Flat Colour\nrust.JPEG,Two Colours\nsea.webp,Sea\nlost.png,Sea\n",
    "a byte order mark, blanks and capitals": "\ufeff Path , Label \n red.png , Flat Colour\n rust.png,Two Colours\n\n"
                                              "sea.png,Sea\nlost.png,Sea",
    "backslashes": "path,label\n.\\red.png,Flat Colour\n./rust.png,Two Colours\nsea.png,Sea\nsub\\l.png,Sea\n",
    "empty cells": "path,label\nred.png,Flat Colour\nrust.png,Two Colours\nsea.png,Sea\nice.png,\nlost.png,Sea",
    "a line twice": "path,label\nred.png,Flat Colour\nred.png,Flat Colour\nrust.png,Two Colours\nsea.png,Sea\nx.png,S",
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_a_list_gives_each_image_its_label(place, form: str) -> None:
    file = write(place.folder / "list.csv", FORMS[form])
    classes = (write(place.folder / "classes.txt", NAMES),) if "indices" in form else ()
    report = place.index("art", labels=(f"{file}=genre",), classes=classes)
    assert (report.described, report.absent, report.notes) == (4, 1, ())
    assert said_of(place, "art") == {
        "red.png": ({"genre": "Flat Colour"}, {}),
        "rust.png": ({"genre": "Two Colours"}, {}),
        "sea.png": ({"genre": "Sea"}, {}),
    }
    assert place.index().described == 0


@pytest.mark.parametrize(
    ("where", "path"),
    [("art/list.csv", "red.png"), ("art/lists/list.csv", "red.png"), ("list.csv", "art/red.png"),
     ("list.csv", "red.png"), ("elsewhere/list.csv", "red.png"), ("elsewhere/list.csv", "{root}/red.png"),
     ("art/deep/list.csv", "x.png")],
)  # fmt: skip
def test_a_listed_path_starts_from_the_images_folder_or_from_the_lists_own(place, where: str, path: str) -> None:
    place.draw(art__deep__x="kkkk")
    file = write(place.folder / where, f"path,label\n{path.format(root=place.folder / 'art')},Yes\n")
    report = place.index("art", labels=(f"{file}=genre",))
    assert (report.absent, report.notes) == (0, ())
    assert [said for said, _ in said_of(place, "art").values()] == [{"genre": "Yes"}]


def test_a_split_column_gives_the_parts(place) -> None:
    text = "path,kind,split\nred.png,flag,training\nrust.png,flag,Test\nsea.png,flag,\nice.png,flag,fold 3\n"
    place.index("art", labels=(write(place.folder / "list.csv", text) + "=kind",))
    assert {path: extra for path, (_, extra) in said_of(place, "art").items()} == {
        "red.png": {"kind_split": "train"}, "rust.png": {"kind_split": "val"}, "sea.png": {},
        "ice.png": {"kind_split": "fold 3"},
    }  # fmt: skip


def test_a_packed_list_and_a_packed_class_file_are_read(place) -> None:
    for name, text in (("list.csv.gz", FORMS["indices"]), ("classes.txt.gz", NAMES)):
        (place.folder / name).write_bytes(gzip.compress(text.encode()))
    settings = {"labels": (f"{place.folder}/list.csv.gz=genre",), "classes": (f"{place.folder}/classes.txt.gz",)}
    place.index("art", **settings)
    assert said_of(place, "art")["red.png"] == ({"genre": "Flat Colour"}, {})


def test_several_lists_with_a_class_file_each_and_the_last_named_is_believed(pics, command) -> None:
    indices = "image_path,class_index\nengraving/a.png,{}\nd.png,1\n"
    write(pics.folder / "g.csv", indices.format(1))
    write(pics.folder / "s.csv", indices.format(0))
    write(pics.folder / "g.txt", "0 portrait\n1 landscape\n")
    write(pics.folder / "s.txt", "Baroque\nRococo\n")
    said = (
        "--labels folders=genre --labels g.csv=genre --labels s.csv=style --classes g.txt=genre --classes s.txt=style"
    )
    command("index", "pics", *said.split(), cwd=pics.folder)
    found = said_of(pics, "pics")
    assert found["engraving/a.png"][0] == {"genre": "landscape", "style": "Baroque"}
    assert found["engraving/deep/b.png"][0] == {"genre": "engraving"}
    assert found["d.png"][0] == {"genre": "landscape", "style": "Rococo"}
    command("index", cwd=pics.folder)
    write(pics.folder / "s.txt", "Baroque\nLate Rococo\n")
    assert command("index", "--json", cwd=pics.folder).records[0]["described"] == 4
    assert said_of(pics, "pics")["d.png"][0] == {"genre": "landscape", "style": "Late Rococo"}


def test_a_table_beside_the_images_goes_before_folders_and_lists(pics) -> None:
    write(pics.folder / "pics" / "artworks.csv", "path,kind,title\nengraving/a.png,etching,A\n")
    pics.index("pics", labels=("folders=kind",))
    assert said_of(pics, "pics")["engraving/a.png"][0] == {"kind": "etching"}
    assert said_of(pics, "pics")["engraving/deep/b.png"][0] == {"kind": "engraving"}


def test_labels_are_for_every_folder_of_the_run_and_can_be_named_without_one(pics) -> None:
    pics.index("pics", "art", labels=("folders=kind",))
    assert pics.sql("SELECT count(DISTINCT labels) FROM source") == [(1,)]
    pics.index(labels=("none",))
    assert (said_of(pics, "pics"), pics.sql("SELECT count(*) FROM label")) == ({}, [(0,)])


# -- what cannot be read -----------------------------------------------------------------------------------------------

BAD = {
    "no path column": (
        "file,label\nred.png,Sea\n",
        "has no column 'path' or 'image_path'; it has file, label. Name its columns in the first line",
    ),
    "no label column": (
        "path,title\nred.png,Sea\n",
        "has no column 'label', 'class_index' or 'genre'; it has path, title. Name its columns in the first line",
    ),
    "semicolons": (
        "path;label\nred.png;Sea\n",
        "has no column 'path' or 'image_path'; it has path;label. Name its columns in the first line",
    ),
    "a short row": (
        "path,label\nred.png,Sea\nrust.png\n", "line 3: 'rust.png' has no genre; add it, or drop the line"
    ),
    "an empty list": ("", "is an empty list; fetch it again, or leave it out"),
    "two labels for an image": (
        "path,label\nred.png,Sea\nred.png,Flat Colour\n",
        "line 3: 'red.png' has another genre or part than in line 2; list each image once",
    ),
    "indices without their names": (
        "path,class_index\nred.png,1\n",
        "has class indices; name the file that says what they mean: --classes FILE",
    ),
    "cp1252": (
        "path,label\nred.png,Épreuve\n".encode("cp1252"),
        "is not UTF-8 (byte 19: invalid continuation byte); save it as UTF-8, for instance with `iconv -f CP1252 -t "
        "UTF-8`",
    ),
    "a huge cell": (
        "path,label\nred.png," + "x" * (1 << 21),
        "is no table of comma-separated values: field larger than field limit (1048576)",
    ),
}  # fmt: skip
LINES = "is no class index; a list has lines 'image path,class index'"
BAD_INDICES = {
    "beyond the last": (
        "path,label\nred.png,0\nrust.png,3\n",
        "line 3: class index 3 is out of range; {}/classes.txt has 3 classes, 0 to 2",
    ),
    "negative": ("path,label\nred.png,-1\n", f"line 2: '-1' {LINES}"),
    "a name": ("path,label\nred.png,Sea\n", f"line 2: 'Sea' {LINES}"),
    "endless": (f"path,label\nred.png,{'9' * 5000}\n", f"line 2: '{'9' * 5000}' {LINES}"),
}


@pytest.mark.parametrize("what", [*BAD, *BAD_INDICES])
def test_a_bad_list_is_one_sentence_and_leaves_the_collection_as_it_was(place, command, what: str) -> None:
    content, sentence = (BAD | BAD_INDICES)[what]
    data = content if isinstance(content, bytes) else content.encode()
    (place.folder / "list.csv").write_bytes(data)
    write(place.folder / "classes.txt", NAMES)
    place.draw(art__new="kkkk")
    before = [place.sql(f"SELECT * FROM {table}") for table in ("source", "artwork", "label", "run", "meta")]
    named = ["--classes", "classes.txt"] if what in BAD_INDICES else []
    done = command("index", "art", "--labels", "list.csv=genre", *named, cwd=place.folder, status=1)
    assert done.out == ""
    assert done.err.splitlines()[-1] == f"simsearch: {place.folder}/list.csv {sentence.format(place.folder)}"
    assert [place.sql(f"SELECT * FROM {table}") for table in ("source", "artwork", "label", "run", "meta")] == before


def test_a_list_that_names_no_image_is_said_with_an_example_of_each_side(place, command) -> None:
    write(place.folder / "list.csv", "path,label\nart/pictures/red.png,Sea\n")
    done = command("index", "art", "--labels", "list.csv=genre", cwd=place.folder, status=3)
    assert done.lines[-1] == (
        f"none of the images in {place.folder}/art is listed in {place.folder}/list.csv: a listed path is "
        "'art/pictures/red.png', the folder has 'ice.png'; index the folder that listed paths start from"
    )


def test_rows_that_leave_the_folder_are_left_aside_and_said(place) -> None:
    file = write(place.folder / "list.csv", "path,label\n../red.png,Sea\n/etc/x.png,Sea\nc:x.png,Sea\nred.png,Sea\n")
    assert place.index("art", labels=(f"{file}=genre",)).notes == tuple(
        f"list.csv line {line}: path {path!r} leaves the folder of the images; the row was left aside"
        for line, path in enumerate(("../red.png", "/etc/x.png", "c:x.png"), 2)
    )
    assert list(said_of(place, "art")) == ["red.png"]


NO_FILE = "there is no such file or folder"
NO_WORD = f"{NO_FILE}, nor is it one of auto, none, folders, wikiart, painting91"
KIND = "is no kind of label"
KINDS_ARE = "artist, genre, kind, style"
NAME_BOTH = "name both: --labels LIST.csv={} --classes {{}}/list.csv"
REFUSED = {
    "wikiat": f"--labels wikiat: {NO_WORD}; did you mean 'wikiart'",
    "lists/x.csv=genre": f"--labels lists/x.csv: {NO_WORD}",
    "list.csv=gnre": f"--labels list.csv=gnre: 'gnre' {KIND}, did you mean 'genre'; there are {KINDS_ARE}",
    "folders=period": f"--labels folders=period: 'period' {KIND}; there are {KINDS_ARE}",
    "folders": "--labels folders lacks what the folders mean: folders=KIND with one of artist, genre, kind, style",
    "list.csv": "--labels {}/list.csv lacks what the labels are: LIST.csv=KIND with one of artist, genre, kind, style",
    "wikiart=style": "--labels wikiart has kinds of its own; leave out =style",
    "models=style": "--labels {}/models has kinds of its own; leave out =style",
    "models": "{}/models holds no list that is known by its name (style_train.csv, labels.mat and the like); name a "
              "CSV itself",
    "painting91": "{}/art holds no list that is known by its name (labels.mat); name a CSV itself",
    "none --labels folders=kind": "--labels none goes with no other --labels; leave out one of them",
    "list.csv=genre --classes no.txt": f"--classes no.txt: {NO_FILE}",
    "list.csv=genre --classes models": "--classes models is a folder; name the class file in it",
    "list.csv=genre --classes list.csv=style": "--classes {}/list.csv goes with no list of style that --labels names; "
                                               + NAME_BOTH.format("style"),
    "folders=kind --classes list.csv": "--classes {}/list.csv goes with no list that --labels names; "
                                       + NAME_BOTH.format("KIND"),
}  # fmt: skip


@pytest.mark.parametrize("named", REFUSED)
def test_what_is_no_list_and_no_word_is_refused_with_a_way_out(place, command, named: str) -> None:
    write(place.folder / "list.csv", "path,label\nred.png,Sea\n")
    before = place.sql("SELECT * FROM source") + place.sql("SELECT * FROM run")
    done = command("index", "art", "--labels", *named.split(), cwd=place.folder, status=1)
    assert done.err.splitlines()[-1] == "simsearch: " + REFUSED[named].replace("{}", str(place.folder))
    assert place.sql("SELECT * FROM source") + place.sql("SELECT * FROM run") == before


def test_a_path_with_an_equals_sign_is_a_path(place) -> None:
    file = write(place.folder / "a=b.csv", "path,label\nred.png,Sea\n")
    place.index("art", labels=(f"{file}=genre",))
    assert said_of(place, "art")["red.png"][0] == {"genre": "Sea"}


def test_a_choice_comes_back_from_what_is_remembered_of_it(tmp_path: Path) -> None:
    base, other = tmp_path / "base", tmp_path / "other.csv"
    inner = Path(write(base / "lists" / "l.csv", "x"))
    write(other, "x")
    chosen = labels.choice([f"{inner}=genre", f"{other}=style", "folders=kind"], [f"{inner}=genre"])
    assert chosen is not None
    text = chosen.to_json(base)
    assert labels.Choice.from_json(text, base) == chosen
    assert str(base) not in text
    assert labels.Choice.from_json(text, Path("/moved")).labels[0].path == Path("/moved/lists/l.csv")
    assert labels.Choice.from_json(None, base) == labels.Choice() != labels.choice(["none"])
