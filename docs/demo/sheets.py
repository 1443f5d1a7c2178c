"""The sheet a picture is painted on, and the arithmetic of colour, paper and chance that every painter shares.

Lengths are in short sides: the shorter edge of a picture is 1, so a picture looks alike at any size in pixels.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

FINE = 2
Array = NDArray[Any]
Colour = Array | Sequence[float]


class Palette(NamedTuple):
    """A named row of colours; pictures of things read it as light, sky, glow, far, near, accent, second, dark."""

    name: str
    colours: Array


def palette(name: str, hexes: str) -> Palette:
    """A palette from space-separated hex colours such as ``"f4e8d0 1b2a41"``."""
    rows = [[int(code[i : i + 2], 16) / 255 for i in (0, 2, 4)] for code in hexes.split()]
    return Palette(name, np.array(rows, np.float32))


def grid(w: int, h: int) -> tuple[Array, Array]:
    """The x and y of every pixel, in short sides, from the top left corner."""
    short = min(w, h)
    y, x = np.mgrid[0:h, 0:w].astype(np.float32)
    return (x + 0.5) / short, (y + 0.5) / short


def noise(rng: np.random.Generator, w: int, h: int, cells: float, octaves: int = 3, stretch: float = 1.0) -> Array:
    """Smooth clouds between 0 and 1, with ``cells`` lumps to a short side, drawn out sideways by ``stretch``."""
    total = np.zeros((h, w), np.float32)
    for octave in range(octaves):
        per_pixel = cells * 2**octave / min(w, h)
        shape = max(2, round(h * per_pixel)), max(2, round(w * per_pixel / stretch))
        coarse = Image.fromarray(rng.random(shape, dtype=np.float32))
        total += np.asarray(coarse.resize((w, h), Image.Resampling.BICUBIC)) * np.float32(0.5**octave)
    low, high = total.min(), total.max()
    return (total - low) / max(high - low, np.float32(1e-6))


def skyline(rng: np.random.Generator, w: int, lumps: float) -> Array:
    """A wandering line of ``w`` heights between 0 and 1 with about ``lumps`` rises."""
    return noise(rng, w, 2, 2 * lumps / w, 4)[0]


def mix(a: Colour, b: Colour, t: Array | float) -> Array:
    """Colour ``a`` going to ``b`` as ``t`` goes from 0 to 1, pixel by pixel where ``t`` is an array."""
    share = np.asarray(t, np.float32)[..., None]
    first = np.asarray(a, np.float32)
    return first + (np.asarray(b, np.float32) - first) * share


def ramp(colours: Array, t: Array) -> Array:
    """The colours of a palette run through in order as ``t`` goes from 0 to 1."""
    stops = np.linspace(0, 1, len(colours))
    return np.stack([np.interp(t, stops, colours[:, i]) for i in range(3)], -1).astype(np.float32)


def step(value: Array, soft: float) -> Array:
    """0 where ``value`` is negative and 1 where it is positive, with an edge ``soft`` wide between."""
    return np.clip(value / soft + 0.5, 0, 1)


def luma(picture: Array) -> Array:
    """How light each pixel is, stretched so that a picture's darkest twentieth is 0 and its lightest is 1."""
    light = picture @ np.array([0.3, 0.59, 0.11], np.float32)
    low, high = np.percentile(light[::4, ::4], [3, 97])
    return np.clip((light - low) / max(high - low, 1e-3), 0, 1).astype(np.float32)


def to_image(picture: Array) -> Image.Image:
    """The Pillow image of an array of colours between 0 and 1."""
    return Image.fromarray((np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8))


class Sheet(NamedTuple):
    """One picture to be painted: its chance, its size, what it shows, and the colours and habits of its hand."""

    rng: np.random.Generator
    w: int
    h: int
    genre: str
    colours: Array
    habits: dict[str, float]

    def finer(self) -> "Sheet":
        """This sheet with more pixels, for drawing whose edges are smoothed by scaling down."""
        return self._replace(w=self.w * FINE, h=self.h * FINE)


def enlarged(values: Array, s: Sheet) -> Array:
    """A plain array scaled smoothly to the size of a sheet."""
    image = Image.fromarray(np.ascontiguousarray(values, np.float32))
    return np.asarray(image.resize((s.w, s.h), Image.Resampling.BICUBIC))


def ink(colour: Colour) -> tuple[int, int, int]:
    """A colour as Pillow's drawing calls take it."""
    red, green, blue = (int(v) for v in np.clip(np.asarray(colour) * 255 + 0.5, 0, 255))
    return red, green, blue


def outlines(things: Array, s: Sheet, width: int) -> Array:
    """1 on the borders between things and 0 elsewhere, at the size of a sheet, ``width`` of its pixels wide."""
    edge = np.zeros(things.shape, bool)
    edge[:, 1:] |= things[:, 1:] != things[:, :-1]
    edge[1:] |= things[1:] != things[:-1]
    drawn = Image.fromarray(edge.astype(np.uint8) * 255).filter(ImageFilter.GaussianBlur(0.8))
    drawn = drawn.resize((s.w, s.h), Image.Resampling.BICUBIC).point(lambda v: min(255, max(0, (v - 60) * 5)))
    return np.asarray(drawn.filter(ImageFilter.MaxFilter(width | 1)), np.float32) / 255


def canvas(picture: Array, s: Sheet, grain: float) -> Array:
    """A picture with the tooth of paper or cloth showing through."""
    return picture + (s.rng.random(picture.shape[:2], dtype=np.float32)[..., None] - 0.5) * grain
