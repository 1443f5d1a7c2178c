"""What ``simsearch similar`` prints: the table, JSON, CSV, bare paths, and the contact sheet."""

import csv
import io
import os
import subprocess
import sys
from base64 import b64decode
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image


def test_the_table_shows_score_share_title_artist_and_style(flags, command, snapshot):
    snapshot("similar_table.txt", command("similar", flags.path("red"), "-k", 20, cwd=flags.folder).out)


def test_the_table_says_so_where_no_work_fits(flags, command):
    done = command("similar", flags.path("red"), "--where", "style = 'Rococo'", cwd=flags.folder)
    assert done.out == "no work of the collection fits\n"


def test_json_prints_one_object_a_line_with_all_that_is_known(flags, command):
    (first, second) = command("similar", flags.path("red"), "-k", 2, "--json", cwd=flags.folder).records
    assert first == {
        "rank": 1, "score": 0.833333, "percentile": 90.91, "id": flags.id["rust"],
        "title": "Rust\nand \x1b[31mgold", "artist": "Ada Flagg", "style": "Striped", "genre": "flag", "date": "1910",
        "path": str(flags.path("rust")), "width": 16, "height": 16, "source": "folder:art",
        "source_id": "warm/rust.png", "extra": {"shelf": "A2"},
    }  # fmt: skip
    assert list(first)[:5] == ["rank", "score", "percentile", "id", "title"]
    assert (second["rank"], second["id"]) == (2, flags.id["ember"])


def test_json_and_the_table_hold_nothing_that_a_terminal_obeys(flags, command):
    for form in ([], ["--json"]):
        done = command("similar", flags.path("red"), "-k", 1, *form, cwd=flags.folder)
        assert "\x1b" not in done.out
        assert "gold" in done.out


def test_csv_has_a_header_and_reads_back(flags, command):
    done = command("similar", flags.path("red"), "-k", 5, "--csv", cwd=flags.folder)
    rows = list(csv.DictReader(io.StringIO(done.out, newline="")))
    assert done.lines[0] == (
        "rank,score,percentile,id,title,artist,style,genre,date,begin_year,end_year,medium,classification,credit_line,"
        "rights,source_url,iiif_url,path,width,height,source,source_id,resembles,scale,blend,ranks"
    )
    assert [row["path"] for row in rows] == [str(flags.path(s)) for s in ("rust", "ember", "dune", "sun", "dusk")]
    assert [float(row["score"]) for row in rows] == [0.833333, 0.666667, 0.5, 0.333333, 0.333333]
    assert rows[0]["title"] == "Rust\nand \x1b[31mgold"
    assert (rows[4]["title"], rows[4]["artist"]) == ("", "")


def test_csv_of_no_hit_is_the_header_alone(flags, command):
    done = command("similar", flags.path("red"), "--where", "id < 0", "--csv", cwd=flags.folder)
    assert len(done.lines) == 1


def test_paths_are_printed_one_a_line(flags, command):
    done = command("similar", flags.path("sea"), "-k", 2, "--paths", cwd=flags.folder)
    assert done.out == f"{flags.path('sea copy')}\n{flags.path('tide')}\n"


def test_paths_for_xargs_end_with_nul(flags, command):
    for option in ("-0", "--null"):
        done = command("similar", flags.path("sea"), "-k", 2, option, cwd=flags.folder)
        assert done.out_bytes == b"".join(os.fsencode(flags.path(s)) + b"\0" for s in ("sea copy", "tide"))


def test_a_file_name_with_a_line_break_comes_out_of_null_ended_paths_as_it_is_on_the_disk(new_flags, command, flag):
    name = "café\n.png"
    flag("rrrr").save(new_flags.folder / "art" / name)
    command("index", cwd=new_flags.folder)
    done = command("similar", new_flags.path("red"), "-k", 1, "-0", cwd=new_flags.folder)
    assert done.out_bytes == os.fsencode(new_flags.folder / "art" / name) + b"\0"


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
def test_a_terminal_gets_a_table_of_its_width_and_harmless_paths(flags):
    def on_terminal(*arguments, columns=60):
        reader, writer = os.openpty()
        environment = os.environ | {"COLUMNS": str(columns), "TERM": "xterm", "NO_COLOR": ""}
        asked = [sys.executable, "-m", "simsearch", "similar", flags.path("red"), "-k", "3", *arguments]
        with subprocess.Popen(asked, cwd=flags.folder, stdout=writer, env=environment) as process:
            os.close(writer)
            shown = b""
            while True:
                try:
                    block = os.read(reader, 65536)
                except OSError:  # the other end is closed
                    break
                if not block:
                    break
                shown += block
        os.close(reader)
        assert process.returncode == 0
        return shown.decode()

    table = on_terminal()
    assert "\x1b[1m" in table  # bold heads
    plain = table.replace("\x1b[1m", "").replace("\x1b[0m", "").splitlines()
    assert "\x1b" not in "".join(plain)
    assert max(map(len, plain)) <= 60
    assert "Rust and" in plain[1]
    assert on_terminal("--paths").splitlines()[0] == str(flags.path("rust"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-k", "0"], "0 is not in the range x>=1"),
        (["-k", "ten"], "'ten' is not a valid integer"),
        (["--min-score", "2"], "2.0 is not in the range -1<=x<=1"),
        (["--exclude-same", "mood"], "'mood' is not one of 'artist', 'folder', 'source'"),
        (["--jsn"], "No such option"),
    ],
)
def test_wrong_usage_ends_with_status_two(flags, command, arguments, words):
    done = command("similar", flags.path("red"), *arguments, cwd=flags.folder, status=2)
    assert words in done.err
    assert done.out == ""


