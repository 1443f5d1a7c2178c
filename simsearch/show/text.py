"""Text that came from a museum's table or a file's name, made fit to be shown in a terminal."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

_MARKS = r"\u061c\u200e\u200f"
_OVERRIDES = r"\u202a-\u202e\u2066-\u2069"
_SURROGATES = r"\ud800-\udfff"

_BREAKS = re.compile(r"[\t-\r\x85\u2028\u2029]+")
_SILENT = re.compile(f"[{_MARKS}]")
_HARMFUL = re.compile(rf"[\x00-\x1f\x7f-\x9f{_OVERRIDES}{_SURROGATES}]")
_UNSAFE_IN_JSON = re.compile(rf"[\x7f-\x9f\u2028\u2029{_MARKS}{_OVERRIDES}{_SURROGATES}]")


def harmless(text: str) -> str:
    """`text` on one line that no terminal obeys and that always encodes as UTF-8.

    A run of tabs and line breaks (U+0009-000D, U+0085, U+2028, U+2029) becomes one space. The directional marks
    U+200E, U+200F and U+061C are left out. Every other control character (C0, DEL, C1), every directional embedding,
    override or isolate (U+202A-202E, U+2066-2069) and every lone surrogate becomes U+FFFD. All else stays as it is.
    """
    if text.isprintable():
        return text
    # Catalogues in Hebrew and Arabic are full of directional marks; shown as U+FFFD, sound titles would look damaged.
    text = _SILENT.sub("", _BREAKS.sub(" ", text))
    return _HARMFUL.sub(REPLACEMENT, text)


def json_line(value: Mapping[str, Any]) -> str:
    """One JSON object on one line, its titles legible, nothing in it that a terminal obeys; no line break at the end.

    What :func:`harmless` would change is written as ``\\uXXXX``, so that a reader of the JSON gets the text unchanged.
    Raises ValueError for NaN and infinities, which JSON does not have.
    """
    line = json.dumps(dict(value), ensure_ascii=False, allow_nan=False)
    if line.isprintable():
        return line
    return _UNSAFE_IN_JSON.sub(lambda found: f"\\u{ord(found.group()):04x}", line)
