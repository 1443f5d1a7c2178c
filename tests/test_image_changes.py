"""The changed copies that encoders are compared on: each by values that can be worked out by hand."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SCRIPT = Path(__file__).parent / "benchmarks" / "art_changes.py"
SPEC = importlib.util.spec_from_file_location("art_changes", SCRIPT)
art_changes = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(art_changes)
CHANGES = art_changes.CHANGES
SIDE = 60


@pytest.fixture
def quarters():
    """Red, green, blue and white quarters of a square."""
    pixels = np.empty((SIDE, SIDE, 3), np.uint8)
    half = SIDE // 2
    pixels[:half, :half], pixels[:half, half:] = (255, 0, 0), (0, 255, 0)
    pixels[half:, :half], pixels[half:, half:] = (0, 0, 255), (255, 255, 255)
    return Image.fromarray(pixels)


def noise(seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), np.uint8))


def blots(seed):
    """A picture of a few soft patches of colour."""
    return noise(seed).resize((8, 6), Image.Resampling.BOX).resize((200, 160), Image.Resampling.BICUBIC)


def changed(name, image, seed=0):
    return np.asarray(CHANGES[name](image, np.random.default_rng(seed)), dtype=np.int64)


@pytest.mark.parametrize("name", CHANGES)
def test_every_change_gives_an_rgb_image_is_repeatable_and_leaves_the_original_alone(name, quarters):
    before = quarters.tobytes()
    first = CHANGES[name](quarters, np.random.default_rng(3))
    assert first.mode == "RGB"
    assert first.tobytes() == CHANGES[name](quarters, np.random.default_rng(3)).tobytes()
    assert first.tobytes() != before
    assert quarters.tobytes() == before


@pytest.mark.parametrize("name", CHANGES)
def test_every_change_takes_the_smallest_picture(name):
    assert min(CHANGES[name](Image.new("RGB", (1, 1), "red"), np.random.default_rng(0)).size) == 1


def test_a_crop_is_the_middle_three_fifths_of_each_side():
    image = noise()
    assert (changed("crop", image) == np.asarray(image)[12:48, 12:48]).all()


def test_thirty_degrees_of_hue_turn_red_to_orange_and_leave_grey_alone(quarters):
    turned = changed("hue", quarters)
    assert turned[10, 10] == pytest.approx([255, 127, 0], abs=3)  # 30 degrees
    assert turned[10, 50] == pytest.approx([0, 255, 127], abs=3)  # 120 to 150
    assert turned[50, 10] == pytest.approx([127, 0, 255], abs=3)  # 240 to 270
    assert turned[50, 50].tolist() == [255, 255, 255]


def test_hues_near_the_end_of_the_circle_come_round_to_its_start():
    turned = changed("hue", Image.new("RGB", (4, 4), (255, 0, 64)))  # 345 degrees to 15
    assert turned[0, 0] == pytest.approx([255, 64, 0], abs=8)


def test_jpeg_keeps_flat_areas_and_loses_fine_grain(quarters):
    flat = changed("jpeg", quarters)[:8, :8]  # far from the edges between the quarters
    assert np.abs(flat - (255, 0, 0)).max() <= 4
    image = noise()
    assert np.abs(changed("jpeg", image) - np.asarray(image).astype(int)).mean() > 20


def test_a_rotation_is_by_ten_degrees_against_the_clock_with_grey_corners():
    dot = Image.new("RGB", (201, 201), "black")
    dot.paste("white", (168, 98, 173, 103))  # 70 to the right of the middle
    turned = changed("rotate", dot)[..., 0]
    assert turned[:3, :3].tolist() == [[128] * 3] * 3
    turned[turned <= 128] = 0
    y, x = np.nonzero(turned)
    angle = np.deg2rad(10)
    assert x.mean() == pytest.approx(100 + 70 * np.cos(angle), abs=1)
    assert y.mean() == pytest.approx(100 - 70 * np.sin(angle), abs=1)


def test_a_warp_shows_the_whole_work_a_little_smaller_on_grey(quarters):
    warped = changed("warp", quarters, seed=1)
    ground = (warped == 128).all(axis=2)
    assert 1 - 0.92**2 <= ground.mean() <= 1 - 0.64**2 + 0.02  # all four corners at 4 %, all four at 18 %
    edge = np.concatenate([ground[0], ground[-1], ground[:, 0], ground[:, -1]])
    assert edge.all()
    inside = [tuple(warped[y, x]) for y, x in ((18, 18), (18, 42), (42, 18), (42, 42))]
    assert inside == [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)]


def test_another_draw_gives_another_warp(quarters):
    assert (changed("warp", quarters, 1) != changed("warp", quarters, 2)).any()


def test_a_mirror_exchanges_left_and_right():
    image = noise()
    assert (changed("mirror", image) == np.asarray(image)[:, ::-1]).all()


def test_a_letterbox_has_black_bars_of_an_eighth_and_the_whole_work_between_them(quarters):
    boxed = changed("letterbox", quarters)
    assert boxed.shape == (SIDE, SIDE, 3)
    dark = (boxed == 0).all(axis=2).all(axis=1)
    assert np.flatnonzero(~dark).tolist() == list(range(7, 52))  # 45 of 60 rows
    assert boxed[8, 5].tolist() == [255, 0, 0]
    assert boxed[50, 55].tolist() == [255, 255, 255]


def test_a_squashed_copy_is_left_at_three_fifths_of_its_width(quarters):
    squashed = changed("squash", quarters)
    assert squashed.shape == (SIDE, 36, 3)
    assert squashed[5, 5].tolist() == [255, 0, 0]
    assert squashed[5, 30].tolist() == [0, 255, 0]


def test_a_half_has_a_quarter_of_the_pixels(quarters):
    halved = changed("half", quarters)
    assert halved.shape == (30, 30, 3)
    assert halved[25, 5].tolist() == [0, 0, 255]


def test_files_of_one_picture_are_known_by_their_pixels_not_by_their_bytes(tmp_path):
    image = blots(0)
    image.save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes())
    image.resize((120, 120)).save(tmp_path / "c.jpg", quality=70)
    blots(1).save(tmp_path / "d.png")
    CHANGES["mirror"](image, None).save(tmp_path / "e.png")
    same = [
        art_changes.same_picture(tmp_path / "a.png", tmp_path / name) for name in ("b.png", "c.jpg", "d.png", "e.png")
    ]
    assert same == [True, True, False, False]


def test_two_pictures_of_one_tone_each_are_not_the_same_picture(tmp_path):
    Image.new("RGB", (40, 40), "grey").save(tmp_path / "a.png")
    Image.new("RGB", (40, 40), "blue").save(tmp_path / "b.png")
    assert not art_changes.same_picture(tmp_path / "a.png", tmp_path / "b.png")
    assert art_changes.same_picture(tmp_path / "a.png", tmp_path / "a.png")
