"""How the demo pictures are painted: each painter turns a sheet into a picture in its one manner.

A painter may answer a picture larger than its sheet asks for; whoever hangs it scales it down, which smooths edges.
"""

from itertools import pairwise

import numpy as np
from motifs import scene_of
from PIL import Image, ImageDraw, ImageFilter
from sheets import (
    FINE,
    Array,
    Sheet,
    canvas,
    enlarged,
    grid,
    ink,
    luma,
    mix,
    noise,
    outlines,
    ramp,
    skyline,
    step,
    to_image,
)


def colour_field(s: Sheet) -> Image.Image:
    """Two to four soft-edged fields floating on a stained ground."""
    x, y = grid(s.w, s.h)
    along, across = (x, y) if s.habits["upright"] else (y, x)
    length, breadth, margin = float(along.max()), float(across.max()), s.rng.uniform(0.05, 0.1)
    picture = s.colours[0] * (0.9 + 0.18 * noise(s.rng, s.w, s.h, 2))[..., None]
    shares = s.rng.dirichlet(np.full(int(s.rng.integers(2, int(s.habits["most"]) + 1)), s.habits["even"]))
    cuts = margin + np.concatenate([[0], np.cumsum(shares)]) * (length - 2 * margin)
    tints = s.rng.permutation(s.colours[1:])
    for k, (start, end) in enumerate(pairwise(cuts)):
        fray = (noise(s.rng, s.w, s.h, 11, 4) - 0.5) * s.habits["fray"]
        ends = np.minimum(along - start - 0.012, end - 0.012 - along)
        inside = np.minimum(ends, np.minimum(across - margin, breadth - margin - across)) + fray
        breath = 0.84 + 0.32 * noise(s.rng, s.w, s.h, 2.5, 4, 3)
        veil = step(inside - 0.01, s.habits["soft"]) * (0.8 + 0.2 * noise(s.rng, s.w, s.h, 5))
        picture = mix(picture, tints[k % len(tints)] * breath[..., None], veil)
    return to_image(canvas(picture, s, 0.045))


def pointillism(s: Sheet) -> Image.Image:
    """A scene in dots of unmixed colour on a pale ground, big ones under small ones."""
    scene, fine = scene_of(s), s.finer()
    image = Image.new("RGB", (fine.w, fine.h), ink(mix(s.colours[0], s.colours[2], 0.12)))
    draw = ImageDraw.Draw(image)
    for gap in (s.habits["dot"] * 1.5, s.habits["dot"]):
        columns, rows = int(scene.wide / gap) + 2, int(scene.tall / gap) + 2
        spots = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), -1).reshape(-1, 2) * gap
        spots = s.rng.permutation(spots + s.rng.normal(0, gap * 0.3, spots.shape)) * min(s.w, s.h)
        column, row = (np.clip(spots[:, i].astype(int), 0, n - 1) for i, n in ((0, s.w), (1, s.h)))
        tints = scene.colour[row, column]
        grey = tints.mean(1, keepdims=True)
        tints = grey + (tints - grey) * 1.5 + s.rng.normal(0, s.habits["spread"], tints.shape)
        stray = s.rng.random(len(tints)) < s.habits["stray"]
        tints[stray] = mix(tints[stray], s.colours[s.rng.integers(0, 7, stray.sum())], 0.65)
        radii = s.rng.uniform(0.42, 0.62, len(spots)) * gap * min(fine.w, fine.h)
        for (px, py), radius, tint in zip(spots * FINE, radii, np.clip(tints * 255, 0, 255).astype(int), strict=True):
            draw.ellipse((px - radius, py - radius, px + radius, py + radius), fill=tuple(tint))
    return image


