"""`simsearch index` stopped, killed, out of space or not alone: nothing committed is lost, and the next run goes on."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from simsearch import Options, index_folders, open_collection, similar
from simsearch.collection import open_files

WORKS = 400
FEW = 24
INDEX = [sys.executable, "-m", "simsearch", "index"]
NEEDS_MOUNT = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="only root may mount a small disk to fill"
)


@pytest.fixture(scope="module")
def works(tmp_path_factory: pytest.TempPathFactory, real_works: Callable[[int], Sequence[Path]]) -> list[Path]:
    """Four hundred small pictures that all differ: real ones where they are at hand, drawn ones elsewhere."""
    folder, rng = tmp_path_factory.mktemp("works"), np.random.default_rng(5)
    real = {path.read_bytes(): path for path in real_works(WORKS + 50)}
    for number, (data, path) in enumerate(list(real.items())[:WORKS]):
        (folder / f"{number:03}{path.suffix}").write_bytes(data)
    for number in range(len(real), WORKS):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8))
        coarse.resize((160, 160), Image.Resampling.BICUBIC).save(folder / f"{number:03}.png")
    return sorted(folder.iterdir())


@pytest.fixture
def place(tmp_path: Path, works: list[Path]) -> Path:
    """A folder with all of them in `art`, not indexed yet."""
    put(tmp_path, works)
    return tmp_path


@pytest.fixture
def few(tmp_path: Path, works: list[Path]) -> Path:
    """The same with some of them."""
    put(tmp_path, works[:FEW])
    return tmp_path


def put(place: Path, works: Sequence[Path]) -> None:
    (place / "art").mkdir(exist_ok=True)
    for work in works:
        shutil.copy(work, place / "art")


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory, works: list[Path]) -> dict[str, list]:
    """What a collection says that was indexed in one go."""
    folder = tmp_path_factory.mktemp("clean")
    put(folder, works)
    with open_collection(folder, write=True) as collection:
        assert index_folders(collection, [folder / "art"]).added == WORKS
    return ask(folder)


def ask(place: Path, art: Path | None = None) -> dict[str, list]:
    """The ten nearest of every twentieth work, by file."""
    art = art or place / "art"
    with open_collection(place) as collection:
        names = sorted(path for work in collection.catalog.all_artworks() if (path := work.source_id))[::20]
        found = {name: similar(collection, art / name) for name in names}
    return {name: sorted((-hit.score, hit.artwork.source_id) for hit in hits) for name, hits in found.items()}


def embeddings(place: Path) -> dict[bytes, bytes]:
    """Digest to vector of what is committed, read plainly."""
    catalog = place / ".simsearch" / "catalog.db"
    if not catalog.exists():
        return {}
    with closing(sqlite3.connect(f"file:{catalog}?mode=ro", uri=True)) as db, suppress(sqlite3.OperationalError):
        return dict(db.execute("SELECT digest, vector FROM embedding"))
    return {}  # it has no table yet


def whole(place: Path) -> None:
    """Nothing of the catalog is damaged or half there, and the index that it names is."""
    with closing(sqlite3.connect(place / ".simsearch" / "catalog.db")) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'generation'").fetchall():
            return
        stray = "SELECT count(*) FROM artwork LEFT JOIN embedding USING (digest) WHERE vector IS NULL"
        assert db.execute(stray).fetchall() == [(0,)]
        stray = "SELECT count(*) FROM embedding LEFT JOIN artwork USING (digest) WHERE artwork.id IS NULL"
        assert db.execute(stray).fetchall() == [(0,)]
    with open_collection(place) as collection:
        for entry in collection.encoders():
            if generation := collection.catalog.generation(entry.number):
                assert len(open_files(collection.index_folder(generation), generation)) == generation.works


# -- killed and stopped ------------------------------------------------------------------------------------------------


WAITS = """
import time
from pathlib import Path
from simsearch.cli import main
from simsearch.indexer.pipeline import Reader

read_all = Reader.read_all

def waiting(reader, jobs):
    while not Path("go").exists() and any(job.path.name >= "300" for job in jobs):
        time.sleep(0.01)
    return read_all(reader, jobs)

