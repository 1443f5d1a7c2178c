"""Backbones of timm: their own features, those of a layer, Gram features; the weights they take and those they do not.

Where SIMSEARCH_TEST_WEIGHTS names a folder with dinov2_vits14/model.safetensors (timm's vit_small_patch14_dinov2) and
efficientnet_lite0/model.safetensors (tf_efficientnet_lite0), these are held to the numbers in CANONICAL.
"""

import os
from pathlib import Path

import numpy as np
import pytest
from tiny_clip import tiny_timm_checkpoint
from torch_operators import timm, torch

from simsearch import images
from simsearch.encoders.base import TextEncoder
from simsearch.encoders.registry import load_encoder, location_of
from simsearch.encoders.timm_features import SKETCH, Features
from simsearch.errors import EncoderError
from simsearch.records import Preprocessing

NOISE = np.random.default_rng(6).integers(0, 256, (4, 160, 160, 3), np.uint8)
SMALL = NOISE[:, :64, :64]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A checkpoint of each tiny network, by its name."""
    folder = tmp_path_factory.mktemp("timm")
    names = ("test_vit", "test_resnet", "test_byobnet")
    return {name: tiny_timm_checkpoint(folder / f"{name}.safetensors", name) for name in names}


def opened(weights, name, *options):
    return load_encoder(f"timm:{name}?" + "&".join([f"weights={weights[name]}", *options]))


def plain(weights, name):
    """timm's own network with the same weights."""
    return timm.create_model(name, checkpoint_path=str(weights[name])).eval()


def given(pixels, config=None):
    """Pixels as a network is fed by its own configuration; the first two from -1 to 1."""
    mean, std = (torch.tensor(config[key] if config else (0.5,) * 3).view(1, 3, 1, 1) for key in ("mean", "std"))
    return (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - mean) / std


def unit(rows):
    rows = rows.detach().numpy()
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def refused(location):
    with pytest.raises(EncoderError) as caught:
        load_encoder(location)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# -- features ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "test_byobnet"])
def test_without_options_it_gives_what_timm_pools(name, weights):
    network = plain(weights, name)
    with torch.no_grad():
        fed = given(NOISE, network.pretrained_cfg)
        expected = unit(network.forward_head(network.forward_features(fed), pre_logits=True))
    found = opened(weights, name)
    assert np.abs(found.embed_images(NOISE) - expected).max() < 1e-5
    assert not isinstance(found, TextEncoder)
    own = network.pretrained_cfg
    rule = Preprocessing(160, "crop", own["interpolation"], tuple(own["mean"]), tuple(own["std"]))
    assert found.info.preprocessing == rule


def test_tokens_are_pooled_as_it_is_asked(weights):
    network = plain(weights, "test_vit")
    with torch.no_grad():
        tokens = network.forward_features(given(NOISE))
    expected = {"avg": tokens[:, 1:].mean(1), "max": tokens[:, 1:].amax(1), "token": tokens[:, 0]}
    for pool, rows in expected.items():
        found = opened(weights, "test_vit", f"pool={pool}")
        assert np.abs(found.embed_images(NOISE) - unit(rows)).max() < 1e-5


def test_a_layer_gives_its_output_averaged_over_positions(weights):
    network = plain(weights, "test_resnet")
    below = torch.nn.Sequential(network.conv1, network.bn1, network.act1, network.maxpool, network.layer1)
    with torch.no_grad():
        expected = unit(below(given(NOISE)).mean((2, 3)))
    found = opened(weights, "test_resnet", "layer=layer1")
    assert np.abs(found.embed_images(NOISE) - expected).max() < 1e-5


def test_a_layer_of_a_transformer_is_averaged_over_patches(weights):
    network = plain(weights, "test_vit")
    with torch.no_grad():
        tokens = network.forward_intermediates(given(NOISE), indices=[2], intermediates_only=True, output_fmt="NLC")[0]
    found = opened(weights, "test_vit", "layer=blocks.2")
    assert np.abs(found.embed_images(NOISE) - unit(tokens.mean(1))).max() < 1e-5


def test_what_lies_above_a_layer_is_not_computed(weights):
    found = opened(weights, "test_resnet", "layer=layer1")
    seen = []
    found.network.layer1.register_forward_pre_hook(lambda *_: seen.append("layer1"))
    found.network.layer2.register_forward_pre_hook(lambda *_: seen.append("layer2"))
    found.embed_images(NOISE)
    assert seen == ["layer1"]


def test_gram_features_of_few_channels_have_the_cosine_of_gram_matrices(weights):
    network = plain(weights, "test_vit")
    with torch.no_grad():
        patches = network.forward_features(given(NOISE))[:, 1:].double()
    grams = (patches.transpose(1, 2) @ patches / patches.shape[1]).flatten(1)
    found = opened(weights, "test_vit", "pool=gram")
    assert found.info.dim == 64 * 65 // 2
    rows = found.embed_images(NOISE)
    assert np.abs(rows @ rows.T - unit(grams) @ unit(grams).T).max() < 1e-5


