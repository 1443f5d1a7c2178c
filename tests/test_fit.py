"""The head's arithmetic, against scikit-learn, a grid search and formulas, by value."""

import numpy as np
import pytest
from labelled_works import clusters
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_class_weight

from simsearch.classifier import fit as linear
from simsearch.classifier import metrics
from simsearch.vectors import unit_rows

SEEDS = range(4)


def drawn(seed, classes=5, n=400, dim=20, noise=2.0):
    """(rows, codes): unit rows around a direction for each class, classes of different sizes."""
    rng = np.random.default_rng(seed)
    codes = rng.choice(classes, n, p=(p := np.arange(1, classes + 1.0)) / p.sum())
    codes[:classes] = np.arange(classes)
    return clusters([f"class {c}" for c in codes], dim=dim, noise=noise, seed=seed), codes.astype(np.int64)


def theirs(rows, codes, C, new, sample_weight=None):
    """scikit-learn's probabilities for rows `new`, fitted on standardised rows in float64 to the last digit."""
    scaler = StandardScaler().fit(rows.astype(np.float64))
    model = LogisticRegression(C=C, max_iter=5000, tol=1e-10)
    model.fit(scaler.transform(rows.astype(np.float64)), codes, sample_weight=sample_weight)
    return model.predict_proba(scaler.transform(new.astype(np.float64)))


def ours(rows, codes, C, new, classes, sample_weight=None):
    weights, bias = linear.fit(rows, codes, classes, C=C, sample_weight=sample_weight)
    assert weights.dtype == bias.dtype == np.float32
    assert (weights.shape, bias.shape) == ((classes, rows.shape[1]), (classes,))
    return linear.probabilities(linear.logits(new, weights, bias))


# -- the fit -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("C", linear.GRID[::2])
@pytest.mark.parametrize("classes", [2, 3, 8])
def test_a_head_gives_the_probabilities_of_scikit_learn(seed, C, classes):
    rows, codes = drawn(seed, classes)
    new = drawn(seed + 100, classes)[0]
    assert np.abs(ours(rows, codes, C, new, classes) - theirs(rows, codes, C, new)).max() < 5e-3


@pytest.mark.parametrize("classes", [2, 4])
def test_works_can_be_weighed(classes):
    rows, codes = drawn(7, classes)
    weights = np.random.default_rng(7).uniform(0.1, 5, len(rows))
    found = ours(rows, codes, 0.03, rows, classes, weights)
    assert np.abs(found - theirs(rows, codes, 0.03, rows, weights)).max() < 2e-3
    assert np.abs(found - theirs(rows, codes, 0.03, rows)).max() > 0.02


def test_a_number_that_never_changes_says_nothing():
    rows, codes = drawn(1)
    more = np.concatenate([rows, np.full((len(rows), 1), 0.3, np.float32), np.zeros((len(rows), 1), np.float32)], 1)
    weights, bias = linear.fit(more, codes, 5, C=0.1)
    assert np.abs(weights[:, -2:]).max() < 1e-6
    plain = linear.fit(rows, codes, 5, C=0.1)
    found, wanted = linear.logits(more, weights, bias), linear.logits(rows, *plain)
    assert np.abs(linear.probabilities(found) - linear.probabilities(wanted)).max() < 1e-3


def test_numbers_of_every_size_count_alike():
    # the standardisation is folded in: it must come out again for numbers a million times as large
    rows, codes = drawn(2)
    scale = np.float32(10.0) ** np.arange(-3, 4).repeat(3)[:20]
    found = ours(rows * scale, codes, 0.1, rows * scale, 5)
    assert np.abs(found - ours(rows, codes, 0.1, rows, 5)).max() < 2e-3


def test_two_classes_are_two_halves():
    rows, codes = drawn(3, 2)
    weights, bias = linear.fit(rows, codes, 2, C=0.1)
    assert np.abs(weights[0] + weights[1]).max() < 1e-5
    assert (linear.logits(rows, weights, bias).argmax(axis=1) == codes).mean() > 0.9


