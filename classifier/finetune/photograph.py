"""What a visitor's photograph makes of a work: a frame, a wall, light from one side, a camera that is not level."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

Draw = np.random.Generator
SCENE = 256
"""Side of the photograph before it is fitted, in pixels."""


def photographed(image: Image.Image, draw: Draw) -> Image.Image:
    """A photograph (RGB, at most SCENE x SCENE) of the work on a wall, mostly framed, seen a little from the side."""
    from PIL import Image

    scene = _wall(draw)
    framed = _framed(image, draw)
    cover = draw.uniform(0.5, 1.02)  # of the photograph's longer side; beyond 1 the frame is cut off
    scale = cover * SCENE / max(framed.size)
    w, h = max(8, round(framed.width * scale)), max(8, round(framed.height * scale))
    framed = framed.resize((w, h), Image.Resampling.BICUBIC)
    dx = (SCENE - w) / 2 + draw.uniform(-0.5, 0.5) * max(0.0, SCENE - w) * 0.7
    dy = (SCENE - h) / 2 + draw.uniform(-0.5, 0.5) * max(0.0, SCENE - h) * 0.7
    corners = [(dx, dy), (dx + w, dy), (dx + w, dy + h), (dx, dy + h)]
    tilt = 0.06 * min(w, h)
    moved = [(x + draw.uniform(-tilt, tilt), y + draw.uniform(-tilt, tilt)) for x, y in corners]
    if draw.random() < 0.5:
        _shadow(scene, moved, draw)
    scene.paste(*_warp(framed, moved))
    scene = _cut_to_work(scene, moved, draw)
    return _lit(scene, draw)


def warped(image: Image.Image, strength: float, draw: Draw) -> Image.Image:
    """The work with each corner drawn inwards by up to `strength` of its sides, as a camera from one side sees it.

    What lies outside is cut away: the corners mark the part of the work that is shown.
    """
    from PIL import Image

    w, h = image.size
    inward = draw.uniform(0, strength, (4, 2)) * (w, h)
    quad = [
        (inward[0, 0], inward[0, 1]), (w - inward[1, 0], inward[1, 1]),
        (w - inward[2, 0], h - inward[2, 1]), (inward[3, 0], h - inward[3, 1]),
    ]  # fmt: skip
    upright = [(0.0, 0.0), (float(w), 0.0), (float(w), float(h)), (0.0, float(h))]
    return image.transform((w, h), Image.Transform.PERSPECTIVE, homography(upright, quad), Image.Resampling.BICUBIC)


def homography(source: list[tuple[float, float]], target: list[tuple[float, float]]) -> list[float]:
    """The eight numbers by which Pillow's PERSPECTIVE takes `source` points to `target` points (four each).

    (x, y) goes to ((a x + b y + c) / (g x + h y + 1), (d x + e y + f) / (g x + h y + 1)): eight linear equations, as in
    Hartley and Zisserman, Multiple View Geometry, 4.1. Pillow asks for the map from output to input.
    """
    rows: list[list[float]] = []
    for (x, y), (u, v) in zip(source, target, strict=True):
        rows.append([x, y, 1, 0, 0, 0, -u * x, -u * y])
        rows.append([0, 0, 0, x, y, 1, -v * x, -v * y])
    return [float(v) for v in np.linalg.solve(np.array(rows), np.array(target).reshape(8))]


def _warp(picture: Image.Image, corners: list[tuple[float, float]]) -> tuple[Any, tuple[int, int], Any]:
    """(the picture in its place in the scene, where to paste it, its mask)."""
    from PIL import Image

    w, h = picture.size
    own = [(0.0, 0.0), (float(w), 0.0), (float(w), float(h)), (0.0, float(h))]
    back = homography(corners, own)
    placed = picture.transform((SCENE, SCENE), Image.Transform.PERSPECTIVE, back, Image.Resampling.BICUBIC)
    whole = Image.new("L", (w, h), 255)
    mask = whole.transform((SCENE, SCENE), Image.Transform.PERSPECTIVE, back, Image.Resampling.BILINEAR)
    return placed, (0, 0), mask


def _wall(draw: Draw) -> Image.Image:
    from PIL import Image

    # white to grey, or coloured: red, green, blue and dark walls are common in galleries
    pale = draw.random() < 0.6
    base = np.full(3, draw.uniform(120, 250)) + draw.normal(0, 6, 3) if pale else draw.uniform(20, 220, 3)
    wall = np.empty((SCENE, SCENE, 3), np.float32)
    wall[:] = base
    if draw.random() < 0.25:  # a floor
        wall[int(SCENE * draw.uniform(0.8, 0.95)) :] = draw.uniform(20, 180, 3)
    wall += draw.normal(0, draw.uniform(0.5, 5), (SCENE, SCENE, 1))
    return Image.fromarray(np.clip(wall, 0, 255).astype(np.uint8))


def _framed(image: Image.Image, draw: Draw) -> Image.Image:
    """The work in a shape of its own, mounted and framed or not."""
    from PIL import Image, ImageOps

    ratio = math.exp(draw.uniform(math.log(0.62), math.log(1 / 0.62)))
    side = 176
    w, h = max(8, round(side * min(1, ratio))), max(8, round(side / max(1, ratio)))
    work = image.resize((w, h), Image.Resampling.BICUBIC)
    if draw.random() < 0.25:  # a passe-partout
        work = ImageOps.expand(work, int(draw.integers(4, 30)), _colour(draw, 180, 255, 12))
    if draw.random() < 0.15:  # unframed
        return work
    tone = _frame_tone(draw)
    total = int(draw.integers(3, 44))
    rings = int(draw.integers(1, 6))
    inner = work
    for ring in range(rings):
        shade = float(draw.uniform(0.4, 1.35)) if ring else 0.35
        colour = tuple(int(np.clip(t * shade, 0, 255)) for t in tone)
        work = ImageOps.expand(work, max(1, total // rings), colour)
    if draw.random() < 0.6:  # carving: light and dark on the frame alone
        coarse = draw.uniform(0.45, 1.4, (max(2, work.height // 5), max(2, work.width // 5)))
        carving = np.asarray(Image.fromarray(coarse.astype(np.float32)).resize(work.size, Image.Resampling.BILINEAR))
        carved = Image.fromarray(np.clip(np.asarray(work) * carving[..., None], 0, 255).astype(np.uint8))
        carved.paste(inner, ((work.width - inner.width) // 2, (work.height - inner.height) // 2))
        return carved
    return work


def _frame_tone(draw: Draw) -> tuple[float, float, float]:
    tones = ((200, 165, 90), (150, 110, 50), (90, 55, 30), (25, 22, 20), (235, 235, 230), (130, 130, 130))  # gold first
    tone = tones[int(draw.choice(len(tones), p=(0.32, 0.22, 0.18, 0.12, 0.08, 0.08)))]
    return tone[0] + draw.normal(0, 10), tone[1] + draw.normal(0, 10), tone[2] + draw.normal(0, 10)


def _colour(draw: Draw, low: int, high: int, spread: float) -> tuple[int, int, int]:
    grey = draw.uniform(low, high)
    r, g, b = (int(np.clip(grey + draw.normal(0, spread), 0, 255)) for _ in range(3))
    return r, g, b


def _shadow(scene: Image.Image, corners: list[tuple[float, float]], draw: Draw) -> None:
    from PIL import Image, ImageDraw, ImageFilter

    shift = draw.uniform(2, 10), draw.uniform(2, 12)
    mask = Image.new("L", scene.size, 0)
    ImageDraw.Draw(mask).polygon([(x + shift[0], y + shift[1]) for x, y in corners], fill=int(draw.integers(60, 150)))
    scene.paste((0, 0, 0), (0, 0), mask.filter(ImageFilter.BoxBlur(float(draw.uniform(2, 7)))))


def _cut_to_work(scene: Image.Image, corners: list[tuple[float, float]], draw: Draw) -> Image.Image:
    """Most photographers step near: the photograph's edges lie a little outside the frame, or on it."""
    if draw.random() < 0.4:
        return scene
    xs, ys = [x for x, _ in corners], [y for _, y in corners]
    wide, high = max(xs) - min(xs), max(ys) - min(ys)
    margins = draw.uniform(-0.06, 0.25, 4) * (wide, high, wide, high)
    left, top = max(0, round(min(xs) - margins[0])), max(0, round(min(ys) - margins[1]))
    right, bottom = min(SCENE, round(max(xs) + margins[2])), min(SCENE, round(max(ys) + margins[3]))
    return scene.crop((left, top, max(right, left + 8), max(bottom, top + 8)))


