"""Holds what a walk saw against what the catalog knows."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from simsearch.catalog.catalog import StoredFile
from simsearch.catalog.writing import Writer
from simsearch.indexer.scan import Scan


@dataclass(frozen=True, slots=True)
class Job:
    """A file whose bytes have to be read."""

    source: int
    source_name: str
    root: Path
    source_id: str
    size: int
    mtime_ns: int
    known: StoredFile | None
    """What the catalog has under this very path."""

    @property
    def path(self) -> Path:
        """Where the file is."""
        return self.root / self.source_id


@dataclass(slots=True)
class Changes:
    """What a run has to do, over all of its sources."""

    jobs: list[Job] = field(default_factory=list)
    unchanged: int = 0
    missing: dict[int, StoredFile] = field(default_factory=dict)
    """By id: artworks whose file was not seen. Each is moved or removed."""
    _by_digest: dict[bytes, list[int]] = field(default_factory=lambda: defaultdict(list))

    def compare(
        self, writer: Writer, source: int, name: str, scanned: Scan, below: str, not_embedded: set[str]
    ) -> None:
        """Adds one source: a file of the same size and time is taken as unchanged without opening it."""
        known = writer.files(source, below)
        for source_id, stat in scanned.files.items():
            stored = known.pop(source_id, None)
            if stored is not None and stored[1:3] == stat and source_id not in not_embedded:
                self.unchanged += 1
            else:
                self.jobs.append(Job(source, name, scanned.root, source_id, *stat, stored))
        hidden = tuple(f"{folder}/" for folder in scanned.unreadable)
        for source_id, stored in known.items():
            if not (hidden and source_id.startswith(hidden)):
                self.miss(stored)

    def miss(self, stored: StoredFile) -> None:
        """Adds an artwork whose file was not seen."""
        self.missing[stored.id] = stored
        self._by_digest[stored.digest].append(stored.id)

    def moved_from(self, digest: bytes) -> StoredFile | None:
        """The artwork that has just turned up under another path: one whose file is missing and had these bytes."""
        ids = self._by_digest.get(digest)
        return self.missing.pop(ids.pop(0)) if ids else None
