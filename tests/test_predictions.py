"""``simsearch classify`` without an image: which predictions are stored, and what is left alone."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from labelled_works import clusters, damage, embed, fill, indexed, painted, write_table

from simsearch import Classifier, label_collection, open_collection, train
from simsearch.catalog.labelled import trusted_labels
from simsearch.classifier.head import Head, folder_of, load, save
from simsearch.errors import EmbeddingError, HeadError, LabelError, QueryError

STYLES = ("Baroque", "Cubism", "Rococo")
ROOMS = ("north", "south")
WORKS, NO_STYLE, NO_ROOM = 240, 81, 48


def gallery_works(n=WORKS):
    """(styles, rooms, what is known of the styles): of every nine works the first three have no label."""
    styles = [STYLES[i % 3] for i in range(n)]
    rooms = [ROOMS[i // 3 % 2] for i in range(n)]
    return styles, rooms, [style if i // 3 % 3 else "" for i, style in enumerate(styles)]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A collection of made-up works, a third of them without a style, a fifth without a room, with a head for each."""
    folder = tmp_path_factory.mktemp("made")
    styles, rooms, known = gallery_works()
    rows = clusters([s + r for s, r in zip(styles, rooms, strict=True)], noise=1.2)
    some_rooms = [room if i % 5 else "" for i, room in enumerate(rooms)]
    collection, _ = fill(folder, rows, {"style": known, "room": some_rooms})
    with collection:
        for kind in ("style", "room"):
            train(collection, kind)
    return folder


@pytest.fixture
def folder(made, tmp_path):
    """The same to change."""
    return Path(shutil.copytree(made, tmp_path / "made"))


@pytest.fixture
def collection(folder):
    with open_collection(folder, write=True) as opened:
        yield opened


def labels(folder):
    """Every stored label as (artwork, kind, origin, value, confidence)."""
    with sqlite3.connect(folder / ".simsearch" / "catalog.db") as db:
        rows = db.execute("SELECT artwork, kind, origin, value, confidence FROM label ORDER BY 1, 2, 3, 4").fetchall()
    db.close()
    return rows


def predicted(folder, kind="style"):
    return {row[0]: (row[3], row[4]) for row in labels(folder) if row[1:3] == (kind, "predicted")}


def given(folder):
    return [row for row in labels(folder) if row[2] != "predicted"]


def restated(collection, kind, threshold):
    """Id to (value, probability) of what should be stored, from the head's numbers in float64; and who is unsure."""
    entry = collection.encoder_entry()
    head = load(folder_of(collection, entry.info), kind)
    rows, ids = collection.catalog.embeddings(entry.number, entry.info.dim)
    logits = (rows.astype(np.float64) @ head.weights.T.astype(np.float64) + head.bias) / head.temperature
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    said = set(trusted_labels(collection.catalog, kind)[0].tolist())
    free = [(int(id), row) for id, row in zip(ids, shares, strict=True) if int(id) not in said]
    sure = {id: (head.classes[row.argmax()], row.max()) for id, row in free if row.max() >= threshold}
    return sure, len(free) - len(sure)


def check_stored(folder, expected, kind="style"):
    stored = predicted(folder, kind)
    assert {id: value for id, (value, _) in stored.items()} == {id: value for id, (value, _) in expected.items()}
    assert [p for _, p in stored.values()] == pytest.approx([expected[id][1] for id in stored], abs=1e-4)


# -- what is stored ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threshold", [None, 0.0, 0.8, 1.0])
def test_works_that_nobody_has_labelled_get_what_the_head_is_sure_of(folder, collection, threshold):
    before = given(folder)
    done = {one.kind: one for one in label_collection(collection, threshold=threshold)}
    for kind, of in (("style", NO_STYLE), ("room", NO_ROOM)):
        expected, unsure = restated(collection, kind, 0.5 if threshold is None else threshold)
        check_stored(folder, expected, kind)
        assert done[kind].to_dict() == {
            "kind": kind, "head": kind, "predicted": len(expected), "unsure": unsure, "said_already": WORKS - of,
            "not_embedded": 0,
        }  # fmt: skip
        assert len(expected) + unsure == of
        doubts = threshold in (0.8, 1.0) or (kind == "style" and threshold is None)
        assert (unsure > 0) is doubts
    assert given(folder) == before


