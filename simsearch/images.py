"""Path, URL or bytes to upright sRGB pixels: the only place that decodes.

A large JPEG is decoded at a reduced scale (1/2, 1/4 or 1/8, which the format offers for almost nothing) where the
result is still `SCALED_DECODE_MARGIN` times the side that an encoder wants; the embeddings agree, see docs/benchmarks.

Pillow is imported where it is used: a query on a stored work reads no picture.
"""

from __future__ import annotations

import io
import sys
import warnings
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from simsearch.errors import ImageError, QueryError
from simsearch.records import Preprocessing

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif", ".heic", ".heif")
)
REASONS = (
    "empty",
    "not an image",
    "truncated",
    "damaged",
    "too many pixels",
    "unreadable",
    "unsupported",
    "no embedding",
)
DEFAULT_MAX_PIXELS = 89_000_000
SCALED_DECODE_MARGIN = 3
URL_TIMEOUT_S = 30.0
URL_MAX_BYTES = 200_000_000
EXIF_ORIENTATION = 0x0112
UPRIGHT = {
    2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE", 6: "ROTATE_270", 7: "TRANSVERSE", 8: "ROTATE_90",
}  # fmt: skip
"""What brings the pixels of an EXIF orientation upright; from 5 on width and height change places."""
AVIF_BRANDS = frozenset((b"avif", b"avis"))
HEIF_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"))


@dataclass(frozen=True, slots=True)
class Picture:
    """Decoded pixels, upright and sRGB, with the size that the file has at full scale."""

    image: Image.Image
    """Mode RGB; smaller than `width` x `height` where it was decoded at a reduced scale."""
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Region:
    """A rectangle of a picture, in pixels of the upright image or in per cent of its sides."""

    x: float
    y: float
    width: float
    height: float
    percent: bool = False

    @classmethod
    def parse(cls, text: str) -> Region:
        """The region of ``x,y,w,h``; all four in pixels, or all four with a per cent sign."""
        parts = [p.strip() for p in text.split(",")]
        percent = text.count("%") == 4
        try:
            x, y, w, h = (float(p.removesuffix("%")) for p in parts)
        except ValueError:
            raise QueryError(f"region {text!r} is not x,y,w,h; write 100,50,300,200 or 10%,5%,30%,20%") from None
        if "%" in text and not percent:
            raise QueryError(f"region {text!r} mixes pixels and per cent; use one of them for all four numbers")
        if not (w > 0 and h > 0 and x >= 0 and y >= 0 and max(x, y, w, h) < 1e9):
            raise QueryError(f"region {text!r} is empty or starts outside; x and y from 0, w and h above 0")
        return cls(x, y, w, h, percent)

    def cut(self, picture: Picture) -> Picture:
        """The part of a picture inside the region. Raises QueryError where they do not overlap."""
        image = picture.image
        sx, sy = (image.width / 100, image.height / 100) if self.percent else (1.0, 1.0)
        left, top = round(self.x * sx), round(self.y * sy)
        right = min(image.width, round((self.x + self.width) * sx))
        bottom = min(image.height, round((self.y + self.height) * sy))
        if right <= left or bottom <= top:
            raise QueryError(f"the region lies outside the image, which is {image.width} x {image.height} pixels")
        return Picture(image.crop((left, top, right, bottom)), right - left, bottom - top)


