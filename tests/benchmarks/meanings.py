"""Which encoder tells which likeness: what the ten nearest works by other artists share with a query.

    python tests/benchmarks/meanings.py --art ART --collection COLLECTION --name color
        [--rows clip=clip_vitb16.npy --rows dinov2=dinov2_vits14.npy] [--out FILE]

Queries are the held-out works of ART/wikiart, their neighbours its train works by other artists. Shares of the same
style and genre say how much of style and of content an encoder tells; the difference of the mean colours (CIE76, in
CIELAB) says how much of colour. Each stands beside what works drawn at random give. `--name` is an encoder of the
collection, `--rows` NAME=FILE are embeddings (n, dim) in the order of artworks.csv. Embeddings are centred on the train
works, as the yardstick does. Intervals are 95 %, by resampling the queries' artists.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
from bench import machine
from PIL import Image, ImageCms

from simsearch import open_collection
from simsearch.vectors import unit_rows

K, QUERIES = 10, 500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--art", type=Path, required=True)
    parser.add_argument("--collection", type=Path, required=True)
    parser.add_argument("--name", action="append", default=[])
    parser.add_argument("--rows", action="append", default=[])
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    with (asked.art / "wikiart" / "artworks.csv").open(newline="", encoding="utf-8") as file:
        works = list(csv.DictReader(file))
    columns = {key: np.array([work[key] for work in works]) for key in ("style", "genre", "artist", "split")}
    colours = mean_colours([asked.art / "wikiart" / work["path"] for work in works])
    embeddings = {name: stored(asked.collection, name, works) for name in asked.name}
    embeddings |= {name: np.load(path).astype(np.float32) for name, _, path in (r.partition("=") for r in asked.rows)}
    result: dict[str, Any] = {"machine": machine(), "works": len(works), "k": K}
    for name, rows in embeddings.items():
        centred = unit_rows(rows - rows[columns["split"] == "train"].mean(axis=0))
        result[name] = likeness(centred, columns, colours)
        print(name, json.dumps(result[name]))
    result["at random"] = likeness(None, columns, colours)
    print("at random", json.dumps(result["at random"]))
    if asked.out:
        asked.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def stored(collection: Path, name: str, works: list[dict[str, str]]) -> np.ndarray:
    """Embeddings (n, dim) of the works in the order of the table, from a collection."""
    with open_collection(collection) as opened:
        entry = opened.encoder_entry(name)
        rows, ids = opened.catalog.embeddings(entry.number, entry.info.dim)
        place = {work.source_id: i for i, work in zip(ids.tolist(), opened.catalog.artworks(ids), strict=True)}
    order = np.searchsorted(ids, [place[work["path"]] for work in works])
    return rows[order]


def mean_colours(paths: list[Path]) -> np.ndarray:
    """Mean colours (n, 3) of images in CIELAB."""
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    out = np.empty((len(paths), 3))
    for i, path in enumerate(paths):
        with Image.open(path) as image:
            lab = ImageCms.applyTransform(image.convert("RGB").resize((16, 16), Image.Resampling.BOX), to_lab)
        pixels = np.asarray(lab).astype(float).reshape(-1, 3)
        out[i] = (np.concatenate([pixels[:, :1] * 100 / 255, (pixels[:, 1:] + 128) % 256 - 128], axis=1)).mean(axis=0)
    return out


def likeness(rows: np.ndarray | None, columns: dict[str, np.ndarray], colours: np.ndarray) -> dict[str, Any]:
    """Mean over the queries of what their neighbours share with them; without rows neighbours are drawn at random."""
    train, val = (np.flatnonzero(columns["split"] == split) for split in ("train", "val"))
    draw = np.random.default_rng(3)
    shared: dict[str, list[np.ndarray]] = {"style": [], "genre": [], "colour difference": []}
    for block in np.array_split(val, max(1, len(val) // QUERIES)):
        score = draw.random((len(block), len(train))) if rows is None else rows[block] @ rows[train].T
        score[columns["artist"][block][:, None] == columns["artist"][train][None]] = -9
        top = train[np.argsort(-score, axis=1)[:, :K]]
        shared["style"].append((columns["style"][top] == columns["style"][block][:, None]).mean(axis=1))
        shared["colour difference"].append(np.linalg.norm(colours[top] - colours[block][:, None], axis=2).mean(axis=1))
        score[:, columns["genre"][train] == ""] = -9
        top = train[np.argsort(-score, axis=1)[:, :K]]
        same = (columns["genre"][top] == columns["genre"][block][:, None]).mean(axis=1)
        shared["genre"].append(np.where(columns["genre"][block] == "", np.nan, same))
    artists = columns["artist"][val]
    return {what: interval(np.concatenate(values), artists) for what, values in shared.items()}


def interval(values: np.ndarray, artists: np.ndarray) -> list[float]:
    """[mean, low, high] of the values (n,), whole artists resampled; NaN is left out."""
    keep = ~np.isnan(values)
    values, codes = values[keep], np.unique(artists[keep], return_inverse=True)[1]
    total, count = np.bincount(codes, values), np.bincount(codes)
    draws = np.random.default_rng(5).integers(0, len(total), (1000, len(total)))
    means = total[draws].sum(axis=1) / count[draws].sum(axis=1)
    return [round(float(v), 4) for v in (values.mean(), *np.percentile(means, [2.5, 97.5]))]


if __name__ == "__main__":
    main()
