"""Runs of the collection: what each was begun with, whether it ended, and that nothing overwrites it by mistake."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from simsearch.classifier.finetune.held_out import classes_of, divided
from simsearch.classifier.finetune.recipe import Recipe, as_data
from simsearch.classifier.finetune.works import (
    Works,
    columns_of_captions,
    kinds_of,
    learns_without_labels,
    load_works,
    teacher,
)
from simsearch.collection import Collection
from simsearch.errors import TrainingError
from simsearch.vectors import Rows
from simsearch.watch import Watch, silent

FOLDER, CACHE = "finetune", "cache-"
BEGUN, LOCK = "begun.json", "run.lock"
CARD, WEIGHTS = "network.json", "network.safetensors"  # these four are the trainer's, which would import torch
STATE, LOG = "state.safetensors", "log.jsonl"
CLIP_FOLDER = "clip"
"""Of a run that tuned a CLIP: a folder as open_clip has them, which `clip:FOLDER` names as an encoder."""
CLIP_MODEL = f"{CLIP_FOLDER}/open_clip_model.safetensors"
TRADE_OFF = "tradeoff.json"
"""Of a run that tuned a CLIP: what mixes of the original and the tuned weights can do."""
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
TOLD = 3
"""So many differences of two recipes are named."""

Standing = Literal["new", "unfinished", "finished"]
Begin = Literal["auto", "resume", "restart"]
Notice = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Means:
    """With what a recipe is trained, and for how long at most."""

    device: str = "auto"
    """``auto``, ``cpu`` or ``cuda``."""
    precision: str = "auto"
    """``auto``, ``float32`` or ``bfloat16``."""
    compiled: bool = False
    max_steps: int | None = None
    """Of each phase, to try a recipe out."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A run that ended, from its folder."""

    name: str
    folder: Path
    figures: Mapping[str, float]
    """Of the network that was kept, on the works held out: ``style_accuracy``, ``style_p10`` and so on."""
    parameters: int
    images_per_s: float
    learned_from: int
    """Works."""
    held_out: int
    """Works."""
    alpha: float | None = None
    """Of a CLIP: the share of the tuned weights in those that were kept."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; of a CLIP also where it is, and what mixes of its weights can do."""
        clip = clip_folder(self.folder)
        more: dict[str, Any] = {}
        if clip is not None:
            more = {"encoder": f"clip:{clip}", "alpha": self.alpha, "tradeoff": trade_off(self.folder)}
        return {
            "name": self.name,
            "folder": str(self.folder),
            "learned_from": self.learned_from,
            "held_out": self.held_out,
            "figures": {name: round(value, 4) for name, value in self.figures.items()},
            "parameters": self.parameters,
            "images_per_s": round(self.images_per_s, 2),
        } | more


def check_torch(recipe: Recipe | None = None) -> None:
    """Raises TrainingError where what trains networks, or this recipe's, is not installed."""
    needed = ["torch", "timm"]
    if recipe is not None and recipe.is_clip:
        needed = ["torch", "open_clip", *(["peft"] if recipe.lora.r else [])]
    try:
        there = all(find_spec(name) for name in needed)
    except ImportError:
        there = False
    if not there:
        names = f"{', '.join(needed[:-1])} and {needed[-1]}"
        raise TrainingError(f"fine-tuning needs {names}; run `pip install 'simsearch[torch]'`")


def folder_of(collection: Collection, name: str) -> Path:
    """Where a run of this name is kept. Raises TrainingError for a name that no folder should have."""
    if not NAME.fullmatch(name) or name.startswith(CACHE):
        raise TrainingError(
            f"a run cannot be called {name!r}; give it a --name of letters, digits, dots, - and _, at most 64 of them, "
            f"that does not begin with a dot, - or {CACHE}"
        )
    return collection.folder / FOLDER / name


def works_for(
    collection: Collection,
    recipes: Sequence[Recipe],
    where: str | None = None,
    split: str = "auto",
    watch: Watch = silent,
) -> Works:
    """The works that all of these recipes are trained on: see :func:`works.load_works`."""
    unlabelled = any(learns_without_labels(recipe) for recipe in recipes)
    return load_works(
        collection, kinds_of(recipes), where=where, split=split, unlabelled=unlabelled,
        columns=columns_of_captions(recipes), watch=watch,
    )  # fmt: skip