def hatching(s: Sheet) -> Image.Image:
    """A scene in layers of pen lines that cross where it darkens and bend where it bulges."""
    scene, fine = scene_of(s), s.finer()
    tone, form = enlarged(luma(scene.colour), fine), enlarged(scene.form, fine)
    x, y = grid(fine.w, fine.h)
    wobble = noise(s.rng, fine.w, fine.h, 4) * 0.012 - form * s.habits["bend"]
    pressure = noise(s.rng, fine.w, fine.h, 16, 2)
    paper, pen, second = s.colours[0], s.colours[7], s.colours[5]
    picture = np.broadcast_to(paper, (fine.h, fine.w, 3)) * (0.95 + 0.07 * noise(s.rng, fine.w, fine.h, 3))[..., None]
    first_turn = s.habits["turn"] + s.rng.uniform(-0.15, 0.15)
    for layer, start in enumerate((0.86, 0.62, 0.42, 0.24)):
        turn = first_turn + (0, 1.3, 0.6, 2.1)[layer]
        phase = (x * np.cos(turn) + y * np.sin(turn) + wobble) / s.habits["gap"]
        off = abs(phase - np.round(phase))
        width = np.clip((start - tone) * 0.8, 0, 0.26) * (0.6 + 0.8 * pressure)
        picture = mix(picture, second if layer == 0 and s.habits["inks"] > 1 else pen, step(width - off, 0.12) * 0.92)
    if s.habits["chalk"]:
        phase = (x * np.cos(first_turn) + y * np.sin(first_turn) + wobble) / s.habits["gap"] + 0.5
        width = np.clip((tone - 0.72) * 1.1, 0, 0.3) * (0.5 + pressure)
        picture = mix(picture, (1, 0.99, 0.95), step(width - abs(phase - np.round(phase)), 0.12) * 0.9)
    return to_image(canvas(mix(picture, pen, outlines(scene.thing, fine, 1) * (0.45 + 0.5 * pressure)), fine, 0.03))


def mosaic(s: Sheet) -> Image.Image:
    """Small stone tiles in mortar: a scene on a swaying lattice, or a medallion of rings."""
    fine = s.finer()
    quads, tints = medallion(s) if s.genre == "pattern" else tesserae(s)
    middle = quads.mean(1, keepdims=True)
    quads = middle + (quads - middle) * 0.86 + s.rng.normal(0, s.habits["tile"] * 0.035, quads.shape)
    tints = np.clip(tints * s.rng.normal(1, 0.1, (len(tints), 1)) + s.rng.normal(0, 0.02, tints.shape), 0, 1)
    image = Image.new("RGB", (fine.w, fine.h), ink(mix(s.colours[7], (0.8, 0.76, 0.7), s.habits["mortar"])))
    draw = ImageDraw.Draw(image)
    for quad, tint in zip(quads * min(fine.w, fine.h), tints, strict=True):
        corners = [(float(px), float(py)) for px, py in quad]
        draw.polygon(corners, fill=ink(tint))
        draw.line(corners[:2], fill=ink(mix(tint, (1, 1, 1), 0.3)), width=FINE)
    return image


def tesserae(s: Sheet) -> tuple[Array, Array]:
    """Tile corners on a lattice that sways, and the colour of the scene under each."""
    scene, tile = scene_of(s), s.habits["tile"]
    columns, rows = int(scene.wide / tile) + 9, int(scene.tall / tile) + 9
    sway = [(noise(s.rng, columns, rows, 2) - 0.5) * tile * 5 for _ in range(2)]
    corner_y, corner_x = np.mgrid[0:rows, 0:columns] * tile - tile * 4
    corners = np.stack([corner_x + sway[0], corner_y + sway[1]], -1)
    quads = np.stack([corners[:-1, :-1], corners[:-1, 1:], corners[1:, 1:], corners[1:, :-1]], 2).reshape(-1, 4, 2)
    at = (quads.mean(1) * min(s.w, s.h)).astype(int)
    tints = scene.colour[np.clip(at[:, 1], 0, s.h - 1), np.clip(at[:, 0], 0, s.w - 1)]
    grey = tints.mean(1, keepdims=True)
    return quads, grey + (tints - grey) * 1.25


