"""IVF against exact search at 100,000 and 1,000,000 embeddings, from a mixture fitted to real ones.

    python tests/benchmarks/index_scale.py --art ART --embeddings rows.npy [--sizes 100000,1000000]

`rows.npy` holds real embeddings (n, d); without it those of ART/wikiart by `color` are taken. The mixture: 2,048
k-means centres of the real unit rows, each with the variances of its members in the principal axes of all residuals;
works and queries are drawn from it apart. The spread of a work's nearest neighbours is printed beside the real one.
Each figure of a kind comes from processes of its own: a cold query opens the index and searches once.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from bench import arguments, finish

from simsearch import vectors
from simsearch.index.exact import ExactIndex, search_rows
from simsearch.index.ivf import IvfIndex
from simsearch.indexer.publish import RECALL_WANTED, build
from simsearch.vectors import Rows

CENTRES = 2048
COLD = """
import sys, time
started = time.perf_counter()
import numpy as np
from pathlib import Path
queries = np.load(sys.argv[3])
middle = time.perf_counter()
if sys.argv[1] == "exact":
    from simsearch.index.exact import ExactIndex as Kind
else:
    from simsearch.index.ivf import IvfIndex as Kind
index = Kind.open(Path(sys.argv[2]))
index.search(queries[:1], 10)
first = time.perf_counter()
for query in queries[:int(sys.argv[4])]:
    index.search(query[None], 10)
