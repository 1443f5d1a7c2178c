"""Decoding: every format, orientation and kind of pixel by value, and a reason for every file that gives no picture."""

import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from simsearch import images
from simsearch.errors import ImageError

LOSSLESS = {"PNG": {}, "TIFF": {"compression": "tiff_deflate"}, "WEBP": {"lossless": True}, "BMP": {}}
LOSSY = {"JPEG": {"quality": 95, "subsampling": 0}, "AVIF": {"quality": 95}, "HEIF": {"quality": 95}}


@pytest.fixture(autouse=True, scope="session")
def _heif_can_be_written():
    import pillow_heif

    pillow_heif.register_heif_opener()


def saved(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def decoded(data, **options):
    picture = images.decode(data, "it", **options)
    assert picture.image.mode == "RGB"
    return np.asarray(picture.image).astype(int)


def refused(data, **options):
    with pytest.raises(ImageError) as caught:
        images.decode(data, "here/it.jpg", **options)
    assert caught.value.reason in images.REASONS
    assert str(caught.value).startswith("here/it.jpg ")
    assert "\n" not in str(caught.value)
    assert " at 0x" not in str(caught.value)
    return caught.value.reason, str(caught.value)


def gradient(width=96, height=64):
    """A smooth picture whose corners all differ, which lossy formats keep within a few steps."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    return np.stack([40 + 160 * x, 60 + 150 * y, 200 - 100 * x * y], 2).round().astype(np.uint8)


def one(mode, value):
    """A picture of 4 x 4 pixels of one value."""
    return Image.new(mode, (4, 4), value)


# -- formats -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", LOSSLESS)
def test_a_lossless_format_gives_its_very_pixels(kind):
    assert (decoded(saved(Image.fromarray(gradient()), kind, **LOSSLESS[kind])) == gradient()).all()


@pytest.mark.parametrize("kind", LOSSY)
def test_a_lossy_format_gives_its_pixels_within_a_few_steps(kind):
    assert np.abs(decoded(saved(Image.fromarray(gradient()), kind, **LOSSY[kind])) - gradient()).max() <= 8


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "packbits", "tiff_adobe_deflate"])
def test_every_lossless_tiff_compression_gives_the_same_pixels(compression):
    assert (decoded(saved(Image.fromarray(gradient()), "TIFF", compression=compression)) == gradient()).all()


@pytest.mark.parametrize(("kind", "options"), [("GIF", {}), ("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {})])
def test_an_animation_or_a_stack_of_pages_gives_its_first(kind, options):
    first, second = one("RGB", (255, 0, 0)), one("RGB", (0, 0, 255))
    data = saved(first, kind, save_all=True, append_images=[second], **options)
    assert (decoded(data) == (255, 0, 0)).all()


def test_real_pictures_decode_to_what_pillow_shows(some_works):
    for path in some_works:
        with Image.open(path) as image:
            expected = np.asarray(image.convert("RGB"))
        assert (decoded(path.read_bytes()) == expected).all()


def test_a_heic_without_its_package_names_what_to_install(monkeypatch):
    data = saved(Image.fromarray(gradient()), "HEIF")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    assert refused(data) == (
        "unsupported",
        "here/it.jpg is a HEIC image, which needs one more package: pip install 'simsearch[heic]'",
    )


def test_a_film_is_no_heic():
    film = b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00isommp42" + bytes(64)
    assert refused(film)[0] == "not an image"


# -- orientation -------------------------------------------------------------------------------------------------------

STORED = {
    1: lambda up: up,
    2: lambda up: up[:, ::-1],
    3: lambda up: up[::-1, ::-1],
    4: lambda up: up[::-1],
    5: lambda up: up.swapaxes(0, 1),
    6: lambda up: np.rot90(up, 1),
    7: lambda up: np.rot90(up, 2).swapaxes(0, 1),
    8: lambda up: np.rot90(up, -1),
}
"""How a camera stores an upright picture under each EXIF orientation."""


def turned(up, orientation, kind, **options):
    exif = Image.Exif()
    exif[images.EXIF_ORIENTATION] = orientation
    return saved(Image.fromarray(np.ascontiguousarray(STORED[orientation](up))), kind, exif=exif.tobytes(), **options)


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_every_exif_orientation_gives_the_same_upright_pixels(kind, orientation):
    data = turned(gradient(), orientation, kind, **(LOSSLESS | LOSSY)[kind])
    picture = images.decode(data, "it")
    assert (picture.width, picture.height) == picture.image.size == (96, 64)
    assert np.abs(np.asarray(picture.image).astype(int) - gradient()).max() <= (8 if kind in LOSSY else 0)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_leaves_the_pixels_alone(orientation):
    exif = Image.Exif()
    exif[images.EXIF_ORIENTATION] = orientation
    assert (decoded(saved(Image.fromarray(gradient()), "PNG", exif=exif)) == gradient()).all()


def test_width_and_height_change_places_even_where_the_scaled_picture_is_square():
    picture = images.decode(turned(gradient(1008, 1007), 6, "JPEG"), "it", side=50)
    assert picture.image.width == picture.image.height
    assert (picture.width, picture.height) == (1008, 1007)


def test_damaged_exif_says_nothing_on_standard_error_and_costs_no_picture(tmp_path):
    exif = Image.Exif()
    exif[0x010E] = "a title long enough to stand outside its tag"
    raw = bytearray(exif.tobytes())
    raw[18:22] = b"\xff\xff\xff\x7f"  # the title's offset: far behind the end
    path = tmp_path / "odd.jpg"
    path.write_bytes(saved(Image.fromarray(gradient()), "JPEG", exif=bytes(raw)))
    code = "import sys; from pathlib import Path; from simsearch import images"
    code += "; p = images.decode(Path(sys.argv[1]).read_bytes(), 'it')"
    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", f"{code}; print(p.width, p.height)", path], capture_output=True
    )
    assert (done.stdout.split(), done.stderr) == ([b"96", b"64"], b"")


# -- kinds of pixels ---------------------------------------------------------------------------------------------------

SIXTEEN_BITS = {0: 0, 128: 0, 129: 1, 257: 1, 32767: 127, 32768: 128, 65406: 254, 65407: 255, 65535: 255}
"""Grey of 16 bits and the nearest of 8: 128 / 257 is just below a half, 129 / 257 just above."""


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_rounded_to_the_nearest_eight_bit_grey(kind):
    values = np.array([list(SIXTEEN_BITS)], np.uint16)
    expected = np.repeat(np.array([list(SIXTEEN_BITS.values())])[:, :, None], 3, axis=2)
    assert (decoded(saved(Image.fromarray(values), kind)) == expected).all()


def test_big_endian_sixteen_bit_grey_reads_like_little_endian():
    values = np.array([list(SIXTEEN_BITS)], ">u2")
    image = Image.frombytes("I;16B", (len(SIXTEEN_BITS), 1), values.tobytes())
    assert decoded(saved(image, "TIFF"))[0, :, 0].tolist() == list(SIXTEEN_BITS.values())


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.25, 0.5, 1.0], [0, 64, 128, 255]),
        ([0.0, 0.0, 127.5, 255.0], [0, 0, 128, 255]),
        ([-3.0, 0.0, 0.2, 0.4], [0, 0, 51, 102]),
        ([float("nan"), 0.5, 1.0, float("inf")], [0, 128, 255, 255]),
        ([float("nan")] * 4, [0] * 4),
    ],
    ids=["to one", "to 255", "below zero", "not finite", "not a number"],
)
def test_floating_point_grey_is_scaled_by_its_range(values, expected):
    data = saved(Image.fromarray(np.array([values], np.float32)), "TIFF")
    assert decoded(data)[0, :, 1].tolist() == expected


def test_thirty_two_bit_grey_is_scaled_by_its_brightest_pixel():
    data = saved(Image.fromarray(np.array([[0, 1_000_000, 2_000_000]], np.int32)), "TIFF")
    assert decoded(data)[0, :, 2].tolist() == [0, 128, 255]


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "GIF"])
def test_one_bit_pixels_are_black_and_white(kind):
    image = Image.fromarray(np.array([[True, False, True, True]]))
    assert decoded(saved(image, kind))[0, :, 0].tolist() == [255, 0, 255, 255]


def test_grey_is_the_same_in_all_channels():
    assert (decoded(saved(one("L", 77), "PNG")) == 77).all()


def test_a_palette_gives_its_colours():
    assert (decoded(saved(one("RGB", (10, 200, 30)).convert("P", palette=Image.Palette.ADAPTIVE), "PNG"))
            == (10, 200, 30)).all()  # fmt: skip


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_the_transparent_colour_of_a_palette_is_white(kind):
    image = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    image.putpalette([10, 20, 30, 200, 100, 50])
    assert decoded(saved(image, kind, transparency=0)).tolist() == [[[255, 255, 255], [200, 100, 50]]]


def test_a_palette_with_a_share_of_transparency_in_each_colour_is_laid_over_white():
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8), "P")
    image.putpalette([0, 0, 0] * 3)
    assert decoded(saved(image, "PNG", transparency=bytes([0, 51, 255])))[0, :, 0].tolist() == [255, 204, 0]


def test_the_transparent_colour_of_an_rgb_png_is_white():
    data = saved(one("RGB", (9, 8, 7)), "PNG", transparency=(9, 8, 7))
    assert (decoded(data) == 255).all()


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {})])
def test_half_transparent_colours_are_laid_over_white(kind, options):
    # 51 of 255 is a fifth: 255 x 4/5 + 100 x 1/5 = 224
    data = saved(one("RGBA", (100, 0, 255, 51)), kind, **options)
    assert (decoded(data) == (224, 204, 255)).all()


def test_half_transparent_grey_is_laid_over_white():
    assert (decoded(saved(one("LA", (100, 51)), "PNG")) == 224).all()


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
@pytest.mark.parametrize(
    ("ink", "light"),
    [((255, 0, 0, 0), (0, 255, 255)), ((0, 255, 255, 0), (255, 0, 0)), ((0, 0, 0, 255), (0, 0, 0)),
     ((0, 0, 0, 0), (255, 255, 255))],
    ids=["cyan", "red", "black", "paper"],
)  # fmt: skip
def test_printing_inks_become_light(kind, ink, light):
    assert np.abs(decoded(saved(one("CMYK", ink), kind)) - light).max() <= 2


@pytest.mark.parametrize(
    ("lab", "light"),
    [((50.2, 0, 0), (119.5,) * 3), ((100, 0, 0), (255,) * 3), ((54.29, 80.81, 69.89), (255, 0, 0))],
    ids=["grey", "white", "red"],
)
@pytest.mark.parametrize("profile", [None, ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()])
def test_cie_lab_under_d50_becomes_srgb(lab, light, profile):
    lightness, a, b = lab
    bands = [one("L", round(v)) for v in (lightness * 2.55, a + 128, b + 128)]
    data = saved(Image.merge("LAB", bands), "TIFF", icc_profile=profile)
    assert np.abs(decoded(data) - light).max() <= 6


# -- files that give no picture ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.5, 0.9])
@pytest.mark.parametrize(
    ("kind", "options"),
    [*LOSSLESS.items(), *LOSSY.items(), ("GIF", {}), ("TIFF", {}), ("TIFF", {"compression": "jpeg"})],
    ids=str,
)  # fmt: skip
def test_a_file_that_stops_early_is_truncated(kind, options, share):
    noise = np.random.default_rng(5).integers(0, 256, (60, 80, 3), np.uint8)
    data = saved(Image.fromarray(noise), kind, **options)
    reason, message = refused(data[: int(len(data) * share)])
    assert reason == "truncated"
    assert message == "here/it.jpg is truncated: its data end too early"


def test_no_bytes_are_an_empty_file():
    assert refused(b"") == ("empty", "here/it.jpg is empty (0 bytes)")


@pytest.mark.parametrize(
    "data",
    [b"A text named .jpg", b"<!doctype html><title>404</title>", b"<svg xmlns='x'/>", b"%PDF-1.7", bytes(64)],
    ids=["text", "html", "svg", "pdf", "zeros"],
)  # fmt: skip
def test_what_is_no_image_is_called_so(data):
    assert refused(data)[0] == "not an image"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "AVIF", "HEIF"])
def test_an_image_whose_inside_was_overwritten_is_damaged_or_truncated(kind):
    data = bytearray(saved(Image.fromarray(gradient()), kind))
    data[24:] = b"\xa5" * (len(data) - 24)
    assert refused(bytes(data))[0] in ("damaged", "truncated")


def png_header(width, height):
    """A PNG of a hundred bytes that says it is as large as this."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [b"IHDR" + header, b"IDAT" + zlib.compress(bytes(99)), b"IEND"]
    chunks = (struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize("side", [9_500, 12_000, 60_000])
def test_a_decompression_bomb_is_refused_by_its_header(side):
    reason, message = refused(png_header(side, side))
    assert reason == "too many pixels"
    assert message == (
        f"here/it.jpg has {side} x {side} pixels, more than the cap of 89,000,000; raise it with --max-pixels"
    )


def test_a_frame_that_is_larger_than_its_file_says_is_refused():
    data = saved(one("P", 0), "GIF")
    at = data.index(b"\x2c\0\0\0\0\4\0\4\0")  # an image descriptor: place and size of the frame
    bomb = data[: at + 5] + struct.pack("<HH", 60_000, 60_000) + data[at + 9 :]
    reason, message = refused(bomb)
    assert reason == "too many pixels"
    assert "--max-pixels" in message


def test_the_cap_on_pixels_can_be_raised():
    data = saved(Image.fromarray(gradient()), "PNG")
    assert refused(data, max_pixels=96 * 64 - 1) == (
        "too many pixels",
        "here/it.jpg has 96 x 64 pixels, more than the cap of 6,143; raise it with --max-pixels",
    )
    assert (decoded(data, max_pixels=96 * 64) == gradient()).all()


def test_a_cap_above_pillows_own_holds(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert (decoded(saved(Image.fromarray(gradient()), "PNG"), max_pixels=10_000) == gradient()).all()


# -- scaled decoding ---------------------------------------------------------------------------------------------------


SIDE = 60
WANTED = images.SCALED_DECODE_MARGIN * SIDE


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize(
    ("shorter", "scale"),
    [(9 * WANTED, 8), (8 * WANTED, 8), (8 * WANTED - 1, 4), (4 * WANTED, 4), (4 * WANTED - 1, 2), (2 * WANTED, 2),
     (2 * WANTED - 1, 1), (WANTED, 1), (SIDE // 2, 1)],
)  # fmt: skip
def test_a_jpeg_is_decoded_at_the_least_scale_that_leaves_the_margin_above_the_side(shorter, scale, wide):
    size = (shorter + 77, shorter) if wide else (shorter, shorter + 77)
    picture = images.decode(saved(Image.new("RGB", size, "teal"), "JPEG"), "it", side=SIDE)
    assert picture.image.size == (-(-size[0] // scale), -(-size[1] // scale))
    assert min(picture.image.size) >= min(shorter, WANTED) >= min(shorter, 2 * SIDE)
    assert (picture.width, picture.height) == size


def test_without_a_side_a_jpeg_keeps_its_full_scale():
    assert images.decode(saved(Image.new("RGB", (3000, 2000)), "JPEG"), "it").image.size == (3000, 2000)


def test_scaled_pixels_are_those_of_the_full_picture():
    data = saved(Image.fromarray(gradient(1600, 1200)), "JPEG", quality=95)
    full = images.decode(data, "it").image.resize((100, 75), Image.Resampling.BOX)
    scaled = images.decode(data, "it", side=100).image
    assert scaled.size == (400, 300)
    small = scaled.resize((100, 75), Image.Resampling.BOX)
    assert np.abs(np.asarray(full).astype(int) - np.asarray(small)).max() <= 2


def test_only_jpegs_are_scaled():
    picture = images.decode(saved(Image.fromarray(gradient(1600, 1200)), "PNG"), "it", side=50)
    assert picture.image.size == (1600, 1200)
