"""A folder of images as a source: its name, its place, and what tables and lists say of it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from simsearch.catalog.catalog import is_text
from simsearch.errors import SourceError
from simsearch.indexer.scan import Scan
from simsearch.indexer.sources.labels import Labels
from simsearch.indexer.sources.table import Description, read_table


@dataclass(frozen=True, slots=True)
class FolderSource:
    """A folder whose images are indexed, or a subfolder of one that is indexed already."""

    name: str
    location: str
    """Relative to the collection's parent folder where it lies below it, so that both can move together."""
    root: Path
    below: str = ""
    """Subfolder of the root, with forward slashes, that this run is about; empty for all of it."""


def folder_source(folder: Path, base: Path, known: list[tuple[int, str, Path]]) -> FolderSource:
    """The source of a folder. A subfolder of a known source belongs to it, so that no work is taken twice.

    Raises SourceError where a new folder is not there; a known one may be unreachable for a while.
    """
    folder = Path(os.path.abspath(folder))  # noqa: PTH100  a linked folder keeps the name that the user gave it
    for _, name, root in known:
        if folder.is_relative_to(root) or folder.resolve().is_relative_to(root.resolve()):
            inner = (
                folder.relative_to(root)
                if folder.is_relative_to(root)
                else folder.resolve().relative_to(root.resolve())
            )
            below = "" if inner == Path() else inner.as_posix()
            return FolderSource(name, name.removeprefix("folder:"), root, below)
    check_folder(folder)
    location = folder.relative_to(base).as_posix() if folder.is_relative_to(base) else folder.as_posix()
    if not is_text(location):
        raise SourceError(f"{folder} has a name that is not UTF-8; rename it, or index a link to it")
    return FolderSource(f"folder:{location}", location, folder)


def check_folder(folder: Path) -> None:
    """Raises SourceError for what is no folder."""
    if not folder.exists():
        raise SourceError(f"there is no folder {folder}; check its name, or whether its disk is mounted")
    if not folder.is_dir():
        raise SourceError(f"{folder} is not a folder; name the folder that holds the image")


class Descriptions:
    """What the tables and lists of a folder say of its images; read when first asked.

    A table beside the images goes before any list of labels, column by column, and a table nearer to an image before
    one further up: whoever puts a table there knows the images best.
    """

    def __init__(self, scanned: Scan, labels: Labels) -> None:
        self._scan, self._labels = scanned, labels
        self._rows: dict[str, Description] | None = None
        self.notes: list[str] = []
        """Sentences about rows that were left aside."""
        self.absent = 0
        """Rows that name images which are not there."""

    @property
    def remarks(self) -> list[str]:
        """Sentences about what was decided where a list left it open."""
        return self._labels.told.remarks

    @property
    def lost(self) -> str:
        """A sentence about labels that cannot be reached this time; empty where they can."""
        return self._labels.lost

    @property
    def stamp(self) -> str:
        """Changes when a table or a list does, or when other labels are named; empty where there is neither."""
        labels = self._labels.stamp
        both = f"{self._scan.table_stamp} {labels}".encode()
        return hashlib.sha256(both).hexdigest() if labels else self._scan.table_stamp

    def of(self, source_id: str) -> Description | None:
        """What is said of the image at a path below the root, or None."""
        return self.rows().get(source_id)

    def rows(self, unseen: Iterable[str] = ()) -> dict[str, Description]:
        """All that is said, by path below the root; by lists, only of images that the walk saw, or that are `unseen`.

        Raises SourceError for a table or a list that cannot be read.
        """
        if self._rows is None:
            tables = self._read_tables()
            self._rows = self._labels.read({**self._scan.files, **dict.fromkeys(unseen)})
            for path, said in tables.items():
                self._rows[path] = self._rows[path] | said if path in self._rows else said
            self.notes += self._labels.told.notes
            self.absent = self._labels.told.absent + sum(path not in self._scan.files for path in tables)
        return self._rows

    def _read_tables(self) -> dict[str, Description]:
        rows: dict[str, Description] = {}
        for table in self._scan.tables:
            prefix = table.rpartition("/")[0]
            for path, said in read_table(self._scan.root / table, self.notes):
                key = f"{prefix}/{path}" if prefix else path
                rows[key] = rows[key] | said if key in rows else said
        return rows