def test_rows_of_fewer_classes_are_a_callers_mistake():
    rows, codes = drawn(3, 2)
    with pytest.raises(ValueError, match="3 classes, but rows of 2"):
        linear.fit(rows, codes, 3, C=0.1)


def test_a_head_that_does_not_settle_says_nothing_of_it():
    rows, codes = drawn(4, 6, n=60, dim=64, noise=4.0)
    assert ours(rows, codes, 1e6, rows, 6).argmax(axis=1).tolist() == codes.tolist()


# -- probabilities -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.05, 0.7, 1.0, 20.0])
def test_probabilities_are_the_softmax_over_the_temperature(temperature):
    logits = np.random.default_rng(0).normal(size=(50, 7)).astype(np.float32) * 3
    found = linear.probabilities(logits, temperature)
    powers = np.exp(logits.astype(np.float64) / temperature)
    assert found.dtype == np.float32
    assert np.abs(found - powers / powers.sum(axis=1, keepdims=True)).max() < 1e-6


@pytest.mark.parametrize("size", [0.0, 1e-30, 1.0, 1e4, 1e30])
def test_probabilities_add_up_to_one_for_logits_of_any_size(size):
    logits = (np.random.default_rng(1).normal(size=(200, 9)) * size).astype(np.float32)
    for temperature in linear.TEMPERATURES:
        found = linear.probabilities(logits, temperature)
        assert np.isfinite(found).all()
        assert (found >= 0).all()
        assert np.abs(found.sum(axis=1, dtype=np.float64) - 1).max() < 1e-6


def test_no_rows_have_no_probabilities():
    assert linear.probabilities(np.empty((0, 4), np.float32)).shape == (0, 4)


# -- the temperature ---------------------------------------------------------------------------------------------------


