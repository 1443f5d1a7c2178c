"""How far a long run is: a bar with images a second and the time left on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO

LINE_EVERY_S = 10.0


@contextmanager
def progress(out: IO[str], unit: str = "images") -> Iterator[Callable[[str, int, int], None]]:
    """A function to be told what is being done, how much of it is done, and of how much.

    `unit` names what is counted; where it is empty the parts differ, and no speed is told.
    """
    if not out.isatty():
        yield _Lines(out, unit)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

    columns = (
        SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"), TimeRemainingColumn(compact=True),
    )  # fmt: skip
    with Progress(*columns, console=Console(file=out), transient=True, refresh_per_second=4) as bar:
        tasks = {}
        started = time.perf_counter()

        def watch(what: str, done: int, of: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=of, rate="")
            speed = done / max(time.perf_counter() - started, 1e-9)
            bar.update(tasks[what], completed=done, rate=f"{speed:.0f} {unit}/s" if unit and done and of > 1 else "")

        yield watch


class _Lines:
    """A line at the start of each part, then one every ten seconds, for logs."""

    def __init__(self, out: IO[str], unit: str) -> None:
        self._out = out
        self._unit = unit
        self._what = ""
        self._started = self._said = time.perf_counter()

    def __call__(self, what: str, done: int, of: int) -> None:
        now = time.perf_counter()
        if what != self._what:
            self._what, self._started, self._said = what, now, now
            self._out.write(f"{what}: {of} {self._unit}\n" if of > 1 and self._unit else f"{what}\n")
        elif done < of and now - self._said >= LINE_EVERY_S:
            self._said = now
            speed = done / (now - self._started)
            left = (of - done) / speed if speed else 0.0
            rate = f", {speed:.0f} {self._unit}/s" if self._unit else ""
            self._out.write(f"{what}: {done} of {of}{rate}, {left:.0f} s left\n")
        self._out.flush()
