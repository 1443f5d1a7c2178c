"""Backbones by value: what is cut and joined again is what timm computes, and weights that do not fit are refused."""

import sys
from itertools import chain

import numpy as np
import pytest
from torch import nn
from torch.nn import functional
from torch_operators import timm, torch
from tried_backbones import SIZE, loaded, pixels, recipe, saved

from simsearch.classifier.finetune.backbones import SmallCnn, Transformer, Uncut, load_backbone, normalised
from simsearch.classifier.finetune.freeze import top_layers, train_mode
from simsearch.errors import TrainingError

STUDENTS = {  # what the recipes name, and how wide its last features are
    "tf_efficientnet_lite0": ("map", 1280),
    "mobilenetv2_100": ("map", 1280),
    "efficientnet_b0": ("map", 1280),
    "tf_efficientnetv2_s": ("map", 1280),
    "resnet50": ("map", 2048),
    "resnetv2_152": ("map", 2048),
    "inception_v3": ("map", 2048),
    "xception65": ("map", 2048),
    "vgg19": ("map", 512),
    "vit_small_patch14_dinov2": ("tokens", 384),
}


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


# -- vision transformers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["test_vit", "test_vit2", "test_vit3", "test_vit4"])
def test_a_transformer_gives_what_timm_gives_wherever_it_is_cut(name):
    backbone, x = loaded(f"timm:{name}"), pixels()
    plain = timm.create_model(name, img_size=SIZE, num_classes=0).eval()
    plain.load_state_dict(backbone.network.state_dict(), strict=False)  # a head that features do not need is gone
    wanted = plain.forward_features(x)
    assert isinstance(backbone, Transformer)
    assert (backbone.width, backbone.depth) == (wanted.shape[2], len(plain.blocks))
    assert (backbone.grid, backbone.prefix) == ((3, 3), wanted.shape[1] - 9)
    assert torch.allclose(backbone(x), wanted, atol=1e-6)
    for below in range(backbone.depth + 1):
        assert torch.allclose(backbone.upper(backbone.lower(x, below), below), wanted, atol=1e-6)


def test_the_class_token_and_registers_are_told_apart():
    known = [(b.prefix, b.class_token) for b in (loaded(f"timm:test_vit{n}") for n in ("", "2", "3", "4"))]
    assert known == [(1, True), (1, False), (1, False), (1, False)]


def test_keeping_all_patches_is_dropping_none():
    backbone = loaded()
    below = backbone.lower(pixels(), 2)
    everything = torch.arange(9).expand(2, -1)
    assert torch.equal(backbone.upper(below, 2, everything), backbone.upper(below, 2))


def test_kept_patches_go_up_as_if_there_were_no_others():
    backbone, keep = loaded(), torch.tensor([[0, 4, 8], [7, 2, 3]])
    below = backbone.lower(pixels(), 2)
    found = backbone.upper(below, 2, keep)
    assert found.shape == (2, 1 + 3, 64)
    for row, patches in enumerate(keep.tolist()):
        alone = below[row : row + 1, [0, *(1 + p for p in patches)]]
        for block in backbone.network.blocks[2:]:
            alone = block(alone)
        assert torch.allclose(found[row], backbone.network.norm(alone)[0], atol=1e-6)


@pytest.mark.parametrize("below", [-1, 7])
def test_a_cut_where_there_is_no_block_is_refused(below):
    backbone = loaded()
    with pytest.raises(TrainingError, match=f"there are 6 blocks to cut at, not {below}; change cache.below"):
        backbone.lower(pixels(), below)
    with pytest.raises(TrainingError, match=f"there are 6 blocks to cut at, not {below}; change cache.below"):
        backbone.upper(torch.zeros(1, 10, 64), below)


def test_positions_learned_on_another_grid_are_resampled_as_timm_does_it(tmp_path):
    torch.manual_seed(3)
    plain = timm.create_model("test_vit", num_classes=5).eval()  # 160 pixels, a grid of 10 x 10
    path = saved(plain.state_dict(), tmp_path / "vit.safetensors")
    plain.set_input_size(img_size=(SIZE, SIZE))
    found = load_backbone(recipe(weights=path)).eval()
    assert found.network.pos_embed.shape == (1, 10, 64)
    assert torch.equal(found(pixels()), plain.forward_features(pixels()))


