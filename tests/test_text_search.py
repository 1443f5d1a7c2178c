"""Search by words: rankings by hand, hostile questions, and two rankings fused."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from labelled_works import fill

from simsearch.collection import Collection
from simsearch.errors import QueryError
from simsearch.records import Artwork, Hit
from simsearch.text_search import fuse, fused_hits, metadata_hits, search_metadata

TITLES = ("Sea", "Storm", "Boats", "Stormy sea at dusk", "Seascape", "The sea", "Still-life with fish",
          "Life, and still", "O'Keeffe's dream", "AND OR NOT NEAR", "Sea")  # fmt: skip
ARTISTS = ("", "Sea", "", "", "", "", "", "", "", "", "")
GENRES = ("", "", "sea", "", "", "", "", "", "", "", "")
"""Of works 1 to 11."""


@pytest.fixture(scope="module")
def works(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collection]:
    """The works above, and forty more so that no word of theirs is in half of all."""
    more = 40
    rows = np.random.default_rng(0).normal(size=(len(TITLES) + more, 4))
    labels = {"artist": ARTISTS + ("",) * more, "genre": GENRES + ("",) * more}
    titles = TITLES + tuple(f"untold{'x' * i}" for i in range(more))
    collection, _ = fill(tmp_path_factory.mktemp("words"), rows, labels, titles=titles)
    yield collection
    collection.close()


def ids(collection: Collection, text: str, k: int = 10, **options: object) -> list[int]:
    return [match.id for match in search_metadata(collection, text, k, **options)]  # type: ignore[arg-type]


# -- which, and in what order ------------------------------------------------------------------------------------------


def test_title_counts_more_than_artist_and_artist_more_than_terms(works: Collection) -> None:
    found = [id for id in ids(works, "sea") if id in (1, 2, 3)]
    assert found == [1, 2, 3]


def test_equal_works_come_by_id_and_a_whole_word_before_one_that_only_begins_so(works: Collection) -> None:
    found = ids(works, "sea")
    assert found[:2] == [1, 11]
    assert sorted(found[2:4]) == [4, 6]  # in longer titles
    assert sorted(found[4:]) == [2, 3, 5]  # another column, or Seascape


def test_scores_are_bm25_worked_out_by_hand(works: Collection) -> None:
    """Robertson's formula with k1 = 1.2 and b = 0.75, as SQLite documents it, for a word in the title."""
    (match,) = search_metadata(works, "boats", 1)
    titles = [5 if title == TITLES[3] else len(title.replace("-", " ").replace("'", " ").split()) for title in TITLES]
    lengths = np.array([*titles, *[1] * 40], float)
    lengths[3] = 4
    lengths[[1, 2]] += 1  # an artist, a genre
    n, tf = len(lengths), 10.0  # the title's weight, once
    idf = np.log((n - 1 + 0.5) / (1 + 0.5))
    once = idf * tf * 2.2 / (tf + 1.2 * (0.25 + 0.75 * lengths[2] / lengths.mean()))
    assert match.score == pytest.approx(2 * once, abs=1e-6)  # as a word, and as the beginning of one
    assert (match.words, match.whole) == (("boats",), True)


def test_works_with_every_word_come_before_those_with_any_and_each_says_which(works: Collection) -> None:
    found = search_metadata(works, "storm sea", 10)
    assert [(m.id, m.words, m.whole) for m in found[:1]] == [(2, ("storm", "sea"), True)]
    rest = found[1:]
    assert {m.id: m.words for m in rest} == {1: ("sea",), 3: ("sea",), 4: ("sea",), 5: ("sea",), 6: ("sea",),
                                             11: ("sea",)}  # fmt: skip
    assert not any(m.whole for m in rest)
    assert [m.score for m in rest] == sorted((m.score for m in rest), reverse=True)
    assert ids(works, "storm sea", whole=True) == [2]
    assert ids(works, "sea storm", whole=True) == [2, 4] or ids(works, "sea storm", whole=True) == [4, 2]


