"""ArtGAN's WikiArt: what its lists, folders and file names make of a work, at first and in later runs."""

from __future__ import annotations

import subprocess

import pytest
from wikiart_set import ABSENT, IMAGES, LISTS, SAID, STYLES, draw, said_of, write


@pytest.mark.parametrize("where", ["in the folder", "in subfolders", "below with the styles", "elsewhere", "packed"])
def test_lists_are_found_by_their_names_and_every_word_of_them_reaches_its_work(place, where: str) -> None:
    named: tuple[str, ...] = ()
    if where == "below with the styles":
        draw(place.folder / "wa" / "wikiart")
        write(place.folder / "wa" / "wikiart_csv", LISTS)
    else:
        draw(place.folder / "wa")
    if where == "in the folder":
        write(place.folder / "wa", LISTS)
    elif where == "in subfolders":
        for task in ("style", "genre", "artist"):
            mine = {name: text for name, text in LISTS.items() if name.startswith(task)}
            write(place.folder / "wa" / "lists" / task.title(), mine)
    elif where in ("elsewhere", "packed"):
        named = (str(write(place.folder / "lists", LISTS, where == "packed")),)
    report = place.index("wa", labels=named)
    assert (report.added, report.absent, report.notes, report.unreachable) == (5, ABSENT, (), ())
    below = "wikiart/" if where == "below with the styles" else ""
    assert said_of(place) == {below + path: said for path, said in SAID.items()}
    assert place.said == ["there is no genre_class.txt beside the genre lists, so ArtGAN's ten genres are taken"]
    again = place.index()
    assert (again.unchanged, again.described, again.notes, again.unreachable) == (9, 0, (), ())
    assert len(place.said) == 1


def test_the_splits_can_be_asked_for(place, command) -> None:
    write(draw(place.folder / "wa"), LISTS)
    place.index("wa")
    hits = command(
        "similar", "art/ice.png", "--where", "style_split = 'val' or genre_split = 'val'", "--json", cwd=place.folder
    ).records
    assert sorted(hit["title"] for hit in hits) == ["tin no 2", "zodiac"]


def test_the_layout_alone_says_style_artist_and_title(place) -> None:
    draw(place.folder / "wa", IMAGES | {"at-the-top_of-it.png": "wwww", "Baroque/without.png": "wwwk"})
    assert place.index("wa").added == 7
    assert set(map(str, said_of(place).values())) == {"(None, {}, {})"}
    assert place.index("wa", labels=("wikiart",)).described == 7
    found = said_of(place)
    assert found["Art_Nouveau_Modern/alfons-mucha_zodiac.webp"] == (
        "zodiac", {"artist": "Alfons Mucha", "style": "Art Nouveau Modern"}, {},
    )  # fmt: skip
    assert found["Baroque/jan-steen_a-quarrel.png"][1]["artist"] == "Jan Steen"
    assert found["Baroque/without.png"] == (None, {"style": "Baroque"}, {})
    assert found["at-the-top_of-it.png"] == (None, {}, {})


def test_what_lies_outside_the_layout_is_not_taken_for_a_style(place) -> None:
    draw(
        place.folder / "wa",
        {f"set/wikiart/{path}": code for path, code in IMAGES.items()} | {"set/me_at-sea.png": "wwww"},
    )
    write(place.folder / "wa" / "lists", LISTS)
    place.index("wa")
    assert said_of(place)["set/me_at-sea.png"] == (None, {}, {})