def read_bytes(path: Path) -> bytes:
    """The bytes of a file. Raises ImageError `unreadable` or `empty`."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ImageError("unreadable", f"{path} cannot be read: {error.strerror or error}") from error
    if not data:
        raise ImageError("empty", f"{path} is empty (0 bytes)")
    return data


def fetch(url: str) -> bytes:
    """The bytes behind an http or https address, at most 200 MB. Raises ImageError `unreadable` or `empty`."""
    import requests  # a third of a local query's start-up

    try:
        with requests.get(url, timeout=URL_TIMEOUT_S, stream=True) as answer:
            answer.raise_for_status()
            data = bytearray()
            for block in answer.iter_content(1 << 16):
                data += block
                if len(data) > URL_MAX_BYTES:
                    raise ImageError(
                        "unreadable", f"{url} is larger than {URL_MAX_BYTES // 10**6} MB; download it first"
                    )
    except requests.RequestException as error:
        raise ImageError("unreadable", f"{url} cannot be fetched: {error}") from error
    if not data:
        raise ImageError("empty", f"{url} gave 0 bytes")
    return bytes(data)


def read_query(where: str) -> tuple[bytes, str]:
    """(bytes, name for messages) of a path, an http(s) URL, or ``-`` for standard input."""
    if where == "-":
        data = sys.stdin.buffer.read()
        if not data:
            raise ImageError("empty", "standard input is empty; pipe an image into it")
        return data, "standard input"
    if where.startswith(("http://", "https://")):
        return fetch(where), where
    return read_bytes(Path(where)), where


def decode(data: bytes, name: str, *, max_pixels: int = DEFAULT_MAX_PIXELS, side: int | None = None) -> Picture:
    """Upright sRGB pixels of an image file's bytes; of an animation or a stack of pages the first.

    With `side`, a JPEG may come at a reduced scale, with both sides still at least SCALED_DECODE_MARGIN x `side`.
    `name` is what messages call the image. Raises ImageError.
    """
    from PIL import Image

    kind = _format_of(data, name)
    _quiet()
    if Image.MAX_IMAGE_PIXELS is not None and max_pixels > Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = max_pixels  # Pillow has one cap for the process; it is only ever raised, on demand
    try:
        # not Image.open: its own cap raises first, and names neither the size nor the option
        with Image.OPEN[kind][0](io.BytesIO(data), "") as image:
            width, height = image.size
            if width * height > max_pixels:
                raise _too_large(name, f"{width} x {height} pixels", max_pixels)
            if side and kind == "JPEG":
                image.draft(None, (side * SCALED_DECODE_MARGIN,) * 2)
            image.load()
            orientation = _orientation(image)
            upright = image.transpose(Image.Transpose[UPRIGHT[orientation]]) if orientation > 1 else image
            return Picture(_to_srgb(upright), *((height, width) if orientation > 4 else (width, height)))
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:  # a frame larger than its file says
        raise _too_large(name, "many more pixels", max_pixels) from error
    except MemoryError as error:
        raise ImageError("too many pixels", f"{name} does not fit into memory; scale it down first") from error
    except Exception as error:  # a damaged file can raise almost anything inside a decoder
        if "truncated" in str(error).lower() or isinstance(error, EOFError) or _ends_early(kind, data):
            raise ImageError("truncated", f"{name} is truncated: its data end too early") from error
        raise ImageError("damaged", f"{name} is a damaged {kind} file: {' '.join(str(error).split())}") from error


def fit(picture: Picture, to: Preprocessing) -> npt.NDArray[np.uint8]:
    """Pixels (size, size, 3) uint8 of a picture, brought to an encoder's square by its resize rule."""
    from PIL import Image, ImageOps

    image, size = picture.image, to.size
    method = Image.Resampling[to.interpolation.upper()]
    if to.resize == "squash":
        image = image.resize((size, size), method, reducing_gap=3.0)
    elif to.resize == "crop":
        image = ImageOps.fit(image, (size, size), method)
    else:
        colour = tuple(round(255 * m) for m in to.mean)
        image = ImageOps.pad(image, (size, size), method, color=colour)
    return np.asarray(image, dtype=np.uint8)


