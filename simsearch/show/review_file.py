"""The CSV of a review: findings written for a person to fill in with whatever spreadsheet, and read again.

A cell that a spreadsheet would take for a formula gets an apostrophe in front, which reading takes away again, so that
opening a review runs nothing and no letter of a label is lost.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from simsearch.errors import SourceError
from simsearch.figures import REVIEW_COLUMNS, Finding

NEEDED = ("id", "source", "source_id", "kind", "value", "suggestion", "accept", "correction")
"""Columns without which a review cannot be applied; the others are for its reader."""
YES = frozenset({"yes", "y", "true", "x", "1"})
NO = frozenset({"", "no", "n", "false", "0"})
FORMULA = re.compile(r"'*[=+\-@\t\r]")
FIELD_LIMIT = 1 << 20


@dataclass(frozen=True, slots=True)
class ReviewRow:
    """One line of a review, as a person left it; texts without the spaces around them."""

    line: int
    """Line of the file, from 1, at which it ends."""
    id: str
    source: str
    source_id: str
    kind: str
    value: str
    suggestion: str
    accept: str
    correction: str

    @property
    def wanted(self) -> str | None:
        """The label that the work shall get: the correction, or else the accepted suggestion, or None for neither."""
        if self.correction:
            return self.correction
        return self.suggestion or None if self.accept.casefold() in YES else None

    @property
    def doubt(self) -> str | None:
        """What stands in the way of understanding the line, as the rest of a sentence; None where nothing does."""
        if self.correction or self.accept.casefold() in NO:
            return None
        if self.accept.casefold() not in YES:
            return f"accept is {self.accept!r}, which is neither yes nor no"
        return None if self.suggestion else "there is no suggestion to accept; write the right label under correction"


def review_text(findings: Iterable[Finding]) -> str:
    """The findings as CSV: a header, then one line each, ``accept`` and ``correction`` empty. Lines end in CR LF."""
    return "".join(f"{line}\r\n" for line in (csv_line(REVIEW_COLUMNS), *map(review_line, findings)))


def review_line(finding: Finding) -> str:
    """A finding's line, without its end."""
    row = finding.to_row()
    return csv_line([row[name] for name in REVIEW_COLUMNS])


def csv_line(cells: Sequence[str]) -> str:
    """Cells as a line of CSV without its end, none of them a formula; what UTF-8 cannot hold is a question mark."""
    out = io.StringIO()
    # with this end, and with no other, Python's csv quotes both kinds of line break
    csv.writer(out, lineterminator="\r\n").writerow([guarded(cell) for cell in cells])
    return out.getvalue().removesuffix("\r\n").encode("utf-8", "replace").decode()


def write_review(findings: Iterable[Finding], path: Path) -> None:
    """Writes :func:`review_text` as UTF-8 with the mark by which Excel knows it. Raises OSError."""
    path.write_bytes(review_text(findings).encode("utf-8-sig"))


def read_review(path: Path) -> list[ReviewRow]:
    """The lines of a review, in order; separated by commas, semicolons or tabs, as spreadsheets save it.

    Raises SourceError for a file that is empty, not UTF-8, or without one of the columns :data:`NEEDED`.
    """
    csv.field_size_limit(FIELD_LIMIT)
    text = _text(path)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text))
    try:
        head = [name.strip().casefold() for name in next(reader)]
        missing = [name for name in NEEDED if name not in head]
        if missing:
            raise SourceError(
                f"{path} has no column {missing[0]!r}; it has {', '.join(filter(None, head)) or 'no columns'}. "
                "Apply the CSV that `simsearch audit --csv` wrote, with its first line as it was"
            )
        place = {name: head.index(name) for name in NEEDED}
        return [_row(cells, place, reader.line_num) for cells in reader if any(map(str.strip, cells))]
    except csv.Error as error:
        raise SourceError(f"{path} is no table of comma-separated values: {error}") from error


def guarded(text: str) -> str:
    """`text` with an apostrophe before what a spreadsheet would take for a formula; :func:`unguarded` undoes it."""
    return "'" + text if FORMULA.match(text) else text


def unguarded(text: str) -> str:
    """The text that :func:`guarded` was given."""
    return text[1:] if text.startswith("'") and FORMULA.match(text) else text


def _row(cells: Sequence[str], place: dict[str, int], line: int) -> ReviewRow:
    said = {name: cells[i] if i < len(cells) else "" for name, i in place.items()}
    exact = ("source", "source_id")  # a file's name may begin or end with a space
    return ReviewRow(
        line,
        **{name: unguarded(text) if name in exact else unguarded(text.strip()).strip() for name, text in said.items()},
    )


def _text(path: Path) -> str:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise SourceError(
            f"{path} is not UTF-8 (byte {error.start}: {error.reason}); save it as `CSV UTF-8`, or convert it, for "
            "instance with `iconv -f CP1252 -t UTF-8`"
        ) from error
    if not text.strip():
        raise SourceError(f"{path} is empty; apply the CSV that `simsearch audit --csv` wrote")
    return text


def _delimiter(text: str) -> str:
    """The separator that the first line has the most of."""
    head = text.lstrip().splitlines()[0]
    return max(",;\t", key=head.count)
