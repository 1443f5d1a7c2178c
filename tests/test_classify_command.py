"""``simsearch classify``: the vote of the nearest labelled works, by hand, and the words it is told in."""

import csv
import io

import pytest

from simsearch.classifier.neighbours import vote
from simsearch.records import Artwork, Hit, Label


@pytest.fixture
def classify(flags, command):
    """The predictions that `simsearch classify ... --json` prints, as (kind, value, votes, of, share)."""

    def ask(*arguments, cwd=flags.folder, **options):
        records = command("classify", *arguments, "--json", cwd=cwd, **options).records
        return [(r["kind"], r["value"], r["votes"], r["of"], r["share"]) for r in records]

    return ask


def hit(rank, score, **labels):
    work = Artwork("folder:a", f"{rank}.png", rank, labels=tuple(Label(kind, value) for kind, value in labels.items()))
    return Hit(rank, score, None, work)


# -- the count ---------------------------------------------------------------------------------------------------------


def test_the_value_with_the_most_votes_comes_first():
    hits = [hit(1, 0.9, style="A"), hit(2, 0.8, style="B"), hit(3, 0.1, style="B")]
    assert [(p.value, p.votes, p.of, p.share) for p in vote("style", hits)] == [
        ("B", 2, 3, 0.6667),
        ("A", 1, 3, 0.3333),
    ]


def test_of_as_many_votes_the_nearer_voters_win_and_then_the_name():
    hits = [hit(1, 0.9, style="C"), hit(2, 0.5, style="B"), hit(3, 0.5, style="A")]
    assert [p.value for p in vote("style", hits)] == ["C", "A", "B"]
    hits = [hit(1, 0.9, style="C"), hit(2, 0.7, style="B"), hit(3, 0.7, style="B"), hit(4, 0.1, style="C")]
    assert [p.value for p in vote("style", hits)] == ["B", "C"]


def test_works_without_the_label_have_no_vote():
    (said,) = vote("style", [hit(1, 0.9), hit(2, 0.8, genre="x"), hit(3, 0.7, style="A")])
    assert (said.value, said.votes, said.of, said.share) == ("A", 1, 1, 1.0)
    assert [voter.artwork.id for voter in said.neighbours] == [3]


def test_a_person_outvotes_the_source_in_what_a_work_is():
    labels = (Label("style", "by the source"), Label("style", "by a person", "human"), Label("style", "?", "predicted"))
    (said,) = vote("style", [Hit(1, 0.9, None, Artwork("folder:a", "1.png", 1, labels=labels))])
    assert said.value == "by a person"


def test_no_voter_gives_no_prediction():
    assert vote("style", []) == []


# -- the command -------------------------------------------------------------------------------------------------------


def test_each_kind_of_label_is_voted_on_by_its_nearest_works(flags, classify):
    # red's neighbours: rust .83, ember .67, dune .5, sun .33, violet .33, sea -.33, tide -.67, ice -1
    assert classify(flags.path("red"), "--voters", 3) == [
        ("style", "Striped", 3, 3, 1.0),
        ("genre", "flag", 2, 3, 0.6667),
        ("artist", "Bo Banner", 2, 3, 0.6667),
    ]


def test_ties_go_to_the_nearer_voters(flags, classify):
    # sun's: dune .83 and ember .67 by Bo, rust .5 and red .33 by Ada
    assert classify(flags.path("sun"), "--voters", 4, "--label", "artist", "--top", 5) == [
        ("artist", "Bo Banner", 2, 4, 0.5),
        ("artist", "Ada Flagg", 2, 4, 0.5),
    ]


def test_ties_of_voters_as_near_go_by_name(classify, flag, tmp_path):
    # white is as near to sun (banner) and violet (flag), and ice, as near, has no genre
    flag("wwww").save(tmp_path / "white.png")
    assert classify(tmp_path / "white.png", "--label", "genre", "--voters", 2, "--top", 2) == [
        ("genre", "banner", 1, 2, 0.5),
        ("genre", "flag", 1, 2, 0.5),
    ]


def test_all_labelled_works_vote_where_there_are_fewer_than_voters(flags, classify):
    assert classify(flags.path("red"), "--voters", 500, "--top", 9, "--label", "style") == [
        ("style", "Striped", 4, 8, 0.5),
        ("style", "Plain", 4, 8, 0.5),
    ]


def test_the_image_itself_has_no_vote_but_a_copy_of_it_is_a_new_image(flags, classify, tmp_path):
    copy = tmp_path / "copy.png"
    copy.write_bytes(flags.path("violet").read_bytes())
    label = ("--label", "artist", "--voters", 1)
    assert classify(copy, *label) == [("artist", "Di Guidon", 1, 1, 1.0)]
    assert classify(flags.path("violet"), *label) != [("artist", "Di Guidon", 1, 1, 1.0)]


def test_label_limits_the_kinds_in_the_order_given(flags, classify):
    said = classify(flags.path("red"), "--label", "artist", "--label", "style", "--label", "artist")
    assert [kind for kind, *_ in said] == ["artist", "style"]


def test_several_images_are_each_named(flags, command):
    images = [str(flags.path("red")), str(flags.id["sea"])]
    records = command("classify", *images, "--label", "style", "--json", cwd=flags.folder).records
    assert [r["image"] for r in records] == images
    assert records[0] == {
        "image": images[0], "kind": "style", "value": "Striped", "share": 0.5, "votes": 4, "of": 8, "by": "neighbours",
        "neighbours": [
            {"id": flags.id["rust"], "score": 0.833333, "title": "Rust\nand \x1b[31mgold", "style": "Striped"},
            {"id": flags.id["ember"], "score": 0.666667, "title": "Ember", "style": "Striped"},
            {"id": flags.id["dune"], "score": 0.5, "title": "Dune", "style": "Striped"},
            {"id": flags.id["tide"], "score": -0.666667, "title": "Tide", "style": "Striped"},
        ],
    }  # fmt: skip


