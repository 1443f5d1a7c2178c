"""Walks a folder: which image files are there, and of what size and time."""

from __future__ import annotations

import hashlib
import marshal
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from stat import S_ISREG

from simsearch.catalog.catalog import is_text
from simsearch.images import SUFFIXES

TABLE = "artworks.csv"
LATEST_NS = 2**63 - 1
"""The year 2262, the latest time that the catalog's integers hold; a broken clock may set a later one."""


@dataclass(slots=True)
class Scan:
    """What a walk saw."""

    root: Path
    files: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Path below the root, with forward slashes, to (size in bytes, modification time in nanoseconds)."""
    tables: list[str] = field(default_factory=list)
    """Paths below the root of the tables that describe the images, the outermost first."""
    table_stamp: str = ""
    """Changes when one of the tables does; empty without tables."""
    lists: list[str] = field(default_factory=list)
    """Paths below the root of the files that are called as lists of labels are."""
    unreadable: list[str] = field(default_factory=list)
    """Folders below the root that could not be listed; what they hold is unknown this time."""
    misnamed: list[str] = field(default_factory=list)
    """Images whose path is no text, some byte of it being no UTF-8, so that no catalog can hold it."""
    skipped: int = 0
    """Files that are not images by their name, and pipes and devices that are."""

    def listing(self) -> str:
        """A digest of all paths, sizes and times, in the order of the walk.

        A folder that did not change is listed in the same order; where it is not, the files are compared one by one.
        """
        return hashlib.sha256(marshal.dumps(self.files, 2)).hexdigest()


def scan(
    root: Path, below: str = "", leave_out: frozenset[Path] = frozenset(), lists: frozenset[str] = frozenset()
) -> Scan:
    """The image files in a folder and all folders in it, without hidden ones; each real folder once, by its own name
    rather than a link's where it has one here.

    With `below` only that subfolder's. `leave_out` are real folders that are not entered, `lists` names of files that
    are noted as lists of labels. Raises OSError where the first folder cannot be listed.
    """
    out = Scan(root)
    stamps: list[str] = []
    start = root / below
    os.scandir(start).close()  # an unreachable folder is told apart from an unreadable one inside it
    seen = set()
    todo = [(str(start), f"{below}/" if below else "")]
    links: list[tuple[str, str]] = []
    while todo or links:
        links.sort(reverse=True)
        folder, prefix = todo.pop() if todo else links.pop()
        try:
            real = os.stat(folder)  # noqa: PTH116  a Path for each folder would cost more than the call
            if (real.st_dev, real.st_ino) in seen or (leave_out and Path(folder).resolve() in leave_out):
                continue  # a link that leads back up, or a second way to the same folder
            seen.add((real.st_dev, real.st_ino))
            entries = list(os.scandir(folder))
        except OSError:
            out.unreadable.append(prefix.rstrip("/"))
            continue
        for entry in _take_files(out, entries, prefix, stamps, lists):
            (links if entry.is_symlink() else todo).append((entry.path, f"{prefix}{entry.name}/"))
    # what a table further up says of a subfolder's images holds for a walk of that subfolder alone, too
    above = [str(folder / TABLE) for folder in PurePosixPath(below).parents] if below else []
    out.tables += [table for table in above if (root / table).is_file()]
    if out.tables:
        out.tables.sort(key=lambda path: (path.count("/"), path))
        out.table_stamp = hashlib.sha256("\n".join(sorted(stamps)).encode("utf-8", "surrogateescape")).hexdigest()
    return out


def _take_files(
    out: Scan, entries: list[os.DirEntry[str]], prefix: str, stamps: list[str], lists: frozenset[str]
) -> Iterator[os.DirEntry[str]]:
    """Notes the images of one folder; gives its visible subfolders.

    An image costs one stat and little more: at 22,000 files this loop is half of a run that finds nothing changed.
    """
    files = out.files
    for entry in entries:
        name = entry.name
        if name[0] == ".":
            continue
        suffix = name[name.rfind(".") :]
        is_image = suffix in SUFFIXES or suffix.lower() in SUFFIXES
        try:
            stat = entry.stat() if is_image else None
            if stat is not None and S_ISREG(stat.st_mode):
                path = prefix + name
                if path.isascii() or is_text(path):
                    mtime_ns = stat.st_mtime_ns
                    files[path] = (stat.st_size, mtime_ns if mtime_ns < LATEST_NS else LATEST_NS)
                else:
                    out.misnamed.append(path)
            elif entry.is_dir():
                yield entry
            elif name == TABLE and entry.is_file():
                stat = entry.stat()
                out.tables.append(prefix + name)
                stamps.append(f"{prefix}{name} {stat.st_size} {stat.st_mtime_ns}")
            elif name in lists and entry.is_file():
                out.lists.append(prefix + name)
            else:
                out.skipped += 1  # a pipe named like an image, too: to read it would be to wait for ever
        except OSError:
            if is_image and is_text(prefix + name):  # a link to nowhere: decoding will say so, with a reason
                files[prefix + name] = (0, 0)
            elif is_image:
                out.misnamed.append(prefix + name)
