"""Weights of backbones: from a file or the hub, all of them or none, and a sentence where they do not fit."""

import pytest
from torch_operators import timm, torch
from tried_backbones import SIZE, loaded, pixels, recipe, saved

from simsearch.classifier.finetune.backbones import load_backbone
from simsearch.classifier.finetune.weights import fill, read_weights
from simsearch.errors import TrainingError


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


# -- weights from a file -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("backbone", "size"), [("timm:test_vit", SIZE), ("timm:test_resnet", 64), ("cnn:3", 64)])
def test_weights_go_to_a_file_and_come_back(backbone, size, tmp_path):
    first = loaded(backbone, size)
    path = saved(first.network.state_dict(), tmp_path / "some.safetensors")
    again = load_backbone(recipe(backbone, size, weights=path)).eval()
    assert torch.equal(first(pixels(size)), again(pixels(size)))
    assert again.state_dict().keys() == first.state_dict().keys()


def test_classifiers_of_a_file_are_left_out_and_half_precision_is_widened(tmp_path):
    torch.manual_seed(4)
    plain = timm.create_model("test_resnet", num_classes=7).eval()
    state = {name: value.half() for name, value in plain.state_dict().items() if "num_batches" not in name}
    state |= {"AuxLogits.fc.weight": torch.ones(7, 3)}  # as files of Inception have it
    path = saved(state, tmp_path / "half.safetensors")
    found = load_backbone(recipe("timm:test_resnet", 64, weights=path)).eval()
    assert {value.dtype for value in found.parameters()} == {torch.float32}
    assert torch.equal(found.network.conv1[0].weight, plain.conv1[0].weight.half().float())
    assert torch.allclose(found(pixels(64)), plain.forward_features(pixels(64)), atol=0.05)


def test_a_file_may_hold_what_only_a_classifier_needs(tmp_path):
    torch.manual_seed(6)
    plain = timm.create_model("mobilenetv3_small_050", num_classes=3).eval()
    path = saved(plain.state_dict(), tmp_path / "whole.safetensors")
    found = load_backbone(recipe("timm:mobilenetv3_small_050", 64, weights=path)).eval()
    assert torch.allclose(found(pixels(64)), plain.forward_features(pixels(64)), atol=1e-6)
    assert "conv_head.weight" in plain.state_dict().keys() - found.network.state_dict().keys()


def test_a_checkpoints_architecture_needs_no_weights(tmp_path):
    missing = str(tmp_path / "gone.safetensors")
    assert load_backbone(recipe(weights=missing), weights=False).width == 64
    assert load_backbone(recipe(weights="hub"), weights=False).width == 64


def test_weights_that_are_not_there_or_no_such_file_are_named(tmp_path):
    with pytest.raises(TrainingError, match=r"no weights at .*gone\.safetensors; write hub, none, or"):
        load_backbone(recipe(weights=str(tmp_path / "gone.safetensors")))
    (tmp_path / "bad.safetensors").write_bytes(b"no tensors in here")
    with pytest.raises(TrainingError, match=r"bad\.safetensors cannot be read as a \.safetensors file"):
        load_backbone(recipe(weights=str(tmp_path / "bad.safetensors")))
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(TrainingError, match=r"folder\.safetensors cannot be read as a \.safetensors file"):
        read_weights(tmp_path / "folder.safetensors")
    with pytest.raises(TrainingError, match=r"weights are 'resnet\.pth'; write hub, none, or the path of a \.safeten"):
        load_backbone(recipe(weights="resnet.pth"))


def test_weights_of_another_architecture_say_which_names_differ(tmp_path):
    path = saved(loaded("timm:test_resnet", 64).network.state_dict(), tmp_path / "resnet.safetensors")
    with pytest.raises(TrainingError) as refused:
        load_backbone(recipe(weights=path))
    said = str(refused.value)
    assert said.startswith(f"{path} does not fit timm:test_vit: of 78 names, 78 missing (cls_token; pos_embed; ")
    assert "75 that the network lacks (bn1.bias; " in said
    assert said.endswith("; take the file of this very architecture")


def test_one_tensor_missing_or_of_another_shape_is_refused_and_nothing_changes(tmp_path):
    first, other = loaded("timm:test_resnet", 64), loaded("timm:test_resnet", 64)
    state = first.network.state_dict()
    for value in other.parameters():
        value.zero_()
    short = {name: value for name, value in state.items() if name != "conv1.0.weight"}
    with pytest.raises(TrainingError, match=r"^F: of 75 names, 1 missing \(conv1\.0\.weight\); take"):
        fill(other.network, short, (), "F")
    wide = state | {"conv1.0.weight": torch.ones(4, 3, 3, 3)}
    shapes = r"1 of another shape \(conv1\.0\.weight, 4 x 3 x 3 x 3 in the file and \d+ x 3 x 3 x 3 in the network\)"
    with pytest.raises(TrainingError, match=shapes):
        fill(other.network, wide, (), "F")
    assert all(not value.any() for value in other.parameters())


@pytest.mark.parametrize("shape", [(1, 1, 64), (1, 7, 64), (1, 10, 32), (64,)])
def test_positions_that_cannot_be_resampled_are_of_another_shape(shape):
    network = loaded().network
    with pytest.raises(TrainingError, match=r"^F: of 78 names, 1 of another shape \(pos_embed, .* in the file and 1 x"):
        fill(network, network.state_dict() | {"pos_embed": torch.zeros(shape)}, (), "F")


# -- weights from the hub ----------------------------------------------------------------------------------------------


@pytest.fixture
def hub_folder(tmp_path, monkeypatch):
    """An empty folder in which the hub's client looks for what it downloaded; it may not go online."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def test_weights_of_the_hub_are_those_that_were_downloaded(hub_folder):
    torch.manual_seed(5)
    plain = timm.create_model("test_vit", num_classes=1000).eval()
    commit = hub_folder / "models--timm--test_vit.r160_in1k"
    (commit / "snapshots" / ("0" * 40)).mkdir(parents=True)
    (commit / "refs").mkdir()
    (commit / "refs" / "main").write_text("0" * 40)
    saved(plain.state_dict(), commit / "snapshots" / ("0" * 40) / "model.safetensors")
    plain.set_input_size(img_size=(SIZE, SIZE))
    for name in ("timm:test_vit", "timm:test_vit.r160_in1k"):
        found = load_backbone(recipe(name, weights="hub")).eval()
        assert torch.allclose(found(pixels()), plain.forward_features(pixels()), atol=1e-6)


def test_weights_that_cannot_be_downloaded_say_what_was_wanted_and_what_to_do(hub_folder):
    with pytest.raises(TrainingError) as refused:
        load_backbone(recipe(weights="hub"))
    said = str(refused.value)
    assert said.startswith("the weights of timm:test_vit (timm/test_vit.r160_in1k) cannot be had: ")
    assert said.endswith("elsewhere and give the .safetensors file, with --weights FILE or as `weights` of the recipe")
    assert "\n" not in said


def test_architectures_without_weights_say_so():
    with pytest.raises(
        TrainingError, match=r"no weights for 'test_vit4'; the nearest are test_vit.*, or write weights"
    ):
        load_backbone(recipe("timm:test_vit4", weights="hub"))
    with pytest.raises(TrainingError, match=r"cnn:3 has no weights on the hub; write weights: none, or"):
        load_backbone(recipe("cnn:3", weights="hub"))