def test_gram_features_of_many_channels_come_near_to_the_cosine_of_gram_matrices():
    drawn = torch.Generator().manual_seed(3)
    mixing = torch.rand(6, 512, 512, generator=drawn) ** 8  # six kinds of texture, whose channels go together otherwise
    maps = (torch.rand(6, 196, 512, generator=drawn) @ mixing).transpose(1, 2).reshape(6, 512, 14, 14)
    maps = maps - maps.mean()
    found = Features(torch.nn.Identity(), None, "gram", "test")._pooled(maps)
    assert found.shape == (6, SKETCH)
    positions = maps.flatten(2).double()
    grams = unit((positions @ positions.transpose(1, 2)).flatten(1))
    assert np.abs(unit(found) @ unit(found).T - grams @ grams.T).max() < 0.1


def test_gram_features_forget_where_things_are(weights):
    found = opened(weights, "test_resnet", "layer=conv1.0", "pool=gram")
    tiled = np.tile(SMALL[:2, :32, :32], (1, 5, 5, 1))
    assert found.info.dim == found.network.conv1[0].out_channels * (found.network.conv1[0].out_channels + 1) // 2
    apart, moved = found.embed_images(tiled), found.embed_images(np.roll(tiled, 16, axis=2))
    assert (apart * moved).sum(1).min() > 0.99


def test_another_size_of_input_is_taken(weights):
    found = opened(weights, "test_vit", "size=64")
    assert found.info.preprocessing.size == 64
    network = plain(weights, "test_vit")
    network.set_input_size(img_size=(64, 64))
    with torch.no_grad():
        expected = unit(network.forward_features(given(SMALL))[:, 0])
    assert np.abs(found.embed_images(SMALL) - expected).max() < 1e-5
    assert opened(weights, "test_resnet", "size=64").embed_images(SMALL).shape == (4, 96)


def test_positions_learned_on_another_grid_are_brought_to_the_networks(weights, tmp_path):
    path = tiny_timm_checkpoint(tmp_path / "large.safetensors", "test_vit", img_size=224)
    found = load_encoder(f"timm:test_vit?weights={path}")
    assert found.info.preprocessing.size == 160
    assert load_encoder(f"timm:test_vit?weights={path}&size=224").info.preprocessing.size == 224


# -- who it is ---------------------------------------------------------------------------------------------------------


def test_its_name_says_network_weights_layer_pooling_and_size(weights):
    found = opened(weights, "test_vit", "layer=blocks.1", "pool=gram", "size=96")
    whole = opened(weights, "test_vit")
    assert found.info.name == f"timm-test_vit-{whole.info.digest[:8]}-blocks.1-gram-96px"
    assert whole.info.name == f"timm-test_vit-{whole.info.digest[:8]}"
    assert location_of(found) == f"timm:test_vit?weights={weights['test_vit']}&layer=blocks.1&pool=gram&size=96"


def test_the_digest_is_of_the_weights_whatever_file_they_are_in(weights, tmp_path):
    state = plain(weights, "test_resnet").state_dict()
    torch.save({"epoch": 3, "model": {f"module.{name}": value for name, value in state.items()}}, tmp_path / "r.pth")
    again = load_encoder(f"timm:test_resnet?weights={tmp_path / 'r.pth'}")
    assert again.info == opened(weights, "test_resnet").info
    other = tiny_timm_checkpoint(tmp_path / "other.safetensors", "test_resnet", seed=1)
    assert load_encoder(f"timm:test_resnet?weights={other}").info.digest != again.info.digest
    assert opened(weights, "test_resnet", "layer=layer1").info.digest != again.info.digest


def test_weights_of_the_hub_that_were_downloaded_need_no_connection(weights, hub_folder):
    folder = hub_folder / "models--timm--test_vit.r160_in1k"
    (folder / "snapshots" / ("0" * 40)).mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0" * 40)
    (folder / "snapshots" / ("0" * 40) / "model.safetensors").write_bytes(weights["test_vit"].read_bytes())
    found, local = load_encoder("timm:test_vit"), opened(weights, "test_vit")
    assert (found.info.name, found.info.digest) == ("timm-test_vit", local.info.digest)
    assert (found.embed_images(NOISE) == local.embed_images(NOISE)).all()


