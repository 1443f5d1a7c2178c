"""What sources of labels share: reading lists and class files, readable names, and the images that a list means."""

from __future__ import annotations

import csv
import gzip
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

from simsearch.errors import SourceError
from simsearch.images import SUFFIXES
from simsearch.indexer.sources.table import Description, inside, left_aside, reading

TRAIN, HELD_OUT = "train", "val"
"""How the two parts of an official split are stored, whatever a list calls the second."""
PARTS = {TRAIN: TRAIN, "training": TRAIN, HELD_OUT: HELD_OUT, "valid": HELD_OUT, "validation": HELD_OUT,
         "test": "test", "testing": "test"}  # fmt: skip
NUMBERED = re.compile(r"([0-9]{1,9})\s+(\S.*)")


@dataclass(slots=True)
class Told:
    """What reading labels had to tell besides the labels."""

    notes: list[str] = field(default_factory=list)
    """Sentences about what was left aside."""
    remarks: list[str] = field(default_factory=list)
    """Sentences about what was decided where a list left it open."""
    absent: int = 0
    """Listed images that are not in the folder."""


class LabelSource(Protocol):
    """Something that says what the images of a folder are, in the words of a table: path to column to text.

    The official part of a task stands in the column ``<kind>_split``, as `TRAIN` or `HELD_OUT`.
    """

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that are read, so that a change of them is noticed."""

    def read(self, root: Path, paths: Iterable[str], told: Told) -> dict[str, Description]:
        """What is said of those of these paths below `root` that are listed. Raises SourceError for a bad list."""


class Images:
    """The images of a folder, found by what a list calls them: a path, or its last parts, under any image suffix."""

    def __init__(self, paths: Iterable[str], parts: int = 0) -> None:
        """With `parts` only so many parts of a path count, from its end; 0 is all of it."""
        self._parts = parts
        self._by_key: dict[str, list[str]] = defaultdict(list)
        for path in paths:
            self._by_key[self._key(path)].append(path)

    def find(self, listed: str) -> list[str]:
        """The images of that very name where there are any, else those that differ by their suffix alone."""
        found = self._by_key.get(self._key(listed), [])
        return [path for path in found if path == listed or path.endswith(f"/{listed}")] or found

    def _key(self, path: str) -> str:
        key = without_suffix(path)
        if self._parts:
            key = "/".join(key.rsplit("/", self._parts)[-self._parts :])
        return key if key.isascii() else unicodedata.normalize("NFC", key)


def counted(number: int, one: str) -> str:
    """A number with what is counted: 1 image, 2 images."""
    return f"{number:,} {one}{'' if number == 1 else 's'}"


def without_suffix(path: str) -> str:
    """A path without the suffix of an image file; other dots belong to the name."""
    stem, dot, suffix = path.rpartition(".")
    return stem if dot and f".{suffix.lower()}" in SUFFIXES else path


def names_none(named: str, root: Path, listed: str, paths: Iterable[str]) -> str:
    """The sentence about a list that names no image of the folder, with one example of each side."""
    return (
        f"none of the images in {root} is listed in {named}: a listed path is {listed!r}, the folder has "
        f"{min(paths, default='none')!r}; index the folder that listed paths start from"
    )


# -- lists -------------------------------------------------------------------------------------------------------------


@contextmanager
def open_text(path: Path) -> Iterator[IO[str]]:
    """A UTF-8 text file, unpacked where it is called .gz. Raises SourceError for what cannot be read."""
    with reading(path):
        if path.suffix == ".gz":
            with gzip.open(path, "rt", encoding="utf-8-sig", newline="") as file:
                yield file
        else:
            with path.open(encoding="utf-8-sig", newline="") as file:
                yield file


def read_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line, cells without blanks around them) of each row that is not empty. Raises SourceError for an empty list."""
    any_row = False
    with open_text(path) as file:
        rows = csv.reader(file)
        for row in rows:
            if any(map(str.strip, row)):
                any_row = True
                yield rows.line_num, [cell.strip() for cell in row]
    if not any_row:
        raise SourceError(f"{path} is an empty list; fetch it again, or leave it out")


