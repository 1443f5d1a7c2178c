"""Answers by trained heads, against scikit-learn with the card's numbers; their evidence by brute force; refusals."""

from __future__ import annotations

import csv
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from labelled_works import ARTISTS, GENRES, GROUNDS, STYLES, clusters, embed, fill, indexed, painted
from PIL import Image
from safetensors.numpy import load_file
from sklearn.linear_model import LogisticRegression

from simsearch import Choices, Classifier, classify, images, label_collection, open_collection, train, vectors
from simsearch.classifier.head import Head, folder_of, load, save
from simsearch.classifier.prepare import ClassChoices
from simsearch.errors import ArtworkNotFoundError, EncoderMismatchError, HeadError, LabelError, QueryError

COOL = {"Moss": "Cool", "Tide": "Cool"}


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    """A folder of 120 drawn pictures with heads `style` and, of fewer classes, `warmth`; to be read only."""
    folder = tmp_path_factory.mktemp("studio")
    painted(folder)
    indexed(folder)
    with open_collection(folder, write=True) as collection:
        train(collection, "style")
        train(collection, "style", name="warmth", choices=Choices(classes=ClassChoices(COOL)))
    return folder


@pytest.fixture
def own_studio(studio, tmp_path):
    """The same to change."""
    return Path(shutil.copytree(studio, tmp_path / "studio"))


@pytest.fixture
def collection(studio):
    with open_collection(studio) as opened:
        yield opened


def sklearn_probabilities(folder: Path, name: str, rows: np.ndarray) -> tuple[list[str], np.ndarray]:
    """(classes, probabilities (n, classes)) of scikit-learn's model with the numbers that a head's card names."""
    card = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    numbers = load_file(folder / card["weights"]["file"])
    model = LogisticRegression()
    model.classes_ = np.arange(len(card["classes"]))
    model.coef_ = numbers["weights"].astype(np.float64) / card["temperature"]
    model.intercept_ = numbers["bias"].astype(np.float64) / card["temperature"]
    return card["classes"], model.predict_proba(rows.astype(np.float64))


def heads_folder(collection):
    return folder_of(collection, collection.encoder_entry().info)


def stored(collection):
    """(rows (n, dim), ids (n,)) of all works."""
    entry = collection.encoder_entry()
    return collection.catalog.embeddings(entry.number, entry.info.dim)


def nearest(collection, row, ids, but, k=3):
    """Ids of the works among `ids`, but for one, whose embeddings are nearest to a row, by brute force."""
    rows, every = stored(collection)
    scored = [(-round(float(row @ r), 6), int(i)) for r, i in zip(rows, every, strict=True) if i in ids and i != but]
    return [id for _, id in sorted(scored)[:k]]


def labelled(collection, values):
    """Ids of works of these styles, as their source says."""
    return {work.id for work in collection.catalog.all_artworks() if work.style in values}


def evidence(prediction):
    return [hit.artwork.id for hit in prediction.neighbours]


def new_picture(style, seed=5):
    noise = np.random.default_rng(seed).normal(0, 12, (48, 48, 3))
    return Image.fromarray(np.clip(np.array(GROUNDS[style]) + noise, 0, 255).astype(np.uint8))


# -- by value ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["style", "warmth"])
def test_probabilities_are_those_of_scikit_learns_model_with_the_numbers_of_the_card(collection, name):
    rows, ids = stored(collection)
    classes, expected = sklearn_probabilities(heads_folder(collection), name, rows)
    classifier = Classifier(collection, labels=[name])
    for id, shares in zip(ids.tolist(), expected, strict=True):
        said = classifier.classify(id, top=9, evidence=0)
        assert {p.value: p.share for p in said} == pytest.approx(dict(zip(classes, shares, strict=True)), abs=1e-4)
        assert [p.share for p in said] == sorted((p.share for p in said), reverse=True)
        assert {(p.kind, p.by, p.votes, p.of, p.neighbours) for p in said} == {("style", name, 0, 0, ())}


