"""What the demo pictures are of: hills, tables of fruit, sitters, the sea and the night sky."""

from copy import copy
from itertools import count

import numpy as np
from PIL import Image, ImageDraw
from sheets import Array, Colour, Sheet, grid, ink, mix, noise, ramp, skyline, step, to_image


class Scene:
    """A picture of things under way: its colours, which thing each pixel shows, and how far that thing bulges."""

    def __init__(self, w: int, h: int, ground: Array) -> None:
        """A scene with nothing in it yet but its ground colour."""
        self.x, self.y = grid(w, h)
        self.wide, self.tall = w / min(w, h), h / min(w, h)
        self.edge = 1.6 / min(w, h)
        self.colour = np.broadcast_to(ground, (h, w, 3)).astype(np.float32)
        self.thing = np.zeros((h, w), np.int32)
        self.form = np.zeros((h, w), np.float32)
        self.ids = count(1)

    def near(self, x: float, y: float, rx: float, ry: float) -> "Scene":
        """The part of this scene around a point: laying on it paints this scene, and costs only its own pixels."""
        h, w = self.thing.shape
        short, part = min(w, h), copy(self)
        rows = slice(max(0, int((y - ry) * short) - 2), max(0, int((y + ry) * short) + 3))
        columns = slice(max(0, int((x - rx) * short) - 2), max(0, int((x + rx) * short) + 3))
        for name in ("x", "y", "colour", "thing", "form"):
            setattr(part, name, getattr(self, name)[rows, columns])
        return part

    def lay(self, inside: Array, colour: Array, form: Array | float = 0.0, outlined: bool = True) -> None:
        """Paints one thing where ``inside`` is positive; an unoutlined one belongs to what is below it."""
        mask = step(inside, self.edge)
        self.colour[:] = mix(self.colour, colour, mask)
        if outlined:
            self.thing[mask > 0.5] = next(self.ids)
            self.form[:] = np.where(mask > 0.5, np.float32(form), self.form)

    def ball(self, x: float, y: float, rx: float, ry: float, colour: Colour, depth: float = 1.0) -> None:
        """Lays an ellipsoid lit from the upper left, its shadows ``depth`` deep."""
        here = self.near(x, y, rx, ry)
        u, v = (here.x - x) / rx, (here.y - y) / ry
        z = np.sqrt(np.clip(1 - u * u - v * v, 0, 1))
        lit = mix(colour, shaded(colour, z * 0.62 - u * 0.5 - v * 0.6), depth)
        here.lay((1 - np.hypot(u, v)) * min(rx, ry), lit, z * ry)

    def spot(self, x: float, y: float, rx: float, ry: float, colour: Array, curl: float = 0.0) -> None:
        """Lays a flat ellipse that belongs to what is below it, its ends raised by ``curl``."""
        here = self.near(x, y, rx, ry + abs(curl))
        u = (here.x - x) / rx
        here.lay((1 - np.hypot(u, (here.y - y + curl * u * u) / ry)) * ry, colour, outlined=False)


def shaded(colour: Colour, light: Array) -> Array:
    """A colour in light between 0 and 1: dusk below, itself at two thirds, a gleam at the very top."""
    lit = mix(np.asarray(colour) * 0.3, colour, np.clip(light * 1.35 + 0.12, 0, 1))
    return mix(lit, (1, 0.98, 0.92), np.clip(light - 0.72, 0, 1) * 1.7)


