"""Splits: groups stay whole, classes stay in proportion, shares are met, and a seed says all of it."""

import numpy as np
import pytest
from sklearn.model_selection import StratifiedGroupKFold

from simsearch.classifier.split import folds, part

SEEDS = range(8)


def drawn(seed, n=1200, classes=9, group_sizes=(1, 1, 1, 2, 3, 6)):
    """(labels, groups): classes of very different sizes; a group is mostly of one class, as near-duplicates are."""
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.full(classes, 0.8))
    values, groups = [], []
    while len(values) < n:
        size, own = int(rng.choice(group_sizes)), int(rng.choice(classes, p=shares))
        values += [own if rng.random() < 0.8 else int(rng.choice(classes, p=shares)) for _ in range(size)]
        groups += [7 * len(groups) + 3] * size
    order = rng.permutation(n)
    return np.array([f"class {v}" for v in values[:n]])[order], np.array(groups[:n])[order]


def straddling(groups, side):
    return [group for group in np.unique(groups) if len(np.unique(side[groups == group])) > 1]


def off(values, side, share, which):
    """How many works each class is off its share of a part, by class."""
    return {name: abs((side[values == name] == which).sum() - share * (values == name).sum()) for name in set(values)}


# -- what every split keeps --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("group_sizes", [(1,), (1, 1, 1, 2, 3, 6), (20, 40)])
def test_no_group_stands_on_two_sides(seed, group_sizes):
    values, groups = drawn(seed, group_sizes=group_sizes)
    assert straddling(groups, part(values, groups, 0.2, seed)) == []
    assert straddling(groups, folds(values, groups, 5, seed)) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_works_that_are_their_own_group_leave_no_class_a_whole_work_off_its_share(seed):
    values = drawn(seed)[0]
    side = part(values, np.arange(len(values)), 0.2, seed)
    assert max(off(values, side, 0.2, True).values()) <= 1
    assert side.mean() == pytest.approx(0.2, abs=9 / len(values))
    fold = folds(values, np.arange(len(values)), 5, seed)
    assert max(max(off(values, fold, 0.2, k).values()) for k in range(5)) <= 1


@pytest.mark.parametrize("seed", SEEDS)
def test_with_groups_no_class_is_further_off_than_the_largest_group(seed):
    values, groups = drawn(seed)
    assert max(off(values, part(values, groups, 0.2, seed), 0.2, True).values()) <= 6
    fold = folds(values, groups, 5, seed)
    assert max(max(off(values, fold, 0.2, k).values()) for k in range(5)) <= 6


@pytest.mark.parametrize("share", [0.05, 0.15, 0.2, 0.5, 0.8])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_part_has_its_share(seed, share):
    values, groups = drawn(seed)
    assert part(values, groups, share, seed).mean() == pytest.approx(share, abs=0.01)


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_folds_are_equally_large(n):
    values, groups = drawn(4)
    found = np.bincount(folds(values, groups, n, 0), minlength=n)
    assert found.sum() == len(values)
    assert found.max() - found.min() <= 9, "one work a class"


def test_the_seed_alone_decides():
    values, groups = drawn(0)
    for split in (lambda seed: part(values, groups, 0.2, seed), lambda seed: folds(values, groups, 5, seed)):
        assert (split(3) == split(3)).all()
        assert (split(3) != split(4)).mean() > 0.2


def test_names_of_classes_and_numbers_of_groups_mean_nothing():
    values, groups = drawn(1)
    # the same order by name and by number: the draws are by place
    other = np.array([name.replace("class", "style") for name in values])
    assert (part(values, groups, 0.2, 0) == part(other, groups * 1000 - 500, 0.2, 0)).all()


@pytest.mark.parametrize("seed", range(4))
def test_folds_are_as_even_as_those_of_scikit_learn(seed):
    values, groups = drawn(seed, group_sizes=(1, 2, 3, 6, 10))
    theirs = np.empty(len(values), np.int64)
    oracle = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
    for k, (_, held) in enumerate(oracle.split(np.zeros(len(values)), values, groups)):
        theirs[held] = k

    def unevenness(fold):
        table = np.array([[(fold[values == name] == k).mean() for k in range(5)] for name in np.unique(values)])
        return table.std(axis=1).mean()

    assert unevenness(folds(values, groups, 5, seed)) <= unevenness(theirs) + 0.01


# -- small and lopsided ------------------------------------------------------------------------------------------------


def test_no_rows_make_no_parts():
    nothing = np.empty(0, np.int64)
    assert part(np.empty(0, "U1"), nothing, 0.2, 0).tolist() == []
    assert folds(np.empty(0, "U1"), nothing, 5, 0).tolist() == []


def test_one_row_is_not_held_out():
    assert part(["a"], np.array([4]), 0.2, 0).tolist() == [False]
    assert folds(["a"], np.array([4]), 5, 0).tolist() == [0]


def test_one_class_is_split_all_the_same():
    side = part(["a"] * 100, np.arange(100), 0.2, 0)
    assert side.sum() == 20


@pytest.mark.parametrize(("works", "held"), [(1, 0), (2, 0), (3, 1), (5, 1), (8, 2), (10, 2)])
def test_the_held_out_works_of_a_small_class_are_rounded_to_the_nearest(works, held):
    assert part(["a"] * works, np.arange(works), 0.2, 0).sum() == held


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("share", [0.1, 0.2, 0.3])
def test_a_group_larger_than_the_part_is_not_held_out(seed, share):
    # half of all works are by one artist: held out they would leave less to train on than to measure by
    values = np.array(["a", "b"] * 50)
    groups = np.where(np.arange(100) < 50, 0, np.arange(100))
    side = part(values, groups, share, seed)
    assert not side[:50].any()
    assert side.mean() == pytest.approx(share, abs=0.01)


def test_of_a_single_group_everything_is_to_train_on():
    assert not part(["a", "b", "a"], np.zeros(3, np.int64), 0.2, 0).any()


def test_more_folds_than_works_leave_some_empty():
    assert sorted(folds(["a", "a"], np.arange(2), 5, 0).tolist()) == [0, 1]
