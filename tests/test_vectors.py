"""The norm rule: what becomes a unit row, what is refused, and what float16 and rounding cost."""

import numpy as np
import pytest

from simsearch import vectors
from simsearch.errors import EmbeddingError, QueryError


@pytest.fixture(scope="module")
def rows():
    return vectors.unit_rows(np.random.default_rng(1).normal(size=(500, 384)))


def test_rows_are_divided_by_their_euclidean_length():
    found = vectors.unit_rows([[3, 4], [0, -2], [0.5, 0]])
    assert found.dtype == np.float32
    assert found.tolist() == [[np.float32(0.6), np.float32(0.8)], [0, -1], [1, 0]]


def test_one_vector_becomes_one_row():
    assert vectors.unit_rows([0, 5, 0]).tolist() == [[0, 1, 0]]


def test_no_rows_stay_no_rows():
    assert vectors.unit_rows(np.empty((0, 7)), 7).shape == (0, 7)


def test_unit_rows_stay_as_they_are(rows):
    assert np.abs(vectors.unit_rows(rows) - rows).max() <= 1e-7


def test_the_callers_numbers_are_left_alone():
    given = np.array([[3, 4]], np.float32)
    vectors.unit_rows(given)
    assert given.tolist() == [[3, 4]]


@pytest.mark.parametrize("size", [1e-9, 1e-3, 1e20, 3e38])
def test_very_long_and_very_short_rows_have_a_direction_all_the_same(size):
    found = vectors.unit_rows(np.array([[size, size]], np.float32))
    assert np.abs(found - 0.5**0.5).max() <= 1e-7


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_a_number_that_is_not_finite_is_refused_by_the_place_of_its_row(bad):
    with pytest.raises(EmbeddingError, match="embedding 1 holds a number that is not finite"):
        vectors.unit_rows([[1.0, 0.0], [1.0, bad], [bad, bad]])


@pytest.mark.parametrize("zero", [[0.0, 0.0], [-0.0, 0.0], [1e-30, 0.0]])
def test_a_row_without_direction_is_refused_by_its_place(zero):
    with pytest.raises(EmbeddingError, match="embedding 2 is all zeros"):
        vectors.unit_rows([[1.0, 0.0], [0.0, 1.0], zero])


@pytest.mark.parametrize(
    ("shape", "dim", "wanted"), [((2, 3), 4, r"\(n, 4\)"), ((4,), 5, r"\(n, 5\)"), ((1, 2, 3), None, r"\(n, dim\)")]
)
def test_rows_of_another_width_are_refused(shape, dim, wanted):
    with pytest.raises(EmbeddingError, match=rf"embeddings have shape \(.*\), {wanted} wanted"):
        vectors.unit_rows(np.ones(shape), dim)


# -- float16 -----------------------------------------------------------------------------------------------------------


def test_stored_rows_come_back_in_order_with_hardly_any_error(rows):
    blobs = vectors.to_bytes(rows)
    assert {len(blob) for blob in blobs} == {2 * 384}
    back = vectors.from_bytes(blobs, 384)
    assert back.dtype == np.float32
    assert np.abs(np.linalg.norm(back, axis=1) - 1).max() <= 1e-6
    exact, stored = rows[:50].astype(np.float64) @ rows.T, back[:50].astype(np.float64) @ back.T
    assert np.abs(exact - stored).max() < 5e-4
    assert (1 - np.einsum("ij,ij->i", rows, back)).max() < 5e-4


def test_bytes_are_little_endian_float16():
    assert vectors.to_bytes(np.array([[1.0, -0.5], [0.0, 1.0]], np.float32)) == [
        b"\x00\x3c\x00\xb8",
        b"\x00\x00\x00\x3c",
    ]


def test_a_new_image_scores_exactly_like_its_stored_copy(rows):
    back = vectors.from_bytes(vectors.to_bytes(rows), 384)
    assert (vectors.as_stored(rows) == back).all()
    assert (vectors.as_stored(rows[7:8]) == back[7:8]).all()


def test_rows_of_few_and_of_very_many_numbers_survive_float16():
    for dim in (1, 2, 4096):
        rows = vectors.unit_rows(np.random.default_rng(dim).normal(size=(20, dim)))
        assert np.einsum("ij,ij->i", rows, vectors.as_stored(rows)).min() > 1 - 5e-4


def test_no_bytes_are_no_rows():
    assert vectors.to_bytes(np.empty((0, 9), np.float32)) == []
    assert vectors.from_bytes([], 9).shape == (0, 9)