def test_an_image_in_both_parts_is_held_out_and_one_with_two_classes_gets_none(place) -> None:
    lists = {
        "style_class.txt": STYLES,
        "style_train.csv": "Baroque/jan-steen_the-feast-1660.jpg,0\nBaroque/jan-steen_a-quarrel.jpg,0\n",
        "style_val.csv": "Baroque/jan-steen_the-feast-1660.jpg,0\nBaroque/jan-steen_a-quarrel.jpg,2\n",
    }
    write(draw(place.folder / "wa"), lists)
    place.index("wa")
    found = said_of(place)
    assert found["Baroque/jan-steen_the-feast-1660.jpg"][1:] == (
        {"artist": "Jan Steen", "style": "Baroque"}, {"style_split": "val"},
    )  # fmt: skip
    assert found["Baroque/jan-steen_a-quarrel.png"][1:] == ({"artist": "Jan Steen"}, {"style_split": "val"})
    assert place.said == [
        "the style lists have 2 images in both train and val, such as Baroque/jan-steen_a-quarrel.jpg; what is in both "
        "counts as val",
        "the style lists give 1 image two classes, such as Baroque/jan-steen_a-quarrel.jpg; what has two gets no style",
    ]


def test_without_class_files_styles_are_called_as_folders_and_artists_as_in_file_names(place) -> None:
    lists = {name: text for name, text in LISTS.items() if not name.endswith(".txt")}
    write(draw(place.folder / "wa"), lists)
    place.index("wa")
    found = said_of(place)
    assert found["Art_Nouveau_Modern/alfons-mucha_zodiac.webp"][1]["style"] == "Art Nouveau Modern"
    assert found["Art_Nouveau_Modern/alfons-mucha_zodiac.webp"][2] == {"style_split": "train", "genre_split": "val"}
    assert found["Baroque/jan-steen_the-feast-1660.jpg"][1]["artist"] == "Jan Steen"


def test_a_named_class_file_takes_the_place_of_the_missing_one(place) -> None:
    draw(place.folder / "wa")
    folder = write(place.folder / "lists", LISTS)
    names = write(place.folder, {"genres.txt": "\n".join(f"my_genre_{n}" for n in range(10))}) / "genres.txt"
    place.index("wa", labels=(str(folder),), classes=(f"{names}=genre",))
    assert said_of(place)["Pop_Art/grã©goire-lã³pez_tin-no-2.jpg"][1]["genre"] == "my genre 9"
    assert place.said == []


def test_a_table_beside_the_images_goes_before_the_lists_column_by_column(place) -> None:
    write(draw(place.folder / "wa"), LISTS)
    table = "path,title,style,genre_split\nBaroque/jan-steen_the-feast-1660.jpg,The Feast,Dutch,val\nno.jpg,No,,\n"
    write(place.folder / "wa", {"artworks.csv": table})
    assert place.index("wa").absent == ABSENT + 1
    assert said_of(place)["Baroque/jan-steen_the-feast-1660.jpg"] == (
        "The Feast", {"artist": "Jan Havicksz Steen", "genre": "genre painting", "style": "Dutch"},
        {"style_split": "train", "genre_split": "val", "artist_split": "train"},
    )  # fmt: skip


# -- runs after the first ----------------------------------------------------------------------------------------------


def test_what_was_named_is_remembered_read_again_when_it_changes_and_dropped_when_told_so(place) -> None:
    draw(place.folder / "wa")
    lists = write(place.folder / "lists", LISTS)
    place.index("wa", labels=(str(lists),))
    draw(place.folder / "wa", {"Baroque/jan-steen_gone.jpg": "yyyy"})
    report = place.index()
    assert (report.added, report.described) == (1, 0)
    assert said_of(place)["Baroque/jan-steen_gone.jpg"][2] == {"style_split": "train", "artist_split": "train"}
    write(lists, {"style_class.txt": STYLES.replace("Baroque", "Barock")})
    assert place.index().described == 6
    assert said_of(place)["Baroque/jan-steen_gone.jpg"][1]["style"] == "Barock"
    assert place.index().described == 0
    assert place.index("wa", labels=("none",)).described == 6
    assert set(map(str, said_of(place).values())) == {"(None, {}, {})"}
    assert place.index("wa").described == 0
    assert place.index("wa", labels=("auto",)).described == 0


