"""What a run of the indexer did, for people."""

from __future__ import annotations

from dataclasses import replace
from typing import IO

from simsearch.records import IndexReport
from simsearch.show.text import harmless

NOTES_SHOWN = 10


def show_report(report: IndexReport, out: IO[str]) -> None:
    """The counts on one line, then what was left aside, failed files by reason, and folders that were not there."""
    if report.followed_by:
        for each in (replace(report, followed_by=()), *report.followed_by):
            out.write(f"{harmless(each.encoder)}: ")
            show_report(each, out)
        return
    counts = ("added", "changed", "moved", "removed", "unchanged")
    said = [f"{getattr(report, name):,} {name}" for name in counts] + [f"{report.failures:,} failed"]
    rate = report.embedded / report.seconds if report.seconds else 0
    speed = f", {rate:.{0 if rate >= 10 else 1}f} images/s" if rate else ""
    out.write(f"{', '.join(said)} in {report.seconds:.1f} s{speed}\n")
    if report.described:
        out.write(f"{report.described:,} works described anew by tables and lists\n")
    if report.absent:
        out.write(f"{report.absent:,} rows of tables and lists name images that are not there\n")
    for note in report.notes[:NOTES_SHOWN]:
        out.write(harmless(note) + "\n")
    if len(report.notes) > NOTES_SHOWN:
        out.write(f"and {len(report.notes) - NOTES_SHOWN:,} more such rows\n")
    for reason, files in report.failed.items():
        out.write(f"failed: {files:,} {reason}\n")
    if report.failed:
        out.write("simsearch info --failures lists them\n")
    for sentence in report.unreachable:
        out.write(f"not reached: {harmless(sentence)}\n")
    if report.interrupted:
        out.write("interrupted: what is done is kept; run `simsearch index` again to go on\n")
