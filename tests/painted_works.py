"""Painted works to fine-tune on, without a collection about them."""

import csv
import hashlib
from pathlib import Path

import numpy as np
from labelled_works import painted
from torch_operators import torch

from simsearch.classifier.finetune.works import Works

torch.set_num_threads(1)  # several would wait for each other longer than these tensors take

KINDS = ("style", "genre", "artist")


def paint(folder: Path, works: int = 48) -> Works:
    """Works with styles, genres and artists; those of `val` stand in no part, and each is a group of its own."""
    if not (folder / "art").exists():
        painted(folder, works)
    with (folder / "art" / "artworks.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    paths = [folder / "art" / row["path"] for row in rows]
    keys = [int.from_bytes(hashlib.sha256(path.read_bytes()).digest()[:8], "big") for path in paths]
    return Works(
        paths,
        np.array(keys, np.uint64),
        {kind: np.array([row[kind] for row in rows]) for kind in KINDS},
        np.array([row["artist"] for row in rows]),
        np.full(len(rows), "", np.str_),
        np.arange(len(rows)),
    )
