"""Static int8 arithmetic for an exported network, and whether it pays.

Weights and what flows into them are int8 with scales fixed beforehand from calibration images, so that an embedding
does not depend on its batch-mates. Products of two activations, such as attention's, stay float32: their ranges differ
too much from image to image.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from simsearch.encoders.base import Pixels
from simsearch.encoders.export.graph import INPUT
from simsearch.encoders.onnx import OnnxEncoder, normalised
from simsearch.errors import TrainingError
from simsearch.records import Preprocessing

CALIBRATION_IMAGES = 128
BATCH = 8
ROUNDS = 7
PRODUCTS = ("Conv", "Gemm", "MatMul")


@dataclass(frozen=True, slots=True)
class Quantised:
    """Int8 arithmetic beside float32: pairs of (float32, int8)."""

    images_per_s: tuple[float, float]
    """Of the embedding alone, on the processors at hand; medians of turns taken one after the other."""
    bytes: tuple[int, int]
    likeness: Mapping[str, tuple[float, float]]
    """``style_p10`` and so on, over works that were held out; empty where no label was at hand."""
    works: int
    """So many works the figures are of."""
    kept: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "images_per_s": [round(value, 2) for value in self.images_per_s],
            "bytes": list(self.bytes),
            "likeness": {name: [round(value, 4) for value in pair] for name, pair in self.likeness.items()},
            "works": self.works,
            "kept": self.kept,
        }


def quantise(graph: Path, pixels: Pixels, rule: Preprocessing, to: Path) -> None:
    """Writes the network of the file `graph`, kept in float32, with int8 products to the file `to`.

    `pixels` (n, size, size, 3) uint8 are what the ranges of activations are taken from. Raises TrainingError where
    there are none, or onnxruntime cannot do it.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    if not len(pixels):
        raise TrainingError("there is no image to calibrate int8 by; name a folder of images that can be read")
    with TemporaryDirectory() as folder, _quiet():
        prepared = Path(folder) / "prepared.onnx"
        try:
            quant_pre_process(graph, prepared, skip_symbolic_shape=True)
            model = onnx.load(prepared)
            quantize_static(
                prepared,
                to,
                _Calibration(pixels, rule),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(PRODUCTS),
                nodes_to_exclude=_without_weights(model),
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
        except Exception as error:  # onnxruntime has a class of its own for each way it can fail
            said = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise TrainingError(f"onnxruntime cannot quantise this network ({said}); leave --quantise away") from error


def rates(encoders: Sequence[OnnxEncoder], pixels: Pixels, rounds: int = ROUNDS) -> list[float]:
    """Images a second of each encoder on pixels (n, size, size, 3) uint8: medians of turns, so that noise hits all."""
    batch = pixels[:BATCH]
    for encoder in encoders:
        encoder.embed_images(batch)  # loads the network
    seconds: list[list[float]] = [[] for _ in encoders]
    for _ in range(rounds):
        for took, encoder in zip(seconds, encoders, strict=True):
            began = time.perf_counter()
            encoder.embed_images(batch)
            took.append(time.perf_counter() - began)
    return [len(batch) / median(took) for took in seconds]


class _Calibration:
    """Batches for onnxruntime, one at a time, None at the end."""

    def __init__(self, pixels: Pixels, rule: Preprocessing) -> None:
        self.pixels, self.rule, self.place = pixels, rule, 0

    def get_next(self) -> dict[str, Any] | None:
        batch = self.pixels[self.place : self.place + BATCH]
        self.place += BATCH
        return {INPUT: normalised(batch, self.rule)} if len(batch) else None


def _without_weights(model: Any) -> list[str]:
    held = {tensor.name for tensor in model.graph.initializer}
    return [node.name for node in model.graph.node if node.op_type in PRODUCTS and node.input[1] not in held]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without onnxruntime's advice on the root logger."""

    def is_ours(record: logging.LogRecord) -> bool:
        return "onnxruntime" not in record.pathname

    root = logging.getLogger()
    root.addFilter(is_ours)
    try:
        yield
    finally:
        root.removeFilter(is_ours)