def standing(folder: Path, recipe: Recipe, works: Works, max_steps: int | None = None) -> Standing:
    """How far a run of this recipe on these works is. Raises TrainingError where the folder holds another run.

    A run that was begun and has nothing to go on from is ``new``.
    """
    begun = _begun(folder)
    if begun is None:
        if _left(folder):
            raise TrainingError(
                f"{folder} holds files that no run left; move them away, or replace them with --restart"
            )
        return "new"
    weights = folder / CLIP_MODEL if recipe.is_clip else folder / WEIGHTS
    done = (folder / CARD).is_file() and weights.is_file()
    if not done and not (folder / STATE).is_file():
        return "new"
    now = _stated(recipe, works, max_steps)
    differs = _differences(begun["recipe"], now["recipe"])
    if differs:
        raise _another(folder, f"another recipe ({'; '.join(differs)})")
    if begun["works"] != now["works"]:
        then, here = int(begun["works"]["count"]), len(works)
        how = f"{then:,} then, {here:,} now" if then != here else "other labels, another split or other near-duplicates"
        raise _another(folder, f"other works ({how})")
    if begun["max_steps"] != max_steps:
        before = begun["max_steps"]
        raise _another(folder, f"--steps {before}" if before else "no --steps")
    return "finished" if done else "unfinished"


def finetune(
    collection: Collection,
    recipe: Recipe,
    works: Works,
    *,
    means: Means | None = None,
    begin: Begin = "auto",
    watch: Watch = silent,
    notice: Notice | None = None,
) -> Finished:
    """Trains a recipe on works of the collection, in a folder of the recipe's name, and goes on where a run stopped.

    A finished run is refused, and so is one of another recipe or other works, unless `begin` is ``restart``, which
    removes what is there; ``resume`` refuses to begin a new one. `notice` is told what happens to an earlier run.
    Raises TrainingError, LabelError, ImageError.
    """
    means, notice = means or Means(), notice or collection.notice
    check_torch(recipe)
    folder = folder_of(collection, recipe.name)
    if begin == "resume" and not (folder / STATE).exists():
        raise TrainingError(f"run {recipe.name!r} has nothing to go on from; leave --resume away to begin it")
    with _held(folder):
        stands = "new" if begin == "restart" else standing(folder, recipe, works, means.max_steps)
        if stands == "finished":
            raise TrainingError(f"run {recipe.name!r} is finished; give another --name, or begin anew with --restart")
        classes_of(works, divided(works, recipe)[0], recipe)  # refuses before an earlier run is removed
        teachers = [teacher(collection, works, distill) for distill in recipe.distill]
        if stands == "new":
            _clear(folder, notice)
            _write(folder / BEGUN, _stated(recipe, works, means.max_steps))
        else:
            notice(f"run {recipe.name!r} goes on where it stopped")
        _train(recipe, works, teachers, folder, means, watch, notice)
    return finished(folder)


def _train(
    recipe: Recipe, works: Works, teachers: Sequence[Rows], folder: Path, means: Means, watch: Watch, notice: Notice
) -> None:
    if recipe.is_clip:
        from simsearch.classifier.finetune.clip.train import tune

        tune(
            recipe, works, folder, device=means.device, precision=means.precision, compiled=means.compiled,
            max_steps=means.max_steps, watch=watch, notice=notice,
        )  # fmt: skip
        return
    from simsearch.classifier.finetune.train import train

    train(
        recipe, works, teachers, folder, device=means.device, precision=means.precision, compiled=means.compiled,
        max_steps=means.max_steps, watch=watch,
    )  # fmt: skip


def clip_folder(run: Path) -> Path | None:
    """The folder of the CLIP that a finished run tuned, for ``clip:FOLDER``; None for a run of another network."""
    return run / CLIP_FOLDER if (run / CARD).is_file() and (run / CLIP_MODEL).is_file() else None