def test_an_image_from_standard_input_is_classified(classify, flag, tmp_path):
    flag("rrrr").save(tmp_path / "red.png")
    said = classify("-", "--voters", 1, "--label", "artist", stdin=(tmp_path / "red.png").read_bytes())
    assert said == [("artist", "Ada Flagg", 1, 1, 1.0)]


def test_the_table_says_what_an_image_resembles_and_who_voted(flags, command, snapshot):
    done = command("classify", flags.path("red").name, "7", "--top", 2, cwd=flags.path("red").parent)
    snapshot("classify_table.txt", done.out)


def test_nothing_says_that_a_work_is_by_somebody(flags, command):
    shown = [
        command("classify", flags.path("red"), "--top", 9, cwd=flags.folder).out,
        command("classify", flags.path("red"), "--json", cwd=flags.folder).out,
        command("classify", "--help", cwd=flags.folder).out,
    ]
    assert "resembles" in shown[0]
    assert "resembles" in shown[2]
    assert not [text for text in shown if "is by" in text.lower() or "painted by" in text.lower()]


# -- what it refuses ---------------------------------------------------------------------------------------------------


def test_a_kind_that_no_work_has_is_named_beside_those_there_are(flags, command):
    done = command("classify", flags.path("red"), "--label", "mood", cwd=flags.folder, status=1)
    assert done.err == "simsearch: no work of this collection has a label 'mood'; there are style, genre, artist\n"


def test_a_collection_without_labels_says_where_labels_come_from(tmp_path, flag, tiny_network, command):
    (tmp_path / "bare").mkdir()
    for code in ("rrrr", "gggg"):
        flag(code).save(tmp_path / "bare" / f"{code}.png")
    command("index", "bare", "--encoder", tiny_network(tmp_path / "model"), cwd=tmp_path)
    done = command("classify", "bare/rrrr.png", cwd=tmp_path, status=1)
    assert done.err.startswith("simsearch: no work of this collection has a label to learn from; put an artworks.csv")


@pytest.mark.parametrize("option", ["--top", "--voters"])
def test_top_and_voters_start_at_one(flags, command, option):
    done = command("classify", flags.path("red"), option, 0, cwd=flags.folder, status=2)
    assert "0 is not in the range x>=1" in done.err


def test_what_is_no_image_is_refused(flags, command, tmp_path):
    path = tmp_path / "notes.jpg"
    path.write_text("notes")
    done = command("classify", path, cwd=flags.folder, status=1)
    assert done.err.startswith(f"simsearch: {path} is not an image")


@pytest.mark.parametrize("form", [[], ["--json"], ["--csv"]])
def test_of_several_images_those_that_can_be_are_answered_and_the_status_says_that_some_failed(
    flags, command, tmp_path, form
):
    notes = tmp_path / "notes\x1b[31m.jpg"
    notes.write_text("notes")
    images = (flags.path("red"), "missing.png", notes, 4711, flags.id["sea"])
    done = command("classify", *images, "--label", "style", *form, cwd=flags.folder, status=3)
    said = done.err.splitlines()
    assert len(said) == 3
    assert "missing.png cannot be read" in said[0]
    assert said[1].startswith(f"simsearch: {tmp_path}/notes\ufffd[31m.jpg is not an image")
    assert said[2].startswith("simsearch: this collection has no artwork 4711")
    assert done.out.count(str(flags.path("red"))) == 1
    assert len(done.lines) == (2 if form == ["--json"] else 3 if form == ["--csv"] else 6)


def test_where_none_of_several_images_can_be_answered_the_command_has_failed(flags, command):
    done = command("classify", "no.png", "none.png", "--json", cwd=flags.folder, status=1)
    assert done.out == ""
    assert len(done.err.splitlines()) == 2


def test_standard_input_holds_one_image(flags, command):
    done = command("classify", "-", "-", cwd=flags.folder, status=2)
    assert "standard input holds one image" in done.err


def test_csv_has_a_line_for_each_kind_and_quotes_what_needs_it(flags, command, flag, tmp_path):
    image = tmp_path / 'a "red", one.png'
    flag("rrrr").save(image)
    done = command("classify", image, "--top", 2, "--voters", 3, "--csv", cwd=flags.folder)
    assert done.lines[0] == "image,kind,resembles,likeliest,share,by,neighbours"
    rows = list(csv.DictReader(io.StringIO(done.out, newline="")))
    red, rust, ember = (str(flags.id[stem]) for stem in ("red", "rust", "ember"))
    assert [list(row.values()) for row in rows] == [
        [str(image), "style", "Striped", "Striped", "0.6667", "neighbours", f"{rust} {ember}"],
        [str(image), "style", "Plain", "Plain", "0.3333", "neighbours", red],
        [str(image), "genre", "flag", "flag", "1.0", "neighbours", f"{red} {rust} {ember}"],
        [str(image), "artist", "Ada Flagg", "Ada Flagg", "0.6667", "neighbours", f"{red} {rust}"],
        [str(image), "artist", "Bo Banner", "Bo Banner", "0.3333", "neighbours", ember],
    ]
