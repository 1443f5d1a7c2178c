"""`simsearch index`: from folders to a published index, in small commits that a kill cannot undo."""

from __future__ import annotations

import gc
import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from simsearch import images
from simsearch.catalog.writing import ImageRow, Writer
from simsearch.collection import CURRENT_ENCODERS, Collection, EncoderEntry, open_files
from simsearch.encoders.base import Encoder
from simsearch.encoders.registry import DEFAULT, load_encoder, location_of
from simsearch.encoders.running import Running
from simsearch.errors import EncoderError, IndexFileError, SourceError
from simsearch.index.ivf import FEWEST
from simsearch.indexer.changes import Changes
from simsearch.indexer.describing import Describing, Scanned
from simsearch.indexer.pipeline import Reader, Reading, batches, held_back
from simsearch.indexer.publish import publish
from simsearch.indexer.scan import scan
from simsearch.indexer.sources import labels
from simsearch.indexer.sources.folder import FolderSource, folder_source
from simsearch.records import Failure, IndexReport
from simsearch.watch import Watch, silent


@dataclass(frozen=True, slots=True)
class Options:
    """How to index."""

    encoder: str | Sequence[str] | None = None
    """What :func:`load_encoder` takes, or several of it, the collection's default first; by default its own, or the
    built-in default in a new one."""
    index: str = "auto"
    """``exact``, ``ivf``, or ``auto``, which chooses by the number of works."""
    max_pixels: int = images.DEFAULT_MAX_PIXELS
    rebuild: bool = False
    """Builds the index anew even where nothing changed."""
    prune: bool = False
    """Removes the works of folders that are gone or empty."""
    threads: int | None = None
    """Decoding threads; one a core by default."""
    labels: Sequence[str] = ()
    """Lists of labels for these folders, as ``--labels`` names them; by default those that were named last."""
    classes: Sequence[str] = ()
    """Class files of these lists, as ``--classes`` names them."""
    running: Running = field(default_factory=Running)
    """Device, precision and batch size of encoders on torch."""


def index_folders(
    collection: Collection,
    folders: Sequence[str | Path] = (),
    options: Options | None = None,
    watch: Watch | None = None,
) -> IndexReport:
    """Brings the collection up to date with these folders, or with all that it knows. What the run did.

    Each encoder has a run of its own: the report is the first one's, the others' are in `followed_by`. Encoders that
    were named once stay current: without a name, all of them are brought up to date. Stopping it keeps all that is
    committed. Raises SourceError, EncoderError, CollectionLockedError, CollectionWriteError.
    """
    options, watch = options or Options(), watch or silent
    with collection.writer() as writer:
        known = collection.catalog.sources()
        asked = [folder_source(Path(folder).expanduser(), collection.base, known) for folder in folders]
        if not asked:
            asked = [FolderSource(name, name.removeprefix("folder:"), root) for _, name, root in known]
        if not asked:
            raise SourceError("this collection knows no folder yet; name one: simsearch index FOLDER")
        encoders = _encoders(collection, options)
        reports: list[IndexReport] = []
        for encoder in encoders:
            started = time.perf_counter()
            run = _Run(collection, writer, encoder, options, watch, is_default=not reports)
            report = run.go(asked)
            reports.append(replace(report, encoder=encoder.info.name, seconds=round(time.perf_counter() - started, 3)))
            writer.finish_run(run.number, reports[-1].to_dict())
            if report.interrupted:
                break
    return replace(reports[0], followed_by=tuple(reports[1:]), interrupted=reports[-1].interrupted)


def rebuild(collection: Collection, entry: EncoderEntry) -> None:
    """Builds an encoder's index anew from the catalog, as the kind that it was."""
    with collection.writer() as writer:
        old = collection.catalog.generation(entry.number)
        publish(collection, writer, entry, writer.begin_run(), old.kind if old else "auto")


