"""Reading ahead in threads: the order, what is held at once, and Ctrl-C."""

import hashlib
import signal
import threading

import numpy as np
import pytest
from PIL import Image

from simsearch.encoders.color import ColorEncoder
from simsearch.errors import EmbeddingError, EncoderError
from simsearch.indexer.changes import Job
from simsearch.indexer.pipeline import AHEAD_A_THREAD, WINDOW_BATCHES, Reader, batches, held_back, read_all

WORKS = 150
PATIENCE_S = 60


@pytest.fixture
def jobs(tmp_path):
    """Jobs for pictures of which the eleventh is none, and every thirtieth has the bytes of the first."""
    found = []
    for number in range(WORKS):
        path = tmp_path / f"{number:03}.png"
        if number == 10:
            path.write_text("no picture")
        else:
            shade = 0 if number % 30 == 0 else number
            Image.new("RGB", (20, 10 + shade % 7), (shade, 255 - shade, 99)).save(path)
        found.append(Job(1, "folder", tmp_path, path.name, path.stat().st_size, 1, None))
    return found


@pytest.fixture
def encoder():
    return ColorEncoder()


def ours():
    """Threads of the pipeline that run still."""
    return [thread for thread in threading.enumerate() if thread.name.startswith(("decode", "encode"))]


def reader(encoder, known=None):
    return Reader(encoder.info.preprocessing, {} if known is None else known, 10**6)


@pytest.mark.parametrize("threads", [1, 4])
def test_readings_come_in_the_order_of_the_jobs_each_with_an_embedding_or_a_reason(jobs, encoder, threads):
    found = [reading for batch in batches(jobs, reader(encoder), encoder, threads) for reading in batch]
    assert [reading.job for reading in found] == jobs
    assert {i: r.error.reason for i, r in enumerate(found) if r.error} == {10: "not an image"}
    assert all(reading.pixels is None for reading in found)
    for number, reading in enumerate(found):
        if number != 10:
            assert reading.digest == hashlib.sha256(reading.job.path.read_bytes()).digest()
            assert (reading.width, reading.height) == (20, 10 + (0 if number % 30 == 0 else number) % 7)
            assert np.frombuffer(reading.embedding, "<f2").shape == (encoder.info.dim,)
    assert found[0].embedding == found[30].embedding != found[1].embedding


def test_known_bytes_are_neither_decoded_nor_embedded(jobs, encoder):
    first = hashlib.sha256(jobs[0].path.read_bytes()).digest()
    found = [r for batch in batches(jobs, reader(encoder, {first: (640, 480)}), encoder) for r in batch]
    known = [i for i, r in enumerate(found) if (r.width, r.height, r.embedding, r.error) == (640, 480, None, None)]
    assert known == list(range(0, WORKS, 30))


@pytest.mark.parametrize(("size", "ahead"), [(1, 1 + 2 * AHEAD_A_THREAD), (8, WINDOW_BATCHES * 8)])
def test_no_more_is_read_ahead_than_a_few_batches_and_two_files_a_thread(jobs, encoder, size, ahead):
    encoder.batch_size = size
    read = []

    class Counting(Reader):
        def read(self, job):
            read.append(job)
            return super().read(job)

    given = 0
    for batch in batches(jobs, Counting(encoder.info.preprocessing, {}, 10**6), encoder, 2):
        given += len(batch)
        assert len(read) <= given + ahead
    assert given == len(read) == WORKS


# -- side by side ------------------------------------------------------------------------------------------------------


class Told:
    """An encoder that says when it begins, and can be held up or fail."""

    def __init__(self, size, free=None, error=None):
        self.inner, self.batch_size = ColorEncoder(), size
        self.info = self.inner.info
        self.begun, self.free, self.error = threading.Semaphore(0), free, error

    def embed_images(self, pixels):
        self.begun.release()
        if self.free is not None:
            assert self.free.wait(PATIENCE_S)
        if self.error is not None:
            raise self.error
        return self.inner.embed_images(pixels)


class Waiting(Reader):
    """A reader that waits before a file of this number."""

    def __init__(self, encoder, number, free):
        super().__init__(encoder.info.preprocessing, {}, 10**6)
        self.number, self.free = number, free

    def read_all(self, jobs):
        if any(job.source_id >= f"{self.number:03}" for job in jobs):
            assert self.free.wait(PATIENCE_S)
        return super().read_all(jobs)


def test_the_encoder_has_the_next_batch_while_the_caller_is_busy_with_one(jobs):
    encoder = Told(8)
    found = batches(jobs[20:60], reader(encoder), encoder, 2)
    first = next(found)
    assert encoder.begun.acquire(timeout=PATIENCE_S)
    assert encoder.begun.acquire(timeout=PATIENCE_S)
    assert len(first) == 8
    assert sum(len(batch) for batch in found) == 32


