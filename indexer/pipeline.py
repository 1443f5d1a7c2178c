"""Files to embeddings: decoding threads ahead of the encoder, in a window that bounds what is held in memory."""

from __future__ import annotations

import hashlib
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from simsearch import images, vectors
from simsearch.encoders.base import Encoder, Pixels, usable_cores
from simsearch.errors import EmbeddingError, ImageError
from simsearch.indexer.changes import Job
from simsearch.records import Preprocessing

WINDOW_BATCHES = 3
"""Decoded images held at most, in batches: one at the encoder, one waiting, one being decoded."""

JOBS_AT_ONCE = 8
"""Files that a thread takes at a time, at most: handing 22,000 small images over one by one made a run 7 % slower."""


@dataclass(slots=True)
class Reading:
    """One file as it was read: a digest with the picture's size, or the reason why there is none."""

    job: Job
    digest: bytes = b""
    width: int = 0
    height: int = 0
    pixels: Pixels | None = None
    """Fitted to the encoder; None where these bytes have an embedding already."""
    embedding: bytes | None = None
    error: ImageError | None = None


class Reader:
    """Reads, recognises and decodes files; its :meth:`read` runs in several threads."""

    def __init__(self, rule: Preprocessing, known: Mapping[bytes, tuple[int, int]], max_pixels: int) -> None:
        """`known` has the size in pixels of every image, by digest, that needs no embedding."""
        self._rule = rule
        self._known = known
        self._max_pixels = max_pixels

    def read_all(self, jobs: Sequence[Job]) -> list[Reading]:
        """The readings of several files, in order."""
        return [self.read(job) for job in jobs]

    def read(self, job: Job) -> Reading:
        """One file's digest and, where it is new, its pixels."""
        name = str(job.path)
        try:
            data = images.read_bytes(job.path)
            digest = hashlib.sha256(data).digest()
            if digest in self._known:
                return Reading(job, digest, *self._known[digest])
            picture = images.decode(data, name, max_pixels=self._max_pixels, side=self._rule.size)
            return Reading(job, digest, picture.width, picture.height, images.fit(picture, self._rule))
        except ImageError as error:
            return Reading(job, error=error)


@contextmanager
def held_back() -> Iterator[Callable[[], None]]:
    """Keeps the first Ctrl-C until the function that it gives is called, or the end, and raises KeyboardInterrupt then.

    Raised inside a thread pool it could leave a lock behind that a worker then waits for without end. A second Ctrl-C
    is not kept.
    """
    if threading.current_thread() is not threading.main_thread() or (
        signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        yield lambda: None
        return
    pressed = False

    def press(number: int, frame: object) -> None:
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True

    def stop() -> None:
        if pressed:
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, press)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    stop()


def batches(
    jobs: Sequence[Job],
    reader: Reader,
    encoder: Encoder,
    threads: int | None = None,
    stop: Callable[[], None] = lambda: None,
) -> Iterator[list[Reading]]:
    """Readings in the order of the jobs, in batches, each image of which is embedded, known or has its error.

    `stop` is called between readings, when no lock is held, and may raise.
    """
    size, new = encoder.batch_size, 0
    batch: list[Reading] = []
    for reading in _ahead(jobs, reader, threads or usable_cores(), WINDOW_BATCHES * size, stop):
        batch.append(reading)
        new += reading.pixels is not None
        # known images cost the encoder nothing, but their rows should not wait for ever either
        if new == size or len(batch) >= 16 * size:
            _embed(batch, encoder)
            yield batch
            batch, new = [], 0
    if batch:
        _embed(batch, encoder)
        yield batch


def _ahead(
    jobs: Sequence[Job], reader: Reader, threads: int, window: int, stop: Callable[[], None]
) -> Iterator[Reading]:
    """Readings in order, with at most `window` of them read ahead."""
    at_once = max(1, min(JOBS_AT_ONCE, window // 8))
    pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
    waiting: deque[Future[list[Reading]]] = deque()
    try:
        for start in range(0, len(jobs), at_once):
            stop()
            waiting.append(pool.submit(reader.read_all, jobs[start : start + at_once]))
            if len(waiting) * at_once >= window:
                yield from waiting.popleft().result()
        while waiting:
            stop()
            yield from waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _embed(batch: Sequence[Reading], encoder: Encoder) -> None:
    """Gives each reading with pixels its embedding, and lets go of the pixels."""
    todo = [reading for reading in batch if reading.pixels is not None]
    if not todo:
        return
    pixels = np.stack([reading.pixels for reading in todo if reading.pixels is not None])
    try:
        for reading, row in zip(todo, vectors.to_bytes(encoder.embed_images(pixels)), strict=True):
            reading.embedding, reading.pixels = row, None
    except EmbeddingError as error:
        if len(todo) == 1:
            todo[0].pixels, todo[0].error = None, ImageError("no embedding", f"{todo[0].job.path}: {error}")
            return
        for reading in todo:  # one picture spoils the batch: find out which
            _embed([reading], encoder)