def test_other_token_networks_are_used_whole():
    backbone, x = loaded("timm:test_vit_relpos"), pixels()
    plain = timm.create_model("test_vit_relpos", img_size=SIZE, num_classes=0).eval()
    plain.load_state_dict(backbone.network.state_dict(), strict=False)
    assert isinstance(backbone, Uncut)
    assert (backbone.kind, backbone.grid, backbone.prefix, backbone.class_token) == ("tokens", (3, 3), 0, False)
    assert torch.allclose(backbone(x), plain.forward_features(x), atol=1e-6)
    for refused in (backbone.lower, backbone.upper):
        with pytest.raises(TrainingError, match="Uncut has no blocks to cut at; leave cache away"):
            refused(x, 1)


def test_a_class_token_without_patches_is_all_there_is():
    with torch.device("meta"):
        backbone = loaded("timm:pit_ti_224", 224)
    assert (backbone.kind, backbone.prefix, backbone.class_token, backbone.grid) == ("tokens", 0, False, (1, 1))


# -- networks that give a map ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_nfnet", "mobilenetv3_small_050"])
def test_a_map_is_what_timm_gives(name):
    backbone, x = loaded(f"timm:{name}", 64), pixels(64)
    plain = timm.create_model(name, num_classes=0).eval()
    plain.load_state_dict(backbone.network.state_dict(), strict=False)
    wanted = plain.forward_features(x)
    assert (backbone.kind, backbone.width, backbone.grid) == ("map", wanted.shape[1], (2, 2))
    assert torch.allclose(backbone(x), wanted, atol=1e-6)


def test_channels_come_first_also_where_a_network_has_them_last():
    backbone, x = loaded("timm:test_mambaout", 64), pixels(64)
    lasting = backbone.network.forward_features(x)
    assert lasting.shape == (2, 2, 2, backbone.width)
    assert torch.equal(backbone(x), lasting.permute(0, 3, 1, 2))


def test_the_small_cnn_is_three_times_convolution_norm_rectifier_and_maximum():
    backbone, wanted = loaded("cnn:3"), pixels()
    for convolution, norm, *_ in backbone.network.blocks:
        norm.running_mean.normal_()
        wanted = functional.conv2d(wanted, convolution.weight, padding=1)
        mean, std = (v.view(1, -1, 1, 1) for v in (norm.running_mean, (norm.running_var + norm.eps).sqrt()))
        wanted = ((wanted - mean) / std).clamp(min=0)
        wanted = wanted.unfold(2, 2, 2).unfold(3, 2, 2).amax((4, 5))
    assert (backbone.width, backbone.grid, wanted.shape) == (128, (6, 6), (2, 128, 6, 6))
    assert torch.allclose(backbone(pixels()), wanted, atol=1e-5)


def test_what_only_a_classifier_needs_is_not_there():
    assert isinstance(loaded("timm:mobilenetv3_small_050", 64).network.conv_head, nn.Identity)
    assert isinstance(loaded("timm:test_vit3").network.attn_pool, nn.Identity)
    with torch.device("meta"):
        vgg = loaded("timm:vgg19", 64)
    assert sum(p.numel() for p in vgg.parameters()) == 20_024_384  # of 143,667,240: two layers of 4,096 are gone


@pytest.mark.parametrize("name", STUDENTS)
def test_the_students_architectures_are_known_and_give_features(name):
    assert name in timm.list_models()
    kind, width = STUDENTS[name]
    size = 112 if kind == "tokens" else 96
    with torch.device("meta"):
        backbone = loaded(f"timm:{name}", size)
        assert (backbone.kind, backbone.width) == (kind, width)
        assert backbone(torch.zeros(2, 3, size, size)).shape[0] == 2
        assert sum(p.numel() for layer in backbone.layers() for p in layer) == sum(
            p.numel() for p in backbone.parameters()
        )