@pytest.mark.parametrize("blobs", [[b"\x00\x3c"], [b"\x00\x3c" * 2, b"\x00\x3c" * 3], [b"\x00\x3c\x00"], [b""]])
def test_stored_bytes_of_another_length_are_refused_with_the_way_out(blobs):
    with pytest.raises(EmbeddingError, match="does not have 2 numbers; run `simsearch index --rebuild`"):
        vectors.from_bytes(blobs, 2)


@pytest.mark.parametrize("blob", [bytes(4), b"\x00\x7e\x00\x3c", b"\x00\x7c\x00\x3c"], ids=["zeros", "nan", "infinite"])
def test_stored_bytes_that_are_no_embedding_are_refused(blob):
    with pytest.raises(EmbeddingError, match="embedding 0"):
        vectors.from_bytes([blob], 2)


# -- mixing ------------------------------------------------------------------------------------------------------------

X, Y, Z = np.eye(3, dtype=np.float32)[:, None, :]


def test_a_mix_is_the_direction_of_the_sum():
    assert np.abs(vectors.mix(np.concatenate([X, Y])) - [[0.5**0.5, 0.5**0.5, 0]]).max() <= 1e-7
    assert np.abs(vectors.mix(np.concatenate([X, X, Y])) - np.array([[2, 1, 0]]) / 5**0.5).max() <= 1e-7


def test_minus_rows_are_taken_away():
    found = vectors.mix(np.concatenate([X, Y, Z]), [1, 1, -1])
    assert found.shape == (1, 3)
    assert found.dtype == np.float32
    assert np.abs(found - np.array([[1, 1, -1]]) / 3**0.5).max() <= 1e-7


def test_one_image_mixes_to_itself():
    assert (vectors.mix(X) == X).all()
    assert (vectors.mix(X, [0.25]) == X).all()


def test_a_part_counts_by_its_weight():
    assert np.abs(vectors.mix(np.concatenate([X, Y]), [3, 4]) - [[0.6, 0.8, 0]]).max() <= 1e-7
    assert np.abs(vectors.mix(np.concatenate([X, Y]), [0.03, 0.04]) - [[0.6, 0.8, 0]]).max() <= 1e-7


@pytest.mark.parametrize(
    ("rows", "weights"),
    [
        ((X, X), [1, -1]),
        ((X, -X), None),
        ((X, Y, Y, X), [1, 1, -1, -1]),
        ((X, X), [1e5, -1e5]),
        ((X, X), [0.01, -0.01]),
    ],
)
def test_parts_that_cancel_each_other_out_are_refused(rows, weights):
    with pytest.raises(QueryError, match="cancel each other out; leave one of them away"):
        vectors.mix(np.concatenate(rows), weights)


# -- scores ------------------------------------------------------------------------------------------------------------


def test_scores_are_cosines_to_six_decimals(rows):
    exact = rows[:40].astype(np.float64) @ rows.astype(np.float64).T
    found = vectors.scores(rows[:40], rows)
    assert found.shape == (40, 500)
    assert found.dtype == np.float32
    assert np.abs(found - exact).max() <= 1e-6
    assert (found == np.round(found, 6)).all()


def test_scores_never_leave_minus_one_to_one():
    long = np.array([[1.0000002, 0], [-1.0000002, 0]], np.float32)
    assert vectors.scores(long[:1], long).tolist() == [[1.0, -1.0]]


def test_the_same_row_scores_alike_wherever_it_stands(rows):
    many = np.concatenate([rows, rows[:1], rows, rows[:1]])
    for query in range(20):
        found = vectors.settled_scores(rows[query : query + 1], many)
        assert (found[:500] == found[501:1001]).all()
        assert found[0] == found[500] == found[1001]
        for count in (1, 2, 3, 17, 100):
            assert (vectors.settled_scores(rows[query : query + 1], many[:count]) == found[:count]).all()


def test_settled_scores_are_the_scores_but_for_the_last_decimal(rows):
    found = vectors.settled_scores(rows[:1], rows)
    assert found.dtype == np.float32
    assert np.abs(found - rows.astype(np.float64) @ rows[0].astype(np.float64)).max() <= 0.6e-6
    assert np.abs(found - vectors.scores(rows[:1], rows)[0]).max() <= 1.1e-6
    assert vectors.settled_scores(rows[:1], rows[:0]).shape == (0,)