single = time.perf_counter()
index.search(queries, 10)
batch = time.perf_counter()
print({"cold_ms": 1000 * (first - middle), "single_per_s": int(sys.argv[4]) / (single - first),
       "batch_per_s": len(queries) / (batch - single),
       "peak_mb": int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) / 1024})
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the benchmark."""
    args = arguments(__doc__, argv, embeddings="", sizes="20000,50000,100000,200000,1000000", rounds=5)
    sizes = [2000] if args.smoke else [int(n) for n in args.sizes.split(",")]
    real = _real(args)
    mixture = Mixture(real, 16 if args.smoke else CENTRES)
    result: dict[str, Any] = {"dim": real.shape[1], "real_rows": len(real), "recall_wanted": RECALL_WANTED, "sizes": {}}
    result["nearest_cosine"] = _spread(real, mixture)
    for n in sizes:
        with tempfile.TemporaryDirectory() as scratch:
            result["sizes"][str(n)] = _measure(mixture, n, Path(scratch), 2 if args.smoke else args.rounds)
            print(n, json.dumps(result["sizes"][str(n)]), file=sys.stderr)
    finish("index_scale", result, args)


class Mixture:
    """A mixture of Gaussians with diagonal covariances in the principal axes of the residuals."""

    def __init__(self, rows: Rows, centres: int) -> None:
        import faiss

        kmeans = faiss.Kmeans(rows.shape[1], centres, niter=20, seed=5, min_points_per_centroid=1)
        kmeans.train(rows)
        member = kmeans.index.search(rows, 1)[1][:, 0]
        residuals = rows - kmeans.centroids[member]
        self._axes = np.linalg.eigh(np.cov(residuals.T))[1].astype(np.float32)
        turned = residuals @ self._axes
        overall = turned.var(axis=0)
        self._share = np.bincount(member, minlength=centres) / len(member)
        self._centres = kmeans.centroids
        # shrunk towards the variance of all: a centre with a dozen members cannot tell four hundred variances
        count = np.bincount(member, minlength=centres)[:, None]
        sums = np.zeros((centres, rows.shape[1]))
        np.add.at(sums, member, turned**2)
        self._deviation = np.sqrt((sums + 50 * overall) / (count + 50)).astype(np.float32)

    def draw(self, n: int, seed: int) -> Rows:
        """Unit rows (n, dim) as the catalog would keep them."""
        rng = np.random.default_rng(seed)
        out = np.empty((n, self._centres.shape[1]), np.float32)
        for start in range(0, n, 50_000):
            which = rng.choice(len(self._share), min(50_000, n - start), p=self._share)
            noise = rng.standard_normal((len(which), out.shape[1]), dtype=np.float32) * self._deviation[which]
            out[start : start + len(which)] = vectors.as_stored(
                vectors.unit_rows(self._centres[which] + noise @ self._axes.T)
            )
        return out


def _real(args: Any) -> Rows:
    if args.embeddings:
        return vectors.unit_rows(np.load(args.embeddings).astype(np.float32))
    from concurrent.futures import ThreadPoolExecutor

    from simsearch import images
    from simsearch.encoders.registry import load_encoder

    encoder = load_encoder("color")
    paths = sorted(p for p in (args.art / "wikiart").rglob("*") if p.suffix in (".webp", ".jpg"))
    with ThreadPoolExecutor() as pool:
        rule = encoder.info.preprocessing
        pixels = list(pool.map(lambda p: images.fit(images.decode(p.read_bytes(), str(p)), rule), paths))
    return np.concatenate([encoder.embed_images(np.stack(pixels[i : i + 64])) for i in range(0, len(pixels), 64)])


def _spread(real: Rows, mixture: Mixture) -> dict[str, dict[str, float]]:
    """Quartiles of the cosine of the nearest and of the tenth neighbour, real and drawn, among as many works."""
    out = {}
    for name, rows in (("real", real), ("drawn", mixture.draw(len(real), 1))):
        found = search_rows(rows[:500], rows, np.arange(len(rows)), 11)[0]
        out[name] = {f"{which} {q} %": round(float(np.percentile(found[:, place], q)), 3)
                     for which, place in (("nearest", 1), ("tenth", 10)) for q in (25, 50, 75)}  # fmt: skip
    return out


def _measure(mixture: Mixture, n: int, scratch: Path, rounds: int) -> dict[str, Any]:
    rows, ids = mixture.draw(n, 2), np.arange(1, n + 1)
    queries = mixture.draw(256, 3)
    np.save(scratch / "queries.npy", queries)
    exact = ExactIndex()
    started = time.perf_counter()
    exact.build(rows, ids)
    out: dict[str, Any] = {"exact": {"build_s": round(time.perf_counter() - started, 2)}}
    truth = search_rows(queries, rows, ids, 10)[1]
    _save(exact, scratch / "exact")
    del exact
    started = time.perf_counter()
    ivf, stored_recall = build(rows, ids, "ivf")
    assert isinstance(ivf, IvfIndex)
    found = ivf.search(queries, 10)[1]
    recall = np.mean([len({*a} & {*b}) / 10 for a, b in zip(truth.tolist(), found.tolist(), strict=True)])
    out["ivf"] = {
        "build_and_tune_s": round(time.perf_counter() - started, 2),
        **ivf.parameters(),
        "recall_at_10_stored": stored_recall,
        "recall_at_10_new_queries": round(float(recall), 4),
    }
    _save(ivf, scratch / "ivf")
    del ivf, rows
    runs: dict[str, list[dict[str, float]]] = {"exact": [], "ivf": []}
    singles = 20 if n > 100_000 else 100
    for _ in range(rounds + 1):
        for kind, measured in runs.items():
            command = [
                sys.executable,
                "-c",
                COLD,
                kind,
                str(scratch / kind),
                str(scratch / "queries.npy"),
                str(singles),
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            measured.append(json.loads(done.stdout.replace("'", '"')))
    for kind, measured in runs.items():
        out[kind] |= {name: round(statistics.median(m[name] for m in measured[1:]), 1) for name in measured[0]}
        out[kind]["file_mb"] = round(sum(p.stat().st_size for p in (scratch / kind).iterdir()) / 1e6, 1)
    return out


def _save(index: ExactIndex | IvfIndex, folder: Path) -> None:
    folder.mkdir()
    index.save(folder)


if __name__ == "__main__":
    main()
