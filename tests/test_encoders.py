"""One conformance suite for every encoder, then the model folder and the registry: what they refuse, and how.

Where SIMSEARCH_TEST_MODEL names a model folder or another encoder, that is held to the suite as well.
"""

import json
import os
import re

import numpy as np
import pytest

from simsearch import Options, images, index_folders, open_collection, vectors
from simsearch.encoders.base import Encoder
from simsearch.encoders.onnx import OnnxEncoder
from simsearch.encoders.registry import BUILT_IN, load_encoder, location_of
from simsearch.errors import EmbeddingError, EncoderError, EncoderMismatchError
from simsearch.records import Preprocessing

onnx = pytest.importorskip("onnx", reason="the networks of these tests are built with it")

DIM, SIZE, KERNEL, STRIDE = 16, 24, 5, 3
MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.25, 0.3]
GIVEN = os.environ.get("SIMSEARCH_TEST_MODEL")
CARD = {
    "name": "seeded", "revision": "7", "dim": DIM, "input_size": SIZE, "resize": "squash", "interpolation": "bicubic",
    "mean": MEAN, "std": STD, "pooling": "mean", "licence": "MIT",
}  # fmt: skip


def weights():
    """Kernels (DIM, 3, KERNEL, KERNEL) and biases (DIM,) that are the same on every machine."""
    rng = np.random.default_rng(17)
    return rng.normal(size=(DIM, 3, KERNEL, KERNEL)).astype(np.float32) / 9, rng.normal(size=DIM).astype(np.float32) / 4


def network(path, bias=None, size=SIZE, kind="FLOAT", flat=True):
    """Writes a convolution, a rectifier and a mean over the picture."""
    helper, numbers = onnx.helper, onnx.TensorProto
    kernels, biases = weights()
    biases = biases if bias is None else bias
    given = helper.make_tensor_value_info("pixels", getattr(numbers, kind), ["n", 3, size, size])
    gives = helper.make_tensor_value_info("out", getattr(numbers, kind), ["n", DIM] if flat else ["n", DIM, 1, 1])
    nodes = [
        helper.make_node("Conv", ["pixels", "kernels", "biases"], ["found"], strides=[STRIDE, STRIDE]),
        helper.make_node("Relu", ["found"], ["lit"]),
        helper.make_node("GlobalAveragePool", ["lit"], ["mean"]),
        helper.make_node("Flatten" if flat else "Identity", ["mean"], ["out"]),
    ]
    as_kind = helper.tensor_dtype_to_np_dtype(getattr(numbers, kind))
    held = [
        onnx.numpy_helper.from_array(kernels.astype(as_kind), "kernels"),
        onnx.numpy_helper.from_array(np.asarray(biases, as_kind), "biases"),
    ]
    graph = helper.make_graph(nodes, "seeded", [given], [gives], held)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path / "image.onnx")


def model_folder(path, card=CARD, **options):
    path.mkdir(parents=True, exist_ok=True)
    network(path, **options)
    (path / "card.json").write_text(json.dumps(card), encoding="utf-8")
    return path


# -- conformance -------------------------------------------------------------------------------------------------------

TORCH = {
    "clip": None,
    "timm transformer": ("test_vit", ""),
    "timm convolutions": ("test_resnet", "&size=64"),
    "timm layer": ("test_vit", "&layer=blocks.1&pool=avg&size=64"),
    "timm gram": ("test_resnet", "&layer=layer2&pool=gram&size=64"),
}


def on_torch(folder, name):
    """A tiny network with random weights, which are kept in the folder."""
    from tiny_clip import tiny_clip_folder, tiny_timm_checkpoint

    if TORCH[name] is None:
        return load_encoder(f"clip:{tiny_clip_folder(folder / 'tiny')}")
    network, options = TORCH[name]
    return load_encoder(f"timm:{network}?weights={tiny_timm_checkpoint(folder / 'w.safetensors', network)}{options}")


@pytest.fixture(scope="module", params=[*BUILT_IN, "squash", "crop", "pad", *TORCH, *([GIVEN] if GIVEN else [])])
def encoder(request, tmp_path_factory):
    if request.param in ("squash", "crop", "pad"):
        return OnnxEncoder(model_folder(tmp_path_factory.mktemp("model"), CARD | {"resize": request.param}))
    if request.param in TORCH:
        return on_torch(tmp_path_factory.mktemp("torch"), request.param)
    return load_encoder(request.param)


