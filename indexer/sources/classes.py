"""Labels of a kind that the user names: a folder a class, and lists of paths with labels or class indices.

- ``folders=kind``: the top folder of an image below the root is its label, by its readable name. Where all top folders
  are called like parts of a split (train, val, test), the folder below each is, and the top one gives the part.
- ``list.csv=kind``: a CSV with a column ``path`` or ``image_path``, and a column ``label`` or ``class_index``, or one
  called as the kind. A list without such a first line has two columns, path and label. Where a class file is given, all
  labels are indices. A column ``split`` gives the official part of each image. May be gzipped.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from simsearch.errors import SourceError
from simsearch.indexer.sources.lists import (
    Images,
    Told,
    class_of,
    counted,
    listed_path,
    names_none,
    read_classes,
    read_rows,
    readable,
    stored_parts,
    without_suffix,
)
from simsearch.indexer.sources.table import Description

PATHS, INDEX, SPLIT = ("path", "image_path"), "class_index", "split"


@dataclass(frozen=True, slots=True)
class Folders:
    """A folder a class."""

    kind: str

    @property
    def files(self) -> tuple[Path, ...]:
        """None: a class is read off the path of the image."""
        return ()

    def read(self, root: Path, paths: Iterable[str], told: Told) -> dict[str, Description]:
        """The label of each image that lies in a folder."""
        split = [path.split("/") for path in paths]
        tops = {folders[0] for folders in split if len(folders) > 1}
        parts = stored_parts(tops)
        depth = 1 if tops and len(parts) == len(tops) else 0
        out: dict[str, Description] = {}
        for folders in split:
            if len(folders) > 1 + depth:
                said = {self.kind: readable(folders[depth])}
                out["/".join(folders)] = said | ({f"{self.kind}_split": parts[folders[0]]} if depth else {})
        if split and not out:
            told.notes.append(f"no image of {root} lies in a folder that could name its {self.kind}")
        elif len(out) < len(split):
            none = counted(len(split) - len(out), "image")
            told.remarks.append(f"{none} of {root} not in a folder that names a {self.kind}")
        return out


@dataclass(frozen=True, slots=True)
class ClassList:
    """A list of paths with labels, or with class indices and the class file that names them."""

    kind: str
    file: Path
    class_file: Path | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """The list, and its class file."""
        return (self.file, self.class_file) if self.class_file else (self.file,)

    def read(self, root: Path, paths: Iterable[str], told: Told) -> dict[str, Description]:
        """The labels of the listed images.

        Listed paths start from the root or from the list's own folder; another image suffix does no harm. Raises
        SourceError for a list that says two things of an image.
        """
        paths = list(paths)
        images, place = Images(paths), _Place(self.file, root)
        listed: dict[str, _Row] = {}
        for row in self._rows(root, told):
            before = listed.setdefault(row.path, row)
            if (before.label, before.part) != (row.label, row.part):
                raise SourceError(
                    f"{self.file} line {row.line}: {row.path!r} has another {self.kind} or part than in line "
                    f"{before.line}; list each image once"
                )
        parts = stored_parts({row.part for row in listed.values()})
        out: dict[str, Description] = {}
        for path, row in listed.items():
            said = {self.kind: row.label, f"{self.kind}_split": parts.get(row.part, row.part)}
            at = next((found for name in place.names(path) if (found := images.find(name))), [])
            told.absent += not at
            for image in at:
                out[image] = {column: text for column, text in said.items() if text}
        if listed and not out:
            told.notes.append(names_none(str(self.file), root, next(iter(listed)), paths))
        return out

    def _rows(self, root: Path, told: Told) -> Iterator[_Row]:
        """Each row that has a label."""
        classes = read_classes(self.class_file) if self.class_file else {}
        rows = read_rows(self.file)
        line, first = next(rows)
        columns = _columns(self.file, first, self.kind, by_index=bool(classes))
        if columns is None:
            columns, rows = _Columns(0, 1, None), chain([(line, first)], rows)
        elif first[columns.label].lower() == INDEX and not classes:
            raise SourceError(f"{self.file} has class indices; name the file that says what they mean: --classes FILE")
        for line, cells in rows:
            if len(cells) <= max(columns.path, columns.label):
                said = ",".join(cells)
                raise SourceError(f"{self.file} line {line}: {said!r} has no {self.kind}; add it, or drop the line")
            path = listed_path(cells[columns.path].removeprefix(f"{root.as_posix()}/"), self.file, line, told)
            label = cells[columns.label]
            if path is not None and label:
                if classes:
                    label = classes[class_of(label, classes, self.file, line, str(self.class_file))]
                has_part = columns.part is not None and columns.part < len(cells)
                yield _Row(line, path, label, cells[columns.part or 0] if has_part else "")


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    path: str
    label: str
    part: str


@dataclass(frozen=True, slots=True)
class _Columns:
    """Where the cells of a row stand."""

    path: int
    label: int
    part: int | None


def _columns(file: Path, first: list[str], kind: str, by_index: bool) -> _Columns | None:
    """The columns by a list's first line, or None where that is a row already. Raises SourceError for a missing one."""
    names = [cell.lower() for cell in first]
    labels = (INDEX, kind, "label") if by_index else (kind, "label", INDEX)
    path = next((names.index(name) for name in PATHS if name in names), None)
    label = next((names.index(name) for name in labels if name in names), None)
    if path is not None and label is not None:
        return _Columns(path, label, names.index(SPLIT) if SPLIT in names else None)
    if path is None and label is None and len(first) == 2 and without_suffix(first[0]) != first[0]:
        return None
    missing = "'path' or 'image_path'" if path is None else f"'label', 'class_index' or {kind!r}"
    raise SourceError(f"{file} has no column {missing}; it has {', '.join(first)}. Name its columns in the first line")


class _Place:
    """Where a list lies, seen from the folder of the images."""

    def __init__(self, file: Path, root: Path) -> None:
        folder = Path(os.path.abspath(file)).parent  # noqa: PTH100  links keep their names, as in the walk
        inner, outer = folder.is_relative_to(root), root.is_relative_to(folder)
        self._add = f"{folder.relative_to(root).as_posix()}/" if inner and folder != root else ""
        self._drop = f"{root.relative_to(folder).as_posix()}/" if outer and folder != root else ""

    def names(self, listed: str) -> list[str]:
        """What a listed path may be below the folder of the images, the likeliest first."""
        names = [listed]
        if self._add:
            names.append(self._add + listed)
        if self._drop and listed.startswith(self._drop):
            names.append(listed.removeprefix(self._drop))
        return names
