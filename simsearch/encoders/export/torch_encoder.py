"""An encoder of pictures, or of pictures and texts, that runs in torch, as a model folder."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import nn

from simsearch.encoders.base import Pixels, TextEncoder
from simsearch.encoders.export.folder import (
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
from simsearch.encoders.export.graph import TEXT_INPUT, as_graph, check_onnx, to_bytes
from simsearch.encoders.export.pictures import files_in, gathered
from simsearch.encoders.export.prompts import PROMPTS
from simsearch.encoders.export.tokens import write_tokenizer
from simsearch.encoders.locations import parse_location
from simsearch.encoders.onnx import TEXT, OnnxTextEncoder
from simsearch.encoders.torch_run import TorchEncoder
from simsearch.errors import TrainingError
from simsearch.records import Preprocessing
from simsearch.watch import Watch, silent

SEED = 0
OF_RUNS = {"size": "--size", "resize": "--resize", "quantise": "--quantise"}
"""Wishes that only a fine-tuned run can fulfil: a published network takes what it was trained for."""


def export_towers(
    encoder: Any, to: Path, wishes: Wishes | None = None, works: Iterable[Path] = (), watch: Watch = silent
) -> Exported:
    """Writes the model folder `to` of an encoder in torch, with its text tower and tokenizer where it has them.

    Its image tower is compared with the folder on images: of the folder that was wished for, else of `works` (of the
    collection), else painted ones; its text tower on :data:`PROMPTS`. The folder appears under its name only when each
    agrees to `folder.LEAST_COSINE`. Raises TrainingError.
    """
    wishes = wishes or Wishes()
    check_onnx()
    refuse_taken(to)
    _refuse(encoder, wishes)
    rule: Preprocessing = encoder.info.preprocessing
    pixels, whose = _pictures(works, rule, wishes)
    with aside(to) as folder:
        card = _card(encoder, wishes, wishes.name or to.resolve().name)
        size = _write_image(encoder, folder, card, wishes, pixels, whose, watch)
        text_size = _write_text(encoder, folder, card, wishes, watch) if isinstance(encoder, TextEncoder) else None
        write_card(folder, card)
    return Exported(to, card, size, text_bytes=text_size)


def _refuse(encoder: Any, wishes: Wishes) -> None:
    if not isinstance(encoder, TorchEncoder):
        raise TrainingError(
            f"{encoder.info.name} does not run in torch, so there is nothing to export; name a run of finetune, or an "
            "encoder such as clip:ViT-B-32/laion2b_s34b_b79k or timm:vit_small_patch14_dinov2"
        )
    wished = [option for field, option in OF_RUNS.items() if getattr(wishes, field) is not None]
    if wished:
        raise TrainingError(
            f"{' and '.join(wished)} can be had for runs of finetune only; {encoder.info.name} is exported as it is, "
            "so leave it away"
        )


def _pictures(works: Iterable[Path], rule: Preprocessing, wishes: Wishes) -> tuple[Pixels, str]:
    if wishes.images:
        return gathered(files_in(wishes.images, "to compare by"), rule, wishes.check, SEED, "of a folder")
    return gathered(works, rule, wishes.check, SEED, "of the collection")


# -- the image tower ---------------------------------------------------------------------------------------------------


def _write_image(
    encoder: TorchEncoder, folder: Path, card: dict[str, Any], wishes: Wishes, pixels: Pixels, whose: str, watch: Watch
) -> int:
    """Writes `image.onnx`, compares it, and gives its bytes."""
    watch("embedding with torch", 0, len(pixels))
    expected = encoder.embed_images(pixels)  # before the tower is traced: what it keeps for later is then real numbers
    watch("writing the image tower as ONNX", 0, 1)
    size = encoder.info.preprocessing.size
    data = _network(encoder, encoder.tower, torch.zeros(2, 3, size, size), wishes)
    written = write_network(folder, data, card, wishes.revision)
    watch("comparing with the network", 0, len(pixels))
    card["agreement"] = agreement(expected, rows_by_folder(written, pixels)) | {"images": whose}
    check(card["agreement"], wishes.storage, "images", _way_out(encoder))
    return len(data)


def _network(encoder: TorchEncoder, tower: nn.Module, example: torch.Tensor, wishes: Wishes, **names: str) -> bytes:
    with torch.no_grad():
        graph = as_graph(tower, example, encoder.info.name, **names, way_out=_way_out(encoder))
    return to_bytes(graph, wishes.storage)


def _way_out(encoder: TorchEncoder) -> str:
    return f"go on using {encoder.location} with torch, or take another network"


# -- the text tower ----------------------------------------------------------------------------------------------------


def _write_text(encoder: Any, folder: Path, card: dict[str, Any], wishes: Wishes, watch: Watch) -> int:
    """Writes `text.onnx` and `tokenizer.json`, compares them, and gives the bytes of the network."""
    who = encoder.info.name
    rule = write_tokenizer(encoder.tokenizer, encoder.context_length, folder, who)
    watch("writing the text tower as ONNX", 0, 1)
    example = torch.as_tensor(encoder.tokenizer(["a painting", "an oil painting of the sea"])).long()
    data = _network(encoder, encoder.text_tower, example, wishes, name=TEXT_INPUT)
    (folder / TEXT).write_bytes(data)
    card |= {
        "context_length": rule.context_length, "pad_id": rule.pad_id, "text_cleaning": rule.text_cleaning,
        "text_parameters": _used_by_texts(encoder.network), **_scales(encoder.network),
    }  # fmt: skip
    write_card(folder, card)
    watch("comparing texts with the network", 0, len(PROMPTS))
    card["text_agreement"] = agreement(_said(encoder), _said(OnnxTextEncoder(folder))) | {"texts": "prompts.PROMPTS"}
    check(card["text_agreement"], wishes.storage, "texts", _way_out(encoder))
    return len(data)


def _said(encoder: Any) -> Any:
    """What an encoder makes of the prompts. That the longest is cut is meant, and nobody has to be told."""
    notice, encoder.notice = encoder.notice, lambda sentence: None
    try:
        return encoder.embed_texts(PROMPTS)
    finally:
        encoder.notice = notice


def _used_by_texts(network: Any) -> int:
    """Numbers in the weights of all but the image tower."""
    seen = {id(weights) for weights in network.visual.parameters()}
    return sum(weights.numel() for weights in network.parameters() if id(weights) not in seen and weights.ndim)


def _scales(network: Any) -> dict[str, float]:
    """What the network multiplies cosines with, and adds to them, before it takes them for logits."""
    scale, bias = getattr(network, "logit_scale", None), getattr(network, "logit_bias", None)
    out = {} if scale is None else {"logit_scale": round(math.exp(float(scale.detach())), 4)}
    return out if bias is None else out | {"logit_bias": round(float(bias.detach()), 4)}


# -- the card ----------------------------------------------------------------------------------------------------------


def _card(encoder: TorchEncoder, wishes: Wishes, name: str) -> dict[str, Any]:
    info = encoder.info
    rule = info.preprocessing
    tower: Any = encoder.network.visual if isinstance(encoder, TextEncoder) else encoder.tower  # type: ignore[attr-defined]
    return {
        "name": name, "revision": "", "dim": info.dim, "input_size": rule.size, "resize": rule.resize,
        "interpolation": rule.interpolation, "mean": list(rule.mean), "std": list(rule.std),
        "pooling": "the network's own", "licence": wishes.licence, "storage": wishes.storage,
        "parameters": sum(weights.numel() for weights in tower.parameters()),
        "exported_from": {"encoder": _portable(encoder.location), "name": info.name, "digest": info.digest},
    }  # fmt: skip


def _portable(location: str) -> str:
    """A location without the folders of this machine."""
    parsed = parse_location(location)
    if parsed is None:
        return location
    for value in (getattr(parsed, field.name) for field in fields(parsed)):
        if value is not None and Path(str(value)).is_absolute():
            location = location.replace(str(value), Path(str(value)).name)
    return location
