"""Classification of a stored artwork in-process, beside the catalog read and the matrix product that it consists of.

    python tests/benchmarks/classify_stored.py [--collection FOLDER] [--out docs/benchmarks/classify_stored.json]

Without a collection one is made: 22,481 works with random unit rows of 384 numbers, 16 styles, an index, and a head
with random weights. Of a collection that is named, its default encoder and its head for style are used. In each round
every case takes another artwork, and the order of the cases turns. "answer" is `Classifier.classify(id, evidence=0)`,
which gives Predictions; "with evidence" the same with the three nearest works behind the answer; "whole collection" is
`label_collection`.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from bench import finish

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from labelled_works import fill

from simsearch import Collection, vectors
from simsearch.classifier.classify import Classifier, label_collection
from simsearch.classifier.head import Head, folder_of, save
from simsearch.indexer.publish import publish

WORKS, DIM, STYLES = 22_481, 384, 16


def main(argv: Sequence[str] | None = None) -> int:
    """Times the cases in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--collection", type=Path, help="one with a head for style; left as it is")
    parser.add_argument("--rounds", type=int, default=2000)
    parser.add_argument("--art", type=Path, help="not used: no picture is read")
    parser.add_argument("--smoke", action="store_true", help="a few hundred works, to see that the script runs")
    parser.add_argument("--out", type=Path, help="where the raw results go, as JSON")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.collection or made(Path(scratch), 300 if args.smoke else WORKS)
        with Collection.open(folder) as collection:
            result = measured(collection, 20 if args.smoke else args.rounds)
        if not args.collection:
            result["whole collection"] = whole(folder)
    finish("classify_stored", result, args)
    return 0


def made(folder: Path, works: int) -> Path:
    """A collection of random works, every fourth without a style, with a head; its folder."""
    draw = np.random.default_rng(0)
    names = tuple(f"Style {number:02}" for number in range(STYLES))
    rows = vectors.unit_rows(draw.normal(size=(works, DIM)))
    styles = [names[n] if i % 4 else "" for i, n in enumerate(draw.integers(STYLES, size=works).tolist())]
    collection, entry = fill(folder, rows, {"style": styles})
    with collection, collection.writer() as writer:
        publish(collection, writer, entry, writer.begin_run(), "exact")
    weights = 40 * draw.normal(size=(STYLES, DIM)).astype(np.float32) / np.sqrt(DIM).astype(np.float32)
    none = np.zeros(0, np.uint64)
    head = Head("style", "style", entry.info, names, weights, np.zeros(STYLES, np.float32), 1.0, 0.5, none, none)
    save(folder_of(collection, entry.info), head)
    return folder


def measured(collection: Collection, rounds: int) -> dict[str, Any]:
    """Medians in microseconds, and how many times its parts the answer takes, round by round and by the medians."""
    classifier = Classifier(collection, labels=["style"], by="head")
    (head,), catalog, number = classifier.heads, collection.catalog, classifier.entry.number
    dim = classifier.entry.info.dim
    ids = np.random.default_rng(1).permutation(catalog.ids_where()).tolist()
    some, _ = catalog.embeddings(number, dim, ids[:1])
    cases: dict[str, Callable[[int], object]] = {
        "read": lambda work: catalog.embeddings(number, dim, [work]),
        "product": lambda _: some @ head.weights.T + head.bias,
        "answer": lambda work: classifier.classify(work, evidence=0),
    }
    seconds = in_turn(cases, ids, rounds)
    parts = [read + product for read, product in zip(seconds["read"], seconds["product"], strict=True)]
    evidence = in_turn({"with evidence": classifier.classify}, ids, max(rounds // 50, 3))
    return {
        "works": len(ids), "numbers": dim, "classes": len(head.classes), "rounds": rounds,
        "median_us": {name: micro(values) for name, values in (seconds | evidence).items()},
        "answer / (read + product)": {
            "of the medians": round(statistics.median(seconds["answer"]) / statistics.median(parts), 3),
            "median of the rounds": round(
                statistics.median(a / p for a, p in zip(seconds["answer"], parts, strict=True)), 3
            ),
        },
    }  # fmt: skip


def in_turn(cases: dict[str, Callable[[int], object]], ids: Sequence[int], rounds: int) -> dict[str, list[float]]:
    """Seconds of each case in each round, each call with the next id; a tenth of the rounds are run before."""
    out: dict[str, list[float]] = {name: [] for name in cases}
    names, at = list(cases), 0
    for turn in range(-(rounds // 10) - 1, rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            id, at = ids[at % len(ids)], at + 1
            started = time.perf_counter()
            cases[name](id)
            if turn >= 0:
                out[name].append(time.perf_counter() - started)
    return out


def whole(folder: Path) -> dict[str, Any]:
    """How long labelling all works takes that nobody has labelled."""
    with Collection.open(folder, write=True) as collection:
        started = time.perf_counter()
        (done,) = label_collection(collection)
        seconds = time.perf_counter() - started
    return {**done.to_dict(), "seconds": round(seconds, 3)}


def micro(seconds: Sequence[float]) -> float:
    """The median in microseconds."""
    return round(1e6 * statistics.median(seconds), 1)


if __name__ == "__main__":
    sys.exit(main())
