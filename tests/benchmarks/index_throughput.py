"""Images a second of `index` beside decoding alone (d) and the encoder alone (f), each on the same cores; peak memory.

    python tests/benchmarks/index_throughput.py --art ART [--encoder NAME] [--limit N] [--rounds 3]

Two shared cores allow 1 / (1/d + 1/f) images a second; the pipeline is held against that. d reads, digests, decodes and
fits every file in the indexer's own threads; f embeds fitted pixels in batches; the pipeline is the whole of
`index_folders` into a new collection: walk, table, digests, decode, embed, commits, index.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from bench import SIMSEARCH, arguments, finish, interleaved, peak_memory, ratio, timed

from simsearch.collection import Collection
from simsearch.encoders.base import usable_cores
from simsearch.encoders.registry import load_encoder
from simsearch.images import DEFAULT_MAX_PIXELS
from simsearch.indexer.changes import Job
from simsearch.indexer.pipeline import Reader
from simsearch.indexer.run import Options, index_folders
from simsearch.indexer.scan import scan


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the benchmark."""
    args = arguments(__doc__, argv, encoder="color", limit=0, rounds=3)
    with tempfile.TemporaryDirectory() as scratch:
        folder = pictures(args.art, Path(scratch) / "pictures", 40 if args.smoke else args.limit)
        result = _rates(folder, Path(scratch), args.encoder, 1 if args.smoke else args.rounds)
        result["memory"] = _memory(folder, Path(scratch), args.encoder, (20, 40) if args.smoke else (2000, 0))
    finish("index_throughput" if args.encoder == "color" else "index_throughput_onnx", result, args)


def pictures(art: Path, folder: Path, limit: int) -> Path:
    """A folder of links to the first `limit` works of wikiart, evenly over the styles, with its table; 0 for all."""
    table = art / "wikiart" / "artworks.csv"
    if not limit:
        return art / "wikiart"
    folder.mkdir(parents=True)
    found = sorted(path for path in (art / "wikiart").rglob("*") if path.suffix in (".webp", ".jpg", ".png"))
    for path in found[:: max(1, len(found) // limit)][:limit]:
        place = folder / path.relative_to(art / "wikiart")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(path)
    if table.exists():
        shutil.copy(table, folder / "artworks.csv")
    return folder


def _rates(folder: Path, scratch: Path, encoder_name: str, rounds: int) -> dict[str, object]:
    encoder = load_encoder(encoder_name)
    seen = scan(folder)
    jobs = [Job(1, "bench", folder, name, *stat, None) for name, stat in seen.files.items()]
    reader = Reader(encoder.info.preprocessing, {}, DEFAULT_MAX_PIXELS)
    cores = usable_cores()

    def decode() -> None:
        with ThreadPoolExecutor(cores) as pool:
            for start in range(0, len(jobs), 512):
                for reading in pool.map(reader.read, jobs[start : start + 512]):
                    assert reading.error is None, reading.error

    sample = [reader.read(job).pixels for job in jobs[:: max(1, len(jobs) // 512)][:512]]
    pixels = np.stack([p for p in sample if p is not None])

    def forward() -> None:
        for start in range(0, len(jobs), encoder.batch_size):
            at = start % max(1, len(pixels) - encoder.batch_size)
            encoder.embed_images(pixels[at : at + encoder.batch_size])

    def pipeline() -> None:
        shutil.rmtree(scratch / "collection", ignore_errors=True)
        with Collection.create(scratch / "collection") as collection:
            report = index_folders(collection, [folder], Options(encoder=encoder_name))
        assert report.embedded + report.unchanged >= 0.99 * len(jobs), report

    seconds = interleaved(rounds, {"decode": lambda: timed(decode), "forward": lambda: timed(forward),
                                   "pipeline": lambda: timed(pipeline)}, warm_up=0)  # fmt: skip
    allowed = [d + f for d, f in zip(seconds["decode"], seconds["forward"], strict=True)]
    rate = {name: round(len(jobs) / statistics.median(s), 1) for name, s in seconds.items()}
    return {
        "encoder": str(encoder.info),
        "images": len(jobs),
        "images_per_s": rate,
        "of_what_two_cores_allow": ratio(allowed, seconds["pipeline"]),
        "seconds": seconds,
    }


def _memory(folder: Path, scratch: Path, encoder_name: str, sizes: Sequence[int]) -> dict[str, float]:
    """Peak memory in MB of whole `index` processes over so many images; 0 for all."""
    out = {}
    names = sorted(scan(folder).files)
    for size in sizes:
        chosen = names[:: max(1, len(names) // size)][:size] if size else names
        part = scratch / f"part{size}"
        for name in chosen:
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            (part / name).symlink_to((folder / name).resolve())
        place = scratch / f"memory{size}"
        place.mkdir()
        command = [*SIMSEARCH, "index", str(part), "--collection", str(place), "--encoder", encoder_name]
        out[str(len(chosen))] = round(peak_memory(command) / 1e6, 1)
    return out


if __name__ == "__main__":
    main()
