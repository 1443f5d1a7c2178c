"""From texts to the numbers that a text tower reads, without torch: `tokenizer.json` of a model folder.

The file is in the format of the `tokenizers` package and says how a cleaned text falls into tokens. The cleaning before
it is done here, in one of the ways that open_clip knows (:data:`CLEANINGS`), because it is Python's own idea of
lower case and of spaces that counts.

open_clip also guesses what a text was before it was decoded wrongly (the ftfy package, "schÃ¶n" for "schön"). That
guess is not made here. All else that ftfy mends is: HTML entities, curly quotes, ligatures, full-width letters,
invisible control characters, halves of surrogate pairs, and the composed form of accents (NFC).
"""

from __future__ import annotations

import html
import re
import string
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from simsearch.errors import EncoderError, QueryError

Tokens = npt.NDArray[np.int64]
TOKENIZER = "tokenizer.json"
SHOWN = 40
"""Characters of a text that a message quotes."""
ENTITY = re.compile(r"&#?[0-9A-Za-z]{1,24};")
TERMINAL = re.compile(r"\x1b\[[0-9;]*[a-zA-Z]")


@dataclass(frozen=True, slots=True)
class Tokenized:
    """What a text tower reads, and which texts did not fit into it."""

    ids: Tokens
    """(n, context_length) int64, padded at the end."""
    cut: tuple[tuple[int, int], ...]
    """(place of the text, tokens it has), of every text that has more than `context_length`."""


class Tokenizer:
    """The tokenizer of a model folder."""

    def __init__(self, path: Path, context_length: int, pad_id: int, cleaning: str = "lower") -> None:
        """Reads the file; `cleaning` is one of :data:`CLEANINGS`. Raises EncoderError where it is no tokenizer."""
        try:
            import tokenizers  # compiled, and only a query in words needs it
        except ImportError as error:
            raise EncoderError(
                f"{path} cannot be read without the package tokenizers; run `pip install tokenizers`"
            ) from error

        try:
            self._tokenizer: Any = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the package knows one class only
            said = (str(error).splitlines() or [type(error).__name__])[0]
            raise EncoderError(f"{path} is no tokenizer ({said}); export the encoder again") from error
        self.context_length, self.pad_id = context_length, pad_id
        self._clean = CLEANINGS[cleaning]
        self._tokenizer.no_padding()

    def __call__(self, texts: Sequence[str]) -> Tokenized:
        """The numbers of each text, in order. What is too long is cut so that the closing token stays.

        Raises QueryError for a text of which nothing is left once it was cleaned.
        """
        cleaned = [self._clean(text) for text in texts]
        for text, left in zip(texts, cleaned, strict=True):
            if not left:
                raise QueryError(f"the text {text[:SHOWN]!r} is empty, so it describes nothing; write a few words")
        self._tokenizer.no_truncation()
        found = [encoding.ids for encoding in self._tokenizer.encode_batch(cleaned)]
        cut = tuple((place, len(ids)) for place, ids in enumerate(found) if len(ids) > self.context_length)
        if cut:
            self._tokenizer.enable_truncation(self.context_length)
            for place, _ in cut:
                found[place] = self._tokenizer.encode(cleaned[place]).ids
        rows = np.full((len(texts), self.context_length), self.pad_id, np.int64)
        for row, ids in zip(rows, found, strict=True):
            row[: len(ids)] = ids
        return Tokenized(rows, cut)


def cut_notice(text: str, tokens: int, context_length: int, who: str) -> str:
    """The sentence for a text that was cut."""
    shown = text if len(text) <= SHOWN else text[:SHOWN].rstrip() + "..."
    return f"the text {shown!r} has {tokens} tokens, {who} reads {context_length}; the rest was left out"


# -- cleaning ----------------------------------------------------------------------------------------------------------


def _lower(text: str) -> str:
    return _spaced(_mended(text)).lower()


def _canonicalize(text: str) -> str:
    """Lower case without punctuation, which is how SigLIP's captions were written."""
    return _spaced(_mended(text).replace("_", " ").translate(_PUNCTUATION).lower())


CLEANINGS: dict[str, Callable[[str], str]] = {
    "lower": _lower,
    "whitespace": lambda text: _spaced(_mended(text)),
    "canonicalize": _canonicalize,
}
"""By the words that open_clip has for them."""


def _spaced(text: str) -> str:
    return " ".join(text.split())


def _mended(text: str) -> str:
    # a line at a time: a "<" keeps the entities of its line only
    mended = "".join(_mended_line(line) for line in re.split(r"(?<=\n)", text))
    return html.unescape(html.unescape(mended)).strip()


def _mended_line(line: str) -> str:
    entities = "<" not in line
    while True:
        before = line
        if entities:
            line = ENTITY.sub(_character, line)
        line = line.translate(_LIGATURES).translate(_WIDTHS).translate(_QUOTES)
        line = line.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        line = TERMINAL.sub("", line).translate(_CONTROLS)
        line = unicodedata.normalize("NFC", line)
        if line == before:  # what was mended may be the half of something else: &amp;eacute;
            return line


def _character(entity: re.Match[str]) -> str:
    """What an entity stands for, also in capitals: &EACUTE; is É."""
    given = entity[0]
    for text in (given, *((given.lower(),) if given.isupper() else ())):
        found = html.unescape(text)
        if ";" not in found and found != text:
            return found if text == given else found.upper()
    return given


_LETTER_PAIRS = (
    "Ĳ=IJ ĳ=ij ŉ=ʼn Ǳ=DZ ǲ=Dz ǳ=dz Ǆ=DŽ ǅ=Dž ǆ=dž Ǉ=LJ ǈ=Lj ǉ=lj Ǌ=NJ ǋ=Nj ǌ=nj ﬀ=ff ﬁ=fi ﬂ=fl ﬃ=ffi ﬄ=ffl ﬅ=ſt ﬆ=st"
)
_LIGATURES = str.maketrans(dict(pair.split("=") for pair in _LETTER_PAIRS.split()))
_WIDTHS = {0x3000: " "} | {code: unicodedata.normalize("NFKC", chr(code)) for code in range(0xFF01, 0xFFF0)}
_QUOTES = dict.fromkeys((0x2BC, *range(0x2018, 0x201C)), "'") | dict.fromkeys(range(0x201C, 0x2020), '"')
# all but tab, line feed, form feed and carriage return, which are spaces
_CONTROLS = dict.fromkeys(
    (*range(9), 0x0B, *range(0x0E, 0x20), 0x7F, *range(0x206A, 0x2070), 0xFEFF, *range(0xFFF9, 0xFFFD))
)
_PUNCTUATION = str.maketrans("", "", string.punctuation)
