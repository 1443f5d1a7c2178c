"""A review on its way out and back: the CSV letter by letter, what spreadsheets do to it, and what it may change."""

import csv
import io
import sqlite3
from contextlib import closing

import pytest
from labelled_works import clusters, fill, indexed, painted

from simsearch import Filters, open_collection, similar
from simsearch.classifier.audit_apply import apply
from simsearch.classifier.classify import classify
from simsearch.errors import CollectionLockedError, CollectionWriteError, SourceError
from simsearch.figures import REVIEW_COLUMNS, Finding
from simsearch.records import Artwork, Label
from simsearch.show.review_file import ReviewRow, guarded, read_review, review_text, unguarded, write_review

STYLES = ("Dawn", "Ember", "Moss", "Tide")


def finding(id=1, value="Dawn", suggestion="Ember", title="A work", source_id=None, **more):
    labels = (Label("artist", more.pop("artist", "Ada")),)
    work = Artwork("folder:art", source_id or f"{id - 1:04}.png", id, title=title, labels=labels)
    return Finding("label", work, "style", value, suggestion, 0.9, 0.8, 0.1, **more)


def row(id=1, wanted="", accept="yes", value="Dawn", suggestion="Ember", **more):
    said = {"line": id + 1, "source": "folder:art", "source_id": f"{id - 1:04}.png", "kind": "style"} | more
    return ReviewRow(
        id=str(id), value=value, suggestion=suggestion, accept="" if wanted else accept, correction=wanted, **said
    )


@pytest.fixture
def works(tmp_path):
    """Forty works, the first ten labelled Dawn, the next Ember, then Moss, then none."""
    values = ["Dawn"] * 10 + ["Ember"] * 10 + ["Moss"] * 10 + [""] * 10
    collection, _ = fill(tmp_path / "works", clusters(values), {"style": values})
    yield collection
    collection.close()


def labels(collection, *ids):
    return [(work.style, [v.origin for v in work.labels]) for work in collection.catalog.artworks(ids)]


# -- the file ----------------------------------------------------------------------------------------------------------

AWKWARD = ['a "quoted", one', "two\nlines", "a\rreturn", "semi;colon", "tab\there", "Ünïcødé ✶ 墨", "", "'", "''=", "0"]
FORMULAS = ["=1+1", "+49", "-5", "@import", "\tx", "'=1", "''-x", '=HYPERLINK("http://a","b")', "-", "'+"]


@pytest.mark.parametrize("text", AWKWARD + FORMULAS)
def test_no_letter_is_lost_on_the_way_out_and_back(tmp_path, text):
    path = tmp_path / "review.csv"
    write_review([finding(value=text, suggestion=text, title=text, source_id=text or "x")], path)
    (said,) = read_review(path)
    assert said.source_id == (text or "x")
    assert (said.value, said.suggestion) == (text.strip(), text.strip())
    assert (said.id, said.source, said.kind, said.accept, said.correction) == ("1", "folder:art", "style", "", "")


@pytest.mark.parametrize("text", AWKWARD + FORMULAS)
def test_no_cell_is_a_formula(text):
    (_, cells) = csv.reader(io.StringIO(review_text([finding(value=text, title=text, artist=text)]), newline=""))
    assert not any(cell[:1] in ("=", "+", "-", "@", "\t", "\r") for cell in cells)
    assert unguarded(guarded(text)) == text


def test_the_columns_are_those_of_a_review_and_the_file_is_marked_as_utf8(tmp_path):
    path = tmp_path / "review.csv"
    write_review([finding(id=3), finding(id=4, suggestion=None)], path)
    assert path.read_bytes().startswith(b"\xef\xbb\xbfid,source,")
    head, first, second = csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig")))
    assert tuple(head) == REVIEW_COLUMNS
    assert first == ["3", "folder:art", "0002.png", "A work", "Ada", "style", "label", "Dawn", "Ember", "0.8000",
                     "0.9000", "", ""]  # fmt: skip
    assert second[8] == ""


SAID = [
    "id,source,source_id,kind,value,suggestion,accept,correction\n1,folder:art,0000.png,style,Dawn,Ember,{},{}\n",
    "ID;Source;Source_ID;Kind;Value;Suggestion;Accept;Correction\r\n1;folder:art;0000.png;style;Dawn;Ember;{};{}\r\n",
    "\ufeff kind\tid\tsource\tsource_id\tvalue\tsuggestion\tcorrection\taccept\t\n"
    "style\t1\tfolder:art\t0000.png\t Dawn \tEmber  \t{1}\t{0}\t\n\t\t\t\t\t\t\t\t\n",
]


