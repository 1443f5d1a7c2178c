"""The graph of a trained network gives what the network gives, however its weights are kept."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
from exported_runs import by_network, drawn_pictures, fitted, folder_of, optimised, run_of, small_cnn
from torch_operators import torch

from simsearch.classifier.finetune import export
from simsearch.classifier.finetune.export import network_graph
from simsearch.classifier.finetune.network import load_network
from simsearch.encoders.export import quantise
from simsearch.encoders.export.graph import to_bytes
from simsearch.errors import TrainingError


@pytest.fixture(scope="module")
def cnn(tmp_path_factory):
    return small_cnn(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    """A finished run of a small vision transformer."""
    return run_of(tmp_path_factory.mktemp("runs") / "vit", backbone="timm:test_vit", input_size=64)


@pytest.fixture(scope="module")
def graphs(cnn, vit):
    """Each network with its graph."""
    networks = {"cnn": load_network(cnn), "vit": load_network(vit)}
    return {name: (network, network_graph(network, network.recipe.input_size)) for name, network in networks.items()}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return drawn_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.mark.parametrize("name", ["cnn", "vit"])
@pytest.mark.parametrize(("storage", "least"), [("float32", 0.999999), ("float16", 0.99999), ("int8", 0.999)])
def test_the_folder_gives_the_embeddings_of_the_network(graphs, pictures, tmp_path, name, storage, least):
    encoder = folder_of(graphs, name, storage, tmp_path)
    pixels = fitted(pictures, encoder)
    rows = encoder.embed_images(pixels)
    expected = by_network(graphs[name][0], pixels)
    assert rows.shape == (7, 40)
    assert (rows * expected).sum(1).min() >= least
    assert abs(rows @ rows.T - expected @ expected.T).max() < 5e-3, "and pictures are as alike"


@pytest.mark.parametrize("name", ["cnn", "vit"])
def test_a_picture_alone_gives_what_it_gives_among_seven(graphs, pictures, tmp_path, name):
    encoder = folder_of(graphs, name, "int8", tmp_path)
    pixels = fitted(pictures, encoder)
    together = encoder.embed_images(pixels)
    alone = np.concatenate([encoder.embed_images(one[None]) for one in pixels])
    assert abs(together - alone).max() < 1e-5
    assert not np.allclose(together[0], together[1], atol=1e-3)


def test_parts_are_centred_and_as_long_as_the_recipe_says(graphs, pictures, tmp_path):
    rows = (encoder := folder_of(graphs, "cnn", "float32", tmp_path)).embed_images(fitted(pictures, encoder))
    lengths = np.linalg.norm(rows[:, :24], axis=1), np.linalg.norm(rows[:, 24:], axis=1)
    assert lengths[1] / lengths[0] == pytest.approx(0.4, abs=1e-4)


@pytest.mark.parametrize("name", ["cnn", "vit"])
@pytest.mark.parametrize("storage", ["float16", "int8"])
def test_weights_are_float32_again_once_loaded(graphs, tmp_path, name, storage):
    small = folder_of(graphs, name, storage, tmp_path).folder / "image.onnx"
    whole = folder_of(graphs, name, "float32", tmp_path).folder / "image.onnx"
    held = Counter(node.op_type for node in onnx.load(small).graph.node)
    assert held["Cast"] > 3
    assert optimised(small, tmp_path) == optimised(whole, tmp_path), "nothing is left to do for every image"


@pytest.mark.parametrize("name", ["cnn", "vit"])
def test_files_are_about_a_half_and_a_quarter_as_large(graphs, tmp_path, name):
    sizes = [
        (folder_of(graphs, name, storage, tmp_path).folder / "image.onnx").stat().st_size
        for storage in ("float32", "float16", "int8")
    ]
    numbers = sum(p.numel() for p in graphs[name][0].parameters())
    assert sizes[0] >= 4 * numbers
    assert sizes[1] < 0.55 * sizes[0]
    assert sizes[2] < 0.35 * sizes[0]


def test_int8_weights_are_the_nearest_of_255_levels_of_their_group(graphs, tmp_path):
    _, graph = graphs["vit"]
    before = {t.name: onnx.numpy_helper.to_array(t) for t in graph.graph.initializer}
    stored = onnx.load(folder_of(graphs, "vit", "int8", tmp_path).folder / "image.onnx")
    after = {t.name: onnx.numpy_helper.to_array(t) for t in stored.graph.initializer}
    kept = [name.removesuffix(".int8") for name in after if name.endswith(".int8")]
    blocks = len(graphs["vit"][0].backbone.network.blocks)
    assert len(kept) == 4 * blocks + 2, "queries, projection and two layers of each block, and a part each"
    products = {i for node in graph.graph.node if node.op_type == "MatMul" for i in node.input}
    for name in kept:
        levels, scale = after[f"{name}.int8"], after[f"{name}.scale"]
        first, last = before[name].shape  # a product's output channels are the last, a layer's the first
        assert levels.shape == ((first // 64, 64, last) if name in products else (first, last // 64, 64))
        assert np.array_equal(scale.shape, np.where(np.arange(3) == (1 if name in products else 2), 1, levels.shape))
        assert abs(levels).max() == 127
        assert (abs(levels * scale - before[name].reshape(levels.shape)) <= scale / 2 * 1.0001).all()
    halves = [name.removesuffix(".float16") for name in after if name.endswith(".float16")]
    assert sorted(before[name].shape for name in halves) == [(1, 17, 64), (64, 3, 16, 16)], "position and first layer"
    assert all(np.array_equal(after[name], before[name]) for name in before if name in after)


def test_a_channel_of_zeros_and_what_float16_cannot_hold_survive(tmp_path):
    helper = onnx.helper
    weights = np.zeros((64, 32), np.float32)
    weights[:, 1:] = np.linspace(-1, 1, 64)[:, None]
    weights[0, 1] = 1e6
    given = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 64])
    gives = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 32])
    held = [onnx.numpy_helper.from_array(weights, "w")]
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [given], [gives], held)
    x = np.random.default_rng(0).normal(size=(3, 64)).astype(np.float32)
    for storage, error in (("float16", 1e-6), ("int8", 0.01)):
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        session = onnxruntime.InferenceSession(to_bytes(model, storage), providers=["CPUExecutionProvider"])
        found = session.run(None, {"x": x})[0]
        assert (found[:, 0] == 0).all()
        assert abs(found - x @ weights).max() <= error * abs(x @ weights).max()


def test_the_same_network_gives_the_same_bytes_without_paths_of_this_machine(graphs, cnn):
    _, graph = graphs["cnn"]
    again = network_graph(load_network(cnn), 32).SerializeToString(deterministic=True)
    assert again == graph.SerializeToString(deterministic=True)
    assert b".py" not in again
    assert str(cnn).encode() not in again


def test_another_size_is_seen_with_the_position_embedding_resampled(vit, tmp_path, pictures):
    network = load_network(vit)
    export._take_size(network, 96)
    assert network.embed(torch.zeros(2, 3, 96, 96)).shape == (2, 40)
    grid = network.backbone.network.patch_embed.grid_size
    assert grid == (6, 6)
    with pytest.raises(TrainingError, match=r"timm:test_vit takes no images of 90 x 90 pixels \(its patches are of 16"):
        export._take_size(network, 90)


def test_products_of_two_activations_stay_float32(graphs, tmp_path, pictures):
    encoder = folder_of(graphs, "vit", "float32", tmp_path)
    pixels = fitted(pictures, encoder)
    quantise.quantise(encoder.folder / "image.onnx", pixels, encoder.info.preprocessing, tmp_path / "int8.onnx")
    run = optimised(tmp_path / "int8.onnx", tmp_path)
    blocks = len(graphs["vit"][0].backbone.network.blocks)
    assert run["QLinearMatMul"] >= 4 * blocks
    assert run["MatMul"] + run["FusedMatMul"] == 2 * blocks