def listed_path(said: str, file: Path, line: int, told: Told) -> str | None:
    """A listed path with forward slashes, or None and a note where it is absolute, empty or climbs out."""
    plain = said.isascii() and "/" not in said[:1] and not any(odd in said for odd in ("\\", "./", "//", ":", "~"))
    path = said if plain and said else inside(said)  # a list may have 80,000 of them
    if path is None:
        told.notes.append(left_aside(file, line, said, "the folder of the images"))
    return path


def stored_parts(words: Iterable[str]) -> dict[str, str]:
    """How the parts of a split that are called so are stored; words that mean no part are left out.

    A test part is the held-out one, unless there is one for validation beside it.
    """
    known = {word: PARTS[word.lower()] for word in words if word.lower() in PARTS}
    three = HELD_OUT in known.values()
    return {word: HELD_OUT if part == "test" and not three else part for word, part in known.items()}


# -- classes -----------------------------------------------------------------------------------------------------------


def read_classes(path: Path) -> dict[int, str]:
    """Index to readable name, of lines ``0 Some_Name``, or of one name a line, numbered from 0.

    Raises SourceError for a number that is skipped, and for a number or a name that comes twice.
    """
    with open_text(path) as file:
        lines = [(at, line.strip()) for at, line in enumerate(file.read().splitlines(), 1) if line.strip()]
    if not lines:
        raise SourceError(f"{path} is empty; a class file has a line for each class, such as '0 Baroque'")
    numbered = [NUMBERED.fullmatch(line) for _, line in lines]
    if numbered[0] is not None and not all(numbered):
        at, line = lines[numbered.index(None)]
        raise SourceError(f"{path} line {at}: {line!r} has no number, but the lines before it have one; number it")
    pairs = [(int(m[1]), m[2]) if all(numbered) and m else (n, lines[n][1]) for n, m in enumerate(numbered)]
    classes: dict[int, str] = {}
    names: set[str] = set()
    for (at, _), (index, name) in zip(lines, pairs, strict=True):
        if index in classes:
            raise SourceError(f"{path} line {at} gives the number {index} a second time; number each class once")
        if readable(name) in names:
            raise SourceError(f"{path} line {at} names {readable(name)!r} a second time; name each class once")
        classes[index] = readable(name)
        names.add(classes[index])
    if (skipped := next((n for n in range(len(classes)) if n not in classes), None)) is not None:
        raise SourceError(
            f"{path} gives no class the number {skipped}; its {len(classes)} classes are to be numbered from 0 to "
            f"{len(classes) - 1}"
        )
    return classes


def class_of(text: str, classes: Mapping[int, str], path: Path, line: int, classes_in: str) -> int:
    """The index that a list gives in a line. Raises SourceError for what is no index, or none of `classes`.

    Without classes, which is where nothing names them yet, any index will do.
    """
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise SourceError(f"{path} line {line}: {text!r} is no class index; a list has lines 'image path,class index'")
    if classes and int(text) not in classes:
        raise SourceError(
            f"{path} line {line}: class index {int(text)} is out of range; {classes_in} has {len(classes)} classes, "
            f"0 to {len(classes) - 1}"
        )
    return int(text)


# -- names -------------------------------------------------------------------------------------------------------------

MISREAD = re.compile("[Â-Åâ-å][\x80-\xbf]")
MISREAD_ONLY = re.compile(f"(?:[\x00-\x7f]|{MISREAD.pattern})*")


def readable(name: str) -> str:
    """A class's or folder's name with spaces for its underscores."""
    return " ".join(name.replace("_", " ").split())


def repaired(text: str) -> str:
    """Text whose UTF-8 was read as Latin-1, and perhaps lowercased then, put right; any other text as it is.

    ``grã©goire`` is ``grégoire``: the byte C3 became an A with tilde. Only where every letter beyond ASCII is part of
    such a pair, so that no name that is right already is touched.
    """
    if text.isascii() or not MISREAD_ONLY.fullmatch(text):
        return text
    return MISREAD.sub(lambda pair: (pair[0][0].upper() + pair[0][1]).encode("latin-1").decode(), text)


def person(slug: str) -> str:
    """The name in a part of a file's name: ``edgar-degas`` and ``EDGAR_DEGAS`` are Edgar Degas."""
    return " ".join(repaired(slug).replace("_", " ").split()).title()
