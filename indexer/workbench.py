"""The parts of indexing, each run alone or all together over a sample of images, by the clock."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from simsearch import images, vectors
from simsearch.catalog.writing import ImageRow, Writer
from simsearch.collection import Collection
from simsearch.encoders.base import Encoder, Pixels
from simsearch.encoders.registry import location_of
from simsearch.errors import SourceError
from simsearch.indexer.changes import Job
from simsearch.indexer.pipeline import WINDOW_BATCHES, Reader, Reading, batches, read_all
from simsearch.indexer.scan import scan
from simsearch.indexer.sources.folder import check_folder
from simsearch.throughput import PROCESSOR
from simsearch.vectors import Rows

PIXELS_HELD = 512
"""Fitted images kept for the network, at most; it gets them again and again."""
PAINTED_SIZE = (1024, 768)


def sample_of(folders: Sequence[Path]) -> list[Job]:
    """All image files of these folders, evenly mixed, so that any number of the first is a fair sample.

    Raises SourceError for a folder that is not there or cannot be listed, and where there is no image.
    """
    jobs = []
    for folder in folders:
        check_folder(folder)
        try:
            seen = scan(folder)
        except OSError as error:
            raise SourceError(f"{folder}: {error.strerror or error}; check its permissions") from error
        jobs += [Job(1, "bench", folder, name, *seen.files[name], None) for name in sorted(seen.files)]
    if not jobs:
        named = ", ".join(map(str, folders))
        raise SourceError(f"there is no image in {named}; name a folder that holds some, or none to have them painted")
    return [jobs[i] for i in np.random.default_rng(3).permutation(len(jobs))]


def paint(folder: Path, count: int) -> list[Job]:
    """Photograph-like JPEG files of 1024 x 768 pixels that all differ, painted into a folder."""
    rng = np.random.default_rng(7)
    width, height = PAINTED_SIZE
    jobs = []
    for number in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8))
        smooth = np.asarray(coarse.resize(PAINTED_SIZE, Image.Resampling.BICUBIC), np.int16)
        grain = rng.integers(-12, 13, (height, width, 1), np.int16)
        picture = np.clip(smooth + grain, 0, 255).astype(np.uint8)
        path = folder / f"{number:05}.jpg"
        Image.fromarray(picture).save(path, quality=90)
        jobs.append(Job(1, "bench", folder, path.name, path.stat().st_size, 1, None))
    return jobs


@dataclass
class Workbench:
    """An encoder with the images that it is measured on. Every measurement gives seconds for all of `jobs`."""

    encoder: Encoder
    jobs: Sequence[Job]
    threads: int
    readings: list[Reading]
    """Of those files that gave a picture, without pixels."""
    pixels: Pixels
    """Fitted (n, size, size, 3), PIXELS_HELD at most."""
    max_pixels: int = images.DEFAULT_MAX_PIXELS

    @classmethod
    def lay_out(cls, encoder: Encoder, jobs: Sequence[Job], threads: int) -> Workbench:
        """Reads every file once, so that later readings come from memory, and leaves out those without a picture.

        Raises SourceError where none gives one.
        """
        bench = cls(encoder, jobs, threads, [], np.empty(0, np.uint8))
        held: list[Pixels] = []
        readings, reasons = [], []
        for reading in bench._read(threads):
            if reading.error is not None:
                reasons.append(str(reading.error))
                continue
            if len(held) < PIXELS_HELD and reading.pixels is not None:
                held.append(reading.pixels)
            reading.pixels = None
            readings.append(reading)
        if not readings:
            raise SourceError(f"none of {len(jobs)} files gave a picture, the first: {reasons[0]}")
        bench.readings, bench.pixels = readings, np.stack(held)
        bench.jobs = [reading.job for reading in readings]
        return bench

    def decode(self, threads: int) -> float:
        """Reading, digests, decoding and fitting in so many threads."""
        started = time.perf_counter()
        for reading in self._read(threads):
            reading.pixels = None
        return time.perf_counter() - started

    def forward(self, most_s: float | None = None) -> float:
        """The network over batches of fitted pixels in memory; with `most_s` over as many as that time allows, at
        least one batch."""
        started, done = time.perf_counter(), 0
        for size in _sizes(len(self.jobs), self.encoder.batch_size):
            self.encoder.embed_images(self._batch(done, size))
            done += size
            if most_s is not None and time.perf_counter() - started > most_s:
                break
        return (time.perf_counter() - started) * len(self.jobs) / done

    def copy(self) -> float | None:
        """Bringing the pixels to the encoder's device, None where it has none of its own."""
        copy_in = getattr(self.encoder, "copy_in", None)
        if copy_in is None or device_of(self.encoder) == PROCESSOR:
            return None
        copy_in(self._batch(0, 1))
        started, done = time.perf_counter(), 0
        for size in _sizes(len(self.jobs), self.encoder.batch_size):
            copy_in(self._batch(done, size))
            done += size
        return time.perf_counter() - started

    def write(self) -> float:
        """Catalog rows and embeddings into a new collection, batch by batch, each a transaction."""
        row = vectors.to_bytes(_unit_row(self.encoder.info.dim))[0]
        with _scratch(self.encoder) as store:
            started, done = time.perf_counter(), 0
            for size in _sizes(len(self.jobs), self.encoder.batch_size):
                part = self.readings[done : done + size]
                store(part, [row] * size)
                done += size
            return time.perf_counter() - started

    def together(self, threads: int) -> float:
        """All parts side by side, as `index` has them."""
        reader = Reader(self.encoder.info.preprocessing, {}, self.max_pixels)
        with _scratch(self.encoder) as store:
            started = time.perf_counter()
            for batch in batches(self.jobs, reader, self.encoder, threads):
                store(batch, [reading.embedding for reading in batch])
            return time.perf_counter() - started

    def rows(self) -> Rows:
        """Embeddings of a batch of the held pixels."""
        return self.encoder.embed_images(self._batch(0, min(self.encoder.batch_size, len(self.pixels))))

    def _read(self, threads: int) -> Iterator[Reading]:
        window = max(WINDOW_BATCHES * self.encoder.batch_size, 8 * threads)
        reader = Reader(self.encoder.info.preprocessing, {}, self.max_pixels)
        return read_all(self.jobs, reader, threads, window)

    def _batch(self, start: int, size: int) -> Pixels:
        """So many of the held pixels, from the first again after the last."""
        return self.pixels[np.arange(start, start + size) % len(self.pixels)]


