"""`simsearch index`: what a run adds, changes, moves and removes, by value, from Python and from the command."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from simsearch import index_folders, open_collection, similar
from simsearch.errors import SourceError
from simsearch.records import Label

# -- files that come, change, move and go ------------------------------------------------------------------------------


def test_an_unchanged_folder_is_neither_read_nor_published_again(place) -> None:
    generations = place.sql("SELECT id, folder FROM generation")
    report = place.index()
    assert (report.unchanged, report.embedded, report.added, report.described) == (4, 0, 0, 0)
    assert place.sql("SELECT id, folder FROM generation") == generations


def test_a_touched_file_is_unchanged_and_its_new_date_is_remembered(place) -> None:
    os.utime(place.folder / "art" / "red.png", ns=(1, 1))
    ids = place.works()
    report = place.index()
    assert (report.unchanged, report.changed, report.embedded) == (4, 0, 0)
    assert place.works() == ids
    assert place.sql("SELECT file_mtime_ns FROM artwork WHERE source_id = 'red.png'") == [(1,)]


def test_a_changed_file_keeps_its_id_and_gets_a_new_embedding(place) -> None:
    ids = place.works()
    place.draw(art__red="bbbc")
    assert place.counts() == "1 changed, 3 unchanged"
    assert place.works() == ids
    assert place.nearest("art/red.png", 1) == [("sea", pytest.approx(5 / 6, abs=1e-3))]
    assert place.sql("SELECT count(*) FROM embedding") == [(4,)]  # that of the old picture is gone


def test_a_new_and_a_deleted_file_are_added_and_removed(place) -> None:
    place.draw(art__new="mmmm")
    (place.folder / "art" / "sea.png").unlink()
    assert place.counts() == "1 added, 1 removed, 3 unchanged"
    assert place.works().keys() == {f"art/{name}.png" for name in ("red", "rust", "ice", "new")}
    assert place.sql("SELECT count(*) FROM embedding") == [(4,)]
    assert [name for name, _ in place.nearest("art/red.png")] == ["rust", "new", "ice"]


def test_a_moved_file_keeps_its_id_and_its_labels(place) -> None:
    ids = place.works()
    red = ids["art/red.png"]
    place.sql(f"INSERT INTO label VALUES ({red}, 'style', 'human', 'Plain', NULL)")
    (place.folder / "art" / "deep").mkdir()
    (place.folder / "art" / "red.png").rename(place.folder / "art" / "deep" / "crimson.png")
    report = place.index()
    assert (report.moved, report.unchanged, report.added, report.removed, report.embedded) == (1, 3, 0, 0, 0)
    assert place.works() == {f"art/{n}.png": ids[f"art/{n}.png"] for n in ("rust", "sea", "ice")} | {
        "art/deep/crimson.png": red
    }
    with open_collection(place.folder) as collection:
        assert collection.catalog.artwork(red).labels == (Label("style", "Plain", "human"),)


def test_a_file_that_moves_from_one_folder_to_another_keeps_its_id(place) -> None:
    place.draw(more__violet="mmmm")
    place.index("more")
    ids = place.works()
    (place.folder / "art" / "red.png").rename(place.folder / "more" / "red.png")
    assert place.counts() == "1 moved, 4 unchanged"
    assert place.works()["more/red.png"] == ids["art/red.png"]


def test_files_that_change_places_change(place) -> None:
    ids, art = place.works(), place.folder / "art"
    (art / "red.png").rename(art / "aside")
    (art / "sea.png").rename(art / "red.png")
    (art / "aside").rename(art / "sea.png")
    assert place.counts() == "2 changed, 2 unchanged"
    assert place.works() == ids
    assert place.nearest("art/sea.png", 1)[0][0] == "rust"


# -- the same bytes twice ----------------------------------------------------------------------------------------------


def test_two_works_with_the_same_bytes_stay_two_works_and_share_one_embedding(place) -> None:
    place.draw(art__copy="rrrr")
    report = place.index()
    assert (report.added, report.embedded, report.unchanged) == (1, 0, 4)
    shared = "SELECT digest FROM artwork WHERE source_id IN ('red.png', 'copy.png')"
    assert place.sql(f"SELECT count(*), count(DISTINCT digest) FROM ({shared})") == [(2, 1)]
    assert place.sql(f"SELECT count(*) FROM embedding WHERE digest IN ({shared})") == [(1,)]
    assert place.nearest("art/copy.png", 1) == [("red", 1.0)]


def test_both_copies_in_one_run_are_embedded_once(place) -> None:
    place.draw(art__one="mmmm", art__two="mmmm")
    report = place.index()
    assert (report.added, report.embedded) == (2, 1)


@pytest.mark.parametrize(
    ("what", "counted", "embeddings"),
    [("moved", "1 moved, 4 unchanged", 4), ("deleted", "1 removed, 4 unchanged", 4),
     ("changed", "1 changed, 4 unchanged", 5)],
)  # fmt: skip
def test_what_happens_to_a_copy_happens_to_that_copy_alone(place, what: str, counted: str, embeddings: int) -> None:
    place.draw(art__copy="rrrr")
    place.index()
    ids, copy = place.works(), place.folder / "art" / "copy.png"
    if what == "moved":
        copy.rename(copy.with_name("elsewhere.png"))
        wanted = ids | {"art/elsewhere.png": ids["art/copy.png"]}
    elif what == "deleted":
        copy.unlink()
        wanted = dict(ids)
    else:
        place.draw(art__copy="mmmm")
        wanted = ids
    assert place.counts() == counted
    assert place.works() == {path: id for path, id in wanted.items() if (place.folder / path).exists()}
    assert place.sql("SELECT count(*) FROM embedding") == [(embeddings,)]
    assert place.nearest("art/rust.png", 1)[0][0] == "red"


# -- folders -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["renamed away", "emptied, as a mount point is"])
def test_a_folder_that_is_out_of_reach_keeps_its_works_until_they_are_pruned(
    place, command: Callable, how: str
) -> None:
    art = place.folder / "art"
    art.rename(place.folder / "art away")
    why = f"{art}: No such file or directory"
    if how != "renamed away":
        art.mkdir()
        why = f"{art} holds no image any more"
    done = command("index", cwd=place.folder, status=3)
    assert f"not reached: {why}; its 4 works stay (--prune removes them)" in done.lines
    assert len(place.works()) == 4
    assert command("similar", art / "red.png", "-k", "1", cwd=place.folder).out.count("rust.png") == 1
    command("index", "art", cwd=place.folder, status=3)
    pruned = command("index", "--prune", cwd=place.folder)
    assert "0 added, 0 changed, 0 moved, 4 removed, 0 unchanged, 0 failed" in pruned.out
    assert (place.works(), place.sql("SELECT count(*) FROM embedding")) == ({}, [(0,)])
    command("index", cwd=place.folder, status=1)  # it knows no folder any more
    assert "4 added" in command("index", "art away", cwd=place.folder).out


def test_a_renamed_folder_moves_with_its_works_where_the_old_name_is_pruned(place) -> None:
    ids = place.works()
    (place.folder / "art").rename(place.folder / "paintings")
    assert place.counts("art", "paintings", prune=True) == "4 moved"
    assert place.works() == {path.replace("art/", "paintings/"): id for path, id in ids.items()}


def test_several_folders_share_one_collection(place) -> None:
    place.draw(more__violet="mmmm", more__dusk="mmkk", third__red="rrrr")
    assert place.counts("more", "third") == "3 added"
    assert place.counts() == "7 unchanged"
    assert place.counts("more", "more", "art") == "6 unchanged"
    assert place.sql("SELECT name FROM source ORDER BY id") == [("folder:art",), ("folder:more",), ("folder:third",)]
    assert {name for name, score in place.nearest("art/red.png") if score == 1.0} == {"red"}


def test_a_subfolder_of_a_known_folder_belongs_to_it(place) -> None:
    place.draw(art__sub__violet="mmmm", art__new="kkkk")
    assert place.counts("art/sub") == "1 added"
    assert place.counts("art") == "1 added, 5 unchanged"
    (place.folder / "link").symlink_to("art/sub")
    assert place.counts("link") == "1 unchanged"
    (place.folder / "art" / "sub" / "violet.png").rename(place.folder / "art" / "sub" / "v.png")
    (place.folder / "art" / "red.png").unlink()
    assert place.counts("art/sub") == "1 moved"  # what is missing elsewhere is not this run's affair
    assert place.sql("SELECT name, (SELECT count(*) FROM artwork) FROM source") == [("folder:art", 6)]


def test_a_folder_above_a_known_one_does_not_take_its_works_again(place) -> None:
    ids = place.works()
    place.draw(top="mmmm", beside__violet="mmmm")
    assert place.counts(".") == "2 added"
    assert place.counts() == "6 unchanged"
    assert {path: id for path, id in place.works().items() if path.startswith("art/")} == ids


def test_a_collection_moves_with_the_folders_beside_it(place) -> None:
    place.folder = place.folder.rename(place.folder.with_name("elsewhere"))
    place.network = place.folder / "models" / "tiny"
    assert place.counts() == "4 unchanged"
    assert place.nearest("art/red.png", 1)[0][0] == "rust"


def test_a_new_collection_that_knows_no_folder_says_what_to_do(tmp_path: Path) -> None:
    with (
        open_collection(tmp_path, write=True) as collection,
        pytest.raises(SourceError, match="knows no folder yet; name one: simsearch index FOLDER"),
    ):
        index_folders(collection)


# -- which collection --------------------------------------------------------------------------------------------------


def test_the_nearest_collection_upward_is_used(place, command: Callable) -> None:
    deep = place.folder / "art" / "a" / "b"
    deep.mkdir(parents=True)
    assert "4 unchanged" in command("index", cwd=deep).out
    assert json.loads(command("info", "--json", cwd=deep).out)["collection"] == str(place.folder / ".simsearch")


def test_without_one_a_collection_is_made_here_and_said_so(place, command: Callable) -> None:
    elsewhere = place.folder.with_name("elsewhere")
    elsewhere.mkdir()
    done = command("index", place.folder / "art", "--encoder", place.network, cwd=elsewhere)
    assert done.err.splitlines()[0] == f"new collection {elsewhere / '.simsearch'}"
    assert [path.name for path in elsewhere.iterdir()] == [".simsearch"]


def test_the_option_wins_over_the_variable_and_that_over_the_place(place, command: Callable) -> None:
    def made(name: str, *arguments: object, **variables: str) -> bool:
        command("index", "art", "--encoder", place.network, *arguments, cwd=place.folder, env=variables)
        return (place.folder / name / ".simsearch" / "catalog.db").exists()

    assert made("x", SIMSEARCH_COLLECTION="x")
    assert made("y", "--collection", "y", SIMSEARCH_COLLECTION="x")
    assert made("z", "--collection", place.folder / "z" / ".simsearch")
    found = command("info", "--json", cwd=place.folder, env={"SIMSEARCH_COLLECTION": "x"})
    assert json.loads(found.out)["collection"] == str(place.folder / "x" / ".simsearch")
    missing = command("info", "--collection", "q", cwd=place.folder, status=1)
    assert missing.err == (
        f"simsearch: there is no collection at {place.folder}/q/.simsearch; make it with `simsearch index FOLDER`\n"
    )


# -- encoders and indexes ----------------------------------------------------------------------------------------------


def test_a_second_encoder_embeds_all_anew_and_the_first_is_not_lost(place, tiny_network: Callable[..., Path]) -> None:
    second = str(tiny_network(place.folder / "models" / "second", "second", flipped=True))
    report = place.index(encoder=second)
    assert (report.unchanged, report.embedded) == (4, 4)
    again = place.index(encoder=None)  # the one named last is the default, and both stay current
    assert [(each.encoder, each.embedded) for each in (again, *again.followed_by)] == [("second", 0), ("tiny", 0)]
    with open_collection(place.folder) as collection:
        assert [entry.info.name for entry in collection.encoders()] == ["second", "tiny"]
        assert [collection.catalog.embedded(entry.number) for entry in collection.encoders()] == [4, 4]
    place.draw(art__new="mmmm")
    both = place.index(encoder=None)
    assert [(each.encoder, each.added, each.unchanged, each.embedded) for each in (both, *both.followed_by)] == [
        ("second", 1, 4, 1), ("tiny", 0, 5, 1),
    ]  # fmt: skip
    with open_collection(place.folder) as collection:
        rows = [collection.catalog.embeddings(entry.number, 48)[0] for entry in collection.encoders()]
    assert [len(each) for each in rows] == [5, 5]
    np.testing.assert_array_equal(rows[0], -rows[1])


def test_an_encoder_that_changed_under_its_name_is_refused_with_a_way_out(
    place, tiny_network: Callable[..., Path], command: Callable
) -> None:
    tiny_network(place.network, revision="2", flipped=True)
    done = command("index", cwd=place.folder, status=1)
    assert "the embeddings were made with tiny@1 (48 numbers, digest " in done.err
    assert "now holds tiny@2 (48 numbers, digest " in done.err
    assert f"run `simsearch index --encoder {place.network}`" in done.err
    assert place.index().embedded == 4


def test_rebuild_publishes_a_new_index_and_reads_no_image(place) -> None:
    before = place.sql("SELECT max(id) FROM generation")[0][0]
    report = place.index(rebuild=True)
    assert (report.unchanged, report.embedded) == (4, 0)
    assert place.sql("SELECT max(id), count(*) FROM generation") == [(before + 1, 2)]
    place.index(rebuild=True)
    kept = sorted(path.name for path in (place.folder / ".simsearch" / "index" / "tiny-1").iterdir())
    assert kept == ["2", "3"]  # of old indexes the last is kept, for readers that have it open


def test_ivf_is_built_on_demand_measured_and_answers_like_exact(place, flag: Callable) -> None:
    letters = "rgbymcwk"
    codes = [a + b + c + "r" for a in letters for b in letters for c in letters][:300]
    place.draw(**{f"art__many__{code}": code for code in codes})
    assert place.index(index="ivf").added == 300
    scores, info = {}, {}
    for kind in ("ivf", "exact"):
        place.index(index=kind)
        with open_collection(place.folder) as collection:
            generation = collection.catalog.generation(collection.encoders()[0].number)
            assert generation is not None
            info[kind] = (generation.kind, generation.works, generation.recall_at_10 or 1.0)
            scores[kind] = [[h.score for h in similar(collection, id, k=5)] for id in range(1, 60, 7)]
    assert info["ivf"][:2] == ("ivf", 304)
    assert info["ivf"][2] >= 0.98
    assert info["exact"] == ("exact", 304, 1.0)
    assert np.mean(np.array(scores["ivf"]) == np.array(scores["exact"])) >= 0.95


def test_ivf_on_too_few_works_is_exact_and_is_not_built_again(place) -> None:
    folders = []
    for _ in range(2):
        place.index(index="ivf")
        with open_collection(place.folder) as collection:
            generation = collection.catalog.generation(collection.encoders()[0].number)
            assert generation is not None
            assert generation.kind == "exact"
            folders.append(generation.folder)
    assert folders[0] == folders[1]