def test_a_stored_work_is_the_same_by_id_by_path_and_without_its_evidence(collection):
    classifier = Classifier(collection, labels=["style"])
    for work in list(collection.catalog.all_artworks())[::17]:
        by_id = classifier.classify(work.id, top=4)
        assert classifier.classify(work.path, top=4) == by_id
        assert classifier.classify(str(work.id), top=4) == by_id
        assert classifier.classify(work.id, top=4, evidence=0) == [replace(p, neighbours=()) for p in by_id]
        assert classify(collection, work.id, labels=["style"], top=4) == by_id


@pytest.mark.parametrize("style", STYLES)
def test_an_image_that_is_not_in_the_collection_is_embedded_and_answered(collection, tmp_path, style):
    path = tmp_path / "new.png"
    new_picture(style).save(path)
    encoder = collection.load(collection.encoder_entry())
    rule = encoder.info.preprocessing
    pixels = images.fit(images.decode(path.read_bytes(), "new", side=rule.size), rule)
    row = vectors.as_stored(encoder.embed_images(pixels[None]))
    classes, expected = sklearn_probabilities(heads_folder(collection), "style", row)
    said = classify(collection, path, labels=["style"], top=4, threshold=0)
    assert {p.value: p.share for p in said} == pytest.approx(dict(zip(classes, expected[0], strict=True)), abs=1e-4)
    best = classes[expected[0].argmax()]
    assert said[0].value == best
    assert evidence(said[0]) == nearest(collection, row[0], labelled(collection, {best}), None)
    assert classify(collection, path.read_bytes(), labels=["style"], top=4, threshold=0) == said


def test_an_artwork_that_is_not_there_is_refused_with_or_without_evidence(collection):
    for many in (0, 3):
        with pytest.raises(ArtworkNotFoundError, match="no artwork 4711"):
            classify(collection, 4711, labels=["style"], evidence=many)


def test_of_equal_probabilities_the_first_class_by_name_comes_first(collection):
    info = collection.encoder_entry().info
    none = np.zeros(0, np.uint64)
    weights, bias = np.zeros((4, info.dim), np.float32), np.array([0, 1, 0, 1], np.float32)
    classifier = Classifier(collection, labels=["style"])
    classifier.heads[0] = Head("style", "style", info, STYLES, weights, bias, 1.0, 0.0, none, none)
    classifier._answering = [("style", classifier.heads[0])]
    assert [p.value for p in classifier.classify(1, top=4)] == ["Ember", "Tide", "Dawn", "Moss"]


# -- the works behind an answer ----------------------------------------------------------------------------------------


def test_a_sure_answer_shows_the_nearest_works_that_carry_it_and_never_the_query(collection):
    rows, ids = stored(collection)
    classifier = Classifier(collection, labels=["style"])
    for row, id in list(zip(rows, ids.tolist(), strict=True))[::7]:
        for said in classifier.classify(id, top=3, threshold=0):
            assert said.sure
            assert evidence(said) == nearest(collection, row, labelled(collection, {said.value}), id)
            assert id not in evidence(said)


def test_of_a_merged_class_all_works_that_were_merged_are_examples(collection):
    rows, ids = stored(collection)
    classifier = Classifier(collection, labels=["warmth"])
    seen = set()
    for row, id in zip(rows, ids.tolist(), strict=True):
        (said,) = classifier.classify(id, threshold=0, evidence=9)
        if said.value == "Cool":
            assert evidence(said) == nearest(collection, row, labelled(collection, set(COOL)), id, 9)
            seen |= {hit.artwork.style for hit in said.neighbours}
    assert seen == set(COOL)


