"""One contract for every kind of index, compared by value with a brute force in float64 that is written here."""

import json
import re

import numpy as np
import pytest

from simsearch import vectors
from simsearch.errors import IndexFileError
from simsearch.index.base import NO_ID
from simsearch.index.exact import ExactIndex
from simsearch.index.ivf import FEWEST, IvfIndex

KINDS = {"exact": ExactIndex, "ivf": lambda: IvfIndex(lists=8, probes=8)}
HALF_FLOAT = 2e-3
"""How far a cosine of float16 vectors may be from the true one."""


@pytest.fixture(params=KINDS)
def make(request):
    """Makes an index of each kind in turn, which looks into all its lists where it has lists."""
    return KINDS[request.param]


def lattice(count, seed):
    """Unit rows of 16 numbers that are 1/4 or -1/4: their cosines are eighths, exact in every float, and tie often."""
    return np.random.default_rng(seed).choice(np.float32([-0.25, 0.25]), (count, 16))


def cloud(count, seed, dim=24):
    """Unit rows around a dozen centres, like embeddings of a dozen styles, as the catalog stores them."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(12, dim))
    return vectors.as_stored(vectors.unit_rows(centres[rng.integers(0, 12, count)] + rng.normal(size=(count, dim))))


def some_ids(count, seed):
    """Ids in no order, with gaps, some beyond 32 bits."""
    ids = np.random.default_rng(seed).choice(10**6, count, replace=False).astype(np.int64)
    ids[::50] += 2**40
    return ids


def oracle(queries, k, works, allowed=None):
    """(scores, ids), each (q, k): every cosine in float64, the highest first, of equal ones the lower id first."""
    scores, ids = np.full((len(queries), k), -np.inf), np.full((len(queries), k), NO_ID)
    kept = set(works) if allowed is None else set(works) & set(np.asarray(allowed).tolist())
    for q, query in enumerate(queries):
        ranked = sorted((-round(float(np.dot(query.astype(np.float64), works[i])), 6), i) for i in kept)[:k]
        for place, (score, id) in enumerate(ranked):
            scores[q, place], ids[q, place] = -score, id
    return scores, ids


def as_works(rows, ids):
    return dict(zip(ids.tolist(), rows.astype(np.float64), strict=True))


def agree(index, queries, k, works, allowed=None):
    """Exact agreement, scores and ids, on rows of a lattice."""
    scores, ids = index.search(queries, k, allowed)
    expected_scores, expected_ids = oracle(queries, k, works, allowed)
    assert (scores.dtype, ids.dtype) == (np.float32, np.int64)
    assert scores.tolist() == expected_scores.tolist()
    assert ids.tolist() == expected_ids.tolist()


ROWS, IDS, QUERIES = lattice(600, 1), some_ids(600, 2), lattice(7, 3)
WORKS = as_works(ROWS, IDS)


@pytest.fixture
def index(make):
    built = make()
    built.build(ROWS, IDS)
    return built


# -- search ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 2, 10, 100, 599, 600])
def test_the_nearest_are_those_of_brute_force_and_ties_go_to_the_lower_id(index, k):
    agree(index, QUERIES, k, WORKS)
    assert len(index) == 600


def test_places_beyond_the_last_work_are_filled(index):
    scores, ids = index.search(QUERIES, 605)
    agree(index, QUERIES, 605, WORKS)
    assert (scores[:, 600:] == -np.inf).all()
    assert (ids[:, 600:] == NO_ID).all()


def test_no_place_and_no_query_give_empty_answers(index):
    assert [part.shape for part in index.search(QUERIES, 0)] == [(7, 0), (7, 0)]
    assert [part.shape for part in index.search(QUERIES[:0], 5)] == [(0, 5), (0, 5)]


def test_a_batch_gives_what_its_queries_give_one_by_one(index):
    together = index.search(QUERIES, 20)
    for i in range(len(QUERIES)):
        alone = index.search(QUERIES[i : i + 1], 20)
        assert all((a[0] == t[i]).all() for a, t in zip(alone, together, strict=True))


def test_queries_may_be_a_slice_and_are_left_alone(index):
    every = lattice(14, 3)
    before = every.copy()
    assert index.search(every[::2], 10)[1].tolist() == index.search(every[::2].copy(), 10)[1].tolist()
    assert (every == before).all()


ALLOWED = {
    "none at all": [],
    "one": IDS[17:18],
    "some in no order and some twice": np.concatenate([IDS[300:340], IDS[:60], IDS[20:50]]),
    "the neighbours of ids that are there": np.concatenate([np.sort(IDS)[10:20], np.sort(IDS)[10:20] - 1]),
    "ids that do not exist": [-5, 10**9, 2**50],
    "all of them": IDS,
    "all and more": np.arange(10**6),
}


@pytest.mark.parametrize("k", [1, 10, 700])
@pytest.mark.parametrize("allowed", ALLOWED.values(), ids=ALLOWED)
def test_only_allowed_works_are_found_each_once(index, allowed, k):
    agree(index, QUERIES, k, WORKS, np.asarray(allowed, np.int64))


@pytest.mark.parametrize("copies", [2, 30, 250])
def test_copies_of_one_image_come_in_the_order_of_their_ids(make, copies):
    ids = some_ids(600, 5)
    rows = lattice(600, 4)
    where = np.random.default_rng(6).choice(600, copies, replace=False)
    rows[where] = rows[where[0]]
    index = make()
    index.build(rows, ids)
    works = as_works(rows, ids)
    for k in (1, 5, copies, copies + 5):
        agree(index, rows[where[:1]], k, works)
    agree(index, rows[where[:1]], 5, works, ids[where[::2]])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("allowed", [None, slice(0, 900, 3)], ids=["all", "a third"])
def test_scores_are_cosines_and_ids_follow_wherever_scores_differ_enough(kind, allowed):
    rows, ids, queries = cloud(900, 7), some_ids(900, 8), cloud(25, 9)
    works = as_works(rows, ids)
    index = KINDS[kind]()
    index.build(rows, ids)
    wanted = None if allowed is None else ids[allowed]
    scores, found = index.search(queries, 30, wanted)
    expected, expected_ids = oracle(queries, 31, works, wanted)
    near = HALF_FLOAT if kind == "ivf" else 2e-6
    assert np.abs(scores - expected[:, :30]).max() <= near
    gap_before = -np.diff(expected, axis=1, prepend=np.inf)[:, :30]
    gap_after = -np.diff(expected, axis=1)
    clear = (gap_before > 2 * near) & (gap_after > 2 * near)
    assert clear.mean() > 0.2
    assert (found == expected_ids[:, :30])[clear].all()
    for query, row_ids, row_scores in zip(queries, found, scores, strict=True):
        assert len(set(row_ids.tolist())) == 30
        own = [float(np.dot(query.astype(np.float64), works[i])) for i in row_ids.tolist()]
        assert np.abs(row_scores - own).max() <= near
        assert (np.diff(row_scores) <= 0).all()


# -- build, add, remove ------------------------------------------------------------------------------------------------


def test_what_is_added_is_found_like_what_was_built(make):
    index = make()
    index.build(ROWS[:300], IDS[:300])
    index.add(ROWS[300:301], IDS[300:301])
    index.add(ROWS[301:], IDS[301:])
    index.add(ROWS[:0], IDS[:0])
    assert len(index) == 600
    agree(index, QUERIES, 25, WORKS)
    agree(index, QUERIES, 25, WORKS, IDS[250:350])


def test_adding_to_an_index_that_was_never_built_builds_it(make):
    index = make()
    index.add(ROWS, IDS)
    agree(index, QUERIES, 25, WORKS)


def test_what_is_removed_is_not_found_any_more(index):
    gone = np.concatenate([IDS[100:400], [-7, 10**9], IDS[100:110]])
    assert index.remove(gone) == 300
    assert len(index) == 300
    left = as_works(np.delete(ROWS, slice(100, 400), 0), np.delete(IDS, slice(100, 400)))
    agree(index, QUERIES, 25, left)
    agree(index, QUERIES, 25, left, IDS)


def test_removing_what_is_not_there_changes_nothing(index):
    assert index.remove(np.array([-1, 10**9, 2**50])) == 0
    assert index.remove(IDS[:0]) == 0
    agree(index, QUERIES, 25, WORKS)


def test_a_removed_work_can_come_back_changed(index):
    index.remove(IDS[:5])
    index.add(-ROWS[:5], IDS[:5])
    agree(index, QUERIES, 600, as_works(np.concatenate([-ROWS[:5], ROWS[5:]]), IDS))


def test_building_again_forgets_what_was_there(index):
    index.build(ROWS[:300], IDS[300:])
    agree(index, QUERIES, 301, as_works(ROWS[:300], IDS[300:]))


def test_an_id_that_stands_twice_is_refused_and_nothing_is_taken_over(make, index):
    with pytest.raises(ValueError, match="twice"):
        make().build(ROWS, np.concatenate([IDS[:599], IDS[:1]]))
    with pytest.raises(ValueError, match="twice"):
        index.build(ROWS[:300], np.concatenate([IDS[:299], IDS[:1]]))
    with pytest.raises(ValueError, match="twice"):
        index.add(ROWS[:2], np.array([10**9, IDS[5]]))
    with pytest.raises(ValueError, match="twice"):
        index.add(ROWS[:2], np.array([10**9, 10**9]))
    assert len(index) == 600
    agree(index, QUERIES, 605, WORKS)


def test_an_index_keeps_its_own_copy(make):
    rows, ids = ROWS.copy(), IDS.copy()
    index = make()
    index.build(rows, ids)
    rows[:], ids[:] = 0, 0
    agree(index, QUERIES, 10, WORKS)


def test_an_empty_index_finds_nothing_and_can_be_filled(make, index):
    new = make()
    assert new.remove(IDS) == 0
    assert index.remove(IDS) == 600
    for empty in (new, index):
        assert len(empty) == 0
        agree(empty, QUERIES, 3, {})
        agree(empty, QUERIES, 3, {}, IDS)
    index.add(ROWS, IDS)
    agree(index, QUERIES, 10, WORKS)


# -- on disk -----------------------------------------------------------------------------------------------------------


def reopened(index, folder):
    folder.mkdir(exist_ok=True)
    index.save(folder)
    return type(index).open(folder)


def test_a_saved_index_answers_as_before(index, tmp_path):
    opened = reopened(index, tmp_path)
    assert (opened.kind, len(opened), opened.parameters()) == (index.kind, 600, index.parameters())
    assert json.loads(json.dumps(index.parameters())) == index.parameters()
    agree(opened, QUERIES, 25, WORKS)
    agree(opened, QUERIES, 25, WORKS, IDS[:40])


def test_an_opened_index_can_be_changed_and_saved_elsewhere(index, tmp_path):
    index.remove(IDS[:100])
    opened = reopened(index, tmp_path / "one")
    opened.add(ROWS[:50], IDS[:50])
    assert opened.remove(IDS[550:]) == 50
    left = as_works(np.delete(ROWS, slice(50, 100), 0)[:500], np.delete(IDS, slice(50, 100))[:500])
    agree(opened, QUERIES, 25, left)
    agree(reopened(opened, tmp_path / "two"), QUERIES, 25, left)
    agree(type(index).open(tmp_path / "one"), QUERIES, 25, as_works(ROWS[100:], IDS[100:]))


def test_an_opened_index_can_be_built_again(index, tmp_path):
    opened = reopened(index, tmp_path)
    opened.build(ROWS[:300], IDS[:300])
    if opened.kind == "ivf":
        opened.probes = opened.lists
    opened.add(ROWS[300:310], IDS[300:310])
    agree(opened, QUERIES, 25, as_works(ROWS[:310], IDS[:310]))


def test_an_index_that_was_emptied_can_be_saved_and_opened(index, tmp_path):
    index.remove(IDS)
    opened = reopened(index, tmp_path)
    agree(opened, QUERIES, 3, {})
    opened.add(ROWS, IDS)
    agree(opened, QUERIES, 3, WORKS)


DAMAGE = {
    "empty": lambda data: b"",
    "one byte": lambda data: data[:1],
    "half": lambda data: data[: len(data) // 2],
    "garbage": lambda data: b"\xa5" * len(data),
    "zeros": lambda data: bytes(len(data)),
    "text": lambda data: b"<html>not what you wanted</html>",
    "missing": lambda data: None,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize(("kind", "name"), [("exact", "vectors.npy"), ("exact", "ids.npy"), ("ivf", "index.faiss"),
                                            ("ivf", "index.json")])  # fmt: skip
def test_a_damaged_file_is_an_error_that_names_the_folder(kind, name, damage, tmp_path):
    index = KINDS[kind]()
    index.build(ROWS, IDS)
    index.save(tmp_path)
    data = damage((tmp_path / name).read_bytes())
    (tmp_path / name).unlink()
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(IndexFileError, match=re.escape(str(tmp_path))):
        type(index).open(tmp_path)


def test_files_of_two_indexes_do_not_make_one(tmp_path):
    index = ExactIndex()
    index.build(ROWS, IDS)
    index.save(tmp_path)
    np.save(tmp_path / "ids.npy", IDS[:599])
    with pytest.raises(IndexFileError, match=r"\(600, 16\) rows, \(599,\) ids"):
        ExactIndex.open(tmp_path)


@pytest.mark.parametrize("card", ["{}", "[]", "null", '{"probes": null}', '{"probes": "all"}'])
def test_an_inverted_file_without_its_number_of_probes_is_refused(card, tmp_path):
    index = KINDS["ivf"]()
    index.build(ROWS, IDS)
    index.save(tmp_path)
    (tmp_path / "index.json").write_text(card)
    with pytest.raises(IndexFileError, match="cannot be read"):
        IvfIndex.open(tmp_path)


# -- the inverted file -------------------------------------------------------------------------------------------------


def test_fewer_works_than_an_inverted_file_can_learn_from_are_refused():
    with pytest.raises(ValueError, match="at least 256 works, there are 255; use exact"):
        IvfIndex().build(ROWS[: FEWEST - 1], IDS[: FEWEST - 1])
    index = IvfIndex()
    index.build(ROWS[:FEWEST], IDS[:FEWEST])
    index.probes = index.lists
    agree(index, QUERIES, 10, as_works(ROWS[:FEWEST], IDS[:FEWEST]))


def test_more_probes_find_more_and_all_of_them_find_everything():
    rows, ids, queries = cloud(3000, 11), some_ids(3000, 12), cloud(60, 13)
    index = IvfIndex(lists=32)
    index.build(rows, ids)
    assert index.parameters() == {"lists": 32, "probes": 2}
    truth = oracle(queries, 10, as_works(rows, ids))[1]
    recall = {}
    for probes in (1, 2, 4, 8, 16, 32):
        index.probes = probes
        found = index.search(queries, 10)[1]
        recall[probes] = np.mean([len(set(t) & set(f)) / 10 for t, f in zip(truth, found, strict=True)])
    assert list(recall.values()) == sorted(recall.values())
    assert recall[1] < 0.9 < 0.99 < recall[32]


@pytest.mark.parametrize("part", [2, 10, 40])
def test_a_filter_costs_no_recall_because_more_lists_are_looked_into(part):
    rows, ids, queries = cloud(6000, 14), some_ids(6000, 15), cloud(60, 16)
    index = IvfIndex(lists=32, probes=8)
    index.build(rows, ids)

    def recall(allowed):
        truth, found = oracle(queries, 10, as_works(rows, ids), allowed)[1], index.search(queries, 10, allowed)[1]
        return np.mean([len(set(t) & set(f)) / 10 for t, f in zip(truth, found, strict=True)])

    assert recall(ids[::part]) >= recall(None)


def test_probes_stay_between_one_and_the_number_of_lists(tmp_path):
    index = IvfIndex(lists=8)
    index.build(ROWS, IDS)
    for asked, given in ((0, 1), (-3, 1), (5, 5), (8, 8), (1000, 8)):
        index.probes = asked
        assert index.probes == given
    index.probes = 3
    assert reopened(index, tmp_path).parameters() == {"lists": 8, "probes": 3}


def test_the_same_works_give_the_same_inverted_file(tmp_path):
    for name in ("one", "two"):
        index = IvfIndex()
        index.build(ROWS, IDS)
        reopened(index, tmp_path / name)
    assert (tmp_path / "one" / "index.faiss").read_bytes() == (tmp_path / "two" / "index.faiss").read_bytes()
