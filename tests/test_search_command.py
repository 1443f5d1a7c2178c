"""`simsearch search`, and words, blends and meanings in `similar`: the real commands."""

from __future__ import annotations

import pytest
from flag_words import add_words


@pytest.fixture(scope="module")
def speaking(tmp_path_factory, tiny_network, command):
    """The collection of flags by two encoders: one that reads the names of colours, and `color`."""
    from conftest import index_flags

    made = index_flags(
        tmp_path_factory.mktemp("said"), lambda folder, *args, **named: add_words(tiny_network(folder, *args, **named))
    )
    command("index", "--encoder", made.network, "--encoder", "color", cwd=made.folder)
    return made


@pytest.fixture
def ask(speaking, command):
    return lambda *arguments, **named: command(*arguments, cwd=speaking.folder, **named)


def stems(done):
    return [record["source_id"].rpartition("/")[2].removesuffix(".png") for record in done.records]


# -- search ------------------------------------------------------------------------------------------------------------


def test_search_shows_what_words_describe(ask, snapshot):
    snapshot("search_yellow.txt", ask("search", "yellow", "-k", 3).out)


def test_search_takes_words_away_and_filters(ask):
    assert stems(ask("search", "cyan", "--minus", "0.5:blue", "-k", 1, "--json")) == ["ice"]
    plain = ask("search", "red", "--where", "style = 'Striped'", "--json", "-k", 2)
    assert stems(plain) == ["rust", "ember"]
    assert stems(ask("search", "red", "--min-score", 0.9, "--json")) == ["red"]


def test_several_words_mix(ask):
    assert stems(ask("search", "3:red", "yellow", "-k", 1, "--pictures", "--json")) == ["red"]
    assert stems(ask("search", "red", "3:yellow", "-k", 1, "--pictures", "--json")) == ["sun"]


def test_metadata_is_searched_under_every_encoder(flags, command, snapshot):
    done = command("search", "--metadata", "flagg", cwd=flags.folder)
    snapshot("search_metadata.txt", done.out)
    records = command("search", "--metadata", "cy striped", "--json", cwd=flags.folder).records
    assert records[0]["title"] == "Tide"
    assert {record["scale"] for record in records} == {"bm25"}
    none = command("search", "--metadata", "zeppelin", cwd=flags.folder)
    assert none.out == "no work of the collection fits\n"


def test_words_of_pictures_and_of_the_catalog_are_fused_where_both_apply(ask, snapshot):
    # "red" is the title of one work, and what several pictures show
    done = ask("search", "red", "-k", 3, "--json")
    assert stems(done)[0] == "red"
    assert done.records[0]["ranks"] == {"pictures": 1, "metadata": 1}
    assert done.records[0]["score"] == pytest.approx(2 / 61, abs=1e-6)
    assert done.records[1]["ranks"] == {"pictures": 2}
    assert {record["scale"] for record in done.records} == {"rrf"}
    alone = ask("search", "red", "--pictures", "-k", 1, "--json").records[0]
    assert alone["score"] == 1.0
    assert "scale" not in alone
    snapshot("search_fused.txt", ask("search", "red", "-k", 3).out)


def test_without_an_encoder_that_reads_words_the_way_out_is_named(flags, command):
    for arguments in (("search", "red"), ("similar", flags.path("red"), "--text", "red")):
        done = command(*arguments, cwd=flags.folder, status=1)
        assert done.err.startswith("simsearch: no encoder of this collection reads words (it has tiny); add one")
        assert "`simsearch index --encoder clip:ViT-B-32/laion2b_s34b_b79k`" in done.err
        assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("search", ""), 1, "an empty text asks for nothing"),
        (("search", "   "), 1, "an empty text asks for nothing"),
        (("search", "--metadata", "?!"), 1, "word"),
        (("search", "--metadata", "red", "--minus", "blue"), 1, "words of the catalog have no cosine to take away"),
        (("search", "red", "cyan", "--pictures"), 1, "the parts of this query cancel each other out"),
        (("search", "red", "--minus", "red"), 1, "the parts of this query cancel each other out"),
        (("search", "red", "--encoder", "color"), 1, "color knows pictures only, no words"),
        (("search", "0:red"), 1, "a number above 0 is needed"),
        (("search",), 2, "Missing argument"),
    ],
)
def test_bad_questions_get_one_sentence(ask, arguments, status, said):
    done = ask(*arguments, status=status)
    assert said in done.err
    assert done.out == ""


def test_a_text_with_too_many_tokens_is_cut_with_a_warning(ask):
    done = ask("search", "blue blue blue blue blue blue yellow", "-k", 1, "--json")
    assert stems(done) == ["sea copy"]
    assert "has 7 tokens, tiny reads 6; the rest was left out" in done.err


def test_a_sheet_shows_the_words_of_a_question(ask, speaking, tmp_path):
    ask("search", "blue", "--minus", "0.2:red", "--pictures", "--html", tmp_path / "sheet.html", "-k", 2)
    page = (tmp_path / "sheet.html").read_text(encoding="utf-8")
    assert page.count('<p class="words">') == 2
    assert "Works like “blue”" in page
    ask("search", "--metadata", "flagg", "--html", tmp_path / "words.html")
    assert "Works stand by how well the words fit their descriptions." in (tmp_path / "words.html").read_text("utf-8")