def test_only_the_last_word_may_be_begun(works: Collection) -> None:
    assert ids(works, "stor", whole=True) == [2, 4]
    assert ids(works, "stor dusk", whole=True) == []
    assert ids(works, "dusk stor", whole=True) == [4]


def test_signs_within_a_word_ask_for_its_parts_side_by_side(works: Collection) -> None:
    assert ids(works, "still-life", whole=True) == [7]
    assert sorted(ids(works, "still life", whole=True)) == [7, 8]
    assert ids(works, "O'Keeffe") == ids(works, "o’keeffe") == [9]
    assert ids(works, "fish,still/life;with", whole=True) == [7]


def test_only_allowed_works_are_found_and_k_is_the_most(works: Collection) -> None:
    assert ids(works, "sea", allowed=np.array([3, 5, 9])) == [5, 3]
    assert ids(works, "storm sea", allowed=np.array([5, 6])) == [5, 6]  # the shorter title
    assert ids(works, "sea", allowed=np.array([], np.int64)) == []
    assert ids(works, "sea", 2) == [1, 11]
    assert len(ids(works, "storm sea", 3)) == 3
    assert len(ids(works, "sea", 10**30)) == 7


def test_a_word_that_nobody_said_finds_nothing(works: Collection) -> None:
    assert ids(works, "zeppelin") == []
    assert ids(works, "zeppelin boats") == [3]


# -- hostile questions -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["sea\"", "\"sea", "sea*", "^sea", "-sea", "+sea", "(sea", "sea)", "{sea}:", "'sea'",
                                  "sea\0", "\ud800sea", "sea ! ?", "* sea", "sea;--", "%sea%", "[sea]", "sea:",
                                  "\"\"\"sea\"\"\""])  # fmt: skip
def test_signs_of_a_query_language_are_no_more_than_signs(works: Collection, text: str) -> None:
    assert ids(works, text) == ids(works, "sea")


@pytest.mark.parametrize("text", ["AND", "or", "NOT", "NEAR", "AND OR", "NOT NEAR", "NEAR(and, 2)", "OR NOT"])
def test_words_of_a_query_language_are_words(works: Collection, text: str) -> None:
    assert 10 in ids(works, text)


@pytest.mark.parametrize("text", ["title:sea", "terms : zzz", "rowid = 1", "words MATCH 'x'", "नमस्ते", "\U00031350 a",
                                  "\ue000", "sea NEAR storm", "a-" * 499, "x" * 1000, "1 2 3 4 5 " * 12])  # fmt: skip
def test_odd_questions_are_answered(works: Collection, text: str) -> None:
    assert isinstance(ids(works, text), list)


@pytest.mark.parametrize("text", ["", "   ", "!?", "***", '""', "\0", "\u0301", "🎨", "-", "( )", "\ud800"])
def test_a_question_without_a_word_is_refused(works: Collection, text: str) -> None:
    with pytest.raises(QueryError, match="has no word in it; write what titles, artists or terms should say"):
        search_metadata(works, text, 10)


def test_a_question_that_is_too_long_is_refused(works: Collection) -> None:
    with pytest.raises(QueryError, match=r"has 65 words, more than 64; leave some out"):
        search_metadata(works, " ".join(map(str, range(65))), 10)
    with pytest.raises(QueryError, match=r"has 1,001 characters, more than 1,000; shorten it"):
        search_metadata(works, "x" * 1001, 10)


def test_fewer_than_one_hit_cannot_be_asked_for(works: Collection) -> None:
    with pytest.raises(QueryError, match="k is 0"):
        search_metadata(works, "sea", 0)
    with pytest.raises(QueryError, match="k is -1"):
        fuse([[1]], -1)


def test_asking_changes_nothing_and_works_on_a_collection_that_is_only_read(works: Collection) -> None:
    with Collection.open(works.base) as reader:
        assert ids(reader, "'; DROP TABLE words; --") == []
        assert ids(reader, "sea") == ids(works, "sea")


