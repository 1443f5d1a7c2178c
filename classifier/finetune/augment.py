"""Other views of a work, as a network should recognise it: cut, mirrored, recoloured, compressed, hung on a wall.

Every view is drawn by a generator of its own, so that the same work and number give the same view on any machine, in
any order and with any number of workers. Pillow and numpy only: views are made in worker processes that never load
torch.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from simsearch.classifier.finetune.photograph import photographed, warped

if TYPE_CHECKING:
    from PIL import Image

Draw = np.random.Generator
FILTERS = ("BILINEAR", "BICUBIC", "LANCZOS", "BOX", "HAMMING")


@dataclass(frozen=True, slots=True)
class Augment:
    """How strongly views differ. A probability of 0 leaves a change away."""

    crop: float = 0.45
    """Least share of the area that a cut keeps; 1 keeps all."""
    flip: float = 0.5
    """Probability of a mirrored view."""
    colour: float = 0.3
    """Largest relative change of brightness, contrast and saturation."""
    hue: float = 30.0
    """Largest turn of the hue, in degrees."""
    gray: float = 0.05
    """Probability of a view without colour."""
    blur: float = 0.25
    """Probability of a blur of 0.3 to 1.5 pixels."""
    jpeg: float = 0.4
    """Probability of JPEG compression at quality 15 to 90."""
    rotate: float = 10.0
    """Largest rotation, in degrees; half of the views are not turned."""
    resample: float = 0.5
    """Probability of going through another size and filter, which hides how a file was made before."""
    letterbox: float = 0.1
    """Probability of bars above and below, or at the sides."""
    photo: float = 0.0
    """Probability of a photograph of the work, framed on a wall, by `photograph.photographed`."""
    randaugment: str = ""
    """timm's name of a RandAugment policy, such as ``rand-m7-n2``; empty for none."""


def view(image: Image.Image, how: Augment, size: int, draw: Draw) -> npt.NDArray[np.uint8]:
    """One view of an RGB image, squashed to (size, size, 3) uint8."""
    from PIL import Image, ImageOps

    if how.flip and draw.random() < how.flip:
        image = ImageOps.mirror(image)
    photo = bool(how.photo) and draw.random() < how.photo
    if how.randaugment:
        image = _randaugment(how.randaugment, size)(image, draw)
    if photo:
        image = photographed(image, draw)
    else:
        if how.rotate and draw.random() < 0.5:
            image = _rotated(image, float(draw.uniform(-how.rotate, how.rotate)))
        elif how.rotate and draw.random() < 0.3:
            image = warped(image, 0.12, draw)
        if how.crop < 1:
            image = _cut(image, how.crop, draw)
        if how.letterbox and draw.random() < how.letterbox:
            image = _letterboxed(image, draw)
    image = _recoloured(image, how, draw)
    if how.resample and draw.random() < how.resample:
        through = int(draw.integers(max(2, size // 2), size * 2))
        image = image.resize((through, through), Image.Resampling[str(draw.choice(FILTERS))])
    final = Image.Resampling[str(draw.choice(FILTERS[:3]))] if how.resample else Image.Resampling.BICUBIC
    if image.size != (size, size):
        image = image.resize((size, size), final, reducing_gap=3.0)
    return np.asarray(_worn(image, how, draw), dtype=np.uint8)


def is_photograph(how: Augment, draw: Draw) -> bool:
    """Whether :func:`view` makes a photograph of the work with this generator, which goes on."""
    if how.flip:
        draw.random()
    return bool(how.photo) and draw.random() < how.photo


def _cut(image: Image.Image, least: float, draw: Draw) -> Image.Image:
    area = draw.uniform(least, 1)
    ratio = math.exp(draw.uniform(math.log(0.75), math.log(1 / 0.75)))
    width = min(1.0, math.sqrt(area * ratio))
    height = min(1.0, area / width)
    w, h = max(1, round(width * image.width)), max(1, round(height * image.height))
    left, top = int(draw.integers(0, image.width - w + 1)), int(draw.integers(0, image.height - h + 1))
    return image.crop((left, top, left + w, top + h))


def _rotated(image: Image.Image, degrees: float) -> Image.Image:
    """Turned, and cut to the largest centred rectangle of the same shape that shows no corner of the ground."""
    from PIL import Image

    turned = image.rotate(degrees, Image.Resampling.BICUBIC)
    angle, (w, h) = abs(math.radians(degrees)), image.size
    keep = min(w / (w * math.cos(angle) + h * math.sin(angle)), h / (w * math.sin(angle) + h * math.cos(angle)))
    dx, dy = round(w * (1 - keep) / 2), round(h * (1 - keep) / 2)
    return turned.crop((dx, dy, w - dx, h - dy))


def _letterboxed(image: Image.Image, draw: Draw) -> Image.Image:
    from PIL import Image

    shade = int(draw.choice((0, 255, int(draw.integers(0, 256)))))
    ground = Image.new("RGB", image.size, (shade, shade, shade))
    keep = draw.uniform(0.55, 0.9)
    lies = draw.random() < 0.5
    w, h = max(1, round(image.width * (1 if lies else keep))), max(1, round(image.height * (keep if lies else 1)))
    ground.paste(image.resize((w, h), Image.Resampling.BICUBIC), ((image.width - w) // 2, (image.height - h) // 2))
    return ground


def _recoloured(image: Image.Image, how: Augment, draw: Draw) -> Image.Image:
    from PIL import Image, ImageEnhance

    if how.colour and draw.random() < 0.8:
        for change in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
            image = change(image).enhance(float(draw.uniform(1 - how.colour, 1 + how.colour)))
    if how.hue and draw.random() < 0.4:
        h, s, v = image.convert("HSV").split()
        turn = round(draw.uniform(-how.hue, how.hue) / 360 * 255)
        turned = Image.fromarray(np.asarray(h) + np.uint8(turn % 256))
        image = Image.merge("HSV", (turned, s, v)).convert("RGB")
    if how.gray and draw.random() < how.gray:
        image = image.convert("L").convert("RGB")
    return image


def _worn(image: Image.Image, how: Augment, draw: Draw) -> Image.Image:
    from PIL import Image, ImageFilter

    if how.blur and draw.random() < how.blur:
        image = image.filter(ImageFilter.GaussianBlur(float(draw.uniform(0.3, 1.5))))
    if how.jpeg and draw.random() < how.jpeg:
        stored = io.BytesIO()
        image.save(stored, "JPEG", quality=int(draw.integers(15, 91)))
        image = Image.open(stored)
        image.load()
    return image


def _randaugment(policy: str, size: int) -> Any:
    """timm's policy as a function of an image and a generator; timm itself draws from Python's global one."""
    import random

    from timm.data.auto_augment import rand_augment_transform

    transform = rand_augment_transform(policy, {"translate_const": size // 3, "img_mean": (124, 116, 104)})

    def changed(image: Image.Image, draw: Draw) -> Image.Image:
        before, numpy_before = random.getstate(), np.random.get_state()
        random.seed(int(draw.integers(2**32)))
        np.random.seed(int(draw.integers(2**32)))
        try:
            out: Image.Image = transform(image)
            return out
        finally:
            random.setstate(before)
            np.random.set_state(numpy_before)

    return changed
