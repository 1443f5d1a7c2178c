"""Near-duplicate groups, against brute force: copies are planted among random rows, and every pair is looked at."""

import numpy as np
import pytest
from labelled_works import embed, fill

from simsearch.classifier import groups as module
from simsearch.classifier.groups import NEAR_DUPLICATE, Groups, connected, near_duplicates
from simsearch.vectors import as_stored, unit_rows


def with_copies(n, dim=24, copies=40, noise=0.05, seed=0):
    """Unit rows (n, dim) of which the last `copies` are nearly some of the others, at various distances."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, dim))
    of = rng.integers(0, n - copies, copies)
    rows[n - copies :] = rows[of] + rng.uniform(0, 8 * noise, (copies, 1)) * rng.normal(size=(copies, dim))
    return unit_rows(rows)


def cosines(rows):
    """(n, n) centred cosines of rows as they are stored, one by one in float64."""
    centred = as_stored(rows).astype(np.float64)
    centred -= centred.mean(axis=0)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    return np.array([[float(a @ b) for b in centred] for a in centred])


def components(pairs, n):
    """The lowest place of each place's component, by passing it on until nothing changes."""
    lowest = list(range(n))
    while True:
        before = list(lowest)
        for i, j in pairs:
            lowest[i] = lowest[j] = min(lowest[i], lowest[j])
        if lowest == before:
            return lowest


def oracle(alike, n):
    return [place + 1 for place in components(np.argwhere(alike).tolist(), n)]


def all_ids(collection):
    return collection.catalog.ids_where()


# -- against brute force -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("threshold", [0.8, NEAR_DUPLICATE, 0.99])
def test_groups_are_what_comparing_every_pair_finds(tmp_path, seed, threshold):
    rows = with_copies(150, seed=seed)
    collection, _ = fill(tmp_path, rows, {})
    with collection:
        found = near_duplicates(collection, all_ids(collection), threshold)
    wanted = oracle(cosines(rows) >= threshold, len(rows))
    assert found.labels.tolist() == wanted
    assert 100 < len(set(wanted)) < 150, "some are alike, most are not"


def test_works_are_compared_across_blocks(tmp_path, monkeypatch):
    rows = with_copies(150, seed=1)
    collection, _ = fill(tmp_path, rows, {})
    with collection:
        in_one = near_duplicates(collection, all_ids(collection))
        for size in (1, 7, 64, 149, 150):
            monkeypatch.setattr(module, "BLOCK", size)
            assert near_duplicates(collection, all_ids(collection)).labels.tolist() == in_one.labels.tolist()


def test_more_works_than_a_block_holds(tmp_path):
    n = module.BLOCK + 300
    rows = unit_rows(np.random.default_rng(0).normal(size=(n, 32)))
    rows[n - 300 :] = rows[:300]  # the copies of the first block's works stand in the second
    collection, _ = fill(tmp_path, rows, {})
    with collection:
        found = near_duplicates(collection, all_ids(collection))
    assert found.labels.tolist() == [*range(1, n - 299), *range(1, 301)]


def test_every_encoder_has_a_say(tmp_path):
    first, second = with_copies(90, seed=2), with_copies(90, seed=3)
    collection, _ = fill(tmp_path, first, {})
    with collection:
        embed(collection, second, "other")
        found = near_duplicates(collection, all_ids(collection))
    by_each = [cosines(rows) >= NEAR_DUPLICATE for rows in (first, second)]
    assert found.labels.tolist() == oracle(by_each[0] | by_each[1], 90)
    assert found.labels.tolist() not in [oracle(alike, 90) for alike in by_each]


def test_an_encoder_that_saw_only_some_works_groups_those(tmp_path):
    rows = with_copies(60, seed=2)
    collection, _ = fill(tmp_path, rows, {})
    other = unit_rows(np.random.default_rng(5).normal(size=(4, 8)))
    other[3] = other[2]
    with collection:
        embed(collection, other, "other")  # the first four works alone
        found = near_duplicates(collection, all_ids(collection))
        of_the_last = near_duplicates(collection, all_ids(collection)[30:])
    assert found.labels[3] == found.labels[2] == 3
    assert of_the_last.labels.min() == 31, "of which the other encoder has none"


