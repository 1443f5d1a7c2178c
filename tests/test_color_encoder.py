"""The encoder without weights: colours by hand, what must be near and what far, rows that never change unseen."""

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from simsearch.encoders.base import Encoder
from simsearch.encoders.color import CHUNK, DIM, SIZE, ColorEncoder, cielab


@pytest.fixture(scope="module")
def encoder():
    return ColorEncoder()


def solid(*colour):
    return np.full((SIZE, SIZE, 3), colour, np.uint8)


def painting(seed):
    """Soft patches of colour under strokes: smooth noise at three scales."""
    rng = np.random.default_rng(seed)
    layers = [
        np.asarray(Image.fromarray(rng.integers(0, 256, (n, n, 3), dtype=np.uint8)).resize((SIZE, SIZE), 3), np.float64)
        for n in (3, 7, 24)
    ]
    return np.clip(0.5 * layers[0] + 0.3 * layers[1] + 0.2 * layers[2], 0, 255).astype(np.uint8)


def jpeg(pixels, quality):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=quality)
    return np.asarray(Image.open(out))


def cosine(encoder, one, other):
    rows = encoder.embed_images(np.stack([one, other]))
    return float(rows[0] @ rows[1])


@pytest.mark.parametrize(
    ("rgb", "expected"),
    [
        ((0, 0, 0), (0, 0, 0)),
        ((255, 255, 255), (100, 0, 0)),
        ((255, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 255, 0), (87.73, -86.18, 83.18)),
        ((0, 0, 255), (32.30, 79.19, -107.86)),
        # 119/255 = 0.46667, linear 0.18448, cube root 0.56928, 116 times that less 16
        ((119, 119, 119), (50.03, 0, 0)),
        # below both knees: 10/255/12.92 = 0.0030353, times 24389/27
        ((10, 10, 10), (2.742, 0, 0)),
    ],
)
def test_a_colour_has_the_cielab_values_of_the_textbook(rgb, expected):
    assert cielab(np.array(rgb, np.uint8)) == pytest.approx(expected, abs=0.03)


def test_cielab_keeps_the_order_of_pixels():
    pixels = np.array([[[255, 0, 0], [0, 0, 0]], [[255, 255, 255], [0, 0, 255]]], np.uint8)
    assert cielab(pixels)[..., 0] == pytest.approx(np.array([[53.24, 0], [100, 32.30]]), abs=0.03)


def test_it_is_an_encoder_that_describes_itself(encoder):
    assert isinstance(encoder, Encoder)
    info = encoder.info
    assert (info.name, info.dim, info.preprocessing.size, info.preprocessing.resize) == ("color", DIM, SIZE, "squash")
    assert len(info.digest) == 64
    assert info == ColorEncoder().info
    assert encoder.batch_size >= 1


def test_rows_are_float32_of_length_one(encoder):
    rows = encoder.embed_images(np.stack([painting(seed) for seed in range(3)]))
    assert rows.shape == (3, DIM)
    assert rows.dtype == np.float32
    assert np.linalg.norm(rows, axis=1) == pytest.approx(np.ones(3), abs=1e-6)


def test_no_images_give_no_rows(encoder):
    assert encoder.embed_images(np.empty((0, SIZE, SIZE, 3), np.uint8)).shape == (0, DIM)


def test_a_batch_gives_what_its_images_give_one_by_one_in_order(encoder):
    batch = np.stack([painting(seed) for seed in range(2 * CHUNK + 3)] + [solid(0, 0, 0), solid(9, 200, 30)])
    alone = np.concatenate([encoder.embed_images(image[None]) for image in batch])
    assert np.abs(encoder.embed_images(batch) - alone).max() < 1e-5


def test_one_thread_gives_what_many_give():
    batch = np.stack([painting(seed) for seed in range(4 * CHUNK)])
    rows = []
    for threads in (1, 4):
        encoder = ColorEncoder()
        encoder.threads = threads
        rows.append(encoder.embed_images(batch))
    assert np.abs(rows[0] - rows[1]).max() < 1e-5


def test_the_pixels_are_left_as_they_were_and_may_be_a_view(encoder):
    image = painting(1)
    mirrored_view = image[:, ::-1]
    kept = image.copy()
    rows = encoder.embed_images(np.stack([image]))
    assert np.abs(encoder.embed_images(mirrored_view[:, ::-1][None]) - rows).max() < 1e-5
    assert (image == kept).all()


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((SIZE, SIZE, 3), np.uint8),
        np.zeros((1, SIZE, SIZE), np.uint8),
        np.zeros((1, 3, SIZE, SIZE), np.uint8),
        np.zeros((2, SIZE + 1, SIZE, 3), np.uint8),
        np.zeros((1, SIZE, SIZE, 3), np.float32),
    ],
    ids=["one image without batch", "grey", "channels first", "another size", "floats"],
)
def test_pixels_of_another_shape_or_type_are_refused_in_a_sentence(encoder, wrong):
    with pytest.raises(ValueError, match=rf"takes uint8 pixels \(n, {SIZE}, {SIZE}, 3\), not {wrong.dtype} "):
        encoder.embed_images(wrong)


