"""The inverted file on a GPU: when one is used, what happens without one, and that its answers are the processor's."""

import json

import faiss
import numpy as np
import pytest

from simsearch import vectors
from simsearch.errors import QueryError
from simsearch.index.exact import search_rows
from simsearch.index.ivf import MOST_ON_GPU, IvfIndex, gpu_wanted, gpus, train_by

N, DIM, LISTS = 2000, 24, 16
on_a_gpu = pytest.mark.skipif(gpus() == 0, reason="needs faiss with a GPU")
without_one = pytest.mark.skipif(gpus() > 0, reason="is about a machine without a GPU")


@pytest.fixture
def rows():
    """Unit rows as the catalog gives them, of which twenty are the same."""
    found = np.random.default_rng(3).standard_normal((N, DIM)).astype(np.float32)
    found[100:120] = found[100]
    return vectors.as_stored(vectors.unit_rows(found))


@pytest.fixture
def ids():
    return np.arange(N, dtype=np.int64) * 3 + 1


def built(rows, ids, use_gpu):
    index = IvfIndex(LISTS, LISTS, use_gpu=use_gpu)
    index.build(rows, ids)
    return index


# -- when --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("use_gpu", "there", "wanted"), [("auto", 0, False), ("auto", 2, True), (True, 1, True), (False, 2, False)]
)
def test_a_gpu_is_used_where_there_is_one_unless_it_is_declined(use_gpu, there, wanted):
    assert gpu_wanted(use_gpu, there) is wanted


def test_a_gpu_that_is_asked_for_and_not_there_is_missed_in_words():
    with pytest.raises(QueryError, match=r"no GPU here; install simsearch\[gpu\].*use_gpu at auto"):
        gpu_wanted(True, 0)


@pytest.mark.parametrize("use_gpu", ["yes", None, 7])
def test_another_word_for_use_gpu_is_refused(use_gpu):
    with pytest.raises(ValueError, match="'auto', True or False"):
        gpu_wanted(use_gpu, 1)


@without_one
def test_without_a_gpu_an_index_that_wants_one_is_not_built(rows, ids):
    with pytest.raises(QueryError, match="no GPU here"):
        built(rows, ids, True)


@without_one
def test_without_a_gpu_an_opened_index_that_wants_one_is_not_searched(rows, ids, tmp_path):
    built(rows, ids, False).save(tmp_path)
    index = IvfIndex.open(tmp_path, use_gpu=True)
    with pytest.raises(QueryError, match="no GPU here"):
        index.search(rows[:1], 5)


@without_one
def test_without_a_gpu_auto_is_the_processor(rows, ids, tmp_path):
    (tmp_path / "auto").mkdir()
    (tmp_path / "never").mkdir()
    built(rows, ids, "auto").save(tmp_path / "auto")
    built(rows, ids, False).save(tmp_path / "never")
    assert (tmp_path / "auto" / "index.faiss").read_bytes() == (tmp_path / "never" / "index.faiss").read_bytes()


# -- the parts that need no GPU to be tried ----------------------------------------------------------------------------


def test_centroids_learned_by_another_flat_index_are_the_same(rows):
    """The very way in which a GPU learns them, with a flat index of the processor in its place."""
    found = []
    for coarse in (None, faiss.IndexFlatIP(DIM)):
        index = faiss.index_factory(DIM, f"IVF{LISTS},SQfp16", faiss.METRIC_INNER_PRODUCT)
        index.cp.spherical, index.cp.seed = True, 7
        if coarse is None:
            index.train(rows)
        else:
            train_by(index, coarse, rows)
            assert index.clustering_index is None
        found.append(index.quantizer.reconstruct_n(0, LISTS))
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)


def test_more_candidates_or_lists_than_a_gpu_takes_are_the_processors(rows, ids):
    index = built(rows, ids, False)
    index._on_gpu = "the copy"
    few, many = faiss.SearchParametersIVF(nprobe=4), faiss.SearchParametersIVF(nprobe=MOST_ON_GPU + 1)
    some = faiss.SearchParametersIVF(nprobe=4, sel=faiss.IDSelectorBatch(ids[:5]))
    assert index._at(10, few) == "the copy"
    assert index._at(MOST_ON_GPU + 1, few) is index._at(10, many) is index._at(10, some) is index._index


def test_a_copy_on_the_gpu_is_left_when_works_are_added_or_removed(rows, ids):
    index = built(rows[:-5], ids[:-5], False)
    for change in (lambda: index.add(rows[-5:], ids[-5:]), lambda: index.remove(ids[:5])):
        index._on_gpu = "the copy"
        change()
        assert index._on_gpu is None


@pytest.mark.parametrize("use_gpu", ["auto", True])
def test_a_gpu_without_enough_memory_is_left_or_missed_in_words(rows, ids, use_gpu):
    index = built(rows, ids, False)
    index._use_gpu = use_gpu
    error = RuntimeError("cudaMalloc error out of memory\nin allocMemory")
    if use_gpu is True:
        with pytest.raises(QueryError, match=r"does not take this index \(cudaMalloc error out of memory\); free"):
            index._too_much(error)
    else:
        index._too_much(error)
        assert index._gpu() is None


# -- on a GPU ----------------------------------------------------------------------------------------------------------


@on_a_gpu
def test_an_index_built_on_a_gpu_answers_as_brute_force_does(rows, ids):
    index = built(rows, ids, True)
    assert index._on_gpu is not None
    queries = np.concatenate([rows[:50], rows[100:101]])
    scores, found = index.search(queries, 10)
    truth_scores, truth = search_rows(queries, rows, ids, 10)
    np.testing.assert_allclose(scores, truth_scores, atol=1e-5)
    assert np.mean([len(set(a) & set(b)) for a, b in zip(found.tolist(), truth.tolist(), strict=True)]) >= 9.9
    assert found[-1].tolist() == ids[100:110].tolist()  # of those that tie the first


@on_a_gpu
def test_an_index_built_on_a_gpu_is_saved_for_the_processor(rows, ids, tmp_path):
    index = built(rows, ids, True)
    index.save(tmp_path)
    assert json.loads((tmp_path / "index.json").read_text()) == {"lists": LISTS, "probes": LISTS}
    opened = IvfIndex.open(tmp_path, use_gpu=False)
    assert len(opened) == N
    there, here = index.search(rows[:100], 10), opened.search(rows[:100], 10)
    np.testing.assert_allclose(there[0], here[0], atol=1e-5)
    assert np.mean(there[1] == here[1]) >= 0.99


@on_a_gpu
def test_an_opened_index_is_searched_on_a_gpu_where_that_is_asked_for(rows, ids, tmp_path):
    built(rows, ids, False).save(tmp_path)
    here, there = IvfIndex.open(tmp_path, use_gpu=False), IvfIndex.open(tmp_path, use_gpu=True)
    np.testing.assert_allclose(here.search(rows[:100], 10)[0], there.search(rows[:100], 10)[0], atol=1e-5)
    assert there._on_gpu is not None
