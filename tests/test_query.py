"""Questions of images and words: weights, mixes, and which encoder is asked."""

from __future__ import annotations

import numpy as np
import pytest
from flag_words import add_words

from simsearch import open_collection, similar
from simsearch.errors import EncoderError, QueryError
from simsearch.query import ask, joined, text_entry, weighed


@pytest.fixture(scope="module")
def speaking(tmp_path_factory, tiny_network):
    """The collection of flags, by a network that reads the names of colours."""
    from conftest import index_flags

    return index_flags(
        tmp_path_factory.mktemp("speaking"),
        lambda folder, *args, **named: add_words(tiny_network(folder, *args, **named)),
    )


@pytest.fixture
def collection(speaking):
    with open_collection(speaking.folder) as opened:
        yield opened


def stems(hits):
    return [hit.artwork.source_id.rpartition("/")[2].removesuffix(".png") for hit in hits]


# -- weights -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("at night", ("at night", 1.0)), ("0.5:at night", ("at night", 0.5)), ("2:red.jpg", ("red.jpg", 2.0)),
        (".25:x", ("x", 0.25)), ("1.:x:y", ("x:y", 1.0)), ("3:10 to Yuma", ("10 to Yuma", 3.0)),
        ("https://example.org/a.jpg", ("https://example.org/a.jpg", 1.0)), ("C:\\a.jpg", ("C:\\a.jpg", 1.0)),
        ("-1:x", ("-1:x", 1.0)), ("7", ("7", 1.0)), ("7:", ("7:", 1.0)),
    ],
)  # fmt: skip
def test_a_number_and_a_colon_before_a_part_are_its_weight(text, part):
    assert weighed(text) == part


@pytest.mark.parametrize("text", ["0:at night", "0.0:x", "99999999:x"])
def test_a_weight_that_weighs_nothing_or_all_is_refused(text):
    with pytest.raises(QueryError, match="a number above 0 is needed"):
        weighed(text)


def test_a_file_with_a_name_like_a_weight_is_a_file(speaking, collection, monkeypatch):
    monkeypatch.chdir(speaking.folder)
    (speaking.folder / "2:red.png").write_bytes(speaking.path("red").read_bytes())
    (query,) = ask(collection, ["2:red.png"])
    assert query.weight == 1
    (query,) = ask(collection, [f"2:{speaking.path('red')}"])
    assert (query.weight, query.artwork.id) == (2, speaking.id["red"])


# -- words -------------------------------------------------------------------------------------------------------------


def test_words_are_nearest_to_what_they_name(collection):
    assert stems(similar(collection, texts=["Blue"], k=2)) == ["sea copy", "sea"]  # the same picture, so by id
    (hit,) = similar(collection, texts=["magenta"], k=1)
    assert (hit.artwork.title, hit.score, hit.percentile, hit.scale) == ("Violet", 1.0, None, "cosine")


def test_words_and_images_mix_by_their_weights(speaking, collection):
    # in each cell red is (1, -1, -1) and yellow (1, 1, -1): red and half of yellow are (1.5, -0.5, -1.5)
    mixed = joined(ask(collection, [speaking.id["red"]], texts=["0.5:yellow"])).reshape(3, 16).mean(axis=1)
    np.testing.assert_allclose(mixed / np.linalg.norm(mixed), np.array([1.5, -0.5, -1.5]) / 4.75**0.5, atol=1e-3)
    even = similar(collection, speaking.id["red"], texts=["yellow"], k=4)  # (1, 0, -1): any stripes of both are as near
    assert stems(even) == ["dune", "ember", "rust", "sun"]
    assert {hit.score for hit in even} == {round((2 / 3) ** 0.5, 6)}
    assert stems(similar(collection, speaking.id["red"], texts=["9:yellow"], k=2)) == ["sun", "dune"]


def test_minus_words_are_taken_away(collection):
    # cyan less blue points to green: (-1, 1, 1) - (-1, -1, 1) = (0, 2, 0)
    (query, less) = ask(collection, texts=["cyan"], minus_texts=["blue"])
    assert (query.minus, less.minus) == (False, True)
    direction = joined([query, less]).reshape(3, 16).mean(axis=1)
    np.testing.assert_allclose(direction, [0, 0.25, 0], atol=1e-3)


def test_parts_that_cancel_are_refused(speaking, collection):
    for parts in ({"queries": [speaking.id["red"]], "minus_texts": ["red"]}, {"texts": ["red", "cyan"]}):
        with pytest.raises(QueryError, match="the parts of this query cancel each other out"):
            joined(ask(collection, **parts))


@pytest.mark.parametrize("text", ["", "   ", "2: ", "\n"])
def test_an_empty_text_is_refused(collection, text):
    with pytest.raises(QueryError, match="an empty text asks for nothing"):
        ask(collection, texts=[text])


def test_a_text_that_is_too_long_is_cut_and_that_is_said(collection):
    said = []
    collection.notice = said.append
    assert stems(similar(collection, texts=["blue blue blue blue blue blue yellow"], k=1)) == ["sea copy"]
    assert len(said) == 1
    assert "has 7 tokens, tiny reads 6; the rest was left out" in said[0]


def test_a_region_belongs_to_an_image(collection):
    with pytest.raises(QueryError, match="--region takes one query image, there is none"):
        ask(collection, texts=["red"], region="0,0,8,8")


def test_nothing_is_no_question(collection):
    with pytest.raises(QueryError, match="no query: name an image, the id of an artwork, or words"):
        ask(collection, minus_texts=["red"])


# -- which encoder -----------------------------------------------------------------------------------------------------


def test_an_encoder_that_reads_no_words_is_refused_with_the_command_that_adds_one(flags):
    with open_collection(flags.folder) as opened:
        for name in (None, "tiny"):
            with pytest.raises(EncoderError, match="simsearch index --encoder clip:ViT-B-32/laion2b_s34b_b79k"):
                text_entry(opened, name)
        with pytest.raises(EncoderError, match="it has tiny"):
            similar(opened, texts=["red"])


def test_words_are_asked_of_the_first_encoder_that_reads_them(new_flags, tiny_network):
    from simsearch import Options, index_folders

    reads = add_words(tiny_network(new_flags.folder / "models" / "reads", "reads", flipped=True))
    with open_collection(new_flags.folder, write=True) as opened:
        index_folders(opened, [], Options(encoder=["color", str(reads)]))
        assert [entry.info.name for entry in opened.encoders()] == ["color", "tiny", "reads"]
        assert text_entry(opened).info.name == "reads"
        assert stems(similar(opened, texts=["cyan"], k=1)) == ["red"]  # its pictures are flipped, its words are not
        with pytest.raises(EncoderError, match="color knows pictures only, no words; add one"):
            similar(opened, texts=["cyan"], encoder="color")
