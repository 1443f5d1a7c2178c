"""Embeds ART/wikiart and ART/pairs with one encoder, into the file that the yardstick of frozen embeddings reads.

    python tests/benchmarks/embed_wikiart.py ART OUT.npz [--encoder color]

OUT.npz holds `path` (n,), relative to ART, and `embedding` (n, dim) float32. Standard output gets one line of JSON: the
encoder, the number of images, and images a second of the encoder alone, decoding left out.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from simsearch.encoders.base import Pixels
from simsearch.encoders.registry import load_encoder
from simsearch.images import SUFFIXES, decode, fit

FOLDERS = ("wikiart", "pairs")


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("art", type=Path, metavar="ART")
    parser.add_argument("out", type=Path, metavar="OUT.npz")
    parser.add_argument("--encoder", default="color", help="a built-in name or a model folder")
    args = parser.parse_args(argv)
    paths = [path for name in FOLDERS for path in sorted((args.art / name).rglob("*")) if path.suffix in SUFFIXES]
    if not paths:
        raise SystemExit(f"{args.art} holds no images in {' or '.join(FOLDERS)}")

    encoder = load_encoder(args.encoder)
    to = encoder.info.preprocessing

    def pixels(path: Path) -> Pixels:
        return fit(decode(path.read_bytes(), str(path), side=to.size), to)

    rows, seconds = [], 0.0
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(paths), encoder.batch_size):
            batch = np.stack(list(pool.map(pixels, paths[start : start + encoder.batch_size])))
            started = time.perf_counter()
            rows.append(encoder.embed_images(batch))
            seconds += time.perf_counter() - started
            print(f"\r{start + len(batch):,} of {len(paths):,}", end="", file=sys.stderr)
    print(file=sys.stderr)
    names = [path.relative_to(args.art).as_posix() for path in paths]
    np.savez(args.out, path=np.array(names), embedding=np.concatenate(rows))
    print(json.dumps({"encoder": str(encoder.info), "images": len(paths), "images_per_s": round(len(paths) / seconds)}))


if __name__ == "__main__":
    main()
