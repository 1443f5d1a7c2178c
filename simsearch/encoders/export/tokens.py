"""The tokenizer of an open_clip model as `tokenizer.json`, once both were seen to give the same numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from simsearch.encoders.export.prompts import HARD, PROMPTS
from simsearch.encoders.tokenizer import CLEANINGS, TOKENIZER, Tokenizer
from simsearch.errors import TrainingError

WORDS = r"(?i)'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
"""What CLIP looks at apart: contractions, runs of letters, single digits, runs of anything else but spaces."""


@dataclass(frozen=True, slots=True)
class TextRule:
    """What a card says of the texts that its text tower takes."""

    context_length: int
    pad_id: int
    text_cleaning: str


def write_tokenizer(tokenizer: Any, context_length: int, folder: Path, who: str) -> TextRule:
    """Writes `tokenizer.json` of open_clip's `tokenizer` into the folder, and gives what the card has to say.

    CLIP's own byte pairs are written down anew; a tokenizer of the transformers package brings its file along. Raises
    TrainingError where the tokenizer is of neither kind, or where the file gives other numbers than it.
    """
    cleaning = _cleaning(tokenizer, who)
    if hasattr(tokenizer, "bpe_ranks"):
        made, pad_id = _byte_pairs(tokenizer), 0
    else:
        made, pad_id = _of_transformers(tokenizer, who)
    rule = TextRule(context_length, pad_id, cleaning)
    made.save(str(folder / TOKENIZER), pretty=False)
    _compare(tokenizer, Tokenizer(folder / TOKENIZER, context_length, pad_id, cleaning), who)
    return rule


def _byte_pairs(tokenizer: Any) -> Any:
    """CLIP's tokenizer. Its merges are of bytes written as letters, and a word's last letter carries `</w>`."""
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers, processors

    merges = sorted(tokenizer.bpe_ranks, key=tokenizer.bpe_ranks.__getitem__)
    model = models.BPE(
        vocab=dict(tokenizer.encoder), merges=merges, continuing_subword_prefix="", end_of_word_suffix="</w>"
    )
    made = tokenizers.Tokenizer(model)
    names = {number: name for name, number in tokenizer.encoder.items()}
    marks = [names[number] for number in tokenizer.all_special_ids]
    made.add_special_tokens([tokenizers.AddedToken(mark, normalized=False, special=True) for mark in marks])
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(tokenizers.Regex(WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    begin, end = names[tokenizer.sot_token_id], names[tokenizer.eot_token_id]
    made.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A {end}", special_tokens=[(begin, tokenizer.sot_token_id), (end, tokenizer.eot_token_id)]
    )
    made.decoder = decoders.ByteLevel()
    return made


def _of_transformers(tokenizer: Any, who: str) -> tuple[Any, int]:
    """(tokenizer, number to pad with) of the transformers package."""
    import tokenizers

    inner = getattr(tokenizer, "tokenizer", None)
    backend = getattr(inner, "backend_tokenizer", None)
    if inner is None or backend is None:
        raise TrainingError(
            f"the tokenizer of {who} ({type(inner or tokenizer).__name__}) has no form that runs without transformers; "
            "search with the torch encoder itself"
        )
    if getattr(tokenizer, "strip_sep_token", False) or getattr(tokenizer, "tokenizer_mode", ""):
        raise TrainingError(
            f"the tokenizer of {who} rearranges its tokens in open_clip, which {TOKENIZER} cannot say; "
            "search with the torch encoder itself"
        )
    return tokenizers.Tokenizer.from_str(backend.to_str()), int(inner.pad_token_id or 0)


def _cleaning(tokenizer: Any, who: str) -> str:
    """The word for how the tokenizer cleans a text, found by what it does: it keeps a function, not the word."""
    clean: Callable[[str], str] | None = getattr(tokenizer, "clean_fn", None)
    sample = "  A_red  Sun,\n(of 1872)  by \u201cMonet\u201d "
    if clean is not None:
        for word, ours in CLEANINGS.items():
            if ours(sample) == clean(sample):
                return word
    raise TrainingError(
        f"the tokenizer of {who} cleans a text in a way that is not known here (there are {', '.join(CLEANINGS)}); "
        "search with the torch encoder itself"
    )


def _compare(theirs: Callable[[Sequence[str]], Any], ours: Tokenizer, who: str) -> None:
    texts = [*PROMPTS, *HARD]
    found, wanted = ours(texts).ids, np.asarray(theirs(texts))
    if found.shape != wanted.shape:
        raise TrainingError(f"the tokenizer of {who} gives {wanted.shape[1]} numbers a text, {found.shape[1]} expected")
    differ = np.flatnonzero((found != wanted).any(axis=1))
    if len(differ):
        raise TrainingError(
            f"{TOKENIZER} reads {texts[differ[0]]!r} otherwise than the tokenizer of {who} does, and {len(differ) - 1} "
            "texts more; search with the torch encoder itself"
        )