def test_a_persons_labels_and_predictions_stay_when_lists_are_read_again(place) -> None:
    write(draw(place.folder / "wa"), LISTS)
    place.index("wa")
    id = place.works()["wa/Baroque/jan-steen_a-quarrel.png"]
    place.sql(
        f"INSERT INTO label VALUES ({id}, 'style', 'human', 'Mine', NULL), ({id}, 'genre', 'predicted', 'x', 0.5)"
    )
    place.index("wa", labels=("none",))
    assert place.sql(f"SELECT kind, origin, value FROM label WHERE artwork = {id} ORDER BY kind") == [
        ("genre", "predicted", "x"), ("style", "human", "Mine"),
    ]  # fmt: skip


def test_lists_that_cannot_be_reached_take_nothing_back_and_describe_new_works_when_they_are_back(
    place, command
) -> None:
    draw(place.folder / "wa")
    lists = write(place.folder / "lists", LISTS)
    place.index("wa", labels=(str(lists),))
    lists.rename(place.folder / "unmounted")
    draw(place.folder / "wa", {"Baroque/jan-steen_gone.jpg": "yyyy"})
    done = command("index", cwd=place.folder, status=3)
    assert (
        f"not reached: the labels in {lists} cannot be reached; what they said of {place.folder}/wa stays" in done.out
    )
    found = said_of(place)
    assert {path: found[path] for path in SAID} == SAID
    assert found["Baroque/jan-steen_gone.jpg"] == (None, {}, {})
    (place.folder / "unmounted").rename(lists)
    assert place.index().described == 6
    assert said_of(place)["Baroque/jan-steen_gone.jpg"][1]["artist"] == "Jan Havicksz Steen"
    assert place.index().described == 0


def test_folder_lists_and_collection_can_move_together(place) -> None:
    draw(place.folder / "wa")
    place.index("wa", labels=(str(write(place.folder / "lists", LISTS)),))
    place.folder = place.folder.rename(place.folder.with_name("moved"))
    place.network = place.folder / "models" / "tiny"
    report = place.index()
    assert (report.described, report.unreachable, report.unchanged) == (0, (), 9)
    write(place.folder / "lists", {"style_class.txt": STYLES.replace("Pop_Art", "Pop")})
    assert place.index().described == 5
    assert said_of(place)["Pop_Art/grã©goire-lã³pez_tin-no-2.jpg"][1]["style"] == "Pop"


def test_a_run_over_a_subfolder_heeds_the_lists_of_the_whole(place, command) -> None:
    write(draw(place.folder / "wa"), LISTS)
    place.index("wa")
    draw(place.folder / "wa", {"Baroque/jan-steen_gone.jpg": "yyyy"})
    report = place.index("wa/Baroque")
    assert (report.added, report.absent, report.notes) == (1, 0, ())
    assert said_of(place)["Baroque/jan-steen_gone.jpg"][1] == {"artist": "Jan Havicksz Steen", "style": "Baroque"}
    refused = command("index", "wa/Baroque", "--labels", "none", cwd=place.folder, status=1)
    assert refused.err.splitlines()[-1] == (
        f"simsearch: --labels is for a whole folder, and Baroque lies in {place.folder}/wa; index that"
    )


def test_works_in_a_folder_that_cannot_be_listed_keep_what_the_lists_say(place, unprivileged) -> None:
    write(draw(place.folder / "wa"), LISTS)
    place.index("wa")
    write(place.folder / "wa", {"style_class.txt": STYLES.replace("Baroque", "Barock")})
    (place.folder / "wa" / "Baroque").chmod(0)
    try:
        subprocess.run([*unprivileged, "-m", "simsearch", "index"], cwd=place.folder, check=False, capture_output=True)
    finally:
        (place.folder / "wa" / "Baroque").chmod(0o755)
    assert said_of(place)["Baroque/jan-steen_a-quarrel.png"][1]["style"] == "Barock"
    assert said_of(place)["Baroque/jan-steen_the-feast-1660.jpg"][2]["genre_split"] == "train"