def test_an_unsure_answer_shows_the_nearest_labelled_works_whatever_they_are(collection):
    rows, ids = stored(collection)
    classifier = Classifier(collection, labels=["style"])
    mixed = 0
    for row, id in list(zip(rows, ids.tolist(), strict=True))[::7]:
        said = classifier.classify(id, top=2, threshold=1, evidence=6)
        assert [p.sure for p in said] == [False, False]
        assert evidence(said[0]) == evidence(said[1]) == nearest(collection, row, set(ids.tolist()), id, 6)
        mixed += len({hit.artwork.style for hit in said[0].neighbours}) > 1
    assert mixed


def test_works_that_nobody_labelled_are_no_evidence(own_studio):
    with open_collection(own_studio, write=True) as collection:
        before = classify(collection, 1, labels=["style"], threshold=1)
        gone = before[0].neighbours[0].artwork.id
        with collection.writer() as writer:
            writer.describe([(gone, replace(collection.catalog.artwork(gone), labels=()))], 1, "stamp")
            writer.store_predictions("style", [(gone, "Dawn", 0.99)])
        for threshold in (0, 1):
            (said,) = classify(collection, 1, labels=["style"], threshold=threshold, evidence=200)
            assert gone not in evidence(said)
            assert len(evidence(said)) > 20


# -- unsure ------------------------------------------------------------------------------------------------------------


def test_an_answer_is_unsure_below_the_threshold_and_sure_at_it(collection):
    classifier = Classifier(collection, labels=["style"])
    row, _ = collection.catalog.embeddings(classifier.entry.number, classifier.entry.info.dim, [40])
    best = classifier.heads[0].probabilities(row)[0].max()
    above = float(np.nextafter(best, np.float32(1)))
    assert [classifier.classify(40, threshold=t)[0].sure for t in (float(best), above)] == [True, False]


def test_without_a_threshold_the_heads_own_counts(own_studio):
    with open_collection(own_studio) as collection:
        folder = heads_folder(collection)
        shares = [classify(collection, id, labels=["style"], evidence=0)[0].share for id in range(1, 121)]
        middle = float(np.median(shares))
        head = load(folder, "style")
        save(folder, replace(head, threshold=middle, card={k: v for k, v in head.card.items() if k != "threshold"}))
        said = [classify(collection, id, labels=["style"], evidence=0)[0] for id in range(1, 121)]
    assert [p.sure for p in said] == [share >= middle for share in shares]
    assert 50 <= sum(p.sure for p in said) <= 70


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_a_threshold_is_a_probability(collection, threshold):
    with pytest.raises(QueryError, match="a probability lies between 0 and 1"):
        classify(collection, 1, threshold=threshold)
    with pytest.raises(QueryError, match="a probability lies between 0 and 1"):
        label_collection(collection, threshold=threshold)


# -- which heads, and where neighbours vote ----------------------------------------------------------------------------


def kinds(collection, **options):
    return [(p.kind, p.by) for p in Classifier(collection, **options).classify(1)]


def test_a_head_answers_where_there_is_one_and_neighbours_vote_on_the_rest(collection):
    assert kinds(collection) == [("style", "style"), ("genre", "neighbours"), ("artist", "neighbours")]
    assert kinds(collection, by="head") == [("style", "style")]
    assert kinds(collection, by="neighbours") == [(kind, "neighbours") for kind in ("style", "genre", "artist")]


def test_labels_choose_kinds_and_heads_in_their_order(collection):
    assert kinds(collection, labels=["artist", "style"]) == [("artist", "neighbours"), ("style", "style")]
    assert kinds(collection, labels=["warmth"]) == [("style", "warmth")]
    assert kinds(collection, labels=["warmth", "style", "warmth", "genre", "genre"]) == [
        ("style", "warmth"), ("style", "style"), ("genre", "neighbours"),
    ]  # fmt: skip
    assert kinds(collection, labels=["style"], by="neighbours") == [("style", "neighbours")]