def test_predictions_are_those_that_classify_gives(folder, collection):
    label_collection(collection, labels=["style"], threshold=0)
    asked = Classifier(collection, labels=["style"])
    for id, stored in predicted(folder).items():
        (said,) = asked.classify(id, evidence=0)
        assert (said.value, said.share) == (stored[0], pytest.approx(stored[1], abs=1e-4))


def test_predictions_replace_earlier_ones_and_those_of_other_kinds_stay(folder, collection):
    label_collection(collection, threshold=0)
    rooms = predicted(folder, "room")
    assert len(predicted(folder)) == NO_STYLE
    label_collection(collection, labels=["style"], threshold=0.8)
    check_stored(folder, restated(collection, "style", 0.8)[0])
    assert predicted(folder, "room") == rooms
    label_collection(collection, labels=["style"], threshold=1)
    assert predicted(folder) == {}


def test_a_head_of_another_name_predicts_its_kind(folder, collection):
    entry = collection.encoder_entry()
    head = load(folder_of(collection, entry.info), "style")
    flipped = replace(head, name="flipped", weights=-head.weights, card={})
    save(folder_of(collection, entry.info), flipped)
    (done,) = label_collection(collection, labels=["flipped"], threshold=0)
    assert (done.kind, done.head, done.predicted) == ("style", "flipped", NO_STYLE)
    assert {row[1] for row in labels(folder)} == {"style", "room"}
    assert [one.head for one in label_collection(collection)] == ["style", "room"]
    with pytest.raises(QueryError, match="the heads flipped, style are not all of different kinds"):
        label_collection(collection, labels=["flipped", "style"])


def test_labels_of_a_person_are_left_alone_and_their_works_get_none(folder, collection):
    with collection.writer() as writer:
        writer.set_human_labels("style", [(1, "Cubism"), (4, "Something else")])
    label_collection(collection, threshold=0)
    assert not {1, 4} & set(predicted(folder))
    assert [collection.catalog.artwork(id).style for id in (1, 4)] == ["Cubism", "Something else"]


def test_a_later_label_of_a_person_outranks_the_prediction(folder, collection):
    label_collection(collection, threshold=0)
    id, (value, _) = next(iter(predicted(folder).items()))
    other = next(style for style in STYLES if style != value)
    with collection.writer() as writer:
        writer.set_human_labels("style", [(id, other)])
    work = collection.catalog.artwork(id)
    assert (work.style, work.resembles("style")) == (other, None)
    assert id in collection.catalog.ids_where(f"style = '{other}' and style_origin = 'human'")
    assert id not in collection.catalog.ids_where(f"style = '{value}'")
    assert collection.catalog.predicted()["style"] == NO_STYLE - 1


def test_works_that_the_encoder_has_not_embedded_are_counted(tmp_path):
    styles, _, known = gallery_works(60)
    rows = clusters(styles)
    collection, _ = fill(tmp_path, rows, {"style": known}, name="first")
    with collection:
        entry = embed(collection, rows[:45], "second")
        none = np.zeros(0, np.uint64)
        weights = np.eye(3, 16, dtype=np.float32)
        head = Head("style", "style", entry.info, STYLES, weights, np.zeros(3, np.float32), 1.0, 0.0, none, none)
        save(folder_of(collection, entry.info), head)
        (done,) = label_collection(collection, encoder="second")
    assert (done.predicted, done.unsure, done.said_already, done.not_embedded) == (15, 0, 39, 6)


def test_predictions_teach_and_measure_nothing(collection):
    before = {kind: trusted_labels(collection.catalog, kind) for kind in ("style", "room")}
    label_collection(collection, threshold=0)
    for kind, (ids, values) in before.items():
        again = trusted_labels(collection.catalog, kind)
        assert (again[0].tolist(), again[1].tolist()) == (ids.tolist(), values.tolist())
        assert collection.catalog.labelled_ids(kind).tolist() == ids.tolist()


