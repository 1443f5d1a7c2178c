"""Two heads or two encoders side by side: what is measured on, the tests of the difference, and what is refused."""

import json
import re

import numpy as np
import pytest
from labelled_works import clusters, embed, fill
from safetensors.numpy import load_file
from scipy.stats import binomtest
from sklearn.metrics import f1_score

from simsearch import open_collection
from simsearch.classifier.compare import compare
from simsearch.classifier.evaluate import evaluate
from simsearch.classifier.head import folder_of
from simsearch.classifier.measured import head_for, measured
from simsearch.classifier.prepare import ClassChoices, SplitChoices
from simsearch.classifier.train import Choices, train
from simsearch.errors import HeadError, LabelError, QueryError

STYLES = ("Dawn", "Ember", "Flint", "Gale", "Hush", "Iron", "Jade")
WORKS = 560
RESAMPLES = 200


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A collection of works by two encoders, the second better; three heads of the first, one of the second."""
    folder = tmp_path_factory.mktemp("compare")
    values = [STYLES[i % 7] for i in range(WORKS)]
    labels = {"style": values, "artist": [f"Artist {i % 31}" for i in range(WORKS)]}
    extra = {"split": ["val" if i % 4 == 3 else "train" for i in range(WORKS)]}
    collection, _ = fill(folder, clusters(values, noise=4.0, seed=3), labels, extra=extra, name="first")
    with collection:
        embed(collection, clusters(values, noise=1.8, seed=4), "second")
        train(collection, "style")
        train(collection, "style", name="style-few", choices=Choices(where="id < 120"))
        merged = ClassChoices(merge={"Dawn": "", "Ember": "Fire"}, min_images=2)
        train(collection, "style", name="style-merged", choices=Choices(classes=merged))
        train(collection, "style", encoder="second")
        train(collection, "artist", choices=Choices(classes=ClassChoices(min_images=5)))
    return folder


@pytest.fixture
def opened(folder):
    with open_collection(folder) as collection:
        collection.said = []
        collection.notice = collection.said.append
        yield collection


def row(comparison, name):
    return next(d for d in comparison.differences if d.name == name)


def answers(collection, name, encoder=None):
    """(ids, true, guess) by a head's stored numbers, for the works of val."""
    entry = collection.encoder_entry(encoder)
    stored = folder_of(collection, entry.info)
    card = json.loads((stored / f"{name}.json").read_text())
    numbers = load_file(stored / card["weights"]["file"])
    rows, ids = collection.catalog.embeddings(entry.number, entry.info.dim)
    works = {work.id: work for work in collection.catalog.all_artworks()}
    held = np.array([works[i].extra["split"] == "val" for i in ids.tolist()])
    best = (rows[held] @ numbers["weights"].T + numbers["bias"]).argmax(axis=1)
    true = np.array([works[i].style for i in ids[held].tolist()])
    return ids[held], true, np.array(card["classes"])[best]


# -- heads of one encoder ----------------------------------------------------------------------------------------------


def test_two_heads_are_held_against_each_other_on_the_same_works(opened):
    found = compare(opened, "style", "style-few", "style", where="id > 0", resamples=RESAMPLES)
    _, true, few = answers(opened, "style-few")
    _, _, full = answers(opened, "style")
    a, b = few == true, full == true
    assert (found.kind, found.a, found.b, found.split, found.works) == (
        "style", "first/style-few", "first/style", "val", WORKS // 4,
    )  # fmt: skip
    assert (found.only_a, found.only_b) == ((a & ~b).sum(), (b & ~a).sum())
    top1 = row(found, "top1")
    assert (top1.a.value, top1.b.value) == (pytest.approx(a.mean()), pytest.approx(b.mean()))
    assert top1.difference.value == pytest.approx(b.mean() - a.mean())
    assert top1.p == pytest.approx(binomtest(int((a & ~b).sum()), int((a ^ b).sum())).pvalue)
    f1 = row(found, "macro_f1")
    assert f1.a.value == pytest.approx(f1_score(true, few, average="macro", zero_division=0))
    assert f1.difference.value == pytest.approx(f1_score(true, full, average="macro", zero_division=0) - f1.a.value)
    assert [d.name for d in found.differences] == ["top1", "macro_f1", "top5", "Brier"]


def test_each_head_has_the_figures_that_its_own_evaluation_gives(opened):
    found = compare(opened, "style", "style-few", "style", where="id > 0", resamples=RESAMPLES)
    for name, head in (("a", "style-few"), ("b", "style")):
        own = evaluate(opened, "style", head=head, where="id > 0", resamples=RESAMPLES)
        figures = own.methods[0].figures | {"Brier": own.head.brier}
        for figure in ("top1", "top5", "macro_f1", "Brier"):
            assert getattr(row(found, figure), name) == figures[figure]


def test_a_better_head_differs_by_more_than_chance_explains(opened):
    found = compare(opened, "style", "first", "second", resamples=RESAMPLES)
    assert row(found, "top1").p < 0.001
    for name in ("top1", "macro_f1", "top5", "P@10"):
        assert row(found, name).difference.low > 0
        assert row(found, name).p < 0.05
    assert row(found, "Brier").difference.high < 0


def test_swapping_the_two_turns_every_difference_around(opened):
    there = compare(opened, "style", "first", "second", resamples=RESAMPLES)
    back = compare(opened, "style", "second", "first", resamples=RESAMPLES)
    assert (there.only_a, there.only_b, there.works) == (back.only_b, back.only_a, back.works)
    for one, other in zip(there.differences, back.differences, strict=True):
        assert (one.a, one.b) == (other.b, other.a)
        assert one.difference.value == pytest.approx(-other.difference.value)
        assert one.p == pytest.approx(other.p)


