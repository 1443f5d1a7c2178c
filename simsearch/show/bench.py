"""How fast a machine indexes, what bounds it, and what was proposed, for people."""

from __future__ import annotations

import shlex
from typing import IO

from simsearch.show.numbers import counted, decimals
from simsearch.show.table import table
from simsearch.show.text import harmless
from simsearch.throughput import PARTS, PROCESSOR, Part, Settings, Throughput, Trial

DISTURBED = 1.05
"""Share of the possible speed above which a figure cannot be right."""


def show_throughput(found: Throughput, out: IO[str]) -> None:
    """What was measured; each part with images a second; what bounds; what was tried; the command that is proposed."""
    on = "the processor" if found.device == PROCESSOR else found.device
    images = counted(found.images, "painted image" if found.painted else "image")
    out.write(f"{harmless(found.encoder)} on {on}: {_said(found.settings, found.batch_size)}; {images}\n")
    if found.left_out:
        out.write(f"{counted(found.left_out, 'file')} gave no picture and {_was(found.left_out)} left out\n")
    parts = {part.name: part for part in (*found.parts, found.together)}
    rows = [_row(name, parts.get(name), found.images) for name in (*PARTS, "together")]
    table(["part", "images/s", "seconds"], rows, out, right=frozenset((1, 2)))
    out.write(bound(found) + "\n")
    if found.trials:
        tried = [(trial.option, trial.value, f"{trial.images_per_s:,.0f}", _cosine(trial)) for trial in found.trials]
        out.write("\n")
        table(["tried", "value", "images/s", "cosine"], tried, out, right=frozenset((1, 2, 3)))
    out.write("\n" + proposal(found) + "\n" + harmless(shlex.join(found.command)) + "\n")


def bound(found: Throughput) -> str:
    """Which part bounds the whole, and how much of what this machine allows is reached."""
    longest, whole = found.longest, found.together.seconds
    sentence = f"{longest.name} bounds: {longest.seconds:.2f} of {whole:.2f} s"
    share = found.allowed_s / max(whole, 1e-9)
    reached = f"{100 * share:.0f} % of that speed is reached"
    if share > DISTURBED:
        reached = "more than that is reached, so other work disturbed the figures"
    if found.device == PROCESSOR:
        cores = counted(found.cores, "core")
        return f"{sentence}; all parts share {cores}, which allow {found.allowed_s:.2f} s at best: {reached}"
    return f"{sentence}; the parts run side by side, which allows {found.allowed_s:.2f} s at best: {reached}"


def proposal(found: Throughput) -> str:
    """What was proposed, with what it gained."""
    said = _said(found.proposed, found.batch_size)
    if found.proposed_together is None:
        return f"proposed: {said}, as measured; nothing that was tried is quicker by 5 %"
    times = found.together.seconds / max(found.proposed_together.seconds, 1e-9)
    rate = found.proposed_together.rate(found.images)
    return f"proposed: {said}; together {rate:,.0f} images/s, {decimals(times)} times as many"


def _said(settings: Settings, batch_size: int) -> str:
    threads = counted(settings.threads, "decoding thread")
    said = f"{threads}, batches of {settings.batch or batch_size}"
    return said + (f", {settings.precision}" if settings.precision else "")


def _row(name: str, part: Part | None, images: int) -> tuple[str, str, str]:
    return (name, f"{part.rate(images):,.0f}", f"{part.seconds:.2f}") if part else (name, "-", "-")


def _cosine(trial: Trial) -> str:
    return "" if trial.cosine is None else f"{trial.cosine:.5f}"


def _was(number: int) -> str:
    return "was" if number == 1 else "were"
