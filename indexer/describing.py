"""Gives the works of a run what tables and lists of labels say of them, and takes back what they no longer say."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass

from simsearch.catalog.writing import Writer
from simsearch.collection import Collection
from simsearch.errors import SourceError
from simsearch.indexer.scan import Scan
from simsearch.indexer.sources import labels
from simsearch.indexer.sources.folder import Descriptions, FolderSource
from simsearch.indexer.sources.table import describe
from simsearch.records import Artwork

LOST = "lists of labels could not be reached"
"""The stamp of a source that has works which its lists of labels have not described."""


@dataclass(slots=True)
class Scanned:
    """A source in this run: its number, what the walk saw, and what is said of its images."""

    number: int
    source: FolderSource
    seen: Scan
    descriptions: Descriptions
    as_last_time: bool = False


class Describing:
    """What is said of the works of one run, and to the user."""

    def __init__(self, collection: Collection, writer: Writer, chosen: labels.Choice | None) -> None:
        self.collection, self.writer, self.chosen = collection, writer, chosen
        self.notes: list[str] = []
        """Sentences about what was left aside."""
        self.lost: list[str] = []
        """Sentences about remembered lists that cannot be reached."""
        self.absent = 0
        """Rows that name images which are not there."""
        self.again = 0
        """Works that were here before and were described anew."""
        self._told: set[tuple[int, str]] = set()
        self._extras: set[str] = set()

    def find(self, number: int, source: FolderSource, seen: Scan) -> Descriptions:
        """What describes a source, found but not read: its tables, and the lists named for it, now or in a run before.

        Raises SourceError for lists that are named now and not there, or for a part of a source.
        """
        if self.chosen and source.below:
            raise SourceError(f"--labels is for a whole folder, and {source.below} lies in {source.root}; index that")
        chosen = self.chosen or labels.Choice.from_json(self.writer.labels(number), self.collection.base)
        in_root = labels.lists_in(source.root) if source.below else [source.root / name for name in seen.lists]
        found = labels.find(chosen, source.root, in_root, fresh=self.chosen is not None)
        self.lost += [found.lost] if found.lost else []
        return Descriptions(seen, found)

    def read(self, scans: Sequence[Scanned], with_jobs: Container[int]) -> None:
        """Reads every table and list that will be needed, so that a wrong one stops the run before any work is done."""
        for scanned in scans:
            changed, below, descriptions = self.changed(scanned), scanned.source.below, scanned.descriptions
            if changed or scanned.number in with_jobs:
                unseen = self.writer.files(scanned.number) if below or scanned.seen.unreadable else ()
                descriptions.rows(unseen)
                self.notes += descriptions.notes
                self.absent += 0 if below else descriptions.absent
                for remark in descriptions.remarks if changed else ():
                    self.collection.notice(remark)
            if self.chosen:
                self.writer.set_labels(scanned.number, self.chosen.to_json(self.collection.base))

    def changed(self, scanned: Scanned) -> bool:
        """Whether tables or lists are others than those that described the source last."""
        if scanned.source.below or scanned.descriptions.lost:
            return False  # the stamp is of all tables and lists of the source, and only a part of them is at hand
        return (self.writer.table_stamp(scanned.number) or "") != scanned.descriptions.stamp

    def of(self, source_id: str, scanned: Scanned) -> Artwork | None:
        """A work with all that is said of it, or None where nothing is."""
        said = scanned.descriptions.of(source_id)
        if said is None:
            return None
        work, notes = describe(scanned.source.name, source_id, said)
        self.notes += notes
        self._told.add((scanned.number, source_id))
        self._extras |= set(work.extra)
        return work

    def settle(self, scans: Sequence[Scanned], with_jobs: Container[int]) -> None:
        """Describes the works that were here before this run again, where tables or lists changed."""
        for scanned in scans:
            if self.changed(scanned):
                rows = []
                for source_id, stored in self.writer.files(scanned.number).items():
                    if (scanned.number, source_id) not in self._told:
                        rows.append((stored.id, self.of(source_id, scanned) or Artwork(scanned.source.name, source_id)))
                self.writer.describe(rows, scanned.number, scanned.descriptions.stamp)
                self.again += len(rows)
            elif scanned.descriptions.lost and scanned.number in with_jobs:
                self.writer.describe([], scanned.number, LOST)  # so that new works are described once they are back
        if self._extras:
            self.writer.add_extra_columns(self._extras)
