"""``simsearch info`` and ``simsearch export``: what they say and write, by value."""

import csv
import json
import os
import re
import sqlite3

import numpy as np
import pyarrow.parquet as pq
import pytest

from simsearch.catalog.schema import REVISION


def flag_row(code, flag):
    """The tiny network's embedding of a flag of four stripes, by hand: (channel, cell row, cell column)."""
    pixels = np.asarray(flag(code, (4, 4)), np.float64).transpose(2, 0, 1)
    return np.sign(pixels - 127).ravel() / 48**0.5


# -- info --------------------------------------------------------------------------------------------------------------


def test_info_says_what_the_collection_is_made_of(flags, command, snapshot):
    said = command("info", cwd=flags.folder).out.replace(str(flags.folder), "FOLDER")
    said = re.sub(r"built \S+", "built WHEN", re.sub(r"[\d.]+ MB", "N MB", said))
    snapshot("info.txt", said)


def test_info_as_json_by_value(flags, command):
    (said,) = command("info", "--json", cwd=flags.folder).records
    home = flags.folder / ".simsearch"
    folder = home / "index" / "tiny-1" / "1"
    (encoder,) = said.pop("encoders")
    index = encoder.pop("index")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", index.pop("built"))
    assert index == {
        "kind": "exact", "works": 11, "recall_at_10": 1.0,
        "bytes": sum(path.stat().st_size for path in folder.iterdir()),
    }  # fmt: skip
    assert encoder == {
        "name": "tiny", "revision": "1", "dim": 48, "location": str(flags.network), "input": "16 px, squash",
        "embedded": 11,
    }  # fmt: skip
    size = said.pop("bytes")
    assert size["indexes"] == index["bytes"]
    assert size["catalog"] >= (home / "catalog.db").stat().st_size > 0
    assert said == {
        "collection": str(home), "schema": REVISION, "artworks": 11,
        "sources": [{"name": f"folder:{name}", "folder": str(flags.folder / name), "reachable": True}
                    for name in ("art", "more")],
        "labels": {"style": 9, "genre": 7, "artist": 9}, "predicted": {}, "failures": {},
    }  # fmt: skip


def test_info_shows_an_inverted_file_with_its_parameters_and_its_measured_recall(tmp_path, flag, tiny_network, command):
    (tmp_path / "many").mkdir()
    for number in range(300):
        code = "".join("rgbymcwk"[number // 8**i % 8] for i in range(4))
        flag(code).save(tmp_path / "many" / f"{code}.png")
    command("index", "many", "--encoder", tiny_network(tmp_path / "model"), "--index", "ivf", cwd=tmp_path)
    (said,) = command("info", "--json", cwd=tmp_path).records
    index = said["encoders"][0]["index"]
    assert (index["kind"], index["works"], index["lists"]) == ("ivf", 300, 7)
    assert 1 <= index["probes"] <= 7
    assert 0.98 <= index["recall_at_10"] <= 1.0
    line = next(line for line in command("info", cwd=tmp_path).lines if line.startswith("index "))
    assert line.startswith(f"index       ivf (7 lists, {index['probes']} probes), 300 works, recall@10 ")


@pytest.fixture
def with_failures(new_flags, command):
    """A collection with two files that cannot be read as images."""
    (new_flags.folder / "art" / "empty.jpg").touch()
    (new_flags.folder / "art" / "cold" / "text\x1b[31m.png").write_text("no picture")
    command("index", cwd=new_flags.folder, status=3)
    return new_flags


def test_info_lists_failures_with_their_reason(with_failures, command):
    art = with_failures.folder / "art"
    done = command("info", "--failures", cwd=with_failures.folder)
    assert done.lines == [
        f"not an image: {art}/cold/text\ufffd[31m.png is not an image: its first bytes are of no format that is read",
        f"empty: {art}/empty.jpg is empty (0 bytes)",
    ]
    records = command("info", "--failures", "--json", cwd=with_failures.folder).records
    assert records[1] == {
        "source": "folder:art", "source_id": "empty.jpg", "reason": "empty",
        "message": f"{art}/empty.jpg is empty (0 bytes)", "path": f"{art}/empty.jpg",
    }  # fmt: skip
    assert [record["reason"] for record in records] == ["not an image", "empty"]


def test_info_counts_failures_by_reason(with_failures, command):
    (said,) = command("info", "--json", cwd=with_failures.folder).records
    assert said["failures"] == {"not an image": 1, "empty": 1}
    shown = command("info", cwd=with_failures.folder).lines[-1]
    assert shown == "failures    1 not an image, 1 empty (simsearch info --failures)"


def test_info_without_failures_says_so(flags, command):
    assert command("info", "--failures", cwd=flags.folder).out == "no file failed at its last attempt\n"
    assert command("info", "--failures", "--json", cwd=flags.folder).out == ""


def test_info_marks_a_folder_that_is_away(new_flags, command):
    (new_flags.folder / "more").rename(new_flags.folder / "unplugged")
    lines = command("info", cwd=new_flags.folder).lines
    assert f"from        {new_flags.folder}/more (unreachable now)" in lines
    (said,) = command("info", "--json", cwd=new_flags.folder).records
    assert [source["reachable"] for source in said["sources"]] == [True, False]


def test_info_needs_a_collection(command, tmp_path):
    done = command("info", "--collection", tmp_path / "none", cwd=tmp_path, status=1)
    assert done.err == (
        f"simsearch: there is no collection at {tmp_path}/none/.simsearch; make it with `simsearch index FOLDER`\n"
    )


def test_the_catalog_is_readable_with_plain_sqlite(flags):
    with sqlite3.connect(f"{(flags.folder / '.simsearch' / 'catalog.db').as_uri()}?mode=ro", uri=True) as db:
        titles = {title for (title,) in db.execute("SELECT title FROM artwork WHERE title IS NOT NULL")}
    db.close()
    assert titles == {work.title for work in flags.works if work.title}


# -- export ------------------------------------------------------------------------------------------------------------


def test_csv_holds_every_work_with_all_that_is_known_of_it(flags, command, tmp_path):
    path = tmp_path / "works.csv"
    assert command("export", "--csv", path, cwd=flags.folder).err == f"11 works in {path}\n"
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["id"]) for row in rows] == list(range(1, 12))
    by_id = {int(row["id"]): row for row in rows}
    for work in flags.works:
        row = by_id[flags.id[work.stem]]
        said = (row["title"], row["artist"], row["style"], row["genre"], row["date"], row["path"])
        assert said == (work.title, work.artist, work.style, work.genre, work.date, str(flags.folder / work.path))
        assert (int(row["width"]), int(row["height"])) == work.size
        assert (json.loads(row["extra"]) if row["extra"] else {}) == ({"shelf": work.shelf} if work.shelf else {})
        assert f"{row['source'].removeprefix('folder:')}/{row['source_id']}" == work.path


