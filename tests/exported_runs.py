"""Finished runs of untrained, seeded networks, and their graphs: what the tests of exporting start from."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from labelled_works import painted
from torch_operators import torch

from simsearch import images
from simsearch.classifier.finetune.backbones import load_backbone, normalised
from simsearch.classifier.finetune.network import Network, save_network
from simsearch.classifier.finetune.recipe import Part, Recipe
from simsearch.encoders.export.graph import to_bytes
from simsearch.encoders.onnx import OnnxEncoder

PARTS = (Part("semantic", 24), Part("instance", 16, 0.4))
FIGURES = {"style_p10": 0.5}


def run_of(folder: Path, **recipe) -> Path:
    """The folder of a finished run of untrained, seeded weights."""
    torch.manual_seed(5)
    how = Recipe(name=folder.name, parts=PARTS, **recipe)
    network = Network(how, load_backbone(how)).eval()
    for part in PARTS:  # as a run leaves them: the mean of what the works give
        network.centre(part.name).copy_(torch.randn(part.dim) * 0.01)
    for module in network.modules():  # statistics of batches, so that folding them is not folding nothing
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    save_network(network, folder, {"figures": FIGURES, "base_weights": "none", "steps": 3, "device": "cpu"})
    return folder


def small_cnn(folder: Path) -> Path:
    """A finished run of a small CNN."""
    return run_of(folder / "small", backbone="cnn:3", input_size=32)


def drawn_pictures(folder: Path) -> list[Path]:
    """Seven painted pictures of other shapes than a square."""
    painted(folder, 7)
    return sorted((folder / "art").glob("*.png"))


def folder_of(graphs, name, storage, tmp_path):
    """The encoder of a graph whose weights are kept so."""
    network, graph = graphs[name]
    copy = onnx.ModelProto()
    copy.CopyFrom(graph)
    folder = tmp_path / f"{name}-{storage}"
    folder.mkdir()
    (folder / "image.onnx").write_bytes(to_bytes(copy, storage))
    card = {
        "name": name, "revision": "1", "dim": network.dim, "input_size": network.recipe.input_size, "resize": "squash",
        "interpolation": "bicubic", "mean": list(network.backbone.mean), "std": list(network.backbone.std),
        "pooling": "", "licence": "",
    }  # fmt: skip
    (folder / "card.json").write_text(json.dumps(card))
    return OnnxEncoder(folder)


def fitted(paths, encoder):
    pictures = [images.decode(path.read_bytes(), path.name) for path in paths]
    return np.stack([images.fit(picture, encoder.info.preprocessing) for picture in pictures])


def by_network(network, pixels):
    with torch.inference_mode():
        return network.embed(normalised(torch.from_numpy(pixels), network.backbone)).numpy()


def optimised(path, folder):
    """Operators of the graph that onnxruntime runs, and how many there are of each."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(folder / "optimised.onnx").graph.node)