@pytest.mark.parametrize("form", SAID)
@pytest.mark.parametrize(
    ("accept", "correction", "wanted"),
    [
        *((yes, "", "Ember") for yes in ("yes", "Yes", " YES ", "y", "TRUE", "x", "X", "1")),
        *((no, "", None) for no in ("", "no", "No", "FALSE", "0", "n")),
        ("", "Moss", "Moss"),
        ("yes", "  Moss ", "Moss"),
        ("no", "Moss", "Moss"),
        ("perhaps", "", None),
    ],
)
def test_what_a_line_asks_for_whatever_the_spreadsheet(tmp_path, form, accept, correction, wanted):
    path = tmp_path / "review.csv"
    path.write_bytes(form.format(accept, correction).encode())
    (said,) = read_review(path)
    assert said.wanted == wanted
    assert (said.id, said.kind, said.value, said.suggestion) == ("1", "style", "Dawn", "Ember")
    assert (said.doubt is not None) == (accept == "perhaps")


def test_lines_that_end_early_are_read_as_far_as_they_go(tmp_path):
    path = tmp_path / "review.csv"
    path.write_text(SAID[0].split("\n")[0] + "\n1,folder:art,0000.png,style,Dawn,Ember,yes\n2,folder:art\n")
    first, second = read_review(path)
    assert (first.wanted, second.wanted) == ("Ember", None)
    assert [first.line, second.line] == [2, 3]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf\r\n\r\n", "is empty"),
        (SAID[0].replace(",accept", "").encode(), "has no column 'accept'; it has id, source,"),
        (b"hello\n", "has no column 'id'; it has hello"),
        ("id,source,source_id,kind,value,suggestion,accept,correction\n1,é".encode("cp1252"), "is not UTF-8 .*byte 62"),
        (review_text([finding()]).encode("utf-16"), "is not UTF-8"),
        (SAID[0].encode() + b'2,"' + b"x" * 2_000_000 + b'"\n', "field larger than"),
    ],
)
def test_a_file_that_is_no_review_is_refused(tmp_path, data, said):
    path = tmp_path / "review.csv"
    path.write_bytes(data)
    with pytest.raises(SourceError, match=said):
        read_review(path)


def test_a_review_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(SourceError, match="cannot be read: No such file"):
        read_review(tmp_path / "review.csv")
    with pytest.raises(SourceError, match="cannot be read"):
        read_review(tmp_path)


# -- what it changes ---------------------------------------------------------------------------------------------------


def test_accepted_suggestions_and_corrections_become_labels_of_a_person(works):
    done = apply(works, [row(1), row(2, wanted="Moss"), row(3, accept="no"), row(4, accept="")])
    assert (done.labelled, done.undecided, done.already, done.problems, done.new_values) == (2, 2, 0, (), ())
    assert labels(works, 1, 2, 3, 4) == [
        ("Ember", ["human", "source"]),
        ("Moss", ["human", "source"]),
        ("Dawn", ["source"]),
        ("Dawn", ["source"]),
    ]


def test_applying_a_review_twice_changes_nothing_more(works):
    rows = [row(1), row(2, wanted="Moss"), row(3, accept="no")]
    apply(works, rows)
    done = apply(works, rows)
    assert (done.labelled, done.already, done.undecided, done.problems) == (0, 2, 1, ())


def test_a_work_without_a_label_can_be_given_one(works):
    assert apply(works, [row(35, value="", wanted="Tide")]).labelled == 1
    assert labels(works, 35) == [("Tide", ["human"])]


def test_a_person_can_change_their_mind(works):
    apply(works, [row(1)])
    assert apply(works, [row(1, value="Ember", wanted="Dawn")]).labelled == 1
    assert labels(works, 1) == [("Dawn", ["human", "source"])]


def test_a_prediction_is_neither_stale_nor_in_the_way(works):
    with works.writer() as writer:
        writer.store_predictions("style", [(35, "Ember", 0.9)])
    assert apply(works, [row(35, value="", wanted="Tide")]).labelled == 1
    assert works.catalog.artwork(35).style == "Tide"


def test_works_that_are_gone_are_named_and_the_others_labelled(works):
    with works.writer() as writer:
        writer.remove(writer.begin_run(), [2])
    done = apply(works, [row(1), row(2), row(3)])
    assert done.labelled == 2
    assert done.problems == ("line 3: work 2, 0001.png of folder:art, is not in this collection (any more)",)


def test_another_work_under_the_same_number_is_not_touched(works):
    done = apply(works, [row(1), row(2, source_id="elsewhere.png"), row(3, source="folder:other")])
    assert done.labelled == 1
    assert done.problems == (
        "line 3: work 2 is 0001.png of folder:art here, not elsewhere.png of folder:art",
        "line 4: work 3 is 0002.png of folder:art here, not 0002.png of folder:other",
    )
    assert labels(works, 2, 3) == [("Dawn", ["source"])] * 2


def test_a_review_of_another_collection_is_refused_whole(works):
    rows = [row(1, source="folder:other"), row(99), row(2, source_id="b.png"), row(3, accept="")]
    with pytest.raises(SourceError, match=r"another collection, or its works are gone: line 2: work 1 is 0000\.png"):
        apply(works, rows)
    assert labels(works, 1, 2) == [("Dawn", ["source"])] * 2


