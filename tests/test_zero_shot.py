"""Zero-shot labels by value: prompt ensembles and their softmax, worked out by hand and by open_clip itself."""

import json
import math

import numpy as np
import pytest
from flag_words import add_words
from tiny_clip import tiny_clip, tiny_clip_folder

from simsearch import open_collection
from simsearch.captions import templates_for
from simsearch.classifier.zero_shot import (
    KIND,
    LOGIT_SCALE,
    Wording,
    Words,
    ZeroShotClassifier,
    checked_labels,
    checked_templates,
    embedded,
    labels_in,
    scale_of,
)
from simsearch.encoders.registry import load_encoder
from simsearch.errors import (
    ArtworkNotFoundError,
    CollectionNotFoundError,
    EncoderError,
    ImageError,
    QueryError,
)
from simsearch.images import decode, fit, read_bytes

PLAIN = ("{}",)
SCALE = 10
"""Of the folder that `flag_words` makes."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_network):
    """A model folder that knows flags and the names of their colours."""
    return add_words(tiny_network(tmp_path_factory.mktemp("models") / "words"))


@pytest.fixture
def encoder(folder):
    return load_encoder(str(folder))


@pytest.fixture
def picture(tmp_path, flag):
    """Draws a flag; its path."""

    def draw(code):
        path = tmp_path / f"{code}.png"
        flag(code).save(path)
        return path

    return draw


@pytest.fixture
def place(tmp_path, flag, folder):
    """A folder with a collection of three flags by the encoder that reads words."""
    from simsearch import Options, index_folders

    (tmp_path / "art").mkdir()
    for name, code in {"red": "rrrr", "sea": "bbbb", "rust": "rrry"}.items():
        flag(code).save(tmp_path / "art" / f"{name}.png")
    with open_collection(tmp_path, write=True) as collection:
        index_folders(collection, [tmp_path / "art"], Options(encoder=str(folder)))
    return tmp_path


def softmax(*logits):
    total = sum(math.exp(v) for v in logits)
    return [math.exp(v) / total for v in logits]


def said(predictions):
    return {p.value: p.share for p in predictions}


# -- worked out by hand ------------------------------------------------------------------------------------------------


def test_a_label_in_one_sentence_is_the_embedding_of_that_sentence(encoder):
    words = embedded(encoder, Wording(("red", "blue"), templates=PLAIN))
    expected = [np.repeat([1, -1, -1], 16), np.repeat([-1, -1, 1], 16)]
    assert words.labels == ("red", "blue")
    assert np.abs(words.rows - np.array(expected) / math.sqrt(48)).max() < 1e-6


def test_a_label_in_several_sentences_is_the_unit_mean_of_their_unit_embeddings(encoder):
    words = embedded(encoder, Wording(("red",), templates=("{}", "{} yellow")))
    # red is (1, -1, -1) / sqrt(3), red and yellow are (2, 0, -2) / sqrt(8): each counts alike, however long it was
    mean = np.array([1, -1, -1]) / math.sqrt(3) + np.array([1, 0, -1]) / math.sqrt(2)
    expected = np.repeat(mean / np.linalg.norm(mean), 16) / 4
    assert words.rows.dtype == np.float32
    assert np.abs(words.rows[0] - expected).max() < 1e-6


def test_probabilities_are_the_softmax_of_the_scaled_cosines(folder, picture):
    asked = ZeroShotClassifier(("red", "blue", "yellow"), templates=PLAIN, encoder=str(folder))
    found = asked.classify(picture("rrrr"), top=3)
    # two channels of three differ between red and blue, one between red and yellow
    red, blue, yellow = softmax(SCALE * 1, SCALE * -1 / 3, SCALE * 1 / 3)
    assert [p.value for p in found] == ["red", "yellow", "blue"]
    assert [p.share for p in found] == pytest.approx([red, yellow, blue], abs=2e-4)
    assert {(p.kind, p.by, p.sure, p.neighbours) for p in found} == {(KIND, "zero-shot", True, ())}


def test_labels_that_fit_alike_come_in_the_order_in_which_they_were_named(folder, picture):
    for labels in (("red", "blue"), ("blue", "red")):
        asked = ZeroShotClassifier(labels, templates=PLAIN, encoder=str(folder))
        found = asked.classify(picture("mmkk"), top=2)  # as much red as blue
        assert [(p.value, p.share) for p in found] == [(label, 0.5) for label in labels]


def test_below_a_threshold_the_answer_is_unsure(folder, picture):
    asked = ZeroShotClassifier(("red", "yellow"), templates=PLAIN, encoder=str(folder))
    best = softmax(SCALE, SCALE / 3)[0]
    for threshold, sure in ((best + 0.001, False), (best - 0.001, True), (0, True), (None, True)):
        assert [p.sure for p in asked.classify(picture("rrrr"), threshold=threshold)] == [sure]


def test_many_labels_are_read_in_parts_without_a_difference(encoder):
    labels = [f"red {n}" if n % 2 else f"blue {n}" for n in range(300)]
    words = embedded(encoder, Wording.of(labels))
    each = embedded(encoder, Wording(("red 1", "blue 0"))).rows
    assert words.rows.shape == (300, 48)
    assert np.abs(words.rows[1::2] - each[0]).max() < 1e-6
    assert np.abs(words.rows[::2] - each[1]).max() < 1e-6


def test_a_scale_makes_answers_surer_and_changes_none(encoder):
    rows = np.random.default_rng(0).normal(size=(20, 48)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    at_1, at_100 = (
        Words(Wording(("a", "b", "c")), np.eye(3, 48, dtype=np.float32), scale).probabilities(rows)
        for scale in (1.0, 100.0)
    )
    assert (at_1.argmax(axis=1) == at_100.argmax(axis=1)).all()
    assert (at_1.max(axis=1) < at_100.max(axis=1)).all()
    assert np.abs(at_100.sum(axis=1) - 1).max() < 1e-12


# -- what is asked -----------------------------------------------------------------------------------------------------


def test_the_sentences_are_those_of_the_kind_of_label():
    assert Wording.of(["Baroque", "Rococo"], kind="style").sentences == templates_for("style")
    assert Wording.of(["Baroque", "Rococo"]).sentences == templates_for("")
    assert Wording.of(["Baroque", "Rococo"], kind="style", templates=["{} art"]).sentences == ("{} art",)


def test_a_label_is_spoken_in_words_and_shown_as_it_was_written(folder, picture):
    asked = ZeroShotClassifier(("deep_red", "deep-blue"), templates=PLAIN, encoder=str(folder))
    assert said(asked.classify(picture("rrrr"))) == {"deep_red": pytest.approx(softmax(10, -10 / 3)[0], abs=2e-4)}


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("portrait,landscape,still life", ["portrait", "landscape", "still life"]),
        ("  portrait ,\n\tstill   life ", ["portrait ", "still life"]),
        ('"Rembrandt, circle of", Vermeer', ["Rembrandt, circle of", "Vermeer"]),
        ("portrait,,", ["portrait", "", ""]),
        ("", []),
    ],
)
def test_a_list_of_labels_is_parted_by_commas(text, labels):
    assert labels_in(text) == labels


def test_spaces_around_labels_and_templates_are_taken_away():
    assert checked_labels([" a  b ", "c"]) == ("a b", "c")
    assert checked_templates([" a painting \n of {} "]) == ("a painting of {}",)
    assert checked_templates([]) == ()


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([], "two labels or more, there is none"),
        (["portrait"], "two labels or more, there is only 'portrait'"),
        (["portrait", " "], "a label is empty"),
        (["portrait", "--"], "the label '--' is no word"),
        (["portrait", "landscape", "portrait"], "the label 'portrait' stands there twice; leave one away"),
        (["Still life", "x", "still_LIFE"], "'Still life' stands there twice, the second time as 'still_LIFE'"),
        (["portrait", "b\udcff"], "holds bytes that are no text"),
    ],
)
def test_labels_that_are_no_choice_are_refused(labels, words):
    with pytest.raises(QueryError, match=words):
        checked_labels(labels)


def test_a_list_whose_quotes_do_not_close_is_refused():
    with pytest.raises(QueryError, match="put commas between them"):
        labels_in('"portrait,landscape')


@pytest.mark.parametrize("template", ["a painting", "", "{label}", "{0}", "{} by {}", "{} {", "a {{}}"])
def test_a_template_without_one_place_for_the_label_is_refused(template):
    with pytest.raises(QueryError, match=r"needs \{\} once"):
        checked_templates(["a {}", template])


def test_a_threshold_or_a_number_of_answers_out_of_range_is_refused(folder, picture):
    asked = ZeroShotClassifier(("red", "blue"), encoder=str(folder))
    with pytest.raises(QueryError, match=r"threshold is 1\.5"):
        asked.classify(picture("rrrr"), threshold=1.5)
    with pytest.raises(QueryError, match="top is 0"):
        asked.classify(picture("rrrr"), top=0)


# -- encoders ----------------------------------------------------------------------------------------------------------


def test_the_scale_is_the_encoders_own(encoder):
    assert scale_of(encoder) == SCALE


def test_an_encoder_that_says_no_scale_has_that_of_clip(folder, tmp_path):
    card = json.loads((folder / "card.json").read_text())
    for name in ("card.json", "image.onnx", "text.onnx", "tokenizer.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "card.json").write_text(json.dumps({k: v for k, v in card.items() if k != "logit_scale"}))
    assert scale_of(load_encoder(str(tmp_path))) == LOGIT_SCALE == 100
    assert scale_of(load_encoder("color")) == LOGIT_SCALE


def test_an_encoder_of_pictures_alone_is_refused_with_one_that_reads_words():
    with pytest.raises(EncoderError, match=r"color knows pictures only, no words; .*--encoder clip:ViT-B-32/laion2b"):
        ZeroShotClassifier(("red", "blue"), encoder="color")


def test_without_a_collection_an_encoder_has_to_be_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CollectionNotFoundError, match="name one that reads words with --encoder clip:"):
        ZeroShotClassifier(("red", "blue"))


def test_without_a_collection_ids_and_files_that_are_not_there_are_refused(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = ZeroShotClassifier(("red", "blue"), encoder=str(folder))
    for id in (7, "7"):
        with pytest.raises(ArtworkNotFoundError, match="there is no collection"):
            asked.classify(id)
    with pytest.raises(ImageError, match=r"nothing\.png"):
        asked.classify("nothing.png")


def test_a_collection_without_an_encoder_that_reads_words_names_the_command_that_adds_one(flags):
    with (
        open_collection(flags.folder) as collection,
        pytest.raises(EncoderError, match=r"`simsearch index --encoder clip:ViT-B-32/laion2b_s34b_b79k`"),
    ):
        ZeroShotClassifier(("red", "blue"), collection=collection)


def test_a_stored_work_is_asked_about_by_id_path_or_bytes_with_one_answer(place):
    with open_collection(place) as collection:
        asked = ZeroShotClassifier(("red", "blue", "yellow"), templates=PLAIN, collection=collection)
        path = place / "art" / "rust.png"
        id = next(work.id for work in collection.catalog.all_artworks() if work.source_id == "rust.png")
        found = [asked.classify(image, top=3) for image in (id, path, path.read_bytes())]
    assert found[0] == found[1] == found[2]
    # three stripes of four are red, one is yellow: the cosine is the mean over the stripes
    red, blue, yellow = softmax(SCALE * (3 + 1 / 3) / 4, SCALE * -2 / 4, SCALE * (3 / 3 + 1) / 4)
    assert said(found[0]) == pytest.approx({"red": red, "blue": blue, "yellow": yellow}, abs=5e-4)


def test_a_sentence_that_is_cut_is_said(folder):
    said = []
    long = " ".join(["red"] * 9)
    ZeroShotClassifier((long, "blue"), templates=PLAIN, encoder=str(folder), notice=said.append)
    assert len(said) == 1
    assert "has 9 tokens" in said[0]


# -- open_clip ---------------------------------------------------------------------------------------------------------


def test_an_encoder_of_open_clip_gives_what_open_clip_computes(tmp_path, picture):
    import open_clip
    import torch

    model = tiny_clip_folder(tmp_path / "model")
    labels, templates = ("portrait", "landscape", "still life"), ("a painting of {}", "{}, oil on canvas")
    path = picture("rgby")
    found = ZeroShotClassifier(labels, templates=templates, encoder=f"clip:{model}").classify(path, top=3)
    network = tiny_clip()
    encoder = load_encoder(f"clip:{model}")
    rule = encoder.info.preprocessing
    pixels = fit(decode(read_bytes(path), "a flag", side=rule.size), rule)
    with torch.no_grad():
        scaled = (torch.from_numpy(pixels / 255.0) - torch.tensor(rule.mean)) / torch.tensor(rule.std)
        image = network.encode_image(scaled.permute(2, 0, 1)[None].float(), normalize=True)
        rows = []
        for label in labels:
            texts = open_clip.tokenize([template.replace("{}", label) for template in templates])
            mean = network.encode_text(texts, normalize=True).mean(dim=0)
            rows.append(mean / mean.norm())
        shares = (network.logit_scale.exp() * image @ torch.stack(rows).T).softmax(dim=-1)[0]
    expected = dict(zip(labels, shares.tolist(), strict=True))
    assert said(found) == pytest.approx(expected, abs=2e-3)  # the image's row is rounded as a stored one is
    assert scale_of(encoder) == pytest.approx(1 / 0.07, rel=1e-3)