def hills(rng: np.random.Generator, colours: Array, w: int, h: int) -> Scene:
    """A landscape: a low sun, ridge behind ridge, and a few round trees on the nearest slopes."""
    light, sky, glow, far, near, accent, second, dark = colours
    scene = Scene(w, h, light)
    horizon = scene.tall * rng.uniform(0.38, 0.55)
    scene.colour = mix(sky, light, np.clip(scene.y / horizon, 0, 1) ** 1.3)
    sun_x, sun_y, radius = scene.wide * rng.uniform(0.2, 0.8), horizon * rng.uniform(0.4, 0.85), rng.uniform(0.07, 0.13)
    away = np.hypot(scene.x - sun_x, scene.y - sun_y)
    scene.colour = mix(scene.colour, glow, np.exp(-away * 4) * 0.45)
    scene.lay(radius - away, mix(glow, light, 0.15))
    ridges = int(rng.integers(3, 6))
    for k in range(ridges):
        depth = (k + 1) / ridges
        profile = skyline(rng, w, scene.wide * rng.uniform(1.5, 3)) * (0.36 - 0.16 * depth)
        top = horizon + (scene.tall - horizon) * (depth - 1 / ridges) * 0.95 - profile + 0.05
        below = scene.y - top
        body = mix(mix(far, near, depth), (accent, second)[k % 2], 0.22 + 0.3 * rng.random())
        scene.lay(below, mix(mix(body, light, 0.28), body * 0.62, np.clip(below * 3.2, 0, 1)), below * 0.8)
        if depth > 0.5:
            plant(scene, rng, top, depth, mix(dark, (accent, second)[(k + 1) % 2], rng.uniform(0.25, 0.7)))
    return scene


def plant(scene: Scene, rng: np.random.Generator, top: Array, depth: float, colour: Array) -> None:
    """Sets one to four trees on a ridge whose skyline is ``top``."""
    for x in rng.uniform(0.05, 0.95, int(rng.integers(1, 5))) * scene.wide:
        size = depth**2 * rng.uniform(0.045, 0.085)
        foot = float(top[int(x / scene.wide * len(top))]) + 0.02
        here = scene.near(x, foot - size, size, size)
        trunk = np.minimum(size * 0.13 - abs(here.x - x), size - abs(here.y - foot + size))
        here.lay(trunk, colour * 0.5, outlined=False)
        scene.ball(x, foot - size * 2.1, size * 0.85, size * rng.uniform(0.9, 1.5), colour)


def fruit(rng: np.random.Generator, colours: Array, w: int, h: int) -> Scene:
    """A still life: a jug and a row of fruit on a table before a plain wall."""
    light, sky, glow, far, near, accent, second, dark = colours
    scene = Scene(w, h, sky)
    scene.colour = mix(mix(sky, light, 0.45), sky * 0.7, np.clip(scene.x / scene.wide * 0.8 + scene.y * 0.15, 0, 1))
    table = scene.tall * rng.uniform(0.6, 0.68)
    scene.lay(scene.y - table, mix(mix(near, light, 0.35), near * 0.75, np.clip((scene.y - table) * 2.5, 0, 1)))
    jug_x = scene.wide * rng.choice([0.32, 0.66]) + rng.uniform(-0.06, 0.06)
    jug(scene, rng, jug_x, table + 0.1, mix(far, (dark, accent, light)[rng.integers(3)], 0.4))
    tints = np.stack([glow, accent, second, mix(glow, accent, 0.5), mix(second, light, 0.25)])
    spots = sorted(rng.uniform(0.1, 0.26, int(rng.integers(4, 8))))
    for x, drop in zip(rng.permutation(np.linspace(0.12, 0.88, len(spots))) * scene.wide, spots, strict=True):
        radius, tall = rng.uniform(0.075, 0.115), rng.uniform(0.85, 1.2)
        scene.spot(x + radius * 0.6, table + drop, radius * 1.5, radius * 0.32, near * 0.42)
        scene.ball(x, table + drop - radius * tall, radius, radius * tall, tints[rng.integers(len(tints))])
        top = table + drop - radius * tall * 1.95
        here = scene.near(x, top, 0.05, 0.04)
        stem = 0.007 - abs(here.x - x - (top - here.y) * 0.4)
        here.lay(np.minimum(stem, 0.03 - abs(here.y - top)), dark, outlined=False)
    return scene


