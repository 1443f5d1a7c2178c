"""Which index is built, the recall it is published with, and the random pairs that scores are compared with."""

import numpy as np
import pytest

from simsearch import open_collection, vectors
from simsearch.index.exact import ExactIndex
from simsearch.index.ivf import IvfIndex
from simsearch.indexer import publish


def cloud(count, seed, dim=24, spread=1.0):
    """Unit rows around twenty centres, as the catalog stores them."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(20, dim))
    rows = centres[rng.integers(0, 20, count)] + spread * rng.normal(size=(count, dim))
    return vectors.as_stored(vectors.unit_rows(rows))


def ids_for(rows):
    """Ids with gaps, ascending as the catalog gives them."""
    return np.sort(np.random.default_rng(1).choice(4 * len(rows), len(rows), replace=False))


def all_cosines(rows):
    """Every pair in float64, to six decimals."""
    return np.round(rows.astype(np.float64) @ rows.astype(np.float64).T, 6)


def recall_at_10(index, rows, ids):
    """Share of every work's ten nearest others, by brute force, that the index finds."""
    cosines = all_cosines(rows)
    found = index.search(rows, 11)[1]
    hits = 0
    for i, me in enumerate(ids):
        nearest = [j for j in np.lexsort((ids, -cosines[i])) if ids[j] != me][:10]
        hits += len({int(ids[j]) for j in nearest} & (set(found[i].tolist()) - {int(me)}))
    return hits / (10 * len(rows))


@pytest.fixture(scope="module")
def works():
    rows = cloud(1200, 3)
    return rows, ids_for(rows)


# -- which kind --------------------------------------------------------------------------------------------------------


def test_auto_builds_an_inverted_file_from_the_threshold_on(monkeypatch, works):
    rows, ids = works
    monkeypatch.setattr(publish, "AUTO_IVF_FROM", 300)
    below, no_recall = publish.build(rows[:299], ids[:299])
    assert (type(below), no_recall, len(below)) == (ExactIndex, None, 299)
    above, recall = publish.build(rows[:300], ids[:300])
    assert (type(above), len(above)) == (IvfIndex, 300)
    assert recall is not None


def test_auto_is_exact_up_to_the_threshold_that_the_benchmarks_give():
    count = publish.AUTO_IVF_FROM - 1
    rows = np.eye(2, dtype=np.float32)[np.arange(count) % 2]
    index, recall = publish.build(rows, np.arange(count))
    assert (type(index), recall, len(index)) == (ExactIndex, None, count)


def test_a_kind_that_is_asked_for_is_built_where_there_are_works_enough(works):
    rows, ids = works
    assert type(publish.build(rows, ids, "exact")[0]) is ExactIndex
    assert type(publish.build(rows[:256], ids[:256], "ivf")[0]) is IvfIndex
    few, recall = publish.build(rows[:255], ids[:255], "ivf")
    assert (type(few), recall) == (ExactIndex, None)


@pytest.mark.parametrize("kind", publish.KINDS)
def test_a_collection_without_works_gets_an_empty_index(kind):
    index, recall = publish.build(np.empty((0, 8), np.float32), np.empty(0, np.int64), kind)
    assert (len(index), recall) == (0, None)
    assert index.search(np.eye(8, dtype=np.float32)[:1], 3)[1].tolist() == [[-1, -1, -1]]


def test_what_is_built_finds_the_nearest(works):
    rows, ids = works
    expected = ids[np.argmax(all_cosines(rows) - 2 * np.eye(len(rows)), axis=1)]
    exact, _ = publish.build(rows, ids, "exact")
    ivf, _ = publish.build(rows, ids, "ivf")
    assert (exact.search(rows, 2)[1][:, 1] == expected).all()
    assert (ivf.search(rows, 2)[1][:, 1] == expected).mean() > 0.97


# -- recall ------------------------------------------------------------------------------------------------------------


def test_the_recall_of_an_inverted_file_is_what_brute_force_says(monkeypatch, works):
    rows, ids = works
    monkeypatch.setattr(publish, "RECALL_QUERIES", len(rows))  # all of them, so that no chance is left
    index, recall = publish.build(rows, ids, "ivf")
    assert recall == pytest.approx(recall_at_10(index, rows, ids), abs=2e-3)
    assert recall >= publish.RECALL_WANTED


def test_a_sample_of_the_works_gives_nearly_the_recall_of_all(works):
    rows, ids = works
    index, recall = publish.build(rows, ids, "ivf")
    assert recall == pytest.approx(recall_at_10(index, rows, ids), abs=0.02)