# -- layers, and which of them learn -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("backbone", "count", "first", "last"),
    [
        ("timm:test_vit", 1 + 6, "cls_token", "norm.bias"),
        ("timm:test_vit_relpos", 1 + 9, "patch_embed.proj.weight", "blocks.8"),
        ("timm:test_resnet", 3 + 4, "conv1.0.weight", "layer4.0.conv"),
        ("timm:test_efficientnet", 1 + 5 + 1, "conv_stem.weight", "bn2.bias"),
        ("cnn:3", 3, "blocks.0.0.weight", "blocks.2.1.bias"),
    ],
)
def test_layers_hold_every_parameter_once_from_the_input_to_the_output(backbone, count, first, last):
    network = loaded(backbone, 64)
    name_of = {p: name for name, p in network.network.named_parameters()}
    names = [[name_of[p] for p in layer] for layer in network.layers()]
    assert len(names) == count
    assert sorted(chain(*names)) == sorted(name_of.values())
    assert first in names[0]
    assert any(name.startswith(last) for name in names[-1])
    assert all(any(p.ndim > 1 for p in layer) for layer in network.layers())


@pytest.mark.parametrize("backbone", ["timm:test_vit", "timm:test_efficientnet", "cnn:3"])
def test_the_top_layers_are_whole_from_the_output_and_no_more_than_needed(backbone):
    network = loaded(backbone)
    layers = network.layers()
    total = sum(p.numel() for p in network.parameters())
    for share in (0.01, 0.3, 0.5, 0.9):
        chosen = top_layers(network, share)
        assert chosen == layers[::-1][: len(chosen)]
        held = sum(p.numel() for p in chain(*chosen))
        assert held >= share * total > held - sum(p.numel() for p in chosen[-1])
    assert top_layers(network, 0) == []
    assert set(chain(*top_layers(network, 1))) == set(network.parameters())


def test_a_quarter_of_a_transformer_is_two_of_its_six_blocks():
    network = loaded()
    wanted = {*network.network.blocks[4:].parameters(), *network.network.norm.parameters()}
    assert set(chain(*top_layers(network, 0.25))) == wanted


def test_frozen_batch_norms_keep_their_statistics_and_the_others_move():
    network = loaded("timm:test_efficientnet", 64)
    learns = set(chain(*top_layers(network, 0.3)))
    train_mode(network, learns)
    norms = {n: m for n, m in network.named_modules() if isinstance(m, nn.BatchNorm2d)}
    before = {name: (norm.running_mean.clone(), norm.running_var.clone()) for name, norm in norms.items()}
    network(pixels(64) * 3 + 1)
    moved = {name for name, norm in norms.items() if not torch.equal(norm.running_mean, before[name][0])}
    moved |= {name for name, norm in norms.items() if not torch.equal(norm.running_var, before[name][1])}
    assert moved == {name for name, norm in norms.items() if norm.weight in learns}
    assert {norm.num_batches_tracked.item() for name, norm in norms.items() if name not in moved} == {0}
    assert 0 < len(moved) < len(norms)


def test_frozen_blocks_drop_no_paths_and_nothing_learns_in_none():
    network = load_backbone(recipe(drop_path=0.5))
    train_mode(network, set(chain(*top_layers(network, 0.25))))
    assert [block.drop_path1.training for block in network.network.blocks] == [False] * 4 + [True] * 2
    assert network.training
    train_mode(network, set())
    assert not any(module.training for module in network.modules())
    train_mode(network, set(network.parameters()))
    assert all(module.training for module in network.modules())


def test_drop_path_reaches_networks_that_know_it_and_is_left_away_for_others():
    blocks = loaded(drop_path=0.2).network.blocks
    assert [getattr(block.drop_path1, "drop_prob", 0) for block in blocks] == pytest.approx(np.linspace(0, 0.2, 6))
    with torch.device("meta"):
        assert loaded("timm:vgg11", 64, drop_path=0.2).kind == "map"