def medallion(s: Sheet) -> tuple[Array, Array]:
    """Tile corners in rings around the middle of the sheet, coloured as petals, waves and bands."""
    short, tile, quads, tints = min(s.w, s.h), s.habits["tile"], [], []
    petals, swing = int(s.rng.integers(5, 13)), s.rng.uniform(0.15, 0.5)
    bands = s.colours[s.rng.permutation(7)]
    for ring in range(1, int(np.hypot(s.w, s.h) / short / 2 / tile) + 2):
        inner, outer, around = ring * tile, (ring + 1) * tile, max(6, round(2 * np.pi * (ring + 0.5)))
        turns = (np.arange(around + 1) + (ring % 2) * 0.5) * 2 * np.pi / around
        for a, b in pairwise(turns):
            spokes = [(inner, a), (inner, b), (outer, b), (outer, a)]
            quads.append([(r * np.cos(t) + s.w / short / 2, r * np.sin(t) + s.h / short / 2) for r, t in spokes])
            wave = inner / 0.115 + swing * 2 * np.cos((a + b) / 2 * petals) * min(1, inner * 4)
            tints.append(bands[int(wave) % 6 if wave % 1 < 0.78 else 6])
    return np.array(quads), np.array(tints)


def marbling(s: Sheet) -> Image.Image:
    """Inks dropped on water, each drop pushing the rest outward, then drawn through with combs or stirred."""
    fine = s.finer()
    x, y = (v.ravel() for v in grid(fine.w, fine.h))
    wide, tall = s.w / min(s.w, s.h), s.h / min(s.w, s.h)
    x = x + (noise(s.rng, fine.w, fine.h, 2).ravel() - 0.5) * s.habits["drift"]
    y = y + (noise(s.rng, fine.w, fine.h, 2).ravel() - 0.5) * s.habits["drift"]
    for _ in range(int(s.habits["swirls"])):
        cx, cy, turn = s.rng.uniform(0, wide), s.rng.uniform(0, tall), s.rng.choice([-1, 1]) * s.rng.uniform(2, 4.5)
        angle = turn * np.exp(-np.hypot(x - cx, y - cy) / s.rng.uniform(0.1, 0.2))
        x, y = (
            cx + (x - cx) * np.cos(angle) - (y - cy) * np.sin(angle),
            cy + (x - cx) * np.sin(angle) + (y - cy) * np.cos(angle),
        )
    if s.habits["comb"]:
        y = y + 0.09 * abs(np.sin(x * np.pi / s.habits["comb"])) ** 0.7
        x = x + 0.3 * np.sin(y * np.pi / s.habits["comb"] / 3.2)
    layers = np.zeros(x.size, np.int64)
    left = np.arange(x.size)
    for drop in range(int(s.habits["drops"]), 0, -1):
        cx, cy, r = drop_at(s, drop, wide, tall)
        away = (x - cx) ** 2 + (y - cy) ** 2
        layers[left[away < r * r]] = drop
        out = away >= r * r
        squeeze = np.sqrt(1 - r * r / away[out])
        x, y, left = cx + (x[out] - cx) * squeeze, cy + (y[out] - cy) * squeeze, left[out]
    order = np.concatenate([np.arange(len(s.colours)), s.rng.integers(0, len(s.colours), 200)])
    picture = s.colours[order[layers % len(order)]].reshape(fine.h, fine.w, 3)
    return to_image(canvas(picture * (0.95 + 0.08 * noise(s.rng, fine.w, fine.h, 3))[..., None], fine, 0.05))


