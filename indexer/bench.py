"""`simsearch bench`: what bounds indexing on this machine, and which options suit it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from simsearch.encoders.base import Encoder, usable_cores
from simsearch.encoders.registry import DEFAULT, load_encoder
from simsearch.encoders.running import Running
from simsearch.errors import EncoderError, QueryError
from simsearch.indexer.workbench import Workbench, device_of, paint, sample_of
from simsearch.throughput import Part, Settings, Throughput, Trial
from simsearch.vectors import Rows
from simsearch.watch import Watch, silent

PART_S = 4.0
"""Seconds that the slowest part should take, where the number of images is ours to choose."""
FEWEST, MOST, PAINTED = 32, 1024, 256
"""Images, where their number is ours to choose: at least, at most, and at most where they have to be painted."""
PROBED = 16
"""Images by which the speed is guessed."""
TRIAL_S = 1.5
GAIN = 1.05
"""An option is worth changing from this speed on, against that without it: less is lost in the noise."""
AGREEMENT = 0.999
"""Least cosine with fp32 of the embeddings of a precision that may be proposed."""
PRECISIONS = ("bf16", "fp16")


def measure(
    folders: Sequence[Path] = (),
    encoder: str | None = None,
    running: Running | None = None,
    threads: int | None = None,
    images: int | None = None,
    watch: Watch | None = None,
) -> Throughput:
    """How fast an encoder indexes images of these folders here, or painted ones without a folder, and how it could.

    `images` of them are taken, by default as many as take a few seconds. Nothing is written but what is thrown away at
    the end. Raises QueryError for less than one image, SourceError where there is none, EncoderError.
    """
    if images is not None and images < 1:
        raise QueryError(f"{images} images measure nothing; give a whole number above 0")
    running, watch, threads = running or Running(), watch or silent, threads or usable_cores()
    folders = [Path(folder).expanduser() for folder in folders]
    jobs = sample_of(folders) if folders else []
    loaded = load_encoder(encoder or DEFAULT, running)
    with tempfile.TemporaryDirectory() as scratch:
        if not folders:
            jobs = paint(Path(scratch), images or PAINTED)
        taken = jobs[: images or _enough(loaded, jobs, threads, watch)]
        watch("reading the images", 0, 1)
        bench = Workbench.lay_out(loaded, taken, threads)
        found = _Measurement(bench, running, watch).go()
    command = _command(folders, encoder or DEFAULT, running, found.proposed, found.settings)
    return replace(found, painted=not folders, left_out=len(taken) - len(bench.jobs), command=command)


def _enough(encoder: Encoder, jobs: Sequence[Any], threads: int, watch: Watch) -> int:
    """So many images that the slowest part takes a few seconds."""
    watch("guessing the speed", 0, 1)
    probe = Workbench.lay_out(encoder, jobs[:PROBED], threads)
    probe.forward(0)  # a network is loaded when the first image comes
    slowest = max(probe.decode(threads), probe.forward(TRIAL_S)) / len(probe.jobs)
    return int(np.clip(PART_S / slowest, FEWEST, MOST))


class _Measurement:
    """One encoder on one workbench."""

    def __init__(self, bench: Workbench, running: Running, watch: Watch) -> None:
        self.bench, self.running, self.watch = bench, running, watch
        self.runner: Any = getattr(bench.encoder, "runner", None)
        """How a network of torch is run, None of other encoders: `precision` and `batch_size` can be set."""
        self.trials: list[Trial] = []

    def go(self) -> Throughput:
        bench, settings = self.bench, self._settings(self.bench.threads)
        bench.forward(0)
        measured = {
            "decode": lambda: bench.decode(bench.threads),
            "copy": bench.copy,
            "forward": bench.forward,
            "write": bench.write,
        }
        taken = {name: self._part(name, run) for name, run in measured.items()}
        parts = [Part(name, seconds) for name, seconds in taken.items() if seconds is not None]
        together = Part("together", self._part("together", lambda: bench.together(bench.threads)) or 0.0)
        proposed = self._propose(settings)
        again = self._again(proposed, together, settings) if proposed != settings else None
        proposed = proposed if again else settings
        return Throughput(
            encoder=str(bench.encoder.info), device=device_of(bench.encoder), cores=usable_cores(),
            images=len(bench.jobs), painted=False, left_out=0, settings=settings, batch_size=bench.encoder.batch_size,
            parts=tuple(parts), together=together, trials=tuple(self.trials), proposed=proposed,
            proposed_together=again, command=(),
        )  # fmt: skip

    def _again(self, proposed: Settings, first: Part, settings: Settings) -> Part | None:
        """All parts together as proposed, None where that gains nothing: what was quicker alone may not be so then."""
        with self._as(proposed):
            self.bench.forward(0)
            seconds = self._part("together, as proposed", lambda: self.bench.together(proposed.threads)) or 0.0
        before = self._part("together, as before", lambda: self.bench.together(settings.threads)) or 0.0
        return Part("together", seconds) if GAIN * seconds < min(before, first.seconds) else None

    def _part(self, name: str, run: Callable[[], float | None]) -> float | None:
        self.watch(f"measuring: {name}", 0, 1)
        return run()

    def _settings(self, threads: int) -> Settings:
        if self.runner is None:
            return Settings(threads, None, None)
        return Settings(threads, self.runner.precision, self.runner.batch_size)

    @contextmanager
    def _as(self, settings: Settings) -> Iterator[None]:
        """The network run in another way for a while."""
        if self.runner is None:
            yield
            return
        before = self.runner.precision, self.runner.batch_size
        self.runner.precision, self.runner.batch_size = settings.precision, settings.batch
        try:
            yield
        finally:
            self.runner.precision, self.runner.batch_size = before

    # -- trials --------------------------------------------------------------------------------------------------------

    def _propose(self, now: Settings) -> Settings:
        """The settings that short trials make likely, each tried upon the ones before."""
        proposed = now
        if self.runner is not None:
            proposed = self._precision(proposed)
            proposed = self._batch(proposed)
        return self._threads(proposed)

    def _precision(self, now: Settings) -> Settings:
        """bf16 or fp16 where it is quicker than fp32 here and gives the same embeddings."""
        self.watch("trying: precision", 0, 1)
        with self._as(replace(now, precision="fp32")):
            truth = self.bench.rows()
        rates: dict[str, float] = {}
        for precision in ("fp32", *PRECISIONS):
            with self._as(replace(now, precision=precision)):
                try:
                    started = time.perf_counter()
                    rows = self.bench.rows()
                    took = time.perf_counter() - started
                    rate = self._rate() if took < TRIAL_S else len(rows) / took
                except (EncoderError, RuntimeError):  # what this processor or device does not compute in
                    continue
            cosine = _lowest_cosine(rows, truth)
            self.trials.append(Trial("precision", precision, rate, cosine))
            if cosine >= AGREEMENT:
                rates[precision] = rate
        best = max(rates, key=lambda name: rates[name])
        current = now.precision if now.precision in rates else "fp32"
        return replace(now, precision=best if rates[best] > GAIN * rates[current] else current)

    def _batch(self, now: Settings) -> Settings:
        """Four times the batch, and again, while that is quicker; else a quarter, likewise."""
        self.watch("trying: batch size", 0, 1)
        assert now.batch is not None
        best, rate = now.batch, self._try_batch(now, now.batch)
        for factor in (4, 1 / 4):
            size = int(best * factor)
            while size >= 1 and (tried := self._try_batch(now, size)) > GAIN * rate:
                best, rate, size = size, tried, int(size * factor)
            if best != now.batch:
                break
        return replace(now, batch=best)

    def _try_batch(self, now: Settings, size: int) -> float:
        with self._as(replace(now, batch=size)):
            try:
                self.bench.forward(0)
                rate = self._rate()
            except EncoderError:  # not even one image fits
                return 0.0
            if self.runner.batch_size != size:  # memory ended, and the batch was halved
                return 0.0
        self.trials.append(Trial("batch", str(size), rate))
        return rate

    def _threads(self, now: Settings) -> Settings:
        """As many threads as there are, unless others decode quicker."""
        self.watch("trying: threads", 0, 1)
        cores, images = usable_cores(), len(self.bench.jobs)
        rates = {}
        for threads in sorted({1, max(1, cores // 2), cores, 2 * cores, now.threads}):
            rates[threads] = images / self.bench.decode(threads)
            self.trials.append(Trial("threads", str(threads), rates[threads]))
        enough = [threads for threads in rates if rates[threads] * GAIN > max(rates.values())]
        return replace(now, threads=now.threads if now.threads in enough else enough[0])

    def _rate(self) -> float:
        return len(self.bench.jobs) / self.bench.forward(TRIAL_S)


def _lowest_cosine(rows: Rows, truth: Rows) -> float:
    return round(float(np.einsum("ij,ij->i", rows, truth, dtype=np.float64).min()), 6)


def _command(
    folders: Sequence[Path], encoder: str, running: Running, proposed: Settings, now: Settings
) -> tuple[str, ...]:
    """The words of `simsearch index` with all that differs from what it does by itself."""
    words = ["simsearch", "index", *(map(str, folders) if folders else ("FOLDER",)), "--encoder", encoder]
    if running.device != "auto":
        words += ["--device", running.device]
    if proposed.precision is not None and (proposed.precision != now.precision or running.precision != "auto"):
        words += ["--precision", proposed.precision]
    if proposed.batch is not None and (proposed.batch != now.batch or running.batch_size is not None):
        words += ["--batch", str(proposed.batch)]
    if proposed.threads != usable_cores():
        words += ["--threads", str(proposed.threads)]
    return tuple(words)
