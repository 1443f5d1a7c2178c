"""A finished run as an ONNX model folder, which embeds without torch, once it was seen to say what the network says."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from simsearch.classifier.finetune.backbones import normalised
from simsearch.classifier.finetune.held_out import QUERIES, divided, drawn, likeness_figures
from simsearch.classifier.finetune.necks import ConvLstmNeck
from simsearch.classifier.finetune.network import CARD as NETWORK_CARD
from simsearch.classifier.finetune.network import Network, load_network, parameters_in
from simsearch.classifier.finetune.recipe import Recipe, as_data
from simsearch.classifier.finetune.works import load_works
from simsearch.classifier.prepare import VAL
from simsearch.collection import Collection
from simsearch.encoders.base import Pixels
from simsearch.encoders.export.folder import (
    BATCH,
    Exported,
    Wishes,
    agreement,
    aside,
    check,
    refuse_taken,
    rows_by_folder,
    write_card,
    write_network,
)
from simsearch.encoders.export.graph import as_graph, check_onnx, to_bytes
from simsearch.encoders.export.pictures import files_in, fitted, gathered
from simsearch.encoders.export.quantise import CALIBRATION_IMAGES, Quantised, quantise, rates
from simsearch.encoders.onnx import OnnxEncoder
from simsearch.errors import TrainingError
from simsearch.exporting import works_of
from simsearch.records import Preprocessing
from simsearch.vectors import Rows
from simsearch.watch import Watch, silent

KINDS = ("style", "genre", "artist")
KEPT_FACTS = ("figures", "works", "steps")
OTHERWISE = "take another backbone or neck"


def export_encoder(
    run: Path, to: Path, wishes: Wishes | None = None, *, collection: Collection | None = None, watch: Watch = silent
) -> Exported:
    """Writes the model folder `to` of the finished run in the folder `run`.

    The folder is compared with the network on images of the collection, or on painted ones where there is none; it
    appears under its name only when they agree to `folder.LEAST_COSINE`. Raises TrainingError, LabelError, ImageError.
    """
    wishes = wishes or Wishes()
    check_onnx()
    refuse_taken(to)
    if wishes.quantise == "collection" and collection is None:
        raise TrainingError("there is no collection to calibrate by; name a folder of images with --quantise")
    network = load_network(run)
    rule = Preprocessing(
        wishes.size or network.recipe.input_size,
        wishes.resize or network.recipe.resize,
        mean=network.backbone.mean,
        std=network.backbone.std,
    )
    _take_size(network, rule.size)
    if wishes.images:
        by = files_in(wishes.images, "to compare by")
        pixels, whose = gathered(by, rule, wishes.check, network.recipe.seed, "of a folder")
    else:
        pixels, whose = _pictures(collection, rule, wishes.check, network.recipe.seed)
    with aside(to) as folder:
        watch("writing the network as ONNX", 0, 1)
        graph = network_graph(network, rule.size)
        plain = graph.SerializeToString() if wishes.quantise else b""
        card = _card(network, run, rule, wishes)
        encoder = write_network(folder, to_bytes(graph, wishes.storage), card, wishes.revision)
        card["agreement"] = _agreement(network, encoder, pixels, watch) | {"images": whose}
        check(card["agreement"], wishes.storage, otherwise=OTHERWISE)
        tried = None
        if wishes.quantise:
            other = folder / "quantised"
            tried = _quantised(plain, other, card, pixels, encoder, collection, network.recipe, wishes, watch)
            if tried.kept:
                chosen = OnnxEncoder(other)
                card |= {"revision": chosen.info.revision, "storage": "int8", "arithmetic": "int8 (static)"}
                card["agreement"] = _agreement(network, chosen, pixels, watch) | {"images": whose}
                (other / "image.onnx").replace(folder / "image.onnx")
            rmtree(other)
            card["quantised"] = tried.to_dict()
        write_card(folder, card)
        size = (folder / "image.onnx").stat().st_size
    return Exported(to, card, size, tried)


# -- the folder --------------------------------------------------------------------------------------------------------


def _card(network: Network, run: Path, rule: Preprocessing, wishes: Wishes) -> dict[str, Any]:
    """All that is known before the network is written."""
    recipe = network.recipe
    facts = json.loads((run / NETWORK_CARD).read_text(encoding="utf-8"))
    return {
        "name": wishes.name or run.resolve().name, "revision": "", "dim": network.dim, "input_size": rule.size,
        "resize": rule.resize, "interpolation": rule.interpolation, "mean": list(rule.mean), "std": list(rule.std),
        "pooling": _pooling(network), "licence": wishes.licence, "storage": wishes.storage,
        "parameters": parameters_in(network),
        "backbone": recipe.backbone,
        "base_weights": {"from": _place(recipe.weights), "sha256": facts.get("base_weights", "")},
        **{key: facts[key] for key in KEPT_FACTS if key in facts},
        "recipe": _portable(as_data(recipe)),
    }  # fmt: skip


def _pooling(network: Network) -> str:
    """What the embedding is made of, in words."""
    if isinstance(network.neck, ConvLstmNeck):
        pooled = "a ConvLSTM over three scales with self-attention"
    elif network.backbone.kind == "map":
        pooled = "the mean of the last map"
    else:
        pooled = (
            "the class token and the mean of the patches" if network.backbone.class_token else "the mean of the patches"
        )
    parts = [f"{p.name}, {network.width_of(p.name)} numbers of length {p.weight:g}" for p in network.recipe.parts]
    return f"{pooled}; {'; '.join(parts)}"


def _place(weights: str) -> str:
    """A file's name without the folders of this machine."""
    return weights if weights in ("hub", "none") else Path(weights).name


