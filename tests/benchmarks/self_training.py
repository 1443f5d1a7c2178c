"""What self-training brings where few works are labelled: nine of ten train labels hidden, three seeds.

    python tests/benchmarks/self_training.py --art ART [--collection FOLDER] [--encoder NAME]

Without a collection the pictures of ART/wikiart are indexed with `color`. Figures are macro F1 on the held-out works,
before and after; whether the head kept what it taught itself was decided without them.
"""

from __future__ import annotations

import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from bench import arguments, finish

from simsearch import Choices, Collection, Options, index_folders, open_collection, train
from simsearch.classifier.labelled import load
from simsearch.classifier.train import groups_for
from simsearch.collection import CATALOG, FOLDER

HIDDEN = 0.9
THRESHOLDS = (0.9, 0.7, 0.5)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark."""
    args = arguments(__doc__, argv, collection="", encoder="", seeds=3)
    runs = []
    for seed in range(1 if args.smoke else args.seeds):
        with tempfile.TemporaryDirectory() as scratch:
            runs += few_labels(args, Path(scratch), seed)
    finish("self_training", {"kind": "style", "hidden": HIDDEN, "runs": runs}, args)
    return 0


def few_labels(args: Any, scratch: Path, seed: int) -> list[dict[str, Any]]:
    """A head for each threshold, from a tenth of the train labels."""
    if args.collection:
        (scratch / FOLDER).mkdir()
        shutil.copy(Path(args.collection) / FOLDER / CATALOG, scratch / FOLDER / CATALOG)
    else:
        with open_collection(scratch, write=True) as made:
            index_folders(made, [args.art / "wikiart"], Options())
    hide(scratch, seed, 0.3 if args.smoke else HIDDEN)
    out = []
    with Collection.open(scratch, write=True) as collection:
        encoder = args.encoder or None
        groups = groups_for(collection, ["style"], Choices(pseudo_label=1.0))
        for threshold in THRESHOLDS:
            head = train(collection, "style", encoder=encoder, groups=groups, choices=Choices(pseudo_label=threshold))
            gain, works = head.card["pseudo_labels"], head.card["works"]
            out.append({"encoder": str(head.encoder), "seed": seed, "labelled": works["trained_on"], **gain})
            print(out[-1], file=sys.stderr, flush=True)
    return out


def hide(folder: Path, seed: int, share: float) -> None:
    """Takes the style from a share of the works that are not held out."""
    with Collection.open(folder) as collection:
        works = load(collection, "style", collection.encoder_entry())
    train_ids = works.ids[works.parts != "val"]
    gone = np.random.default_rng(seed).choice(train_ids, int(share * len(train_ids)), replace=False)
    with closing(sqlite3.connect(folder / FOLDER / CATALOG)) as db, db:
        db.executemany("DELETE FROM label WHERE kind = 'style' AND artwork = ?", [(int(id),) for id in gone])


if __name__ == "__main__":
    sys.exit(main())
