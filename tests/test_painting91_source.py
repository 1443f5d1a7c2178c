"""Painting91's .mat files: a set of the published shape, written here, and what may be wrong with such files."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat
from wikiart_set import picture

from simsearch import open_collection
from simsearch.errors import SourceError
from simsearch.indexer.sources import labels, painting91
from simsearch.indexer.sources.lists import Told

PAINTERS = ("ALBRECHT_DURER", "ÉDOUARD_MANET", "JEAN-AUGUSTE-DOMINIQUE_INGRES", "PICASSO", "VINCENT_VAN_GOGH")
CALLED = ("Albrecht Durer", "Édouard Manet", "Jean-Auguste-Dominique Ingres", "Picasso", "Vincent Van Gogh")
GARBLED = "É".encode().decode("latin-1")


def cells(names: list[str]) -> np.ndarray:
    """A cell array, n x 1."""
    out = np.empty((len(names), 1), object)
    out[:, 0] = names
    return out


def one_hot(codes: list[int], count: int) -> np.ndarray:
    return np.eye(count, dtype=np.uint8)[codes]


def write_task(folder: Path, end: str, names: list[str], codes: list[int], count: int, test: list[bool]) -> Path:
    """The four files of a task, as MATLAB writes them."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {
        "image_names": cells(names), "labels": one_hot(codes, count),
        "trainset": np.array([[not t] for t in test], np.uint8), "testset": np.array([[t] for t in test], np.uint8),
    }  # fmt: skip
    for name, array in arrays.items():
        savemat(folder / f"{name}{end}.mat", {f"{name}{end}": array})
    return folder