def jug(scene: Scene, rng: np.random.Generator, x: float, foot: float, colour: Array) -> None:
    """Stands a turned jug on the table, its profile a belly, a neck and a lip."""
    tall, wide = rng.uniform(0.42, 0.55), rng.uniform(0.1, 0.14)
    scene.spot(x + wide * 0.9, foot, wide * 1.9, 0.035, colour * 0.25)
    here = scene.near(x, foot - tall / 2, wide * 1.5, tall / 2)
    up = np.clip((foot - here.y) / tall, 0, 1)
    half = wide * (0.62 + 0.45 * np.sin(np.pi * np.clip(up * 1.45, 0, 1)) - 0.22 * up + 0.5 * up**9)
    u = (here.x - x) / half
    body = np.minimum(half - abs(here.x - x), np.minimum(foot - here.y, here.y - foot + tall))
    round_off = np.sqrt(np.clip(1 - u * u, 0, 1))
    here.lay(body, shaded(colour, round_off * 0.75 - u * 0.5 - 0.06), round_off * wide)


def sitter(rng: np.random.Generator, colours: Array, w: int, h: int) -> Scene:
    """A portrait: head and shoulders, facing us, hair long, short or under a hat."""
    light, sky, glow, far, near, accent, second, dark = colours
    scene = Scene(w, h, sky)
    scene.colour = mix(mix(sky, light, 0.5), mix(sky, far, 0.7), np.clip(scene.x / scene.wide, 0, 1))
    skin = mix(mix((0.98, 0.82, 0.7), (0.56, 0.37, 0.26), rng.random() ** 1.5), glow, 0.15)
    hair, cloth = mix(dark, (dark, near, accent)[rng.integers(3)], 0.45), (accent, second, near)[rng.integers(3)]
    x, y, a = scene.wide * 0.5 + rng.uniform(-0.05, 0.05), scene.tall * 0.43, rng.uniform(0.18, 0.205)
    b, long = a * rng.uniform(1.28, 1.4), rng.random() < 0.4
    scene.ball(x, y - b * 0.27, a * 1.25, b * 0.95, hair)
    if long:
        scene.ball(x, y + b * 0.62, a * 1.38, b * 1.15, hair)
    neck = np.minimum(a * 0.46 - abs(scene.x - x), scene.y - y)
    scene.lay(neck, mix(skin * 0.5, skin * 0.85, step(x - scene.x, 0.12)), 0.05)
    scene.ball(x, scene.tall + 0.12, rng.uniform(0.42, 0.5), scene.tall + 0.12 - y - b * 1.18, cloth)
    collar = np.minimum(a * 0.62 - abs(scene.x - x) - abs(scene.y - y - b * 1.25) * 0.9, scene.y - y - b * 0.9)
    scene.lay(collar, mix(skin, skin * 0.6, step(scene.x - x, 0.1)), 0.05)
    scene.ball(x, y, a, b, skin, 0.5)
    features(scene, (x, y, a, b), skin, mix(hair, (0.05, 0.03, 0.03), 0.5), glow)
    part, here = rng.uniform(-0.6, 0.6), scene.near(x, y, a * 1.1, b * 1.1)
    fringe = 1 - np.hypot((here.x - x) / (a * 1.08), (here.y - y) / (b * 1.06))
    line = y - b * 0.52 - a * 0.35 * np.cos(((here.x - x) / a - part) * 2.2) - here.y
    here.lay(np.minimum(fringe * a, line), shaded(hair, 0.62 - (here.x - x) * 2.4), 0.1)
    if rng.random() < 0.4:
        scene.ball(x, y - b * 0.86, a * 1.02, b * 0.5, second)
        scene.ball(x, y - b * 0.58, a * 1.75, b * 0.13, mix(second, dark, 0.25))
    return scene


