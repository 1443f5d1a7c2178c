"""Ranking by several encoders at once, compared with the sums worked out from their cosines."""

from __future__ import annotations

import numpy as np
import pytest

from simsearch import Filters, Options, blended, index_folders, open_collection, similar
from simsearch.blend import normalised, parse_blend
from simsearch.errors import EncoderError, QueryError


@pytest.fixture(scope="module")
def two(tmp_path_factory, tiny_network):
    """The collection of flags by two encoders: `tiny`, and `color`."""
    from conftest import index_flags

    made = index_flags(tmp_path_factory.mktemp("two"), tiny_network)
    with open_collection(made.folder, write=True) as opened:
        index_folders(opened, [], Options(encoder="color"))
    return made


@pytest.fixture
def collection(two):
    with open_collection(two.folder) as opened:
        yield opened


def by_hand(collection, id, weights):
    """id to blended score, from all cosines of each encoder."""
    total = {}
    for name, weight in weights.items():
        hits = similar(collection, id, k=99, encoder=name, filters=Filters(include_self=True))
        scores = np.array([hit.score for hit in hits])
        for hit, value in zip(hits, (scores - scores.mean()) / scores.std(), strict=True):
            total[hit.artwork.id] = total.get(hit.artwork.id, 0) + weight * value
    return total


@pytest.mark.parametrize(("tiny", "color"), [(0.6, 0.4), (0.1, 0.9), (1.0, 1e-9)])
def test_a_blend_is_the_weighted_mean_of_normalised_cosines(two, collection, tiny, color):
    id = two.id["rust"]
    _, hits = blended(collection, [id], {"tiny": 5 * tiny, "color": 5 * color}, k=99)
    expected = by_hand(collection, id, {"tiny": tiny / (tiny + color), "color": color / (tiny + color)})
    del expected[id]
    assert {hit.artwork.id for hit in hits} == expected.keys()
    for hit in hits:
        assert hit.score == pytest.approx(expected[hit.artwork.id], abs=2e-5)
        assert (hit.scale, hit.percentile) == ("blend", None)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_each_hit_says_what_each_encoder_contributed(two, collection):
    _, hits = blended(collection, [two.id["sea"]], {"tiny": 3, "color": 1}, k=2)
    for hit in hits:
        said = hit.to_dict()
        assert said["scale"] == "blend"
        assert list(said["blend"]) == ["tiny", "color"]
        assert [share["weight"] for share in said["blend"].values()] == [0.75, 0.25]
        (cosine,) = (
            h.score for h in similar(collection, two.id["sea"], k=99) if h.artwork.id == hit.artwork.id
        )  # color is the default here
        assert said["blend"]["color"]["cosine"] == cosine
        mixed = sum(share["weight"] * share["normalised"] for share in said["blend"].values())
        assert said["score"] == pytest.approx(mixed, abs=2e-6)


def test_a_filter_changes_no_score(two, collection):
    _, every = blended(collection, [two.id["red"]], {"tiny": 1, "color": 1}, k=99)
    _, plain = blended(collection, [two.id["red"]], {"tiny": 1, "color": 1}, k=99, filters=Filters("style = 'Plain'"))
    assert [hit.artwork.style for hit in plain] == ["Plain"] * len(plain)
    scores = {hit.artwork.id: hit.score for hit in every}
    assert [hit.score for hit in plain] == [scores[hit.artwork.id] for hit in plain]
    assert len(plain) == sum(hit.artwork.style == "Plain" for hit in every)


def test_works_with_the_same_picture_tie_by_id(two, collection):
    _, hits = blended(collection, [two.id["tide"]], {"tiny": 1, "color": 1}, k=99)
    pair = [hit for hit in hits if hit.artwork.id in (two.id["sea"], two.id["sea copy"])]
    assert pair[0].score == pair[1].score
    assert pair[0].artwork.id < pair[1].artwork.id


def test_an_encoder_that_tells_nothing_apart_contributes_nothing():
    found = normalised(np.array([[0.5, 0.5, 0.5], [0.1, 0.2, 0.3]], np.float32))
    assert found[0].tolist() == [0, 0, 0]
    np.testing.assert_allclose(found[1], [-(1.5**0.5), 0, 1.5**0.5], atol=1e-6)
    assert normalised(np.empty((2, 0), np.float32)).shape == (2, 0)


@pytest.mark.parametrize(
    "text", ["art", "art=", "=1", "art=0", "art=-1", "art=nan", "art=inf", "art=x", "art=1,", "", "art=1,,clip=1"]
)
def test_a_blend_that_is_not_written_as_one_is_refused(text):
    with pytest.raises(QueryError, match="write ENCODER=WEIGHT"):
        parse_blend(text)


def test_a_blend_is_parsed_with_its_spaces():
    assert parse_blend("art=0.6, models/x=y = 2") == {"art": 0.6, "models/x=y": 2.0}
    with pytest.raises(QueryError, match="names art twice"):
        parse_blend("art=1,art=2")


def test_what_a_blend_cannot_do_is_said(two, collection):
    with pytest.raises(QueryError, match="a blend has several"):
        blended(collection, [two.id["red"]], {"tiny": 1}, filters=Filters(min_score=0.5))
    with pytest.raises(QueryError, match="a blend of no encoders"):
        blended(collection, [two.id["red"]], {})
    with pytest.raises(QueryError, match="twice, under two names"):
        blended(collection, [two.id["red"]], {"tiny": 1, str(two.network): 1})
    with pytest.raises(EncoderError, match="has no embeddings by 'clip'"):
        blended(collection, [two.id["red"]], {"tiny": 1, "clip": 1})
    with pytest.raises(EncoderError, match="knows pictures only"):
        blended(collection, [two.id["red"]], {"tiny": 1, "color": 1}, texts=["red"])
    with pytest.raises(QueryError, match="k is 0"):
        blended(collection, [two.id["red"]], {"tiny": 1}, k=0)