def jpeg_thumbnail(data: bytes, name: str, side: int, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> bytes:
    """JPEG bytes of an image whose longer side is at most `side` pixels."""
    image = decode(data, name, max_pixels=max_pixels, side=side).image
    return encode_jpeg(image, side)


def encode_jpeg(image: Image.Image, side: int) -> bytes:
    """JPEG bytes of an RGB image, scaled down to at most `side` pixels on the longer side."""
    from PIL import Image

    small = image.copy()
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    small.save(out, "JPEG", quality=85)
    return out.getvalue()


@lru_cache(maxsize=1)
def _quiet() -> None:
    """Silences Pillow's warnings: of size, for which our cap has a sentence, and of odd metadata."""
    from PIL import Image

    warnings.filterwarnings("ignore", message="Image size .* exceeds limit", category=Image.DecompressionBombWarning)
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


def _too_large(name: str, size: str, max_pixels: int) -> ImageError:
    message = f"{name} has {size}, more than the cap of {max_pixels:,}; raise it with --max-pixels"
    return ImageError("too many pixels", message)


def _format_of(data: bytes, name: str) -> str:
    """Pillow's name of the format that the first bytes show, with its plug-in loaded.

    Pillow would import all of its forty plug-ins to find this out, which a single query would wait for.
    """
    head = data[:12]
    brands = _brands(data) if head[4:8] == b"ftyp" else frozenset()
    if head.startswith(b"\xff\xd8\xff"):
        kind = "JPEG"
    elif head.startswith(b"\x89PNG\r\n\x1a\n"):
        kind = "PNG"
    elif head.startswith(b"RIFF") and head[8:] == b"WEBP":
        kind = "WEBP"
    elif head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        kind = "TIFF"
    elif head.startswith(b"GIF8"):
        kind = "GIF"
    elif head.startswith(b"BM"):
        kind = "BMP"
    elif brands & AVIF_BRANDS:
        kind = "AVIF"
    elif brands & HEIF_BRANDS:
        kind = "HEIF"
    elif not data:
        raise ImageError("empty", f"{name} is empty (0 bytes)")
    else:
        raise ImageError("not an image", f"{name} is not an image: its first bytes are of no format that is read")
    if kind == "HEIF":
        try:
            import_module("pillow_heif").register_heif_opener()
        except ImportError:
            message = f"{name} is a HEIC image, which needs one more package: pip install 'simsearch[heic]'"
            raise ImageError("unsupported", message) from None
    else:
        import_module(f"PIL.{kind.title()}ImagePlugin" if kind != "WEBP" else "PIL.WebPImagePlugin")
    return kind


def _brands(data: bytes) -> frozenset[bytes]:
    """The major and compatible brands of an ISO base media file: a film has others than a picture."""
    box = data[8 : int.from_bytes(data[:4])]
    return frozenset(box[i : i + 4] for i in range(0, len(box), 4) if i != 4)  # at 4 stands a version


def _ends_early(kind: str, data: bytes) -> bool:
    """Whether the file says of itself that it goes on behind its last byte; decoders only call it invalid."""
    if kind == "WEBP":
        return 8 + int.from_bytes(data[4:8], "little") > len(data)
    if kind == "TIFF":
        order: Literal["little", "big"] = "little" if data[:1] == b"I" else "big"
        large = 43 in data[2:4]
        return int.from_bytes(data[8:16] if large else data[4:8], order) >= len(data)
    end = 0
    while kind in ("AVIF", "HEIF") and 0 <= end < len(data):
        size = int.from_bytes(data[end : end + 4])
        if size == 1:  # a box beyond 4 GB
            size = int.from_bytes(data[end + 8 : end + 16])
        end = end + size if size >= 8 else -1  # 0: up to the end of the file
    return end > len(data)


def _orientation(image: Image.Image) -> int:
    try:
        found = image.getexif().get(EXIF_ORIENTATION, 1)
    except Exception:  # a broken EXIF block says nothing about the pixels
        return 1
    return int(found) if found in UPRIGHT else 1


def _to_srgb(image: Image.Image) -> Image.Image:
    """The image in mode RGB and sRGB colours, transparent parts over white."""
    from PIL import Image

    profile = image.info.get("icc_profile")
    if image.mode.startswith("I") or image.mode == "F":
        return _eight_bits(image).convert("RGB")
    alpha = None
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        image = image.convert("RGBA")
        alpha = image.getchannel("A")
        image = image.convert("RGB")
    elif image.mode not in ("RGB", "CMYK", "L", "LAB"):
        image = image.convert("RGB")
    if image.mode == "LAB":
        image = _apply_profile(image, None)  # its numbers mean the same under any profile
    elif profile:
        image = _apply_profile(image, profile)
    image = image.convert("RGB")
    if alpha is None:
        return image
    return Image.composite(image, Image.new("RGB", image.size, "white"), alpha)


def _eight_bits(image: Image.Image) -> Image.Image:
    """16-bit, 32-bit and floating-point grey, scaled to 8 bits by the range that its mode can hold."""
    from PIL import Image

    values = np.asarray(image).astype(np.float64)
    top = float(values[np.isfinite(values)].max(initial=65535.0 if image.mode.startswith("I") else 1.0))
    values = np.nan_to_num(values, posinf=top, neginf=0.0)
    return Image.fromarray(np.clip(values / top * 255 + 0.5, 0, 255).astype(np.uint8))


def _apply_profile(image: Image.Image, profile: bytes | None) -> Image.Image:
    from PIL import ImageCms

    try:
        transform = _transform(profile, image.mode)
        return image if transform is None else ImageCms.applyTransform(image, transform) or image
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image  # a profile that cannot be used is worth less than the picture


@lru_cache(maxsize=32)
def _transform(profile: bytes | None, mode: str) -> Any:
    """The colour transform from a profile to sRGB, or None where the profile is sRGB itself."""
    from PIL import ImageCms

    source: Any = ImageCms.createProfile("LAB") if profile is None else ImageCms.ImageCmsProfile(io.BytesIO(profile))
    if profile is not None and "srgb" in ImageCms.getProfileDescription(source).lower():
        return None
    no_cache = ImageCms.Flags.NOCACHE  # one transform serves several decoding threads
    target = ImageCms.createProfile("sRGB")
    return ImageCms.buildTransform(source, target, mode, "RGB", flags=no_cache)