def test_a_query_must_be_named(flags, command):
    assert "Missing argument 'QUERY...'" in command("similar", cwd=flags.folder, status=2).err


# -- the contact sheet -------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """The addresses that a page loads or links, its pictures, and its headings."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.loaded, self.linked, self.pictures, self.headings = set(), [], [], [], []
        self._in_heading = False
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        for name, value in attrs:
            if name in ("src", "srcset", "data", "poster", "background"):
                self.loaded.append(value)
            if name == "href":
                self.linked.append(value)
        if tag == "img":
            kind, _, text = dict(attrs)["src"].partition(",")
            assert kind == "data:image/jpeg;base64"
            self.pictures.append(Image.open(io.BytesIO(b64decode(text, validate=True))))
        if tag in ("h1", "h3"):
            self._in_heading = True
            self.headings.append("")

    def handle_endtag(self, tag):
        self._in_heading = self._in_heading and tag not in ("h1", "h3")

    def handle_data(self, data):
        if self._in_heading:
            self.headings[-1] += data


@pytest.fixture
def sheet(flags, command, tmp_path):
    """The contact sheet of a query."""

    def make(*arguments, cwd=flags.folder, **options):
        path = tmp_path / "sheet.html"
        done = command("similar", *arguments, "--html", path, cwd=cwd, **options)
        assert done.err == f"contact sheet in {path}\n"
        return Page(path.read_text(encoding="utf-8"))

    return make


def colour(picture):
    red, green, blue = np.asarray(picture.convert("RGB")).mean((0, 1)) > 127
    return "kbgcrmyw"[4 * red + 2 * green + blue]


def test_the_sheet_shows_the_query_beside_its_hits_and_loads_nothing(sheet, flags):
    page = sheet(flags.path("red"), "-k", 3, "--where", "style = 'Plain'")
    assert page.headings == ["Works like Red", "1 Sun", "2 Violet", "3 Sea"]
    assert "".join(map(colour, page.pictures)) == "rymb"
    assert page.pictures[0].size == (64, 32)
    assert all(address.startswith("data:") for address in page.loaded)
    assert page.linked == [flags.path(stem).as_uri() for stem in ("sun", "violet", "sea")]
    assert page.tags.isdisjoint({"script", "link", "iframe", "object", "embed", "base"})


def test_the_sheet_shows_the_region_that_was_asked_about(sheet, flags):
    page = sheet(flags.id["ember"], "-k", 1, "--region", "50%,0%,50%,100%")
    assert page.pictures[0].size == (8, 16)
    assert colour(page.pictures[0]) == "y"


def test_the_sheet_shows_every_image_of_a_mix(sheet, flags, flag):
    data = io.BytesIO()
    flag("gggg").save(data, "PNG")
    page = sheet(flags.path("sun"), "-", "--minus", flags.path("red"), "-k", 1, stdin=data.getvalue())
    assert page.headings[0] == "Works like Sun and standard input"
    assert "".join(map(colour, page.pictures[:3])) == "ygr"


def test_the_sheet_is_made_while_the_pictures_are_away(sheet, new_flags):
    (new_flags.folder / "art").rename(new_flags.folder / "unplugged")
    page = sheet(new_flags.id["red"], "-k", 3, cwd=new_flags.folder)
    assert page.headings[:3] == ["Works like Red", "1 Rust and \ufffd[31mgold", "2 Ember"]
    assert page.pictures == []


def test_a_sheet_that_cannot_be_written_is_named_after_the_hits_were_shown(flags, command, tmp_path):
    path = tmp_path / "no such folder" / "sheet.html"
    done = command("similar", flags.path("red"), "--paths", "-k", 1, "--html", path, cwd=flags.folder, status=1)
    assert done.out == f"{flags.path('rust')}\n"
    assert done.err == f"simsearch: {path} cannot be written: No such file or directory\n"
