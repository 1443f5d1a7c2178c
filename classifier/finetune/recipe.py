"""A recipe: everything that decides what a fine-tuned network becomes, in one YAML file that people can compare."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from simsearch.classifier.finetune.augment import Augment
from simsearch.classifier.finetune.clip.sections import CLIP, Captions, Lora, Wise, check_sections
from simsearch.errors import TrainingError

SEMANTIC = "semantic"


@dataclass(frozen=True, slots=True)
class Part:
    """One stretch of the embedding, with a projection of its own."""

    name: str = SEMANTIC
    dim: int = 256
    """Numbers of this part; 0 keeps what the neck gives, without a projection."""
    weight: float = 1.0
    """Length of this part in the embedding before the whole gets unit length."""


@dataclass(frozen=True, slots=True)
class Task:
    """A kind of label that the network learns to give, from the works that have one."""

    weight: float = 1.0
    part: str = SEMANTIC
    loss: Literal["softmax", "cosine"] = "cosine"
    """``softmax`` is a linear layer on the part; ``cosine`` compares unit vectors with learned class directions."""
    scale: float = 16.0
    """What cosines are multiplied by before the softmax."""
    label_smoothing: float = 0.1
    balance: Literal["none", "weights"] = "none"
    """``weights`` gives each class the same weight in the loss, whatever its size."""
    min_images: int = 2
    """Labels with fewer train works count as unlabelled."""


@dataclass(frozen=True, slots=True)
class Contrast:
    """A metric-learning term: what belongs together comes together in one part."""

    weight: float = 1.0
    part: str = SEMANTIC
    label: str = ""
    """Kind of label whose works belong together (supervised contrast); empty: the views of one work (instance)."""
    temperature: float = 0.1


@dataclass(frozen=True, slots=True)
class Distill:
    """Learning from embeddings that another network gave the works."""

    teacher: str = ""
    """An encoder of the collection, or an .npz file with `path` (n,) and `embedding` (n, d)."""
    part: str = SEMANTIC
    columns: tuple[int, ...] = ()
    """First and last-but-one column of the teacher to learn from; empty for all."""
    regression: float = 1.0
    """Weight of the cosine distance between a linear map of the part and the teacher's centred embedding."""
    relation: float = 0.0
    """Weight of the Kullback-Leibler divergence between the rows of similarities within a batch."""
    temperature: float = 0.1
    encoder: str = ""
    """The encoder, by name or model folder, that made the teacher's embeddings: with it the teacher looks at every view
    of a work in the cache, photographs aside. Empty: a view is to be embedded as the work is."""


@dataclass(frozen=True, slots=True)
class Neck:
    """From the backbone's last features to one vector."""

    kind: Literal["pool", "conv-lstm"] = "pool"
    """``pool``: the class token and the mean of the patches, or the mean of a feature map."""
    width: int = 256
    """Channels inside a conv-lstm neck."""
    dropout: float = 0.0
    """Dropout on the vector."""


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of training with one set of weights that learn."""

    epochs: float = 1.0
    train: str = "all"
    """``head`` (what is new), ``all``, or the share of the backbone nearest the output, such as ``30%``."""
    lr: float = 1e-4
    """Largest learning rate of the backbone's last block."""
    head_lr: float = 1e-3
    """Largest learning rate of what is new: neck, projections, class directions."""
    layer_decay: float = 1.0
    """Factor on the learning rate from one block to the one below it."""
    warmup: float = 0.05
    """Share of the phase in which the learning rate rises; then it falls as a cosine."""
    weight_decay: float = 0.05
    """Decoupled decay (AdamW), which is the L2 penalty of this optimiser; not on biases and norms."""
    l1: float = 0.0
    """Weight of the sum of absolute values of what is new."""
    patch_dropout: float = 0.0
    """Share of the patches that a vision transformer does not see, drawn anew for each view."""
    mix: float = 0.0
    """Probability of a batch in which works are mixed in pairs."""