# -- fusion ------------------------------------------------------------------------------------------------------------


def test_reciprocal_ranks_are_summed() -> None:
    """By hand with c = 1: 7 has 1/2 + 1/3, 8 has 1/3 + 1/2, 9 has 1/4, 5 has 1/4."""
    found = fuse([[7, 8, 9], [8, 7, 5]], 10, c=1)
    assert [id for id, _ in found] == [7, 8, 5, 9]
    assert [score for _, score in found] == pytest.approx([5 / 6, 5 / 6, 1 / 4, 1 / 4])


def test_the_usual_constant_is_sixty() -> None:
    assert fuse([[4], [3, 4]], 10) == [(4, pytest.approx(1 / 61 + 1 / 62)), (3, pytest.approx(1 / 61))]


def test_two_middling_ranks_beat_one_first_rank() -> None:
    """1/61 = 0.01639 against 2/63 = 0.03175."""
    assert fuse([[1, 2, 3], [4, 5, 3]], 1) == [(3, pytest.approx(2 / 63))]


def test_equal_sums_tie_by_id_in_whatever_order_their_ranks_come() -> None:
    rankings = [[1, 2, 3], [2, 3, 1], [3, 1, 2]]
    for order in ([0, 1, 2], [1, 2, 0], [2, 1, 0], [0, 2, 1]):
        found = fuse([rankings[i] for i in order], 3)
        assert [id for id, _ in found] == [1, 2, 3]
        assert len({score for _, score in found}) == 1


def test_fusion_of_one_ranking_keeps_it_and_of_none_is_empty() -> None:
    assert [id for id, _ in fuse([[5, 1, 3]], 10)] == [5, 1, 3]
    assert [id for id, _ in fuse([[5, 1, 3], []], 2)] == [5, 1]
    assert fuse([], 10) == fuse([[], []], 10) == []


def test_an_id_named_twice_counts_once_and_a_constant_below_zero_is_refused() -> None:
    assert fuse([[5, 5, 1]], 10) == fuse([[5, 1]], 10)
    assert fuse([[5]], 10, c=0) == [(5, 1.0)]
    for c in (-1, float("nan")):
        with pytest.raises(QueryError, match="a fusion needs 0 or more"):
            fuse([[5]], 10, c=c)


# -- hits --------------------------------------------------------------------------------------------------------------


def test_hits_of_words_have_the_scale_bm25_and_no_percentile(works: Collection) -> None:
    hits = metadata_hits(works, "storm sea", 3)
    assert [hit.artwork.id for hit in hits] == ids(works, "storm sea", 3)
    assert [hit.score for hit in hits] == [match.score for match in search_metadata(works, "storm sea", 3)]
    assert [(hit.rank, hit.percentile, hit.scale) for hit in hits] == [(n, None, "bm25") for n in (1, 2, 3)]
    assert [hit.artwork.id for hit in metadata_hits(works, "storm sea", 3, whole=True)] == [2]


def test_fused_hits_say_the_rank_of_each_search_that_found_them() -> None:
    works = {id: Artwork("folder:art", f"{id}.png", id) for id in (1, 2, 3)}
    pictures = [Hit(1, 0.9, 99.0, works[1]), Hit(2, 0.8, 98.0, works[2])]
    metadata = [Hit(1, 7.5, None, works[2], scale="bm25"), Hit(2, 7.0, None, works[3], scale="bm25")]
    hits = fused_hits({"pictures": pictures, "metadata": metadata}, 10)
    assert [(hit.rank, hit.artwork.id, hit.score) for hit in hits] == [
        (1, 2, 0.032522),
        (2, 1, 0.016393),
        (3, 3, 0.016129),
    ]
    assert [hit.ranks for hit in hits] == [{"pictures": 2, "metadata": 1}, {"pictures": 1}, {"metadata": 2}]
    assert {(hit.scale, hit.percentile) for hit in hits} == {("rrf", None)}
    assert len(fused_hits({"pictures": pictures, "metadata": metadata}, 1)) == 1
