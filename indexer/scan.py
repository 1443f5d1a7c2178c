"""Walks a folder: which image files are there, and of what size and time."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from simsearch.images import SUFFIXES

TABLE = "artworks.csv"


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
    unreadable: list[str] = field(default_factory=list)
    """Folders below the root that could not be listed; what they hold is unknown this time."""
    skipped: int = 0
    """Files that are not images by their name."""


def scan(root: Path, below: str = "", leave_out: frozenset[Path] = frozenset()) -> Scan:
    """The image files in a folder and all folders in it, without hidden ones; each real folder once.

    With `below` only that subfolder's. `leave_out` are real folders that are not entered. Raises OSError where the
    first folder cannot be listed.
    """
    out = Scan(root)
    stamps: list[str] = []
    start = root / below
    os.scandir(start).close()  # an unreachable folder is told apart from an unreadable one inside it
    seen = set()
    todo = [(str(start), f"{below}/" if below else "")]
    while todo:
        folder, prefix = todo.pop()
        try:
            real = os.stat(folder)  # noqa: PTH116  a Path for each folder would cost more than the call
            if (real.st_dev, real.st_ino) in seen or (leave_out and Path(folder).resolve() in leave_out):
                continue  # a link that leads back up, or a second way to the same folder
            seen.add((real.st_dev, real.st_ino))
            entries = list(os.scandir(folder))
        except OSError:
            out.unreadable.append(prefix.rstrip("/"))
            continue
        todo += [(entry.path, f"{prefix}{entry.name}/") for entry in _take_files(out, entries, prefix, stamps)]
    if stamps:
        out.tables.sort(key=lambda path: (path.count("/"), path))
        out.table_stamp = hashlib.sha256("\n".join(sorted(stamps)).encode("utf-8", "surrogateescape")).hexdigest()
    return out


def _take_files(
    out: Scan, entries: list[os.DirEntry[str]], prefix: str, stamps: list[str]
) -> Iterator[os.DirEntry[str]]:
    """Notes the images of one folder; gives its visible subfolders."""
    for entry in entries:
        name = entry.name
        if name.startswith("."):
            continue
        dot = name.rfind(".")
        is_image = dot > 0 and name[dot:].lower() in SUFFIXES
        try:
            if is_image and not entry.is_dir():
                stat = entry.stat()
                out.files[prefix + name] = (stat.st_size, stat.st_mtime_ns)
            elif entry.is_dir():
                yield entry
            elif name == TABLE:
                stat = entry.stat()
                out.tables.append(prefix + name)
                stamps.append(f"{prefix}{name} {stat.st_size} {stat.st_mtime_ns}")
            else:
                out.skipped += 1
        except OSError:  # a link to nowhere: decoding will say so, with a reason
            if is_image:
                out.files[prefix + name] = (0, 0)