def _portable(recipe: dict[str, Any]) -> dict[str, Any]:
    recipe["weights"] = _place(recipe["weights"])
    for distill in recipe["distill"]:
        distill["teacher"] = Path(distill["teacher"]).name
        distill["encoder"] = Path(distill["encoder"]).name
    out: dict[str, Any] = json.loads(json.dumps(recipe))  # lists for tuples
    return out


# -- the network -------------------------------------------------------------------------------------------------------


def network_graph(network: Network, size: int) -> Any:
    """The network as an ONNX graph from `pixels` (n, 3, size, size) to `embedding` (n, dim). Raises TrainingError."""
    return as_graph(_Embedder(network), torch.zeros(2, 3, size, size), network.recipe.backbone, way_out=OTHERWISE)


class _Embedder(nn.Module):
    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network.embed(x)


def _take_size(network: Network, size: int) -> None:
    """Makes the network take squares of another side. Raises TrainingError where it cannot."""
    backbone = network.backbone
    inner: Any = backbone.network
    try:
        if size != network.recipe.input_size and hasattr(inner, "set_input_size"):
            patch = inner.patch_embed.feat_ratio()
            if size % patch:
                raise ValueError(f"its patches are of {patch} pixels")
            inner.set_input_size(img_size=(size, size))
        with torch.inference_mode():
            features = backbone(torch.zeros(1, 3, size, size))
            if backbone.kind == "tokens" and isinstance(network.neck, ConvLstmNeck):
                side = round((features.shape[1] - backbone.prefix) ** 0.5)
                network.neck.grid = (side, side)
            network.from_features(features)
    except (AssertionError, ValueError, RuntimeError, IndexError) as error:
        said = " ".join(str(error).split())
        raise TrainingError(
            f"{network.recipe.backbone} takes no images of {size} x {size} pixels ({said}); choose another --size"
        ) from error


def _embedded(network: Network, pixels: Pixels) -> Rows:
    """What the network itself gives, (n, dim)."""
    with torch.inference_mode():
        rows = [
            network.embed(normalised(torch.from_numpy(pixels[i : i + BATCH]), network.backbone)).numpy()
            for i in range(0, len(pixels), BATCH)
        ]
    return np.concatenate(rows)


def _agreement(network: Network, encoder: OnnxEncoder, pixels: Pixels, watch: Watch) -> dict[str, Any]:
    watch("comparing with the network", 0, len(pixels))
    found = agreement(_embedded(network, pixels), rows_by_folder(encoder, pixels))
    watch("comparing with the network", len(pixels), len(pixels))
    return found


# -- int8 arithmetic ---------------------------------------------------------------------------------------------------


def _quantised(
    plain: bytes, folder: Path, card: dict[str, Any], pixels: Pixels, encoder: OnnxEncoder,
    collection: Collection | None, recipe: Recipe, wishes: Wishes, watch: Watch,
) -> Quantised:  # fmt: skip
    """Writes the network with int8 arithmetic to a folder, and holds it against the encoder."""
    rule = encoder.info.preprocessing
    if isinstance(wishes.quantise, Path):
        files = files_in(wishes.quantise, "to calibrate by", "name a folder of images, or `collection`")
        by = fitted(files, rule, CALIBRATION_IMAGES)
    else:
        by, _ = _pictures(collection, rule, CALIBRATION_IMAGES, recipe.seed + 1)
    watch("quantising", 0, len(by))
    folder.mkdir()
    graph = folder / "float32.onnx"
    graph.write_bytes(plain)
    quantise(graph, by, rule, folder / "image.onnx")
    graph.unlink()
    other = write_network(folder, (folder / "image.onnx").read_bytes(), dict(card), wishes.revision)
    both = (encoder, other)
    fast = rates(both, pixels)
    sizes = [(one.folder / "image.onnx").stat().st_size for one in both]
    likeness, works = _likeness(both, collection, recipe, watch) if collection else ({}, 0)
    return Quantised((fast[0], fast[1]), (sizes[0], sizes[1]), likeness, works, wishes.keep_quantised)


def _likeness(
    encoders: tuple[OnnxEncoder, OnnxEncoder], collection: Collection, recipe: Recipe, watch: Watch
) -> tuple[dict[str, tuple[float, float]], int]:
    """({figure: (of the first, of the second)}, works), over works that the run did not learn from."""
    kinds = [kind for kind in KINDS if kind in collection.catalog.label_kinds(said=True)]
    if not kinds:
        return {}, 0
    works = load_works(collection, kinds)
    held = np.flatnonzero(works.parts == VAL)
    if not len(held):
        held = divided(works, recipe)[1]
    places, pixels = [], []
    for place in drawn(held, QUERIES, recipe.seed).tolist():
        picture = fitted([works.paths[place]], encoders[0].info.preprocessing, 1)
        if len(picture):
            places.append(place)
            pixels.append(picture)
        watch("reading works that were held out", len(places), min(len(held), QUERIES))
    if len(places) < 2:
        return {}, 0
    where = np.array(places)
    of = [rows_by_folder(encoder, np.concatenate(pixels)) for encoder in encoders]
    first, second = (likeness_figures(works, where, rows, where, rows, kinds) for rows in of)
    return {name: (first[name], second[name]) for name in first}, len(places)


def _pictures(collection: Collection | None, rule: Preprocessing, count: int, seed: int) -> tuple[Pixels, str]:
    """(`count` images as the rule wants them, whose they are): the collection's as far as they can be read."""
    paths = works_of(collection.catalog, seed) if collection else iter(())
    return gathered(paths, rule, count, seed, "of the collection")