@pytest.fixture(scope="module")
def pixels(encoder, some_works):
    """Sixteen pictures that all differ, fitted as the encoder wants them."""
    pictures = [images.decode(path.read_bytes(), path.name) for path in some_works]
    return np.stack([images.fit(picture, encoder.info.preprocessing) for picture in pictures])


@pytest.fixture(scope="module")
def rows(encoder, pixels):
    return encoder.embed_images(pixels)


def close(found, expected):
    return np.abs(found - expected).max() <= 1e-5


def test_it_is_an_encoder_and_says_which(encoder):
    assert isinstance(encoder, Encoder)
    info = encoder.info
    assert re.fullmatch(r"[\w.-]+", info.name)
    assert re.fullmatch(r"\S+", info.revision)
    assert re.fullmatch(r"[0-9a-f]{64}", info.digest)
    assert info.dim > 0
    assert encoder.batch_size > 0
    assert str(info) == f"{info.name}@{info.revision} ({info.dim} numbers, digest {info.digest[:8]})"


def test_its_preprocessing_is_known_and_survives_json(encoder):
    rule = encoder.info.preprocessing
    assert rule.size > 0
    assert rule.resize in ("squash", "crop", "pad")
    assert rule.interpolation in ("bicubic", "bilinear", "lanczos")
    assert min(rule.std) > 0
    assert Preprocessing.from_dict(json.loads(json.dumps(rule.to_dict()))) == rule


def test_where_it_is_finds_the_same_encoder_again(encoder, pixels, rows):
    again = load_encoder(location_of(encoder))
    assert again.info == encoder.info
    assert (again.embed_images(pixels) == rows).all()


def test_rows_are_of_length_one_in_float32(encoder, rows):
    assert rows.dtype == np.float32
    assert rows.shape == (16, encoder.info.dim)
    assert np.abs(np.linalg.norm(rows.astype(np.float64), axis=1) - 1).max() <= 1e-6


def test_the_same_pictures_give_the_same_numbers(encoder, pixels, rows):
    assert (encoder.embed_images(pixels) == rows).all()


def test_a_batch_gives_what_its_pictures_give_one_by_one(encoder, pixels, rows):
    assert close(np.concatenate([encoder.embed_images(one[None]) for one in pixels]), rows)


@pytest.mark.parametrize("count", [2, 3, 7, 15])
def test_a_picture_does_not_depend_on_its_company(encoder, pixels, rows, count):
    assert close(encoder.embed_images(pixels[-count:]), rows[-count:])


def test_more_than_its_batch_size_is_taken_at_once(encoder, pixels, rows):
    times = encoder.batch_size // 16 + 2
    assert close(encoder.embed_images(np.tile(pixels, (times, 1, 1, 1))), np.tile(rows, (times, 1)))


def test_the_order_is_kept(encoder, pixels, rows):
    order = np.random.default_rng(2).permutation(16)
    assert close(encoder.embed_images(pixels[order]), rows[order])


def test_a_different_picture_gives_a_different_row(encoder, pixels, rows):
    apart = np.linalg.norm(rows[:, None] - rows[None], axis=2) + 9 * np.eye(16)
    assert apart.min() > 1e-3
    assert not close(encoder.embed_images(255 - pixels), rows)


def test_no_picture_gives_no_row(encoder, pixels):
    found = encoder.embed_images(pixels[:0])
    assert (found.shape, found.dtype) == ((0, encoder.info.dim), np.float32)


def test_pixels_may_be_a_view_and_are_left_alone(encoder, pixels, rows):
    before = pixels.copy()
    assert close(encoder.embed_images(pixels[::2]), rows[::2])
    mirrored = pixels[:, :, ::-1]
    assert close(encoder.embed_images(mirrored), encoder.embed_images(mirrored.copy()))
    assert (pixels == before).all()


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_a_picture_of_one_grey_has_a_row_too(encoder, grey):
    size = encoder.info.preprocessing.size
    found = encoder.embed_images(np.full((1, size, size, 3), grey, np.uint8))
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-6)


