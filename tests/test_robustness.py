"""Bad input and damage, by the real command: a sentence that says what to do, and nothing lost."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from simsearch import Filters, open_collection, similar
from simsearch.errors import QueryError, WhereError

NEEDS_MOUNT = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="only root may mount a disk to make full or read-only"
)


def one_sentence(done) -> str:
    """What standard error says after `simsearch:`, which is one line and no traceback."""
    lines = [line for line in done.err.splitlines() if not line.startswith("new collection ")]
    assert len(lines) == 1, done.err
    assert lines[0].startswith("simsearch: "), done.err
    return lines[0].removeprefix("simsearch: ")


# -- folders to index --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda _: None, "there is no folder images; check its name, or whether its disk is mounted"),
        (lambda folder: folder.mkdir(), "{} holds no image; the formats that are read: avif bmp gif heic heif jfif"),
        (lambda folder: folder.write_text(""), "images is not a folder; name the folder that holds the image"),
    ],
    ids=["no such folder", "an empty folder", "a file"],
)
def test_nothing_to_index_is_one_sentence_and_leaves_no_collection_behind(
    tmp_path: Path, command, tiny_network, make: Callable[[Path], None], sentence: str
) -> None:
    make(tmp_path / "images")
    network = tiny_network(tmp_path / "models" / "tiny")
    done = command("index", "images", "--encoder", network, cwd=tmp_path, status=1)
    assert one_sentence(done).startswith(sentence.format(tmp_path / "images"))
    assert done.out == ""
    assert not (tmp_path / ".simsearch").exists()


def test_a_folder_with_no_image_says_what_is_in_it_instead(tmp_path: Path, command, tiny_network) -> None:
    (tmp_path / "images" / "deep").mkdir(parents=True)
    (tmp_path / "images" / "notes.txt").touch()
    (tmp_path / "images" / "deep" / "film.mp4").touch()
    done = command("index", "images", "--encoder", tiny_network(tmp_path / "tiny"), cwd=tmp_path, status=1)
    assert one_sentence(done).startswith(f"{tmp_path}/images holds no image among its 2 files; the formats")
    assert not (tmp_path / ".simsearch").exists()


def test_a_wrong_folder_leaves_a_collection_as_it_is(place, command) -> None:
    works = place.works()
    (place.folder / "void").mkdir()
    for wrong in ("nowhere", "void"):
        one_sentence(command("index", "art", wrong, cwd=place.folder, status=1))
    assert place.works() == works


def test_an_unreadable_file_is_a_failure_and_the_others_are_indexed(place, unprivileged: list[str]) -> None:
    place.draw(art__locked="mmmm", art__open="kkkk")
    (place.folder / "art" / "locked.png").chmod(0)
    line = [*unprivileged, "-m", "simsearch", "index"]
    done = subprocess.run(line, cwd=place.folder, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert done.stdout.startswith("1 added, 0 changed, 0 moved, 0 removed, 4 unchanged, 1 failed")
    assert "failed: 1 unreadable\n" in done.stdout
    assert place.sql("SELECT reason, message FROM failure") == [
        ("unreadable", f"{place.folder}/art/locked.png cannot be read: Permission denied")
    ]


# -- questions ---------------------------------------------------------------------------------------------------------


def test_k_starts_at_one(place, command) -> None:
    done = command("similar", "art/red.png", "-k", "0", cwd=place.folder, status=2)
    assert "0 is not in the range x>=1" in done.err
    with open_collection(place.folder) as collection, pytest.raises(QueryError, match="k is 0; ask for at least one"):
        similar(collection, place.folder / "art" / "red.png", k=0)


def test_k_above_the_number_of_works_gives_all_of_them(place, command) -> None:
    found = command("similar", "art/red.png", "-k", 10**12, "--json", cwd=place.folder).records
    assert [(hit["rank"], hit["source_id"]) for hit in found] == [(1, "rust.png"), (2, "sea.png"), (3, "ice.png")]


NO_IMAGES = {
    "a text": (lambda path: path.write_text("hello"), "{} is not an image: its first bytes are of no format"),
    "nothing": (lambda path: path.touch(), "{} is empty (0 bytes)"),
    "a folder": (lambda path: path.mkdir(), "{} cannot be read: Is a directory"),
    "missing": (lambda path: None, "{} cannot be read: No such file or directory"),
}


@pytest.mark.parametrize("what", NO_IMAGES)
def test_a_query_that_is_no_image_is_one_sentence(place, command, what: str) -> None:
    make, sentence = NO_IMAGES[what]
    make(place.folder / "query.png")
    for verb in ("similar", "classify"):
        if verb == "classify":
            place.sql("INSERT INTO label SELECT id, 'style', 'source', 'Plain', NULL FROM artwork")
        done = command(verb, "query.png", cwd=place.folder, status=1)
        assert one_sentence(done).startswith(sentence.format(place.folder / "query.png"))
        assert done.out == ""


INJECTIONS = (
    "1 = 1; DROP TABLE artwork", "title = ''; DELETE FROM artwork; --", "title = '' UNION SELECT 1",
    "id in (select id from artwork)", "title = load_extension('x')", "artwork.id = 1", "id = 1 --", "id = 1 /* */",
    "title like '%' escape 'x'", '"id" = "id"', "id = 1 or 1", "1", "id = 0x1", "id = ?", "id = :id",
    "pragma user_version", "attach database 'x' as y", "title = 'x", "title = \0'x'", "(" * 5000,
)  # fmt: skip


def test_a_where_expression_can_be_nothing_else(place, command) -> None:
    before = place.sql("SELECT * FROM artwork ORDER BY id")
    with open_collection(place.folder) as collection:
        for attempt in INJECTIONS:
            with pytest.raises(WhereError):
                similar(collection, 1, filters=Filters(where=attempt))
    for attempt in INJECTIONS[:3]:
        said = one_sentence(command("similar", "1", "--where", attempt, cwd=place.folder, status=2))
        assert said
    one_sentence(command("similar", "1", "--where", "title = '\udcff'", cwd=place.folder, status=2))
    assert place.sql("SELECT * FROM artwork ORDER BY id") == before
    assert not (place.folder / "x").exists()


def test_a_quotation_in_a_value_or_in_a_tables_column_stays_text(place, command) -> None:
    column = "x'; DROP TABLE artwork; --"
    (place.folder / "art" / "artworks.csv").write_text(f"path,title,{column}\nred.png,' OR 1=1 --,1\n", "utf-8")
    place.index()

    def found(where: str) -> list[str]:
        return command("similar", "art/ice.png", "--where", where, "--paths", cwd=place.folder).lines

    assert found("title = ''' OR 1=1 --'") == [str(place.folder / "art" / "red.png")]
    assert found(f'"{column}" = 1') == [str(place.folder / "art" / "red.png")]
    assert found(f'"{column}" = 2') == []
    assert place.sql("SELECT count(*) FROM artwork") == [(4,)]


# -- output that nobody reads ------------------------------------------------------------------------------------------


BUFFERS = pytest.mark.parametrize("unbuffered", ["", "1"], ids=["written at the end", "written at once"])


def written_to(place, output: int, unbuffered: str, *form: str) -> tuple[int, str]:
    line = [sys.executable, "-m", "simsearch", "similar", "art/red.png", *form]
    env = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(line, cwd=place.folder, env=env, stdout=output, stderr=subprocess.PIPE, check=False)
    return done.returncode, done.stderr.decode()


@BUFFERS
@pytest.mark.parametrize("form", [["--json"], ["--paths"], []])
def test_a_reader_that_goes_away_is_no_error_to_talk_about(place, unbuffered: str, form: list[str]) -> None:
    read, written = os.pipe()
    os.close(read)  # the reader is gone before the first byte comes
    assert written_to(place, written, unbuffered, *form) == (1, "")
    os.close(written)


@BUFFERS
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_output_that_cannot_be_written_is_one_sentence(place, unbuffered: str) -> None:
    with Path("/dev/full").open("w") as full:
        status, said = written_to(place, full.fileno(), unbuffered)
    assert (status, said) == (1, "Error: standard output cannot be written: No space left on device\n")


# -- a damaged index ---------------------------------------------------------------------------------------------------


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def overwrite(path: Path) -> None:
    path.write_bytes(b"\xff" * 64 + path.read_bytes()[64:])


DAMAGES = {
    "halved": halve,
    "overwritten": overwrite,
    "emptied": lambda path: path.write_bytes(b""),
    "gone": Path.unlink,
}


@pytest.fixture
def many(place):
    """A place with enough works for an inverted file."""
    letters = "rgbymcwk"
    place.draw(**{f"art__{a}{b}{c}": a + b + c + "w" for a in letters for b in letters for c in letters[:4]})
    return place


def newest(place, file: str) -> Path:
    """A file of the index that was published last."""
    return max((place.folder / ".simsearch" / "index").rglob(file), key=lambda path: int(path.parent.name))


@pytest.mark.parametrize(
    ("kind", "file", "damage"),
    [("exact", "vectors.npy", "halved"), ("exact", "vectors.npy", "overwritten"), ("exact", "ids.npy", "gone"),
     ("ivf", "index.faiss", "halved"), ("ivf", "index.faiss", "overwritten"), ("ivf", "index.faiss", "emptied"),
     ("ivf", "index.json", "gone")],
)  # fmt: skip
def test_a_damaged_index_is_answered_without_and_built_again(many, command, kind: str, file: str, damage: str) -> None:
    many.index(index="exact")
    true = many.nearest("art/red.png", 20)
    many.index(index=kind)
    damaged = newest(many, file)
    DAMAGES[damage](damaged)
    done = command("similar", "art/red.png", "-k", 20, "--json", cwd=many.folder)
    assert [(Path(hit["path"]).stem, hit["score"]) for hit in done.records] == true
    first, second = done.err.splitlines()
    assert first.startswith(str(damaged))
    assert first.endswith("; the embeddings in the catalog were searched instead")
    assert second == "the index of tiny was built again from the catalog"
    assert newest(many, file) != damaged
    after = command("similar", "art/red.png", "-k", 20, "--json", cwd=many.folder)
    assert ([hit["score"] for hit in after.records], after.err) == ([score for _, score in true], "")
    assert json.loads(command("info", "--json", cwd=many.folder).out)["encoders"][0]["index"]["kind"] == kind


def test_an_index_run_sees_a_damaged_index_and_builds_it_again(place, command) -> None:
    damaged = newest(place, "vectors.npy")
    halve(damaged)
    done = command("index", cwd=place.folder)
    first, *_ = done.err.splitlines()
    assert first.startswith(f"{damaged} is damaged: it is not the file that was written (")
    assert first.endswith("; it is built again from the catalog")
    assert done.out.startswith("0 added, 0 changed, 0 moved, 0 removed, 4 unchanged, 0 failed")
    assert command("similar", "art/red.png", cwd=place.folder).err == ""


# -- a damaged catalog -------------------------------------------------------------------------------------------------


def spoil_pages(path: Path) -> None:
    """All but the first, which is what says that it is a database."""
    data = path.read_bytes()
    path.write_bytes(data[:4096] + b"\xa5" * (len(data) - 4096))


SPOILT = {"its header overwritten": overwrite, "cut in half": halve, "its pages overwritten": spoil_pages,
          "another file": lambda path: path.write_text("hello\n" * 9000)}  # fmt: skip


@pytest.mark.parametrize("how", SPOILT)
def test_a_damaged_catalog_is_refused_left_alone_and_what_to_do_is_said(place, command, how: str) -> None:
    catalog = place.folder / ".simsearch" / "catalog.db"
    SPOILT[how](catalog)
    before = {path: path.read_bytes() for path in catalog.parent.rglob("*") if path.is_file()}
    for arguments in (("similar", "art/red.png"), ("info",), ("index",), ("index", "art")):
        said = one_sentence(command(*arguments, cwd=place.folder, status=1))
        assert said.startswith(f"{catalog} is damaged (")
        assert said.endswith(
            f"nothing was changed. Restore it from a backup, or move the folder {catalog.parent} aside and run "
            "`simsearch index` again"
        )
    after = {path: path.read_bytes() for path in catalog.parent.rglob("*") if path.is_file() and path in before}
    assert after == before


def test_a_collection_of_a_newer_version_is_refused_and_left_alone(place, command) -> None:
    place.sql("UPDATE alembic_version SET version_num = '9999'")
    catalog = place.folder / ".simsearch" / "catalog.db"
    before = catalog.read_bytes()
    for arguments in (("similar", "art/red.png"), ("info",), ("index",), ("export", "--csv", "x.csv")):
        said = one_sentence(command(*arguments, cwd=place.folder, status=1))
        assert "has schema 9999, written by a newer simsearch; this one knows 0003: upgrade it with pip" in said
    assert catalog.read_bytes() == before


# -- a collection that cannot be written -------------------------------------------------------------------------------


@pytest.fixture
def read_only(place) -> Iterator[Path]:
    """The place on a disk that is mounted read-only."""
    disk = place.folder.parent / "disk"
    disk.mkdir()
    subprocess.run(["mount", "--bind", str(place.folder), str(disk)], check=True)
    try:
        place.sql("INSERT INTO label SELECT id, 'style', 'source', 'Plain', NULL FROM artwork")
        subprocess.run(["mount", "-o", "remount,bind,ro", str(disk)], check=True)
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@NEEDS_MOUNT
def test_a_collection_on_a_read_only_disk_still_answers(place, command, read_only: Path) -> None:
    assert len(command("similar", "art/red.png", "--json", cwd=read_only).records) == 3
    place.draw(query="rrrg")
    assert command("similar", "query.png", "-k", 1, "--paths", cwd=read_only).lines == [f"{read_only}/art/rust.png"]
    assert "Plain" in command("classify", "art/red.png", cwd=read_only).out
    assert json.loads(command("info", "--json", cwd=read_only).out)["artworks"] == 4
    assert "4 works in" in command("export", "--csv", place.folder.parent / "x.csv", cwd=read_only).err
    said = one_sentence(command("index", cwd=read_only, status=1))
    assert f"{read_only}/.simsearch" in said
    assert "whether its disk is mounted read-only" in said


@NEEDS_MOUNT
def test_a_damaged_index_on_a_read_only_disk_is_answered_without(place, command, read_only: Path) -> None:
    (vectors,) = (place.folder / ".simsearch" / "index").rglob("vectors.npy")
    overwrite(vectors)
    done = command("similar", "art/red.png", "-k", 1, "--json", cwd=read_only)
    assert [hit["source_id"] for hit in done.records] == ["rust.png"]
    lines = done.err.splitlines()
    assert lines[0].endswith("; the embeddings in the catalog were searched instead")
    assert lines[1].startswith("the index stays as it is: ")


def test_a_collection_without_permission_to_write_still_answers(place, unprivileged: list[str]) -> None:
    folder = place.folder / ".simsearch"
    sqlite3.connect(folder / "catalog.db").close()
    for path in [*folder.rglob("*"), folder]:
        path.chmod(0o555 if path.is_dir() else 0o444)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        line = [*unprivileged, "-m", "simsearch", *arguments]
        return subprocess.run(line, cwd=place.folder, capture_output=True, text=True, check=False)

    done = run("similar", "art/red.png", "-k", "1", "--paths")
    assert (done.stdout, done.stderr) == (f"{place.folder}/art/rust.png\n", "")
    refused = run("index")
    assert refused.returncode == 1
    assert one_sentence_of(refused.stderr).startswith(f"{folder}")
    folder.chmod(0o755)


def one_sentence_of(text: str) -> str:
    assert text.startswith("simsearch: ")
    assert text.count("\n") == 1
    return text.removeprefix("simsearch: ")
