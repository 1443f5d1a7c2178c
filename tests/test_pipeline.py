"""Reading ahead in threads: the order, what is held at once, and Ctrl-C."""

import hashlib
import signal
import threading

import numpy as np
import pytest
from PIL import Image

from simsearch.encoders.color import ColorEncoder
from simsearch.indexer.changes import Job
from simsearch.indexer.pipeline import WINDOW_BATCHES, Reader, batches, held_back

WORKS = 150


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


@pytest.mark.parametrize("size", [1, 8])
def test_no_more_is_read_ahead_than_a_few_batches(jobs, encoder, size):
    encoder.batch_size = size
    read = []

    class Counting(Reader):
        def read(self, job):
            read.append(job)
            return super().read(job)

    given = 0
    for batch in batches(jobs, Counting(encoder.info.preprocessing, {}, 10**6), encoder, 2):
        given += len(batch)
        assert len(read) <= given + WINDOW_BATCHES * size
    assert given == len(read) == WORKS


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
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


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
