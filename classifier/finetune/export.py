"""A finished run as an ONNX model folder, which embeds without torch, once it was seen to say what the network says."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from simsearch import images
from simsearch.catalog.catalog import Catalog
from simsearch.classifier.finetune.backbones import normalised
from simsearch.classifier.finetune.held_out import QUERIES, divided, drawn, likeness_figures
from simsearch.classifier.finetune.necks import ConvLstmNeck
from simsearch.classifier.finetune.network import CARD as NETWORK_CARD
from simsearch.classifier.finetune.network import Network, load_network, parameters_in
from simsearch.classifier.finetune.onnx_graph import Storage, as_graph, check_onnx, to_bytes
from simsearch.classifier.finetune.quantise import CALIBRATION_IMAGES, Quantised, quantise, rates
from simsearch.classifier.finetune.recipe import Recipe, as_data
from simsearch.classifier.finetune.works import load_works
from simsearch.classifier.prepare import VAL
from simsearch.collection import Collection
from simsearch.encoders.base import Pixels
from simsearch.encoders.onnx import CARD, OnnxEncoder
from simsearch.errors import ImageError, TrainingError
from simsearch.records import Preprocessing
from simsearch.vectors import Rows
from simsearch.watch import Watch, silent

LEAST_COSINE = {"float32": 0.999, "float16": 0.999, "int8": 0.995}
"""A folder whose embeddings agree less with the network's than this, in one image, is not kept."""
CHECKED = 200
BATCH = 8
KINDS = ("style", "genre", "artist")
KEPT_FACTS = ("figures", "works", "steps")
Resize = Literal["squash", "crop", "pad"]


@dataclass(frozen=True, slots=True)
class Exported:
    """A model folder that was written."""

    folder: Path
    card: dict[str, Any]
    bytes: int
    """Of the network's file."""
    quantised: Quantised | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "folder": str(self.folder), "bytes": self.bytes, "card": self.card,
            "quantised": self.quantised and self.quantised.to_dict(),
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a model folder should be; None and the empty text leave it to the run."""

    name: str = ""
    revision: str = ""
    licence: str = "not stated"
    storage: Storage = "float32"
    size: int | None = None
    resize: Resize | None = None
    check: int = CHECKED
    """Images by which folder and network are compared."""
    quantise: Path | Literal["collection"] | None = None
    """Images to calibrate int8 arithmetic by."""
    keep_quantised: bool = False


def export_encoder(
    run: Path, to: Path, wishes: Wishes | None = None, *, collection: Collection | None = None, watch: Watch = silent
) -> Exported:
    """Writes the model folder `to` of the finished run in the folder `run`.

    The folder is compared with the network on images of the collection, or on painted ones where there is none; it
    appears under its name only when they agree to :data:`LEAST_COSINE`. Raises TrainingError, LabelError, ImageError.
    """
    wishes = wishes or Wishes()
    check_onnx()
    if to.exists() or to.is_symlink():
        raise TrainingError(f"{to} is there already; name another folder, or move it away")
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
    pixels, whose = _pictures(collection, rule, wishes.check, network.recipe.seed)
    with _aside(to) as folder:
        watch("writing the network as ONNX", 0, 1)
        graph = as_graph(network, rule.size)
        plain = graph.SerializeToString() if wishes.quantise else b""
        card = _card(network, run, rule, wishes)
        encoder = _write(folder, to_bytes(graph, wishes.storage), card, wishes)
        card["agreement"] = _agreement(network, encoder, pixels, watch) | {"images": whose}
        _check(card["agreement"], wishes.storage)
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
        _write_card(folder, card)
        size = (folder / "image.onnx").stat().st_size
    return Exported(to, card, size, tried)


# -- the folder --------------------------------------------------------------------------------------------------------


@contextmanager
def _aside(to: Path) -> Iterator[Path]:
    """A folder beside `to` that gets its name at the end, and is gone where anything fails."""
    aside = to.with_name(f".{to.name}.{os.getpid()}")
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        aside.mkdir()
        yield aside
        aside.rename(to)
    except OSError as error:
        raise TrainingError(f"{error.filename or to} cannot be written: {error.strerror or error}") from error
    finally:
        rmtree(aside, ignore_errors=True)


def _write(folder: Path, data: bytes, card: dict[str, Any], wishes: Wishes) -> OnnxEncoder:
    """Writes a network beside its card, which is given its revision."""
    (folder / "image.onnx").write_bytes(data)
    card["revision"] = wishes.revision or hashlib.sha256(data).hexdigest()[:12]
    _write_card(folder, card)
    return OnnxEncoder(folder)


def _write_card(folder: Path, card: dict[str, Any]) -> None:
    (folder / CARD).write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


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


def _by_folder(encoder: OnnxEncoder, pixels: Pixels) -> Rows:
    return np.concatenate([encoder.embed_images(pixels[i : i + BATCH]) for i in range(0, len(pixels), BATCH)])


def _agreement(network: Network, encoder: OnnxEncoder, pixels: Pixels, watch: Watch) -> dict[str, Any]:
    """Least and mean cosine of what folder and network give for the same images."""
    watch("comparing with the network", 0, len(pixels))
    cosines = (_embedded(network, pixels) * _by_folder(encoder, pixels)).sum(1)
    watch("comparing with the network", len(pixels), len(pixels))
    # the length of a float32 row differs from 1 in its last bits
    least, mean = (min(1.0, round(float(value), 6)) for value in (cosines.min(), cosines.mean()))
    return {"count": len(pixels), "least_cosine": least, "mean_cosine": mean}


def _check(agreement: dict[str, Any], storage: Storage) -> None:
    """Puts the least cosine that is needed beside what was found. Raises TrainingError where it was not reached."""
    agreement["needed"] = LEAST_COSINE[storage]
    if not agreement["least_cosine"] >= LEAST_COSINE[storage]:  # so written that a NaN fails too
        way = "keep the weights as float32" if storage != "float32" else "take another backbone or neck"
        raise TrainingError(
            f"what was exported gives other embeddings than the network: cosine {agreement['least_cosine']:.6f} in one "
            f"of {agreement['count']} images, {LEAST_COSINE[storage]} is needed; {way}"
        )


# -- int8 arithmetic ---------------------------------------------------------------------------------------------------


def _quantised(
    plain: bytes, folder: Path, card: dict[str, Any], pixels: Pixels, encoder: OnnxEncoder,
    collection: Collection | None, recipe: Recipe, wishes: Wishes, watch: Watch,
) -> Quantised:  # fmt: skip
    """Writes the network with int8 arithmetic to a folder, and holds it against the encoder."""
    rule = encoder.info.preprocessing
    if isinstance(wishes.quantise, Path):
        by = _fitted(_files_in(wishes.quantise), rule, CALIBRATION_IMAGES)
    else:
        by, _ = _pictures(collection, rule, CALIBRATION_IMAGES, recipe.seed + 1)
    watch("quantising", 0, len(by))
    folder.mkdir()
    graph = folder / "float32.onnx"
    graph.write_bytes(plain)
    quantise(graph, by, rule, folder / "image.onnx")
    graph.unlink()
    other = _write(folder, (folder / "image.onnx").read_bytes(), dict(card), wishes)
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
        fitted = _fitted([works.paths[place]], encoders[0].info.preprocessing, 1)
        if len(fitted):
            places.append(place)
            pixels.append(fitted)
        watch("reading works that were held out", len(places), min(len(held), QUERIES))
    if len(places) < 2:
        return {}, 0
    where = np.array(places)
    of = [_by_folder(encoder, np.concatenate(pixels)) for encoder in encoders]
    first, second = (likeness_figures(works, where, rows, where, rows, kinds) for rows in of)
    return {name: (first[name], second[name]) for name in first}, len(places)


# -- images ------------------------------------------------------------------------------------------------------------


def _pictures(collection: Collection | None, rule: Preprocessing, count: int, seed: int) -> tuple[Pixels, str]:
    """(`count` images as the rule wants them, whose they are): the collection's as far as they can be read."""
    own = _fitted(_works_of(collection.catalog, seed), rule, count) if collection else _none(rule)
    if len(own) == count:
        return own, "of the collection"
    painted = np.stack([_painted(rule.size, seed, i) for i in range(count - len(own))])
    return np.concatenate([own, painted]), "of the collection and painted" if len(own) else "painted"


