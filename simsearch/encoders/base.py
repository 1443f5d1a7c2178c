"""What every encoder offers. One conformance suite, `tests/test_encoders.py`, runs over all of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from simsearch.records import EncoderInfo
from simsearch.vectors import Rows

Pixels = npt.NDArray[np.uint8]


def usable_cores() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux: a container or taskset may allow fewer than there are
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_pixels(pixels: Pixels, info: EncoderInfo) -> None:
    """Raises ValueError where pixels are not (n, size, size, 3) uint8, as the encoder's preprocessing makes them."""
    size = info.preprocessing.size
    if pixels.dtype != np.uint8 or pixels.shape[1:] != (size, size, 3):
        raise ValueError(f"{info} takes uint8 pixels (n, {size}, {size}, 3), not {pixels.dtype} {pixels.shape}")


@runtime_checkable
class Encoder(Protocol):
    """Turns pictures into embeddings. Deterministic; order is kept; a batch gives what its images give one by one."""

    @property
    def info(self) -> EncoderInfo:
        """Name, revision, digest, width and preprocessing, stored with every embedding."""

    @property
    def batch_size(self) -> int:
        """How many images at once are quickest on this machine."""

    def embed_images(self, pixels: Pixels) -> Rows:
        """Unit rows (n, dim) float32 for sRGB pixels (n, size, size, 3) uint8 fitted as `info.preprocessing` says.

        Raises EmbeddingError where the network gives a number that is not finite.
        """


@runtime_checkable
class TextEncoder(Encoder, Protocol):
    """An encoder whose texts lie in the same space as its pictures, so that words can be compared with them."""

    def embed_texts(self, texts: Sequence[str]) -> Rows:
        """Unit rows (n, dim) float32, in the order of the texts.

        A text with more tokens than the model takes is cut, with a warning. Raises QueryError for an empty one.
        """