def said(seed, temperature, n=3000, classes=6):
    """(logits, codes): classes are drawn by the probabilities that the logits have at a temperature."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, classes)).astype(np.float32) * 2 * temperature
    shares = linear.probabilities(logits, temperature).astype(np.float64)
    codes = (rng.random((n, 1)) > shares.cumsum(axis=1)).sum(axis=1).clip(max=classes - 1)
    return logits, codes


def loss_with_one_more(logits, codes, temperature):
    """Log loss over the works and one more, which has the logits of all of them in turn and every label alike.

    All pairs of work and label together weigh as much as one work.
    """
    shares = linear.probabilities(logits, temperature).astype(np.float64).clip(1e-300)
    n, classes = shares.shape
    real = -np.log(shares[np.arange(n), codes]).sum()
    return (real - np.log(shares).sum() / (n * classes)) / (n + 1)


@pytest.mark.parametrize("n", [1, 5, 40, 1000])
@pytest.mark.parametrize("seed", SEEDS)
def test_the_temperature_is_the_best_of_a_fine_grid(seed, n):
    logits, codes = said(seed, 1.7, n)
    found, loss = linear.temperature(logits, codes)
    grid = np.exp(np.linspace(*np.log(linear.TEMPERATURES), 3000))
    losses = [loss_with_one_more(logits, codes, t) for t in grid]
    assert loss <= min(losses) + 1e-6
    assert loss == pytest.approx(loss_with_one_more(logits, codes, found), abs=1e-6)
    if n > 1:
        assert found == pytest.approx(grid[int(np.argmin(losses))], rel=0.01)


@pytest.mark.parametrize("known", [0.3, 1.0, 4.0])
def test_a_known_temperature_is_found_again(known):
    logits, codes = said(3, known, n=20_000)
    found, loss = linear.temperature(logits, codes)
    assert found == pytest.approx(known, rel=0.03)
    shares = linear.probabilities(logits, found).astype(np.float64)
    assert loss == pytest.approx(log_loss(codes, shares / shares.sum(axis=1, keepdims=True)), abs=1e-3)


def test_the_one_more_work_makes_no_difference_among_many():
    logits, codes = said(4, 1.0, n=1000)
    grid = np.exp(np.linspace(np.log(0.5), np.log(2), 2000))
    losses = [metrics.log_loss(codes, linear.probabilities(logits, t)) for t in grid]
    assert linear.temperature(logits, codes)[0] == pytest.approx(grid[int(np.argmin(losses))], rel=0.02)


@pytest.mark.parametrize("n", [1, 4, 20])
def test_a_few_works_that_are_all_right_do_not_make_every_answer_certain(n):
    codes = np.arange(n) % 3
    logits = (np.eye(3)[codes] * 4).astype(np.float32)
    found = linear.temperature(logits, codes)[0]
    shares = linear.probabilities(logits, found)
    assert found > 0.5
    # n of n + 1 are right, so to speak, and the one more is right once in three
    assert shares.max(axis=1).mean() == pytest.approx((n + 1 / 3) / (n + 1), abs=0.01)


def test_the_temperature_never_changes_the_answer():
    logits = np.random.default_rng(5).normal(size=(500, 8)).astype(np.float32)
    for temperature in (0.05, 0.5, 3.0, 20.0):
        assert (linear.probabilities(logits, temperature).argmax(axis=1) == logits.argmax(axis=1)).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_an_overconfident_head_is_calibrated_on_works_that_it_was_not_calibrated_by(seed):
    logits, codes = said(seed, 1.0, n=4000)
    boastful = logits * 3
    temperature = linear.temperature(boastful[:2000], codes[:2000])[0]
    before, after = (
        (metrics.ece(codes[2000:], p), metrics.log_loss(codes[2000:], p), metrics.brier(codes[2000:], p))
        for p in (linear.probabilities(boastful[2000:], t) for t in (1.0, temperature))
    )
    assert temperature == pytest.approx(3.0, rel=0.1)
    assert before[0] > 0.1
    assert after[0] < 0.05
    assert after[1] < before[1]
    assert after[2] < before[2]


# -- balance -----------------------------------------------------------------------------------------------------------


def test_weights_are_those_of_scikit_learn():
    codes = drawn(0)[1]
    places, weights = linear.balanced(codes, 5, "weights", 0)
    assert places.tolist() == list(range(len(codes)))
    assert weights == pytest.approx(compute_class_weight("balanced", classes=np.arange(5), y=codes)[codes])


def test_sampling_draws_every_class_as_often():
    codes = np.array([0] * 90 + [1] * 8 + [2] * 3)
    places, weights = linear.balanced(codes, 3, "sampling", 0)
    assert weights is None
    assert np.bincount(codes[places]).tolist() == [34, 34, 34]
    assert set(codes[places[codes[places] == 2]].tolist()) == {2}
    assert (linear.balanced(codes, 3, "sampling", 0)[0] == places).all()
    assert (linear.balanced(codes, 3, "sampling", 1)[0] != places).any()


def test_without_balance_works_are_taken_as_they_are():
    places, weights = linear.balanced(np.array([0, 1, 1]), 2, "none", 0)
    assert (places.tolist(), weights) == ([0, 1, 2], None)
    with pytest.raises(ValueError, match="balance 'both'"):
        linear.balanced(np.array([0, 1]), 2, "both", 0)


def test_weights_do_what_copies_of_the_works_would():
    # three works of class 1 for every one of class 0, and the other way round by weight
    rows, codes = drawn(9, 2, n=200)
    weights = np.where(codes == 0, 3.0, 1.0)
    copies = np.concatenate([np.arange(len(codes)), *[np.flatnonzero(codes == 0)] * 2])
    # the same standardisation for both: that of rows which need none
    still = unit_rows(rows)
    still = ((still - still.mean(axis=0)) / still.std(axis=0)).astype(np.float32)
    weighed = theirs(still, codes, 0.05, still, weights)
    assert np.abs(ours(still, codes, 0.05, still, 2, weights) - weighed).max() < 2e-3
    assert np.abs(ours(still[copies], codes[copies], 0.05, still, 2) - weighed).max() < 0.02
