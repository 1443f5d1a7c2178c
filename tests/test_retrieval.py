"""Similarity as retrieval: against plain Python, scikit-learn, the index that serves a search, and worked by hand."""

import numpy as np
import pytest
from sklearn import metrics as sk

from simsearch import vectors
from simsearch.classifier import neighbours, retrieval
from simsearch.classifier.retrieval import NOBODY, Works
from simsearch.errors import EmbeddingError
from simsearch.index import exact
from simsearch.records import Artwork, Hit, Label

KS = (1, 3, 10, 200)


def drawn(seed, q=40, g=150, dim=6, ties=True):
    """(queries, gallery): every code also unknown now and then, some queries in the gallery, many equal cosines."""
    rng = np.random.default_rng(seed)

    def works(rows, ids):
        n = len(rows)
        codes = [rng.integers(NOBODY, top, n) for top in (5, 12, 40)]
        return Works(rows, codes[0], artists=codes[1], groups=codes[2], ids=ids)

    held = rng.normal(size=(g, dim))
    if ties:
        few = rng.integers(-1, 2, (30, dim))
        held = rng.choice(few[few.any(axis=1)], g)
    held = vectors.unit_rows(held)
    asked = np.concatenate([held[: q // 2], vectors.unit_rows(rng.normal(size=(q - q // 2, dim)))])
    return works(asked, np.arange(q)), works(held, np.arange(g))


def plain_ranking(queries, gallery, i, without_same_artist):
    """Places of the gallery in the order of query i, by a loop over works."""
    cosines = [float(v) for v in vectors.scores(queries.rows[i : i + 1], gallery.rows)[0]]

    def alike(asked, held):
        return asked == held and asked != NOBODY

    kept = []
    for j in range(len(gallery)):
        if alike(queries.ids[i], gallery.ids[j]) or alike(queries.groups[i], gallery.groups[j]):
            continue
        known = queries.artists[i] != NOBODY and gallery.artists[j] != NOBODY
        if without_same_artist and (not known or queries.artists[i] == gallery.artists[j]):
            continue
        kept.append(j)
    return sorted(kept, key=lambda j: (-cosines[j], j)), cosines


def plain_figures(queries, gallery, i, without_same_artist):
    """(precision at KS, recall at KS, average precision, relevant, candidates); None where nothing is relevant."""
    ranking, _ = plain_ranking(queries, gallery, i, without_same_artist)
    hits = [queries.labels[i] != NOBODY and queries.labels[i] == gallery.labels[j] for j in ranking]
    if not any(hits):
        return None, None, None, 0, len(hits)
    at = [sum(hits[:rank]) / rank for rank in range(1, len(hits) + 1)]
    return (
        [sum(hits[:k]) / k for k in KS],
        [sum(hits[:k]) / sum(hits) for k in KS],
        sum(p for p, hit in zip(at, hits, strict=True) if hit) / sum(hits),
        sum(hits),
        len(hits),
    )


# -- by value ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("without_same_artist", [False, True])
@pytest.mark.parametrize("ties", [False, True])
def test_every_figure_is_that_of_a_plain_loop(seed, without_same_artist, ties):
    queries, gallery = drawn(seed, ties=ties)
    found = retrieval.retrieval(queries, gallery, without_same_artist=without_same_artist, ks=KS)
    assert 0 < found.counted.sum() < len(queries), "queries that are not counted are part of this test"
    for i in range(len(queries)):
        precision, recall, average, relevant, candidates = plain_figures(queries, gallery, i, without_same_artist)
        assert (found.relevant[i], found.candidates[i]) == (relevant, candidates)
        assert found.counted[i] == (relevant > 0)
        if not relevant:
            assert np.isnan([*found.precision[i], *found.recall[i], found.average_precision[i]]).all()
            continue
        assert found.precision[i] == pytest.approx(precision, abs=1e-12)
        assert found.recall[i] == pytest.approx(recall, abs=1e-12)
        assert found.average_precision[i] == pytest.approx(average, abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_average_precision_is_that_of_scikit_learn_where_no_cosines_are_equal(seed):
    rng = np.random.default_rng(seed)
    rows = vectors.unit_rows(rng.normal(size=(330, 5)))
    labels = rng.integers(0, 4, 330)
    found = retrieval.retrieval(Works(rows[:30], labels[:30]), Works(rows[30:], labels[30:]))
    cosines = vectors.scores(rows[:30], rows[30:])
    single = [i for i in range(30) if len(np.unique(cosines[i])) == 300]
    assert len(single) > 20
    for i in single:
        wanted = sk.average_precision_score(labels[30:] == labels[i], cosines[i])
        assert found.average_precision[i] == pytest.approx(wanted, abs=1e-12)


def test_figures_worked_by_hand():
    angles = np.radians([0, 10, 20, 30, 40])
    gallery = Works(np.stack([np.cos(angles), np.sin(angles)], 1), [1, 0, 1, 0, 1], artists=[7, 8, 8, 9, 9])
    query = Works([[1, 0]], [1], artists=[7])
    found = retrieval.retrieval(query, gallery, ks=(1, 2, 10))
    assert found.precision.tolist() == [[1, 1 / 2, 3 / 10]], "divided by 10 though only five are there"
    assert found.recall.tolist() == [[1 / 3, 1 / 3, 1]]
    assert found.average_precision.tolist() == pytest.approx([(1 / 1 + 2 / 3 + 3 / 5) / 3])
    assert found.precision_at(2).tolist() == [1 / 2]
    assert found.recall_at(10).tolist() == [1]
    other = retrieval.retrieval(query, gallery, ks=(1, 2), without_same_artist=True)
    assert (other.relevant.tolist(), other.candidates.tolist()) == ([2], [4])
    assert other.precision.tolist() == [[0, 1 / 2]]
    assert other.average_precision.tolist() == pytest.approx([(1 / 2 + 2 / 4) / 2])


def test_works_with_the_same_cosine_rank_in_the_order_of_the_gallery():
    same = np.tile([[1.0, 0.0]], (4, 1))
    found = retrieval.retrieval(Works([[0.6, 0.8]], [1]), Works(same, [0, 1, 0, 1]), ks=(1, 2))
    assert found.precision.tolist() == [[0, 1 / 2]]
    assert found.average_precision.tolist() == [(1 / 2 + 2 / 4) / 2]


@pytest.mark.parametrize("ties", [False, True])
def test_the_ranking_is_the_one_that_a_search_gives(ties):
    queries, gallery = drawn(9, q=30, g=400, ties=ties)
    gallery = Works(gallery.rows, gallery.labels)
    _, ids = exact.search_rows(queries.rows, gallery.rows, np.arange(400), 400)
    found = retrieval.retrieval(queries, gallery)
    for i in np.flatnonzero(found.counted):
        hits = gallery.labels[ids[i]] == queries.labels[i]
        assert found.precision_at(10)[i] == pytest.approx(hits[:10].mean(), abs=1e-12)
        at = np.cumsum(hits) / np.arange(1, 401)
        assert found.average_precision[i] == pytest.approx(at[hits].mean(), abs=1e-12)


@pytest.mark.parametrize("block", [1, 160, 1000])
def test_figures_do_not_depend_on_the_size_of_blocks(monkeypatch, block):
    queries, gallery = drawn(2)
    whole = retrieval.retrieval(queries, gallery, without_same_artist=True)
    votes = retrieval.knn_predict(queries, gallery, 7)
    monkeypatch.setattr(retrieval, "BLOCK_NUMBERS", block)
    found = retrieval.retrieval(queries, gallery, without_same_artist=True)
    assert found.average_precision == pytest.approx(whole.average_precision, abs=1e-12, nan_ok=True)
    assert (found.relevant == whole.relevant).all()
    assert (retrieval.knn_predict(queries, gallery, 7) == votes).all()


def test_rows_without_meaning_find_what_chance_finds():
    rng = np.random.default_rng(5)
    rows, labels = vectors.unit_rows(rng.normal(size=(2500, 16))), rng.choice(4, 2500, p=[0.4, 0.3, 0.2, 0.1])
    found = retrieval.retrieval(Works(rows[:500], labels[:500]), Works(rows[500:], labels[500:]))
    chance = (found.relevant / found.candidates).mean()
    assert found.precision_at(1).mean() == pytest.approx(chance, abs=0.06)
    assert found.precision_at(100).mean() == pytest.approx(chance, abs=0.01)
    assert found.average_precision.mean() == pytest.approx(chance, abs=0.01)


def test_other_codes_for_the_same_labels_change_nothing():
    queries, gallery = drawn(6)
    place = np.append(np.random.default_rng(7).permutation(5), NOBODY)

    def moved(works):
        return Works(works.rows, place[works.labels], artists=works.artists, groups=works.groups, ids=works.ids)

    before, after = retrieval.retrieval(queries, gallery), retrieval.retrieval(moved(queries), moved(gallery))
    assert after.average_precision == pytest.approx(before.average_precision, abs=0, nan_ok=True)


# -- what is left out --------------------------------------------------------------------------------------------------

ROWS = vectors.unit_rows([[1, 0], [1, 0.01], [1, 0.1], [1, 0.3]])


def test_a_query_finds_neither_itself_nor_the_same_work_again():
    works = Works(ROWS, [0, 0, 1, 0], groups=[5, 5, 6, 7], ids=[1, 2, 3, 4])
    found = retrieval.retrieval(works, works, ks=(1,))
    assert found.candidates.tolist() == [2, 2, 3, 3]
    assert found.relevant.tolist() == [1, 1, 0, 2]
    assert found.precision[[0, 1, 3], 0].tolist() == [0, 0, 0]
    apart = retrieval.retrieval(works, Works(ROWS, [0, 0, 1, 0], ids=[1, 2, 3, 4]), ks=(1,))
    assert apart.precision[:2, 0].tolist() == [1, 1]


def test_without_the_same_artist_only_known_other_artists_are_ranked():
    gallery = Works(ROWS, [0, 0, 0, 0], artists=[3, 4, NOBODY, 3])
    queries = Works(ROWS[[0, 0]], [0, 0], artists=[3, NOBODY])
    found = retrieval.retrieval(queries, gallery, without_same_artist=True)
    assert found.candidates.tolist() == [1, 0]
    assert found.counted.tolist() == [True, False]
    assert retrieval.retrieval(queries, gallery).candidates.tolist() == [4, 4]
    assert retrieval.knn_predict(queries, gallery, 3, without_same_artist=True).tolist() == [0, NOBODY]


def test_what_is_not_known_is_never_the_same():
    works = Works(ROWS, [NOBODY, 1, NOBODY, 1], groups=np.full(4, -7), ids=np.full(4, -1))
    found = retrieval.retrieval(works, works)
    assert found.candidates.tolist() == [4] * 4
    assert found.relevant.tolist() == [0, 2, 0, 2], "works without a label are ranked, and never relevant"


def test_an_empty_gallery_and_no_queries_count_nothing():
    some, none = Works(ROWS, [0, 1, 0, 1]), Works(np.empty((0, 2)), [])
    for gallery in (none, Works(ROWS, [0, 0, 1, 1], groups=[1, 1, 1, 1])):
        queries = Works(ROWS, [0, 1, 0, 1], groups=[1, 1, 1, 1])
        found = retrieval.retrieval(queries, gallery)
        assert not found.counted.any()
        assert not found.candidates.any()
        assert np.isnan(found.average_precision).all()
        assert retrieval.knn_predict(queries, gallery, 3).tolist() == [NOBODY] * 4
    assert retrieval.retrieval(none, some).precision.shape == (0, 5)
    assert retrieval.knn_predict(none, some, 1).shape == (0,)


# -- the gallery's mean ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("without_same_artist", [False, True])
def test_centred_rows_are_compared_without_the_gallerys_mean(without_same_artist):
    rng = np.random.default_rng(8)
    queries, gallery = drawn(8, ties=False)
    far = np.array([3, 0, 0, 0, 0, 0])
    pushed = vectors.unit_rows(gallery.rows + far)
    gallery = Works(pushed, gallery.labels, artists=gallery.artists)
    asked = vectors.unit_rows(rng.normal(size=(40, 6)) + far)
    queries = Works(asked, queries.labels, artists=queries.artists)
    mean = pushed.mean(0, dtype=np.float64)
    by_hand = [Works(vectors.unit_rows(w.rows - mean), w.labels, artists=w.artists) for w in (queries, gallery)]
    options = {"without_same_artist": without_same_artist}
    found = retrieval.retrieval(queries, gallery, centre=True, **options)
    wanted, plain = retrieval.retrieval(*by_hand, **options), retrieval.retrieval(queries, gallery, **options)
    assert found.average_precision == pytest.approx(wanted.average_precision, abs=1e-12, nan_ok=True)
    assert found.average_precision != pytest.approx(plain.average_precision, abs=1e-3, nan_ok=True)
    votes = retrieval.knn_predict(queries, gallery, 5, centre=True, **options)
    assert (votes == retrieval.knn_predict(*by_hand, 5, **options)).all()


# -- votes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("k", [1, 2, 10, 500])
@pytest.mark.parametrize("ties", [False, True])
def test_votes_are_those_of_classify(seed, k, ties):
    queries, gallery = drawn(seed, ties=ties)
    found = retrieval.knn_predict(queries, gallery, k)
    for i in range(len(queries)):
        ranking, cosines = plain_ranking(queries, gallery, i, False)
        voters = [j for j in ranking if gallery.labels[j] != NOBODY][:k]
        hits = []
        for rank, j in enumerate(voters, 1):
            work = Artwork("s", str(j), labels=(Label("style", str(gallery.labels[j])),))
            hits.append(Hit(rank, round(cosines[j] * 1e6), None, work))  # in millionths, whose sums are exact
        wanted = int(neighbours.vote("style", hits)[0].value) if hits else NOBODY
        assert found[i] == wanted


def test_equal_votes_go_to_the_nearer_voters_and_then_to_the_lower_code():
    query = Works([[1, 0]], [0])
    up, down = vectors.unit_rows([[1, 0.2]])[0], vectors.unit_rows([[1, -0.2]])[0]
    far = vectors.unit_rows([[1, 0.9]])[0]
    assert retrieval.knn_predict(query, Works([up, down], [4, 2]), 2).tolist() == [2]
    assert retrieval.knn_predict(query, Works([up, far], [4, 2]), 2).tolist() == [4]
    assert retrieval.knn_predict(query, Works([up, far, far], [4, 2, 2]), 3).tolist() == [2], "votes come first"
    assert retrieval.knn_predict(query, Works([up, down], [4, 2]), 1).tolist() == [4], "the earlier of the gallery"


def test_voters_at_the_back_count_for_less_than_nothing_and_still_have_a_vote():
    query = Works([[1, 0]], [0])
    assert retrieval.knn_predict(query, Works([[-1, 0], [0, 1]], [3, 6]), 2).tolist() == [6]
    assert retrieval.knn_predict(query, Works([[-1, 0], [-1, 0], [1, 0]], [3, 3, 6]), 3).tolist() == [3]
    assert retrieval.knn_predict(query, Works([[-1, 0]], [3]), 9).tolist() == [3]


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "length"), [([np.nan, 0], "nan"), ([3, 4], "5"), ([0, 0], "0"), ([np.inf, 0], "inf"), ([0, 0.99], "0.99")]
)
def test_rows_that_are_no_unit_embeddings_are_refused_by_their_place(row, length):
    with pytest.raises(EmbeddingError, match=f"embedding 1 has length {length} where 1 is wanted"):
        Works([[1, 0], row], [0, 0])


def test_arrays_that_do_not_fit_together_are_refused():
    with pytest.raises(ValueError, match=r"rows of shape \(2,\); \(n, dim\) wanted"):
        Works([1, 0], [0])
    with pytest.raises(ValueError, match=r"labels as int64 of shape \(3,\); \(4,\) integers wanted"):
        Works(ROWS, [0, 1, 2])
    with pytest.raises(ValueError, match=r"artists as <U1 of shape \(4,\); \(4,\) integers wanted"):
        Works(ROWS, [0, 1, 2, 3], artists=["a", "b", "c", "d"])
    with pytest.raises(ValueError, match="queries of 3 numbers, a gallery of 2"):
        retrieval.retrieval(Works([[1, 0, 0]], [0]), Works(ROWS, [0, 1, 2, 3]))
    works = Works(ROWS, [0, 1, 2, 3])
    with pytest.raises(ValueError, match=r"ks are \(0, 5\)"):
        retrieval.retrieval(works, works, ks=(0, 5))
    with pytest.raises(ValueError, match="k is 0; it starts at 1"):
        retrieval.knn_predict(works, works, 0)


def test_the_usual_ranks_are_measured_unless_others_are_asked_for():
    works = Works(ROWS, [0, 1, 0, 1])
    assert retrieval.retrieval(works, works).ks == (1, 5, 10, 50, 100)
