"""Runs a model folder with onnxruntime: `image.onnx` beside a `card.json` that says how to feed it.

The card's keys: name, revision, dim, input_size, resize (squash, crop or pad), interpolation (bicubic, bilinear or
lanczos), mean and std (three numbers each, of channels scaled to 0..1), pooling (in words), licence. `image.onnx` takes
float32 (n, 3, size, size) and gives float32 (n, dim); a last step to unit length is done here.

A folder that also embeds texts has `text.onnx`, which takes int64 (n, context_length) and gives float32 (n, dim), and
`tokenizer.json`. The card then says context_length, pad_id and text_cleaning (`tokenizer.CLEANINGS`); logit_scale may
be there for whoever wants probabilities of cosines.

The digest of such an encoder is that of `image.onnx`: it says which pictures' embeddings may be compared. Whoever
replaces the text tower alone keeps a collection's embeddings.
"""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from simsearch.encoders.base import Pixels, check_pixels, usable_cores
from simsearch.encoders.tokenizer import CLEANINGS, TOKENIZER, Tokenizer, cut_notice
from simsearch.errors import EmbeddingError, EncoderError
from simsearch.records import EncoderInfo, Preprocessing
from simsearch.vectors import Rows, unit_rows

CARD_KEYS = ("name", "revision", "dim", "input_size", "resize", "interpolation", "mean", "std", "pooling", "licence")
TEXT_KEYS = ("context_length", "pad_id", "text_cleaning")
BATCH_SIZE = 8
TEXTS_AT_ONCE = 32
CARD, IMAGE, TEXT = "card.json", "image.onnx", "text.onnx"


def open_folder(folder: Path, location: str | None = None) -> OnnxEncoder | OnnxTextEncoder:
    """The encoder of a model folder: one that takes texts too, where the folder has a text tower.

    `location` is what a collection writes down to find the encoder again, by default the folder's path. Raises
    EncoderError where the folder is no model folder, or its text tower has no tokenizer.
    """
    return (OnnxTextEncoder if (folder / TEXT).is_file() else OnnxEncoder)(folder, location)


class OnnxEncoder:
    """The encoder of a model folder. The network is loaded when the first image comes."""

    def __init__(self, folder: Path, location: str | None = None) -> None:
        """Reads the card and the digest of the weights. Raises EncoderError where the folder is no model folder.

        `location` is what a collection writes down to find the encoder again, by default the folder's path.
        """
        self.folder = folder.resolve()
        self.location = location or str(self.folder)
        self.card = read_card(self.folder)
        self._image = _Network(self.folder / IMAGE)
        self.info = EncoderInfo(
            name=str(self.card["name"]),
            revision=str(self.card["revision"]),
            digest=_digest(self._image.path),
            dim=int(self.card["dim"]),
            preprocessing=Preprocessing.from_dict(self.card | {"size": self.card["input_size"]}),
        )
        self.batch_size = BATCH_SIZE

    def embed_images(self, pixels: Pixels) -> Rows:
        """Unit rows (n, dim) float32 for sRGB pixels (n, size, size, 3) uint8."""
        check_pixels(pixels, self.info)
        if not len(pixels):
            return np.empty((0, self.info.dim), np.float32)
        return self._image.rows(normalised(pixels, self.info.preprocessing), self.info.dim)