def test_predictions_do_not_vote(collection):
    def votes():
        asked = Classifier(collection, by="neighbours")
        said = [p for id in range(1, WORKS, 40) for p in asked.classify(id, top=9)]
        return [(p.kind, p.value, p.votes, [hit.artwork.id for hit in p.neighbours]) for p in said]

    before = votes()
    label_collection(collection, threshold=0)
    assert votes() == before
    with collection.writer() as writer:
        writer.store_predictions("mood", [(1, "calm", 0.9)])
    assert votes() == before
    with pytest.raises(LabelError, match="no work of this collection has a label 'mood'"):
        Classifier(collection, labels=["mood"])


# -- interruptions, locks, damage --------------------------------------------------------------------------------------


def test_ctrl_c_in_the_middle_keeps_whole_kinds(folder, collection):
    label_collection(collection, threshold=0.9)
    first = {kind: predicted(folder, kind) for kind in ("style", "room")}

    def stop_at_room(what, done, of):
        if "room" in what and done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        label_collection(collection, threshold=0, watch=stop_at_room)
    assert len(predicted(folder)) == NO_STYLE > len(first["style"])
    assert predicted(folder, "room") == first["room"]
    assert len(label_collection(collection, threshold=0)) == 2  # no lock is left behind


def test_progress_ends_with_all_works(collection):
    told = []
    label_collection(collection, watch=lambda *said: told.append(said))
    assert told == [
        ("labelling by style", 0, NO_STYLE), ("labelling by style", NO_STYLE, NO_STYLE),
        ("labelling by room", 0, NO_ROOM), ("labelling by room", NO_ROOM, NO_ROOM),
    ]  # fmt: skip


def test_while_another_process_writes_nothing_is_stored(folder, collection, command):
    with collection.writer():
        done = command("classify", cwd=folder, status=1)
    assert done.err.startswith(f"simsearch: {folder}/.simsearch is written by process {os.getpid()} on ")
    assert predicted(folder) == {}


def test_a_collection_that_cannot_be_written_says_so_and_still_answers(folder, unprivileged):
    home = folder / ".simsearch"
    paths = [home, *home.rglob("*")]
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        line = [*unprivileged, "-m", "simsearch", "classify"]
        stored = subprocess.run(line, cwd=folder, capture_output=True, text=True, check=False)
        asked = subprocess.run([*line, "1", "--json"], cwd=folder, capture_output=True, text=True, check=False)
    finally:
        for path in paths:
            path.chmod(0o755 if path.is_dir() else 0o644)
    assert (stored.returncode, stored.stdout) == (1, "")
    assert stored.stderr.startswith("simsearch: ")
    assert len(stored.stderr.splitlines()) == 1
    assert "cannot be" in stored.stderr
    assert asked.returncode == 0
    assert json.loads(asked.stdout.splitlines()[0])["head"] == "style"
    assert predicted(folder) == {}


def test_a_damaged_embedding_stops_it_before_anything_is_changed(folder, collection):
    label_collection(collection, threshold=0.9)
    before = labels(folder)
    damage(folder, next(iter(predicted(folder))))
    with pytest.raises(EmbeddingError, match="is damaged"):
        label_collection(collection, labels=["style"], threshold=0)
    assert labels(folder) == before


def test_a_damaged_embedding_among_the_evidence_is_one_sentence(folder, command):
    damage(folder, 7)
    done = command("classify", 6, 8, "--label", "style", "--threshold", 1, cwd=folder, status=1)
    assert (done.out, len(done.err.splitlines())) == ("", 1)
    assert done.err.startswith("simsearch: the stored embedding of artwork 7 is damaged")


def test_reading_the_embeddings_of_many_works_takes_steps_in_proportion_to_them(collection):
    def steps(n):
        counted = [0]
        with collection.catalog.snapshot() as db:
            raw = db.connection.dbapi_connection
            raw.set_progress_handler(lambda: counted.__setitem__(0, counted[0] + 1), 1)
            try:
                collection.catalog.embeddings(1, 16, range(1, n + 1))
            finally:
                raw.set_progress_handler(None, 1)
        return counted[0]

    assert steps(200) < 12 * steps(20)


# -- the command -------------------------------------------------------------------------------------------------------