def _lit(scene: Image.Image, draw: Draw) -> Image.Image:
    """Light from one side, the lamp's colour, exposure, a reflection, and the sensor's noise."""
    from PIL import Image

    pixels = np.asarray(scene, dtype=np.float32)
    y, x = np.mgrid[0 : pixels.shape[0], 0 : pixels.shape[1]].astype(np.float32)
    y, x = y / max(1, pixels.shape[0] - 1) - 0.5, x / max(1, pixels.shape[1] - 1) - 0.5
    angle = draw.uniform(0, 2 * math.pi)
    falls = 1 + draw.uniform(0, 0.45) * (x * math.cos(angle) + y * math.sin(angle))
    lamp = 1 + draw.normal(0, 1, 3) * (0.06, 0.02, 0.08)
    pixels = pixels * (falls[..., None] * lamp * draw.uniform(0.55, 1.25)).astype(np.float32)
    if draw.random() < 0.25:
        centre = draw.uniform(-0.5, 0.5, 2)
        near = np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * draw.uniform(0.05, 0.2) ** 2))
        pixels = pixels + (draw.uniform(30, 130) * near[..., None]).astype(np.float32)
    if draw.random() < 0.5:  # haze: glass and a bright room lift the shadows
        lift = draw.uniform(0, 40)
        pixels = pixels * (1 - lift / 255) + lift
    pixels = pixels + draw.normal(0, draw.uniform(0, 5), pixels.shape).astype(np.float32)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
