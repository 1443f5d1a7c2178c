"""The main job with the default encoder: index a gallery, find what is like a work, name what it resembles."""

import csv
import json
import shutil

import pytest

import simsearch


@pytest.fixture(scope="module")
def works(gallery):
    """The rows of the gallery's own table, by path below it."""
    with (gallery / "artworks.csv").open(newline="", encoding="utf-8") as file:
        return {row["path"]: row for row in csv.DictReader(file)}


def test_three_commands_index_a_gallery_find_neighbours_and_name_a_style(gallery, works, command, tmp_path):
    shutil.copytree(gallery, tmp_path / "gallery")
    done = command("index", "gallery", cwd=tmp_path)
    assert done.out.startswith("36 added, 0 changed, 0 moved, 0 removed, 0 unchanged, 0 failed in ")
    assert "using the encoder `color`: it compares palette, layout, texture, not subjects" in done.err
    assert f"new collection {tmp_path}/.simsearch" in done.err

    path = next(iter(works))
    asked = ("similar", f"gallery/{path}", "-k", 5, "--html", "sheet.html", "--json")
    records = command(*asked, cwd=tmp_path).records
    assert len(records) == 5
    assert all(record["title"] == works[record["source_id"]]["title"] for record in records)
    assert path not in [record["source_id"] for record in records]
    assert (tmp_path / "sheet.html").read_text(encoding="utf-8").count('src="data:image/jpeg;base64,') == 6

    said = command("classify", f"gallery/{path}", "--json", cwd=tmp_path).records
    assert [record["kind"] for record in said] == ["style", "genre", "artist"]

    again = command("index", "--json", cwd=tmp_path)
    report = json.loads(again.out)
    assert (report["unchanged"], report["added"], report["embedded"]) == (36, 0, 0)
    assert "color" not in again.err  # said once, when the collection was new


def test_neighbours_in_the_gallery_share_its_manners_far_above_chance(indexed_gallery, works):
    with simsearch.open_collection(indexed_gallery) as collection:
        shared = [
            hit.artwork.style == work.style
            for work in collection.catalog.all_artworks()
            for hit in simsearch.similar(collection, work.id, k=2)
        ]
    assert len(shared) == 2 * len(works) == 72
    assert sum(shared) / len(shared) > 0.4  # by chance 2 of 35


def test_the_vote_in_the_gallery_names_its_manners_far_above_chance(indexed_gallery, works):
    with simsearch.open_collection(indexed_gallery) as collection:
        right = [
            simsearch.classify(collection, work.id, labels=["style"], voters=3)[0].value == work.style
            for work in collection.catalog.all_artworks()
        ]
    assert len(right) == len(works)
    assert sum(right) / len(right) > 0.4  # by chance 1 of 12


def test_a_picture_saved_anew_and_smaller_finds_the_work_it_was_made_from(indexed_gallery, gallery, works, tmp_path):
    from PIL import Image

    with simsearch.open_collection(indexed_gallery) as collection:
        for path in list(works)[::7]:
            with Image.open(gallery / path) as image:
                small = image.resize((image.width * 3 // 4, image.height * 3 // 4))
                small.save(tmp_path / "again.jpg", quality=85)
            (hit,) = simsearch.similar(collection, tmp_path / "again.jpg", k=1)
            assert hit.artwork.source_id == path
            assert hit.percentile > 99