def features(scene: Scene, face: tuple[float, float, float, float], skin: Array, ink: Array, blush: Array) -> None:
    """Gives a face, an ellipse by centre and radii, its brows, eyes, nose, cheeks and mouth."""
    x, y, a, b = face

    def spot(dx: float, dy: float, rx: float, ry: float, colour: Array, curl: float = 0.0) -> None:
        scene.spot(x + dx * a, y + dy * b, rx * a, ry * b, colour, curl * b)

    spot(0.05, 0.3, 0.17, 0.07, skin * 0.6)
    spot(0.0, 0.26, 0.11, 0.07, mix(skin, (1, 1, 1), 0.12))
    for side in (-1, 1):
        here = scene.near(x + side * a * 0.5, y + b * 0.28, a * 0.5, a * 0.5)
        cheek = np.exp(-((np.hypot(here.x - x - side * a * 0.5, here.y - y - b * 0.28) / (a * 0.22)) ** 2))
        here.colour[:] = mix(here.colour, mix(skin, blush, 0.5), cheek * 0.3)
        spot(side * 0.41, -0.23, 0.27, 0.035, ink, -0.06)
        spot(side * 0.4, -0.01, 0.21, 0.095, np.array([0.97, 0.95, 0.9], np.float32))
        spot(side * 0.4, -0.01, 0.11, 0.095, ink)
        spot(side * 0.4, -0.09, 0.25, 0.03, ink, -0.05)
    spot(0.0, 0.56, 0.27, 0.06, mix(skin * 0.6, (0.65, 0.1, 0.14), 0.6), 0.03)
    spot(0.0, 0.55, 0.3, 0.013, ink, 0.035)


def scene_of(s: Sheet) -> Scene:
    """The motif of a sheet, seen plainly and at the sheet's own size."""
    return MOTIFS[s.genre](s.rng, s.colours, s.w, s.h)


MOTIFS = {"landscape": hills, "still life": fruit, "portrait": sitter}


def seascape(s: Sheet) -> Image.Image:
    """Open water under a big sky: a low sun and its path of glitter, clouds, headlands and a few sails."""
    light, sky, glow, far = s.colours[:4]
    x, y = grid(s.w, s.h)
    wide, tall = s.w / min(s.w, s.h), s.h / min(s.w, s.h)
    horizon = tall * s.rng.uniform(0.42, 0.62)
    sun_x, sun_y = wide * s.rng.uniform(0.2, 0.8), horizon * s.rng.uniform(0.55, 0.92)
    away = np.hypot(x - sun_x, y - sun_y)
    air = ramp(np.stack([sky, mix(sky, light, 0.55), mix(light, glow, 0.5)]), np.clip(y / horizon, 0, 1) ** 1.4)
    air = mix(air, glow, np.exp(-away * 3.2) * 0.55)
    for drawn, cover, lit in ((3.0, s.habits["cloud"], 0.35), (5.0, s.habits["cloud"] + 0.05, 0.75)):
        cloud = np.clip((noise(s.rng, s.w, s.h, 3.5, 5, drawn) - cover) * 4, 0, 1) * np.clip(1.6 - y / horizon, 0, 1)
        air = mix(air, mix(mix(far, light, lit), mix(glow, light, 0.5), np.exp(-away * 2)), np.clip(cloud, 0, 0.85))
    air = mix(air, mix(glow, (1, 1, 0.94), 0.6), step(s.rng.uniform(0.045, 0.075) - away, 0.006))
    for k in range(int(s.rng.integers(0, 3))):
        rise = (skyline(s.rng, s.w, 3) - 0.55) * s.rng.uniform(0.1, 0.22)
        air = mix(air, mix(far, mix(sky, light, 0.5), 0.45 - 0.3 * k), step(y - horizon + rise, 0.004))
    picture = np.where((y > horizon)[..., None], water(s, x, y, horizon, sun_x), air)
    image = to_image(picture)
    sails(s, image, horizon * min(s.w, s.h))
    return image


