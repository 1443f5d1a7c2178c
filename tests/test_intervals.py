"""Bootstrap intervals and paired tests: on rows laid out, against scikit-learn and scipy, and how often they hold."""

import math

import numpy as np
import pytest
import scipy.stats
from sklearn import metrics as sk

from simsearch.classifier import intervals, metrics
from simsearch.records import Estimate


def labelled(seed, n=400, classes=5, skill=0.6):
    """(true, predicted), right with probability `skill` and some more by chance."""
    rng = np.random.default_rng(seed)
    true = rng.choice(classes, n, p=rng.dirichlet(np.full(classes, 2.0)))
    return true, np.where(rng.random(n) < skill, true, rng.integers(0, classes, n))


def macro_f1(stack):
    return metrics.macro(stack).f1


def drawn_rows(weights):
    """The rows of each resample, laid out."""
    return [np.repeat(np.arange(len(w)), w.astype(int)) for w in weights]


def weights_of(n, **more):
    return intervals.bootstrap(lambda w: w, n, **more)


# -- the resamples -----------------------------------------------------------------------------------------------------


def test_a_resample_draws_as_many_rows_as_there_are_each_as_likely():
    weights = weights_of(50, resamples=4000)
    assert weights.shape == (4000, 50)
    assert (weights.sum(axis=1) == 50).all()
    assert weights.mean(axis=0) == pytest.approx(np.ones(50), abs=0.08)
    assert weights.var() == pytest.approx(1 - 1 / 50, abs=0.02), "the variance of a multinomial count"


def test_groups_are_drawn_whole():
    groups = np.array([7, 3, 7, 7, -1, 3, -1, -5])
    weights = weights_of(8, groups=groups, resamples=2000)
    assert (weights[:, [0, 2, 3]] == weights[:, :1]).all()
    assert (weights[:, 1] == weights[:, 5]).all()
    drawn = weights[:, [0, 1, 4, 6, 7]]
    assert (drawn.sum(axis=1) == 5).all(), "two groups and three rows that stand alone"
    assert drawn.mean(axis=0) == pytest.approx(np.ones(5), abs=0.08)
    assert not (weights[:, 4] == weights[:, 6]).all()


def test_rows_that_all_stand_alone_are_drawn_as_if_there_were_no_groups():
    assert (weights_of(30, groups=np.full(30, -1)) == weights_of(30)).all()
    assert (weights_of(30, groups=np.arange(30)) == weights_of(30)).all()