def test_an_embedded_batch_does_not_wait_for_files_that_are_still_being_read(jobs):
    free = threading.Event()
    encoder = ColorEncoder()
    encoder.batch_size = 8
    found = batches(jobs[20:60], Waiting(encoder, 40, free), encoder, 2)
    assert [len(next(found)), len(next(found))] == [8, 8]  # of the twenty that can be read
    free.set()
    assert sum(len(batch) for batch in found) == 24


def test_files_are_read_while_the_encoder_is_at_work(jobs):
    free, read = threading.Event(), threading.Semaphore(0)
    encoder = Told(8, free)

    class Counting(Reader):
        def read(self, job):
            read.release()
            return super().read(job)

    found = batches(jobs[20:60], Counting(encoder.info.preprocessing, {}, 10**6), encoder, 2)
    given = []
    caller = threading.Thread(target=lambda: given.extend(found))
    caller.start()
    assert encoder.begun.acquire(timeout=PATIENCE_S)
    for _ in range(8 + WINDOW_BATCHES * 8 - 8):
        assert read.acquire(timeout=PATIENCE_S)
    assert not given
    free.set()
    caller.join()
    assert [len(batch) for batch in given] == [8] * 5


def test_a_batch_of_one_image_leaves_no_thread_without_a_file(jobs, encoder):
    encoder.batch_size = 1
    together = threading.Barrier(6)

    class Meeting(Reader):
        def read(self, job):
            together.wait(PATIENCE_S)
            return super().read(job)

    found = [r for batch in batches(jobs[20:50], Meeting(encoder.info.preprocessing, {}, 10**6), encoder, 6)
             for r in batch]  # fmt: skip
    assert len(found) == 30


def test_an_error_of_the_encoder_reaches_the_caller_and_ends_the_threads(jobs):
    encoder = Told(8, error=EncoderError("the network is gone"))
    with pytest.raises(EncoderError, match="the network is gone"):
        list(batches(jobs, reader(encoder), encoder, 2))
    assert not ours()


def test_a_caller_that_stops_half_way_leaves_no_thread(jobs, encoder):
    encoder.batch_size = 8
    found = batches(jobs, reader(encoder), encoder, 2)
    next(found)
    found.close()
    assert not ours()


def test_one_picture_without_an_embedding_costs_only_itself(jobs):
    class Choosy(Told):
        def embed_images(self, pixels):
            rows = super().embed_images(pixels)
            if (pixels[:, 0, 0, 0] == 33).any():
                raise EmbeddingError("row 3 is not finite")
            return rows

    found = [r for batch in batches(jobs[20:60], reader(ColorEncoder()), Choosy(8), 2) for r in batch]
    assert [r.job.source_id for r in found if r.error] == ["033.png"]
    assert [r.job.source_id for r in found if r.embedding is None] == ["033.png"]
    assert "not finite" in str(found[13].error)


def test_all_readings_come_in_order_without_an_encoder(jobs, encoder):
    found = list(read_all(jobs, reader(encoder), 3, 24))
    assert [reading.job for reading in found] == jobs
    assert [i for i, reading in enumerate(found) if reading.pixels is None] == [10]


# -- Ctrl-C ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def _usual_ctrl_c():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupted(work):
    """Runs it with Ctrl-C held back, and expects that it is interrupted all the same."""

    def run():
        with held_back() as stop:
            work(stop)

    with pytest.raises(KeyboardInterrupt):
        run()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.usefixtures("_usual_ctrl_c")
def test_ctrl_c_waits_for_a_moment_without_locks():
    reached = []

    def work(stop):
        stop()
        signal.raise_signal(signal.SIGINT)
        reached.append("after the signal")
        stop()
        reached.append("after the stop")

    interrupted(work)
    assert reached == ["after the signal"]


@pytest.mark.usefixtures("_usual_ctrl_c")
def test_a_second_ctrl_c_does_not_wait():
    reached = []

    def work(stop):
        signal.raise_signal(signal.SIGINT)
        reached.append("after the first")
        signal.raise_signal(signal.SIGINT)
        reached.append("after the second")

    interrupted(work)
    assert reached == ["after the first"]


@pytest.mark.usefixtures("_usual_ctrl_c")
def test_ctrl_c_after_the_last_picture_is_not_lost():
    interrupted(lambda stop: signal.raise_signal(signal.SIGINT))


@pytest.mark.usefixtures("_usual_ctrl_c")
def test_ctrl_c_ends_the_batches_and_their_threads(jobs, encoder):
    encoder.batch_size = 4
    given = []

    def work(stop):
        for batch in batches(jobs, reader(encoder), encoder, 2, stop):
            given.extend(batch)
            if len(given) >= 40:
                signal.raise_signal(signal.SIGINT)

    interrupted(work)
    assert 40 <= len(given) <= 44
    assert not ours()


def test_a_caller_that_has_its_own_way_with_ctrl_c_keeps_it():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with held_back() as stop:
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
            signal.raise_signal(signal.SIGINT)
            stop()
    finally:
        signal.signal(signal.SIGINT, before)


def test_another_thread_than_the_main_one_leaves_ctrl_c_alone():
    seen = []

    def work():
        with held_back() as stop:
            stop()
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGINT)]