def test_the_same_bytes_are_the_same_picture_even_without_an_embedding(tmp_path):
    rows = unit_rows(np.random.default_rng(0).normal(size=(5, 8)))
    images = [0, 1, 0, 2, 1]
    collection, _ = fill(tmp_path, rows[[0, 1, 0, 3, 1]], {}, images=images)
    with collection:
        with collection.writer() as writer, writer.store.transaction() as db:
            db.exec_driver_sql("DELETE FROM embedding")
        found = near_duplicates(collection, all_ids(collection))
    assert found.labels.tolist() == [1, 2, 1, 4, 2]


def test_likeness_is_passed_on(tmp_path):
    # a chain: each is like the next, the ends are not alike
    angles = np.array([0.0, 0.3, 0.6, 0.9])
    chain = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    rows = unit_rows(np.concatenate([np.pad(chain, ((0, 0), (0, 4))), -np.pad(chain, ((0, 0), (0, 4)))]))
    alike = cosines(rows)
    assert alike[0, 3] < 0.93 <= alike[0, 1]
    collection, _ = fill(tmp_path, rows, {})
    with collection:
        found = near_duplicates(collection, all_ids(collection))
    assert found.labels.tolist() == [1] * 4 + [5] * 4


def test_the_threshold_is_part_of_the_range(tmp_path):
    rows = with_copies(40, copies=10, seed=6)
    upper = np.triu(cosines(rows), 1)
    edge = float(np.sort(upper[upper > 0.5])[-3])
    collection, _ = fill(tmp_path, rows, {})
    with collection:
        below, above = (near_duplicates(collection, all_ids(collection), edge + step) for step in (-1e-5, 1e-5))
    assert below.labels.tolist() == oracle(cosines(rows) >= edge - 1e-5, 40)
    assert above.labels.tolist() == oracle(cosines(rows) >= edge + 1e-5, 40)
    assert below.labels.tolist() != above.labels.tolist()


def test_what_all_works_have_in_common_makes_nothing_alike(tmp_path):
    # every cosine is above .99: these are photographs on the same grey ground
    rows = unit_rows(np.random.default_rng(0).normal(size=(30, 8)) * 0.02 + np.ones(8))
    plain = rows @ rows.T
    assert plain.min() > 0.98
    collection, _ = fill(tmp_path, rows, {})
    with collection:
        assert near_duplicates(collection, all_ids(collection), 0.98).labels.tolist() == list(range(1, 31))


def test_progress_reaches_the_end(tmp_path):
    collection, _ = fill(tmp_path, with_copies(50), {})
    said = []
    with collection:
        near_duplicates(collection, all_ids(collection), watch=lambda *words: said.append(words))
    assert said[0] == ("comparing works by synthetic", 0, 50)
    assert said[-1] == ("comparing works by synthetic", 50, 50)


# -- small ones --------------------------------------------------------------------------------------------------------


def test_one_work_is_its_own_group_and_no_work_has_none(tmp_path):
    collection, _ = fill(tmp_path, unit_rows(np.eye(3, 8)), {})
    with collection:
        assert near_duplicates(collection, np.array([2])).labels.tolist() == [2]
        nothing = near_duplicates(collection, np.empty(0, np.int64))
    assert nothing.labels.tolist() == []
    assert nothing.of(np.array([5, 9])).tolist() == [5, 9]


def test_works_that_were_not_looked_at_are_their_own_group():
    groups = Groups(np.array([2, 4, 6]), np.array([2, 2, 6]))
    assert groups.of(np.array([4, 2, 6])).tolist() == [2, 2, 6]
    assert groups.of(np.array([1, 3, 4, 7, 100])).tolist() == [1, 3, 2, 7, 100]
    assert groups.of(np.empty(0, np.int64)).tolist() == []


@pytest.mark.parametrize("seed", range(3))
def test_components_are_named_by_their_lowest_id(seed):
    rng = np.random.default_rng(seed)
    ids = np.sort(rng.choice(10_000, 80, replace=False))
    pairs = rng.integers(0, 80, (40, 2))
    found = connected(pairs[:, 0], pairs[:, 1], ids)
    assert found.tolist() == ids[components(pairs.tolist(), 80)].tolist()
