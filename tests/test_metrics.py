"""Figures of predictions, against scikit-learn by value, against plain formulas, and worked by hand."""

import math

import numpy as np
import pytest
from sklearn import metrics as sk

from simsearch.classifier import metrics

SEEDS = range(6)


def drawn(seed, classes=7, n=600, skill=2.0):
    """(true, probabilities): classes of very different sizes, one of them without a true row, float32 probabilities."""
    rng = np.random.default_rng(seed)
    sizes = rng.dirichlet(np.full(classes, 0.7))
    sizes[seed % classes] = 0
    true = rng.choice(classes, n, p=sizes / sizes.sum())
    logits = rng.normal(size=(n, classes)) * 2 + skill * np.eye(classes)[true]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return true, probabilities.astype(np.float32)


def confused(true, probabilities, **more):
    return metrics.confusion(true, metrics.predicted(probabilities), probabilities.shape[1], **more)


def with_unknown(true, every=5):
    true = true.copy()
    true[::every] = metrics.UNKNOWN
    return true


# -- counts of right and wrong -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_a_confusion_matrix_is_that_of_scikit_learn(seed):
    true, probabilities = drawn(seed)
    predicted = probabilities.argmax(1)
    found = metrics.confusion(true, predicted, 7)
    assert found.dtype == np.int64
    assert (found == sk.confusion_matrix(true, predicted, labels=range(7))).all()
    assert metrics.accuracy(found) == pytest.approx(sk.accuracy_score(true, predicted), abs=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("unknown", [False, True])
def test_precision_recall_and_f1_are_those_of_scikit_learn(seed, unknown):
    true, probabilities = drawn(seed)
    true = with_unknown(true) if unknown else true
    predicted = probabilities.argmax(1)
    found = confused(true, probabilities, unknown_row=unknown)
    wanted = sk.precision_recall_fscore_support(true, predicted, labels=range(7), zero_division=0)
    for mine, theirs in zip(metrics.per_class(found), wanted, strict=True):
        assert mine == pytest.approx(theirs, abs=1e-12)
    present = np.unique(true[true >= 0])
    assert len(present) < 7, "a class without a true row is part of this test"
    for average, mine in (("macro", metrics.macro(found)), ("weighted", metrics.weighted(found))):
        theirs = sk.precision_recall_fscore_support(true, predicted, labels=present, average=average, zero_division=0)
        assert list(mine) == pytest.approx(theirs[:3], abs=1e-12)
    assert metrics.accuracy(found) == pytest.approx((true == predicted).mean(), abs=1e-12)


def test_figures_worked_by_hand():
    found = metrics.confusion([0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 2, 2], 3)
    assert found.tolist() == [[2, 1, 0], [0, 1, 1], [0, 0, 1]]
    precision, recall, f1, support = metrics.per_class(found)
    assert precision.tolist() == [1, 0.5, 0.5]
    assert recall.tolist() == [2 / 3, 0.5, 1]
    assert f1.tolist() == pytest.approx([0.8, 0.5, 2 / 3])
    assert support.tolist() == [3, 2, 1]
    assert metrics.macro(found).f1 == pytest.approx((0.8 + 0.5 + 2 / 3) / 3)
    assert metrics.weighted(found).f1 == pytest.approx((3 * 0.8 + 2 * 0.5 + 2 / 3) / 6)
    assert metrics.weighted(found).recall == metrics.accuracy(found) == pytest.approx(4 / 6)


def test_a_class_that_is_only_predicted_has_no_part_in_the_mean_over_classes():
    found = metrics.confusion([0, 0, 1, 1], [0, 2, 1, 1], 3)
    assert metrics.per_class(found).f1.tolist() == [2 / 3, 1, 0]
    assert metrics.macro(found).f1 == pytest.approx((2 / 3 + 1) / 2)
    theirs = sk.f1_score([0, 0, 1, 1], [0, 2, 1, 1], average="macro")
    assert theirs == pytest.approx((2 / 3 + 1 + 0) / 3), "without labels scikit-learn counts it as 0"


def test_rows_of_unknown_class_lower_the_precision_of_what_they_were_taken_for():
    known = metrics.confusion([0, 0, 1, 1], [0, 0, 1, 1], 2)
    found = metrics.confusion([0, 0, 1, 1, -1, -1], [0, 0, 1, 1, 1, 1], 2, unknown_row=True)
    assert found.tolist() == [[2, 0], [0, 2], [0, 2]]
    assert metrics.accuracy(known) == 1
    assert metrics.accuracy(found) == pytest.approx(4 / 6)
    assert metrics.per_class(found).precision.tolist() == [1, 0.5]
    assert metrics.per_class(found).recall.tolist() == [1, 1]
    assert metrics.macro(found).f1 == pytest.approx((1 + 2 / 3) / 2)


def test_an_unknown_class_is_never_left_out_in_silence():
    with pytest.raises(ValueError, match="2 rows are of a class that the head does not know; count them"):
        metrics.confusion([0, -1, 1, -1], [0, 0, 1, 1], 2)


def test_an_unknown_class_is_wrong_whatever_is_predicted():
    assert metrics.correct([0, 1, -1, -1], [0, 0, -1, 0]).tolist() == [True, False, False, False]


@pytest.mark.parametrize("shape", [(), (4,), (2, 3)])
def test_a_stack_of_matrices_gives_the_figures_of_each(shape):
    rng = np.random.default_rng(4)
    stack = rng.integers(0, 9, (*shape, 6, 5))
    for place in np.ndindex(*shape):
        assert metrics.accuracy(stack)[place] == metrics.accuracy(stack[place])
        for figures in (metrics.per_class, metrics.macro, metrics.weighted):
            for whole, one in zip(figures(stack), figures(stack[place]), strict=True):
                assert whole[place] == pytest.approx(one, abs=1e-12)


def test_figures_of_no_rows_are_not_numbers_and_warn_of_nothing():
    empty = metrics.confusion([], [], 3)
    assert empty.shape == (3, 3)
    assert math.isnan(metrics.accuracy(empty))
    assert np.isnan(metrics.macro(empty)).all()
    assert np.isnan(metrics.weighted(empty)).all()
    assert metrics.per_class(empty).f1.tolist() == [0, 0, 0]


def test_one_class_is_enough():
    found = metrics.confusion([0, 0], [0, 0], 1)
    assert metrics.accuracy(found) == metrics.macro(found).f1 == 1
    ones = np.ones((2, 1), np.float32)
    assert metrics.top_k([0, -1], ones, 1).tolist() == [True, False]
    assert metrics.ece([0, 0], ones) == metrics.brier([0, 0], ones) == metrics.log_loss([0, 0], ones) == 0


# -- the order of classes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_other_places_for_the_classes_and_all_that_goes_with_them_change_no_figure(seed):
    true, probabilities = drawn(seed)
    true = with_unknown(true)
    place = np.random.default_rng(seed + 100).permutation(7)
    moved = np.empty_like(probabilities)
    moved[:, place] = probabilities
    moved_true = np.where(true < 0, -1, place[true])
    before, after = (confused(t, p, unknown_row=True) for t, p in ((true, probabilities), (moved_true, moved)))
    assert (after[np.ix_([*place, 7], place)] == before).all()
    for figures in (metrics.macro, metrics.weighted):
        assert list(figures(after)) == pytest.approx(list(figures(before)), abs=1e-12)
    for k in (1, 2, 5):
        assert (metrics.top_k(true, probabilities, k) == metrics.top_k(moved_true, moved, k)).all()
    for figure in (metrics.ece, metrics.brier, metrics.log_loss):
        assert figure(true, probabilities) == pytest.approx(figure(moved_true, moved), abs=1e-12)


def test_probabilities_whose_columns_lost_their_names_fall_to_chance():
    classes = 16
    true, probabilities = drawn(3, classes, 4000, skill=6.0)
    rng = np.random.default_rng(8)
    right = metrics.accuracy(confused(true, probabilities))
    lost = [probabilities[:, rng.permutation(classes)] for _ in range(200)]
    assert right > 0.75
    # a random order leaves one class in sixteen in its place
    assert np.mean([metrics.top_k(true, p, 1).mean() for p in lost]) == pytest.approx(1 / classes, abs=0.015)
    assert np.mean([metrics.top_k(true, p, 5).mean() for p in lost]) == pytest.approx(5 / classes, abs=0.03)
    assert np.mean([metrics.macro(confused(true, p)).f1 for p in lost]) < 0.1


# -- the most probable -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_top_k_is_that_of_scikit_learn(seed):
    true, probabilities = drawn(seed, n=300)
    for k in range(1, 7):
        wanted = sk.top_k_accuracy_score(true, probabilities, k=k, labels=range(7))
        assert metrics.top_k(true, probabilities, k).mean() == pytest.approx(wanted, abs=1e-12)
    assert (metrics.top_k(true, probabilities, 1) == (metrics.predicted(probabilities) == true)).all()
    assert metrics.top_k(true, probabilities, 7).all()
    assert metrics.top_k(true, probabilities, 99).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_equal_probabilities_rank_in_the_order_of_classes(seed):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(1, 4, (200, 6))
    probabilities = coarse / coarse.sum(axis=1, keepdims=True)
    true = rng.integers(-1, 6, 200)
    for k in (1, 2, 3, 5):
        plain = [
            t in sorted(range(6), key=lambda c: (-row[c], c))[:k]
            for t, row in zip(true, probabilities.tolist(), strict=True)
        ]
        assert metrics.top_k(true, probabilities, k).tolist() == plain


def test_an_unknown_class_is_in_no_top_k():
    assert not metrics.top_k([-1, -1], [[0.5, 0.5], [1, 0]], 2).any()


# -- calibration -------------------------------------------------------------------------------------------------------


def test_calibration_error_worked_by_hand():
    # two bins, up to a half and above it: 0.5 right; 0.6 wrong, 0.8 right, 1.0 right
    probabilities = [[0.5, 0.3, 0.2], [0.6, 0.2, 0.2], [0.8, 0.1, 0.1], [1.0, 0.0, 0.0]]
    true = [0, 1, 0, 0]
    assert metrics.ece(true, probabilities, bins=2) == pytest.approx((0.5 + 3 * abs(2 / 3 - 0.8)) / 4)
    found = metrics.reliability(true, probabilities, bins=2)
    assert found.edges.tolist() == [0, 0.5, 1]
    assert found.count.tolist() == [1, 3]
    assert found.confidence == pytest.approx([0.5, 0.8])
    assert found.accuracy == pytest.approx([1, 2 / 3])


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("bins", [1, 10, 15])
def test_calibration_error_and_reliability_follow_from_a_plain_loop(seed, bins):
    true, probabilities = drawn(seed)
    true = with_unknown(true)
    rows = [[] for _ in range(bins)]
    for t, row in zip(true.tolist(), probabilities.astype(float).tolist(), strict=True):
        confidence = max(row)
        rows[max(1, math.ceil(confidence * bins - 1e-12)) - 1].append((confidence, row.index(confidence) == t))
    found = metrics.reliability(true, probabilities, bins)
    assert found.count.tolist() == [len(b) for b in rows]
    error = 0.0
    for b, confidence, accuracy in zip(rows, found.confidence, found.accuracy, strict=True):
        if not b:
            assert math.isnan(confidence)
            assert math.isnan(accuracy)
            continue
        assert confidence == pytest.approx(sum(c for c, _ in b) / len(b), abs=1e-12)
        assert accuracy == pytest.approx(sum(hit for _, hit in b) / len(b), abs=1e-12)
        error += len(b) / len(true) * abs(accuracy - confidence)
    assert metrics.ece(true, probabilities, bins) == pytest.approx(error, abs=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_brier_and_log_loss_follow_from_their_formulas_and_the_latter_from_scikit_learn(seed):
    true, probabilities = drawn(seed)
    p = probabilities.astype(np.float64)
    hot = np.eye(7)[true]
    assert metrics.brier(true, probabilities) == pytest.approx(((p - hot) ** 2).sum(1).mean(), abs=1e-12)
    assert metrics.log_loss(true, probabilities) == pytest.approx(-np.log(p[np.arange(len(p)), true]).mean(), abs=1e-12)
    theirs = sk.log_loss(true, p / p.sum(1, keepdims=True), labels=range(7))
    assert metrics.log_loss(true, probabilities) == pytest.approx(theirs, abs=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
def test_brier_of_two_classes_is_twice_the_one_of_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    p, true = rng.random(300), rng.integers(0, 2, 300)
    wanted = 2 * sk.brier_score_loss(true, p)
    assert metrics.brier(true, np.stack([1 - p, p], 1)) == pytest.approx(wanted, abs=1e-12)


def test_brier_reaches_from_0_to_2_and_the_logarithm_stays_finite():
    sure = [[1.0, 0.0], [0.0, 1.0]]
    assert metrics.brier_rows([0, 0], sure).tolist() == [0, 2]
    assert metrics.log_loss_rows([0, 0], sure) == pytest.approx([0, 15.9424], abs=1e-4)


def test_an_unknown_class_had_the_probability_zero():
    assert metrics.brier_rows([-1, -1], [[0.5, 0.5], [1, 0]]).tolist() == [1.5, 2]
    assert metrics.log_loss_rows([-1], [[0.5, 0.5]]) == pytest.approx([15.9424], abs=1e-4)
    assert metrics.ece([-1, -1], [[0.5, 0.5], [1, 0]]) == pytest.approx(0.75)


# -- answering only some -----------------------------------------------------------------------------------------------


def test_coverage_and_accuracy_worked_by_hand():
    probabilities = [[0.9, 0.1], [0.6, 0.4], [0.4, 0.6], [0.2, 0.8]]
    found = metrics.coverage_accuracy([0, 1, 1, -1], probabilities)
    assert found.threshold.tolist() == [0.9, 0.8, 0.6]
    assert found.coverage.tolist() == [0.25, 0.5, 1.0], "the two rows of 0.6 come in together"
    assert found.accuracy.tolist() == [1, 0.5, 0.5]


@pytest.mark.parametrize("seed", SEEDS)
def test_every_point_of_the_curve_is_what_its_threshold_gives(seed):
    true, probabilities = drawn(seed, n=120)
    true = with_unknown(true)
    curve = metrics.coverage_accuracy(true, probabilities)
    assert (np.diff(curve.threshold) < 0).all()
    assert curve.coverage[-1] == 1
    assert curve.accuracy[-1] == pytest.approx(metrics.top_k(true, probabilities, 1).mean(), abs=1e-12)
    sure, hits = probabilities.max(1), metrics.top_k(true, probabilities, 1)
    for threshold, coverage, accuracy in zip(curve.threshold, curve.coverage, curve.accuracy, strict=True):
        assert metrics.accuracy_at(true, probabilities, threshold) == pytest.approx((coverage, accuracy), abs=1e-12)
        assert coverage == pytest.approx((sure >= threshold).mean(), abs=1e-12)
        assert accuracy == pytest.approx(hits[sure >= threshold].mean(), abs=1e-12)


def test_where_nothing_is_answered_there_is_no_accuracy():
    coverage, accuracy = metrics.accuracy_at([0], [[0.7, 0.3]], 0.8)
    assert coverage == 0
    assert math.isnan(accuracy)


# -- what is refused ---------------------------------------------------------------------------------------------------

OF_PROBABILITIES = (
    metrics.ece, metrics.reliability, metrics.brier, metrics.log_loss, metrics.coverage_accuracy,
    lambda true, p: metrics.accuracy_at(true, p, 0.5), lambda true, p: metrics.top_k(true, p, 1),
)  # fmt: skip


@pytest.mark.parametrize("figure", OF_PROBABILITIES)
@pytest.mark.parametrize(
    ("true", "probabilities", "said"),
    [
        ([0, 1], [[0.5, 0.5], [np.nan, 1]], "the probabilities of row 1 are not finite"),
        ([0, 1], [[np.inf, 0], [0, 1]], "the probabilities of row 0 are not finite"),
        ([0, 2], [[1, 0], [0, 1]], "classes from 0 to 2; there are -1 to 1"),
        ([0, -2], [[1, 0], [0, 1]], "classes from -2 to 0"),
        ([0], [[1, 0], [0, 1]], r"\(n,\) integers|shape \(1,\); \(2,\) integers wanted"),
        ([0.0, 1.0], [[1, 0], [0, 1]], r"classes as float64 of shape \(2,\)"),
        ([0, 1], [1, 0], r"probabilities of shape \(2,\); \(n, c\) wanted"),
    ],
)
def test_what_does_not_fit_is_refused(figure, true, probabilities, said):
    with pytest.raises(ValueError, match=said):
        figure(true, probabilities)


@pytest.mark.parametrize("figure", OF_PROBABILITIES[:-1])
def test_a_figure_of_probabilities_takes_no_logits_and_no_empty_table(figure):
    with pytest.raises(ValueError, match="row 1 does not hold probabilities"):
        figure([0, 1], [[0.5, 0.5], [2.0, 3.0]])
    with pytest.raises(ValueError, match="row 0 does not hold probabilities"):
        figure([0], [[1.5, -0.5]])
    with pytest.raises(ValueError, match="no rows to measure"):
        figure([], np.empty((0, 3)))


def test_counts_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="k is 0; it starts at 1"):
        metrics.top_k([0], [[1.0]], 0)
    with pytest.raises(ValueError, match="0 bins; there is at least 1"):
        metrics.ece([0], [[1.0]], 0)
    with pytest.raises(ValueError, match="2 true classes and 1 predicted ones"):
        metrics.confusion([0, 1], [0], 2)
    with pytest.raises(ValueError, match=r"\(2,\) true classes and \(1,\) predicted ones"):
        metrics.correct([0, 1], [0])
    with pytest.raises(ValueError, match="a confusion matrix of 2 rows and 3 columns"):
        metrics.macro(np.ones((2, 3)))
