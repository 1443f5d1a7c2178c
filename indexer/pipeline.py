"""Files to embeddings: threads that decode, one that encodes, and the caller, in a window that bounds what is held."""

from __future__ import annotations

import hashlib
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from simsearch import images, vectors
from simsearch.encoders.base import Encoder, Pixels, usable_cores
from simsearch.errors import EmbeddingError, ImageError
from simsearch.indexer.changes import Job
from simsearch.records import Preprocessing

WINDOW_BATCHES = 3
"""Batches read ahead of the one in hand, at most: one waits for the encoder, two are being decoded."""

AHEAD_A_THREAD = 2
"""Images read ahead for each decoding thread, at least: a small batch must not leave threads without a file."""

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
    """Fitted to the encoder; None where these bytes have an embedding already, and once they are on their way to it."""
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

    The encoder runs in a thread of its own, one batch waiting before it, so that it never waits for what the caller
    does with a batch. `stop` is called between readings, when no lock is held, and may raise.
    """
    threads, size = threads or usable_cores(), encoder.batch_size
    window = max((WINDOW_BATCHES - 1) * size, AHEAD_A_THREAD * threads)
    at_encoder: deque[tuple[list[Reading], Future[None]]] = deque()
    batch: list[Reading] = []
    new = 0

    def being_encoded() -> Future[None] | None:
        return at_encoder[0][1] if at_encoder else None

    def encode() -> None:
        at_encoder.append((batch, pool.submit(_embed, _with_pixels(batch), _stacked(batch), encoder)))

    with (
        _pool(1, "encode") as pool,
        closing(_read_ahead(jobs, reader, threads, window, stop, being_encoded)) as chunks,
    ):
        for chunk in chunks:
            while at_encoder and at_encoder[0][1].done():
                yield _finished(at_encoder)
            for reading in chunk:
                batch.append(reading)
                new += reading.pixels is not None
                # known images cost the encoder nothing, but their rows should not wait for ever either
                if new == size or len(batch) >= 16 * size:
                    encode()
                    batch, new = [], 0
                    if len(at_encoder) > 1:
                        yield _finished(at_encoder)
        if batch:
            encode()
        while at_encoder:
            stop()
            yield _finished(at_encoder)


def read_all(jobs: Sequence[Job], reader: Reader, threads: int, window: int) -> Iterator[Reading]:
    """Readings in the order of the jobs, made in `threads`, with at most `window` of them read ahead."""
    with closing(_read_ahead(jobs, reader, threads, window)) as chunks:
        for chunk in chunks:
            yield from chunk


def _read_ahead(
    jobs: Sequence[Job],
    reader: Reader,
    threads: int,
    window: int,
    stop: Callable[[], None] = lambda: None,
    beside: Callable[[], Future[None] | None] = lambda: None,
) -> Generator[list[Reading], None, None]:
    """Readings in order, some at a time, with at most `window` of them read ahead.

    An empty list where what runs `beside` was done before the next of them.
    """
    at_once = max(1, min(JOBS_AT_ONCE, window // (2 * threads), window // 8))
    starts = iter(range(0, len(jobs), at_once))
    waiting: deque[Future[list[Reading]]] = deque()
    with _pool(threads, "decode") as pool:
        while True:
            stop()
            for start in starts:
                waiting.append(pool.submit(reader.read_all, jobs[start : start + at_once]))
                if len(waiting) * at_once >= window:
                    break
            if not waiting:
                return
            while not waiting[0].done() and (other := beside()) is not None:
                pair: tuple[Future[Any], ...] = (waiting[0], other)
                wait(pair, return_when=FIRST_COMPLETED)
                if other.done():
                    yield []
            yield waiting.popleft().result()


@contextmanager
def _pool(threads: int, name: str) -> Iterator[ThreadPoolExecutor]:
    """Threads that end here, what they have not begun left undone."""
    pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _with_pixels(batch: Sequence[Reading]) -> list[Reading]:
    return [reading for reading in batch if reading.pixels is not None]


def _stacked(batch: Sequence[Reading]) -> Pixels | None:
    """The pixels (n, size, size, 3) of a batch, of which its readings let go; None where nothing is new."""
    found = [reading.pixels for reading in batch if reading.pixels is not None]
    for reading in batch:
        reading.pixels = None
    return np.stack(found) if found else None


def _embed(batch: Sequence[Reading], pixels: Pixels | None, encoder: Encoder) -> None:
    """Gives each reading of (n,) the embedding of its pixels (n, size, size, 3)."""
    if pixels is None:
        return
    try:
        for reading, row in zip(batch, vectors.to_bytes(encoder.embed_images(pixels)), strict=True):
            reading.embedding = row
    except EmbeddingError as error:
        if len(batch) == 1:
            batch[0].error = ImageError("no embedding", f"{batch[0].job.path}: {error}")
            return
        for i, reading in enumerate(batch):  # one picture spoils the batch: find out which
            _embed([reading], pixels[i : i + 1], encoder)


def _finished(at_encoder: deque[tuple[list[Reading], Future[None]]]) -> list[Reading]:
    """The oldest batch that was given to the encoder, once it is done."""
    batch, embedding = at_encoder.popleft()
    embedding.result()
    return batch
