"""Aligned columns for a terminal or a file.

Ours rather than rich's, which is a seventh of a whole query's time to import and does much more.
"""

from __future__ import annotations

import shutil
import unicodedata
from collections.abc import Sequence
from typing import IO

from simsearch.show.text import harmless

GAP = "  "
NARROWEST = 8
"""Columns of text are never cut below this many places."""
MARK = " (?)"
"""At the end of a text that is a guess; a cut leaves it standing, since without it the text would read as a fact."""
BOLD, PLAIN = "\x1b[1m", "\x1b[0m"


def table(
    head: Sequence[str], rows: Sequence[Sequence[str | None]], out: IO[str], right: frozenset[int] = frozenset()
) -> None:
    """One line a row under a head; `right` are the columns of numbers, which are never cut.

    On a terminal the head is bold and long texts end in an ellipsis, so that a row fits; elsewhere nothing is cut.
    """
    lines = [list(head), *([harmless(cell or "") for cell in row] for row in rows)]
    widths = [max(_width(line[i]) for line in lines) for i in range(len(head))]
    if out.isatty():
        widths = _fitted(widths, right, shutil.get_terminal_size().columns)
    for number, line in enumerate(lines):
        cells = [_cell(text, widths[i], i in right) for i, text in enumerate(line)]
        joined = GAP.join(cells).rstrip()
        out.write(f"{BOLD}{joined}{PLAIN}\n" if number == 0 and out.isatty() else f"{joined}\n")


def _fitted(widths: list[int], right: frozenset[int], room: int) -> list[int]:
    """The widths, the widest text column cut again and again until a row fits into `room` places."""
    out = list(widths)
    while sum(out) + len(GAP) * (len(out) - 1) > room:
        widest = max((i for i in range(len(out)) if i not in right), key=lambda i: out[i], default=None)
        if widest is None or out[widest] <= NARROWEST:
            break
        out[widest] -= 1
    return out


def _cell(text: str, width: int, right: bool) -> str:
    if _width(text) > width:
        end = f"…{MARK}" if text.endswith(MARK) else "…"
        while text and _width(text) > width - len(end):
            text = text[:-1]
        text += end
    space = " " * (width - _width(text))
    return space + text if right else text + space


def _width(text: str) -> int:
    """Places that a text takes on a terminal: wide East Asian letters two, combining marks none (Unicode, UAX #11)."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    none = sum(unicodedata.category(letter) in ("Mn", "Me", "Cf") for letter in text)
    return len(text) + wide - none
