"""What a model of open_clip is made of: its architecture, how it is fed, and the file with its weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip

from simsearch.encoders.checkpoints import nearest
from simsearch.encoders.hub import hub_file
from simsearch.encoders.locations import ClipLocation
from simsearch.errors import EncoderError

CONFIG = "open_clip_config.json"
WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
PARTS = ("embed_dim", "vision_cfg", "text_cfg")


@dataclass(frozen=True)
class Source:
    """All that makes a model of open_clip."""

    name: str
    """What it is called, without its family: ViT-B-32-laion2b_s34b_b79k."""
    architecture: dict[str, Any]
    preprocessing: dict[str, Any]
    """Keys of open_clip: mean, std, interpolation, resize_mode; what is lacking is open_clip's default."""
    weights: Path
    published: bool
    """Whether the name says which weights these are; a local file's does not."""
    folder: Path | None = None
    """Where files of the tokenizer would lie."""


def find_source(location: ClipLocation) -> Source:
    """What a location is made of, downloaded where it must be.

    Raises EncoderError with the nearest names for a model or weights that open_clip does not know, and with what was
    wanted, where it was looked for and how to do without for what cannot be had.
    """
    if location.kind == "tag":
        return _of_tag(location)
    if location.kind == "checkpoint":
        return _of_checkpoint(location)
    return _of_folder(location) if location.kind == "folder" else _of_hub(location)


def _of_tag(location: ClipLocation) -> Source:
    name = location.name
    architecture = _known_architecture(name)
    tags = open_clip.list_pretrained_tags_by_model(name)
    there = f"there are {', '.join(tags)}" if tags else "open_clip publishes none"
    way = f"or name a file with clip:{name}?weights=FILE"
    if not location.tag:
        raise EncoderError(f"clip:{name} names no weights: {there}; write clip:{name}/TAG, {way}")
    published = open_clip.get_pretrained_cfg(name, location.tag)
    if not published:
        raise EncoderError(f"{name} has no weights {location.tag!r}{nearest(location.tag, tags, f'{there}, {way}')}")
    # what the weights were trained with; an architecture of the same name may say otherwise
    architecture["quick_gelu"] = bool(published.get("quick_gelu", False))
    weights = location.weights
    if weights is None:
        repository, _, file = str(published.get("hf_hub") or "").rpartition("/")
        if not repository:
            raise EncoderError(
                f"the weights of {location} are not on the hub; get {published.get('url') or 'them'} and write "
                f"{location}?weights=FILE"
            )
        weights = hub_file(
            repository, _names(file), f"the weights of {location}",
            f"go online, or get the file elsewhere and write {location}?weights=FILE",
        )  # fmt: skip
    return Source(f"{name}-{location.tag}", architecture, published, weights, published=location.weights is None)


def _of_checkpoint(location: ClipLocation) -> Source:
    assert location.weights is not None
    if not location.name.endswith(".json"):
        return Source(location.name, _known_architecture(location.name), {}, location.weights, published=False)
    path = Path(location.name)
    architecture, preprocessing = _read_config(path)
    return Source(path.stem, architecture, preprocessing, location.weights, published=False, folder=path.parent)


def _of_folder(location: ClipLocation) -> Source:
    folder = Path(location.name)
    if not folder.is_dir():
        raise EncoderError(f"there is no folder {folder}; {location} needs one with {CONFIG} and {WEIGHTS[0]}")
    architecture, preprocessing = _read_config(folder / CONFIG)
    for name in WEIGHTS:
        if (folder / name).is_file():
            return Source(folder.name, architecture, preprocessing, folder / name, published=False, folder=folder)
    raise EncoderError(f"{folder} holds no weights: neither {' nor '.join(WEIGHTS)}; put one of them there")


def _of_hub(location: ClipLocation) -> Source:
    way = f"go online, or get {CONFIG} and {WEIGHTS[0]} elsewhere, put both into a folder and write clip:FOLDER"
    config = hub_file(location.name, (CONFIG,), f"{location}", way)
    architecture, preprocessing = _read_config(config)
    weights = hub_file(location.name, WEIGHTS, f"the weights of {location}", way)
    return Source(location.name.replace("/", "-"), architecture, preprocessing, weights, published=True)


def _names(file: str) -> tuple[str, ...]:
    """The files to ask for: of a name with pickled weights the .safetensors beside it first."""
    if not file:
        return WEIGHTS
    safe = Path(file).with_suffix(".safetensors").name
    return (file,) if safe == file else (safe, file)


def _known_architecture(name: str) -> dict[str, Any]:
    found = open_clip.get_model_config(name)
    if found is None:
        known = open_clip.list_models()
        raise EncoderError(
            f"open_clip has no model {name!r}{nearest(name, known, 'open_clip.list_models() tells what there is')}"
        )
    return dict(deepcopy(found))


def _read_config(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """(architecture, preprocessing) of a JSON file: of a whole model, or of its architecture alone."""
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise EncoderError(f"there is no {path}, which says what the model is built like") from error
    except (OSError, ValueError) as error:
        raise EncoderError(f"{path} is not the JSON file of a model: {error}") from error
    inner = held.get("model_cfg", held) if isinstance(held, Mapping) else {}
    lacking = [part for part in PARTS if not isinstance(inner, Mapping) or part not in inner]
    if lacking:
        raise EncoderError(f"{path} is no model of open_clip: it lacks {', '.join(lacking)}")
    architecture = {key: value for key, value in inner.items() if key != "preprocess_cfg"}
    return architecture, dict(held.get("preprocess_cfg") or {})
