"""Cold `simsearch similar` as a whole process, at 1,000 and 22,000 works, beside what Python itself takes.

    python tests/benchmarks/cold_query.py --art ART

Interleaved: `python -c "import click"`, `--help`, `python -c "import click, numpy, sqlalchemy"`, a stored work, and a
new file, at both sizes; 10 rounds after a warm-up. A second part breaks the query of a new file down into start-up,
decode, embed and search, with clock readings inside one process.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import SIMSEARCH, arguments, finish, interleaved, process, ratio
from index_throughput import pictures
from PIL import Image

BASE = [sys.executable, "-c", "import click, numpy, sqlalchemy"]
CLICK = [sys.executable, "-c", "import click"]
PARTS = """
import json, sys, time
t = [time.perf_counter()]
import click, numpy, sqlalchemy
t.append(time.perf_counter())
import simsearch.cli
from pathlib import Path
from simsearch import images, query, search, vectors
from simsearch.collection import Collection
collection = Collection.open(sys.argv[1])
entry = collection.encoder_entry()
t.append(time.perf_counter())
data = images.read_bytes(Path(sys.argv[2]))
encoder = collection.load(entry)
rule = encoder.info.preprocessing
pixels = images.fit(images.decode(data, "new", side=rule.size), rule)
t.append(time.perf_counter())
row = vectors.as_stored(encoder.embed_images(pixels[None]))
t.append(time.perf_counter())
search.find(collection, [query.Query("new", row)], 10, search.Filters())
t.append(time.perf_counter())
names = ["import click, numpy, sqlalchemy", "rest of start-up", "decode", "embed", "search"]
print(json.dumps({n: b - a for n, a, b in zip(names, t, t[1:])}))
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the benchmark."""
    args = arguments(__doc__, argv)
    sizes = {"20": 20, "40": 40} if args.smoke else {"1000": 1000, "22000": 22000}
    with tempfile.TemporaryDirectory() as scratch:
        new = Path(scratch) / "new.jpg"
        _new_picture(args.art, new)
        collections = {label: _collection(args.art, Path(scratch), size) for label, size in sizes.items()}
        cases: dict[str, Callable[[], float]] = {
            "import click": lambda: process(CLICK),
            "--help": lambda: process([*SIMSEARCH, "--help"]),
            "import click, numpy, sqlalchemy": lambda: process(BASE),
        }
        for label, folder in collections.items():
            for kind, query in (("stored work", "7"), ("new file", str(new))):
                command = [*SIMSEARCH, "similar", query, "--collection", str(folder)]
                cases[f"{kind}, {label} works"] = lambda command=command: process(command)  # type: ignore[misc]
        rounds = 2 if args.smoke else 10
        seconds = interleaved(rounds, cases)
        parts = {label: _parts(folder, new, rounds) for label, folder in collections.items()}
    result = {
        "p50_s": {name: round(statistics.median(values), 4) for name, values in seconds.items()},
        "ratios": _ratios(seconds, *sizes),
        "parts_ms": parts,
        "seconds": seconds,
    }
    finish("cold_query", result, args)


def _ratios(seconds: dict[str, list[float]], small: str, large: str) -> dict[str, float]:
    """What start-up costs beside its imports, and what a larger collection adds."""
    base = "import click, numpy, sqlalchemy"
    out = {"--help / import click": ratio(seconds["--help"], seconds["import click"])}
    for label in (small, large):
        out[f"stored work, {label} works / {base}"] = ratio(seconds[f"stored work, {label} works"], seconds[base])
    for kind in ("stored work", "new file"):
        name = f"{kind}: {large} / {small} works"
        out[name] = ratio(seconds[f"{kind}, {large} works"], seconds[f"{kind}, {small} works"])
    return out


def _collection(art: Path, scratch: Path, size: int) -> Path:
    folder = scratch / f"c{size}"
    folder.mkdir()
    process([*SIMSEARCH, "index", str(pictures(art, scratch / f"p{size}", size)), "--collection", str(folder)])
    return folder


def _new_picture(art: Path, path: Path) -> None:
    """A JPEG of 1,024 px that no collection holds: a large one as found where there is one, brightened a little."""
    found = sorted((art / "large").glob("*.jpg")) or sorted(art.rglob("*.jpg")) or sorted(art.rglob("*.webp"))
    with Image.open(found[0]) as image:
        bright = image.convert("RGB").point([min(255, value + 4) for value in range(256)] * 3)
        bright.resize((1024, 1024 * image.height // image.width)).save(path, quality=90)


def _parts(folder: Path, new: Path, rounds: int) -> dict[str, float]:
    """Median milliseconds of each part of a new file's query."""
    runs = []
    for _ in range(rounds + 1):
        done = subprocess.run(
            [sys.executable, "-c", PARTS, str(folder), str(new)], capture_output=True, text=True, check=True
        )
        runs.append(json.loads(done.stdout))
    return {name: round(1000 * statistics.median(run[name] for run in runs[1:]), 1) for name in runs[0]}


if __name__ == "__main__":
    main()