class OnnxTextEncoder(OnnxEncoder):
    """The encoder of a model folder with a text tower, which is loaded when the first text comes."""

    def __init__(self, folder: Path, location: str | None = None) -> None:
        """As for pictures alone. Raises EncoderError too where the tokenizer or a key of the card is not there."""
        super().__init__(folder, location)
        _check_text(self.folder, self.card)
        self.notice: Callable[[str], None] = warnings.warn
        self._text = _Network(self.folder / TEXT, hurried=True)
        self._tokenizer: Tokenizer | None = None
        scale = self.card.get("logit_scale")
        self.logit_scale: float | None = None if scale is None else float(scale)

    def embed_texts(self, texts: Sequence[str]) -> Rows:
        """Unit rows (n, dim) float32, in the order of the texts.

        A text with more tokens than the tower reads is cut, which `notice` is told. Raises QueryError for an empty one.
        """
        if not texts:
            return np.empty((0, self.info.dim), np.float32)
        card = self.card
        if self._tokenizer is None:
            self._tokenizer = Tokenizer(
                self.folder / TOKENIZER, card["context_length"], card["pad_id"], card["text_cleaning"]
            )
        read = self._tokenizer(texts)
        for place, tokens in read.cut:
            self.notice(cut_notice(texts[place], tokens, card["context_length"], self.info.name))
        parts = [
            self._text.rows(read.ids[i : i + TEXTS_AT_ONCE], self.info.dim) for i in range(0, len(texts), TEXTS_AT_ONCE)
        ]
        return np.concatenate(parts)


class _Network:
    """One file of a model folder, loaded when it is first run."""

    def __init__(self, path: Path, *, hurried: bool = False) -> None:
        """`hurried` begins at once and runs slower: what a command pays that asks one question."""
        self.path, self.hurried = path, hurried
        self._session: Any = None

    def rows(self, batch: npt.NDArray[Any], dim: int) -> Rows:
        """Unit rows (n, dim) float32 of what the network gives for (n, ...)."""
        session = self._session = self._session or self._load()
        try:
            rows = session.run(None, {session.get_inputs()[0].name: batch})[0]
        except Exception as error:  # an input of another shape or type than the card says
            raise EncoderError(
                f"{self.path} does not take {batch.shape} ({_first_line(error)}); correct {CARD} or export it again"
            ) from error
        if rows.shape != (len(batch), dim):
            raise EncoderError(
                f"{self.path} gives {rows.shape} for {len(batch)} {'texts' if self.path.name == TEXT else 'images'}, "
                f"but {CARD} says dim {dim}; correct {CARD} or export it again"
            )
        try:
            return unit_rows(rows)
        except EmbeddingError as error:
            raise EmbeddingError(f"{self.path}: {error}") from error

    def _load(self) -> Any:
        import onnxruntime  # a third of a second, which a query on a stored work never pays

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = usable_cores()
        options.log_severity_level = 3
        if self.hurried:
            # for a text tower of ViT-B/32 in int8 the start and the first text took 0.71 s instead of 1.24 s, and each
            # later text 0.24 instead of 0.17 s (medians of 5 on two busy cores)
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            options.add_session_config_entry("session.disable_prepacking", "1")
        try:
            return onnxruntime.InferenceSession(self.path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has a class of its own for each way a file can be wrong
            raise EncoderError(
                f"{self.path} is no network that onnxruntime can run ({_first_line(error)}); export it again"
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
    for needed in (path, folder / IMAGE):
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


def _check_text(folder: Path, card: dict[str, Any]) -> None:
    """Raises EncoderError that names what a text tower lacks."""
    path = folder / CARD
    if not (folder / TOKENIZER).is_file():
        raise EncoderError(
            f"{folder} has {TEXT} but no {TOKENIZER} to read texts with; export it again, or move {TEXT} away"
        )
    missing = [key for key in TEXT_KEYS if key not in card]
    if missing:
        raise EncoderError(f"{path} lacks {', '.join(missing)}, which {TEXT} needs; see docs/encoders.md")
    for key, least in (("context_length", 2), ("pad_id", 0)):
        if not (isinstance(card[key], int) and card[key] >= least):
            raise EncoderError(f"{path} has {key} {card[key]!r}; a whole number of {least} or more is needed")
    scale = card.get("logit_scale", 1)
    if not (_finite(scale) and scale > 0):
        raise EncoderError(f"{path} has logit_scale {scale!r}; a number above 0 is needed, or none")
    if card["text_cleaning"] not in CLEANINGS:
        raise EncoderError(f"{path} has text_cleaning {card['text_cleaning']!r}; there are {', '.join(CLEANINGS)}")


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