@pytest.fixture
def hub_folder(tmp_path, monkeypatch):
    """An empty folder in which the hub's client looks for what it downloaded; it may not go online."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


# -- what it refuses ---------------------------------------------------------------------------------------------------


def test_weights_that_cannot_be_fetched_say_what_was_wanted_where_it_was_looked_for_and_the_way_out(hub_folder):
    assert refused("timm:vgg19") == (
        "the weights of timm:vgg19 cannot be had: model.safetensors or pytorch_model.bin of timm/vgg19.tv_in1k is not "
        f"in {hub_folder}, and https://huggingface.co gave nothing (offline mode is on); go online, or get the file "
        "elsewhere and write timm:vgg19?weights=FILE for a file of your own"
    )


@pytest.mark.parametrize(
    ("location", "says"),
    [
        ("timm:vgg91", "timm has no backbone 'vgg91'; did you mean vgg19 or "),
        ("timm:VGG-19", "timm has no backbone 'VGG-19'; did you mean vgg19"),
        ("timm:zzzzzz", "timm has no backbone 'zzzzzz'; timm.list_models() tells what there is"),
        ("timm:vgg19.tv_in21k", "timm has no weights 'vgg19.tv_in21k'; did you mean vgg19.tv_in1k?"),
        ("timm:vit_base_patch32_plus_256", "timm publishes no weights for 'vit_base_patch32_plus_256'; write timm:"),
    ],
)
def test_unknown_names_suggest_the_nearest(location, says):
    assert refused(location).startswith(says)


def test_weights_of_another_network_name_the_first_tensors_that_differ(weights):
    message = refused(f"timm:test_resnet?weights={weights['test_vit']}")
    assert message.startswith(f"{weights['test_vit']} does not fit timm:test_resnet: of 75 tensors, 75 missing (conv")
    assert message.endswith("; take the weights of this very architecture")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("layer=block.1", "the network has no layer 'block.1'; did you mean blocks.1 or "),
        ("layer=zzz", "the network has no layer 'zzz'; named_modules() of the network tells what there is"),
        ("layer=fc_norm&pool=gram", "the layer 'fc_norm' gives 64 numbers a picture: pool=gram needs positions; take"),
        ("layer=head_drop&pool=token", "the layer 'head_drop' gives 64 numbers a picture: pool=token needs a class"),
    ],
)
def test_a_layer_that_will_not_do_is_named(options, says, weights):
    assert f"&{options}: {says}" in refused(f"timm:test_vit?weights={weights['test_vit']}&{options}")


def test_a_size_that_patches_do_not_divide_is_named(weights):
    message = refused(f"timm:test_vit?weights={weights['test_vit']}&size=99")
    assert "takes no pictures of 99 x 99 pixels: " in message
    assert message.endswith("; give another size with size=N")


# -- real networks -----------------------------------------------------------------------------------------------------

GIVEN = os.environ.get("SIMSEARCH_TEST_WEIGHTS")
CANONICAL = {
    "timm:vit_small_patch14_dinov2?weights={}/dinov2_vits14/model.safetensors&size=224": (
        [-0.02412, 0.05302, 0.00949, -0.03208, 0.04504, 0.0666, -0.18392, 0.03433]
    ),
    "timm:tf_efficientnet_lite0?weights={}/efficientnet_lite0/model.safetensors": (
        [0, 0, 0, 0.03107, 0, 0.04594, 0, 0, 0.00114, 0, 0.00715, 0, 0.00101, 0, 0.06141, 0, 0, 0, 0, 0, 0, 0.03281,
         0.02945, 0.00984, 0, 0, 0.0005]
    ),
}  # fmt: skip
"""Numbers 0, 48, 96 ... of the embedding of :func:`painted`.

Kept with timm 1.0.31 and torch 2.13 on a CPU, after timm's own network, filled by ``load_state_dict`` from the same
file (DINOv2 built with img_size=224, its positions brought there by timm's ``resample_abs_pos_embed``), had given the
same embeddings to 3e-7.
"""


def painted():
    """A picture (200, 300, 3) that is the same on every machine: two slow waves, a sun, and a checkered floor."""
    down, across = np.mgrid[0:200, 0:300]
    red = 128 + 100 * np.sin(across / 47.0)
    green = 128 + 100 * np.cos(down / 31.0 + across / 90.0)
    blue = np.where(down > 140, 255 * ((across // 20 + down // 20) % 2), 90)
    picture = np.stack([red, green, blue], axis=2)
    picture[(down - 60) ** 2 + (across - 210) ** 2 < 900] = (250, 220, 60)
    return images.Picture(images_of(picture.astype(np.uint8)), 300, 200)


def images_of(pixels):
    from PIL import Image

    return Image.fromarray(pixels)


@pytest.mark.skipif(not GIVEN, reason="SIMSEARCH_TEST_WEIGHTS names no folder of weights")
@pytest.mark.parametrize("location", CANONICAL)
def test_real_networks_give_the_numbers_that_were_kept(location):
    encoder = load_encoder(location.format(Path(str(GIVEN)).absolute()))
    row = encoder.embed_images(images.fit(painted(), encoder.info.preprocessing)[None])[0]
    assert np.abs(row[::48] - CANONICAL[location]).max() < 1e-4
