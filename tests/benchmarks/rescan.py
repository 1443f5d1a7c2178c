"""A second `index` over an unchanged folder beside a bare walk of it with os.scandir and stat, in one process.

python tests/benchmarks/rescan.py --art ART
"""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench import arguments, finish, interleaved, ratio, timed
from index_throughput import pictures

from simsearch.collection import Collection
from simsearch.indexer.run import index_folders


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the benchmark."""
    args = arguments(__doc__, argv)
    with tempfile.TemporaryDirectory() as scratch:
        folder = pictures(args.art, Path(scratch) / "pictures", 40 if args.smoke else 0)
        with Collection.create(Path(scratch) / "collection") as collection:
            first = index_folders(collection, [folder])

            def again() -> None:
                report = index_folders(collection, [folder])
                assert report.unchanged == first.added, report

            cases = {"walk": lambda: timed(lambda: walk(str(folder))), "again": lambda: timed(again)}
            seconds = interleaved(3 if args.smoke else 15, cases)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    finish("rescan", {"images": first.added, "median_s": medians, "ratio": ratio(seconds["again"], seconds["walk"]),
                      "seconds": seconds}, args)  # fmt: skip


def walk(folder: str) -> int:
    """Number of files below a folder, each of which was asked for its size and time."""
    count = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                count += walk(entry.path)
            else:
                entry.stat()
                count += 1
    return count


if __name__ == "__main__":
    main()
