"""Copies of a work as they turn up elsewhere: cut, recoloured, compressed, turned, seen from the side, in bars.

Each change takes an RGB image and a generator, and gives an RGB image; only `warp` draws from the generator. They are
what an encoder is asked about, so they share nothing with the views that a network is trained on but the algebra of a
homography. Pillow and numpy only.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from simsearch.classifier.finetune.photograph import homography
from simsearch.images import decode, read_bytes

Change = Callable[[Image.Image, np.random.Generator], Image.Image]

GROUND = (128, 128, 128)
"""What lies around a work that was turned or warped."""
SAME_PICTURE = 0.98
"""Least correlation of two files' thumbnails that show one picture. On WikiArt, of 2,215 held-out works with a near
neighbour, files of one picture stood at .984 and higher, other pictures at .968 and lower."""
THUMBNAIL = 32


def cropped(image: Image.Image, _: np.random.Generator) -> Image.Image:
    """The middle: 60 % of the width and 60 % of the height, which is 36 % of the area."""
    w, h = max(1, round(image.width * 0.6)), max(1, round(image.height * 0.6))
    left, top = (image.width - w) // 2, (image.height - h) // 2
    return image.crop((left, top, left + w, top + h))


def hue_turned(image: Image.Image, _: np.random.Generator) -> Image.Image:
    """Every hue turned by 30 degrees, red to orange; Pillow's steps make it 29.6."""
    h, s, v = image.convert("HSV").split()
    turned = (np.asarray(h, dtype=np.int64) + round(30 / 360 * 255)) % 255  # 255 is a whole turn
    return Image.merge("HSV", (Image.fromarray(turned.astype(np.uint8)), s, v)).convert("RGB")


def compressed(image: Image.Image, _: np.random.Generator) -> Image.Image:
    """Through JPEG at quality 20, with colours at half the resolution."""
    stored = io.BytesIO()
    image.save(stored, "JPEG", quality=20, subsampling=2)
    again = Image.open(stored)
    again.load()
    return again


def rotated(image: Image.Image, _: np.random.Generator) -> Image.Image:
    """Turned by 10 degrees counter-clockwise in a frame of the same size; grey in the corners."""
    return image.rotate(10, Image.Resampling.BICUBIC, fillcolor=GROUND)


def warped(image: Image.Image, draw: np.random.Generator) -> Image.Image:
    """As a camera from one side sees it: each corner drawn in by 4 to 18 % of either side, on grey ground."""
    w, h = image.size
    x, y = draw.uniform(0.04, 0.18, (2, 4))
    seen = [(x[0] * w, y[0] * h), (w - x[1] * w, y[1] * h), (w - x[2] * w, h - y[2] * h), (x[3] * w, h - y[3] * h)]
    own = [(0.0, 0.0), (float(w), 0.0), (float(w), float(h)), (0.0, float(h))]
    back = homography(seen, own)
    return image.transform((w, h), Image.Transform.PERSPECTIVE, back, Image.Resampling.BICUBIC, fillcolor=GROUND)


def mirrored(image: Image.Image, _: np.random.Generator) -> Image.Image:
    """Left and right exchanged."""
    return ImageOps.mirror(image)


def letterboxed(image: Image.Image, _: np.random.Generator) -> Image.Image:
    """Squeezed to 75 % of its height, black bars above and below: a 4:3 picture in a square, if works are squares."""
    ground = Image.new("RGB", image.size)
    height = max(1, round(image.height * 0.75))
    ground.paste(image.resize((image.width, height), Image.Resampling.BICUBIC), (0, (image.height - height) // 2))
    return ground


def squashed(image: Image.Image, _: np.random.Generator) -> Image.Image:
    """Squeezed to 60 % of its width, and left so: what becomes of the shape is the encoder's framing."""
    return image.resize((max(1, round(image.width * 0.6)), image.height), Image.Resampling.BICUBIC)


def halved(image: Image.Image, _: np.random.Generator) -> Image.Image:
    """At half the width and half the height."""
    return image.resize((max(1, image.width // 2), max(1, image.height // 2)), Image.Resampling.LANCZOS)


CHANGES: dict[str, Change] = {
    "crop": cropped,
    "hue": hue_turned,
    "jpeg": compressed,
    "rotate": rotated,
    "warp": warped,
    "mirror": mirrored,
    "letterbox": letterboxed,
    "squash": squashed,
    "half": halved,
}


def same_picture(a: Path, b: Path) -> bool:
    """Whether two files show one picture: the same bytes, or thumbnails that correlate by SAME_PICTURE or more.

    No encoder is asked, so that the answer is the same whichever one is measured.
    """
    first, second = read_bytes(a), read_bytes(b)
    if first == second:
        return True
    return float(_thumbnail(first, a) @ _thumbnail(second, b)) >= SAME_PICTURE


def _thumbnail(data: bytes, path: Path) -> np.ndarray:
    """(THUMBNAIL * THUMBNAIL * 3,) float32 of mean 0 and length 1; zeros where the picture is of one tone."""
    small = decode(data, str(path)).image.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
    tones = np.asarray(small, dtype=np.float32).ravel()
    tones -= tones.mean()
    return tones / max(float(np.linalg.norm(tones)), 1e-6)
