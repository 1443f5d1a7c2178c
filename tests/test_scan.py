"""What a walk of a folder sees: images by their names, each real folder once, and what cannot be read or named."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from simsearch import Options, index_folders, open_collection
from simsearch.images import SUFFIXES
from simsearch.indexer.scan import scan


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode("utf-8", "surrogateescape"))


def seen(folder: Path, below: str = "", leave_out: frozenset[Path] = frozenset()) -> list[str]:
    return sorted(scan(folder, below, leave_out).files)


# -- what is an image --------------------------------------------------------------------------------------------------


def test_every_folder_below_is_walked(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "x/b.png", "x/y/c.png", "x/y/z/d.png", "e/e.png")
    assert seen(tmp_path) == ["a.png", "e/e.png", "x/b.png", "x/y/c.png", "x/y/z/d.png"]


def test_every_format_is_known_by_its_suffix_in_any_case(tmp_path: Path) -> None:
    names = (
        [f"a{suffix}" for suffix in SUFFIXES] + [f"b{suffix.upper()}" for suffix in SUFFIXES] + ["c.JpEg", "d.e.png"]
    )
    touch(tmp_path, *names)
    assert seen(tmp_path) == sorted(names)
    assert {"a.jpg", "a.jpeg", "a.png", "a.webp", "a.tif", "a.tiff", "a.bmp", "a.gif", "a.avif", "a.heic"} <= set(names)


def test_other_files_are_counted_and_left_alone(tmp_path: Path) -> None:
    touch(tmp_path, "notes.txt", "png", "x/a.png.bak", "x/jpg.", "movie.mp4", "b.png")
    found = scan(tmp_path)
    assert (sorted(found.files), found.skipped, found.tables) == (["b.png"], 5, [])


def test_hidden_files_and_folders_and_the_collection_are_skipped(tmp_path: Path) -> None:
    touch(tmp_path, ".hidden.png", ".git/a.png", ".simsearch/thumbnails/1.jpg", "x/.cache/y/b.png", "x/._c.png", ".png")
    touch(tmp_path, "x/d.png")
    found = scan(tmp_path)
    assert (sorted(found.files), found.skipped) == (["x/d.png"], 0)


def test_a_folder_by_an_images_name_is_a_folder(tmp_path: Path) -> None:
    touch(tmp_path, "set.png/a.png", "artworks.csv/b.png")
    found = scan(tmp_path)
    assert (sorted(found.files), found.tables) == (["artworks.csv/b.png", "set.png/a.png"], [])


def test_a_file_comes_with_its_size_and_time(tmp_path: Path) -> None:
    touch(tmp_path, "a.png")
    os.utime(tmp_path / "a.png", ns=(7, 1_234_567_890_123_456_789))
    assert scan(tmp_path).files == {"a.png": (5, 1_234_567_890_123_456_789)}


def test_a_subfolder_is_walked_under_the_names_it_has_from_the_top(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "x/b.png", "x/y/c.png", "x2/d.png")
    assert seen(tmp_path, "x") == ["x/b.png", "x/y/c.png"]
    assert seen(tmp_path, "x/y") == ["x/y/c.png"]


def test_a_folder_that_is_left_out_is_not_entered(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "x/b.png", "x/y/c.png", "x2/d.png")
    (tmp_path / "link").symlink_to("x")
    assert seen(tmp_path, leave_out=frozenset([tmp_path / "x"])) == ["a.png", "x2/d.png"]
    assert seen(tmp_path, leave_out=frozenset([tmp_path / "x" / "y"])) == ["a.png", "x/b.png", "x2/d.png"]


@pytest.mark.parametrize("what", ["nothing", "a file"])
def test_what_is_no_folder_is_an_error(tmp_path: Path, what: str) -> None:
    touch(tmp_path, "a file")
    with pytest.raises(OSError, match=what):
        scan(tmp_path / what)


# -- links -------------------------------------------------------------------------------------------------------------


def test_links_that_lead_back_up_do_not_go_round_for_ever(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "x/y/b.png")
    (tmp_path / "self").symlink_to(".")
    (tmp_path / "x" / "up").symlink_to("..")
    (tmp_path / "x" / "y" / "absolute").symlink_to(tmp_path)
    (tmp_path / "x" / "round").symlink_to("y/round again")
    (tmp_path / "x" / "y" / "round again").symlink_to("../round")
    assert seen(tmp_path) == ["a.png", "x/y/b.png"]


def test_two_links_to_one_folder_outside_give_its_images_once(tmp_path: Path) -> None:
    touch(tmp_path, "outside/a.png", "pictures/b.png")
    for name in ("link 2", "link 1"):
        (tmp_path / "pictures" / name).symlink_to(tmp_path / "outside")
    assert seen(tmp_path / "pictures") == ["b.png", "link 1/a.png"]


def test_a_folder_keeps_its_own_name_whatever_links_lead_to_it(tmp_path: Path) -> None:
    names = [f"{letter}/deep/{letter}.png" for letter in "abcdefgh"]
    touch(tmp_path, *names)
    for letter in "abcdefgh":
        (tmp_path / f"{letter} link").symlink_to(f"{letter}/deep")
    assert seen(tmp_path) == names


def test_a_link_to_an_image_is_an_image(tmp_path: Path) -> None:
    touch(tmp_path, "a.png")
    (tmp_path / "b.png").symlink_to("a.png")
    found = scan(tmp_path).files
    assert found["b.png"] == found["a.png"]


def test_a_link_to_nowhere_is_kept_so_that_reading_it_says_why(tmp_path: Path) -> None:
    touch(tmp_path, "a.png")
    (tmp_path / "gone.png").symlink_to("nowhere.png")
    (tmp_path / "self.png").symlink_to("self.png")
    (tmp_path / "gone folder").symlink_to("nowhere")
    found = scan(tmp_path)
    assert found.files.keys() == {"a.png", "gone.png", "self.png"}
    assert (found.files["gone.png"], found.skipped, found.unreadable) == ((0, 0), 1, [])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_pipe_by_an_images_name_is_not_waited_for(tmp_path: Path) -> None:
    touch(tmp_path, "a.png")
    os.mkfifo(tmp_path / "pipe.png")
    os.mkfifo(tmp_path / "artworks.csv")
    (tmp_path / "null.png").symlink_to("/dev/null")
    found = scan(tmp_path)
    assert (list(found.files), found.tables, found.skipped) == (["a.png"], [], 3)


# -- tables ------------------------------------------------------------------------------------------------------------


def test_tables_come_the_outermost_first(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "z/artworks.csv", "artworks.csv", "b/c/artworks.csv", "b/artworks.csv", "b/Artworks.csv")
    found = scan(tmp_path)
    assert found.tables == ["artworks.csv", "b/artworks.csv", "z/artworks.csv", "b/c/artworks.csv"]
    assert found.skipped == 1


def test_the_stamp_of_the_tables_changes_with_any_of_them_and_with_nothing_else(tmp_path: Path) -> None:
    touch(tmp_path, "a.png")
    stamps = [scan(tmp_path).table_stamp]
    assert stamps == [""]
    touch(tmp_path, "artworks.csv")
    stamps.append(scan(tmp_path).table_stamp)
    touch(tmp_path, "x/artworks.csv")
    stamps.append(scan(tmp_path).table_stamp)
    os.utime(tmp_path / "artworks.csv", ns=(1, 1))
    stamps.append(scan(tmp_path).table_stamp)
    (tmp_path / "x").rename(tmp_path / "y")
    stamps.append(scan(tmp_path).table_stamp)
    (tmp_path / "artworks.csv").unlink()
    stamps.append(scan(tmp_path).table_stamp)
    assert len(set(stamps)) == len(stamps)
    touch(tmp_path, "b.png")
    assert scan(tmp_path).table_stamp == stamps[-1]


def test_a_walk_of_a_subfolder_finds_the_tables_above_it(tmp_path: Path) -> None:
    touch(tmp_path, "artworks.csv", "x/artworks.csv", "x/y/z/artworks.csv", "x/y/a.png", "q/artworks.csv")
    assert scan(tmp_path, "x/y").tables == ["artworks.csv", "x/artworks.csv", "x/y/z/artworks.csv"]


# -- names and permissions ---------------------------------------------------------------------------------------------

ODD = ["two\nlines.png", "Étoile.png", "E\u0301toile.png", "画.png", "🎨.png", "tab\t.png", "a'b\"c;--.png",
       "\x1b[31m.png", "-rf.png", "back\\slash.png", " .png", "%s{x}.png"]  # fmt: skip


@pytest.mark.skipif(os.name == "nt", reason="Windows forbids such names")
def test_odd_names_are_names(tmp_path: Path) -> None:
    touch(tmp_path, *ODD, *(f"{name} folder/a.png" for name in ODD))
    assert seen(tmp_path) == sorted([*ODD, *(f"{name} folder/a.png" for name in ODD)])


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a name be any bytes")
def test_names_that_are_no_utf8_are_set_apart(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "caf\udce9.png", "b\udcff/c.png", "b\udcff/notes.txt", "b\udcff/artworks.csv")
    (tmp_path / "l\udcff.png").symlink_to("nowhere")
    found = scan(tmp_path)
    assert list(found.files) == ["a.png"]
    assert sorted(found.misnamed) == ["b\udcff/c.png", "caf\udce9.png", "l\udcff.png"]
    assert len(found.table_stamp) == 64


def draw(path: Path, colour: tuple[int, int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", (16, 16), colour)
    image.paste((255, 255, 255), (0, 0, 8, 8))
    image.save(path)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a name be any bytes")
def test_odd_names_are_indexed_and_undecodable_ones_become_failures(
    tmp_path: Path, tiny_network: Callable[..., Path], command: Callable
) -> None:
    network = tiny_network(tmp_path / "tiny")
    for i, name in enumerate(ODD):
        draw(tmp_path / "art" / name, (20 * i, 255 - 20 * i, 7))
    draw(tmp_path / "art" / "caf\udce9.png", (1, 2, 3))
    draw(tmp_path / "art" / "folder\udcff" / "a.png", (1, 2, 3))
    done = command("index", "art", "--encoder", network, cwd=tmp_path, status=3)
    assert f"{len(ODD)} added, 0 changed, 0 moved, 0 removed, 0 unchanged, 2 failed" in done.out
    assert "failed: 2 unreadable" in done.out
    listed = command("info", "--failures", cwd=tmp_path).lines
    assert listed == [
        f"unreadable: {tmp_path}/art/caf\\xe9.png has a name that is not UTF-8; rename it",
        f"unreadable: {tmp_path}/art/folder\\xff/a.png has a name that is not UTF-8; rename it",
    ]
    found = command("similar", "1", "-k", "99", "-0", cwd=tmp_path).out
    assert sorted(found.split("\0"))[1:] == sorted(f"{tmp_path}/art/{name}" for name in ODD)[1:]
    # a query by such a name is a picture like any other
    command("similar", "art/caf\udce9.png", "-k", "1", cwd=tmp_path)
    # renamed, they are works
    (tmp_path / "art" / "caf\udce9.png").rename(tmp_path / "art" / "café.png")
    (tmp_path / "art" / "folder\udcff").rename(tmp_path / "art" / "folder")
    assert "2 added" in command("index", cwd=tmp_path).out
    assert command("info", "--failures", cwd=tmp_path).lines == ["no file failed at its last attempt"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a name be any bytes")
def test_a_folder_whose_own_name_is_no_utf8_is_refused_unless_a_link_names_it(
    tmp_path: Path, tiny_network: Callable[..., Path], command: Callable
) -> None:
    network = tiny_network(tmp_path / "tiny")
    draw(tmp_path / "art\udcff" / "a.png", (1, 2, 3))
    done = command("index", "art\udcff", "--encoder", network, cwd=tmp_path, status=1)
    assert "has a name that is not UTF-8; rename it, or index a link to it" in done.err
    assert not (tmp_path / ".simsearch").exists()
    (tmp_path / "art").symlink_to("art\udcff")
    assert "1 added" in command("index", "art", "--encoder", network, cwd=tmp_path).out


def test_a_date_beyond_what_the_catalog_counts_stops_nothing(tmp_path: Path, tiny_network: Callable[..., Path]) -> None:
    draw(tmp_path / "art" / "a.png", (1, 2, 3))
    os.utime(tmp_path / "art" / "a.png", (0, 2**34 - 1))  # the year 2514
    with open_collection(tmp_path, write=True) as collection:
        options = Options(encoder=str(tiny_network(tmp_path / "tiny")))
        assert index_folders(collection, [tmp_path / "art"], options).added == 1
        assert index_folders(collection).unchanged == 1


@pytest.mark.skipif(sys.platform != "linux", reason="permissions are laid down in another way here")
def test_what_lies_in_a_folder_that_cannot_be_listed_is_unknown_and_stays(
    tmp_path: Path, tiny_network: Callable[..., Path], unprivileged: list[str]
) -> None:
    network = str(tiny_network(tmp_path / "tiny"))

    def index(*arguments: str) -> subprocess.CompletedProcess[str]:
        line = [*unprivileged, "-m", "simsearch", "index", *arguments, "--encoder", network]
        return subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)

    for i, name in enumerate(("a.png", "shut/b.png", "shut/deep/c.png", "shut 2/d.png")):
        draw(tmp_path / "art" / name, (60 * i, 1, 2))
    (tmp_path / "art" / "shut" / "broken.png").write_bytes(b"")
    assert "4 added" in index("art").stdout
    (tmp_path / "art" / "shut 2" / "d.png").unlink()
    shut = tmp_path / "art" / "shut"
    shut.chmod(0)
    try:
        done = index("art")
        assert "0 added, 0 changed, 0 moved, 1 removed, 1 unchanged, 0 failed" in done.stdout
        assert f"not reached: {shut} cannot be listed; its 2 works stay\n" in done.stdout
        assert done.returncode == 3
        alone = index("art/shut")
        assert f"not reached: {shut}: Permission denied; its 2 works stay (--prune removes them)" in alone.stdout
        other = index("art/shut", "--collection", str(tmp_path / "other"))
        assert (other.returncode, other.stderr.splitlines()[-1]) == (
            1, f"simsearch: {shut}: Permission denied; check its name and its permissions"
        )  # fmt: skip
        assert not (tmp_path / "other" / ".simsearch").exists()
    finally:
        shut.chmod(0o755)
    with open_collection(tmp_path) as collection:
        assert collection.catalog.count() == 3
        assert [failure.source_id for failure in collection.catalog.failures()] == ["shut/broken.png"]


def test_files_called_as_lists_are_noted_wherever_they_lie_and_no_others(tmp_path: Path) -> None:
    names = frozenset({"style_train.csv", "labels.mat"})
    touch(
        tmp_path, "style_train.csv", "x/labels.mat", "x/y/style_train.csv", "x/my_style_train.csv", "labels.mat/a.png"
    )
    (tmp_path / "x" / "y" / "labels.mat").symlink_to("nowhere")
    found = scan(tmp_path, lists=names)
    assert sorted(found.lists) == ["style_train.csv", "x/labels.mat", "x/y/style_train.csv"]
    assert found.table_stamp == scan(tmp_path).table_stamp == ""
    assert (scan(tmp_path).lists, scan(tmp_path).skipped) == ([], found.skipped + 3)
    assert sorted(scan(tmp_path, "x", lists=names).lists) == ["x/labels.mat", "x/y/style_train.csv"]
