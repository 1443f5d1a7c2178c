#!/usr/bin/env python3
"""Turns a timm checkpoint folder into an ONNX model folder, which simsearch runs without torch.

    python make_onnx_folder.py SRC DEST [--pooling class|mean|class+mean] [--size 224]

SRC holds ``model.safetensors`` (timm's parameter names) and ``card.json`` (name, timm, dim, input_size, licence,
resize, mean, std). DEST gets ``image.onnx``, all weights inside it, and a ``card.json`` that says how to feed it:

- input ``pixels``: float32 (n, 3, size, size), already normalised with the card's mean and std;
- output ``embedding``: float32 (n, dim), not of unit length.

Nothing is written unless onnxruntime agrees with torch. Needs torch, timm, onnx, onnxscript, onnxruntime, safetensors.
"""

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import timm
import torch
from safetensors.torch import load_file

OPSET = 18
LEAST_COSINE = 0.9999
POOLINGS = ("class", "mean", "class+mean")


class Embedder(torch.nn.Module):
    """A timm network cut off before its classifier, pooled to one vector for each image."""

    def __init__(self, network: torch.nn.Module, pooling: str) -> None:
        super().__init__()
        self.network, self.pooling = network, pooling
        self.prefix = int(getattr(network, "num_prefix_tokens", 0))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        features = self.network.forward_features(pixels)
        if features.ndim == 4:  # a convolutional feature map: (n, dim, height, width)
            return features.mean((2, 3))
        pooled = {"class": features[:, 0], "mean": features[:, self.prefix :].mean(1)}
        return torch.cat([pooled[part] for part in self.pooling.split("+")], 1)


def build(source: Path, card: dict[str, Any], pooling: str | None, size: int) -> Embedder:
    """Loads the checkpoint, with every one of the network's own parameters accounted for."""
    network = timm.create_model(card["timm"], pretrained=False, num_classes=0)
    missing, unexpected = network.load_state_dict(load_file(source / "model.safetensors"), strict=False)
    unexpected = [key for key in unexpected if not key.startswith(("classifier.", "head.", "fc."))]
    if missing or unexpected:
        raise SystemExit(f"The checkpoint does not fit {card['timm']}: missing {missing}, unexpected {unexpected}.")
    if getattr(network, "num_prefix_tokens", 0):
        network.set_input_size(img_size=(size, size))  # resamples the position embedding: bicubic, antialiased
        return Embedder(network, pooling or "class").eval()
    if pooling not in (None, "mean"):
        raise SystemExit(f"{card['timm']} has no class token: its pooling can only be mean.")
    return Embedder(network, "mean").eval()


def export(model: Embedder, size: int) -> bytes:
    """Exports the network with a dynamic batch axis, without the stack traces that torch notes on each node."""
    example = (torch.randn(2, 3, size, size),)
    options: dict[str, Any] = {"input_names": ["pixels"], "output_names": ["embedding"], "opset_version": OPSET}
    shapes = {"pixels": {0: torch.export.Dim("n")}}
    proto = torch.onnx.export(model, example, dynamo=True, dynamic_shapes=shapes, **options).model_proto
    graph = proto.graph
    for part in (proto, graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        part.ClearField("metadata_props")
    onnx.checker.check_model(proto)
    return proto.SerializeToString(deterministic=True)


def check(model: Embedder, exported: bytes, size: int) -> int:
    """Compares onnxruntime with torch on random batches, and returns the embedding's length."""
    session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    for count in (3, 1):
        pixels = torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(count))
        embedding = torch.from_numpy(session.run(["embedding"], {"pixels": pixels.numpy()})[0])
        cosine = torch.nn.functional.cosine_similarity(embedding, model(pixels)).min().item()
        if not cosine >= LEAST_COSINE:  # so written that a NaN fails too
            raise SystemExit(f"onnxruntime and torch differ on a batch of {count}: cosine {cosine:.6f}.")
    return embedding.shape[1]


@torch.no_grad()
def main() -> None:
    """Reads the command line, and writes DEST only once the exported network has passed its check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, metavar="SRC")
    parser.add_argument("dest", type=Path, metavar="DEST")
    parser.add_argument("--pooling", choices=POOLINGS, help="default: class for a transformer, mean otherwise")
    parser.add_argument("--size", type=int, help="side of the input in pixels (default: the card's input_size)")
    args = parser.parse_args()
    card = json.loads((args.source / "card.json").read_text(encoding="utf-8"))
    if (args.dest / "model.safetensors").exists():
        raise SystemExit("DEST holds a checkpoint, whose card would be overwritten: name another folder.")
    if card["resize"] != "square, bicubic":
        raise SystemExit(f"Only networks fed bicubic squares can be described here, not {card['resize']!r}.")
    size = args.size or int(card["input_size"])
    model = build(args.source, card, args.pooling, size)
    exported = export(model, size)
    origin = f"from the package {card.get('package', '(not named)')}, run as {card['timm']} of timm {timm.__version__}"
    resampled = ", its position embedding resampled with antialiasing" if model.prefix else ""
    described = {
        **{key: card[key] for key in ("name", "mean", "std", "licence")},
        **{"resize": "squash", "interpolation": "bicubic", "input_size": size, "pooling": model.pooling},
        **{"dim": check(model, exported, size), "revision": hashlib.sha256(exported).hexdigest()[:12]},
        "source": f"Weights {origin}{resampled}.",
    }
    args.dest.mkdir(parents=True, exist_ok=True)
    (args.dest / "image.onnx").write_bytes(exported)
    (args.dest / "card.json").write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