def test_the_command_labels_the_collection_and_a_later_table_outranks_it(tmp_path, command):
    rows = painted(tmp_path)
    blank = [row | {"style": ""} if i % 3 == 0 else row for i, row in enumerate(rows)]
    write_table(tmp_path / "art" / "artworks.csv", blank)
    indexed(tmp_path)
    with open_collection(tmp_path, write=True) as collection:
        train(collection, "style")
    done = command("classify", "--label", "style", "--threshold", 0, cwd=tmp_path)
    assert done.out.startswith("style: 40 works ")
    assert len(predicted(tmp_path)) == 40
    guess = dict(sorted(predicted(tmp_path).items()))
    with open_collection(tmp_path) as collection:
        name = {work.id: work.source_id for work in collection.catalog.all_artworks()}
    assert {name[id] for id in guess} == {row["path"] for row in blank if not row["style"]}
    named = next(iter(guess))
    told = [row | {"style": "Vermilion"} if row["path"] == name[named] else row for row in blank]
    write_table(tmp_path / "art" / "artworks.csv", told)
    command("index", cwd=tmp_path)
    assert predicted(tmp_path) == guess
    with open_collection(tmp_path) as collection:
        assert collection.catalog.artwork(named).style == "Vermilion"
        assert collection.catalog.ids_where("style = 'Vermilion'").tolist() == [named]
        assert collection.catalog.predicted() == {"style": 39}
    (report,) = command("classify", "--json", "--threshold", 0, cwd=tmp_path).records
    assert report == {"kind": "style", "head": "style", "predicted": 39, "unsure": 0, "said_already": 81,
                      "not_embedded": 0}  # fmt: skip
    assert named not in predicted(tmp_path)
    assert [row for row in given(tmp_path) if row[0] == named and row[1] == "style"] == [
        (named, "style", "source", "Vermilion", None)
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--by", "neighbours"], "a whole collection is labelled by trained heads"),
        (["--csv"], "`simsearch export --csv FILE` writes the whole collection"),
        (["--top", 3], "--top is for images"),
        (["--voters", 3], "--voters is for images"),
        (["--max-pixels", 1000], "--max-pixels is for images"),
        (["--threshold", 2], "2.0 is not in the range 0<=x<=1"),
    ],
)
def test_options_that_make_no_sense_without_an_image_are_refused(folder, command, arguments, said):
    assert said in command("classify", *arguments, cwd=folder, status=2).err
    assert predicted(folder) == {}


def test_a_kind_without_a_head_is_refused_before_anything_is_stored(folder, collection):
    with pytest.raises(HeadError, match=r"no head 'stile' .* did you mean 'style'"):
        label_collection(collection, labels=["room", "stile"], threshold=0)
    assert predicted(folder, "room") == {}


def test_a_removed_work_takes_its_prediction_with_it(folder, collection):
    label_collection(collection, threshold=0)
    id = next(iter(predicted(folder)))
    with collection.writer() as writer:
        writer.remove(writer.begin_run(), [id])
    assert id not in predicted(folder)


def test_a_work_that_gets_another_picture_loses_what_was_predicted_of_the_old_one(tmp_path, command):
    rows = painted(tmp_path, works=40)
    write_table(
        tmp_path / "art" / "artworks.csv", [row | {"style": ""} if i < 4 else row for i, row in enumerate(rows)]
    )
    indexed(tmp_path)
    with open_collection(tmp_path, write=True) as collection:
        train(collection, "style")
        label_collection(collection, threshold=0)
        name = {work.source_id: work.id for work in collection.catalog.all_artworks()}
    before = predicted(tmp_path)
    assert set(before) == {name[row["path"]] for row in rows[:4]}
    shutil.copy(tmp_path / "art" / rows[10]["path"], tmp_path / "art" / rows[0]["path"])
    moved = tmp_path / "art" / "elsewhere.png"
    (tmp_path / "art" / rows[1]["path"]).rename(moved)
    done = command("index", cwd=tmp_path)
    assert done.lines[0].startswith("0 added, 1 changed, 1 moved, 0 removed")
    left = predicted(tmp_path)
    assert left == {id: value for id, value in before.items() if id != name[rows[0]["path"]]}