WRONG = {
    "floats": lambda p: p.astype(np.float32) / 255,
    "wider integers": lambda p: p.astype(np.int64),
    "one picture without a batch": lambda p: p[0],
    "channels first": lambda p: p.transpose(0, 3, 1, 2),
    "another size": lambda p: p[:, 1:, 1:],
    "not square": lambda p: p[:, :-1],
    "grey": lambda p: p[..., :1],
    "with transparency": lambda p: np.concatenate([p, p[..., :1]], axis=3),
    "none of another size": lambda p: p[:0, 1:, 1:],
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_pixels_of_another_shape_or_type_are_refused_with_what_is_wanted(encoder, pixels, wrong):
    size = encoder.info.preprocessing.size
    with pytest.raises(ValueError, match=rf"takes uint8 pixels \(n, {size}, {size}, 3\), not "):
        encoder.embed_images(wrong(pixels))


# -- the model folder --------------------------------------------------------------------------------------------------


def test_a_network_is_fed_as_its_card_says(tmp_path):
    noise = np.random.default_rng(3).integers(0, 256, (4, SIZE, SIZE, 3), np.uint8)
    kernels, biases = (part.astype(np.float64) for part in weights())
    channels = ((noise / 255 - MEAN) / STD).transpose(0, 3, 1, 2)
    windows = np.lib.stride_tricks.sliding_window_view(channels, (KERNEL, KERNEL), (2, 3))[:, :, ::STRIDE, ::STRIDE]
    found = np.einsum("ncyxij,dcij->ndyx", windows, kernels) + biases[:, None, None]
    expected = vectors.unit_rows(np.maximum(found, 0).mean((2, 3)))
    assert close(OnnxEncoder(model_folder(tmp_path)).embed_images(noise), expected)


def test_the_card_says_which_encoder_it_is(tmp_path):
    info = OnnxEncoder(model_folder(tmp_path, CARD | {"resize": "pad", "interpolation": "lanczos"})).info
    assert (info.name, info.revision, info.dim) == ("seeded", "7", DIM)
    assert info.preprocessing == Preprocessing(SIZE, "pad", "lanczos", tuple(MEAN), tuple(STD))


def test_other_weights_are_another_encoder(tmp_path):
    one = OnnxEncoder(model_folder(tmp_path / "one"))
    two = OnnxEncoder(model_folder(tmp_path / "two", bias=np.ones(DIM)))
    assert one.info.digest != two.info.digest
    assert one.info == OnnxEncoder(model_folder(tmp_path / "three")).info != two.info


def test_a_folder_is_found_again_from_anywhere(tmp_path, monkeypatch):
    model_folder(tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    assert location_of(load_encoder("model")) == str((tmp_path / "model").resolve())


def test_the_network_is_not_read_before_the_first_picture(tmp_path):
    folder = model_folder(tmp_path)
    (folder / "image.onnx").write_bytes(b"no network at all")
    assert OnnxEncoder(folder).embed_images(np.empty((0, SIZE, SIZE, 3), np.uint8)).shape == (0, DIM)


@pytest.mark.parametrize("missing", ["card.json", "image.onnx"])
def test_a_folder_without_card_or_network_is_no_model_folder(tmp_path, missing):
    folder = model_folder(tmp_path / "model")
    (folder / missing).unlink()
    with pytest.raises(EncoderError) as caught:
        load_encoder(str(folder))
    expected = f"{folder} is no model folder: it has no {missing}; it needs image.onnx and card.json"
    assert str(caught.value) == expected


@pytest.mark.parametrize("text", ["", "name: seeded", "{", '{"name": "se'])
def test_a_card_that_is_no_json_is_named(tmp_path, text):
    (model_folder(tmp_path) / "card.json").write_text(text)
    with pytest.raises(EncoderError, match=r"card\.json is not a JSON card: ") as caught:
        OnnxEncoder(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'card.json'} ")


@pytest.mark.parametrize("lacking", [["dim"], ["mean", "std"], list(CARD)], ids=", ".join)
def test_a_card_names_the_keys_that_it_lacks(tmp_path, lacking):
    model_folder(tmp_path, {key: value for key, value in CARD.items() if key not in lacking})
    with pytest.raises(EncoderError) as caught:
        OnnxEncoder(tmp_path)
    path = tmp_path / "card.json"
    assert str(caught.value) == f"{path} lacks {', '.join(lacking)}; see docs/encoders.md for the card's keys"


def test_a_card_that_is_a_list_lacks_everything(tmp_path):
    with pytest.raises(EncoderError, match=f"lacks {', '.join(CARD)}; see"):
        OnnxEncoder(model_folder(tmp_path, [1, 2]))


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("resize", "stretch", "'stretch'; there are squash, crop, pad"),
        ("resize", None, "None; there are squash, crop, pad"),
        ("interpolation", "nearest", "'nearest'; there are bicubic, bilinear, lanczos"),
        ("mean", [0.5, 0.5], "[0.5, 0.5]; three numbers are needed, one a channel"),
        ("mean", 0.5, "0.5; three numbers are needed, one a channel"),
        ("std", [1, 1, "wide"], "[1, 1, 'wide']; three numbers are needed, one a channel"),
        ("std", [1, 1, float("nan")], "[1, 1, nan]; three numbers are needed, one a channel"),
        ("std", [1, 0, 1], "[1, 0, 1]; it divides the channels, so each must be above 0"),
        ("dim", 0, "0; a whole number above 0 is needed"),
        ("dim", "many", "'many'; a whole number above 0 is needed"),
        ("input_size", 22.5, "22.5; a whole number above 0 is needed"),
    ],
)
def test_a_value_that_a_card_cannot_have_is_named_with_what_it_can(tmp_path, key, value, says):
    with pytest.raises(EncoderError) as caught:
        OnnxEncoder(model_folder(tmp_path, CARD | {key: value}))
    assert str(caught.value) == f"{tmp_path / 'card.json'} has {key} {says}"