# -- works and classes of both -----------------------------------------------------------------------------------------


def test_labels_that_one_head_does_not_know_are_left_out_and_said(opened):
    found = compare(opened, "style", "style", "style-merged", resamples=RESAMPLES)
    _, true, full = answers(opened, "style")
    _, _, merged = answers(opened, "style-merged")
    both = ~np.isin(true, ("Dawn", "Ember"))  # Ember is Fire to the second
    assert found.works == both.sum() == 100
    assert row(found, "top1").a.value == pytest.approx((full == true)[both].mean())
    assert row(found, "top1").b.value == pytest.approx((merged == true)[both].mean())
    assert opened.said == [
        "measured on the 100 works that were held out from both; left out: 40 of first/style and 20 of "
        "first/style-merged",
        "first/style knows 7 classes and first/style-merged 6, 5 of them in common: works of these were measured on",
    ]


def test_no_work_that_either_was_trained_on_is_measured_on(tmp_path):
    values = [STYLES[i % 7] for i in range(WORKS)]
    collection, entry = fill(tmp_path, clusters(values, noise=3.0), {"style": values})
    with collection:
        one = train(collection, "style", choices=Choices(split=SplitChoices(seed=1, share=0.4)))
        other = train(collection, "style", name="other", choices=Choices(split=SplitChoices(seed=2, share=0.4)))
        collection.notice = [].append
        found = compare(collection, "style", "style", "other", resamples=RESAMPLES)
        on = [measured(collection, "style", entry, head).works.images for head in (one, other)]
    held = np.intersect1d(*on)
    assert found.works == len(held)
    assert 0 < len(held) < len(on[0])
    assert not np.isin(held, np.concatenate([one.trained_on, other.trained_on])).any()


def test_heads_without_a_work_in_common_cannot_be_compared(tmp_path):
    values = [STYLES[i % 7] for i in range(WORKS)]
    room = ["east" if i < WORKS // 2 else "west" for i in range(WORKS)]
    collection, _ = fill(tmp_path, clusters(values, noise=3.0), {"style": values}, extra={"room": room})
    with collection:
        for name in ("east", "west"):
            train(collection, "style", name=name, choices=Choices(where=f"room = '{name}'"))
        with pytest.raises(LabelError, match="no work was held out from both synthetic/east and synthetic/west"):
            compare(collection, "style", "east", "west")


# -- encoders ----------------------------------------------------------------------------------------------------------


def test_encoders_are_compared_by_their_heads_and_by_retrieval(opened):
    found = compare(opened, "style", "first", "second", resamples=RESAMPLES)
    assert (found.a, found.b) == ("first/style", "second/style")
    names = [d.name for d in found.differences]
    assert names == ["top1", "macro_f1", "top5", "Brier", "P@10", "P@10, other artists only"]
    for name, encoder in (("a", "first"), ("b", "second")):
        own = evaluate(opened, "style", encoder=encoder, resamples=RESAMPLES)
        for figure, retrieval in zip(names[4:], own.retrieval, strict=True):
            assert getattr(row(found, figure), name) == retrieval.p10


def test_encoders_without_heads_are_compared_by_retrieval_alone(tmp_path):
    values = [STYLES[i % 7] for i in range(280)]
    collection, _ = fill(tmp_path, clusters(values, noise=4.0), {"style": values}, name="first")
    with collection:
        collection.said = []
        collection.notice = collection.said.append
        embed(collection, clusters(values, noise=2.0, seed=4), "second")
        train(collection, "style", encoder="second")
        found = compare(collection, "style", "first", "second", resamples=RESAMPLES)
    assert (found.a, found.b, found.only_a, found.only_b) == ("first", "second", None, None)
    assert [d.name for d in found.differences] == ["P@10"]
    assert found.differences[0].difference.low > 0
    assert collection.said == [
        "there is no head 'style' for the encoder first, so retrieval alone is compared; "
        "`simsearch train --label style --encoder first` makes one"
    ]


def test_a_head_can_be_named_with_its_encoder(opened):
    by_name = compare(opened, "style", "first/style-few", "second/style", resamples=RESAMPLES)
    assert (by_name.a, by_name.b) == ("first/style-few", "second/style")
    other_way = compare(opened, "style", "style", "first/style-few", encoder="second", resamples=RESAMPLES)
    assert (other_way.a, other_way.b) == ("second/style", "first/style-few")
    assert row(other_way, "top1").a == row(by_name, "top1").b


# -- what it refuses ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("a", "b", "error", "says"),
    [
        ("style", "stile-few", HeadError, "'stile-few' is neither a head for the encoder first nor an encoder; did you "
                                          "mean 'style-few'?"),
        ("style", "zzz", HeadError, "there are artist, style, style-few, style-merged, first, second"),
        ("second/style-few", "style", HeadError, "no head 'style-few' for the encoder second; did you mean 'style'?"),
        ("style", "first", QueryError, "'style' and 'first' are both first/style; name two that differ"),
        ("style", "artist", HeadError, "the head 'artist' names artist, not style"),
    ],
)  # fmt: skip
def test_names_that_mean_nothing_are_refused(opened, a, b, error, says):
    with pytest.raises(error, match=re.escape(says)):
        compare(opened, "style", a, b)


def test_a_kind_that_no_work_has_is_named_beside_the_nearest(opened):
    with pytest.raises(LabelError, match="did you mean 'style'"):
        compare(opened, "stile", "first", "second")


def test_a_head_without_a_rival_of_its_encoder_is_refused(opened):
    assert head_for(opened, opened.encoder_entry("second"), "artist") is None
    with pytest.raises(HeadError, match="no head 'style-none'"):
        compare(opened, "style", "second/style-none", "second")