@pytest.mark.parametrize("value", [0, 1, 128, 254, 255])
def test_a_picture_of_one_colour_has_a_unit_row(encoder, value):
    for colour in ((value, value, value), (value, 0, 255)):
        row = encoder.embed_images(solid(*colour)[None])[0]
        assert np.isfinite(row).all()
        assert np.linalg.norm(row) == pytest.approx(1, abs=1e-6)


def test_black_white_and_red_are_not_alike(encoder):
    rows = encoder.embed_images(np.stack([solid(0, 0, 0), solid(255, 255, 255), solid(200, 30, 30)]))
    assert (rows @ rows.T)[np.triu_indices(3, 1)].max() < 0.75


def test_nearly_the_same_plain_colour_is_nearly_the_same_picture(encoder):
    noisy = np.random.default_rng(0).integers(119, 122, (SIZE, SIZE, 3), dtype=np.uint8)
    assert cosine(encoder, solid(120, 120, 120), noisy) > 0.85
    assert cosine(encoder, solid(120, 120, 120), solid(122, 120, 118)) > 0.95


@pytest.mark.parametrize("seed", range(4))
def test_a_recompressed_picture_stays_nearer_than_a_recoloured_one(encoder, seed):
    image = painting(seed)
    recompressed = cosine(encoder, image, jpeg(image, 60))
    recoloured = cosine(encoder, image, np.ascontiguousarray(image[..., [2, 0, 1]]))
    assert recompressed > 0.9
    assert recoloured < recompressed - 0.1


@pytest.mark.parametrize("seed", range(4))
def test_the_same_parts_in_another_place_are_another_picture(encoder, seed):
    image = painting(seed)
    half = SIZE // 2
    swapped = np.concatenate([image[half:], image[:half]])
    assert cosine(encoder, image, swapped) < 0.9 < cosine(encoder, image, jpeg(image, 60))


def test_stripes_that_run_the_other_way_are_another_picture(encoder):
    across = np.zeros((SIZE, SIZE, 3), np.uint8)
    across[np.arange(SIZE) // 6 % 2 == 0] = 255
    assert cosine(encoder, across, across.swapaxes(0, 1)) < 0.6


def test_another_scan_of_a_work_is_nearer_than_any_other_work(encoder):
    works = np.stack([painting(seed) for seed in range(40)])
    scans = np.clip(works[:, 2:-2, 3:-1].astype(np.float64) * [1.1, 1.0, 0.85] + 6, 0, 255).astype(np.uint8)
    scans = np.stack([jpeg(np.asarray(Image.fromarray(scan).resize((SIZE, SIZE), 3)), 70) for scan in scans])
    found = (encoder.embed_images(scans) @ encoder.embed_images(works).T).argmax(1)
    assert (found == np.arange(40)).all()


def test_its_rows_change_only_with_its_revision(encoder):
    """Stored embeddings are compared by name, revision and digest: whoever changes a row must raise the revision."""
    steps = np.arange(SIZE)
    image = np.stack(np.broadcast_arrays(steps[:, None] * 2, steps[None] * 2, (steps[:, None] * steps) % 256), axis=2)
    image[30:60, 40:80] = (200, 30, 60)
    row = encoder.embed_images(image.astype(np.uint8)[None])[0]
    canonical = {"revision": encoder.info.revision, "digest": encoder.info.digest[:12]}
    assert canonical == {"revision": "1", "digest": "f23a1b12f3b8"}
    # block by block: palette, tone, layout, contours, texture twice, contrast
    starts = np.cumsum([0, 100, 6, 48, 128, 59, 59])
    lengths = [float(np.linalg.norm(part)) for part in np.split(row, starts[1:])]
    assert lengths == pytest.approx([0.2937, 0.506, 0.2875, 0.5244, 0.2899, 0.2891, 0.364], abs=2e-4)
    assert row[starts + 3] == pytest.approx([0.0031, -0.0327, 0.0175, 0.0248, -0.0114, 0.0357, 0.0815], abs=2e-4)


def test_importing_it_costs_numpy_only():
    code = "import sys, simsearch.encoders.color; print(*sorted({m.partition('.')[0] for m in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"PIL", "scipy", "skimage", "cv2", "onnxruntime", "faiss", "sqlalchemy", "requests", "torch", "click"}
    assert not heavy & set(done.stdout.split())
