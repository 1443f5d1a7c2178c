"""Images by which a folder is held against the network that it came from."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from simsearch import images
from simsearch.encoders.base import Pixels
from simsearch.errors import ImageError, TrainingError
from simsearch.records import Preprocessing


def gathered(paths: Iterable[Path], rule: Preprocessing, count: int, seed: int, whose: str) -> tuple[Pixels, str]:
    """(`count` images as the rule wants them, whose they are): those of the paths that can be read, then painted ones.

    Images are (count, size, size, 3) uint8.
    """
    own = fitted(paths, rule, count)
    if len(own) == count:
        return own, whose
    painted = np.stack([_painted(rule.size, seed, i) for i in range(count - len(own))])
    return np.concatenate([own, painted]), f"{whose} and painted" if len(own) else "painted"


def files_in(folder: Path, use: str, way_out: str = "name a folder of images") -> list[Path]:
    """Image files below a folder, by path. Raises TrainingError where there is none."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in images.SUFFIXES)
    if not found:
        raise TrainingError(f"{folder} holds no image {use}; {way_out}")
    return found


def fitted(paths: Iterable[Path], rule: Preprocessing, most: int) -> Pixels:
    """At most so many images (n, size, size, 3) uint8; those that cannot be decoded are passed over."""
    out: list[npt.NDArray[np.uint8]] = []
    for path in paths:
        if len(out) == most:
            break
        try:
            out.append(images.fit(images.decode(images.read_bytes(path), str(path), side=rule.size), rule))
        except ImageError:
            continue
    return np.stack(out) if out else none_of(rule)


def none_of(rule: Preprocessing) -> Pixels:
    """No image, in the shape of some."""
    return np.empty((0, rule.size, rule.size, 3), np.uint8)


def _painted(size: int, seed: int, number: int) -> npt.NDArray[np.uint8]:
    """A ground that fades from one colour into another, patches of colour on it, and grain: (size, size, 3)."""
    draw = np.random.default_rng([seed, number])
    fade = np.linspace(0, 1, size)[:, None, None]
    pixels = (1 - fade) * draw.uniform(0, 255, 3) + fade * draw.uniform(0, 255, 3) + np.zeros((size, size, 3))
    for _ in range(int(draw.integers(1, 8))):
        (top, left), (high, wide) = draw.integers(0, size, 2), draw.integers(1, size, 2)
        pixels[top : top + high, left : left + wide] = draw.uniform(0, 255, 3)
    pixels += draw.normal(0, draw.uniform(0, 25), pixels.shape)
    return np.asarray(np.clip(pixels, 0, 255).astype(np.uint8))
