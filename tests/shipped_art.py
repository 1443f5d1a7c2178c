"""A shipped encoder small enough for tests: a models folder with `art`, which knows flags, and its heads.

The network is `tiny_network` of conftest: 48 numbers, the mean of each channel (-1 to 1) in a grid of 4 x 4 cells. So a
head that sums a channel is worked out by hand: of a flag of one colour, whose row has numbers of +-1/sqrt(48), the sum
of a channel's 16 is +-16/sqrt(48) = +-2.309.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from simsearch.classifier.head import Head, save
from simsearch.encoders.onnx import OnnxEncoder

HEADS: dict[str, dict[str, tuple[int, int, int]]] = {
    "style": {"Bluish": (0, 0, 1), "Reddish": (1, 0, 0)},
    "genre": {"dark": (-1, -1, -1), "light": (1, 1, 1)},
    "artist": {"Ada Flagg": (1, 0, -1), "Cy Pennant": (-1, 1, 1), "Di Guidon": (1, -1, 1)},
}
"""Of each kind the classes, and what each makes of the sums of red, green and blue."""
RUN_WITH_MODELS = """
import sys
from pathlib import Path
from simsearch.encoders import registry
registry.MODELS = Path(sys.argv[1])
from simsearch.cli import main
main(sys.argv[2:])
"""
"""A program that is `simsearch` with the models of its first argument."""


def shipped_art(models: Path, tiny_network: Any, heads: Mapping[str, Any] = HEADS, threshold: float = 0.5) -> Path:
    """Makes `models/art` with heads for these kinds; `models`."""
    encoder = OnnxEncoder(tiny_network(models / "art", "art"), "art")
    for kind, classes in heads.items():
        save(models / "art" / "heads", head(kind, classes, encoder, threshold))
    return models


def head(kind: str, classes: Mapping[str, Any], encoder: OnnxEncoder, threshold: float = 0.5) -> Head:
    """A head that sums channels; its figures and choices are left away."""
    weights = np.array([np.repeat(channels, 16) for channels in classes.values()], np.float32)
    keys = np.arange(3, dtype=np.uint64)
    return Head(
        kind, kind, encoder.info, tuple(classes), weights, np.zeros(len(classes), np.float32), 1.0, threshold,
        keys, keys[:0], {"works": {"trained_on": 3, "held_out": 0}},
    )  # fmt: skip