def _works_of(catalog: Catalog, seed: int) -> Iterator[Path]:
    """Image files of the collection, each work once, in an order drawn by the seed."""
    ids = np.random.default_rng(seed).permutation(catalog.ids_where())
    for block in np.array_split(ids, range(BATCH, len(ids), BATCH)):
        yield from (Path(work.path) for work in catalog.artworks(block.tolist()) if work.path)


def _files_in(folder: Path) -> list[Path]:
    """Image files below a folder, by path. Raises TrainingError where there is none."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in images.SUFFIXES)
    if not found:
        raise TrainingError(f"{folder} holds no image to calibrate by; name a folder of images, or `collection`")
    return found


def _fitted(paths: Iterator[Path] | list[Path], rule: Preprocessing, most: int) -> Pixels:
    """At most so many images (n, size, size, 3) uint8; those that cannot be decoded are passed over."""
    out: list[npt.NDArray[np.uint8]] = []
    for path in paths:
        if len(out) == most:
            break
        try:
            out.append(images.fit(images.decode(images.read_bytes(path), str(path), side=rule.size), rule))
        except ImageError:
            continue
    return np.stack(out) if out else _none(rule)


def _none(rule: Preprocessing) -> Pixels:
    return np.empty((0, rule.size, rule.size, 3), np.uint8)


def _painted(size: int, seed: int, number: int) -> npt.NDArray[np.uint8]:
    """A ground that fades from one colour into another, patches of colour on it, and grain: (size, size, 3)."""
    draw = np.random.default_rng([seed, number])
    fade = np.linspace(0, 1, size)[:, None, None]
    pixels = (1 - fade) * draw.uniform(0, 255, 3) + fade * draw.uniform(0, 255, 3) + np.zeros((size, size, 3))
    for _ in range(int(draw.integers(1, 8))):
        (top, left), (high, wide) = draw.integers(0, size, 2), draw.integers(1, size, 2)
        pixels[top : top + high, left : left + wide] = draw.uniform(0, 255, 3)
    pixels += draw.normal(0, draw.uniform(0, 25), pixels.shape)
    return np.asarray(np.clip(pixels, 0, 255).astype(np.uint8))
