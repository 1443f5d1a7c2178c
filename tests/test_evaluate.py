"""Evaluation by value: figures against scikit-learn's, and classes by name from the first step to the last."""

import hashlib
import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from sklearn import metrics as oracle
from sklearn.dummy import DummyClassifier
from styled_works import RESAMPLES, STYLES, WORKS, figure, make

from simsearch import open_collection
from simsearch.classifier.evaluate import evaluate
from simsearch.classifier.head import folder_of
from simsearch.classifier.measured import measured
from simsearch.classifier.train import train


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a collection of 700 works and its head `style`, to be read only."""
    folder = tmp_path_factory.mktemp("evaluate")
    collection, _ = make(folder, artists=[f"Artist {i % 23}" for i in range(WORKS)])
    with collection:
        train(collection, "style")
    return folder


@pytest.fixture
def opened(trained):
    with open_collection(trained) as collection:
        yield collection


@pytest.fixture(scope="module")
def done(trained):
    with open_collection(trained) as collection:
        return evaluate(collection, "style", resamples=RESAMPLES)


@pytest.fixture(scope="module")
def truth(trained):
    """(true names, predicted names, probabilities, classes, confidence) from the stored files and plain arithmetic."""
    with open_collection(trained) as collection:
        entry = collection.encoder_entry()
        card = json.loads((folder_of(collection, entry.info) / "style.json").read_text())
        numbers = load_file(folder_of(collection, entry.info) / card["weights"]["file"])
        rows, ids = collection.catalog.embeddings(entry.number, entry.info.dim)
        style = {work.id: work.style for work in collection.catalog.all_artworks()}
        held = {work.id for work in collection.catalog.all_artworks() if work.extra["split"] == "val"}
    of = np.isin(ids, sorted(held))
    wide = (rows[of].astype(np.float64) @ numbers["weights"].T.astype(np.float64) + numbers["bias"]) / card[
        "temperature"
    ]
    shares = np.exp(wide - wide.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    names = np.array(card["classes"])
    true = np.array([style[i] for i in ids[of].tolist()])
    return true, names[shares.argmax(axis=1)], shares, names


# -- by value ----------------------------------------------------------------------------------------------------------


def test_the_works_are_those_of_the_part_that_was_asked_for(done):
    assert (done.kind, done.split, done.works, done.artists) == ("style", "val", WORKS // 5, 23)
    assert done.gallery == WORKS - WORKS // 5
    assert [method.name for method in done.methods] == [
        "style", "nearest work", "10 nearest works", "majority", "chance",
    ]  # fmt: skip


def test_a_head_has_the_figures_that_scikit_learn_computes(done, truth):
    true, guess, shares, names = truth
    assert figure(done, "style", "top1") == pytest.approx(oracle.accuracy_score(true, guess))
    for average in ("macro", "weighted"):
        expected = oracle.precision_recall_fscore_support(true, guess, average=average, zero_division=0)[:3]
        for name, value in zip(("precision", "recall", "f1"), expected, strict=True):
            assert figure(done, "style", f"{average}_{name}") == pytest.approx(value)
    top5 = oracle.top_k_accuracy_score(true, shares, k=5, labels=names)
    assert figure(done, "style", "top5") == pytest.approx(top5)


def test_classes_and_confusions_are_those_of_scikit_learn(done, truth):
    true, guess, _, names = truth
    assert done.head.classes == tuple(names) == STYLES
    counts = oracle.confusion_matrix(true, guess, labels=names)
    np.testing.assert_array_equal(done.head.confusion, counts)
    expected = oracle.precision_recall_fscore_support(true, guess, labels=names, zero_division=0)
    found = [(row.precision, row.recall, row.f1, row.support) for row in done.head.per_class]
    np.testing.assert_allclose(found, np.transpose(expected))
    worst = done.head.confused[0]
    counts[np.diag_indices(len(names))] = 0
    assert worst.count == counts.max()
    assert counts[names.tolist().index(worst.true), names.tolist().index(worst.predicted)] == counts.max()
    assert worst.share == pytest.approx(worst.count / (true == worst.true).sum())


def test_calibration_and_abstention_follow_their_definitions(done, truth):
    true, guess, shares, names = truth
    hits, sure = true == guess, shares.max(axis=1)
    onehot = true[:, None] == names
    assert done.head.brier.value == pytest.approx(((shares - onehot) ** 2).sum(axis=1).mean(), abs=1e-6)
    bins = np.clip(np.ceil(sure * 15).astype(int) - 1, 0, 14)
    gap = sum(abs(hits[bins == b].sum() - sure[bins == b].sum()) for b in range(15)) / len(true)
    assert done.head.ece.value == pytest.approx(gap, abs=1e-6)
    assert done.head.reliability.count == tuple(np.bincount(bins, minlength=15))
    answered = sure >= done.head.threshold
    assert done.head.answered.value == pytest.approx(answered.mean())
    assert done.head.accuracy_answered.value == pytest.approx(hits[answered].mean())
    shares_answered, right = np.transpose(done.head.coverage)
    assert (shares_answered[-1], right[-1]) == (1.0, pytest.approx(hits.mean()))
    assert (np.diff(shares_answered) > 0).all()


def test_examples_of_a_confusion_are_works_of_the_class_and_the_surest_first(done, truth, opened):
    true, guess, shares, names = truth
    held = [work for work in opened.catalog.all_artworks() if work.extra["split"] == "val"]
    for pair in done.head.confused:
        column = names.tolist().index(pair.predicted)
        mistaken = [i for i in range(len(true)) if (true[i], guess[i]) == (pair.true, pair.predicted)]
        expected = sorted(mistaken, key=lambda i: -shares[i, column])[:6]
        assert [work.id for work, _ in pair.examples] == [held[i].id for i in expected]
        assert [p for _, p in pair.examples] == pytest.approx([shares[i, column] for i in expected], abs=1e-6)
        assert {work.style for work, _ in pair.examples} == {pair.true}


def test_typical_works_are_the_train_works_nearest_the_mean_of_their_class(done, opened):
    rows, ids = opened.catalog.embeddings(1, opened.encoder_entry().info.dim)
    work = {w.id: w for w in opened.catalog.all_artworks()}
    for pair in done.head.confused:
        own = [i for i, id in enumerate(ids.tolist())
               if (work[id].style, work[id].extra["split"]) == (pair.predicted, "train")]  # fmt: skip
        nearness = rows[own] @ rows[own].mean(axis=0)
        assert [w.id for w in pair.typical] == ids[own][np.argsort(-nearness)[:4]].tolist()


def test_the_nearest_works_vote_as_brute_force_has_it(done, opened):
    on = measured(opened, "style", opened.encoder_entry(), None)
    cosines = on.works.rows @ on.gallery.rows.T
    order = np.argsort(-cosines, axis=1)
    nearest = on.gallery.values[order[:, 0]]
    assert figure(done, "nearest work", "top1") == pytest.approx((nearest == on.works.values).mean())
    voted = []
    for row, places in zip(cosines, order[:, :10], strict=True):
        names = on.gallery.values[places]
        voted.append(max(set(names), key=lambda name: (np.sum(names == name), row[places][names == name].sum())))
    expected = oracle.f1_score(on.works.values, voted, average="macro", zero_division=0)
    assert figure(done, "10 nearest works", "macro_f1") == pytest.approx(expected)


def test_the_commonest_class_is_that_of_the_gallery(done, opened):
    on = measured(opened, "style", opened.encoder_entry(), None)
    dummy = DummyClassifier(strategy="most_frequent").fit(on.gallery.rows, on.gallery.values)
    guess = dummy.predict(on.works.rows)
    assert figure(done, "majority", "top1") == pytest.approx(oracle.accuracy_score(on.works.values, guess))
    assert figure(done, "majority", "macro_f1") == pytest.approx(
        oracle.f1_score(on.works.values, guess, average="macro", zero_division=0)
    )


def test_chance_is_what_guessing_comes_to(done, opened):
    true = measured(opened, "style", opened.encoder_entry(), None).works.values
    random = np.random.default_rng(0)
    runs = [random.choice(STYLES, len(true)) for _ in range(200)]
    assert figure(done, "chance", "top1") == pytest.approx(1 / 7)
    assert figure(done, "chance", "top5") == pytest.approx(5 / 7)
    for name, score in (("macro_f1", oracle.f1_score), ("macro_precision", oracle.precision_score)):
        guessed = np.mean([score(true, run, average="macro", zero_division=0) for run in runs])
        assert figure(done, "chance", name) == pytest.approx(guessed, abs=0.006)
    assert figure(done, "chance", "macro_f1") < 1 / 7


def test_every_figure_lies_in_its_interval(done):
    estimates = [e for method in done.methods for e in method.figures.values()]
    estimates += [done.head.brier, done.head.answered, done.head.accuracy_answered]
    estimates += [e for row in done.retrieval for e in (row.p1, row.p10, row.map, *row.recall.values())]
    assert all(e.low <= e.value <= e.high for e in estimates)
    top1 = done.methods[0].figures["top1"]
    # the normal approximation of a share of 140 works
    half = 1.96 * np.sqrt(top1.value * (1 - top1.value) / done.works)
    assert (top1.high - top1.low) / 2 == pytest.approx(half, rel=0.25)


def test_a_seed_says_which_resamples_and_nothing_else(opened, done):
    again = evaluate(opened, "style", resamples=RESAMPLES)
    assert again.to_dict() | {"seconds": 0} == done.to_dict() | {"seconds": 0}
    other = evaluate(opened, "style", resamples=RESAMPLES, seed=1)
    assert other.methods[0].figures["top1"].value == done.methods[0].figures["top1"].value
    assert other.methods[0].figures["top1"] != done.methods[0].figures["top1"]


def test_with_five_classes_or_fewer_there_is_no_top5(tmp_path):
    values = [STYLES[i // 5 % 5] for i in range(200)]
    collection, _ = make(tmp_path, values)
    with collection:
        train(collection, "style")
        found = evaluate(collection, "style", resamples=RESAMPLES)
    assert not [method.name for method in found.methods if "top5" in method.figures]


# -- classes by name ---------------------------------------------------------------------------------------------------


def rewrite(collection, order, names_only=False):
    """Puts the classes of the stored head into another order: names with their numbers, or names alone."""
    folder = folder_of(collection, collection.encoder_entry().info)
    card = json.loads((folder / "style.json").read_text())
    numbers = load_file(folder / card["weights"]["file"])
    card["classes"] = [card["classes"][i] for i in order]
    if not names_only:
        numbers |= {name: np.ascontiguousarray(numbers[name][order]) for name in ("weights", "bias")}
    save_file(numbers, folder / "other.safetensors")
    digest = hashlib.sha256((folder / "other.safetensors").read_bytes()).hexdigest()
    card["weights"] = {"file": "other.safetensors", "sha256": digest}
    (folder / "style.json").write_text(json.dumps(card))


@pytest.fixture
def own(tmp_path):
    """A collection with a head that a test may change."""
    collection, _ = make(tmp_path, [STYLES[i % 4] for i in range(400)], noise=1.5)
    with collection:
        train(collection, "style")
        yield collection


def test_the_order_in_which_a_head_stores_its_classes_changes_nothing(own):
    before = evaluate(own, "style", resamples=RESAMPLES).to_dict()
    rewrite(own, [2, 0, 3, 1])
    after = evaluate(own, "style", resamples=RESAMPLES).to_dict()
    assert after | {"seconds": 0} == before | {"seconds": 0}
    assert after["head"]["classes"] == sorted(STYLES[:4])


def test_names_in_another_order_than_their_numbers_fall_to_chance(own):
    assert figure(evaluate(own, "style", resamples=RESAMPLES), "style", "top1") > 0.8
    rewrite(own, [0, 2, 3, 1], names_only=True)  # one name of four stays in its place
    found = evaluate(own, "style", resamples=RESAMPLES)
    top1 = found.methods[0].figures["top1"]
    assert top1.low <= figure(found, "chance", "top1") <= top1.high
    assert figure(found, "style", "macro_f1") == pytest.approx(0.25, abs=0.08)


def test_a_head_trained_on_shuffled_labels_falls_to_chance(tmp_path):
    values = [STYLES[i % 4] for i in range(1200)]
    shuffled = np.random.default_rng(1).permutation(values).tolist()
    collection, _ = make(tmp_path, values, noise=1.5, labels=shuffled)
    with collection:
        train(collection, "style")
        found = evaluate(collection, "style", resamples=RESAMPLES)
    for name in ("style", "nearest work", "10 nearest works"):
        figures = next(m for m in found.methods if m.name == name).figures
        assert figures["top1"].low <= 0.25 <= figures["top1"].high
        assert figures["macro_f1"].value == pytest.approx(figure(found, "chance", "macro_f1"), abs=0.06)
    assert found.head.ece.value < 0.1
