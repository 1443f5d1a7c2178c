"""``simsearch similar``: what a query can be, how queries mix, and which works may answer."""

import os
import shutil
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest


@pytest.fixture
def ranked(flags, flag_cosine):
    """What `similar` must say of a mix of flags, by hand: (score, stem), best first, of equal ones the lower id."""

    def rank(plus, minus=(), leave_out=(), k=10):
        signed = [(code, 1) for code in plus] + [(code, -1) for code in minus]
        square = sum(s * t * flag_cosine(a, b) for a, s in signed for b, t in signed)
        best = sorted(
            (-round(sum(s * flag_cosine(code, work.code) for code, s in signed) / square**0.5, 6), flags.id[work.stem])
            for work in flags.works
        )
        stems = {id: stem for stem, id in flags.id.items()}
        return [(-score, stems[id]) for score, id in best if stems[id] not in leave_out][:k]

    return rank


@pytest.fixture
def similar(flags, command):
    """The (score, stem) pairs that `simsearch similar ... --json` prints."""

    def ask(*arguments, cwd=flags.folder, **options):
        records = command("similar", *arguments, "--json", cwd=cwd, **options).records
        assert [record["rank"] for record in records] == list(range(1, len(records) + 1))
        return [(pytest.approx(r["score"], abs=1e-6), r["source_id"].rpartition("/")[2][:-4]) for r in records]

    return ask


@pytest.fixture
def new_flag(flag, tmp_path):
    """The path of a flag that no collection knows."""

    def draw(code, size=(16, 16), name=None):
        path = tmp_path / (name or f"{code}.png")
        flag(code, size).save(path)
        return path

    return draw


@pytest.fixture
def server(tmp_path):
    """The address of a web server over an empty folder, and the folder."""
    root = tmp_path / "web"
    root.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(root))) as served:
        thread = Thread(target=served.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{served.server_port}", root
        served.shutdown()
        thread.join()


# -- what a query can be -----------------------------------------------------------------------------------------------


def test_a_stored_work_is_asked_about_by_path_and_is_not_its_own_neighbour(flags, similar, ranked):
    assert similar(flags.path("red")) == ranked(["rrrr"], leave_out=["red"])


def test_a_stored_work_is_asked_about_by_id(flags, similar, ranked):
    assert similar(flags.id["tide"]) == ranked(["bbcc"], leave_out=["tide"])


def test_a_path_is_recognised_however_it_is_written(flags, similar, ranked, tmp_path):
    link = tmp_path / "link.png"
    link.symlink_to(flags.path("red"))
    expected = ranked(["rrrr"], leave_out=["red"])
    assert similar("red.png", cwd=flags.path("red").parent) == expected
    assert similar("../art/cold/../warm/red.png", cwd=flags.folder / "more") == expected
    assert similar(link) == expected


def test_include_self_puts_the_work_first_with_a_score_of_one(flags, similar, ranked):
    found = similar(flags.path("red"), "--include-self")
    assert found[0] == (1.0, "red")
    assert found == ranked(["rrrr"])


def test_a_work_with_the_same_bytes_as_the_query_is_another_work(flags, similar):
    assert similar(flags.path("sea"), "-k", 1) == [(1.0, "sea copy")]
    assert similar(flags.path("sea copy"), "-k", 1) == [(1.0, "sea")]


def test_a_file_that_the_collection_has_never_seen_is_embedded(new_flag, similar, ranked):
    assert similar(new_flag("rgrg")) == ranked(["rgrg"])


def test_a_copy_of_a_stored_file_outside_the_collection_finds_the_stored_work(flags, similar, ranked, tmp_path):
    copy = shutil.copy(flags.path("ember"), tmp_path / "found somewhere.png")
    assert similar(copy) == ranked(["rryy"])
    assert similar(copy, "-k", 1) == [(1.0, "ember")]


def test_an_address_is_fetched(server, flag, similar, ranked):
    address, root = server
    flag("gggy").save(root / "a flag.png")
    assert similar(f"{address}/a%20flag.png") == ranked(["gggy"])


def test_an_address_that_answers_with_an_error_is_named(server, flags, command):
    address, _ = server
    done = command("similar", f"{address}/none.png", cwd=flags.folder, status=1)
    assert done.err.startswith(f"simsearch: {address}/none.png cannot be fetched: 404")
    assert done.out == ""


def test_an_address_that_is_no_image_is_refused(server, flags, command):
    address, root = server
    (root / "page.html").write_text("<html>not a picture</html>")
    done = command("similar", f"{address}/page.html", cwd=flags.folder, status=1)
    assert f"{address}/page.html is not an image" in done.err


def test_a_dash_reads_standard_input(new_flag, similar, ranked):
    assert similar("-", stdin=new_flag("kkkr").read_bytes()) == ranked(["kkkr"])


def test_an_empty_standard_input_says_what_to_do(flags, command):
    done = command("similar", "-", cwd=flags.folder, status=1)
    assert done.err == "simsearch: standard input is empty; pipe an image into it\n"


def test_standard_input_is_taken_once(flags, command, new_flag):
    done = command("similar", "-", "--minus", "-", cwd=flags.folder, stdin=new_flag("rrrr").read_bytes(), status=1)
    assert "use - once" in done.err


def test_a_number_is_an_id_unless_a_file_of_that_name_lies_here(flags, similar, ranked, new_flag):
    path = new_flag("gggg", name=str(flags.id["red"]) + ".png")
    bare = path.rename(path.with_suffix(""))
    at_home = ("--collection", flags.folder)
    assert similar(bare.name, *at_home, cwd=path.parent) == ranked(["gggg"])
    bare.unlink()
    assert similar(bare.name, *at_home, cwd=path.parent) == ranked(["rrrr"], leave_out=["red"])


def test_an_id_that_is_not_there_is_named(flags, command):
    done = command("similar", 4711, cwd=flags.folder, status=1)
    assert done.err == ("simsearch: this collection has no artwork 4711; `simsearch similar --json` shows the ids\n")


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("missing.png", None, "missing.png cannot be read: No such file or directory"),
        ("empty.png", b"", "empty.png is empty (0 bytes)"),
        ("text.png", b"not a picture", "text.png is not an image"),
        ("cut.png", b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "cut.png is"),
    ],
)
def test_a_query_that_is_no_image_is_refused_with_the_reason(flags, command, tmp_path, name, content, sentence):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    done = command("similar", tmp_path / name, cwd=flags.folder, status=1)
    assert done.err.startswith(f"simsearch: {tmp_path}/{sentence}")
    assert done.out == ""