Reader.read_all = waiting
main()
"""
"""An indexer that reads the last hundred works when a file named `go` is there: the first batch is done by then."""


@contextmanager
def running(place: Path, *arguments: str, program: Sequence[str] = INDEX) -> Iterator[subprocess.Popen[str]]:
    line = [*program, "art", "--threads", "1", *arguments]
    process = subprocess.Popen(line, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_killed_at_ten_moments_it_loses_nothing_and_ends_as_a_run_in_one_go(
    tmp_path: Path, works: list[Path], answers: dict[str, list], command
) -> None:
    rng, share = random.Random(12), WORKS // 10
    moments = ["at the start"] * 2 + ["embedding: "] * 6 + ["building the index"] * 2
    rng.shuffle(moments)
    killed = 0
    for number, moment in enumerate(moments):
        put(tmp_path, works[number * share : (number + 1) * share])
        before = embeddings(tmp_path)
        with running(tmp_path) as process:
            if moment == "at the start":
                time.sleep(rng.uniform(0, 0.6))
            else:
                while not (said := process.stderr.readline()).startswith(moment):
                    assert said, "it ended by itself"
                time.sleep(rng.uniform(0, 0.1 if moment == "embedding: " else 0.02))
            process.send_signal(signal.SIGKILL)
            killed += process.wait() == -signal.SIGKILL
        after = embeddings(tmp_path)
        assert before.items() <= after.items()
        if after:
            whole(tmp_path)
            some = next(iter(ask(tmp_path).values()))
            assert len(some) == min(10, len(after) - 1)
    assert killed >= 5  # the others were done before the signal came
    before = embeddings(tmp_path)
    report = json.loads(command("index", "art", "--json", cwd=tmp_path).out)
    assert report["added"] + report["unchanged"] == WORKS
    assert report["embedded"] == WORKS - len(before)
    whole(tmp_path)
    assert ask(tmp_path) == answers
    assert len(list((tmp_path / ".simsearch" / "index" / "color-1").iterdir())) <= 2  # nothing half-made stays
    assert json.loads(command("index", "--json", cwd=tmp_path).out)["unchanged"] == WORKS


def stopped(place: Path, *arguments: str) -> tuple[int, str, str]:
    """Status, output and messages of an indexer that gets a Ctrl-C between its first batch and the last works."""
    with running(place, *arguments, program=[sys.executable, "-c", WAITS, "index"]) as process:
        while not embeddings(place):
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        (place / "go").touch()
        out, said = process.communicate()
        return process.returncode, out, said


def test_ctrl_c_keeps_what_is_done_and_the_next_run_goes_on(place: Path, answers: dict[str, list], command) -> None:
    status, out, said = stopped(place, "--json")
    assert status == 130
    assert "Traceback" not in said
    report = json.loads(out)
    assert report["interrupted"] is True
    kept = embeddings(place)
    assert 0 < len(kept) == report["added"] < WORKS
    whole(place)
    again = json.loads(command("index", "--json", cwd=place).out)
    assert (again["added"], again["embedded"], again["unchanged"]) == (WORKS - len(kept), WORKS - len(kept), len(kept))
    assert kept.items() <= embeddings(place).items()
    assert ask(place) == answers


def test_ctrl_c_is_said_to_people_too(place: Path) -> None:
    _, out, _ = stopped(place)
    assert out.splitlines()[-1] == "interrupted: what is done is kept; run `simsearch index` again to go on"


def test_ctrl_c_ends_a_question_without_a_traceback(few: Path, command) -> None:
    command("index", "art", cwd=few)
    line = [sys.executable, "-m", "simsearch", "similar", "-"]
    with subprocess.Popen(line, cwd=few, stdin=-1, stdout=-1, stderr=-1) as process:
        process.stdin.write(b"x" * (1 << 20))  # more than a pipe holds: it is reading when this is done
        time.sleep(0.5)  # a signal that comes between two reads is heard of at the end of the second
        process.send_signal(signal.SIGINT)
        out, said = process.communicate(timeout=60)
    assert (process.returncode, out, said.decode().strip()) == (130, b"", "interrupted")


# -- not alone ---------------------------------------------------------------------------------------------------------


@contextmanager
def held_up(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], Callable[[], None]]]:
    """An indexer that waits to say something, with the lock in its hand; and how to let it go on."""
    read, written = os.pipe()
    os.set_blocking(written, False)
    with suppress(BlockingIOError):
        while True:
            os.write(written, b"." * 1024)
    os.set_blocking(written, True)
    holder = folder / ".simsearch" / "writer.json"
    process = subprocess.Popen([*INDEX, "--rebuild"], cwd=folder, stdout=subprocess.PIPE, stderr=written)
    os.close(written)
    released = False

    def release() -> None:
        nonlocal released
        released = True
        while os.read(read, 1 << 16):
            pass
        os.close(read)

    try:
        while not holder.exists():
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(0.3)
        yield process, release
    finally:
        if not released:
            os.close(read)
            process.kill()
        process.communicate()


def test_a_second_indexer_says_who_is_at_work_and_readers_go_on(few: Path, command) -> None:
    command("index", "art", cwd=few)
    with held_up(few) as (first, release):
        second = command("index", cwd=few, status=1)
        said = json.loads((few / ".simsearch" / "writer.json").read_text())
        assert second.err == (
            f"simsearch: {few}/.simsearch is written by process {first.pid} on {os.uname().nodename} "
            f"(simsearch index, since {said['since']}); wait for it or stop it\n"
        )
        assert len(command("similar", "1", "--json", cwd=few).records) == 10
        release()
        assert first.wait() == 0
    assert not (few / ".simsearch" / "writer.json").exists()
    assert f"{FEW} unchanged" in command("index", cwd=few).out


def test_what_a_killed_indexer_left_behind_locks_nobody_out(few: Path, command) -> None:
    command("index", "art", cwd=few)
    with held_up(few) as (first, _):
        first.kill()
        first.wait()
        assert (few / ".simsearch" / "writer.json").exists()
        assert f"{FEW} unchanged" in command("index", cwd=few).out


def test_indexers_that_make_one_collection_at_the_same_time_do_not_spoil_it(few: Path, command) -> None:
    line = [*INDEX, "art", "--threads", "1"]
    crowd = [subprocess.Popen(line, cwd=few, stdout=-1, stderr=-1, text=True) for _ in range(3)]
    done = [(process, *process.communicate()) for process in crowd]
    assert [process.returncode for process, _, _ in done].count(0) >= 1
    for process, _, said in done:
        assert process.returncode == 0 or " is written by " in said.splitlines()[-1], said
    whole(few)
    assert len(embeddings(few)) == FEW
    assert f"{FEW} unchanged" in command("index", cwd=few).out


# -- no space left -----------------------------------------------------------------------------------------------------


@contextmanager
def small_disk(folder: Path) -> Iterator[Callable[[str], None]]:
    """A disk of its own at a folder; how to give it another size."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], check=True)
    try:
        yield lambda size: subprocess.run(["mount", "-o", f"remount,size={size}", str(folder)], check=True)  # type: ignore
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@NEEDS_MOUNT
@pytest.mark.slow
def test_a_full_disk_is_a_sentence_and_with_more_space_the_run_goes_on(
    place: Path, answers: dict[str, list], command
) -> None:
    disk = place / "disk"
    with small_disk(disk) as resize:
        failed, kept = 0, {}
        for size in ("64k", "256k", "600k", "1m", "1500k", "2m"):
            resize(size)
            done = command("index", place / "art", "--collection", disk, cwd=place, status=None)
            assert done.status in (0, 1), done.err
            assert "Traceback" not in done.err
            if done.status == 1:
                failed += 1
                assert re.match("simsearch: .* cannot be (written|made)", done.err.splitlines()[-1]), done.err
            assert kept.items() <= embeddings(disk).items()
            kept = embeddings(disk)
            if kept:
                whole_elsewhere(disk, place / "copy")
        assert failed >= 3
        resize("64m")
        report = json.loads(command("index", place / "art", "--collection", disk, "--json", cwd=place).out)
        assert report["added"] + report["unchanged"] == WORKS
        assert len(embeddings(disk)) == WORKS
        whole(disk)
        assert ask(disk, place / "art") == answers


