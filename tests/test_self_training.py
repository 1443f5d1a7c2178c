"""Self-training: what a head may teach itself, what it brings by value, and that it is dropped where it hurts."""

from dataclasses import replace

import numpy as np
import pytest
from labelled_works import clusters
from trained_heads import CLASSES, macro_f1, of, same, trained, values_of

from simsearch.classifier.learn import surest, tuning_part
from simsearch.classifier.prepare import SplitChoices
from simsearch.classifier.train import Choices


def few_labels(folder, *, few, noise, threshold, unlike=None, seed=0, many=900):
    """A head of three classes from a few labelled works each, 300 held out, and many without a label."""
    classes = CLASSES[:3]
    true = values_of(3 * few, classes) + values_of(300, classes) + (unlike or values_of(many, classes))
    style = true[: 3 * few + 300] + [""] * many
    split = ["train"] * (3 * few) + ["val"] * 300 + [""] * many
    rows = clusters(true, dim=32, noise=noise, seed=seed)
    return trained(folder, rows, {"style": style}, Choices(pseudo_label=threshold), extra={"split": split})


def held_out_f1(head, works):
    held = of(works, head.held_out)
    guess = np.array(head.classes)[head.probabilities(held.rows).argmax(axis=1)]
    return macro_f1(held.values, guess, head.classes)


def test_sure_predictions_help_where_labels_are_few(tmp_path):
    brought = []
    for seed in range(4):
        setting = {"few": 20, "noise": 2.5, "seed": seed}
        plain, _, works = few_labels(tmp_path / f"plain {seed}", threshold=None, **setting)
        taught, _, _ = few_labels(tmp_path / f"taught {seed}", threshold=0.6, **setting)
        gain = taught.card["pseudo_labels"]
        assert plain.card["pseudo_labels"] is None
        assert gain["kept"]
        assert gain["of"] == 900
        assert 300 < gain["added"] < 900
        before, after = gain["macro_f1_held_out"]
        assert [before, after] == pytest.approx([held_out_f1(head, works) for head in (plain, taught)], abs=1e-4)
        assert gain["macro_f1_tune"][1] >= gain["macro_f1_tune"][0]
        assert taught.card["held_out_figures"]["macro_f1"][0] == after
        brought.append(after - before)
    assert min(brought) > 0
    assert np.mean(brought) > 0.015


def test_what_it_taught_itself_counts_as_seen(tmp_path):
    head, _, works = few_labels(tmp_path, few=20, noise=2.5, threshold=0.6)
    gain, labelled = head.card["pseudo_labels"], works.images[works.parts == "train"]
    assert gain["kept"]
    assert len(head.trained_on) == len(labelled) + gain["added"]
    assert set(labelled) <= set(head.trained_on)
    assert not set(head.trained_on) & set(head.held_out)
    assert head.card["works"]["trained_on"] == 60, "works with labels"


def test_its_temperature_is_that_of_the_head_that_taught_itself(tmp_path):
    # a strong penalty on 60 works makes small logits; with 700 works more they are large
    head, _, works = few_labels(tmp_path, few=20, noise=2.5, threshold=0.6)
    assert head.card["pseudo_labels"]["kept"]
    held = of(works, head.held_out)
    shares = head.probabilities(held.rows)
    right = np.array(head.classes)[shares.argmax(axis=1)] == held.values
    assert shares.max(axis=1).mean() == pytest.approx(right.mean(), abs=0.12)


@pytest.mark.parametrize("seed", [0, 2, 3])
def test_sure_predictions_are_dropped_where_they_hurt(tmp_path, seed):
    # all unlabelled works are of one class, so that two of three things that it would teach itself are wrong
    setting = {"few": 40, "noise": 4.0, "unlike": ["Dawn"] * 1800, "many": 1800, "seed": seed}
    plain, _, _ = few_labels(tmp_path / "plain", threshold=None, **setting)
    taught, _, _ = few_labels(tmp_path / "taught", threshold=0.5, **setting)
    gain = taught.card["pseudo_labels"]
    assert not gain["kept"]
    assert gain["added"] > 300
    assert gain["macro_f1_tune"][1] < gain["macro_f1_tune"][0]
    assert gain["macro_f1_held_out"][1] < gain["macro_f1_held_out"][0]
    assert same(replace(taught, card={}), replace(plain, card={}))