def test_an_exported_csv_describes_the_same_works_when_indexed_again(flags, command, tmp_path, tiny_network):
    home = tmp_path / "again"
    (home / "art").mkdir(parents=True)
    for work in flags.works:
        (home / "art" / f"{work.stem}.png").write_bytes(flags.path(work.stem).read_bytes())
    command("export", "--csv", tmp_path / "works.csv", cwd=flags.folder)
    with (tmp_path / "works.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    with (home / "art" / "artworks.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(row | {"path": os.path.basename(row["path"])} for row in rows)  # noqa: PTH119
    command("index", "art", "--encoder", tiny_network(tmp_path / "model"), cwd=home)
    (record,) = command("similar", "art/red.png", "-k", 1, "--json", cwd=home).records
    assert (record["title"], record["artist"], record["date"]) == ("Rust\nand \x1b[31mgold", "Ada Flagg", "1910")


def test_embeddings_are_written_by_id_with_the_encoder_that_made_them(flags, command, flag, tmp_path):
    path = tmp_path / "all.npz"
    assert command("export", "--embeddings", path, cwd=flags.folder).err == f"11 embeddings in {path}\n"
    with np.load(path) as file:
        ids, rows, encoder = file["id"], file["embedding"], str(file["encoder"])
    assert (ids.dtype, rows.dtype, rows.shape) == (np.int64, np.float32, (11, 48))
    assert re.fullmatch(r"tiny@1 \(48 numbers, digest [0-9a-f]{8}\)", encoder)
    assert ids.tolist() == list(range(1, 12))
    for work in flags.works:
        assert rows[flags.id[work.stem] - 1] == pytest.approx(flag_row(work.code, flag), abs=1e-6)


def test_parquet_holds_the_works_with_their_embeddings(flags, command, flag, tmp_path):
    path = tmp_path / "works.parquet"
    assert command("export", "--parquet", path, cwd=flags.folder).err == f"11 works in {path}\n"
    rows = pq.read_table(path).to_pylist()
    assert [row["id"] for row in rows] == list(range(1, 12))
    red = rows[flags.id["red"] - 1]
    assert (red["title"], red["artist"], red["width"], red["height"]) == ("Red", "Ada Flagg", 64, 32)
    assert (red["begin_year"], json.loads(red["extra"])) == (None, {"shelf": "A1"})
    for work in flags.works:
        row = rows[flags.id[work.stem] - 1]
        assert row["embedding"] == pytest.approx(flag_row(work.code, flag).tolist(), abs=1e-6)


def test_a_work_that_an_encoder_has_not_seen_has_an_empty_embedding(new_flags, command, tiny_network):
    other = tiny_network(new_flags.folder / "models" / "other", name="other", flipped=True)
    command("index", "more", "--encoder", other, cwd=new_flags.folder)
    files = ("--parquet", "works.parquet", "--embeddings", "all.npz")
    command("export", "--encoder", "other", *files, cwd=new_flags.folder)
    rows = pq.read_table(new_flags.folder / "works.parquet").to_pylist()
    seen = [new_flags.id["dusk"], new_flags.id["violet"]]
    assert [row["id"] for row in rows if row["embedding"] is not None] == seen
    with np.load(new_flags.folder / "all.npz") as file:
        assert file["id"].tolist() == seen
        assert str(file["encoder"]).startswith("other@1 (48 numbers, digest ")


def test_export_needs_a_file_to_write(flags, command):
    done = command("export", cwd=flags.folder, status=2)
    assert "name a file to write: --csv, --parquet or --embeddings" in done.err


@pytest.mark.parametrize("option", ["--csv", "--parquet", "--embeddings"])
def test_a_file_that_cannot_be_written_is_named(flags, command, tmp_path, option):
    path = tmp_path / "no such folder" / "file"
    done = command("export", option, path, cwd=flags.folder, status=1)
    assert done.err == f"simsearch: {path} cannot be written: No such file or directory\n"
    assert done.out == ""


def test_a_folder_is_no_file_to_export_to(flags, command, tmp_path):
    done = command("export", "--csv", tmp_path, cwd=flags.folder, status=2)
    assert f"File '{tmp_path}' is a directory" in done.err


def test_export_names_the_encoders_there_are(flags, command, tmp_path):
    done = command("export", "--encoder", "clip", "--embeddings", tmp_path / "all.npz", cwd=flags.folder, status=1)
    assert "this collection has no embeddings by 'clip'; it has tiny" in done.err
    assert not (tmp_path / "all.npz").exists()