def test_a_huge_query_names_the_option_that_raises_the_cap(flags, command, new_flag, similar, ranked):
    path = new_flag("cccc", (200, 100))
    done = command("similar", path, "--max-pixels", 19_999, cwd=flags.folder, status=1)
    assert "200 x 100 pixels, more than the cap of 19,999; raise it with --max-pixels" in done.err
    assert similar(path, "--max-pixels", 20_000) == ranked(["cccc"])


def test_a_query_needs_a_collection(command, tmp_path, new_flag):
    done = command("similar", new_flag("rrrr"), cwd=tmp_path, status=1)
    assert "there is no collection in" in done.err
    assert "simsearch index FOLDER" in done.err


def test_the_environment_names_the_collection(flags, command, tmp_path):
    done = command("similar", flags.id["red"], "-k", 1, "--paths", cwd=tmp_path,
                   env={"SIMSEARCH_COLLECTION": str(flags.folder)})  # fmt: skip
    assert done.out == f"{flags.path('rust')}\n"


# -- stored works need no model ----------------------------------------------------------------------------------------


def test_stored_works_are_found_without_their_model_and_new_images_say_what_is_missing(
    new_flags, similar, command, tmp_path, new_flag
):
    shutil.rmtree(new_flags.network)
    copy = shutil.copy(new_flags.path("red"), tmp_path / "copy.png")
    here = {"cwd": new_flags.folder}
    assert similar(new_flags.path("red"), "-k", 1, **here)[0][1] == "rust"
    assert similar(new_flags.id["red"], "-k", 1, **here)[0][1] == "rust"
    assert similar(copy, "-k", 1, **here) == [(1.0, "red")]
    done = command("similar", new_flag("gggg"), status=1, **here)
    assert f"there is no encoder '{new_flags.network}'" in done.err


def test_a_stored_work_is_found_while_its_disk_is_away(new_flags, similar):
    path = new_flags.path("red")
    (new_flags.folder / "art").rename(new_flags.folder / "unplugged")
    assert similar(path, "-k", 1, cwd=new_flags.folder)[0][1] == "rust"


