"""A classical descriptor of palette, layout, contours and texture: no weights, numpy only, on any machine.

It finds the same picture in another reproduction, and pictures of like palette, layout and texture. It knows nothing of
the subject, nor of style in an art historian's sense; it does not find a painting in a photograph of the wall it hangs
on, nor a picture that was turned by 90 degrees, and one that was mirrored or made grey only at times.

Measured on 22,481 WikiArt works of 192 pixels (docs/benchmarks/color_encoder.json):

    99 %    of 145 reproductions by another hand (picked for alike pixels) find their work first; cut by a tenth on each
            side 96 %, in grey 59 %, mirrored 32 %, turned by 90 degrees 1 %
     5 %    (1 of 20) of visitors' photographs find their painting
    19 %    of ten neighbours by other artists share the style (7 % by chance), 34 % the genre (14 % by chance)
    0.35    is the median cosine of random pairs; 5 % lie under 0.12, 5 % over 0.56, 1 % over 0.64
    1,000 to 2,600 images a second on two cores with other work on them, decoding left out

    block      numbers  weight   what
    palette    100      1        soft histogram of CIELAB: 4 steps of lightness x 5 of a* x 5 of b*
    tone         6      1        mean and deviation of L*, a*, b*
    layout      48      1        mean L*, a*, b* on a 4 x 4 grid, less the picture's mean
    contours   128      4        gradient length at half size, by 8 orientations on a 4 x 4 grid (1)
    texture    118      1 and 1  uniform local binary patterns at full and at half size (2)
    contrast    32      0.4 x 4  histograms of gradient length: L* at full and at half size, a* and b* at half size

Histograms enter by their square roots, which makes a dot product the Hellinger kernel (3), and have a fixed vector
subtracted, so that unrelated pictures do not all score near 1. No number here was fitted to pictures but the weights,
which were chosen by hand among a few.

(1) Dalal & Triggs, Histograms of Oriented Gradients for Human Detection, CVPR 2005.
(2) Ojala, Pietikäinen & Mäenpää, Multiresolution Gray-Scale and Rotation Invariant Texture Classification with Local
    Binary Patterns, IEEE TPAMI 24(7), 2002.
(3) Arandjelović & Zisserman, Three Things Everyone Should Know to Improve Object Retrieval, CVPR 2012.
"""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from simsearch.encoders.base import Pixels, usable_cores
from simsearch.records import EncoderInfo, Preprocessing
from simsearch.vectors import Rows, unit_rows

Floats = npt.NDArray[np.float32]

SIZE = 96
GRID = 4
ORIENTATIONS = 8
PALETTE = (4, 5)
"""Steps of L*, and of a* and b* each."""
LENGTHS = 8
"""Steps of a histogram of gradient lengths."""
WEIGHTS = {
    "palette": 1.0,
    "tone": 1.0,
    "layout": 1.0,
    "contours": 4.0,
    "texture": 1.0,
    "texture/2": 1.0,
    "contrast": 0.4,
}
"""Share of each block in the squared length of a row, before a row is brought to length 1."""
CHUNK = 8
"""Images that one thread describes at once: their planes stay in the processor's cache."""

# IEC 61966-2-1 (sRGB): the byte's linear value, and the linear channels' CIE 1931 X, Y, Z under D65
_BYTES = np.arange(256) / 255
LINEAR = np.where(_BYTES <= 0.04045, _BYTES / 12.92, ((_BYTES + 0.055) / 1.055) ** 2.4).astype(np.float32)
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
# CIE 15 divides by the white point, which is what R = G = B = 1 gives: the sums of the matrix's rows
_RELATIVE_XYZ = (XYZ / XYZ.sum(1, keepdims=True)).astype(np.float32)

# Directions of the eight neighbours, in a circle
_NEIGHBOURS = ((0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1))
LEAST_STEP = np.float32(1.0)
"""How much lighter (in L*) a neighbour must be to count: below it lies the noise of JPEG files."""
# Share of the uniform patterns with 0 to 8 lighter neighbours in simulated noise of 20 L* deviation, with amplitudes
# falling as 1 / frequency like those of pictures (Field, JOSA A 4(12), 1987); other patterns have what is left of 1
_EXPECTED = (0.085, 0.105, 0.08, 0.075, 0.07, 0.07, 0.07, 0.08, 0.06)


