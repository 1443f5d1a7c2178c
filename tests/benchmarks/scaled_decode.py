"""Cosine between the embeddings of a JPEG decoded at full scale and at the reduced scale that the indexer takes.

    python tests/benchmarks/scaled_decode.py --art ART [--encoder NAME]

200 large JPEGs: those found (ART/large, and ART/pairs with both sides of 448 px or more), the same enlarged two,
three and four times with fresh grain, so that every scale of the format comes up, and works of the demo painter at
1,400 px, whose dots and hatching are the hardest case. A file counts only where the decoder took a reduced scale.
"""

from __future__ import annotations

import importlib.util
import io
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import perf_counter

import numpy as np
from bench import ROOT, arguments, finish
from PIL import Image

from simsearch import images
from simsearch.encoders.registry import load_encoder

WANTED = 200
LEAST_SIDE = 448


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the benchmark."""
    args = arguments(__doc__, argv, encoder="color")
    encoder = load_encoder(args.encoder)
    rule = encoder.info.preprocessing
    cosines, factors, full_s, scaled_s = [], [], 0.0, 0.0
    wanted = 6 if args.smoke else WANTED
    with tempfile.TemporaryDirectory() as scratch:
        for data in _jpegs(args.art, Path(scratch), wanted):
            started = perf_counter()
            full = images.decode(data, "full")
            middle = perf_counter()
            scaled = images.decode(data, "scaled", side=rule.size)
            ended = perf_counter()
            factor = round(full.width / scaled.image.width)
            if factor > 1:
                rows = encoder.embed_images(np.stack([images.fit(full, rule), images.fit(scaled, rule)]))
                cosines.append(float(rows[0] @ rows[1]))
                factors.append(factor)
                full_s, scaled_s = full_s + middle - started, scaled_s + ended - middle
            if len(cosines) == wanted:
                break
    result = {
        "encoder": str(encoder.info), "margin": images.SCALED_DECODE_MARGIN, "jpegs": len(cosines),
        "by_scale": {f"1/{f}": factors.count(f) for f in sorted(set(factors))},
        "cosine": {"median": round(statistics.median(cosines), 5), "worst": round(min(cosines), 5)},
        "decode_speed_up": round(full_s / scaled_s, 2), "cosines": [round(c, 5) for c in cosines],
    }  # fmt: skip
    finish("scaled_decode" if args.encoder == "color" else "scaled_decode_onnx", result, args)


def _jpegs(art: Path, scratch: Path, wanted: int) -> Iterator[bytes]:
    """JPEG files' bytes: found ones, enlarged ones, painted ones."""
    found = [p.read_bytes() for p in sorted([*(art / "large").glob("*.jpg"), *(art / "pairs").rglob("*.jpg")])]
    found = [data for data in found if min(Image.open(io.BytesIO(data)).size) >= LEAST_SIDE]
    yield from found
    spec = importlib.util.spec_from_file_location("paint_gallery", ROOT / "docs" / "demo" / "paint_gallery.py")
    assert spec is not None
    assert spec.loader is not None
    painter = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(painter)
    painter.paint_gallery(scratch, works_per_manner=max(1, wanted // 100), seed=3, size=1400)
    for path in sorted(scratch.rglob("*.jpg")):
        yield path.read_bytes()
    for i, data in enumerate(found):
        for times, quality in ((2, 95), (3, 75), (4, 90)):
            yield _enlarged(data, times, quality, seed=10 * i + times)


def _enlarged(data: bytes, times: int, quality: int, seed: int) -> bytes:
    with Image.open(io.BytesIO(data)) as image:
        large = image.convert("RGB").resize((image.width * times, image.height * times), Image.Resampling.LANCZOS)
    grain = np.random.default_rng(seed).normal(0, 6, (large.height, large.width, 1))
    out = io.BytesIO()
    Image.fromarray(np.clip(np.asarray(large) + grain, 0, 255).astype(np.uint8)).save(out, "JPEG", quality=quality)
    return out.getvalue()


if __name__ == "__main__":
    main()