@pytest.mark.parametrize("id", ["", "x", "1.5", "-1", "²", "9" * 40])
def test_an_id_that_is_no_number_is_left_aside(works, id):
    odd = ReviewRow(9, id, "folder:art", "0001.png", "style", "Dawn", "Ember", "yes", "")
    done = apply(works, [row(1), odd])
    assert done.labelled == 1
    assert done.problems[0].startswith(f"line 9: work {id or '(no id)'}, 0001.png of folder:art, is not in")


def test_a_label_that_changed_since_is_left_as_it_is(works):
    apply(works, [row(1, wanted="Moss")])
    done = apply(works, [row(1), row(2)])
    assert done.labelled == 1
    assert done.problems == ("line 2: work 1 is labelled 'Moss' by now, not 'Dawn'",)
    assert works.catalog.artwork(1).style == "Moss"


def test_lines_that_ask_for_different_labels_cancel_each_other(works):
    done = apply(works, [row(1), row(1, wanted="Moss", line=7), row(2), row(2, line=8)])
    assert done.labelled == 1
    said = "the lines of work 1 ask for different labels; keep one of them"
    assert done.problems == (f"line 2: {said}", f"line 7: {said}")
    assert [name for name, _ in labels(works, 1, 2)] == ["Dawn", "Ember"]


def test_a_label_that_no_work_had_is_taken_and_said_with_the_nearest(works):
    done = apply(works, [row(1, wanted="dawnn"), row(2, wanted="Xyz")])
    assert done.labelled == 2
    assert done.new_values == (
        "'Xyz' is a new style: no other work had it",
        "'dawnn' is a new style: no other work had it; did you mean 'Dawn'?",
    )


def test_a_kind_that_no_work_has_is_left_aside(works):
    done = apply(works, [row(1), row(2, kind="stile")])
    assert done.problems == ("line 3: no work of this collection has a label 'stile'; did you mean 'style'?",)


def test_what_cannot_be_understood_is_said(works):
    done = apply(works, [row(1, accept="perhaps"), row(2, suggestion=""), row(3)])
    assert (done.labelled, done.undecided) == (1, 0)
    assert done.problems == (
        "line 2: accept is 'perhaps', which is neither yes nor no; the label stays",
        "line 3: there is no suggestion to accept; write the right label under correction; the label stays",
    )


def test_a_review_that_asks_for_nothing_does_nothing(works):
    done = apply(works, [row(1, accept=""), row(99, accept="no")])
    assert (done.labelled, done.undecided, done.problems) == (0, 2, ())
    assert apply(works, []).labelled == 0


def test_nothing_is_written_where_something_fails_half_way(works):
    genre = [row(1), row(2, kind="genre", value="", wanted="landscape")]
    with works.writer() as writer:
        writer.set_human_labels("genre", [(9, "portrait")])
    with closing(sqlite3.connect(works.folder / "catalog.db")) as db:
        db.execute(
            "CREATE TRIGGER stop BEFORE INSERT ON label WHEN NEW.value = 'landscape' "
            "BEGIN SELECT RAISE(ABORT, 'disk is full'); END"
        )
    with pytest.raises(CollectionWriteError, match="disk is full"):
        apply(works, genre)
    assert labels(works, 1) == [("Dawn", ["source"])]


def test_a_review_waits_for_no_other_writer(works):
    with (
        works.writer(),
        open_collection(works.folder, write=True) as second,
        pytest.raises(CollectionLockedError, match="wait for it"),
    ):
        apply(second, [row(1)])


# -- a person outranks the source --------------------------------------------------------------------------------------


def test_what_a_person_said_is_what_everything_sees_and_outlives_the_source(tmp_path):
    said = painted(tmp_path)
    indexed(tmp_path)
    table = tmp_path / "art" / "artworks.csv"
    with open_collection(tmp_path, write=True) as collection:
        (work,) = [w for w in collection.catalog.all_artworks() if w.source_id == "dawn_00.png"]
        change = ReviewRow(2, str(work.id), work.source, work.source_id, "style", "Dawn", "", "", "Vesper")
        assert apply(collection, [change]).labelled == 1

    def check():
        with open_collection(tmp_path) as collection:
            assert collection.catalog.ids_where("style = 'Vesper'").tolist() == [work.id]
            assert work.id not in collection.catalog.ids_where("style = 'Dawn'").tolist()
            hits = similar(collection, work.id, k=1, filters=Filters(include_self=True))
            assert [(h.artwork.id, h.artwork.style) for h in hits] == [(work.id, "Vesper")]
            neighbour = similar(collection, work.id, k=1)[0].artwork
            (vote,) = classify(collection, neighbour.id, labels=["style"], by="neighbours", top=9, voters=1)
            return vote.value

    before = check()
    table.write_text(table.read_text().replace("Bars 0,", "Bars zero,"))
    indexed(tmp_path)
    with open_collection(tmp_path) as collection:
        assert collection.catalog.artwork(work.id).title == "Bars zero"
    assert check() == before
    assert len(said) == 120