@dataclass(frozen=True, slots=True)
class Cache:
    """Activations of the blocks that stay as they are, kept on disk."""

    below: int = 0
    """Blocks of a vision transformer below which nothing learns; 0 for no cache."""
    views: int = 3
    """Views of each work besides the plain one."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a network is made."""

    name: str
    backbone: str
    """``timm:NAME``, ``cnn:3`` for three convolutions from scratch, or ``clip:...`` as an encoder is named."""
    weights: str = "none"
    """``hub`` for timm's pretrained ones, ``none`` for random ones, or a .safetensors file with timm's names. A CLIP
    brings its own, or takes a local checkpoint; it is never begun from random ones."""
    input_size: int = 224
    resize: Literal["squash", "crop", "pad"] = "squash"
    tasks: Mapping[str, Task] = field(default_factory=lambda: {"style": Task()})
    """Kind of label to what is made of it."""
    parts: tuple[Part, ...] = (Part(),)
    neck: Neck = field(default_factory=Neck)
    contrast: tuple[Contrast, ...] = ()
    distill: tuple[Distill, ...] = ()
    augment: Augment = field(default_factory=Augment)
    views: int = 1
    """Views of each work in a batch."""
    cache: Cache = field(default_factory=Cache)
    phases: tuple[Phase, ...] = (Phase(epochs=1, train="head"), Phase(epochs=4, train="all"))
    batch_size: int = 64
    """Works in a batch."""
    drop_path: float = 0.0
    ema: float = 0.999
    """How slowly the averaged weights, which are the ones kept, follow; 0 keeps the last ones."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    held_out: float = 0.1
    """Share of the train works, whole artists where they are known, by which epochs are compared."""
    patience: int = 0
    """Epochs without progress on the held-out part after which a phase ends; 0 for never."""
    seed: int = 0
    captions: Captions = field(default_factory=Captions)
    lora: Lora = field(default_factory=Lora)
    wise: Wise = field(default_factory=Wise)

    @property
    def is_clip(self) -> bool:
        """Whether an image and a text tower are tuned together."""
        return self.backbone.startswith(CLIP)

    def __post_init__(self) -> None:
        """Raises TrainingError where the pieces do not fit together."""
        parts = [p.name for p in self.parts]
        if len(set(parts)) != len(parts) or not parts:
            raise TrainingError(f"recipe {self.name!r} needs parts with names of their own, not {', '.join(parts)}")
        used = [*((f"task {k}", t.part) for k, t in self.tasks.items())]
        used += [("contrast", c.part) for c in self.contrast] + [("distill", d.part) for d in self.distill]
        for what, part in used:
            if part not in parts:
                raise TrainingError(f"recipe {self.name!r}: {what} names part {part!r}; there are {', '.join(parts)}")
        _check_clip(self)
        if not (self.tasks or self.contrast or self.distill or self.captions):
            raise TrainingError(f"recipe {self.name!r} has nothing to learn; give tasks, contrast or distill")
        if any(not c.label for c in self.contrast) and self.views < 2:
            raise TrainingError(f"recipe {self.name!r}: contrast of views needs views: 2 or more")
        if any(d.encoder for d in self.distill) and not self.cache.below:
            raise TrainingError(
                f"recipe {self.name!r}: a teacher can look at every view only where they are kept; give cache, or "
                f"leave the encoder of distill away"
            )
        if not self.phases:
            raise TrainingError(f"recipe {self.name!r} has no phases; give at least one")
        for phase in self.phases:
            share_of(phase.train, self.name)
        _check_numbers(self, LIMITS, f"recipe {self.name!r}")
        _check_numbers(self.neck, LIMITS, f"recipe {self.name!r}: neck")
        for i, phase in enumerate(self.phases):
            _check_numbers(phase, LIMITS, f"recipe {self.name!r}: phases[{i}]")


def _check_clip(recipe: Recipe) -> None:
    """Raises TrainingError for keys that a CLIP backbone does not know, or that no other does."""
    if not recipe.is_clip:
        odd = [key for key in CLIP_ONLY if getattr(recipe, key) != CLIP_ONLY[key]]
        if odd:
            raise TrainingError(
                f"recipe {recipe.name!r}: {recipe.backbone} has no text tower, and {odd[0]} is for a CLIP; take a "
                f"backbone clip:NAME/TAG, or leave {odd[0]} away"
            )
        return
    if not (recipe.captions or recipe.tasks):
        raise TrainingError(
            f"recipe {recipe.name!r} tunes a CLIP and has nothing to tell it; give captions (a column, or labels), or "
            f"tasks"
        )
    for key in ("distill", "cache", "neck", "drop_path", "views"):
        if getattr(recipe, key) != _DEFAULTS[key]:
            raise TrainingError(f"recipe {recipe.name!r}: a CLIP is tuned without {key}; leave {key} away")
    if any(phase.patch_dropout or phase.mix for phase in recipe.phases):
        raise TrainingError(f"recipe {recipe.name!r}: a CLIP is tuned without patch_dropout and mix; leave them away")
    if len(recipe.parts) > 1:
        raise TrainingError(f"recipe {recipe.name!r}: a CLIP has one embedding of its own width; leave parts away")
    check_sections(recipe.name, recipe.captions, recipe.lora, recipe.wise)


CLIP_ONLY: Mapping[str, Any] = {"captions": Captions(), "lora": Lora(), "wise": Wise()}
_DEFAULTS: Mapping[str, Any] = {"distill": (), "cache": Cache(), "neck": Neck(), "drop_path": 0.0, "views": 1}

LIMITS = {
    "input_size": (1, None), "batch_size": (2, None), "views": (1, None), "clip": (1e-12, None),
    "epochs": (1e-12, None), "lr": (0, None), "head_lr": (0, None), "weight_decay": (0, None), "l1": (0, None),
    "layer_decay": (1e-12, 1), "warmup": (0, 1), "mix": (0, 1), "patch_dropout": (0, 0.99), "dropout": (0, 0.99),
    "held_out": (0, 0.99), "drop_path": (0, 0.99), "ema": (0, 1 - 1e-9), "patience": (0, None), "width": (1, None),
}  # fmt: skip
"""Least and largest meaningful number of a field; None for no bound."""


def _check_numbers(of: Any, limits: Mapping[str, tuple[float, float | None]], where: str) -> None:
    """Raises TrainingError for a number outside its limits, such as half an image or a share above 1."""
    for name in (f.name for f in dataclasses.fields(of) if f.name in limits):
        value, (low, high) = getattr(of, name), limits[name]
        if not low <= value <= (value if high is None else high):
            most = "" if high is None else f" and at most {high:g}"
            raise TrainingError(f"{where}: {name} is {value}; at least {low:g}{most} is needed")


def share_of(train: str, name: str = "") -> float:
    """The share of the backbone that a phase trains: 0 for ``head``, 1 for ``all``. Raises TrainingError."""
    if train in ("head", "all"):
        return float(train == "all")
    try:
        share = float(str(train).removesuffix("%")) / (100 if str(train).endswith("%") else 1)
    except ValueError:
        share = -1
    if not 0 <= share <= 1:
        raise TrainingError(f"recipe {name!r}: train is {train!r}; write head, all, or a share such as 30%")
    return share


def steps_an_epoch(recipe: Recipe, works: int) -> int:
    """Batches that an epoch over so many works has; a last batch of one work is left out."""
    return works // recipe.batch_size + (works % recipe.batch_size >= 2)


def steps_of(recipe: Recipe, works: int, max_steps: int | None = None) -> tuple[int, ...]:
    """Steps of each phase over so many works to learn from, if it does not end early."""
    steps = [max(1, round(phase.epochs * steps_an_epoch(recipe, works))) for phase in recipe.phases]
    return tuple(min(n, max_steps) if max_steps else n for n in steps)


def read_recipe(path: Path) -> Recipe:
    """The recipe of a YAML file, called like the file where it has no name. Raises TrainingError that names the key."""
    return recipe_of({"name": path.stem} | read_yaml(path), str(path))


def read_yaml(path: Path) -> dict[str, Any]:
    """The keys of a YAML file. Raises TrainingError."""
    try:
        import yaml
    except ImportError as error:
        raise TrainingError("recipes need PyYAML; run `pip install 'simsearch[torch]'`") from error
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TrainingError(f"{path} cannot be read: {error.strerror or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise TrainingError(f"{path} is no YAML file: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise TrainingError(f"{path} is no recipe; it must hold keys such as backbone, tasks and phases")
    return {str(key): value for key, value in data.items()}


def recipe_of(data: Mapping[str, Any], origin: str) -> Recipe:
    """The recipe of plain data, such as JSON or YAML gives. Raises TrainingError that names `origin` and the key."""
    told = str(data.get("backbone", "")).startswith(CLIP) if isinstance(data, Mapping) else False
    recipe: Recipe = _built(Recipe, {"tasks": {}} | dict(data) if told else data, origin)
    return recipe


def as_data(recipe: Recipe) -> dict[str, Any]:
    """Plain data of which :func:`recipe_of` makes the same recipe; without what only a CLIP knows where it is none."""
    data = dataclasses.asdict(recipe)
    return data if recipe.is_clip else {key: value for key, value in data.items() if key not in CLIP_ONLY}


def _built(kind: Any, data: Any, where: str) -> Any:
    """A value of the annotated type `kind` from plain data."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind, data, where)
    if origin is tuple:
        if not isinstance(data, list | tuple):
            raise TrainingError(f"{where} must be a list, not {data!r}")
        return tuple(_built(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(data))
    if origin in (dict, Mapping, typing.get_origin(Mapping[str, int])):
        if not isinstance(data, Mapping):
            raise TrainingError(f"{where} must map names to values, not {data!r}")
        return {str(k): _built(arguments[1], v, f"{where}.{k}") for k, v in data.items()}
    if origin is Literal:
        if data not in arguments:
            raise TrainingError(f"{where} is {data!r}; there are {', '.join(map(str, arguments))}")
        return data
    if origin is types.UnionType:
        return data
    return _scalar(kind, data, where)


def _scalar(kind: Any, data: Any, where: str) -> Any:
    if kind is float and isinstance(data, int | float) and not isinstance(data, bool):
        return float(data)
    if kind is float and isinstance(data, str):  # YAML reads 1e-4 as text: its numbers need a point
        try:
            return float(data)
        except ValueError:
            pass
    if kind is str and isinstance(data, int | float):
        return str(data)
    if isinstance(data, kind) and not (kind is int and isinstance(data, bool)):
        return data
    words = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    raise TrainingError(f"{where} is {data!r}; {words.get(kind, kind)} is needed")


def _dataclass(kind: Any, data: Any, where: str) -> Any:
    if not isinstance(data, Mapping):
        raise TrainingError(f"{where} must hold keys, not {data!r}")
    types_of = typing.get_type_hints(kind)
    known = [f.name for f in dataclasses.fields(kind)]
    for key in data:
        if key not in known:
            near = get_close_matches(str(key), known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
            raise TrainingError(f"{where} has a key {key!r} that no recipe knows; {hint}")
    needed = [
        f.name
        for f in dataclasses.fields(kind)
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING and f.name not in data
    ]
    if needed:
        raise TrainingError(f"{where} lacks {', '.join(needed)}")
    return kind(**{key: _built(types_of[key], value, f"{where}: {key}") for key, value in data.items()})
