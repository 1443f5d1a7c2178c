"""What a CLIP reads: texts together, other kinds of text tower, and tokenizers that are not CLIP's own."""

import json
import sys

import numpy as np
import pytest
from PIL import Image
from tiny_clip import (
    ARCHITECTURE,
    DIM,
    PREPROCESSING,
    SIDE,
    open_clip,
    tiny_clip_checkpoint,
    tiny_clip_folder,
)
from torch_operators import torch

from simsearch.encoders.openclip import build_network
from simsearch.encoders.registry import load_encoder
from simsearch.errors import EncoderError

NOISE = np.random.default_rng(5).integers(0, 256, (6, SIDE, SIDE, 3), np.uint8)
WORDS = ["a stormy sea at dusk", "ships", "Ein Stillleben mit Äpfeln", "1642"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return load_encoder(f"clip:{tiny_clip_folder(tmp_path_factory.mktemp('clip') / 'tiny')}")


# -- texts together ----------------------------------------------------------------------------------------------------


def test_a_text_does_not_depend_on_its_company_and_the_order_is_kept(encoder):
    rows = encoder.embed_texts(WORDS)
    assert rows.dtype == np.float32
    assert np.abs(np.linalg.norm(rows.astype(np.float64), axis=1) - 1).max() < 1e-6
    assert np.abs(np.concatenate([encoder.embed_texts([text]) for text in WORDS]) - rows).max() < 1e-5
    assert np.abs(encoder.embed_texts(WORDS[::-1]) - rows[::-1]).max() < 1e-5
    assert (encoder.embed_texts(WORDS) == rows).all()
    many = encoder.embed_texts(WORDS * (encoder.batch_size // 2))
    assert np.abs(many - np.tile(rows, (encoder.batch_size // 2, 1))).max() < 1e-5
    assert np.linalg.norm(rows[:, None] - rows[None], axis=2)[~np.eye(len(WORDS), dtype=bool)].min() > 1e-3


def test_no_text_gives_no_row(encoder):
    found = encoder.embed_texts([])
    assert (found.shape, found.dtype) == ((0, DIM), np.float32)


# -- other kinds of model ----------------------------------------------------------------------------------------------

TEXT = ARCHITECTURE["text_cfg"]
KINDS = {
    "separate towers": ARCHITECTURE | {"custom_text": True},
    "a tower of timm": ARCHITECTURE
    | {"vision_cfg": {"timm_model_name": "test_vit", "timm_model_pretrained": True, "image_size": 64}},
    "a residual network": ARCHITECTURE
    | {"vision_cfg": {"image_size": SIDE, "layers": [1, 1, 1, 1], "width": 8, "head_width": 8}},
    "with a bias, as SigLIP": ARCHITECTURE | {"custom_text": True, "init_logit_bias": -10, "quick_gelu": True},
    "captions too, as CoCa": ARCHITECTURE
    | {
        "custom_text": True,
        "text_cfg": TEXT | {"embed_cls": True, "output_tokens": True, "context_length": 76},
        "vision_cfg": ARCHITECTURE["vision_cfg"]
        | {"attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},
        "multimodal_cfg": {"context_length": 76, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
    },
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_model_is_built_filled_and_run_as_open_clip_does_it(kind, tmp_path):
    torch.manual_seed(4)
    network = build_network(KINDS[kind], kind)
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": KINDS[kind], "preprocess_cfg": {}}))
    torch.save(network.state_dict(), tmp_path / "open_clip_pytorch_model.bin")
    theirs, _, transform = open_clip.create_model_and_transforms(f"local-dir:{tmp_path}")
    tokens = open_clip.get_tokenizer(f"local-dir:{tmp_path}")(WORDS)
    found = load_encoder(f"clip:{tmp_path}")
    side = found.info.preprocessing.size
    noise = np.random.default_rng(7).integers(0, 256, (2, side, side, 3), np.uint8)
    with torch.no_grad():
        shown = theirs.eval().encode_image(
            torch.stack([transform(Image.fromarray(one)) for one in noise]), normalize=True
        )
        read = theirs.encode_text(tokens, normalize=True)
    assert np.abs(found.embed_images(noise) - shown.numpy()).max() < 1e-4
    assert np.abs(found.embed_texts(WORDS) - read.numpy()).max() < 1e-4


def test_a_checkpoint_from_before_the_towers_were_separate_still_fits(tmp_path, encoder):
    architecture, weights = tiny_clip_checkpoint(tmp_path)
    architecture.write_text(json.dumps(KINDS["separate towers"] | {"preprocess_cfg": PREPROCESSING}))
    found = load_encoder(f"clip:{architecture}?weights={weights}")
    assert np.abs(found.embed_texts(WORDS) - encoder.embed_texts(WORDS)).max() < 1e-5


def named_tokenizer(folder, preprocessing=PREPROCESSING):
    """A folder whose architecture names a tokenizer of the transformers package."""
    tiny_clip_folder(folder)
    model = ARCHITECTURE | {"text_cfg": TEXT | {"hf_tokenizer_name": "ada/words"}}
    config = {"model_cfg": model, "preprocess_cfg": preprocessing}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    return load_encoder(f"clip:{folder}")


def test_a_tokenizer_that_cannot_be_had_is_said_when_words_come(tmp_path, monkeypatch):
    pytest.importorskip("transformers", reason="open_clip asks it for tokenizers that are not CLIP's own")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    found = named_tokenizer(tmp_path / "tiny")
    assert found.embed_images(NOISE).shape == (6, DIM)
    with pytest.raises(EncoderError) as refused:
        found.embed_texts(WORDS)
    assert str(refused.value) == (
        "the tokenizer ada/words of tiny cannot be had (offline mode is on); go online once, or put its files into "
        "clip:FOLDER"
    )


def test_a_tokenizer_that_needs_a_missing_package_names_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(EncoderError, match=r"^the tokenizer ada/words of tiny needs another package .*; run `pip"):
        named_tokenizer(tmp_path / "tiny").embed_texts(WORDS)


def test_a_tokenizer_of_transformers_is_read_from_the_models_folder(tmp_path, encoder):
    pytest.importorskip("transformers", reason="open_clip asks it for tokenizers that are not CLIP's own")
    import tokenizers

    found = named_tokenizer(tmp_path / "tiny")
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[PAD]": 0, "ships": 5, "sea": 6, "[UNK]": 7}, "[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.save(str(tmp_path / "tiny" / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]", "unk_token": "[UNK]"}
    (tmp_path / "tiny" / "tokenizer_config.json").write_text(json.dumps(settings))
    heard = []
    found.notice = heard.append
    rows = found.embed_texts(["ships sea", "sea " * 80])
    assert found.tokenizer(["ships sea"])[0, :3].tolist() == [5, 6, 0]
    assert rows.shape == (2, DIM)
    assert [sentence.partition("...'")[2] for sentence in heard] == [
        f" has 80 tokens, {found.info.name} reads 77; the rest was left out"
    ]
