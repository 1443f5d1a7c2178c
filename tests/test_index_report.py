"""What `simsearch index` says of a run: failures by reason, the report, and how far it is."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from contextlib import suppress

import pytest
from PIL import Image

# -- failures and what is said -----------------------------------------------------------------------------------------


def noise() -> bytes:
    out = io.BytesIO()
    Image.effect_noise((30, 30), 90).save(out, "JPEG")
    return out.getvalue()


@pytest.fixture
def broken(place):
    """The same place with files that fail, each for another reason."""
    art = place.folder / "art"
    (art / "half.jpg").write_bytes(noise()[:500])
    (art / "empty.png").touch()
    (art / "text.png").write_text("not a picture")
    (art / "gone.png").symlink_to("nowhere")
    Image.new("RGB", (40, 30), "red").save(art / "large.png")
    return place


def test_failures_are_counted_by_reason_listed_and_over_when_the_file_is_mended(broken, command) -> None:
    art = broken.folder / "art"
    done = command("index", "--max-pixels", 1000, cwd=broken.folder, status=3)
    assert done.lines[0].startswith("0 added, 0 changed, 0 moved, 0 removed, 4 unchanged, 5 failed in ")
    reasons = ("empty", "not an image", "too many pixels", "truncated", "unreadable")
    assert sorted(done.lines[1:-1]) == [f"failed: 1 {reason}" for reason in reasons]
    assert done.lines[-1] == "simsearch info --failures lists them"
    assert command("info", "--failures", cwd=broken.folder).lines == [
        f"empty: {art}/empty.png is empty (0 bytes)",
        f"unreadable: {art}/gone.png cannot be read: No such file or directory",
        f"truncated: {art}/half.jpg is truncated: its data end too early",
        f"too many pixels: {art}/large.png has 40 x 30 pixels, more than the cap of 1,000; raise it with --max-pixels",
        f"not an image: {art}/text.png is not an image: its first bytes are of no format that is read",
    ]
    listed = command("info", "--failures", "--json", cwd=broken.folder).records
    assert [(f["source_id"], f["reason"], f["path"]) for f in listed][:1] == [
        ("empty.png", "empty", f"{art}/empty.png")
    ]
    (art / "half.jpg").write_bytes(noise())
    (art / "gone.png").unlink()
    assert broken.counts() == "2 added, 4 unchanged, 2 failures"  # the cap is back at its default
    assert json.loads(command("info", "--json", cwd=broken.folder).out)["failures"] == {"empty": 1, "not an image": 1}


def test_a_new_folder_in_which_all_fail_is_a_collection_with_failures(place, command) -> None:
    (place.folder / "bad").mkdir()
    (place.folder / "bad" / "empty.png").touch()
    done = command("index", "bad", "--collection", "new", "--encoder", place.network, cwd=place.folder, status=3)
    assert "0 added, 0 changed, 0 moved, 0 removed, 0 unchanged, 1 failed" in done.out
    assert command("info", "--failures", "--collection", "new", cwd=place.folder).lines[0].startswith("empty: ")
    found = command("similar", "art/red.png", "--collection", "new", cwd=place.folder)
    assert found.out == "no work of the collection fits\n"


def test_a_file_that_was_good_and_is_broken_now_keeps_what_is_known_of_it(place) -> None:
    red = place.folder / "art" / "red.png"
    before, good = place.nearest("art/rust.png"), (red.read_bytes(), red.stat().st_mtime_ns)
    red.write_bytes(b"broken")
    assert place.counts() == "3 unchanged, 1 failures"
    assert place.nearest("art/rust.png") == before
    assert place.counts() == "3 unchanged, 1 failures"  # it is tried again each time
    red.write_bytes(good[0])
    os.utime(red, ns=(good[1], good[1]))
    assert place.counts() == "4 unchanged"
    assert place.sql("SELECT count(*) FROM failure") == [(0,)]  # though it did not have to be read


def test_the_report_as_json_has_every_count(broken, command) -> None:
    broken.draw(art__new="ckck")
    (broken.folder / "art" / "notes.txt").touch()
    report = json.loads(command("index", "--json", "--max-pixels", 1000, cwd=broken.folder, status=3).out)
    assert report.pop("seconds") > 0
    reasons = ("empty", "not an image", "truncated", "too many pixels", "unreadable")
    assert report == {
        "added": 1, "changed": 0, "moved": 0, "removed": 0, "unchanged": 4, "failed": dict.fromkeys(reasons, 1),
        "embedded": 1, "described": 0, "absent": 0, "skipped": 1, "unreachable": [], "interrupted": False, "notes": [],
        "encoder": "tiny", "followed_by": [],
    }  # fmt: skip


def test_progress_comes_as_plain_lines_where_standard_error_is_no_terminal(place, command) -> None:
    place.draw(art__one="ckck", art__two="kckc")
    done = command("index", cwd=place.folder)
    assert done.err.splitlines() == ["embedding: 2 images", "building the index"]
    assert "\x1b" not in done.out + done.err


def test_progress_on_a_terminal_is_a_bar_with_a_rate_and_the_time_left(place) -> None:
    for i, letter in enumerate("rgbymcwk"):
        place.draw(**{f"art__{i}__{a}{b}": letter + a + b + "r" for a in "rgbymcwk" for b in "rgby"})
    pty = pytest.importorskip("pty", reason="there are no pseudo-terminals here")
    main, side = pty.openpty()
    line = [sys.executable, "-m", "simsearch", "index"]
    env = os.environ | {"TERM": "xterm", "COLUMNS": "120"}
    with subprocess.Popen(line, cwd=place.folder, stderr=side, stdout=subprocess.PIPE, env=env) as process:
        os.close(side)
        shown = b""
        with suppress(OSError):  # how Linux says that the other side is closed
            while block := os.read(main, 4096):
                shown += block
        assert b"256 added" in process.stdout.read()
    os.close(main)
    text = shown.decode()
    assert "embedding" in text
    assert "256/256" in text
    assert re.search(r"\d+ images/s", text)
    assert re.search(r"\d+:\d\d", text)