@pytest.mark.parametrize("spread", [0.6, 1.0, 1.2, 1.5])
def test_no_fewer_probes_would_have_reached_the_wanted_recall(spread):
    rows = cloud(1200, 3, spread=spread)
    ids = ids_for(rows)
    index = IvfIndex()
    index.build(rows, ids)
    recall = publish.tune(index, rows, ids)
    assert recall >= publish.RECALL_WANTED
    assert 1 < index.probes < index.lists
    assert index.probes & (index.probes - 1) == 0, "a power of two"
    index.probes //= 2
    assert recall_at_10(index, rows, ids) < publish.RECALL_WANTED


def test_works_in_tight_groups_need_one_probe():
    rows = cloud(1200, 4, spread=0.3)
    index = IvfIndex(lists=8)
    index.build(rows, ids_for(rows))
    assert publish.tune(index, rows, ids_for(rows)) > publish.RECALL_WANTED
    assert index.probes == 1


def test_a_recall_that_cannot_be_reached_ends_with_all_lists(monkeypatch, works):
    rows, ids = works
    monkeypatch.setattr(publish, "RECALL_WANTED", 1.1)
    index, recall = publish.build(rows, ids, "ivf")
    assert index.probes == index.lists
    assert 0.99 <= recall <= 1


def test_many_copies_of_one_image_cost_no_recall():
    rows = cloud(600, 5)
    rows[100:400] = rows[100]
    _, recall = publish.build(rows, ids_for(rows), "ivf")
    assert publish.RECALL_WANTED <= recall <= 1


def test_building_twice_gives_the_same_figure_and_probes(works):
    first, second = publish.build(*works, "ivf"), publish.build(*works, "ivf")
    assert first[1] == second[1]
    assert first[0].parameters() == second[0].parameters()


# -- random pairs ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 3, 100, 200])
def test_the_background_of_few_works_is_every_pair(count):
    rows = cloud(count, 6)
    expected = np.sort(all_cosines(rows)[np.triu_indices(count, 1)])
    found = publish.background(rows)
    assert found.dtype == np.float32
    assert len(found) == count * (count - 1) // 2 <= publish.BACKGROUND_PAIRS
    assert np.abs(found - expected).max() <= 2e-6


@pytest.mark.parametrize("count", [0, 1])
def test_without_a_pair_there_is_no_background(count):
    assert publish.background(cloud(count, 6)).shape == (0,)


@pytest.mark.parametrize("count", [201, 1000])
def test_the_percentiles_of_a_sample_are_those_of_all_pairs(count):
    rows = cloud(count, 7)
    pairs = all_cosines(rows)[np.triu_indices(count, 1)]
    found = publish.background(rows)
    assert len(found) == publish.BACKGROUND_PAIRS < len(pairs)
    assert (np.diff(found) >= 0).all()
    for share in (1, 10, 25, 50, 75, 90, 99):
        score = np.percentile(pairs, share)
        assert 100 * np.searchsorted(found, score) / len(found) == pytest.approx(share, abs=1.5)


def test_no_work_is_paired_with_itself_and_every_work_is_paired():
    assert (publish.background(np.eye(300, dtype=np.float32)) == 0).all()
    rows = np.zeros((300, 2), np.float32)
    rows[:, 0] = 1
    rows[137] = (0, 1)
    assert 0 in publish.background(rows)


def test_the_background_stays_within_the_range_of_a_cosine_and_is_the_same_each_time():
    rows = np.repeat(cloud(1, 8), 400, axis=0) * np.float32(1.0000001)
    assert set(publish.background(rows).tolist()) == {1.0}
    assert (publish.background(cloud(500, 9)) == publish.background(cloud(500, 9))).all()


# -- publishing --------------------------------------------------------------------------------------------------------


def test_a_generation_is_published_whole_and_only_the_last_two_are_kept(new_flags):
    with open_collection(new_flags.folder, write=True) as collection:
        entry = collection.encoder_entry()
        first = collection.catalog.generation(entry.number)
        half = collection.index_folder(first).parent / "7.building"
        half.mkdir()
        (half / "vectors.npy").write_bytes(b"what a killed run left")
        with collection.writer() as writer:
            made = [publish.publish(collection, writer, entry, writer.begin_run()) for _ in range(3)]
        published = collection.catalog.generation(entry.number)
        folders = sorted(path.name for path in half.parent.iterdir())
        rows, ids = collection.catalog.embeddings(entry.number, entry.info.dim)
        index = collection.open_index(entry, published)
    assert folders == [made[1].folder.split("/")[-1], made[2].folder.split("/")[-1]] == ["3", "4"]
    assert (published.folder, published.run, published.works) == (made[2].folder, first.run + 3, len(new_flags.works))
    assert (published.kind, published.recall_at_10, collection.damaged) == ("exact", None, [])
    assert np.abs(published.background - np.sort(all_cosines(rows)[np.triu_indices(len(rows), 1)])).max() <= 2e-6
    assert index.search(rows, 1)[0].min() == 1
    assert len(index) == len(ids)