def drop_at(s: Sheet, drop: int, wide: float, tall: float) -> tuple[float, float, float]:
    """Where a drop of ink falls and how wide it spreads: scattered, or again and again at a few spots."""
    if not s.habits["spots"]:
        return s.rng.uniform(-0.1, wide + 0.1), s.rng.uniform(-0.1, tall + 0.1), s.rng.uniform(0.07, 0.2)
    spot = drop % int(s.habits["spots"])
    cx, cy = wide * (0.25 + 0.5 * ((spot * 0.618 + 0.1) % 1)), tall * (0.2 + 0.6 * ((spot * 0.382 + 0.3) % 1))
    return cx + s.rng.normal(0, 0.02), cy + s.rng.normal(0, 0.02), s.rng.uniform(0.06, 0.15)


def op_art(s: Sheet) -> Image.Image:
    """A strict pattern that seems to swell and sway: warped stripes, or discs on a bulging board."""
    fine = s.finer()
    x, y = grid(fine.w, fine.h)
    x, y = x - s.w / min(s.w, s.h) / 2, y - s.h / min(s.w, s.h) / 2
    for _ in range(int(s.habits["bulges"])):
        cx, cy, size = s.rng.uniform(-0.3, 0.3), s.rng.uniform(-0.3, 0.3), s.rng.uniform(0.3, 0.55)
        pull = 1 - s.rng.uniform(0.45, 0.7) * np.exp(-((np.hypot(x - cx, y - cy) / size * 1.6) ** 4))
        x, y = cx + (x - cx) * pull, cy + (y - cy) * pull
    return to_image(discs(s, x, y) if s.habits["discs"] else stripes(s, x, y))


def stripes(s: Sheet, x: Array, y: Array) -> Array:
    """Two colours in bands along a warped plane: waves, rings or a fan, broken by a counter-change."""
    kind, lines = s.rng.integers(4), s.rng.uniform(11, 17)
    sway = s.rng.uniform(0.04, 0.09) * np.sin(x * s.rng.uniform(5, 10) + y * s.rng.uniform(-3, 3))
    phase = (y + sway, np.hypot(x, y) + sway * 0.5, x * 0.6 + y * 0.8 + sway, np.hypot(x, y))[kind] * lines
    turn = np.arctan2(y, x) * int(s.rng.integers(3, 9)) / np.pi
    wave = np.sin(phase * 2 * np.pi)
    if kind == 3:
        wave = wave * np.clip(np.sin(turn * np.pi + np.hypot(x, y) * s.rng.uniform(0, 6)) * 9, -1, 1)
    elif s.rng.random() < 0.45:
        wave = wave * np.where(np.sin(x * s.rng.uniform(7, 13) + sway * 20) > 0, 1, -1)
    dark, light = s.colours[0], s.colours[1]
    far = ramp(s.colours[1:], np.clip(np.hypot(x, y) * 1.3, 0, 1)) if len(s.colours) > 2 else light
    return mix(dark, far, step(wave, 0.35))


def discs(s: Sheet, x: Array, y: Array) -> Array:
    """Discs on squares over a warped plane, their two colours trading places across the board."""
    gap, turn = s.rng.uniform(0.06, 0.085), s.rng.choice([0, 0, np.pi / 4])
    u, v = (x * np.cos(turn) - y * np.sin(turn)) / gap, (x * np.sin(turn) + y * np.cos(turn)) / gap
    column, row = np.floor(u), np.floor(v)
    du, dv = u - column - 0.5, v - row - 0.5
    board = (column + row) % 2
    size = 0.34 + 0.1 * np.sin(column * s.rng.uniform(0.3, 0.8)) * np.cos(row * s.rng.uniform(0.3, 0.8))
    disc = step(size - np.hypot(du, dv), 0.06)
    sweep = (column * s.rng.uniform(-1, 1) + row * s.rng.uniform(-1, 1)) * gap
    ground = ramp(s.colours, 0.5 + 0.5 * np.sin(sweep * 3.2))
    figure = ramp(s.colours[::-1], 0.5 + 0.5 * np.sin(sweep * 3.2 + s.rng.uniform(0.5, 1.2)))
    return mix(ground * np.where(board > 0, 1.0, 0.82)[..., None], figure, disc)