def water(s: Sheet, x: Array, y: Array, horizon: float, sun_x: float) -> Array:
    """The sea below a horizon: swell that closes up with distance, foam near us, glitter under the sun."""
    light, sky, glow, far, near, _, _, dark = s.colours
    down = np.clip((y - horizon) / (y.max() - horizon), 0, 1)
    rows = np.clip(np.log(down * 12 + 1) / np.log(13) * (s.h - 1), 0, s.h - 1).astype(int)
    swell, ripple, crest = (
        noise(s.rng, s.w, s.h, s.habits["swell"] * finer, 3, 3.2)[rows, np.arange(s.w)] for finer in (1, 5, 2.4)
    )
    sea = ramp(np.stack([mix(far, light, 0.35), near, mix(near, dark, 0.65)]), down**0.75)
    sea = mix(sea, mix(sky, light, 0.35), np.clip(swell - 0.5, 0, 1) * 1.3)
    sea = mix(sea, mix(near, dark, 0.7), np.clip(0.45 - swell, 0, 1) * 1.5)
    sea = mix(sea, mix(near, light, 0.35), np.clip(ripple - 0.52, 0, 1) * 1.6)
    ridge = 1 - abs(2 * crest - 1) + (ripple - 0.5) * 0.12
    sea = mix(sea, light, np.clip((ridge - s.habits["foam"]) * 14, 0, 1) * np.clip(swell * 2.4 - 0.7, 0, 1) * 0.8)
    path = np.exp(-(((x - sun_x) / (0.05 + down * 0.16)) ** 2))
    return mix(sea, mix(glow, light, 0.45), path * np.clip((ripple - 0.45) * 9, 0, 1))


def sails(s: Sheet, image: Image.Image, horizon: float) -> None:
    """Sets a few small boats on the water of a seascape whose horizon is given in pixels."""
    draw, short = ImageDraw.Draw(image), min(s.w, s.h)
    for far_off in sorted(s.rng.uniform(0.0, 1.0, int(s.rng.integers(0, int(s.habits["sails"]) + 1))) ** 2):
        size, x = short * (0.05 + 0.13 * far_off), s.w * s.rng.uniform(0.08, 0.92)
        foot, lean = horizon + short * 0.2 * far_off + size * 0.1, s.rng.choice([-1, 1])
        sail, hull = ink(mix(s.colours[0], s.colours[int(s.rng.choice([0, 5, 6]))], 0.6)), ink(s.colours[7])
        draw.polygon([(x, foot - size), (x, foot - size * 0.1), (x + lean * size * 0.5, foot - size * 0.1)], fill=sail)
        draw.polygon(
            [
                (x - lean * size * 0.06, foot - size * 0.85),
                (x - lean * size * 0.06, foot - size * 0.1),
                (x - lean * size * 0.32, foot - size * 0.1),
            ],
            fill=sail,
        )
        draw.polygon(
            [
                (x - size * 0.4, foot - size * 0.06),
                (x + size * 0.5, foot - size * 0.06),
                (x + size * 0.33, foot + size * 0.07),
                (x - size * 0.28, foot + size * 0.07),
            ],
            fill=hull,
        )


def night_sky(s: Sheet) -> Image.Image:
    """Stars over a dark skyline: a milky river of them, or the arcs they draw around the pole."""
    top, low, glow, _, _, lamp, dark = s.colours
    x, y = grid(s.w, s.h)
    tall = s.h / min(s.w, s.h)
    picture = ramp(np.stack([top, low, mix(low, glow, 0.8)]), np.clip(y / tall / 0.95, 0, 1) ** 1.5)
    picture = trails(s, picture) if s.habits["trails"] else milky_way(s, x, y, picture)
    foot = tall * s.rng.uniform(0.8, 0.9)
    for depth in (0.45, 0.75, 1.0):
        rise = skyline(s.rng, s.w, s.rng.uniform(2, 4)) * 0.22 * (1.25 - depth)
        if depth == 1.0 and s.habits["firs"]:
            rise = rise + firs(s)
        picture = mix(picture, mix(mix(low, glow, 0.35), dark, depth), step(y - foot - depth * 0.06 + rise, 0.006))
    image = to_image(picture)
    if s.habits["cabin"]:
        cabin(s, image, lamp, dark)
    return image