class ColorEncoder:
    """The encoder ``color``. It holds nothing but its description, so one instance serves any number of threads."""

    def __init__(self) -> None:
        self.info = EncoderInfo(
            name="color",
            revision="1",
            digest=hashlib.sha256(_recipe().encode()).hexdigest(),
            dim=DIM,
            preprocessing=Preprocessing(SIZE),
        )
        self.threads = usable_cores()
        self.batch_size = 256

    def embed_images(self, pixels: Pixels) -> Rows:
        """Unit rows (n, 432) float32 for sRGB pixels (n, 96, 96, 3) uint8, in their order.

        Raises ValueError for pixels of another shape or type. A batch of 64 needs some 7 MB.
        """
        if pixels.dtype != np.uint8 or pixels.shape[1:] != (SIZE, SIZE, 3):
            raise ValueError(
                f"{self.info} takes uint8 pixels (n, {SIZE}, {SIZE}, 3), not {pixels.dtype} {pixels.shape}; "
                "fit the images as its preprocessing says"
            )
        chunks = [pixels[start : start + CHUNK] for start in range(0, len(pixels), CHUNK)]
        if not chunks:
            return np.empty((0, DIM), np.float32)
        if len(chunks) == 1 or self.threads == 1:
            parts = [_describe(chunk) for chunk in chunks]
        else:
            with ThreadPoolExecutor(min(self.threads, len(chunks))) as pool:
                parts = list(pool.map(_describe, chunks))
        return unit_rows(np.concatenate(parts), DIM)


def cielab(pixels: Pixels) -> Floats:
    """CIE 1976 L*, a*, b* (..., 3) float32 of sRGB bytes (..., 3); L* in 0..100, white D65.

    Formulas: IEC 61966-2-1 for sRGB, CIE 15:2004 for CIELAB.
    """
    planes = _lab_planes(np.moveaxis(LINEAR[pixels], -1, 0).reshape(1, 3, -1, 1))
    return np.ascontiguousarray(planes[0, :, :, 0].T).reshape(pixels.shape)


def _describe(pixels: Pixels) -> Floats:
    """Rows (n, dim), not yet of unit length, of a few images (n, size, size, 3)."""
    linear = LINEAR[np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))]
    red, green, blue = _RELATIVE_XYZ[1]
    full = _lightness(linear[:, 0] * red + linear[:, 1] * green + linear[:, 2] * blue)
    lab = _lab_planes(_half(linear))
    small = _half(lab)
    lengths = [_gradient(full)[2]]
    dx, dy, length = _gradient(lab)
    lengths += [length[:, channel] for channel in range(3)]
    blocks = {
        "palette": _palette(small),
        "tone": _tone(small),
        "layout": _layout(small),
        "contours": _contours(dx[:, 0], dy[:, 0], length[:, 0]),
        "texture": _texture(full),
        "texture/2": _texture(lab[:, 0]),
        "contrast": np.concatenate([_contrast(plane) for plane in lengths], axis=1),
    }
    return np.concatenate([block * np.float32(WEIGHTS[name] ** 0.5) for name, block in blocks.items()], axis=1)


def _lab_planes(linear: Floats) -> Floats:
    """L*, a*, b* as planes (n, 3, height, width) of linear red, green and blue ones."""
    n, _, height, width = linear.shape
    x, y, z = (_RELATIVE_XYZ @ linear.reshape(n, 3, -1)).reshape(n, 3, height, width).swapaxes(0, 1)
    fx, fy, fz = _cube_root(x), _cube_root(y), _cube_root(z)
    return np.stack([116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)], axis=1)


def _lightness(y: Floats) -> Floats:
    """L* of relative luminance."""
    return 116 * _cube_root(y) - 16


def _cube_root(t: Floats) -> Floats:
    """CIE 15's f: the cube root, with a straight line where t <= (6/29)**3."""
    line = t * np.float32(841 / 108) + np.float32(4 / 29)
    return np.where(t > np.float32((6 / 29) ** 3), np.cbrt(t), line)


def _half(planes: Floats) -> Floats:
    """Means of 2 x 2 blocks of the last two axes."""
    rows = planes[..., ::2, :] + planes[..., 1::2, :]
    return np.asarray((rows[..., ::2] + rows[..., 1::2]) * np.float32(0.25))