NOISE = np.random.default_rng(4).integers(0, 256, (3, SIZE, SIZE, 3), np.uint8)


def refused(folder, kind=EncoderError, pixels=NOISE):
    with pytest.raises(kind) as caught:
        OnnxEncoder(folder).embed_images(pixels)
    assert type(caught.value) is kind
    assert str(caught.value).startswith(str(folder / "image.onnx"))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("data", [b"", b"not a network", bytes(1000), None], ids=["empty", "text", "zeros", "half"])
def test_a_file_that_is_no_network_is_named_with_the_way_out(tmp_path, data):
    path = model_folder(tmp_path) / "image.onnx"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if data is None else data)
    message = refused(tmp_path)
    assert "is no network that onnxruntime can run" in message
    assert message.endswith("; export it again")


def test_a_network_of_another_width_than_its_card_is_refused(tmp_path):
    assert refused(model_folder(tmp_path, CARD | {"dim": 32})).endswith(
        "gives (3, 16) for 3 images, but card.json says dim 32; correct card.json or export it again"
    )


def test_a_network_that_does_not_pool_is_refused(tmp_path):
    assert "gives (3, 16, 1, 1) for 3 images" in refused(model_folder(tmp_path, flat=False))


@pytest.mark.parametrize("options", [{"size": 32}, {"kind": "FLOAT16"}], ids=["another size", "another type"])
def test_a_network_that_takes_something_else_than_its_card_says_is_refused(tmp_path, options):
    message = refused(model_folder(tmp_path, **options))
    assert "does not take (3, 3, 24, 24)" in message
    assert message.endswith("; correct card.json or export it again")


@pytest.mark.parametrize("bias", [np.nan, np.inf])
def test_a_network_that_gives_no_numbers_is_an_error_of_the_embedding(tmp_path, bias):
    message = refused(model_folder(tmp_path, bias=np.full(DIM, bias)), EmbeddingError)
    assert message.endswith("holds a number that is not finite; the encoder's weights may be damaged")


def test_a_network_that_gives_zeros_is_an_error_of_the_embedding(tmp_path):
    message = refused(model_folder(tmp_path, bias=np.full(DIM, -1e9)), EmbeddingError)
    assert message.endswith("embedding 0 is all zeros, so it has no direction to compare")


def test_a_card_that_was_edited_under_its_old_revision_is_refused(tmp_path, some_works):
    art = tmp_path / "art"
    art.mkdir()
    for path in some_works[:2]:
        (art / path.name).write_bytes(path.read_bytes())
    options = Options(encoder=str(model_folder(tmp_path / "model")))
    with open_collection(tmp_path, write=True) as collection:
        assert index_folders(collection, [art], options).embedded == 2
        model_folder(tmp_path / "model", CARD | {"resize": "crop"})
        with pytest.raises(EncoderMismatchError, match=r"card\.json .* give it a new revision"):
            index_folders(collection, [art], options)
        model_folder(tmp_path / "model", CARD | {"resize": "crop", "revision": "8"})
        assert index_folders(collection, [art], options).embedded == 2
        assert [entry.info.revision for entry in collection.encoders()] == ["8", "7"]


# -- the registry ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["colour", "Color", "colr"])
def test_an_unknown_name_suggests_the_nearest(name):
    with pytest.raises(EncoderError) as caught:
        load_encoder(name)
    assert str(caught.value) == f"there is no encoder {name!r}, nor a folder of that name; did you mean 'color'?"


def test_a_name_like_no_other_lists_what_there_is(tmp_path):
    (tmp_path / "model.onnx").touch()
    for name in ("resnet50", str(tmp_path / "model.onnx"), str(tmp_path / "nowhere")):
        with pytest.raises(EncoderError) as caught:
            load_encoder(name)
        assert str(caught.value) == (
            f"there is no encoder {name!r}, nor a folder of that name; built in: color; or give a model folder"
        )