def device_of(encoder: Encoder) -> str:
    """The device that an encoder's network runs on: ``cpu``, or what torch calls it."""
    runner = getattr(encoder, "runner", None)
    return PROCESSOR if runner is None else str(runner.device)


@contextmanager
def _scratch(encoder: Encoder) -> Iterator[Any]:
    """A function that commits readings with their embeddings to a collection that is thrown away."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Collection.create(Path(folder)) as collection,
        collection.writer() as writer,
    ):
        yield _Store(writer, encoder)


class _Store:
    """Commits a batch, as the indexer does."""

    def __init__(self, writer: Writer, encoder: Encoder) -> None:
        self._writer = writer
        self._source = writer.add_source("bench", "folder", "bench")
        self._encoder = writer.add_encoder(encoder.info, location_of(encoder))
        self._run = writer.begin_run()
        self._works = 0

    def __call__(self, readings: Sequence[Reading], embeddings: Sequence[bytes | None]) -> None:
        rows = []
        for reading in readings:
            self._works += 1  # the same file may come twice
            name = f"{self._works}/{reading.job.source_id}"
            place = self._source, name, reading.job.size, reading.job.mtime_ns
            rows.append(ImageRow(*place, reading.digest, reading.width, reading.height))
        found = {r.digest: row for r, row in zip(readings, embeddings, strict=True) if row is not None}
        self._writer.store_batch(self._run, self._encoder, rows, found, [])


def _sizes(count: int, size: int) -> Iterator[int]:
    for start in range(0, count, size):
        yield min(size, count - start)


def _unit_row(dim: int) -> Rows:
    return np.full((1, dim), dim**-0.5, np.float32)