@NEEDS_MOUNT
@pytest.mark.parametrize("kind", ["exact", "ivf"])
def test_a_disk_that_fills_while_the_index_is_written_leaves_the_old_index(
    place: Path, answers: dict[str, list], command, kind: str
) -> None:
    disk = place / "disk"
    arguments = ("index", place / "art", "--collection", disk)
    with small_disk(disk) as resize:
        resize("64m")
        command(*arguments, cwd=place)
        space = os.statvfs(disk)
        resize(str((space.f_blocks - space.f_bfree) * space.f_frsize + 250_000))
        done = command(*arguments, "--index", kind, "--rebuild", cwd=place, status=1)
        assert done.err.splitlines()[-1].startswith(
            f"simsearch: {disk}/.simsearch cannot be written: the index came out incomplete, perhaps because the disk "
            "is full ("
        )
        assert [path.name for path in (disk / ".simsearch" / "index" / "color-1").iterdir()] == ["1"]
        whole_elsewhere(disk, place / "copy")
        assert ask(disk, place / "art") == answers
        resize("64m")
        command(*arguments, "--index", kind, "--rebuild", cwd=place)
        whole(disk)
        with open_collection(disk) as collection:
            generation = collection.catalog.generation(1)
            assert generation is not None
            assert (generation.kind, generation.works) == (kind, WORKS)


def whole_elsewhere(disk: Path, copy: Path) -> None:
    """On a full disk not even a check can make its files, so a copy is looked at."""
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(disk, copy)
    whole(copy)


def test_what_was_indexed_before_is_not_lost_when_an_interrupted_encoder_change_is_given_up(
    place: Path, tiny_network: Callable[..., Path]
) -> None:
    network = str(tiny_network(place / "tiny"))
    with open_collection(place, write=True) as collection:
        index_folders(collection, [place / "art"])
        before = embeddings(place)

        def stop(what: str, done: int, of: int) -> None:
            if done:
                raise KeyboardInterrupt

        assert index_folders(collection, (), Options(encoder=network), stop).interrupted
        assert index_folders(collection, (), Options(encoder="color")).embedded == 0
    with closing(sqlite3.connect(place / ".simsearch" / "catalog.db")) as db:
        assert dict(db.execute("SELECT digest, vector FROM embedding WHERE encoder = 1")) == before
        assert 0 < db.execute("SELECT count(*) FROM embedding WHERE encoder = 2").fetchone()[0] < WORKS