def test_votes_are_the_same_beside_a_head(collection):
    mixed = {p.kind: p for p in Classifier(collection).classify(1)}
    voted = {p.kind: p for p in Classifier(collection, by="neighbours").classify(1)}
    assert mixed["genre"] == voted["genre"]
    assert (mixed["genre"].value in GENRES, mixed["artist"].value in ARTISTS) == (True, True)


def test_of_several_heads_none_of_which_has_the_kinds_name_the_first_by_name_answers(own_studio):
    with open_collection(own_studio) as collection:
        folder = heads_folder(collection)
        head = load(folder, "style")
        for name in ("zeal", "azure"):
            save(folder, replace(head, name=name, card={k: v for k, v in head.card.items() if k != "name"}))
        for path in folder.glob("style*"):
            path.unlink()
        assert kinds(collection, by="head") == [("style", "azure")]
        assert kinds(collection, labels=["style", "azure", "zeal"]) == [("style", "azure"), ("style", "zeal")]


def test_a_head_answers_where_no_work_has_a_label_of_its_kind_any_more(own_studio):
    with open_collection(own_studio, write=True) as collection:
        with collection.writer() as writer:
            works = [(work.id, replace(work, labels=())) for work in collection.catalog.all_artworks()]
            writer.describe(works, 1, "stamp")
        (said,) = classify(collection, 1)
    assert (said.kind, said.by, said.neighbours) == ("style", "style", ())


# -- what is refused ---------------------------------------------------------------------------------------------------


def test_an_unknown_label_is_refused_with_the_nearest_one(studio, command):
    done = command("classify", 1, "--label", "styel", cwd=studio, status=1)
    assert done.err == "simsearch: no work of this collection has a label 'styel'; did you mean 'style'?\n"
    done = command("classify", 1, "--label", "warmt", "--by", "head", cwd=studio, status=1)
    assert "no head 'warmt' for the encoder color; did you mean 'warmth'?" in done.err
    done = command("classify", 1, "--label", "genre", "--by", "head", cwd=studio, status=1)
    assert "no head 'genre' for the encoder color" in done.err
    assert "`simsearch train --label KIND` makes one" in done.err


def test_a_card_without_its_weights_is_refused_with_the_way_out(own_studio, command):
    folder = own_studio / ".simsearch" / "heads" / "color"
    next(folder.glob("style-*.safetensors")).unlink()
    done = command("classify", 1, cwd=own_studio, status=1)
    assert done.out == ""
    assert done.err.startswith(f"simsearch: {folder / 'style.json'} has lost its weights: there is no style-")
    assert "train again with `simsearch train --label KIND --name style`" in done.err
    assert command("classify", 1, "--label", "warmth", "--json", cwd=own_studio).records[0]["head"] == "warmth"
    by_vote = command("classify", 1, "--by", "neighbours", "--label", "style", "--json", cwd=own_studio)
    assert by_vote.records[0]["by"] == "neighbours"
    command("classify", cwd=own_studio, status=1)


def test_a_head_of_an_encoder_that_has_changed_since_is_refused_with_the_way_out(collection, tmp_path):
    entry = collection.encoder_entry()
    with pytest.raises(EncoderMismatchError, match="run `simsearch train --label style` again") as caught:
        load(folder_of(collection, entry.info), "style").check(replace(entry.info, revision="2"))
    assert "trained on embeddings by color@1 (432 numbers" in str(caught.value)
    values = ["A", "B"] * 20
    opened, other = fill(tmp_path / "other", clusters(values, dim=432), {"style": values})
    with opened:
        shutil.copytree(folder_of(collection, entry.info), folder_of(opened, other.info))
        for labels in ([], ["style"], ["warmth"]):
            with pytest.raises(EncoderMismatchError, match="these are by synthetic@1"):
                Classifier(opened, labels=labels)
        with pytest.raises(EncoderMismatchError, match="these are by synthetic@1"):
            label_collection(opened)
        assert kinds(opened, by="neighbours") == [("style", "neighbours")]