def _gradient(planes: Floats) -> tuple[Floats, Floats, Floats]:
    """Central differences [-1, 0, 1] along x and y, and their length; 0 in the outermost rows and columns."""
    dx, dy = np.zeros_like(planes), np.zeros_like(planes)
    inner = (..., slice(1, -1), slice(1, -1))
    np.subtract(planes[..., 1:-1, 2:], planes[..., 1:-1, :-2], out=dx[inner])
    np.subtract(planes[..., 2:, 1:-1], planes[..., :-2, 1:-1], out=dy[inner])
    return dx, dy, np.sqrt(dx * dx + dy * dy)


def _windows(side: int) -> Floats:
    """Overlapping triangular windows (GRID, side) of sum 1: the bilinear interpolation between cells of HOG."""
    at = np.clip((np.arange(side) + 0.5) / side * GRID - 0.5, 0, GRID - 1)
    windows = np.maximum(0, 1 - np.abs(at - np.arange(GRID)[:, None]))
    return np.asarray(windows / windows.sum(1, keepdims=True), dtype=np.float32)


_WINDOWS = {side: _windows(side) for side in (SIZE // 2, SIZE // 4)}


def _cells(planes: Floats) -> Floats:
    """Windowed means (n, channels, GRID, GRID) of square planes."""
    windows = _WINDOWS[planes.shape[-1]]
    return np.asarray(windows @ planes @ windows.T, dtype=np.float32)


def _damped(block: Floats, floor: float) -> Floats:
    """Rows brought to nearly length 1; what is much shorter than `floor` stays short, so that noise is not blown up."""
    length = np.sqrt(np.einsum("ij,ij->i", block, block))[:, None]
    return np.asarray(block / (length + np.float32(floor)))


def _steps(values: Floats, low: float, high: float, steps: int) -> Floats:
    """Soft membership (n, steps, pixels) in evenly spaced steps: shares of the two nearest, of sum 1."""
    at = (np.clip(values, low, high) - np.float32(low)) * np.float32((steps - 1) / (high - low))
    away = np.abs(at.reshape(len(values), 1, -1) - np.arange(steps, dtype=np.float32)[:, None])
    return np.asarray(np.maximum(np.float32(0), np.float32(1) - away))


def _palette(lab: Floats) -> Floats:
    """Roots of the soft histogram (n, 100), L* slowest.

    Most pixels are nearly grey, so a* and b* are spread by their root; the 1 keeps the noise around grey small.
    """
    light = _steps(lab[:, 0], 0, 100, PALETTE[0])
    spread = np.copysign(np.sqrt(np.abs(lab[:, 1:]) + np.float32(1)) - np.float32(1), lab[:, 1:])
    a, b = (_steps(spread[:, channel], -6, 6, PALETTE[1]) for channel in range(2))
    n, _, pixels = a.shape
    chroma = (a[:, :, None] * b[:, None]).reshape(n, -1, pixels)
    shares = (light @ chroma.swapaxes(1, 2)).reshape(n, -1)
    return np.asarray(np.sqrt(shares / np.float32(pixels)))


_TONE_MIDDLE = np.array([50, 0, 0, 20, 8, 8], np.float32)
_TONE_UNIT = np.array([50, 50, 50, 40, 20, 20], np.float32)


def _tone(lab: Floats) -> Floats:
    """Mean and deviation (n, 6) of L*, a*, b*, about middling values and in units that make them about -1..1."""
    tone = np.concatenate([lab.mean((2, 3)), lab.std((2, 3))], axis=1)
    return np.asarray((tone - _TONE_MIDDLE) / _TONE_UNIT, dtype=np.float32)


def _layout(lab: Floats) -> Floats:
    """Where it is lighter, redder or yellower than in the picture's mean: (n, 48), channel slowest; L* counts half."""
    cells = _cells(lab)
    cells = cells - cells.mean((2, 3), keepdims=True)
    cells[:, 0] *= np.float32(0.5)
    return _damped(cells.reshape(len(lab), -1), 3.0)


def _contours(dx: Floats, dy: Floats, length: Floats) -> Floats:
    """Roots of gradient length by orientation and cell (n, 128), less their mean; orientation slowest."""
    angle = np.arctan2(dy, dx) * np.float32(ORIENTATIONS / np.pi)
    angle = np.where(angle < 0, angle + np.float32(ORIENTATIONS), angle)
    planes = np.empty((len(dx), ORIENTATIONS, *dx.shape[1:]), np.float32)
    for orientation in range(ORIENTATIONS):
        away = np.abs(angle - np.float32(orientation))
        away = np.minimum(away, np.float32(ORIENTATIONS) - away)
        np.multiply(np.maximum(np.float32(1) - away, np.float32(0)), length, out=planes[:, orientation])
    roots = np.sqrt(_cells(planes).reshape(len(dx), -1))
    return _damped(roots - roots.mean(1, keepdims=True), 0.5)


def _patterns() -> tuple[Floats, Floats]:
    """(members, expected): which of 59 kinds each of 256 patterns is (256, 59), and the roots of their shares (59,).

    A uniform pattern, with at most two changes around the circle, is a kind of its own; all others are the last.
    """
    bits = (np.arange(256)[:, None] >> np.arange(8)) & 1
    uniform = (bits != np.roll(bits, 1, axis=1)).sum(1) <= 2
    kind = np.where(uniform, np.cumsum(uniform) - 1, uniform.sum())
    lighter = bits.sum(1)[uniform]
    shares = np.array(_EXPECTED)[lighter] / np.bincount(lighter)[lighter]
    expected = np.sqrt(np.append(shares, 1 - sum(_EXPECTED)))
    return np.eye(59, dtype=np.float32)[kind], expected.astype(np.float32)


_MEMBERS, _EXPECTED_ROOTS = _patterns()


def _texture(light: Floats) -> Floats:
    """Roots of the shares of the 59 kinds of local binary pattern (n, 59), less what noise has."""
    n, height, width = light.shape
    centre = light[:, 1:-1, 1:-1] + LEAST_STEP
    codes = np.zeros(centre.shape, np.uint8)
    for bit, (down, right) in enumerate(_NEIGHBOURS):
        lighter = light[:, 1 + down : height - 1 + down, 1 + right : width - 1 + right] >= centre
        codes |= lighter.view(np.uint8) << np.uint8(bit)
    shares = _counts(codes.reshape(n, -1), 256) @ _MEMBERS
    return _damped(np.sqrt(shares) - _EXPECTED_ROOTS, 0.01)


def _contrast(length: Floats) -> Floats:
    """Roots of the soft histogram of gradient lengths (n, 8), less an even one; steps even in the root, up to 36."""
    fine = 16 * (LENGTHS - 1) + 1
    level = np.minimum(np.sqrt(length) * np.float32(16 * (LENGTHS - 1) / 6) + np.float32(0.5), fine - 1)
    at = np.arange(fine) / 16
    share = np.maximum(0, 1 - np.abs(at[:, None] - np.arange(LENGTHS))).astype(np.float32)
    roots = np.sqrt(_counts(level.astype(np.uint8).reshape(len(length), -1), fine) @ share)
    return _damped(roots - np.float32(LENGTHS**-0.5), 0.01)


def _counts(values: npt.NDArray[np.uint8], kinds: int) -> Floats:
    """Share of each value 0..kinds-1 in each row (n, pixels), as (n, kinds)."""
    n, pixels = values.shape
    flat = values + kinds * np.arange(n)[:, None]
    counts = np.bincount(flat.ravel(), minlength=n * kinds).reshape(n, kinds)
    return np.asarray(counts / pixels, dtype=np.float32)


DIM = PALETTE[0] * PALETTE[1] ** 2 + 6 + 3 * GRID**2 + ORIENTATIONS * GRID**2 + 2 * 59 + 4 * LENGTHS


def _recipe() -> str:
    """Name, version and parameters: the digest of this stands in for that of weights."""
    blocks = ", ".join(f"{name} {weight:g}" for name, weight in WEIGHTS.items())
    return (
        f"simsearch color 1: size {SIZE}, grid {GRID}, {ORIENTATIONS} orientations, palette {PALETTE}, "
        f"{LENGTHS} lengths, step {LEAST_STEP:g}, expected {_EXPECTED}; {blocks}"
    )