@pytest.mark.parametrize("groups", [None, np.arange(40) // 3])
def test_the_resamples_depend_on_the_seed_and_not_on_the_size_of_blocks(monkeypatch, groups):
    whole = weights_of(40, groups=groups, seed=5)
    assert (weights_of(40, groups=groups, seed=5) == whole).all()
    assert (weights_of(40, groups=groups, seed=6) != whole).any()
    monkeypatch.setattr(intervals, "BLOCK_NUMBERS", 700)
    assert (weights_of(40, groups=groups, seed=5) == whole).all()


# -- figures of resamples, on rows laid out ----------------------------------------------------------------------------


@pytest.mark.parametrize("groups", [None, np.arange(400) // 7])
def test_the_interval_of_a_mean_is_that_of_the_means_of_the_rows_drawn(groups):
    per_row = np.random.default_rng(1).gamma(2, size=400)
    means = [per_row[rows].mean() for rows in drawn_rows(weights_of(400, groups=groups, resamples=300))]
    found = intervals.estimate_mean(per_row, groups=groups, resamples=300)
    assert found.value == pytest.approx(per_row.mean())
    assert [found.low, found.high] == pytest.approx(np.quantile(means, [0.025, 0.975]))


def test_the_interval_of_a_ratio_is_that_of_the_ratios_of_the_rows_drawn():
    rng = np.random.default_rng(2)
    answered = rng.random(200) < 0.4
    right = answered & (rng.random(200) < 0.8)
    ratios = [right[rows].sum() / answered[rows].sum() for rows in drawn_rows(weights_of(200, resamples=300))]
    found = intervals.estimate_ratio(right, answered, resamples=300)
    assert found.value == pytest.approx(right.sum() / answered.sum())
    assert [found.low, found.high] == pytest.approx(np.quantile(ratios, [0.025, 0.975]))


@pytest.mark.parametrize("block", [intervals.BLOCK_NUMBERS, 1000])
def test_confusions_of_resamples_give_the_figures_of_scikit_learn_on_the_rows_drawn(monkeypatch, block):
    monkeypatch.setattr(intervals, "BLOCK_NUMBERS", block)
    true, predicted = labelled(3)
    true[::9] = metrics.UNKNOWN
    rows = drawn_rows(weights_of(400, resamples=60))
    statistic = intervals.of_confusion(lambda m: np.stack([macro_f1(m), metrics.accuracy(m)], -1), true, predicted, 5)
    found = intervals.bootstrap(statistic, 400, resamples=60)
    assert found.shape == (60, 2)
    for (f1, accuracy), r in zip(found, rows, strict=True):
        labels = np.setdiff1d(true[r], [-1])
        theirs = sk.f1_score(true[r], predicted[r], labels=labels, average="macro", zero_division=0)
        assert f1 == pytest.approx(theirs, abs=1e-12)
        assert accuracy == pytest.approx((true[r] == predicted[r]).mean(), abs=1e-12)


def test_the_calibration_error_of_resamples_is_that_of_the_rows_drawn():
    rng = np.random.default_rng(4)
    probabilities, true = rng.dirichlet(np.ones(3), 150), rng.integers(-1, 3, 150)
    whole = metrics.ece(true, probabilities)
    errors = [metrics.ece(true[r], probabilities[r]) for r in drawn_rows(weights_of(150, resamples=200))]
    found = intervals.estimate_ece(true, probabilities, resamples=200)
    assert found.value == pytest.approx(whole, abs=1e-12)
    assert [found.high, found.low] == pytest.approx(2 * whole - np.quantile(errors, [0.025, 0.975]), abs=1e-12)


def test_figures_of_a_confusion_matrix_come_by_name_with_their_own_values():
    true, predicted = labelled(5)
    found = intervals.estimate_confusion(
        {"f1": macro_f1, "recall": lambda m: metrics.weighted(m).recall}, true, predicted, 5
    )
    assert list(found) == ["f1", "recall"]
    assert found["f1"].value == pytest.approx(sk.f1_score(true, predicted, average="macro"), abs=1e-12)
    assert found["recall"].value == pytest.approx(sk.accuracy_score(true, predicted), abs=1e-12)
    drawn = intervals.bootstrap(intervals.of_confusion(macro_f1, true, predicted, 5), 400)
    assert found["f1"] == intervals.basic_interval(found["f1"].value, drawn)
    for estimate in found.values():
        assert estimate.low < estimate.value < estimate.high
        assert 0.05 < estimate.high - estimate.low < 0.2


def test_every_class_has_its_own_interval():
    true, predicted = labelled(6)
    found = intervals.estimate_per_class(lambda m: metrics.per_class(m).recall, true, predicted, 5)
    assert [v.value for v in found] == pytest.approx(sk.recall_score(true, predicted, average=None), abs=1e-12)
    support = np.bincount(true, minlength=5)
    widths = [v.high - v.low for v in found]
    assert widths[support.argmin()] > widths[support.argmax()], "the class of fewest rows is known the least"


@pytest.mark.parametrize(("basic", "method"), [(False, "percentile"), (True, "basic")])
def test_both_kinds_of_interval_are_those_of_scipy(basic, method):
    values = np.random.default_rng(7).beta(2, 5, 120)
    found = intervals.estimate(lambda w: w @ values**2 / w.sum(1), 120, basic=basic, resamples=20_000)
    theirs = scipy.stats.bootstrap(
        (values,), lambda v, axis: (v**2).mean(axis), n_resamples=20_000, method=method, rng=1
    ).confidence_interval
    assert [found.low, found.high] == pytest.approx(list(theirs), abs=0.0012)
    assert theirs.high - theirs.low > 0.03


def test_a_basic_interval_of_a_share_stays_a_share():
    assert intervals.basic_interval(0.99, np.linspace(0.9, 1, 101)).high == 1
    assert intervals.basic_interval(0.01, np.linspace(0, 0.1, 101)).low == 0


def test_resamples_without_the_figure_are_left_out():
    found = intervals.interval(2.0, np.array([1.0, np.nan, 3.0]))
    assert found == Estimate(2.0, pytest.approx(1.05), pytest.approx(2.95))
    nowhere = intervals.estimate_ratio([0.0, 0.0], [0.0, 0.0])
    assert math.isnan(nowhere.value)
    assert math.isnan(nowhere.low)
    assert math.isnan(nowhere.high)


# -- how often they hold -----------------------------------------------------------------------------------------------


def test_the_interval_of_a_share_holds_the_true_one_in_about_95_of_100_samples():
    rng = np.random.default_rng(11)
    found = [intervals.estimate_mean(rng.random(200) < 0.7, resamples=400, seed=i) for i in range(600)]
    held = np.mean([v.low <= 0.7 <= v.high for v in found])
    assert 0.93 <= held <= 0.97


def test_only_drawing_groups_whole_holds_where_works_of_one_artist_are_alike():
    rng = np.random.default_rng(12)
    groups = np.repeat(np.arange(80), 10)
    apart, whole = [], []
    for seed in range(300):
        # each artist has a style that is recognised or not: E = 0.6
        right = rng.random(800) < np.repeat(rng.choice([0.3, 0.9], 80), 10)
        for found, by in ((apart, None), (whole, groups)):
            estimate = intervals.estimate_mean(right, groups=by, resamples=300, seed=seed)
            found.append(estimate.low <= 0.6 <= estimate.high)
    assert 0.92 <= np.mean(whole) <= 0.98
    assert np.mean(apart) < 0.75


def test_the_interval_of_macro_f1_holds_where_classes_are_many_and_small_and_a_percentile_interval_does_not():
    classes, n = 150, 1500
    rng = np.random.default_rng(13)
    skill = rng.beta(3, 2, classes)

    def sample(size):
        true = rng.integers(0, classes, size)
        return true, np.where(rng.random(size) < skill[true], true, rng.integers(0, classes, size))

    truth = macro_f1(metrics.confusion(*sample(1_000_000), classes))
    basic, percentile = [], []
    for seed in range(80):
        statistic = intervals.of_confusion(macro_f1, *sample(n), classes)
        drawn = intervals.bootstrap(statistic, n, resamples=200, seed=seed)
        value = float(statistic(np.ones((1, n)))[0])
        for found, of in ((basic, intervals.basic_interval), (percentile, intervals.interval)):
            estimate = of(value, drawn)
            found.append(estimate.low <= truth <= estimate.high)
    assert np.mean(basic) > 0.85
    assert np.mean(percentile) < 0.7


def test_the_interval_of_the_calibration_error_holds():
    rng = np.random.default_rng(14)
    held = []
    for seed in range(200):
        sure = np.maximum(rng.beta(4, 2, 1000), 0.56)
        true = np.where(rng.random(1000) < sure - 0.05, 0, 1)
        found = intervals.estimate_ece(true, np.stack([sure, 1 - sure], 1), resamples=200, seed=seed)
        held.append(found.low <= 0.05 <= found.high)
    assert np.mean(held) > 0.85


# -- two predictors ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 1), (1, 1), (0, 6), (3, 9), (10, 10), (60, 90), (900, 1100)])
def test_mcnemars_p_is_that_of_the_exact_binomial(only_a, only_b):
    a = np.repeat([True, False, True, False], [only_a, only_b, 50, 20])
    b = np.repeat([False, True, True, False], [only_a, only_b, 50, 20])
    found = intervals.mcnemar(a, b)
    assert found[:2] == (only_a, only_b)
    assert found.p == pytest.approx(scipy.stats.binomtest(only_a, only_a + only_b, 0.5).pvalue, rel=1e-9)
    assert intervals.mcnemar(b, a) == (only_b, only_a, found.p)


def test_predictors_that_are_right_on_the_same_rows_cannot_be_told_apart():
    right = [True, False, True]
    assert intervals.mcnemar(right, right) == (0, 0, 1)
    found = intervals.paired_bootstrap(right, right)
    assert found == intervals.Paired(Estimate(0, 0, 0), 1)


def test_a_difference_is_the_seconds_figure_less_the_firsts():
    rng = np.random.default_rng(20)
    a = rng.random(500) < 0.5
    b = a | (rng.random(500) < 0.2)
    found = intervals.paired_bootstrap(a, b)
    assert found.difference.value == pytest.approx(b.mean() - a.mean())
    assert 0 < found.difference.low < found.difference.value < found.difference.high
    assert found.p == pytest.approx(2 / 1001), "no resample is at or below 0, and p is never 0"
    back = intervals.paired_bootstrap(b, a)
    assert back.difference.value == -found.difference.value
    assert back.p == found.p


def test_a_paired_difference_is_surer_than_that_of_two_intervals():
    rng = np.random.default_rng(21)
    hard = rng.random(600)
    a, b = hard + rng.normal(0, 0.05, 600), hard + 0.02 + rng.normal(0, 0.05, 600)
    found = intervals.paired_bootstrap(a, b)
    alone = intervals.estimate_mean(a)
    assert found.difference.high - found.difference.low < (alone.high - alone.low) / 3
    assert found.difference.low > 0


def test_a_paired_p_value_is_below_5_in_100_about_as_often_as_that_where_nothing_differs():
    rng = np.random.default_rng(22)
    p = [
        intervals.paired_bootstrap(rng.random(150) < 0.7, rng.random(150) < 0.7, resamples=300, seed=i).p
        for i in range(400)
    ]
    assert 0.025 <= np.mean(np.array(p) < 0.05) <= 0.08
    assert np.mean(np.array(p) < 0.5) == pytest.approx(0.5, abs=0.08)


def test_whole_groups_make_a_paired_difference_less_sure():
    rng = np.random.default_rng(23)
    gain = np.repeat(rng.normal(0.1, 0.5, 40), 20)
    a = rng.random(800)
    alone, grouped = (intervals.paired_bootstrap(a, a + gain, groups=g) for g in (None, np.repeat(np.arange(40), 20)))
    assert grouped.difference.value == pytest.approx(alone.difference.value)
    widths = [v.difference.high - v.difference.low for v in (alone, grouped)]
    assert widths[1] > 3 * widths[0]
    assert grouped.p > alone.p


def test_macro_f1_is_compared_on_the_same_resamples():
    true, a = labelled(24, n=600, skill=0.5)
    fixed = np.random.default_rng(25).random(600) < 0.4
    b = np.where(fixed, true, a)
    found = intervals.paired_macro_f1(true, a, b, 5)
    wanted = sk.f1_score(true, b, average="macro") - sk.f1_score(true, a, average="macro")
    assert found.difference.value == pytest.approx(wanted, abs=1e-12)
    assert found.difference.low < wanted < found.difference.high
    assert found.difference.low > 0
    assert found.p == pytest.approx(2 / 1001)
    same = intervals.paired_macro_f1(true, a, a, 5)
    assert same == intervals.Paired(Estimate(0, 0, 0), 1)
    rows = drawn_rows(weights_of(600, resamples=100))
    drawn = [sk.f1_score(true[r], b[r], average="macro") - sk.f1_score(true[r], a[r], average="macro") for r in rows]
    found = intervals.paired_macro_f1(true, a, b, 5, resamples=100).difference
    assert [found.high, found.low] == pytest.approx(2 * wanted - np.quantile(drawn, [0.025, 0.975]), abs=1e-12)


# -- what is refused ---------------------------------------------------------------------------------------------------


def test_one_row_and_one_group_give_a_point():
    assert intervals.estimate_mean([0.25]) == Estimate(0.25, 0.25, 0.25)
    found = intervals.estimate_mean([0.0, 1.0, 1.0], groups=[4, 4, 4])
    assert found == Estimate(*[pytest.approx(2 / 3)] * 3)


def test_no_rows_are_refused():
    with pytest.raises(ValueError, match=r"shape \(0,\); \(n,\) wanted, of one row at least"):
        intervals.estimate_mean([])
    with pytest.raises(ValueError, match="no rows to draw from"):
        intervals.estimate_confusion({"f1": macro_f1}, [], [], 3)
    with pytest.raises(ValueError, match="no rows to measure"):
        intervals.estimate_ece([], np.empty((0, 2)))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_figure_that_is_no_number_is_refused_by_its_row(bad):
    with pytest.raises(ValueError, match="the figure of row 1 is not finite; leave such rows out"):
        intervals.estimate_mean([0.5, bad, bad])
    with pytest.raises(ValueError, match="the figure of row 0 is not finite"):
        intervals.paired_bootstrap([1.0], [bad])


@pytest.mark.parametrize("groups", [[1, 2], [1.0, 2.0, 3.0], ["a", "b", "c"], [[1], [2], [3]]])
def test_groups_are_one_integer_for_each_row(groups):
    with pytest.raises(ValueError, match=r"groups as .*; \(3,\) integers wanted"):
        intervals.estimate_mean([1.0, 2.0, 3.0], groups=groups)


def test_a_pair_is_of_the_same_rows():
    with pytest.raises(ValueError, match="3 rows and 2 rows"):
        intervals.paired_bootstrap([1, 0, 1], [1, 0])
    with pytest.raises(ValueError, match="3 rows and 2 rows"):
        intervals.mcnemar([True, False, True], [True, False])
    with pytest.raises(ValueError, match="takes right and wrong, not amounts"):
        intervals.mcnemar([0.5], [1.0])
    with pytest.raises(ValueError, match="integers wanted"):
        intervals.paired_macro_f1([0, 1, 1], [0, 1, 1], [0, 1], 2)
