"""`artworks.csv`, the table beside the images: comma-separated, UTF-8, a column `path` and any of the catalog's."""

from __future__ import annotations

import csv
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from simsearch.errors import SourceError
from simsearch.records import LABEL_COLUMNS, METADATA, Artwork, Label

Description = dict[str, str]
"""Column name to text, of the columns that are filled."""
LABELS = (*LABEL_COLUMNS, "kind")
"""Columns that say what a work is, and that `classify` can vote on."""
YEARS = ("begin_year", "end_year")
OWN = frozenset({"path", "id", "source", "source_id", "width", "height"})
"""Columns that the catalog fills itself; a table's own such columns are kept under another name."""
FIELD_LIMIT = 1 << 20


def read_table(path: Path, notes: list[str]) -> Iterator[tuple[str, Description]]:
    """(path below the table's folder, description) of each row that names an image inside that folder.

    Sentences about rows left aside are added to `notes`. Raises SourceError for a wrong encoding or a missing column.
    """
    with reading(path), path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, restkey="")
        columns = [name.strip() for name in reader.fieldnames or []]
        if "path" not in columns:
            raise SourceError(
                f"{path} has no column 'path'; it has {', '.join(columns) or 'no columns'}. Name the images in it, "
                "relative to the table's folder"
            )
        reader.fieldnames = columns
        for row in reader:
            name = inside(row.get("path") or "")
            if name is None:
                notes.append(left_aside(path, reader.line_num, row.get("path"), "the folder of the table"))
            else:
                yield name, _description(row)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns what goes wrong while a table is read into a SourceError that names the file and the way out."""
    csv.field_size_limit(FIELD_LIMIT)
    try:
        yield
    except UnicodeDecodeError as error:
        raise SourceError(
            f"{path} is not UTF-8 (byte {error.start}: {error.reason}); save it as UTF-8, for instance with "
            "`iconv -f CP1252 -t UTF-8`"
        ) from error
    except csv.Error as error:
        raise SourceError(f"{path} is no table of comma-separated values: {error}") from error
    except (EOFError, zlib.error) as error:
        raise SourceError(f"{path} is no whole gzip file ({error}); fetch it again, or unpack it") from error
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror or error}") from error


def left_aside(table: Path, line: int, said: str | None, folder: str) -> str:
    """The sentence about a row whose path leads out of the folder."""
    return f"{table.name} line {line}: path {said!r} leaves {folder}; the row was left aside"


def describe(source: str, source_id: str, said: Description) -> tuple[Artwork, list[str]]:
    """(an artwork with what a table says of it, sentences about values that do not fit their column)."""
    notes: list[str] = []
    values: dict[str, Any] = {name: said[name] for name in METADATA if name in said}
    for name in YEARS:
        if name in values and (year := _year(values[name])) is not None:
            values[name] = year
        elif name in values:
            notes.append(f"{source_id}: {name} {values.pop(name)!r} is not a year; left empty")
    labels = tuple(Label(kind, said[kind]) for kind in LABELS if kind in said)
    extra = {name: text for name, text in said.items() if name not in METADATA and name not in LABELS}
    return Artwork(source, source_id, labels=labels, extra=extra, **values), notes


def _description(row: dict[str, Any]) -> Description:
    out = {}
    for name, text in row.items():
        if name and isinstance(text, str) and text.strip() and name != "path":
            key = name.replace('"', "")
            out[f"{key} in table" if key in OWN else key] = text.strip()
    return out


def inside(path: str) -> str | None:
    """The path with forward slashes, or None where it is absolute, empty or climbs out of the folder."""
    parts = PurePosixPath(path.strip().replace("\\", "/"))
    if not path.strip() or parts.is_absolute() or ".." in parts.parts or "\0" in path or parts.parts[:1] == ("~",):
        return None
    return None if ":" in (parts.parts or ("",))[0][:2] else str(parts)


def _year(text: str) -> int | None:
    """The year that a cell gives: an optional sign and up to five digits."""
    cleaned = text.strip().removesuffix(".0")
    digits = cleaned.removeprefix("-")
    return int(cleaned) if digits.isascii() and digits.isdigit() and len(digits) <= 5 else None