def woodcut(s: Sheet) -> Image.Image:
    """A scene cut in a plank: a black key block with gouged lights over one or two flat colours, on bare paper."""
    scene, fine = scene_of(s), s.finer()
    tone, form = enlarged(luma(scene.colour), fine), enlarged(scene.form, fine)
    x, y = grid(fine.w, fine.h)
    wobble = noise(s.rng, fine.w, fine.h, 3) * 0.06
    gouge = np.sin((y + wobble + form * s.habits["bend"] + x * s.habits["slant"]) * 2 * np.pi / s.habits["gap"])
    rough = (noise(s.rng, fine.w, fine.h, 40, 2) - 0.5) * 0.22
    key = step(s.habits["weight"] - tone - gouge * 0.3 + rough, 0.1)
    key = np.maximum(key, outlines(scene.thing, fine, 3))
    grain = noise(s.rng, fine.w, fine.h, 45, 2, 14)
    plain = np.asarray(to_image(scene.colour).resize((fine.w, fine.h)), np.float32) / 255
    inks = s.colours[[2, 5, 1, 3]][: int(s.habits["blocks"])]
    nearest = np.argmin([((plain - tint) ** 2).sum(-1) for tint in (*inks, s.colours[0])], 0)
    paper = s.colours[0]
    block = np.concatenate([inks, paper[None]])[nearest]
    picture = mix(mix(paper, block, 0.72 + 0.28 * step(grain - 0.35, 0.3)), s.colours[7], key * (0.9 + 0.1 * grain))
    ragged = np.minimum(np.minimum(x, x.max() - x), np.minimum(y, y.max() - y)) - 0.045 + rough * 0.02
    return to_image(canvas(mix(paper, picture, step(ragged, 0.006)), fine, 0.04))


