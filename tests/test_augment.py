"""Views of a work: the same for the same numbers, and each change does what it says."""

import random
from dataclasses import fields, replace

import numpy as np
import pytest
from PIL import Image
from torch_operators import timm  # noqa: F401  RandAugment is timm's

from simsearch.classifier.finetune import augment
from simsearch.classifier.finetune.augment import Augment, view
from simsearch.classifier.finetune.photograph import SCENE, homography, photographed, warped

PLAIN = Augment(
    crop=1, flip=0, colour=0, hue=0, gray=0, blur=0, jpeg=0, rotate=0, resample=0, letterbox=0, photo=0, randaugment=""
)
EVERY = Augment(flip=1, gray=0.5, blur=1, jpeg=1, resample=1, letterbox=1, photo=0.5, randaugment="rand-m7-n2")
RED, BLUE = (220, 20, 30), (20, 40, 210)


def picture(width=60, height=40, seed=0):
    """Red above blue with a green dot at the left, under grain."""
    pixels = np.zeros((height, width, 3))
    pixels[: height // 2], pixels[height // 2 :] = RED, BLUE
    pixels[5:15, 3:13] = (30, 230, 40)
    pixels += np.random.default_rng(seed).normal(0, 10, pixels.shape)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def plane(colour, size=(60, 40)):
    return Image.new("RGB", size, colour)


def drawn(seed=0):
    return np.random.default_rng(seed)


def seen(how, image=None, size=32, seed=0):
    return view(image or picture(), how, size, drawn(seed))


def first_seed(fits):
    """The first seed whose view fits."""
    return next(seed for seed in range(100) if fits(seed))


# -- views -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [Augment(), EVERY, Augment(photo=1)])
def test_the_same_seed_gives_the_same_view_and_another_one_another(how):
    assert (seen(how, seed=[3, 2**63 + 5, 1]) == seen(how, seed=[3, 2**63 + 5, 1])).all()
    assert (seen(how, seed=[3, 2**63 + 5, 1]) != seen(how, seed=[3, 2**63 + 5, 2])).any()


def test_without_any_change_it_is_the_squashed_picture():
    wanted = picture().resize((32, 32), Image.Resampling.BICUBIC, reducing_gap=3.0)
    assert (seen(PLAIN) == np.asarray(wanted)).all()
    square = picture(32, 32)
    assert (seen(PLAIN, square) == np.asarray(square)).all(), "a picture of the right size stays as it is"


def test_every_change_is_one_of_those_that_are_off_in_the_plain_view():
    assert {f.name for f in fields(Augment) if getattr(PLAIN, f.name) != getattr(Augment(), f.name)} == {
        f.name for f in fields(Augment)
    } - {"photo", "randaugment"}  # off by themselves


@pytest.mark.parametrize("size", [16, 33, 64])
@pytest.mark.parametrize("shape", [(60, 40), (9, 120), (3, 3)])
def test_views_are_squares_of_bytes(size, shape):
    for seed in range(6):
        found = seen(EVERY, plane(RED, shape), size, seed)
        assert (found.shape, found.dtype) == ((size, size, 3), np.uint8)


def test_a_view_is_nobodys_picture_to_change():
    image = picture()
    before = image.tobytes()
    for seed in range(8):
        seen(EVERY, image, seed=seed)
    assert image.tobytes() == before


def test_a_mirrored_view():
    assert (seen(replace(PLAIN, flip=1)) == seen(PLAIN)[:, ::-1]).mean() > 0.9  # but for rounding
    assert (seen(replace(PLAIN, flip=1), picture(32, 32)) == seen(PLAIN, picture(32, 32))[:, ::-1]).all()


def test_a_cut_keeps_at_least_the_share_of_the_area():
    """Pixels that count 0 to 199 from left to right and from top to bottom say where a cut began and ended."""
    count = np.arange(200)
    image = Image.fromarray(np.dstack(np.broadcast_arrays(count[None], count[:, None], 0)).astype(np.uint8))
    areas = []
    for seed in range(40):
        cut = augment._cut(image, 0.45, drawn(seed))
        left, top, _ = cut.getpixel((0, 0))
        right, bottom, _ = cut.getpixel((cut.width - 1, cut.height - 1))
        assert (right - left + 1, bottom - top + 1) == cut.size, "what is cut out lies inside"
        areas.append(cut.width * cut.height / 200**2)
    assert 0.44 < min(areas) < 0.6
    assert 0.9 < max(areas) <= 1


@pytest.mark.parametrize("shape", [(60, 40), (40, 60), (50, 50), (200, 31)])
def test_a_turned_picture_shows_no_ground_in_its_corners(shape):
    for degrees in (-30, -10, -3.7, 2, 5.5, 10, 25):
        turned = np.asarray(augment._rotated(plane((255, 255, 255), shape), degrees))
        assert turned.min() == 255, degrees
        height, width, _ = turned.shape
        assert abs(width / height / (shape[0] / shape[1]) - 1) < 0.1
        whole = np.asarray(plane((255, 255, 255), shape).rotate(degrees, Image.Resampling.BICUBIC))
        dx, dy = max(0, (shape[0] - width) // 2 - 2), max(0, (shape[1] - height) // 2 - 2)
        assert whole[dy : shape[1] - dy, dx : shape[0] - dx].min() < 255, "two pixels more would show it"


def test_a_turned_picture_is_turned():
    image = plane((0, 0, 0), (101, 101))
    image.putpixel((90, 50), (255, 255, 255))
    wanted = np.array([50 + 40 * np.cos(np.radians(10)), 50 - 40 * np.sin(np.radians(10))])  # to the left, upwards
    turned = np.asarray(augment._rotated(image, 10))[..., 0].astype(float)
    cut = (101 - turned.shape[0]) / 2
    y, x = np.mgrid[0 : turned.shape[0], 0 : turned.shape[1]] + cut
    found = np.array([(x * turned).sum(), (y * turned).sum()]) / turned.sum()
    assert found == pytest.approx(wanted, abs=0.7)


def test_a_letterboxed_view_has_bars_of_one_shade_about_the_whole_picture():
    image = plane(RED, (64, 64))
    lying, standing = set(), set()
    for seed in range(30):
        found = seen(replace(PLAIN, letterbox=1), image, 64, seed)
        shade = found[0, 0]
        assert len(set(shade.tolist())) == 1, "a shade of grey"
        inside = (found != shade).any(2)
        rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
        assert inside[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        assert (found[inside] == RED).all()
        (lying if len(columns) == 64 else standing).add(min(len(rows), len(columns)))
        assert max(len(rows), len(columns)) == 64
        for places in (rows, columns):
            assert abs(places[0] - (63 - places[-1])) <= 1, "in the middle"
    assert lying
    assert standing
    assert all(35 <= kept <= 58 for kept in lying | standing)


def test_a_view_without_colour():
    found = seen(replace(PLAIN, gray=1))
    assert (found == found[..., :1]).all()
    assert found.std() > 10


def test_brightness_contrast_and_saturation_stay_within_bounds():
    image = plane((120, 100, 80), (16, 16))
    levels = [seen(replace(PLAIN, colour=0.3), image, 16, seed)[0, 0] / 100 for seed in range(40)]
    assert all(0.6 < level[1] < 1.4 for level in levels)
    assert np.std([level.mean() for level in levels]) > 0.1
    assert all(level[0] >= level[1] >= level[2] for level in levels), "the hue stays"


def test_the_hue_turns_by_so_many_degrees_at_most():
    image = plane((200, 40, 40), (16, 16))
    hues = []
    for seed in range(60):
        found = Image.fromarray(seen(replace(PLAIN, hue=30), image, 16, seed)).convert("HSV").getpixel((0, 0))
        hues.append((found[0] / 255 * 360 + 180) % 360 - 180)
        assert found[2] == 200, "as bright as before"
    assert all(abs(hue) < 33 for hue in hues)
    assert min(hues) < -15
    assert max(hues) > 15
    assert sum(abs(hue) < 1 for hue in hues) > 20, "more than half stay as they are"


def test_a_blurred_view_is_smoother_and_a_compressed_one_differs_a_little():
    plain = seen(PLAIN, picture(64, 64), 64).astype(float)
    blurred = seen(replace(PLAIN, blur=1), picture(64, 64), 64).astype(float)
    worn = seen(replace(PLAIN, jpeg=1), picture(64, 64), 64).astype(float)
    rough = [np.abs(np.diff(pixels, axis=1)).mean() for pixels in (plain, blurred)]
    assert rough[1] < 0.9 * rough[0]
    assert 0.5 < np.abs(worn - plain).mean() < 15


def test_resampling_hides_fine_grain_and_keeps_the_picture():
    plain, image = seen(PLAIN, picture(64, 64), 64).astype(float), picture(64, 64)
    apart = [np.abs(seen(replace(PLAIN, resample=1), image, 64, seed) - plain).mean() for seed in range(12)]
    assert max(apart) > 2
    assert max(apart) < 15


def test_randaugment_leaves_the_global_generators_where_they_were():
    how = replace(PLAIN, randaugment="rand-m9-n3-mstd0.5")
    random.seed(5)
    np.random.seed(6)
    wanted = random.random(), np.random.random()
    random.seed(5)
    np.random.seed(6)
    first = [seen(how, seed=seed) for seed in range(5)]
    assert (random.random(), np.random.random()) == wanted
    random.seed(7)
    again = [seen(how, seed=seed) for seed in range(5)]
    assert all((a == b).all() for a, b in zip(first, again, strict=True)), "nor does it depend on them"
    assert sum((a != seen(PLAIN)).any() for a in first) >= 3


def test_randaugment_gives_the_generators_back_when_it_fails():
    random.seed(5)
    state = random.getstate()
    with pytest.raises(AttributeError):
        augment._randaugment("rand-m7-n2", 32)(None, drawn())
    assert random.getstate() == state


# -- photographs -------------------------------------------------------------------------------------------------------


def test_a_homography_takes_four_points_to_four_points():
    """x' = (a x + b y + c) / (g x + h y + 1), and y' with d, e and f."""
    source = [(0.0, 0.0), (60.0, 0.0), (60.0, 40.0), (0.0, 40.0)]
    target = [(3.0, 5.0), (50.5, 1.0), (58.0, 33.0), (-4.0, 47.0)]
    a, b, c, d, e, f, g, h = homography(source, target)
    for (x, y), wanted in zip(source, target, strict=True):
        below = g * x + h * y + 1
        assert ((a * x + b * y + c) / below, (d * x + e * y + f) / below) == pytest.approx(wanted)


def test_a_shift_and_a_stretch_are_homographies_of_their_own_numbers():
    source = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)]
    assert homography(source, [(2 * x + 3, 5 * y - 1) for x, y in source]) == pytest.approx([2, 0, 3, 0, 5, -1, 0, 0])


def test_straight_lines_meet_where_they_met():
    """The diagonals' crossing goes to the crossing of the diagonals."""
    target = [(3.0, 5.0), (50.5, 1.0), (58.0, 33.0), (-4.0, 47.0)]
    a, b, c, d, e, f, g, h = homography([(0.0, 0.0), (2.0, 0.0), (2.0, 2.0), (0.0, 2.0)], target)
    found = np.array([a + b + c, d + e + f]) / (g + h + 1)
    p, q, r, s = map(np.array, target)
    along = np.linalg.solve(np.array([r - p, q - s]).T, q - p)
    assert found == pytest.approx(p + along[0] * (r - p))


def test_a_work_seen_from_one_side_fills_the_view_with_the_part_inside_its_corners():
    colours = np.zeros((40, 60, 3), np.uint8)
    colours[..., 0], colours[..., 1] = np.arange(60) * 4, np.arange(40)[:, None] * 6
    image = Image.fromarray(colours)
    draw, again = drawn(3), drawn(3)
    found = np.asarray(warped(image, 0.2, draw)).astype(float)
    assert found.shape == (40, 60, 3)
    inward = again.uniform(0, 0.2, (4, 2)) * (60, 40)
    corners = [
        (inward[0, 0], inward[0, 1]), (60 - inward[1, 0], inward[1, 1]),
        (60 - inward[2, 0], 40 - inward[2, 1]), (inward[3, 0], 40 - inward[3, 1]),
    ]  # fmt: skip
    shown = [found[0, 0], found[0, -1], found[-1, -1], found[-1, 0]]
    for (x, y), pixel in zip(corners, shown, strict=True):
        assert pixel[0] / 4 == pytest.approx(x, abs=1.5)
        assert pixel[1] / 6 == pytest.approx(y, abs=1.5)
    assert np.asarray(warped(plane((255, 255, 255)), 0.3, drawn())).min() == 255, "nothing outside is shown"


def test_a_photograph_shows_the_work_in_its_middle():
    """Of works that are red all over, under any light, frame and wall."""
    shares, middles = [], []
    for seed in range(24):
        photo = photographed(plane(RED, (60, 80)), drawn(seed))
        assert photo.mode == "RGB"
        assert max(photo.size) <= SCENE
        pixels = np.asarray(photo).astype(int)
        red = pixels[..., 0] - pixels[..., 1:].max(2) > 40
        h, w = red.shape
        shares.append(red.mean())
        middles.append(red[h // 3 : -h // 3, w // 3 : -w // 3].mean())
    assert min(shares) > 0.08
    assert np.median(middles) > 0.95
    assert np.mean(shares) < 0.8, "walls and frames are seen as well"


def test_photographs_differ_in_light_wall_and_place():
    photos = [np.asarray(photographed(picture(), drawn(seed)).resize((8, 8))).astype(float) for seed in range(6)]
    apart = [np.abs(a - b).mean() for i, a in enumerate(photos) for b in photos[:i]]
    assert min(apart) > 5


@pytest.mark.parametrize("shape", [(1, 1), (300, 3), (3, 300), (8, 8)])
def test_works_of_odd_shapes_can_be_photographed(shape):
    for seed in range(4):
        assert min(photographed(plane(BLUE, shape), drawn(seed)).size) >= 8


def test_a_photograph_takes_the_place_of_turning_and_cutting():
    found = seen(replace(PLAIN, photo=1, crop=0.3, rotate=45, letterbox=1), plane(RED), 64)
    draw = drawn()
    draw.random()  # whether it is photographed
    wanted = photographed(plane(RED), draw).resize((64, 64), Image.Resampling.BICUBIC, reducing_gap=3.0)
    assert (found == np.asarray(wanted)).all()