def test_a_stored_file_that_was_only_touched_is_still_itself(new_flags, similar):
    os.utime(new_flags.path("red"), ns=(1, 1))
    assert "red" not in [stem for _, stem in similar(new_flags.path("red"), cwd=new_flags.folder)]


def test_a_stored_file_that_was_painted_over_is_a_new_image(new_flags, similar, flag, flag_cosine):
    flag("ggyy").save(new_flags.path("red"))
    found = similar(new_flags.path("red"), "-k", 20, cwd=new_flags.folder)
    assert (round(flag_cosine("ggyy", "yyyy"), 6), "sun") in found
    assert (round(flag_cosine("ggyy", "rrrr"), 6), "red") in found  # until it is indexed again


def test_a_model_folder_that_changed_is_refused(new_flags, command, tiny_network, new_flag):
    tiny_network(new_flags.network, revision="2", flipped=True)
    done = command("similar", new_flag("gggg"), cwd=new_flags.folder, status=1)
    assert "the embeddings were made with tiny@1 (48 numbers, digest " in done.err
    assert "now holds tiny@2 (48 numbers, digest " in done.err
    assert "; run `simsearch index --encoder " in done.err


# -- mixes -------------------------------------------------------------------------------------------------------------


def test_several_images_mix_into_one_query(flags, similar, ranked):
    queries = flags.path("red"), flags.id["violet"]
    assert similar(*queries) == ranked(["rrrr", "mmmm"], leave_out=["red", "violet"])


def test_minus_takes_an_image_away_and_may_be_repeated(flags, similar, ranked, new_flag):
    found = similar(flags.path("sun"), "--minus", flags.path("red"), "--minus", new_flag("gggk"))
    assert found == ranked(["yyyy"], ["rrrr", "gggk"], leave_out=["sun", "red"])


def test_include_self_keeps_every_image_of_a_mix(flags, similar, ranked):
    found = similar(flags.path("sun"), "--minus", flags.path("red"), "--include-self", "-k", 20)
    assert found == ranked(["yyyy"], ["rrrr"], k=20)
    assert {"sun", "red"} <= {stem for _, stem in found}


@pytest.mark.parametrize("arguments", [("red", "--minus", "red"), ("red", "ice")])
def test_a_mix_that_cancels_out_is_refused(flags, command, arguments):
    paths = [flags.path(word) if not word.startswith("--") else word for word in arguments]
    done = command("similar", *paths, cwd=flags.folder, status=1)
    assert done.err == "simsearch: the parts of this query cancel each other out; leave one of them away\n"


# -- a part of the image -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("region", ["0,0,32,32", "0%,0%,50%,100%", " 0 , 8 , 32 , 999 "])
def test_a_region_asks_about_a_part(new_flag, similar, ranked, region):
    assert similar(new_flag("rryy", (64, 32)), "--region", region) == ranked(["rrrr"])


def test_a_region_of_a_stored_work_leaves_that_work_out(flags, similar, ranked):
    assert similar(flags.id["ember"], "--region", "50%,0%,50%,100%") == ranked(["yyyy"], leave_out=["ember"])


@pytest.mark.parametrize(
    ("region", "sentence"),
    [
        ("1,2,3", "region '1,2,3' is not x,y,w,h; write 100,50,300,200 or 10%,5%,30%,20%"),
        ("a,b,c,d", "region 'a,b,c,d' is not x,y,w,h"),
        ("10%,0,5,5", "region '10%,0,5,5' mixes pixels and per cent"),
        ("0,0,0,5", "region '0,0,0,5' is empty or starts outside"),
        ("-1,0,5,5", "region '-1,0,5,5' is empty or starts outside"),
        ("nan,0,5,5", "region 'nan,0,5,5' is empty or starts outside"),
        ("64,0,5,5", "the region lies outside the image, which is 64 x 32 pixels"),
    ],
)
def test_a_region_that_makes_no_sense_is_explained(flags, command, region, sentence):
    done = command("similar", flags.path("red"), "--region", region, cwd=flags.folder, status=1)
    assert sentence in done.err


