"""Finds the recipe that was asked for, and changes what was asked to be changed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from simsearch.classifier.finetune.clip.sections import CLIP
from simsearch.classifier.finetune.recipe import Recipe, Task, as_data, read_yaml, recipe_of
from simsearch.errors import TrainingError

FOLDER = Path(__file__).parent / "recipes"
"""The recipes that come with simsearch."""
SUFFIXES = (".yaml", ".yml")
RECIPES, BASE = "recipes", "base"
CLIP_RECIPE = "clip_lpft"
NAMED = 48
"""Characters of a CLIP's name that a run is called by; it may be a long path."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What options change in a recipe; None leaves it as it is."""

    name: str | None = None
    backbone: str | None = None
    weights: str | None = None
    input_size: int | None = None
    neck: str | None = None
    tasks: Sequence[str] = ()
    """Kinds of label to learn instead of the recipe's, each as the recipe learns it, or else as it learns its first. A
    CLIP is told them in captions."""
    epochs: float | None = None
    """Of the last phase."""
    batch_size: int | None = None
    seed: int | None = None
    settings: Sequence[str] = ()
    """``KEY=VALUE`` with a dotted key, such as ``phases.1.lr=2e-4``, and a value as YAML has it; the first of a list is
    number 0."""
    column: str | None = None
    """Of the captions, for a CLIP."""


def committed() -> list[str]:
    """Names of the recipes that come with simsearch."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def find_recipes(name: str) -> list[Recipe]:
    """The recipe of a YAML file or of a name, or all that a file with a list `recipes` holds.

    Each of such a list extends what the file says under `base`: keys, or the name of a recipe that comes with
    simsearch. Keys below keys are merged, everything else is replaced. Raises TrainingError that names what is wrong.
    """
    path = Path(name)
    if path.suffix.lower() in SUFFIXES or path.is_file():
        if not path.is_file():
            raise TrainingError(f"there is no recipe at {path}; write a YAML file, or name one of {_names()}")
        return _in_file(path)
    if name not in committed():
        near = get_close_matches(name, committed(), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {_names()}, and files that end in .yaml"
        raise TrainingError(f"there is no recipe {name!r}; {hint}")
    return _in_file(FOLDER / f"{name}.yaml")


def bare_recipe(backbone: str) -> Recipe:
    """A recipe of nothing but a backbone, with its pretrained weights, called like it.

    A CLIP is tuned as the recipe :data:`CLIP_RECIPE` does it.
    """
    name = re.sub(r"[^A-Za-z0-9_.-]", "-", backbone.removeprefix("timm:").removeprefix(CLIP))
    if backbone.startswith(CLIP):
        return replace(find_recipes(CLIP_RECIPE)[0], name=name[-NAMED:].lstrip(".-") or "clip", backbone=backbone)
    return Recipe(name, backbone, weights="hub" if backbone.startswith("timm:") else "none")


def changed(recipe: Recipe, changes: Changes) -> Recipe:
    """The recipe with the changes. Raises TrainingError that names the key."""
    data = json.loads(json.dumps(asdict(recipe)))  # lists and mappings that can be changed
    plain = ("name", "backbone", "weights", "input_size", "batch_size", "seed")
    data |= {key: value for key in plain if (value := getattr(changes, key)) is not None}
    if changes.neck is not None:
        data["neck"] = {**data["neck"], "kind": changes.neck}
    if data["backbone"].startswith(CLIP):
        _tell(data, changes)
    elif changes.column is not None:
        raise TrainingError(
            f"captions are for a CLIP, and recipe {recipe.name!r} has the backbone {data['backbone']}; give --label, "
            f"or --backbone clip:NAME/TAG"
        )
    elif changes.tasks:
        first = next(iter(data["tasks"].values()), asdict(Task()))
        data["tasks"] = {kind: data["tasks"].get(kind, first) for kind in changes.tasks}
    if changes.epochs is not None:
        data["phases"] = [*data["phases"][:-1], {**data["phases"][-1], "epochs": changes.epochs}]
    for setting in changes.settings:
        _set(data, setting)
    made = recipe_of(data, f"recipe {recipe.name!r} as it was changed")
    if made.weights not in ("hub", "none") and not Path(made.weights).expanduser().exists():
        raise TrainingError(
            f"there is no file {made.weights!r} to take weights from; give --weights FILE.safetensors, hub or none"
        )
    return made


def _tell(data: dict[str, Any], changes: Changes) -> None:
    """Puts a column or labels in the place of a CLIP recipe's captions."""
    if changes.column is not None and changes.tasks:
        raise TrainingError("captions come from a column or from labels; give --caption-column or --label")
    if changes.column is not None or changes.tasks:
        before = data.get("captions", {})
        kept = {"weight": before["weight"]} if "weight" in before else {}
        data["captions"] = kept | ({"column": changes.column} if changes.column else {"labels": list(changes.tasks)})
        data["tasks"] = {}