def draw(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        code = "rgbymcwk"[number % 8] * 3 + "rgbymcwk"[number // 8]
        picture(code).save(folder / name, "JPEG" if name.lower().endswith("jpg") else None)


def said_of(place, source: str) -> dict[str, tuple[dict[str, str], dict[str, str]]]:
    with open_collection(place.folder) as collection:
        works = [work for work in collection.catalog.all_artworks() if work.source == f"folder:{source}"]
    return {w.source_id: ({v.kind: v.value for v in w.labels}, dict(w.extra)) for w in works}


# -- the published shape -----------------------------------------------------------------------------------------------


def published(folder: Path) -> Path:
    """91 artists and 13 styles; 4,266 images for the artists, of which 2,338 to learn from and 1,928 to measure by."""
    names = [f"{artist}_{n}.jpg" for n in range(48) for artist in (f"PAINTER_{chr(65 + k // 26)}{chr(65 + k % 26)}"
             for k in range(91))][:4266]  # fmt: skip
    codes = [n % 91 for n in range(4266)]
    test = [n >= 2338 for n in range(4266)]
    write_task(folder / "Labels", "", names, codes, 91, test)
    styled = [n for n in range(4266) if codes[n] < 50][:2338]
    styles = [codes[n] % 13 for n in styled]
    test = [n >= 1250 for n in range(2338)]
    write_task(folder / "Labels_Style", "_style", [names[n] for n in styled], styles, 13, test)
    return folder


def test_the_published_split_is_kept_for_each_task_whether_or_not_images_are_there(tmp_path: Path) -> None:
    found = painting91.find(labels.lists_in(published(tmp_path)), {})
    assert found is not None
    artist, style = (found.task(kind, Told()) for kind in ("artist", "style"))
    assert (len(artist.images), len(artist.classes), len(style.images), len(style.classes)) == (4266, 91, 2338, 13)
    assert Counter(artist.parts) == {"train": 2338, "val": 1928}
    assert Counter(style.parts) == {"train": 1250, "val": 1088}
    assert [artist.classes[code] for code in (0, 27, 90)] == ["Painter Aa", "Painter Bb", "Painter Dm"]
    assert [style.classes[code] for code in (0, 6, 12)] == ["Abstract Expressionism", "Pop Art", "Symbolism"]
    told = Told()
    said = found.read(tmp_path, ["Images/PAINTER_AA_0.jpg", "Images/PAINTER_DM_3.jpg", "Images/other.jpg"], told)
    assert said == {
        "Images/PAINTER_AA_0.jpg": {
            "artist": "Painter Aa", "artist_split": "train", "style": "Abstract Expressionism", "style_split": "train",
        },
        "Images/PAINTER_DM_3.jpg": {"artist": "Painter Dm", "artist_split": "train"},
    }  # fmt: skip
    assert (told.absent, told.notes) == (4264, [])


# -- a small set -------------------------------------------------------------------------------------------------------


@pytest.fixture
def small(place):
    """A folder `p91` with six images, five of them listed for the artists and three for the styles."""
    images = ["ALBRECHT_DURER_1.jpg", f"{GARBLED}DOUARD_MANET_2.jpg", "JEAN-AUGUSTE-DOMINIQUE_INGRES_3.jpg",
              "PICASSO_4.JPG", "VINCENT_VAN_GOGH_12.jpg"]  # fmt: skip
    draw(place.folder / "p91" / "Images", *images, "UNKNOWN_1.jpg")
    folder = place.folder / "p91"
    write_task(folder / "Labels", "", [*images, "PICASSO_99.jpg"], [0, 1, 2, 3, 4, 3], 5, [False, True] * 3)
    write_task(folder / "Labels_Style", "_style", images[:3], [9, 4, 5], 13, [True, False, True])
    return place


SAID = {
    "Images/ALBRECHT_DURER_1.jpg": (
        {"artist": CALLED[0], "style": "Renaissance"}, {"artist_split": "train", "style_split": "val"},
    ),
    f"Images/{GARBLED}DOUARD_MANET_2.jpg": (
        {"artist": CALLED[1], "style": "Impressionism"}, {"artist_split": "val", "style_split": "train"},
    ),
    "Images/JEAN-AUGUSTE-DOMINIQUE_INGRES_3.jpg": (
        {"artist": CALLED[2], "style": "Neo Classical"}, {"artist_split": "train", "style_split": "val"},
    ),
    "Images/PICASSO_4.JPG": ({"artist": CALLED[3]}, {"artist_split": "val"}),
    "Images/VINCENT_VAN_GOGH_12.jpg": ({"artist": CALLED[4]}, {"artist_split": "train"}),
    "Images/UNKNOWN_1.jpg": ({}, {}),
}  # fmt: skip


@pytest.mark.parametrize("named", [(), ("painting91",), ("auto",), ("{}/p91",), ("{}/elsewhere",)])
def test_the_files_are_found_by_their_names_and_reach_their_works(small, named: tuple[str, ...]) -> None:
    if named == ("{}/elsewhere",):
        for folder in ("Labels", "Labels_Style"):
            (small.folder / "elsewhere").mkdir(exist_ok=True)
            (small.folder / "p91" / folder).rename(small.folder / "elsewhere" / folder)
    report = small.index("p91", labels=[text.format(small.folder) for text in named])
    assert (report.added, report.absent, report.notes, report.failures) == (6, 1, (), 0)
    assert said_of(small, "p91") == SAID
    assert small.said == ["Painting91's files name no styles, so the thirteen of the paper are taken, in its order"]
    assert small.index().described == 0


@pytest.mark.parametrize(
    "on_disk", ["ÉDOUARD_MANET_2.jpg", "E\u0301DOUARD_MANET_2.jpg", "EDOUARD_MANET_2.jpg", "Édouard_Manet_2.png",
                "DOUARD_MANET_2.jpg", "Ã‰DOUARD_MANET_2.jpg"],
)  # fmt: skip
@pytest.mark.parametrize("listed", ["ÉDOUARD_MANET_2.jpg", f"{GARBLED}DOUARD_MANET_2.jpg"])
def test_names_that_unpacking_garbled_are_found(tmp_path: Path, on_disk: str, listed: str) -> None:
    write_task(tmp_path, "", [listed, "PICASSO_2.jpg"], [0, 1], 2, [True, False])
    found = painting91.find(labels.lists_in(tmp_path), {})
    assert found is not None
    said = found.read(tmp_path, [f"x/{on_disk}"], Told())
    assert said == {f"x/{on_disk}": {"artist": "Édouard Manet", "artist_split": "val"}}


def test_class_files_name_artists_and_styles_otherwise(small) -> None:
    artists, styles = small.folder / "a.txt", small.folder / "s.txt"
    artists.write_text("Dürer\nManet\nIngres\nPablo_Picasso\nVan_Gogh\n", encoding="utf-8")
    styles.write_text("\n".join(f"{n} style_{n}" for n in range(13)), encoding="utf-8")
    small.index("p91", labels=("painting91",), classes=(f"{artists}=artist", f"{styles}=style"))
    found = said_of(small, "p91")
    assert found["Images/ALBRECHT_DURER_1.jpg"][0] == {"artist": "Dürer", "style": "style 9"}
    assert found["Images/PICASSO_4.JPG"][0] == {"artist": "Pablo Picasso"}
    assert small.said == []


def test_an_image_in_both_sets_is_held_out_and_one_in_neither_has_no_part(tmp_path: Path) -> None:
    write_task(tmp_path, "", ["A_1.jpg", "B_1.jpg", "C_1.jpg"], [0, 1, 2], 3, [False, True, False])
    savemat(tmp_path / "trainset.mat", {"trainset": np.array([[True, True, False]])})  # a row, and logical
    found = painting91.find(labels.lists_in(tmp_path), {})
    assert found is not None
    told = Told()
    assert found.task("artist", told).parts == ("train", "val", "")
    assert told.remarks == ["1 image in both trainset and testset: what is in both is val"]


def test_names_in_a_character_matrix_and_sparse_numbers_of_another_type_are_read(tmp_path: Path) -> None:
    write_task(tmp_path, "", ["A_1.jpg", "BB_1.jpg"], [0, 1], 2, [False, True])
    savemat(tmp_path / "image_names.mat", {"image_names": np.array(["A_1.jpg ", "BB_1.jpg"])})
    savemat(tmp_path / "labels.mat", {"labels": np.eye(2)}, do_compression=True)
    found = painting91.find(labels.lists_in(tmp_path), {})
    assert found is not None
    assert found.task("artist", Told()).images == ("A_1.jpg", "BB_1.jpg")


def test_other_files_called_alike_are_left_alone_unless_they_are_named(place, command) -> None:
    (place.folder / "art" / "labels.mat").write_bytes(b"someone else's")
    assert place.index().notes == ()
    done = command("index", "art", "--labels", "painting91", cwd=place.folder, status=1)
    assert "there is no image_names.mat beside" in done.err


# -- bad files ---------------------------------------------------------------------------------------------------------


def without(name: str) -> Any:
    return lambda folder: (folder / name).unlink()


def holding(name: str, variable: str, value: Any) -> Any:
    return lambda folder: savemat(folder / name, {variable: value})


def bytes_in(name: str, data: bytes) -> Any:
    return lambda folder: (folder / name).write_bytes(data)


AGAIN = "fetch the archive again"
NO_MAT = f"{{}}/labels.mat is no MATLAB file that can be read: it does not begin like one; {AGAIN}"
BAD = {
    "no .mat": (bytes_in("labels.mat", b"path,label\n" * 40), NO_MAT),
    "an empty one": (bytes_in("labels.mat", b""), NO_MAT),
    "no file": (without("testset.mat"), "there is no testset.mat beside {}/image_names.mat; Painting91 has it, so"),
    "another variable": (
        holding("labels.mat", "y", np.eye(5)),
        "{}/labels.mat has no variable 'labels'; it has y. Painting91's files have one, called as the file",
    ),
    "class numbers": (
        holding("labels.mat", "labels", np.array([[1], [2], [3], [4], [5], [4]])[:4]),
        "{}/labels.mat: labels is 4 x 1, but 6 image names need as many rows with a single 1 each, in the column of "
        f"the class; {AGAIN}",
    ),
    "two classes in a row": (
        holding("labels.mat", "labels", np.ones((6, 5))),
        "{}/labels.mat: labels is 6 x 5, but 6 image names need as many rows with a single 1 each, in the column of "
        f"the class; {AGAIN}",
    ),
    "a short mask": (
        holding("trainset.mat", "trainset", np.ones((5, 1))),
        f"{{}}/trainset.mat: trainset is 5 x 1, but there are 6 image names; {AGAIN}",
    ),
    "artists without names": (
        holding("image_names.mat", "image_names", cells([f"{n}.jpg" for n in range(6)])),
        "the files' names do not tell the artists of {}/labels.mat apart (''); name them in a file: --classes "
        "FILE=artist",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_a_bad_file_is_one_sentence_and_leaves_the_collection_as_it_was(small, command, what: str) -> None:
    spoil, sentence = BAD[what]
    spoil(small.folder / "p91" / "Labels")
    before = [small.sql(f"SELECT * FROM {table}") for table in ("source", "artwork", "label", "run", "meta")]
    done = command("index", "p91", "--labels", "painting91", cwd=small.folder, status=1)
    assert done.out == ""
    assert done.err.splitlines()[-1].startswith("simsearch: " + sentence.format(small.folder / "p91" / "Labels"))
    assert "Traceback" not in done.err
    assert [small.sql(f"SELECT * FROM {table}") for table in ("source", "artwork", "label", "run", "meta")] == before


def test_a_file_of_matlab_7_3_is_told_from_a_damaged_one(tmp_path: Path) -> None:
    write_task(tmp_path, "", ["A_1.jpg"], [0], 1, [False])
    header = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM"
    (tmp_path / "labels.mat").write_bytes(header + bytes(400))
    found = painting91.find(labels.lists_in(tmp_path), {})
    assert found is not None
    with pytest.raises(SourceError, match=r"labels.mat is in the newer format of MATLAB 7.3; save it again with `save"):
        found.task("artist", Told())


@pytest.mark.parametrize("name", ["image_names", "labels", "trainset", "testset"])
def test_damage_anywhere_in_a_file_is_a_sentence_or_does_no_harm(tmp_path: Path, name: str) -> None:
    write_task(tmp_path, "", ["A_1.jpg", "B_1.jpg"], [0, 1], 2, [False, True])
    path, random = tmp_path / f"{name}.mat", np.random.default_rng(13)
    whole = path.read_bytes()
    found = painting91.find(labels.lists_in(tmp_path), {})
    assert found is not None
    refused = []
    for at in range(0, len(whole), 3):
        spoilt = bytearray(whole)
        spoilt[at] ^= int(random.integers(1, 256))
        path.write_bytes(bytes(spoilt))
        try:
            found.task("artist", Told())
        except SourceError as error:
            refused.append(str(error))
    assert refused
    assert [sentence for sentence in refused if str(tmp_path) not in sentence] == []


def test_styles_that_are_not_thirteen_need_a_class_file(small) -> None:
    write_task(small.folder / "p91" / "Labels_Style", "_style", ["PICASSO_4.jpg"], [1], 2, [False])
    with pytest.raises(SourceError, match=r"labels_style.mat has 2 classes, but Painting91 has 13 styles; name them"):
        small.index("p91")
    names = small.folder / "styles.txt"
    names.write_text("Cubism\nBlue_Period\n", encoding="utf-8")
    small.index("p91", labels=("painting91",), classes=(f"{names}=style",))
    assert said_of(small, "p91")["Images/PICASSO_4.JPG"][0] == {"artist": "Picasso", "style": "Blue Period"}