def test_a_region_takes_one_query_image(flags, command):
    paths = flags.path("red"), flags.path("sun")
    done = command("similar", *paths, "--region", "0,0,8,8", cwd=flags.folder, status=1)
    assert done.err == "simsearch: --region takes one query image, there are several\n"


# -- which works may answer --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 3, 11, 500])
def test_k_works_are_found_or_all_there_are(similar, ranked, new_flag, k):
    found = similar(new_flag("rrgg"), "-k", k)
    assert found == ranked(["rrgg"], k=k)
    assert len(found) == min(k, 11)


def test_min_score_keeps_what_is_at_least_that_near(flags, similar, ranked):
    found = similar(flags.path("red"), "--min-score", 0.5)
    assert found == ranked(["rrrr"], leave_out=["red"])[:3]
    assert found[-1] == (0.5, "dune")


@pytest.mark.parametrize(
    ("expression", "stems"),
    [
        ("style = 'Striped' and date is not null", ["rust", "ember", "dune"]),
        ("artist = 'Ada Flagg' or shelf = 'B1'", ["rust", "sun", "sea"]),
        ("width > 16", ["sun"]),
        ("height >= 64 and not width > 64", ["sun"]),
        ("genre in ('banner')", ["dune", "sun"]),
        ("title like '%st%gold'", ["rust"]),
        ("path like 'cold/%' and title is null", ["sea copy"]),
        ("source = 'folder:more'", ["dusk", "violet"]),
        ("style = 'Rococo'", []),
    ],
)
def test_where_keeps_the_works_that_fit(flags, similar, ranked, expression, stems):
    found = similar(flags.path("red"), "--where", expression)
    assert [stem for _, stem in found] == stems
    assert found == [hit for hit in ranked(["rrrr"], leave_out=["red"]) if hit[1] in stems]


def test_where_names_the_wrong_column_and_the_ones_there_are(flags, command, snapshot):
    done = command("similar", flags.path("red"), "--where", "styl = 'Plain'", cwd=flags.folder, status=2)
    assert done.out == ""
    snapshot("similar_wrong_column.txt", done.err)


def test_where_reaches_no_sql(new_flags, command, similar):
    attempt = "title = 'x'; DROP TABLE artwork; --"
    done = command("similar", new_flags.path("red"), "--where", attempt, cwd=new_flags.folder, status=2)
    assert "; at character 12 is no part of an expression" in done.err
    quoted = "title = 'x''; DROP TABLE artwork; --'"
    assert similar(new_flags.path("red"), "--where", quoted, cwd=new_flags.folder) == []
    assert len(similar(new_flags.path("red"), "-k", 20, cwd=new_flags.folder)) == 10


@pytest.mark.parametrize(
    ("shared", "query", "left_out"),
    [
        ("artist", "red", ["red", "rust", "sea"]),
        ("folder", "red", ["red", "rust", "ember", "dune", "sun"]),
        ("folder", "violet", ["violet", "dusk"]),
        ("source", "violet", ["violet", "dusk"]),
        ("source", "red", ["red", "rust", "ember", "dune", "sun", "sea", "ice", "tide", "sea copy"]),
    ],
)
def test_exclude_same_leaves_out_works_that_share_it(flags, similar, ranked, shared, query, left_out):
    found = similar(flags.path(query), "--exclude-same", shared, "-k", 20)
    assert found == ranked([flags.work(query).code], leave_out=left_out, k=20)


def test_exclude_same_takes_several_kinds_and_goes_with_where(flags, similar):
    options = ("--exclude-same", "artist", "--exclude-same", "folder", "--where", "style is not null")
    assert [stem for _, stem in similar(flags.path("red"), *options)] == ["violet", "tide", "ice"]


def test_exclude_same_folder_holds_for_a_new_file_in_that_folder(new_flags, similar, flag):
    path = new_flags.folder / "more" / "new.png"
    flag("mmmk").save(path)
    found = similar(path, "--exclude-same", "folder", "-k", 20, cwd=new_flags.folder)
    assert len(found) == 9
    assert {"violet", "dusk"}.isdisjoint(stem for _, stem in found)


def test_exclude_same_artist_needs_a_query_whose_artist_is_known(flags, command):
    done = command("similar", flags.path("dusk"), "--exclude-same", "artist", cwd=flags.folder, status=1)
    assert done.err.startswith("simsearch: --exclude-same artist: the collection knows no artist of ")