def _set(data: dict[str, Any], setting: str) -> None:
    """Puts the value of a ``KEY=VALUE`` into plain data, in the place that its key names."""
    dotted, equals, text = setting.partition("=")
    steps = dotted.strip().split(".")
    if not equals or not all(steps):
        raise TrainingError(f"--set {setting!r} is no KEY=VALUE; write for example --set phases.0.lr=2e-4")
    inside: Any = data
    for depth, step in enumerate(steps):
        place = _place(inside, steps[:depth], step)
        if depth == len(steps) - 1:
            inside[place] = _value(dotted, text)
        elif isinstance(inside, dict):
            inside = inside.setdefault(place, asdict(Task()))  # only a task can be one that is not there
        else:
            inside = inside[place]


def _place(inside: Any, above: Sequence[str], step: str) -> str | int:
    """Where in a mapping or list a step of a key leads. Raises TrainingError that names the key."""
    where = ".".join(above)
    asked = f"{where}.{step}" if where else step
    if isinstance(inside, list):
        if not step.isdecimal() or int(step) >= len(inside):
            there = f"there are {', '.join(map(str, range(len(inside))))}" if inside else f"{where} is empty"
            raise TrainingError(
                f"--set names {asked}, an entry that is not there; {there}: --set '{where}=[...]' sets all"
            )
        return int(step)
    if not isinstance(inside, dict):
        raise TrainingError(f"--set names {asked}, but {where} has no keys of its own; write --set {where}=VALUE")
    if step not in inside and where != "tasks":  # any kind of label can be a task
        near = get_close_matches(step, inside, n=1)
        prefix = f"{where}." if where else ""
        hint = f"did you mean {prefix}{near[0]}?" if near else f"there are {', '.join(inside)}"
        raise TrainingError(f"--set names {asked}, which no recipe knows; {hint}")
    return step


def _value(key: str, text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise TrainingError(f"--set {key} has the value {text!r}, which is no YAML; put it in quotes") from error


# -- files -------------------------------------------------------------------------------------------------------------


def _in_file(path: Path) -> list[Recipe]:
    data = read_yaml(path)
    if RECIPES not in data:
        return [recipe_of({"name": path.stem} | data, str(path))]
    if odd := [key for key in data if key not in (RECIPES, BASE)]:
        raise TrainingError(f"{path} holds recipes and beside them {odd[0]!r}; move it below base, or into each recipe")
    listed = data[RECIPES]
    if not isinstance(listed, list) or not listed or not all(isinstance(one, dict) for one in listed):
        raise TrainingError(f"{path}: recipes must be a list of one recipe or more, each with keys such as name")
    base = data.get(BASE) or {}
    if isinstance(base, str):
        if base not in committed():
            raise TrainingError(f"{path}: base names {base!r}; there are {_names()}")
        base = as_data(find_recipes(base)[0])
    if not isinstance(base, dict):
        raise TrainingError(f"{path}: base must hold keys, or name a recipe, not {base!r}")
    for number, one in enumerate(listed):
        if "name" not in one:
            raise TrainingError(f"{path}: recipes[{number}] lacks a name")
    return [recipe_of(_merged(base, one), f"{path}: recipe {one['name']!r}") for one in listed]


def _merged(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with what is `own`; keys below keys are merged."""
    out = dict(base)
    for key, value in own.items():
        both = isinstance(value, Mapping) and isinstance(out.get(key), Mapping)
        out[key] = _merged(out[key], value) if both else value
    return out


def _names() -> str:
    return ", ".join(committed())


def as_yaml(recipe: Recipe) -> str:
    """The whole recipe as YAML, of which the same recipe is made again."""
    import yaml

    data = json.loads(json.dumps(as_data(recipe)))
    return str(yaml.safe_dump(data, sort_keys=False, allow_unicode=True, default_flow_style=None, width=100))