def _encoders(collection: Collection, options: Options) -> list[Encoder]:
    """The encoders to embed with, the default first, each once."""
    if options.encoder is None:
        entries = collection.encoders()
        if not entries:
            return [load_encoder(DEFAULT)]
        current = collection.current_encoders()
        default, *others = (entry for entry in entries if entry.number in current)
        loaded = [collection.load(default, options.running)]
        for entry in others:  # what cannot be loaded any more must not keep the default from new works
            try:
                loaded.append(collection.load(entry, options.running))
            except EncoderError as error:
                collection.notice(f"{entry.info.name} is not brought up to date: {error}")
        return loaded
    named = [options.encoder] if isinstance(options.encoder, str) else options.encoder
    found: dict[tuple[str, str], Encoder] = {}
    for name in named:
        encoder = load_encoder(name, options.running)
        if hasattr(encoder, "notice"):
            encoder.notice = collection.notice
        found.setdefault((encoder.info.name, encoder.info.digest), encoder)
    return list(found.values())


class _Run:
    """One run of the indexer."""

    def __init__(
        self,
        collection: Collection,
        writer: Writer,
        encoder: Encoder,
        options: Options,
        watch: Watch,
        *,
        is_default: bool,
    ) -> None:
        self.collection, self.writer, self.encoder, self.is_default = collection, writer, encoder, is_default
        self.options, self.watch = options, watch
        self.describing = Describing(collection, writer, labels.choice(options.labels, options.classes))
        self.changes = Changes()
        self.counts: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.unreachable: list[str] = []
        self.pruned: list[int] = []
        self.failing: set[tuple[int, str]] = set()
        self.interrupted = False
        self.number = 0

    def go(self, asked: Iterable[FolderSource]) -> IndexReport:
        location = location_of(self.encoder)
        with _collector_at_rest(), self.collection.catalog.snapshot():  # a bad list or table leaves no trace
            scans = list(self._scan(asked))
            self.entry = EncoderEntry(self.writer.add_encoder(self.encoder.info, location), self.encoder.info, location)
            same = {
                entry.number
                for entry in self.collection.encoders()
                if entry.info.name == self.encoder.info.name or entry.location == location
            }  # other weights under this name or in this place are superseded
            current = (self.collection.current_encoders() - same) | {self.entry.number}
            self.writer.set_meta(CURRENT_ENCODERS, json.dumps(sorted(current)))
            if self.is_default:
                self.writer.set_meta("default_encoder", str(self.entry.number))
            self.number = self.writer.begin_run()
            fresh = self._up_to_date()
            for scanned in scans:
                self._compare(scanned, fresh)
            if self.changes.jobs or self.changes.missing:
                self.writer.forget_listings()
            self.describing.read(scans, {job.source for job in self.changes.jobs})
        try:
            self._refuse_names(scans)
            self._embed({scanned.number: scanned for scanned in scans})
            self._settle(scans)
            self._publish(fresh)
        except KeyboardInterrupt:
            self.interrupted = True
        return self._report(scans)

    def _report(self, scans: Sequence[Scanned]) -> IndexReport:
        counts = self.counts
        return IndexReport(
            added=counts["added"],
            changed=counts["changed"],
            moved=counts["moved"],
            removed=counts["removed"],
            embedded=counts["embedded"],
            described=self.describing.again,
            absent=self.describing.absent,
            unchanged=self.changes.unchanged + self.counts["unchanged"],
            failed=dict(self.failed.most_common()),
            skipped=sum(scanned.seen.skipped for scanned in scans),
            unreachable=(*self.unreachable, *self.describing.lost),
            interrupted=self.interrupted,
            notes=tuple(self.describing.notes),
        )

    # -- before the images ---------------------------------------------------------------------------------------------

    def _scan(self, asked: Iterable[FolderSource]) -> Iterator[Scanned]:
        roots = {root.resolve(): name for _, name, root in self.collection.catalog.sources()}
        for source in dict.fromkeys(asked):
            others = frozenset(root for root, name in roots.items() if name != source.name)
            try:
                seen = scan(source.root, source.below, others, labels.NAMES)
            except OSError as error:
                self._not_there(source, f"{source.root / source.below}: {error.strerror or error}")
                continue
            known = self.collection.catalog.find_source(source.name)
            nothing = not (seen.files or seen.misnamed)
            if nothing and not seen.unreadable and known is not None and self._holds(known, source.below):
                self._not_there(source, f"{source.root / source.below} holds no image any more")
                continue
            if nothing and known is None:
                others_say = f" among its {seen.skipped} files" if seen.skipped else ""
                others_say += f" ({seen.unreadable[0]} in it cannot be listed)" if seen.unreadable else ""
                formats = " ".join(sorted(suffix.removeprefix(".") for suffix in images.SUFFIXES))
                raise SourceError(f"{source.root} holds no image{others_say}; the formats that are read: {formats}")
            for folder in seen.unreadable:
                held = 0 if known is None else len(self.writer.files(known, folder))
                self.unreachable.append(f"{source.root / folder} cannot be listed; its {held} works stay")
            number = self.writer.add_source(source.name, "folder", source.location)
            yield Scanned(number, source, seen, self.describing.find(number, source, seen))

    def _holds(self, source: int, below: str) -> bool:
        return bool(self.writer.files(source, below))

    def _not_there(self, source: FolderSource, why: str) -> None:
        """An unmounted disk looks like an empty or missing folder, so its works go only when somebody says so."""
        number = self.collection.catalog.find_source(source.name)
        if number is None:
            raise SourceError(f"{why}; check its name and its permissions")
        held = self.writer.files(number, source.below)
        if not self.options.prune:
            self.unreachable.append(f"{why}; its {len(held)} works stay (--prune removes them)")
            return
        for stored in held.values():
            self.changes.miss(stored)
        self.pruned.append(number)

    def _up_to_date(self) -> bool:
        """Whether the published index covers every work, so that nothing but changed files can lack an embedding."""
        if self.options.rebuild:
            return False
        generation = self.collection.catalog.generation(self.entry.number)
        if generation is None or generation.works != self.collection.catalog.count():
            return False
        few = self.options.index == "ivf" and generation.works < FEWEST  # too few for it: exact is what it gets
        if not few and self.options.index not in ("auto", generation.kind):
            return False
        fresh, gone = self.collection.catalog.changed_since(generation.run)
        if len(fresh) or len(gone):
            return False
        try:
            open_files(self.collection.index_folder(generation), generation)
        except IndexFileError as error:
            self.collection.notice(f"{error}; it is built again from the catalog")
            return False
        return True

    def _compare(self, scanned: Scanned, fresh: bool) -> None:
        """Finds what changed in a source: nothing, at a glance, where its listing is that of last time."""
        number, seen, below = scanned.number, scanned.seen, scanned.source.below
        if fresh and not below and not seen.unreadable and seen.listing() == self.writer.listing(number):
            self.changes.unchanged += len(seen.files)
            scanned.as_last_time = True
            return
        missing = set() if fresh else self.writer.without_embedding(self.entry.number, number)
        self.changes.compare(self.writer, number, scanned.source.name, seen, below, missing)

    # -- the images ----------------------------------------------------------------------------------------------------

    def _refuse_names(self, scans: Sequence[Scanned]) -> None:
        """Notes a failure for each image whose path no catalog can hold."""
        failures = []
        for scanned in scans:
            for path in scanned.seen.misnamed:
                shown = os.fsencode(path).decode("utf-8", "backslashreplace")
                message = f"{scanned.source.root / shown} has a name that is not UTF-8; rename it"
                failures.append((scanned.number, Failure(scanned.source.name, shown, "unreadable", message)))
        self._commit([], {}, failures)

    def _embed(self, scans: dict[int, Scanned]) -> None:
        # by name, so that the same works get the same ids in whatever order a disk lists its files
        jobs = sorted(self.changes.jobs, key=lambda job: (job.source, job.source_id))
        if not jobs:
            return
        known = self.writer.known_images(self.entry.number)
        reader = Reader(self.encoder.info.preprocessing, known, self.options.max_pixels)
        done = 0
        self.watch("embedding", 0, len(jobs))
        with held_back() as stop:
            for batch in batches(jobs, reader, self.encoder, self.options.threads, stop):
                self._store(batch, scans)
                known |= {r.digest: (r.width, r.height) for r in batch if r.embedding is not None}
                done += len(batch)
                self.watch("embedding", done, len(jobs))

    def _store(self, batch: Sequence[Reading], scans: dict[int, Scanned]) -> None:
        rows, failures = [], []
        for reading in batch:
            if reading.error is not None:
                failures.append((reading.job.source, _failure(reading)))
            else:
                rows.append(self._row(reading, scans[reading.job.source]))
        embeddings = {r.digest: r.embedding for r in batch if r.embedding is not None}
        self._commit(rows, embeddings, failures)

    def _commit(
        self, rows: Sequence[ImageRow], embeddings: dict[bytes, bytes], failures: Sequence[tuple[int, Failure]]
    ) -> None:
        self.writer.store_batch(self.number, self.entry.number, rows, embeddings, failures)
        self.counts["embedded"] += len(embeddings)
        self.failed.update(failure.reason for _, failure in failures)
        self.failing |= {(source, failure.source_id) for source, failure in failures}

    def _row(self, reading: Reading, scanned: Scanned) -> ImageRow:
        """What becomes of a file that was read: added, changed, moved, or the same as before under a new date."""
        job = reading.job
        id, same, described = None, False, None
        if job.known is not None:
            id, same = job.known.id, job.known.digest == reading.digest
            self.counts["unchanged" if same else "changed"] += 1
        elif (moved := self.changes.moved_from(reading.digest)) is not None:
            id, same, described = moved.id, True, self.describing.of(job.source_id, scanned)
            self.counts["moved"] += 1
        else:
            described = self.describing.of(job.source_id, scanned)
            self.counts["added"] += 1
        size = reading.width, reading.height
        return ImageRow(job.source, job.source_id, job.size, job.mtime_ns, reading.digest, *size, id, same, described)

    # -- after the images ----------------------------------------------------------------------------------------------

    def _settle(self, scans: Sequence[Scanned]) -> None:
        """Removes what is gone, and reads again what tables say where they changed."""
        self.writer.remove(self.number, list(self.changes.missing))
        self.counts["removed"] = len(self.changes.missing)
        if self.counts["changed"]:
            self.writer.drop_orphans()
        for number in self.pruned:
            self.writer.prune_source(number)
        for scanned in scans:
            still = {source_id for source, source_id in self.failing if source == scanned.number}
            self.writer.forget_failures(scanned.number, still, scanned.source.below, scanned.seen.unreadable)
            whole = not (scanned.source.below or scanned.seen.unreadable or scanned.seen.misnamed or still)
            if whole and not scanned.as_last_time:
                self.writer.set_listing(scanned.number, scanned.seen.listing())
        self.describing.settle(scans, {job.source for job in self.changes.jobs})

    def _publish(self, fresh: bool) -> None:
        if fresh and not (self.counts["added"] or self.counts["changed"] or self.counts["removed"]):
            return
        self.watch("building the index", 0, 1)
        publish(self.collection, self.writer, self.entry, self.number, self.options.index, self.encoder)
        self.watch("building the index", 1, 1)


@contextmanager
def _collector_at_rest() -> Iterator[None]:
    """Holds the cyclic garbage collector back while many small tuples are made, none of which is garbage.

    It would walk all of them again and again, which takes a fifth of a run over an unchanged folder.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _failure(reading: Reading) -> Failure:
    job, error = reading.job, reading.error
    assert error is not None
    return Failure(job.source_name, job.source_id, error.reason, str(error), str(job.path))