def test_the_surest_of_each_class_are_taken_in_the_proportion_of_the_labels():
    # guesses: 5 of class 0, 2 of class 1, 3 of class 2, of which one is below the threshold
    sure = [0.9, 0.7, 0.99, 0.8, 0.95, 0.9, 0.8, 0.7, 0.65, 0.55]
    shares = np.zeros((10, 3), np.float32)
    shares[np.arange(10), [0, 0, 0, 0, 0, 1, 1, 2, 2, 2]] = sure
    # labels 2 : 1 : 1, so two of classes 1 and 2 go with four of class 0, all but its least sure
    assert surest(shares, 0.6, np.array([20, 10, 10])).tolist() == [0, 2, 3, 4, 5, 6, 7, 8]
    # labels 1 : 1 : 4, so that class 2 has too few for more than none of the others
    assert surest(shares, 0.6, np.array([10, 10, 40])).tolist() == [7, 8]
    assert surest(shares, 0.0, np.array([10, 10, 30])).tolist() == [2, 5, 7, 8, 9]
    assert surest(shares, 0.9, np.array([1, 1, 1])).tolist() == [], "nothing of class 2 is as sure"
    assert surest(shares[:0], 0.5, np.array([1, 1, 1])).tolist() == []


def test_nothing_is_added_where_nothing_is_sure_enough(tmp_path):
    head, _, _ = few_labels(tmp_path, few=15, noise=4.0, threshold=1.0, many=100)
    assert head.card["pseudo_labels"]["added"] == 0
    assert not head.card["pseudo_labels"]["kept"]


def test_a_collection_without_unlabelled_works_has_nothing_to_teach_itself(tmp_path):
    values = values_of(120)
    head, _, _ = trained(tmp_path, clusters(values, noise=1.0), {"style": values}, Choices(pseudo_label=0.9))
    assert head.card["pseudo_labels"]["of"] == 0
    assert not head.card["pseudo_labels"]["kept"]


def test_unlabelled_copies_of_held_out_works_are_not_learned_from(tmp_path):
    values = values_of(160) + [""] * 60
    rows = clusters(values_of(220), noise=0.6)
    split = ["train"] * 120 + ["val"] * 40 + [""] * 60
    rows[160:200] = rows[120:160]  # nearly the held-out works
    images = list(range(210)) + list(range(120, 130))  # and ten more with their very bytes
    rows[210:] = rows[120:130]
    head, _, _ = trained(
        tmp_path, rows, {"style": values}, Choices(pseudo_label=0.0), extra={"split": split}, images=images
    )
    assert head.card["pseudo_labels"]["of"] == 10


def test_unlabelled_works_by_held_out_artists_are_not_learned_from(tmp_path):
    true = values_of(360, CLASSES[:3])
    artists = [f"artist {i % 30}" if i % 11 else "" for i in range(360)]
    style = ["" if i // 30 % 2 else value for i, value in enumerate(true)]  # half of what each artist made
    rows = clusters(true, noise=1.0)
    choices = Choices(pseudo_label=0.0, split=SplitChoices(group_by="artist"))
    head, keys, works = trained(tmp_path, rows, {"style": style, "artist": artists}, choices)
    held = of(works, head.held_out)
    learning = of(works, head.trained_on)  # works has those with a label alone
    codes = np.array([head.classes.index(value) for value in learning.values])
    barred = {"", *held.artists, *learning.artists[tuning_part(learning, codes, choices)]}
    wanted = {keys[i + 1] for i in range(360) if not style[i] and artists[i] not in barred}
    assert held.artists.size > 20
    gain = head.card["pseudo_labels"]
    assert gain["kept"]
    assert gain["of"] == len(wanted) > gain["added"] > 50
    taught = np.setdiff1d(head.trained_on, works.images)
    assert len(taught) == gain["added"]
    assert set(taught.tolist()) <= wanted