def milky_way(s: Sheet, x: Array, y: Array, picture: Array) -> Array:
    """A night with a slanting band of star cloud, dust lanes and several sizes of star."""
    glow, cloud, warm = s.colours[2:5]
    lean, cx = s.rng.uniform(-0.9, 0.9), float(x.max()) * s.rng.uniform(0.35, 0.65)
    wind = (noise(s.rng, s.w, s.h, 2) - 0.5) * 0.35
    off = (x - cx) * np.cos(lean) + (y - y.max() / 2) * np.sin(lean) + wind
    band = np.exp(-((off / s.rng.uniform(0.15, 0.22)) ** 2)) * (0.35 + 0.8 * noise(s.rng, s.w, s.h, 5, 5))
    picture = mix(picture, cloud, np.clip(band * 0.75, 0, 1))
    picture = mix(picture, warm, np.clip(band * 1.3 - 0.55, 0, 1) * 0.8)
    dust = np.clip(noise(s.rng, s.w, s.h, 6, 5) * 1.8 - 0.95, 0, 1) * np.exp(-((off / 0.09) ** 2))
    picture = picture * (1 - 0.75 * dust[..., None])
    odds = s.rng.random((s.h, s.w), dtype=np.float32) / (0.25 + band)
    small = np.clip(1 - odds / (0.03 * 360 / max(s.w, s.h)), 0, 1) * s.rng.random((s.h, s.w), dtype=np.float32) ** 1.5
    picture = mix(picture, (1, 0.98, 0.93), small)
    for _ in range(int(s.habits["bright"])):
        px, py, size = s.rng.uniform(0, x.max()), s.rng.uniform(0, y.max() * 0.8), s.rng.uniform(0.003, 0.009)
        away = np.hypot(x - px, y - py)
        halo = np.exp(-((away / size) ** 2)) + 0.3 * np.exp(-away / size / 2.5)
        picture = mix(picture, mix((1, 1, 1), (warm, glow)[s.rng.integers(2)], 0.25), np.clip(halo, 0, 1))
    return picture


def trails(s: Sheet, picture: Array) -> Array:
    """A night whose stars have drawn arcs around a pole through a long exposure."""
    fine = s.finer()
    night = to_image(picture).resize((fine.w, fine.h))
    draw, short = ImageDraw.Draw(night), min(fine.w, fine.h)
    px, py = fine.w * s.rng.uniform(0.25, 0.75), fine.h * s.rng.uniform(0.3, 0.62)
    span, start = s.rng.uniform(25, 80), s.rng.uniform(0, 360)
    for _ in range(int(s.habits["trails"])):
        r, a, bright = s.rng.uniform(0.005, 1.25) * short, start + s.rng.uniform(0, 360), s.rng.random() ** 1.6
        tint = mix(mix(s.colours[1], (1, 1, 1), 0.25 + 0.7 * bright), s.colours[int(s.rng.integers(2, 5))], 0.35)
        draw.arc((px - r, py - r, px + r, py + r), a, a + span, fill=ink(tint), width=1 + int(bright * short / 260))
    return np.asarray(night.resize((s.w, s.h), Image.Resampling.BOX), np.float32) / 255


def firs(s: Sheet) -> Array:
    """How far a row of firs stands above the ground, for every column of a sheet."""
    x = (np.arange(s.w) + 0.5) / min(s.w, s.h)
    rise = np.zeros(s.w, np.float32)
    for at in s.rng.uniform(-0.02, x[-1] + 0.02, int(s.rng.integers(10, 26))):
        size = s.rng.uniform(0.06, 0.2)
        down = abs(x - at) / (size * 0.24)
        rise = np.maximum(rise, np.where(down < 1, size * (1 - down) + 0.012 * np.sin(down * 19), 0))
    return rise


def cabin(s: Sheet, image: Image.Image, lamp: Array, dark: Array) -> None:
    """Sets a small house with lit windows on the lowest ground of a night picture."""
    draw, size = ImageDraw.Draw(image), min(s.w, s.h) * s.rng.uniform(0.05, 0.075)
    x, foot = s.w * s.rng.uniform(0.15, 0.8), s.h * 0.965
    draw.rectangle((x, foot - size, x + size * 1.6, foot), fill=ink(dark * 0.7))
    draw.polygon(
        [(x - size * 0.2, foot - size), (x + size * 0.8, foot - size * 1.8), (x + size * 1.8, foot - size)],
        fill=ink(dark * 0.45),
    )
    for shift in (0.25, 0.95):
        draw.rectangle(
            (x + size * shift, foot - size * 0.72, x + size * (shift + 0.38), foot - size * 0.28), fill=ink(lamp)
        )
