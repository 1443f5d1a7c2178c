"""The text tower of a model folder: what it gives, what it refuses, and that it needs no torch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from labelled_works import painted
from tiny_clip import CONTEXT, DIM, tiny_clip_folder

from simsearch import images
from simsearch.encoders.base import TextEncoder
from simsearch.encoders.export.folder import Wishes
from simsearch.encoders.onnx import OnnxEncoder, OnnxTextEncoder, open_folder
from simsearch.encoders.registry import load_encoder, reads_text
from simsearch.errors import EncoderError, QueryError
from simsearch.exporting import export_torch_encoder

TEXTS = ("a ship", "A stormy sea, at dusk", "Saint Jerome", "a ship at night", "富嶽三十六景")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A tiny CLIP of open_clip."""
    return tiny_clip_folder(tmp_path_factory.mktemp("torch") / "clip")


@pytest.fixture(scope="module")
def model(clip, tmp_path_factory):
    """The same as a model folder."""
    return export_torch_encoder(f"clip:{clip}", tmp_path_factory.mktemp("models") / "tiny", Wishes(check=4)).folder


@pytest.fixture
def copy(model, tmp_path):
    """A copy of the model folder to spoil."""
    return shutil.copytree(model, tmp_path / "copy")


def card_with(folder, **changes):
    card = json.loads((folder / "card.json").read_text()) | changes
    kept = {key: value for key, value in card.items() if value is not None}
    (folder / "card.json").write_text(json.dumps(kept))
    return folder


# -- embeddings --------------------------------------------------------------------------------------------------------


def test_texts_become_the_unit_rows_that_torch_gives_in_their_order(model, clip):
    rows = open_folder(model).embed_texts(TEXTS)
    expected = load_encoder(f"clip:{clip}").embed_texts(TEXTS)
    assert (rows.dtype, rows.shape) == (np.float32, (5, DIM))
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1, abs=1e-6)
    assert abs(rows - expected).max() < 1e-5
    assert abs(expected - expected[0]).max() > 1e-2, "and texts differ"


def test_a_text_alone_gives_what_it_gives_among_many(model):
    encoder = open_folder(model)
    many = [f"{text} number {i}" for i in range(14) for text in TEXTS]  # more than go through the network at once
    together = encoder.embed_texts(many)
    assert together.shape == (70, DIM)
    for place in (0, 31, 32, 69):
        assert abs(encoder.embed_texts([many[place]])[0] - together[place]).max() < 1e-6
    assert encoder.embed_texts([]).shape == (0, DIM)


def test_pictures_are_embedded_as_by_the_folder_without_its_text_tower(model, copy, tmp_path):
    painted(tmp_path, 3)
    encoder = open_folder(model)
    (copy / "text.onnx").unlink()
    alone = open_folder(copy)
    pictures = [images.decode(p.read_bytes(), p.name) for p in sorted((tmp_path / "art").glob("*.png"))]
    pixels = np.stack([images.fit(picture, encoder.info.preprocessing) for picture in pictures])
    assert np.array_equal(encoder.embed_images(pixels), alone.embed_images(pixels))
    assert encoder.info == alone.info


def test_only_a_folder_with_a_text_tower_reads_texts(model, copy):
    (copy / "text.onnx").unlink()
    both, alone = load_encoder(str(model)), load_encoder(str(copy))
    assert (type(both), type(alone)) == (OnnxTextEncoder, OnnxEncoder)
    assert (isinstance(both, TextEncoder), isinstance(alone, TextEncoder)) == (True, False)
    assert (reads_text(str(model)), reads_text(str(copy))) == (True, False)


def test_another_text_tower_leaves_stored_pictures_valid(model, copy):
    before = open_folder(model).info
    with (copy / "text.onnx").open("ab") as file:
        file.write(b"\0")
    assert open_folder(copy).info == before
    with (copy / "image.onnx").open("ab") as file:
        file.write(b"\0")
    assert open_folder(copy).info.digest != before.digest


# -- long and empty texts ----------------------------------------------------------------------------------------------


def test_a_text_that_is_too_long_is_cut_which_is_said(model):
    encoder = open_folder(model)
    said = []
    encoder.notice = said.append
    rows = encoder.embed_texts(["a ship", "ship " * 90, "ship " * 75])
    assert said == [
        f"the text 'ship ship ship ship ship ship ship ship...' has 92 tokens, tiny reads {CONTEXT}; "
        "the rest was left out"
    ]
    assert np.array_equal(rows[1], rows[2])


def test_a_cut_is_a_warning_where_nobody_listens(model):
    with pytest.warns(UserWarning, match="has 92 tokens, tiny reads 77"):
        open_folder(model).embed_texts(["ship " * 90])


@pytest.mark.parametrize("text", ["", " \n"])
def test_an_empty_text_is_refused(model, text):
    with pytest.raises(QueryError, match="is empty, so it describes nothing"):
        open_folder(model).embed_texts(["a ship", text])


# -- folders that will not do ------------------------------------------------------------------------------------------


def test_a_text_tower_without_its_tokenizer_is_refused(copy):
    (copy / "tokenizer.json").unlink()
    with pytest.raises(
        EncoderError, match=r"copy has text\.onnx but no tokenizer\.json to read texts with; export it again, or move"
    ):
        open_folder(copy)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"context_length": None, "pad_id": None}, r"card\.json lacks context_length, pad_id, which text\.onnx needs"),
        ({"context_length": 1}, r"card\.json has context_length 1; a whole number of 2 or more is needed"),
        ({"pad_id": "0"}, r"card\.json has pad_id '0'; a whole number of 0 or more is needed"),
        ({"text_cleaning": "upper"}, r"text_cleaning 'upper'; there are lower, whitespace, canonicalize"),
    ],
)
def test_a_card_that_does_not_tell_how_to_read_is_refused(copy, changes, said):
    with pytest.raises(EncoderError, match=said):
        open_folder(card_with(copy, **changes))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"context_length": 20}, r"text\.onnx does not take \(1, 20\) \(.*\); correct card\.json or export it again"),
        ({"dim": 8}, r"text\.onnx gives \(1, 16\) for 1 texts, but card\.json says dim 8"),
    ],
)
def test_a_network_that_is_not_as_the_card_says_is_named(copy, changes, said):
    with pytest.raises(EncoderError, match=said):
        open_folder(card_with(copy, **changes)).embed_texts(["a ship"])


def test_a_damaged_text_tower_is_an_encoder_error(copy):
    (copy / "text.onnx").write_bytes(b"no network")
    encoder = open_folder(copy)
    with pytest.raises(EncoderError, match=r"text\.onnx is no network that onnxruntime can run"):
        encoder.embed_texts(["a ship"])


# -- without torch -----------------------------------------------------------------------------------------------------


def test_a_text_is_embedded_without_torch_or_transformers(model):
    code = f"""
import sys
from simsearch.encoders.registry import load_encoder
print(load_encoder({str(model)!r}).embed_texts(["a ship"]).shape)
heavy = ("torch", "transformers", "open_clip", "timm", "ftfy", "huggingface_hub", "onnx", "pandas")
print([name for name in heavy if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"(1, {DIM})", "[]"]
