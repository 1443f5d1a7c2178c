"""Colour profiles: what a profile means by its own numbers, worked out here in floating point, is what sRGB shows."""

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from simsearch import images

SRGB = np.array([[0.43607, 0.38506, 0.14308], [0.22250, 0.71688, 0.06062], [0.01393, 0.09710, 0.71417]])
"""Columns: the XYZ of red, green and blue under D50, from Lindbloom's table."""
ADOBE = np.array([[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]])
DISPLAY_P3 = np.array([[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]])
COLOURS = [(120, 130, 110), (180, 90, 100), (100, 120, 150), (250, 250, 250), (40, 35, 30), (128, 128, 128)]
"""All of them lie inside sRGB under every profile here, so nothing is cut off."""


def icc(primaries, gamma, name, space=b"RGB "):
    """The bytes of a version 2 matrix profile, or of a grey one where there are no primaries."""

    def number(value):
        return struct.pack(">i", round(value * 65536))

    def xyz(values):
        return b"XYZ \0\0\0\0" + b"".join(number(v) for v in values)

    text = name.encode() + b"\0"
    curve = b"curv\0\0\0\0" + struct.pack(">IHH", 1, round(gamma * 256), 0)
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(78 + (-len(text) % 4)),
        b"cprt": b"text\0\0\0\0none\0\0\0\0",
        b"wtpt": xyz((0.9642, 1.0, 0.8249)),
    }
    if primaries is None:
        tags[b"kTRC"] = curve
    else:
        tags |= {c + b"XYZ": xyz(primaries[:, i]) for i, c in enumerate((b"r", b"g", b"b"))}
        tags |= {c + b"TRC": curve for c in (b"r", b"g", b"b")}
    table, body = struct.pack(">I", len(tags)), b""
    for tag, data in tags.items():
        table += tag + struct.pack(">II", 132 + 12 * len(tags) + len(body), len(data))
        body += data
    header = (
        bytes(8)
        + b"\x02\x40\0\0mntr"
        + space
        + b"XYZ "
        + bytes(12)
        + b"acsp"
        + bytes(28)
        + xyz((0.9642, 1.0, 0.8249))[8:]
        + bytes(48)
    )
    whole = header + table + body
    return struct.pack(">I", len(whole)) + whole[4:]


def shown(colours, primaries, gamma):
    """What sRGB shows for colours of such a profile, 0 to 255, by IEC 61966-2-1."""
    light = np.linalg.solve(SRGB, primaries @ (np.array(colours).T / 255) ** gamma).T.clip(0, 1)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def decoded(image, kind="PNG", **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return np.asarray(images.decode(out.getvalue(), "it").image).astype(int)


def row(colours, mode="RGB"):
    return Image.fromarray(np.array([colours], np.uint8), mode)


PROFILES = {
    "Adobe RGB (1998)": (ADOBE, 563 / 256),
    "Display P3": (DISPLAY_P3, 2.2),
    "red and blue swapped": (SRGB[:, ::-1], 2.2),
    "linear": (SRGB, 1.0),
}


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True})])
def test_a_profile_decodes_to_the_srgb_colours_that_it_means(kind, options, name):
    found = decoded(row(COLOURS), kind, icc_profile=icc(*PROFILES[name], name), **options)[0]
    expected = shown(COLOURS, *PROFILES[name])
    assert np.abs(expected - COLOURS).max() > 4, "the profile must make a difference that a test can see"
    assert np.abs(found - expected).max() <= 2


def test_a_jpeg_obeys_its_profile():
    colour = (180, 90, 100)
    found = decoded(Image.new("RGB", (16, 16), colour), "JPEG", quality=98, icc_profile=icc(ADOBE, 2.2, "wide"))
    assert np.abs(found - shown([colour], ADOBE, 2.2)).max() <= 4


def test_a_profile_applies_below_the_transparency():
    image = Image.new("RGBA", (2, 2), (180, 90, 100, 51))
    expected = 255 * 0.8 + shown([(180, 90, 100)], ADOBE, 2.2) * 0.2
    assert np.abs(decoded(image, icc_profile=icc(ADOBE, 2.2, "wide")) - expected).max() <= 1


def test_a_palette_obeys_its_profile():
    image = Image.new("P", (2, 2), 0)
    image.putpalette([180, 90, 100])
    assert np.abs(decoded(image, icc_profile=icc(ADOBE, 2.2, "wide")) - shown([(180, 90, 100)], ADOBE, 2.2)).max() <= 2


def test_a_grey_profile_applies_to_grey():
    # grey of gamma 1: half the light is 188 in sRGB
    found = decoded(Image.new("L", (2, 2), 128), icc_profile=icc(None, 1.0, "grey", b"GRAY"))
    assert np.abs(found - 188).max() <= 1


@pytest.mark.parametrize("profile", [ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
                                     icc(SRGB, 2.2, "sRGB IEC61966-2.1")], ids=["Pillow's", "by name"])  # fmt: skip
def test_an_srgb_profile_leaves_the_pixels_alone(profile):
    assert decoded(row(COLOURS), icc_profile=profile)[0].tolist() == [list(c) for c in COLOURS]


GOOD = icc(ADOBE, 2.2, "wide")


@pytest.mark.parametrize(
    "profile",
    [b"no profile at all", GOOD[:100], GOOD[:200], GOOD[:128] + b"\xff" * (len(GOOD) - 128), bytes(len(GOOD)),
     GOOD.replace(b"rXYZ", b"oops")],
    ids=["text", "half a header", "half a table", "overwritten", "zeros", "no red"],
)  # fmt: skip
def test_a_damaged_profile_is_ignored(profile):
    assert decoded(row(COLOURS), icc_profile=profile)[0].tolist() == [list(c) for c in COLOURS]


def test_a_profile_for_another_kind_of_pixel_is_ignored():
    grey_on_rgb = decoded(row(COLOURS), icc_profile=icc(None, 1.0, "grey", b"GRAY"))
    assert grey_on_rgb[0].tolist() == [list(c) for c in COLOURS]
    assert (decoded(Image.new("L", (2, 2), 77), icc_profile=GOOD) == 77).all()
    cyan = decoded(Image.new("CMYK", (8, 8), (255, 0, 0, 0)), "JPEG", icc_profile=GOOD)
    assert np.abs(cyan - (0, 255, 255)).max() <= 2


def test_pictures_of_several_profiles_do_not_mix_up():
    for _ in range(2):
        for name, (primaries, gamma) in PROFILES.items():
            found = decoded(row(COLOURS), icc_profile=icc(primaries, gamma, name))[0]
            assert np.abs(found - shown(COLOURS, primaries, gamma)).max() <= 2