def finished(folder: Path) -> Finished:
    """The finished run in a folder. Raises TrainingError where there is none."""
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
        works = card["works"]
        return Finished(
            folder.name, folder, {name: float(value) for name, value in card["figures"].items()},
            int(card["parameters"]), float(card["images_per_s"]), int(works["learned_from"]), int(works["held_out"]),
            card.get("alpha"),
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise TrainingError(f"{folder} holds no finished run that can be read; begin it anew with --restart") from error


def trade_off(folder: Path) -> dict[str, Any] | None:
    """What mixes of the original and the tuned weights of a CLIP can do, as the run left it; None where it has not."""
    try:
        found = json.loads((folder / TRADE_OFF).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's log, by phase and step; empty where there is none.

    Of steps that were taken again after an interruption the last is kept, and a line that was cut short is left out.
    """
    try:
        lines = (folder / LOG).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for line in lines:
        try:
            one = json.loads(line)
            found[one["phase"], one["epoch"], "step" in one] = one
        except (ValueError, KeyError, TypeError):
            continue
    return [found[place] for place in sorted(found)]


# -- the folder --------------------------------------------------------------------------------------------------------


def _stated(recipe: Recipe, works: Works, max_steps: int | None) -> dict[str, Any]:
    """What makes two runs the same, as JSON gives it back."""
    stated = {
        "recipe": as_data(recipe),
        "works": {"count": len(works), "digest": works.digest},
        "max_steps": max_steps,
    }
    plain: dict[str, Any] = json.loads(json.dumps(stated))
    return plain


def _begun(folder: Path) -> dict[str, Any] | None:
    path = folder / BEGUN
    if not path.exists():
        return None
    try:
        said: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(said["recipe"], dict) and said["works"].keys() == {"count", "digest"} and "max_steps" in said:
            return said
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        pass
    raise TrainingError(f"{path} cannot be read; begin the run anew with --restart")


def _differences(then: Any, now: Any) -> list[str]:
    """Where two recipes differ, in words; the first few."""
    flat_then, flat_now = _flat(then), _flat(now)
    keys = [key for key in {**flat_then, **flat_now} if flat_then.get(key, _NOTHING) != flat_now.get(key, _NOTHING)]
    said = [f"{key} {_said(flat_then, key)} then, {_said(flat_now, key)} now" for key in keys[:TOLD]]
    return [*said, f"{len(keys) - TOLD} more"] if len(keys) > TOLD else said


_NOTHING = object()


def _said(flat: Mapping[str, Any], key: str) -> str:
    return json.dumps(flat[key]) if key in flat else "not given"


def _flat(data: Any, above: str = "") -> dict[str, Any]:
    """Dotted keys, as --set has them, and their values."""
    inside = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else None
    if inside is None or not data:
        return {above: data}
    out: dict[str, Any] = {}
    for key, value in inside:
        out |= _flat(value, f"{above}.{key}" if above else str(key))
    return out


def _another(folder: Path, what: str) -> TrainingError:
    return TrainingError(
        f"run {folder.name!r} was begun with {what}; give another --name, or begin anew with --restart"
    )


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """The folder of a run, made where there is none, for one process at a time."""
    from filelock import FileLock, Timeout

    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK)
        lock.acquire(timeout=0)
    except Timeout:
        raise TrainingError(f"another process trains run {folder.name!r}; wait for it, or stop it") from None
    except OSError as error:
        what = f"{folder} cannot be written: {error.strerror or error}"
        raise TrainingError(f"{what}; check its permissions") from error
    try:
        yield
    finally:
        lock.release()


def _left(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name != LOCK] if folder.is_dir() else []


def _clear(folder: Path, notice: Notice) -> None:
    """Removes what a run left; the cache of activations, which lies beside the folder, stays."""
    before = _left(folder)
    if (folder / CARD).exists() or (folder / STATE).exists():
        notice(f"what was in {folder} is replaced")
    try:
        for path in before:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    except OSError as error:
        raise TrainingError(f"{error.filename or folder} cannot be removed: {error.strerror or error}") from error


def _write(path: Path, data: Mapping[str, Any]) -> None:
    try:
        path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise TrainingError(f"{path} cannot be written: {error.strerror or error}") from error