def test_where_another_encoder_has_the_heads_it_is_named(tmp_path):
    values = ["A", "B"] * 20
    collection, _ = fill(tmp_path, clusters(values), {"style": values}, name="first")
    with collection:
        embed(collection, clusters(values, seed=1), "second")
        train(collection, "style", encoder="second")
        said = []
        collection.notice = said.append
        with pytest.raises(HeadError, match=r"embeddings by first; .*--encoder second asks those that there are"):
            Classifier(collection, by="head")
        with pytest.raises(HeadError, match="--encoder second"):
            Classifier(collection, labels=["style"], by="head")
        assert said == []
        assert kinds(collection) == [("style", "neighbours")]
        assert said == ["no head was trained on embeddings by first, so neighbours vote; --encoder second asks the "
                        "heads that there are"]  # fmt: skip
        assert kinds(collection, encoder="second") == [("style", "style")]
        assert kinds(collection, by="neighbours") == [("style", "neighbours")]
        assert len(said) == 1


def test_without_any_head_the_way_to_one_is_said(flags, command):
    for images_named in ([flags.id["red"]], []):
        done = command("classify", *images_named, "--by", "head", cwd=flags.folder, status=1)
        assert done.err == (
            "simsearch: no head was trained on embeddings by tiny; `simsearch train --label KIND` makes one\n"
        )


def test_a_way_that_there_is_not_is_refused(collection):
    with pytest.raises(QueryError, match="by is 'magic'; there are auto, head, neighbours"):
        Classifier(collection, by="magic")
    with pytest.raises(LabelError, match="did you mean 'genre'"):
        Classifier(collection, labels=["gender"])


# -- how it is told ----------------------------------------------------------------------------------------------------


def test_json_says_who_answered_how_surely_and_from_what(studio, command):
    (said, *others) = command("classify", 3, "--threshold", 0, "--json", cwd=studio).records
    near = said.pop("neighbours")
    assert 0 < said.pop("probability") <= 1
    assert said == {"image": "3", "kind": "style", "value": "Dawn", "sure": True, "by": "head", "head": "style"}
    assert [list(work) for work in near] == [["id", "score", "title", "style"]] * 3
    assert {work["style"] for work in near} == {"Dawn"}
    assert [(other["kind"], other["by"]) for other in others] == [("genre", "neighbours"), ("artist", "neighbours")]


def test_csv_says_unsure_in_the_place_of_an_answer(studio, command):
    for threshold, answer in ((0, "Dawn"), (1, "unsure")):
        asked = ("classify", 3, "--label", "style", "--threshold", threshold, "--csv")
        (row,) = csv.DictReader(io.StringIO(command(*asked, cwd=studio).out))
        assert (row["resembles"], row["likeliest"], row["by"]) == (answer, "Dawn", "style")
        assert len(row["neighbours"].split()) == 3


def test_the_table_says_unsure_with_the_nearest_works_and_their_own_labels(studio, command):
    line = command("classify", 3, "--label", "style", "--threshold", 1, cwd=studio).lines[2]
    with open_collection(studio) as collection:
        (said,) = classify(collection, 3, labels=["style"], threshold=1)
    works = ", ".join(f"{hit.artwork.title} ({hit.artwork.id}, {hit.artwork.style})" for hit in said.neighbours)
    assert line == f"style  unsure, perhaps Dawn      {100 * said.share:.0f} %  of any style: {works}"


def test_the_table_names_the_heads_where_two_answer_for_one_kind(studio, command):
    lines = command("classify", 3, "--label", "style", "--label", "warmth", "--threshold", 0, cwd=studio).lines
    assert [line.split("  ")[0] for line in lines[2:]] == ["style (style)", "style (warmth)"]


def test_no_answer_by_a_head_says_who_made_a_work(studio, command):
    for form in ([], ["--json"], ["--csv"], ["--threshold", 1]):
        said = command("classify", 3, "--top", 4, *form, cwd=studio).out.lower()
        assert "is by" not in said
        assert "painted by" not in said
