"""``simsearch classify`` without a collection, and in one whose own heads leave kinds to those that came with `art`."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from shipped_art import HEADS, RUN_WITH_MODELS, head, shipped_art

from simsearch import Classifier, Options, classify, index_folders, label_collection, open_collection, train
from simsearch.classifier.head import folder_of, save
from simsearch.classifier.shipped import ShippedClassifier
from simsearch.cli import main
from simsearch.encoders import registry
from simsearch.encoders.onnx import OnnxEncoder
from simsearch.errors import (
    ArtworkNotFoundError,
    CollectionNotFoundError,
    EncoderError,
    HeadError,
    ImageError,
    QueryError,
)

SUM = 16 / math.sqrt(48)
"""Of a channel that is full everywhere, in the unit row of a flag of one colour."""


def odds(*logits):
    total = sum(math.exp(v) for v in logits)
    return [math.exp(v) / total for v in logits]


RED_OR_BLUE = odds(SUM, -SUM)[0]
"""How sure the head of styles is that a red flag is reddish."""


@pytest.fixture(scope="module")
def all_models(tmp_path_factory, tiny_network):
    return shipped_art(tmp_path_factory.mktemp("shipped") / "models", tiny_network)


@pytest.fixture
def models(all_models, monkeypatch):
    monkeypatch.setattr(registry, "MODELS", all_models)
    monkeypatch.delenv("SIMSEARCH_COLLECTION", raising=False)
    return all_models


@pytest.fixture
def empty(tmp_path, flag, monkeypatch):
    """A folder without a collection, with three flags in it, that is worked in."""
    folder = tmp_path / "empty"
    folder.mkdir()
    for name, code in {"red": "rrrr", "blue": "bbbb", "dusk": "mmkk"}.items():
        flag(code).save(folder / f"{name}.png")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def run(capsys):
    """Runs the command in this process; (exit status, standard output, standard error)."""

    def run(*arguments):
        with pytest.raises(SystemExit) as left:
            main([str(a) for a in arguments])
        captured = capsys.readouterr()
        return left.value.code or 0, captured.out, captured.err

    return run


# -- by value, without a collection ------------------------------------------------------------------------------------


def test_a_picture_is_answered_by_hand_worked_probabilities(models, empty):
    said = ShippedClassifier().classify("red.png", top=3)
    assert [(p.kind, p.value, p.by, p.sure, p.neighbours) for p in said] == [
        ("style", "Reddish", "art/style", True, ()),
        ("style", "Bluish", "art/style", True, ()),
        ("genre", "dark", "art/genre", True, ()),
        ("genre", "light", "art/genre", True, ()),
        ("artist", "Ada Flagg", "art/artist", True, ()),
        ("artist", "Di Guidon", "art/artist", True, ()),
        ("artist", "Cy Pennant", "art/artist", True, ()),
    ]
    artist = odds(2 * SUM, SUM, -3 * SUM)
    expected = [*odds(SUM, -SUM), *odds(SUM, -SUM), *artist]
    assert [p.share for p in said] == pytest.approx(expected, abs=1e-3)


def test_below_the_threshold_the_answer_is_unsure(models, empty):
    asked = ShippedClassifier(labels=["style"])
    assert [p.sure for p in asked.classify("red.png", threshold=RED_OR_BLUE + 0.001)] == [False]
    assert [p.sure for p in asked.classify("red.png", threshold=RED_OR_BLUE - 0.001)] == [True]
    (even,) = asked.classify("dusk.png")  # as much red as blue: the first by name, at the head's own threshold
    assert (even.value, even.share, even.sure) == ("Bluish", 0.5, True)


def test_bytes_and_paths_are_the_same_picture(models, empty):
    asked = ShippedClassifier()
    said = asked.classify("blue.png")
    assert asked.classify(empty / "blue.png") == said
    assert asked.classify((empty / "blue.png").read_bytes()) == said


def test_a_collection_answers_as_no_collection_does(models, empty):
    alone = ShippedClassifier().classify("dusk.png", top=3)
    with open_collection(empty, write=True) as collection:
        index_folders(collection, [empty], Options(encoder="art"))
        assert classify(collection, "dusk.png", top=3) == alone


@pytest.mark.parametrize(
    ("labels", "kinds"),
    [(["genre"], ["genre"]), (["artist", "style"], ["artist", "style"]), (["art/style", "style"], ["style"])],
)
def test_labels_limit_the_kinds_in_their_order(models, empty, labels, kinds):
    assert [p.kind for p in ShippedClassifier(labels=labels).classify("red.png")] == kinds


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (
            lambda: ShippedClassifier(labels=["styel"]),
            HeadError,
            "no head 'styel' came with the encoder art; did you mean",
        ),
        (lambda: ShippedClassifier(labels=["mood"]), HeadError, "there are style, genre, artist; `simsearch train"),
        (lambda: ShippedClassifier(encoder="color"), CollectionNotFoundError, "only the encoder 'art' has heads"),
        (lambda: ShippedClassifier().classify("7"), ArtworkNotFoundError, "7 would be the id of an artwork"),
        (lambda: ShippedClassifier().classify("red.png", top=0), QueryError, "top is 0"),
        (lambda: ShippedClassifier().classify("red.png", threshold=1.5), QueryError, "threshold is 1.5"),
        (lambda: ShippedClassifier().classify("gone.png"), ImageError, r"gone\.png cannot be read"),
        (lambda: ShippedClassifier().classify("red.png", max_pixels=10), ImageError, "16 x 16 pixels"),
    ],
)
def test_refusals_without_a_collection_are_sentences(models, empty, make, error, said):
    with pytest.raises(error, match=said):
        make()


def test_heads_of_other_weights_are_refused_rather_than_asked(tmp_path, tiny_network, monkeypatch):
    models = shipped_art(tmp_path / "models", tiny_network)
    tiny_network(models / "art", "art", "2", flipped=True)
    monkeypatch.setattr(registry, "MODELS", models)
    with pytest.raises(EncoderError, match="were made for another 'art'; install"):
        ShippedClassifier()


# -- the command -------------------------------------------------------------------------------------------------------


def test_on_an_empty_machine_the_command_answers(all_models, empty):
    known = {key: value for key, value in os.environ.items() if not key.startswith("SIMSEARCH_")}
    asked = [sys.executable, "-W", "error", "-c", RUN_WITH_MODELS, str(all_models), "classify", "red.png"]
    done = subprocess.run(asked, cwd=empty, capture_output=True, text=True, env=known, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [
        ["red.png"],
        ["resembles", "how"],
        ["style", "Reddish"],
        ["genre", "dark"],
        ["artist", "Ada"],
        ["by", "the"],
    ]
    assert done.stdout.splitlines()[2].split() == ["style", "Reddish", f"{100 * RED_OR_BLUE:.0f}", "%"]
    assert done.stdout.endswith("\nby the shipped head of the encoder art: style, genre, artist\n")
    assert not (empty / ".simsearch").exists()


def test_json_says_which_head_and_that_there_are_no_neighbours(models, empty, run):
    status, out, _ = run("classify", "red.png", "--label", "style", "--json")
    assert status == 0
    said = json.loads(out)
    assert said.pop("probability") == pytest.approx(RED_OR_BLUE, abs=1e-3)
    assert said == {
        "image": "red.png", "kind": "style", "value": "Reddish", "sure": True, "by": "head", "head": "art/style",
        "neighbours": [],
    }  # fmt: skip


def test_csv_and_unsure_answers_are_as_with_a_collection(models, empty, run):
    _, out, _ = run("classify", "red.png", "--label", "style", "--threshold", "1", "--csv")
    (row,) = csv.DictReader(io.StringIO(out))
    assert (row["resembles"], row["likeliest"], row["by"], row["neighbours"]) == ("unsure", "Reddish", "art/style", "")
    _, out, _ = run("classify", "red.png", "--label", "style", "--threshold", "1")
    assert "unsure, perhaps Reddish" in out


def test_of_several_images_those_that_cannot_be_read_are_named(models, empty, run):
    status, out, err = run("classify", "red.png", "gone.png", "blue.png", "--label", "style", "--json")
    assert status == 3
    assert [(r["image"], r["value"]) for r in map(json.loads, out.splitlines())] == [
        ("red.png", "Reddish"),
        ("blue.png", "Bluish"),
    ]
    assert "gone.png cannot be read" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["red.png", "--by", "neighbours"], "there is no collection in"),
        ([], "there is no collection in"),
        (["red.png", "--collection", "nowhere"], "there is no collection at"),
        (["red.png", "--encoder", "color"], "only the encoder 'art' has heads that can answer"),
    ],
)
def test_what_needs_a_collection_says_that_there_is_none(models, empty, run, arguments, said):
    status, out, err = run("classify", *arguments)
    assert (status, out) == (1, "")
    assert said in err


def test_a_named_collection_that_is_not_there_is_not_passed_over(models, empty, run, monkeypatch):
    monkeypatch.setenv("SIMSEARCH_COLLECTION", str(empty / "nowhere"))
    status, _, err = run("classify", "red.png")
    assert status == 1
    assert "there is no collection at" in err


def test_without_the_shipped_heads_a_collection_is_asked_for(empty, run, monkeypatch):
    monkeypatch.setattr(registry, "MODELS", empty / "no models")
    monkeypatch.delenv("SIMSEARCH_COLLECTION", raising=False)
    status, _, err = run("classify", "red.png")
    assert status == 1
    assert err.startswith("simsearch: there is no collection in ")
    assert "came without heads; make one with `simsearch index FOLDER`" in err


# -- in a collection ---------------------------------------------------------------------------------------------------

STYLES = {"warm": "rrrr rrry rryy ryyy yyyy rrrk rrkk ryrk", "cold": "bbbb bbcc cccc bbbk bbkk cbcb cbbk ccbk"}


@pytest.fixture
def labelled(models, tmp_path, flag, monkeypatch):
    """A folder that is worked in, with a collection by `art` of sixteen flags: `warm` ones and `cold` ones; those with
    black in them have the genre `dark`, and the others `light`."""
    folder = tmp_path / "labelled"
    (folder / "art").mkdir(parents=True)
    rows = ["path,title,style,genre"]
    for style, codes in STYLES.items():
        for code in codes.split():
            flag(code).save(folder / "art" / f"{code}.png")
            rows.append(f"{code}.png,{code},{style},{'dark' if 'k' in code else 'light'}")
    (folder / "art" / "artworks.csv").write_text("\n".join(rows) + "\n")
    with open_collection(folder, write=True) as collection:
        index_folders(collection, [folder / "art"], Options(encoder="art"))
    monkeypatch.chdir(folder)
    return folder


def titles(prediction):
    return [hit.artwork.title for hit in prediction.neighbours]


def test_a_collection_without_heads_is_answered_by_the_shipped_ones_with_its_own_works_as_evidence(labelled):
    with open_collection(labelled) as collection:
        classifier = Classifier(collection)
        assert [h.name for h in classifier.heads] == ["art/style", "art/genre", "art/artist"]
        style, genre, artist = classifier.classify("art/rrrr.png")
    assert (style.value, style.by, titles(style)) == ("Reddish", "art/style", [])  # no work has this label
    # cosines .833, .667 and .667: of each stripe that differs a third of the channels does
    assert (genre.value, genre.by, titles(genre)) == ("dark", "art/genre", ["rrrk", "rrkk", "ryrk"])
    assert (artist.value, artist.by, titles(artist)) == ("Ada Flagg", "art/artist", [])


def test_an_unsure_shipped_head_shows_the_nearest_works_of_any_label(labelled):
    with open_collection(labelled) as collection:
        (genre,) = classify(collection, "art/rrrr.png", labels=["genre"], threshold=1.0)
    assert (genre.sure, titles(genre)) == (False, ["rrrk", "rrry", "rrkk"])


def test_a_head_of_the_collection_goes_before_the_shipped_one_of_its_kind(labelled, run):
    with open_collection(labelled, write=True) as collection:
        train(collection, "style")
        classifier = Classifier(collection)
        assert [h.name for h in classifier.heads] == ["style", "art/genre", "art/artist"]
        assert classifier.classify("art/rrrr.png")[0].value == "warm"
        assert [h.name for h in Classifier(collection, labels=["style"]).heads] == ["style"]
        assert [h.name for h in Classifier(collection, labels=["art/style", "style"]).heads] == ["art/style", "style"]
    _, out, _ = run("classify", "art/rrrr.png")
    assert out.splitlines()[2].split()[:2] == ["style", "warm"]
    assert out.endswith("\nby the shipped head of the encoder art: genre, artist\n")
    _, out, _ = run("classify", "art/rrrr.png", "--label", "style")
    assert "shipped" not in out
    _, out, _ = run("classify", "art/rrrr.png", "--json")
    assert [json.loads(line)["head"] for line in out.splitlines()] == ["style", "art/genre", "art/artist"]


def test_neighbours_vote_where_they_are_asked_to(labelled):
    with open_collection(labelled) as collection:
        (said,) = classify(collection, "art/rrrr.png", labels=["style"], by="neighbours", voters=3)
    assert (said.kind, said.value, said.by, said.of) == ("style", "warm", "neighbours", 3)


def test_kinds_that_no_head_knows_are_voted_on_beside_the_shipped_heads(labelled):
    table = labelled / "art" / "artworks.csv"
    table.write_text(table.read_text().replace("style", "kind", 1))
    with open_collection(labelled, write=True) as collection:
        index_folders(collection, [labelled / "art"])
        said = [(p.kind, p.value, p.by) for p in classify(collection, "art/rrrr.png", voters=3)]
    assert said == [
        ("style", "Reddish", "art/style"),
        ("genre", "dark", "art/genre"),
        ("artist", "Ada Flagg", "art/artist"),
        ("kind", "warm", "neighbours"),
    ]


def test_a_head_that_is_not_there_is_named_with_those_that_are(labelled):
    with (
        open_collection(labelled) as collection,
        pytest.raises(HeadError, match="there are art/style, art/genre, art/art"),
    ):
        Classifier(collection, labels=["mood"], by="head")


def test_the_heads_of_an_encoder_of_that_name_but_other_weights_do_not_answer(
    labelled, tmp_path, tiny_network, monkeypatch
):
    newer = shipped_art(tmp_path / "newer", tiny_network)
    encoder = OnnxEncoder(tiny_network(newer / "art", "art", "2", flipped=True), "art")
    for kind, classes in HEADS.items():
        save(newer / "art" / "heads", head(kind, classes, encoder))
    monkeypatch.setattr(registry, "MODELS", newer)
    with open_collection(labelled) as collection:
        assert [p.by for p in classify(collection, "art/rrrr.png")] == ["neighbours", "neighbours"]


def test_a_whole_collection_is_labelled_by_shipped_heads_where_it_has_none(labelled):
    with open_collection(labelled, write=True) as collection:
        train(collection, "style")
        done = label_collection(collection, threshold=0.0)
        assert [(d.kind, d.head, d.predicted, d.said_already) for d in done] == [
            ("style", "style", 0, 16),
            ("genre", "art/genre", 0, 16),
            ("artist", "art/artist", 16, 0),
        ]
        (work,) = [w for w in collection.catalog.all_artworks() if w.title == "bbbb"]
    assert work.resembles("artist").value == "Cy Pennant"
    assert work.style == "cold"


def test_another_encoder_of_the_collection_is_not_answered_by_them(labelled):
    with open_collection(labelled, write=True) as collection:
        index_folders(collection, [labelled / "art"], Options(encoder="color"))
        assert [p.by for p in classify(collection, "art/rrrr.png", encoder="color")] == ["neighbours", "neighbours"]
        assert folder_of(collection, collection.encoder_entry("art").info) == Path(labelled, ".simsearch/heads/art")
