"""Without torch a text becomes the numbers that open_clip's own tokenizer makes of it."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import tokenizers
import torch_operators  # noqa: F401  # open_clip needs the operators
import transformers

from simsearch.encoders.export.prompts import HARD, PROMPTS
from simsearch.encoders.export.tokens import write_tokenizer
from simsearch.encoders.tokenizer import CLEANINGS, Tokenizer, cut_notice
from simsearch.errors import EncoderError, QueryError, TrainingError

open_clip = pytest.importorskip("open_clip")
HFTokenizer = open_clip.tokenizer.HFTokenizer

CONTEXT = 77


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with CLIP's tokenizer.json."""
    made = tmp_path_factory.mktemp("clip")
    rule = write_tokenizer(open_clip.SimpleTokenizer(), CONTEXT, made, "CLIP")
    assert (rule.context_length, rule.pad_id, rule.text_cleaning) == (CONTEXT, 0, "lower")
    return made


@pytest.fixture(scope="module")
def ours(folder):
    return Tokenizer(folder / "tokenizer.json", CONTEXT, 0)


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """The folder of a small tokenizer of the transformers package: words, a closing mark, padded with 3."""
    folder = tmp_path_factory.mktemp("words")
    names = ["<unk>", "</s>", "a", "<pad>", "red", "sun", "Sun", "by", "night"]
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(dict(zip(names, range(9), strict=True)), unk_token="<unk>"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.post_processor = tokenizers.processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)
    return folder


# -- the numbers -------------------------------------------------------------------------------------------------------


def test_there_are_two_hundred_different_prompts():
    assert len(set(PROMPTS)) == len(PROMPTS) >= 200


@pytest.mark.parametrize("text", HARD)
def test_hard_strings_give_the_numbers_of_open_clip(ours, text):
    assert ours([text]).ids.tolist() == open_clip.tokenize([text]).tolist()


def test_prompts_give_the_numbers_of_open_clip_in_their_order(ours):
    read = ours(PROMPTS)
    assert (read.ids.dtype, read.ids.shape) == (np.int64, (len(PROMPTS), CONTEXT))
    assert np.array_equal(read.ids, open_clip.tokenize(list(PROMPTS)).numpy())


def test_two_texts_worked_out_by_hand(ours):
    rows = ours(["a", "!"]).ids  # CLIP's letters: a</w> is 256 + 64, !</w> is 256
    assert rows[:, :4].tolist() == [[49406, 320, 49407, 0], [49406, 256, 49407, 0]]
    assert not rows[:, 3:].any()


@pytest.mark.parametrize("clean", ["lower", "whitespace", "canonicalize"])
def test_every_cleaning_does_what_open_clip_does(clean):
    theirs = open_clip.SimpleTokenizer(clean=clean).clean_fn
    for text in (*PROMPTS, *HARD):
        assert CLEANINGS[clean](text) == theirs(text)


def test_text_that_was_decoded_wrongly_is_the_one_difference(ours):
    assert ours(["sch\u00f6n"]).ids.tolist() == open_clip.tokenize(["sch\u00c3\u00b6n"]).tolist()
    assert ours(["sch\u00c3\u00b6n"]).ids.tolist() != open_clip.tokenize(["sch\u00c3\u00b6n"]).tolist()


# -- long and empty texts ----------------------------------------------------------------------------------------------


def test_a_long_text_is_cut_and_keeps_its_closing_token(ours):
    texts = ["one", "ship " * 75, "ship " * 76, "ship " * 200]
    read = ours(texts)
    assert read.cut == ((2, 78), (3, 202))
    assert (read.ids[1:, -1] == 49407).all()
    assert np.array_equal(read.ids, open_clip.tokenize(texts).numpy())
    assert ours(["one"]).cut == ()


def test_the_notice_of_a_cut_names_text_numbers_and_model():
    assert cut_notice("ship " * 80, 82, 77, "clip") == (
        "the text 'ship ship ship ship ship ship ship ship...' has 82 tokens, clip reads 77; the rest was left out"
    )


@pytest.mark.parametrize("text", ["", "  \n\t", "\ufeff", "&nbsp;"])
def test_an_empty_text_is_refused(ours, text):
    with pytest.raises(QueryError, match="is empty, so it describes nothing; write a few words"):
        ours(["a ship", text])


# -- tokenizers of transformers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("clean", "word"), [("whitespace", "whitespace"), ("canonicalize", "canonicalize")])
def test_a_tokenizer_of_transformers_is_written_too(words, tmp_path, clean, word):
    theirs = HFTokenizer(str(words), context_length=8, clean=clean)
    rule = write_tokenizer(theirs, 8, tmp_path, "words")
    assert (rule.pad_id, rule.text_cleaning) == (3, word)
    read = Tokenizer(tmp_path / "tokenizer.json", 8, rule.pad_id, rule.text_cleaning)(["A red Sun!", "a " * 20])
    assert read.ids.tolist() == theirs(["A red Sun!", "a " * 20]).tolist()
    assert (read.ids[0, -1], read.ids[1, -1], read.cut) == (3, 1, ((1, 21),))


def test_what_cannot_be_written_is_refused(words, tmp_path):
    class Odd(open_clip.SimpleTokenizer):
        def encode(self, text):
            return super().encode(text)[::-1]

    stripped = HFTokenizer(str(words), context_length=8)
    stripped.strip_sep_token = True
    other = open_clip.SimpleTokenizer()
    other.clean_fn = str.upper
    for theirs, said in (
        (
            Odd(context_length=8),
            r"tokenizer\.json reads '.*' otherwise than the tokenizer of x does, and \d+ texts more",
        ),
        (stripped, "rearranges its tokens in open_clip"),
        (other, r"cleans a text in a way that is not known here \(there are lower, whitespace, canonicalize\)"),
    ):
        with pytest.raises(TrainingError, match=said):
            write_tokenizer(theirs, 8, tmp_path, "x")


# -- the file ----------------------------------------------------------------------------------------------------------


def test_a_file_that_is_no_tokenizer_is_named(tmp_path):
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": 1}))
    with pytest.raises(EncoderError, match=r"tokenizer\.json is no tokenizer \(.*\); export the encoder again"):
        Tokenizer(tmp_path / "tokenizer.json", 77, 0)


def test_reading_texts_imports_neither_torch_nor_transformers(folder):
    code = f"""
import sys
from pathlib import Path
from simsearch.encoders.tokenizer import Tokenizer
print(Tokenizer(Path({str(folder)!r}) / "tokenizer.json", 77, 0)(["a ship"]).ids[0, :4].tolist())
heavy = ("torch", "transformers", "ftfy", "open_clip", "huggingface_hub", "onnxruntime")
print([name for name in heavy if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[49406, 320, 1158, 49407]", "[]"]
