"""Runs a model folder with onnxruntime: `image.onnx` beside a `card.json` that says how to feed it.

The card's keys: name, revision, dim, input_size, resize (squash, crop or pad), interpolation (bicubic, bilinear or
lanczos), mean and std (three numbers each, of channels scaled to 0..1), pooling (in words), licence. `image.onnx` takes
float32 (n, 3, size, size) and gives float32 (n, dim); a last step to unit length is done here.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from simsearch.encoders.base import Pixels, usable_cores
from simsearch.errors import EmbeddingError, EncoderError
from simsearch.records import EncoderInfo, Preprocessing
from simsearch.vectors import Rows, unit_rows

CARD_KEYS = ("name", "revision", "dim", "input_size", "resize", "interpolation", "mean", "std", "pooling", "licence")
BATCH_SIZE = 8
CARD = "card.json"


class OnnxEncoder:
    """The encoder of a model folder. The network is loaded when the first image comes."""

    def __init__(self, folder: Path, location: str | None = None) -> None:
        """Reads the card and the digest of the weights. Raises EncoderError where the folder is no model folder.

        `location` is what a collection writes down to find the encoder again, by default the folder's path.
        """
        self.folder = folder.resolve()
        self.location = location or str(self.folder)
        self.card = read_card(self.folder)
        self._weights = self.folder / "image.onnx"
        self.info = EncoderInfo(
            name=str(self.card["name"]),
            revision=str(self.card["revision"]),
            digest=_digest(self._weights),
            dim=int(self.card["dim"]),
            preprocessing=Preprocessing.from_dict(self.card | {"size": self.card["input_size"]}),
        )
        self.batch_size = BATCH_SIZE
        self._session: Any = None

    def embed_images(self, pixels: Pixels) -> Rows:
        """Unit rows (n, dim) float32 for sRGB pixels (n, size, size, 3) uint8."""
        size = self.info.preprocessing.size
        if pixels.dtype != np.uint8 or pixels.shape[1:] != (size, size, 3):
            raise ValueError(
                f"{self.info} takes uint8 pixels (n, {size}, {size}, 3), not {pixels.dtype} {pixels.shape}"
            )
        if not len(pixels):
            return np.empty((0, self.info.dim), np.float32)
        session = self._session = self._session or self._load()
        batch = normalised(pixels, self.info.preprocessing)
        try:
            rows = session.run(None, {session.get_inputs()[0].name: batch})[0]
        except Exception as error:  # an input of another shape or type than the card says
            raise EncoderError(
                f"{self._weights} does not take {batch.shape} ({_first_line(error)}); correct {CARD} or export it again"
            ) from error
        if rows.shape != (len(pixels), self.info.dim):
            raise EncoderError(
                f"{self._weights} gives {rows.shape} for {len(pixels)} images, but {CARD} says dim {self.info.dim}; "
                f"correct {CARD} or export it again"
            )
        try:
            return unit_rows(rows)
        except EmbeddingError as error:
            raise EmbeddingError(f"{self._weights}: {error}") from error

    def _load(self) -> Any:
        import onnxruntime  # a third of a second, which a query on a stored work never pays

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = usable_cores()
        options.log_severity_level = 3
        try:
            return onnxruntime.InferenceSession(self._weights, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has a class of its own for each way a file can be wrong
            raise EncoderError(
                f"{self._weights} is no network that onnxruntime can run ({_first_line(error)}); export it again"
            ) from error


def normalised(pixels: Pixels, rule: Preprocessing) -> npt.NDArray[np.float32]:
    """What a network takes, (n, 3, size, size) float32, of pixels (n, size, size, 3) uint8."""
    # (x / 255 - mean) / std as one multiplication and one addition
    std, mean = (np.asarray(v, np.float32) for v in (rule.std, rule.mean))
    scaled = pixels * (1 / (255 * std)).astype(np.float32) - mean / std
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2), dtype=np.float32)


def read_card(folder: Path) -> dict[str, Any]:
    """The checked card of a model folder. Raises EncoderError that names the file and the key."""
    path = folder / CARD
    for needed in (path, folder / "image.onnx"):
        if not needed.is_file():
            raise EncoderError(
                f"{folder} is no model folder: it has no {needed.name}; it needs image.onnx and card.json"
            )
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EncoderError(f"{path} is not a JSON card: {error}") from error
    missing = [key for key in CARD_KEYS if key not in card] if isinstance(card, dict) else list(CARD_KEYS)
    if missing:
        raise EncoderError(f"{path} lacks {', '.join(missing)}; see docs/encoders.md for the card's keys")
    for key, known in (("resize", ("squash", "crop", "pad")), ("interpolation", ("bicubic", "bilinear", "lanczos"))):
        if card[key] not in known:
            raise EncoderError(f"{path} has {key} {card[key]!r}; there are {', '.join(known)}")
    for key in ("dim", "input_size"):
        if not (isinstance(card[key], int) and card[key] > 0):
            raise EncoderError(f"{path} has {key} {card[key]!r}; a whole number above 0 is needed")
    for key in ("mean", "std"):
        given = card[key]
        if not (isinstance(given, list) and len(given) == 3 and all(_finite(v) for v in given)):
            raise EncoderError(f"{path} has {key} {given!r}; three numbers are needed, one a channel")
    if min(card["std"]) <= 0:
        raise EncoderError(f"{path} has std {card['std']!r}; it divides the channels, so each must be above 0")
    return dict(card)


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise EncoderError(f"{path} cannot be read: {error.strerror or error}") from error
