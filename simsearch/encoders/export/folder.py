"""A model folder in the making: it gets its name once it was seen to say what the network says."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import Any, Literal

import numpy as np

from simsearch.encoders.base import Pixels
from simsearch.encoders.export.graph import Storage
from simsearch.encoders.export.quantise import Quantised
from simsearch.encoders.onnx import CARD, IMAGE, OnnxEncoder
from simsearch.errors import TrainingError
from simsearch.vectors import Rows

LEAST_COSINE = {"float32": 0.999, "float16": 0.999, "int8": 0.995}
"""A folder whose embeddings agree less with the network's than this, in one image or text, is not kept."""
CHECKED = 200
BATCH = 8
Resize = Literal["squash", "crop", "pad"]


@dataclass(frozen=True, slots=True)
class Exported:
    """A model folder that was written."""

    folder: Path
    card: dict[str, Any]
    bytes: int
    """Of the image network's file."""
    quantised: Quantised | None = None
    text_bytes: int | None = None
    """Of the text network's file, where there is one."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        out = {
            "folder": str(self.folder), "bytes": self.bytes, "card": self.card,
            "quantised": self.quantised and self.quantised.to_dict(),
        }  # fmt: skip
        return out | ({"text_bytes": self.text_bytes} if self.text_bytes is not None else {})


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a model folder should be; None and the empty text leave it to the network."""

    name: str = ""
    revision: str = ""
    licence: str = "not stated"
    storage: Storage = "float32"
    size: int | None = None
    resize: Resize | None = None
    check: int = CHECKED
    """Images by which folder and network are compared."""
    images: Path | None = None
    """A folder of images to compare by, rather than the collection's."""
    quantise: Path | Literal["collection"] | None = None
    """Images to calibrate int8 arithmetic by."""
    keep_quantised: bool = False


def refuse_taken(to: Path) -> None:
    """Raises TrainingError where something bears the folder's name already."""
    if to.exists() or to.is_symlink():
        raise TrainingError(f"{to} is there already; name another folder, or move it away")


@contextmanager
def aside(to: Path) -> Iterator[Path]:
    """A folder beside `to` that gets its name at the end, and is gone where anything fails. Raises TrainingError."""
    folder = to.with_name(f".{to.name}.{os.getpid()}")
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir()
        yield folder
        folder.rename(to)
    except OSError as error:
        raise TrainingError(f"{error.filename or to} cannot be written: {error.strerror or error}") from error
    finally:
        rmtree(folder, ignore_errors=True)


def write_network(folder: Path, data: bytes, card: dict[str, Any], revision: str) -> OnnxEncoder:
    """Writes an image network beside its card, which is given its revision, and opens the folder."""
    (folder / IMAGE).write_bytes(data)
    card["revision"] = revision or hashlib.sha256(data).hexdigest()[:12]
    write_card(folder, card)
    return OnnxEncoder(folder)


def write_card(folder: Path, card: dict[str, Any]) -> None:
    """Writes the card of a model folder."""
    (folder / CARD).write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def rows_by_folder(encoder: OnnxEncoder, pixels: Pixels) -> Rows:
    """What the folder gives for images (n, size, size, 3) uint8: unit rows (n, dim)."""
    return np.concatenate([encoder.embed_images(pixels[i : i + BATCH]) for i in range(0, len(pixels), BATCH)])


def agreement(by_network: Rows, by_folder: Rows) -> dict[str, Any]:
    """Least and mean cosine of unit rows (n, dim) that network and folder gave for the same things, for a card."""
    cosines = (by_network * by_folder).sum(1)
    # the length of a float32 row differs from 1 in its last bits
    least, mean = (min(1.0, round(float(value), 6)) for value in (cosines.min(), cosines.mean()))
    return {"count": len(cosines), "least_cosine": least, "mean_cosine": mean}


def check(found: dict[str, Any], storage: Storage, what: str = "images", otherwise: str = "take another") -> None:
    """Puts the least cosine that is needed beside what was found. Raises TrainingError where it was not reached."""
    found["needed"] = LEAST_COSINE[storage]
    if not found["least_cosine"] >= LEAST_COSINE[storage]:  # so written that a NaN fails too
        way = "keep the weights as float32" if storage != "float32" else otherwise
        raise TrainingError(
            f"what was exported gives other embeddings than the network: cosine {found['least_cosine']:.6f} in one "
            f"of {found['count']} {what}, {LEAST_COSINE[storage]} is needed; {way}"
        )