def stained_glass(s: Sheet) -> Image.Image:
    """Panes of glowing glass in lead: a scene broken into shards, or a rose window."""
    fine = s.finer()
    panes, tints = rose(s) if s.genre == "pattern" else shards(s)
    shine = 0.72 + 0.55 * noise(s.rng, fine.w, fine.h, 5, 4)
    streak = 0.92 + 0.16 * noise(s.rng, fine.w, fine.h, 20, 2, 5)
    wide_lead = int(s.habits["lead"] * min(fine.w, fine.h))
    lead = outlines(panes, fine, wide_lead)
    soft = Image.fromarray((lead * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(wide_lead * 1.2))
    shadow = np.clip(np.asarray(soft, np.float32) / 255 * 1.2, 0, 1)
    glass = np.asarray(to_image(tints[panes]).resize((fine.w, fine.h), Image.Resampling.NEAREST), np.float32) / 255
    glass = mix(glass * (shine * streak)[..., None], (1, 0.98, 0.88), np.clip(shine - 1.08, 0, 1) * 1.2)
    glass = glass * (1 - 0.45 * shadow[..., None])
    metal = np.array([0.07, 0.07, 0.09], np.float32) + 0.1 * noise(s.rng, fine.w, fine.h, 30, 2)[..., None] ** 3
    x, y = grid(fine.w, fine.h)
    rim = np.minimum(np.minimum(x, x.max() - x), np.minimum(y, y.max() - y))
    return to_image(mix(mix(glass, metal, lead), metal, step(s.habits["lead"] * 1.3 - rim, 0.004)))


def shards(s: Sheet) -> tuple[Array, Array]:
    """Which pane each pixel of a scene lies in, and the colour of every pane."""
    scene, size = scene_of(s), s.habits["pane"]
    column, row = np.floor(scene.x / size).astype(int), np.floor(scene.y / size).astype(int)
    columns, rows = column.max() + 3, row.max() + 3
    points = s.rng.uniform(0.1, 0.9, (rows, columns, 2)).astype(np.float32)
    best, owner = np.full(column.shape, np.inf, np.float32), np.zeros(column.shape, int)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            c, r = column + dx + 1, row + dy + 1
            px, py = (c - 1 + points[r, c, 0]) * size, (r - 1 + points[r, c, 1]) * size
            away = (scene.x - px) ** 2 + (scene.y - py) ** 2
            closer = away < best
            best, owner = np.where(closer, away, best), np.where(closer, r * columns + c, owner)
    _, panes = np.unique(owner * 1000 + scene.thing, return_inverse=True)
    panes = panes.reshape(owner.shape)
    amount = np.bincount(panes.ravel())
    tints = np.stack([np.bincount(panes.ravel(), scene.colour[..., i].ravel()) / amount for i in range(3)], -1)
    grey = tints.mean(1, keepdims=True)
    return panes, np.clip(grey + (tints - grey) * 1.6, 0, 1).astype(np.float32)


def rose(s: Sheet) -> tuple[Array, Array]:
    """Which pane of a rose window each pixel lies in, and the colour of every pane."""
    x, y = grid(s.w, s.h)
    x, y = x - s.w / min(s.w, s.h) / 2, y - s.h / min(s.w, s.h) / 2
    fold, away, turn = int(s.rng.choice([6, 8, 10, 12])), np.hypot(x, y), np.arctan2(y, x) / (2 * np.pi)
    panes, cuts = np.zeros(x.shape, int), np.cumsum([0.07, *s.rng.uniform(0.08, 0.15, 3)])
    cuts = np.append(cuts * 0.47 / cuts[-1], [0.6, 0.75])
    tints, order = [s.colours[2]], s.rng.permutation(7)
    for ring, start in enumerate(cuts):
        many, shift = fold * (1, 2, 1, 2, 2, 1)[ring], (ring % 2) * 0.5
        spoke = np.floor(turn * many + shift).astype(int) % many
        arch = start + (0.035 * abs(np.sin((turn * many + shift) * np.pi)) if ring in (1, 3) else 0)
        panes = np.where(away > arch, len(tints) + spoke, panes)
        tints += [s.colours[order[(ring + k % (1 + ring % 2)) % 7]] for k in range(many)]
    for k in range(fold):
        angle, r = 2 * np.pi * (k + 0.5) / fold, (cuts[1] + cuts[2]) / 2 + 0.02
        disc = np.hypot(x - r * np.cos(angle), y - r * np.sin(angle)) < min(0.055, r * np.pi / fold * 0.62)
        panes = np.where(disc, len(tints), panes)
        tints.append(s.colours[order[6 - k % 2]])
    return panes, np.array(tints, np.float32)


def action_painting(s: Sheet) -> Image.Image:
    """Skeins of poured paint over a raw ground, with the spatter that falls beside them."""
    fine = s.finer()
    ground = s.colours[0] * (0.93 + 0.1 * noise(s.rng, fine.w, fine.h, 4))[..., None]
    image = to_image(canvas(ground, fine, 0.08))
    draw, short = ImageDraw.Draw(image), min(fine.w, fine.h)
    for tint in s.colours[s.rng.permutation(np.arange(1, len(s.colours)))]:
        for _ in range(int(s.rng.integers(2, int(s.habits["skeins"]) + 1))):
            pour(s, fine, draw, tint, short * s.habits["flow"] * s.rng.uniform(0.5, 1.3))
        for _ in range(int(s.habits["spatter"])):
            px, py, r = s.rng.uniform(0, fine.w), s.rng.uniform(0, fine.h), short * 0.0016 / s.rng.uniform(0.12, 1)
            draw.ellipse((px - r, py - r, px + r, py + r), fill=ink(tint))
    return image


def pour(s: Sheet, fine: Sheet, draw: ImageDraw.ImageDraw, tint: Array, flow: float) -> None:
    """Draws one poured line: it wanders and loops, thin where the hand was quick and pooling where it was slow."""
    steps, short = int(s.habits["length"]), min(fine.w, fine.h)
    slowness = 0.5 + skyline(s.rng, steps, steps / 25) ** 2 * 2.5
    pace = short * 0.022 / slowness
    heading = s.rng.uniform(0, 2 * np.pi) + np.cumsum((skyline(s.rng, steps, steps / 18) - 0.5) * s.habits["turn"])
    px = fine.w * s.rng.uniform(0.1, 0.9) + np.cumsum(np.cos(heading) * pace)
    py = fine.h * s.rng.uniform(0.1, 0.9) + np.cumsum(np.sin(heading) * pace)
    px, py = folded(px, fine.w), folded(py, fine.h)
    widths = flow * slowness
    for k in range(1, steps):
        r = float(widths[k])
        draw.line((px[k - 1], py[k - 1], px[k], py[k]), fill=ink(tint), width=max(1, round(r * 2)))
        if r > 1:
            draw.ellipse((px[k] - r, py[k] - r, px[k] + r, py[k] + r), fill=ink(tint))


def folded(path: Array, length: int) -> Array:
    """A path turned back wherever it strays a fifth of ``length`` beyond the canvas, so that little paint is lost."""
    reach = length * 1.4
    return reach - abs((path + length * 0.2) % (2 * reach) - reach) - length * 0.2


def neoplasticism(s: Sheet) -> Image.Image:
    """A plane cut by black bars into oblongs, most of them bare and a few in plain colour."""
    fine = s.finer()
    short, bar = min(fine.w, fine.h), s.habits["bar"]
    image = Image.new("RGB", (fine.w, fine.h), ink(s.colours[0]))
    draw = ImageDraw.Draw(image)
    panes = split(s, (0.0, 0.0, fine.w / short, fine.h / short), int(s.habits["depth"]))
    bare = s.colours[0]
    for k, pane in enumerate(s.rng.permutation(panes)):
        tint = s.colours[2 + k % (len(s.colours) - 2)] if k < len(panes) * s.habits["filled"] else bare
        draw.rectangle([v * short for v in pane], fill=ink(tint * s.rng.uniform(0.96, 1.0)))
    for x0, y0, x1, y1 in panes:
        thick = short * bar * s.rng.choice([0.75, 1, 1, 1.35])
        draw.rectangle((x0 * short - thick / 2, y0 * short, x0 * short + thick / 2, y1 * short), fill=ink(s.colours[1]))
        draw.rectangle((x0 * short, y0 * short - thick / 2, x1 * short, y0 * short + thick / 2), fill=ink(s.colours[1]))
    brushed = np.asarray(image, np.float32) / 255 * (0.96 + 0.06 * noise(s.rng, fine.w, fine.h, 22, 2, 4))[..., None]
    return to_image(canvas(brushed, fine, 0.03))


Box = tuple[float, float, float, float]


def split(s: Sheet, box: Box, depth: int) -> list[Box]:
    """The oblongs left when a box is cut again and again, across its longer side and never in the middle."""
    x0, y0, x1, y1 = box
    if depth == 0 or max(x1 - x0, y1 - y0) < 0.16 or (depth < 3 and s.rng.random() < s.habits["stop"]):
        return [box]
    at = s.rng.choice([s.rng.uniform(0.2, 0.42), s.rng.uniform(0.58, 0.8)])
    if (x1 - x0) * s.rng.uniform(0.7, 1.4) > y1 - y0:
        x = x0 + (x1 - x0) * at
        return split(s, (x0, y0, x, y1), depth - 1) + split(s, (x, y0, x1, y1), depth - 1)
    y = y0 + (y1 - y0) * at
    return split(s, (x0, y0, x1, y), depth - 1) + split(s, (x0, y, x1, y1), depth - 1)
