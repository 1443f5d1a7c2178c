"""Confident learning by value, against a worked example and a plain restatement, and probabilities out of fold."""

import math

import numpy as np
import pytest
from labelled_works import clusters

from simsearch.classifier import audit_labels
from simsearch.errors import LabelError

STYLES = ("Dawn", "Ember", "Moss", "Tide")


def random_shares(works, classes, seed):
    """Probabilities that lean towards the label, and labels (n,)."""
    random = np.random.default_rng(seed)
    codes = random.integers(0, classes, works)
    logits = random.normal(size=(works, classes)) * 1.5
    logits[np.arange(works), codes] += 1.2
    shares = np.exp(logits)
    return shares / shares.sum(axis=1, keepdims=True), codes


# -- confident learning ------------------------------------------------------------------------------------------------


def test_a_confident_joint_worked_out_by_hand():
    shares = np.array([
        [0.9, 0.1],  # labelled 0, and reaches the threshold of 0
        [0.7, 0.3],  # labelled 0, just reaches it: the thresholds are .6 and .5
        [0.2, 0.8],  # labelled 0, reaches that of 1: confidently wrong
        [0.9, 0.1],  # labelled 1, confidently 0
        [0.1, 0.9],  # labelled 1
        [0.5, 0.5],  # labelled 1, just reaches it
    ])  # fmt: skip
    codes = np.array([0, 0, 0, 1, 1, 1])
    assert audit_labels.thresholds(shares, codes) == pytest.approx([0.6, 0.5])
    assert audit_labels.confident_joint(shares, codes).tolist() == [[2, 1], [1, 2]]
    found = audit_labels.suspicious(shares, codes)
    assert found.places.tolist() == [3, 2]  # .1 / .5 is less than .2 / .6
    assert found.ratios == pytest.approx([0.2, 1 / 3])
    assert found.best.tolist() == [0, 1]


@pytest.mark.parametrize("seed", range(5))
def test_the_confident_joint_is_what_the_paper_says(seed):
    works, classes = 300, 4
    shares, codes = random_shares(works, classes, seed)
    mean = [math.fsum(shares[i, j] for i in range(works) if codes[i] == j) / list(codes).count(j) for j in range(4)]
    counted = [[0] * classes for _ in range(classes)]
    for i in range(works):
        candidates = [(shares[i, j], j) for j in range(classes) if shares[i, j] >= mean[j]]
        if candidates:
            counted[codes[i]][max(candidates)[1]] += 1
    wanted = [[round(n / sum(row) * list(codes).count(i)) for n in row] for i, row in enumerate(counted)]
    assert audit_labels.thresholds(shares, codes) == pytest.approx(mean)
    assert audit_labels.confident_joint(shares, codes).tolist() == wanted


@pytest.mark.parametrize("seed", range(3))
def test_of_each_class_the_least_likely_are_picked_as_many_as_the_joint_says(seed):
    shares, codes = random_shares(400, 5, seed)
    joint, mean = audit_labels.confident_joint(shares, codes), audit_labels.thresholds(shares, codes)
    wanted = []
    for label in range(5):
        own = sorted((shares[i, label], i) for i in range(400) if codes[i] == label)
        wanted += [(p / mean[label], i) for p, i in own[: sum(joint[label]) - joint[label][label]]]
    wanted = [(ratio, i) for ratio, i in sorted(wanted) if shares[i].argmax() != codes[i]]
    found = audit_labels.suspicious(shares, codes)
    assert found.places.tolist() == [i for _, i in wanted]
    assert found.ratios == pytest.approx([ratio for ratio, _ in wanted])
    assert len(wanted) > 20


def test_a_class_that_nothing_is_confidently_in_stands_for_right_labels():
    shares = np.array([[0.6, 0.3, 0.1], [0.4, 0.5, 0.1], [0.2, 0.2, 0.6], [0.6, 0.1, 0.3]])
    joint = audit_labels.confident_joint(shares, np.array([0, 1, 2, 2]))
    assert joint.sum(axis=1).tolist() == [1, 1, 2]


def test_a_work_that_was_not_judged_is_not_suspicious():
    shares, codes = random_shares(60, 3, 1)
    before = audit_labels.suspicious(shares, codes).places
    shares[before[0], codes[before[0]]] = 0.0
    assert before[0] not in audit_labels.suspicious(shares, codes).places


# -- out of fold -------------------------------------------------------------------------------------------------------


def test_the_votes_are_those_of_the_nearest_works_of_other_folds():
    values = [STYLES[i % 4] for i in range(90)]
    rows = clusters(values, noise=2.0, seed=4)
    codes, fold = np.arange(90) % 4, np.arange(90) % 5
    centred = rows - rows.mean(axis=0)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    wanted = np.zeros((90, 4))
    for i in range(90):
        others = sorted((-float(centred[i] @ centred[j]), j) for j in range(90) if fold[j] != fold[i])
        for cosine, j in others[:30]:
            wanted[i, codes[j]] += math.exp(-10 * cosine)
    wanted = (wanted / wanted.sum(axis=1, keepdims=True) + 0.05 / 4) / 1.05
    votes = audit_labels.by_neighbours(rows, codes, fold, 4)
    assert votes == pytest.approx(wanted, rel=1e-4)
    assert votes.sum(axis=1) == pytest.approx(np.ones(90))


def test_no_label_of_a_fold_has_a_part_in_how_its_temperature_is_set():
    random = np.random.default_rng(0)
    logits, codes, fold = random.normal(size=(200, 3)), random.integers(0, 3, 200), np.arange(200) % 5
    before = audit_labels.calibrated(logits, codes, fold)
    after = audit_labels.calibrated(logits, np.where(fold == 2, (codes + 1) % 3, codes), fold)
    assert (after[fold == 2] == before[fold == 2]).all()
    assert (after[fold != 2] != before[fold != 2]).any()
    assert before.sum(axis=1) == pytest.approx(np.ones(200))


def test_probabilities_are_calibrated():
    values = [STYLES[i % 4] for i in range(1200)]
    rows, codes = clusters(values, noise=3.0, seed=2), np.arange(1200) % 4
    shares = audit_labels.out_of_fold(rows, codes, np.arange(1200), 4)
    sure, right = shares.max(axis=1), shares.argmax(axis=1) == codes
    assert 0.5 < right.mean() < 0.95
    assert sure.mean() == pytest.approx(right.mean(), abs=0.04)


def test_a_class_that_a_fold_cannot_learn_is_impossible_there_and_nowhere_else():
    values = [STYLES[i % 2] for i in range(60)] + ["Moss"] * 6
    rows, codes = clusters(values, seed=1), np.array([i % 2 for i in range(60)] + [2] * 6)
    shares = audit_labels.out_of_fold(rows, codes, np.array([*range(60), *[60] * 6]), 3)
    assert (shares[60:, 2] == 0).all()
    assert (shares[60:, :2] > 0).all()
    others = shares[:60][shares[:60, 2] > 0]
    assert len(others) >= 40  # of the folds that do know the class
    assert audit_labels.suspicious(shares, codes).places.tolist() == []


def test_works_that_are_all_near_duplicates_teach_nothing():
    rows, codes = clusters(["a", "b"] * 6), np.array([0, 1] * 6)
    with pytest.raises(LabelError, match="all 12 labelled works are near-duplicates of each other"):
        audit_labels.out_of_fold(rows, codes, np.zeros(12, np.int64), 2)