# -- what cannot be had ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backbone", ["resnet50", "timm:", "cnn:4", "cnn:", "keras:xception", "torchvision:vgg19", ""])
def test_backbones_that_are_neither_timms_nor_ours_are_refused(backbone):
    with pytest.raises(TrainingError, match=f"there is no backbone '{backbone}'; write timm:NAME or cnn:3"):
        load_backbone(recipe(backbone))


def test_a_name_that_timm_does_not_know_gets_its_nearest_names():
    with pytest.raises(
        TrainingError, match=r"timm has no backbone 'eficientnet_b0'; the nearest are efficientnet_b0, "
    ):
        load_backbone(recipe("timm:eficientnet_b0"))
    with pytest.raises(TrainingError, match=r"no backbone '0000'; timm\.list_models\(\) tells what there is"):
        load_backbone(recipe("timm:0000"))
    with pytest.raises(TrainingError, match=r"no weights 'test_vit.r60_in1k'; the nearest are test_vit\.r160_in1k"):
        load_backbone(recipe("timm:test_vit.r60_in1k"))


@pytest.mark.parametrize(("size", "near"), [(50, "48 or 64"), (47, "32 or 48"), (9, "16")])
def test_a_size_that_patches_do_not_divide_names_the_nearest_that_they_do(size, near):
    with pytest.raises(TrainingError) as refused:
        load_backbone(recipe(size=size))
    assert str(refused.value) == (
        f"timm:test_vit cuts images into patches of 16 pixels, into which input_size {size} does not divide; "
        f"take {near}"
    )


@pytest.mark.parametrize(("backbone", "size"), [("timm:inception_v3", 40), ("timm:vgg11", 16), ("cnn:3", 4)])
def test_a_size_that_a_network_cannot_take_is_refused(backbone, size):
    with torch.device("meta"), pytest.raises(TrainingError) as refused:
        load_backbone(recipe(backbone, size))
    said = str(refused.value)
    assert said.startswith(f"{backbone} takes no images of {size} x {size} pixels: ")
    assert said.endswith("; change input_size of the recipe")
    assert "\n" not in said


def test_networks_of_several_features_are_refused():
    with torch.device("meta"), pytest.raises(TrainingError, match="crossvit_9_240 gives several features, not tokens"):
        load_backbone(recipe("timm:crossvit_9_240", 240))


def test_features_that_are_neither_tokens_nor_a_map_are_refused():
    with pytest.raises(TrainingError, match="odd gives 7 numbers an image, neither tokens nor a map"):
        Uncut(SmallCnn(), torch.zeros(1, 7), "odd")


def test_without_timm_there_is_a_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(TrainingError, match=r"needs torch and timm; run `pip install 'simsearch\[torch\]'`"):
        load_backbone(recipe())


# -- pixels ------------------------------------------------------------------------------------------------------------


def test_pixels_are_brought_to_the_networks_own_mean_and_deviation():
    backbone = loaded()
    backbone.mean, backbone.std = (0.5, 0.25, 0.0), (0.5, 0.25, 1.0)
    given = torch.zeros(1, 2, 2, 3, dtype=torch.uint8)
    given[0, 0, 1] = torch.tensor([255, 51, 102])
    found = normalised(given, backbone)
    assert found.dtype == torch.float32
    assert found[0, :, 0, 1].tolist() == pytest.approx([1, -0.2, 0.4], abs=1e-6)
    assert found[0, :, 1, 0].tolist() == [-1, -1, 0]


@pytest.mark.parametrize("name", ["cnn:3", "timm:test_efficientnet"])
def test_pixels_and_what_convolutions_make_of_them_lie_channels_last(name):
    backbone = loaded(name)
    views = normalised(torch.zeros(4, SIZE, SIZE, 3, dtype=torch.uint8), backbone).chunk(2)
    features = backbone(torch.cat(list(views)))
    assert features.shape[2] > 1, "a map of one place lies both ways"
    assert features.is_contiguous(memory_format=torch.channels_last)
    assert not features.is_contiguous()


def test_the_mean_and_deviation_are_those_of_timms_configuration():
    assert loaded("timm:test_vit").mean == tuple(timm.create_model("test_vit").pretrained_cfg["mean"])
    assert loaded("cnn:3").std == (0.229, 0.224, 0.225)