# -- similar with words, blends and meanings ---------------------------------------------------------------------------


def test_similar_takes_words_along(ask, speaking):
    done = ask("similar", speaking.id["red"], "--text", "9:yellow", "-k", 2, "--json")
    assert stems(done) == ["sun", "dune"]
    assert {record["percentile"] for record in done.records} == {None}
    away = ask("similar", speaking.id["ember"], "--minus-text", "0.9:yellow", "-k", 1, "--json")
    assert stems(away) == ["rust"]


def test_by_names_what_like_means(ask, speaking, flags, command):
    query = speaking.id["rust"]
    assert ask("similar", query, "--by", "colour", "--json").records == ask("similar", query, "--by", "color",
                                                                            "--json").records  # fmt: skip
    assert ask("similar", query, "--by", "tiny", "--json").records == ask("similar", query, "--json").records
    done = command("similar", flags.id["red"], "--by", "content", cwd=flags.folder, status=1)
    assert "no encoder of this collection is known to tell content (it has tiny); add one with" in done.err


def test_a_blend_is_shown_with_the_cosines_behind_it(ask, speaking, snapshot):
    done = ask("similar", speaking.id["rust"], "--blend", "tiny=0.6,color=0.4", "-k", 3)
    assert done.lines[0].split()[:3] == ["blend", "tiny", "color"]
    records = ask("similar", speaking.id["rust"], "--blend", "tiny=3,color=2", "-k", 3, "--json").records
    assert [share["weight"] for share in records[0]["blend"].values()] == [0.6, 0.4]
    csv = ask("similar", speaking.id["rust"], "--blend", "tiny=3,color=2", "-k", 1, "--csv")
    assert '""weight"": 0.6' in csv.out


def test_a_blend_and_an_encoder_exclude_each_other(ask, speaking):
    done = ask("similar", speaking.id["rust"], "--blend", "tiny=1", "--by", "color", status=2)
    assert "--blend names the encoders; leave --encoder and --by away" in done.err
    done = ask("similar", speaking.id["rust"], "--blend", "tiny", status=1)
    assert "write ENCODER=WEIGHT" in done.err


# -- several encoders --------------------------------------------------------------------------------------------------


def test_one_run_embeds_by_several_encoders_and_the_next_keeps_them_current(tmp_path, flag, tiny_network, command):
    (tmp_path / "art").mkdir()
    flag("rrrr").save(tmp_path / "art" / "red.png")
    tiny = tiny_network(tmp_path / "models" / "tiny")
    done = command("index", "art", "--encoder", tiny, "--encoder", "color", "--encoder", tiny, cwd=tmp_path)
    assert [line.partition(" in ")[0] for line in done.lines if " added" in line] == [
        "tiny: 1 added, 0 changed, 0 moved, 0 removed, 0 unchanged, 0 failed",
        "color: 0 added, 0 changed, 0 moved, 0 removed, 1 unchanged, 0 failed",
    ]
    flag("bbbb").save(tmp_path / "art" / "blue.png")
    (report,) = command("index", "--json", cwd=tmp_path).records
    assert (report["encoder"], report["embedded"]) == ("tiny", 1)
    assert [(each["encoder"], each["embedded"]) for each in report["followed_by"]] == [("color", 1)]
    info = command("info", cwd=tmp_path).out
    assert "tiny" in info
    assert "color" in info
    assert len(command("similar", "art/red.png", "--by", "color", "--json", cwd=tmp_path).records) == 1


def test_an_encoder_that_took_the_place_of_another_is_current_alone(tmp_path, flag, tiny_network, command):
    (tmp_path / "art").mkdir()
    flag("rrrr").save(tmp_path / "art" / "red.png")
    tiny = tiny_network(tmp_path / "tiny")
    command("index", "art", "--encoder", tiny, "--encoder", "color", cwd=tmp_path)
    tiny_network(tiny, revision="2", flipped=True)
    command("index", "--encoder", tiny, cwd=tmp_path)
    flag("bbbb").save(tmp_path / "art" / "blue.png")
    (report,) = command("index", "--json", cwd=tmp_path).records
    assert [each["encoder"] for each in (report, *report["followed_by"])] == ["tiny", "color"]


def test_an_encoder_that_is_gone_keeps_no_other_from_new_works(tmp_path, flag, tiny_network, command):
    (tmp_path / "art").mkdir()
    flag("rrrr").save(tmp_path / "art" / "red.png")
    tiny = tiny_network(tmp_path / "tiny")
    command("index", "art", "--encoder", "color", "--encoder", tiny, cwd=tmp_path)
    tiny.rename(tmp_path / "away")
    flag("bbbb").save(tmp_path / "art" / "blue.png")
    done = command("index", "--json", cwd=tmp_path)
    assert (done.records[0]["encoder"], done.records[0]["embedded"]) == ("color", 1)
    assert done.records[0]["followed_by"] == []
    assert "tiny is not brought up to date: there is no encoder" in done.err


def test_an_option_for_networks_of_torch_needs_one(tmp_path, flag, command):
    (tmp_path / "art").mkdir()
    flag("rrrr").save(tmp_path / "art" / "red.png")
    done = command("index", "art", "--encoder", "color", "--layer", "blocks.3", cwd=tmp_path, status=1)
    assert "color takes no layer; that is for encoders of timm:" in done.err
    assert not (tmp_path / ".simsearch").exists()
