"""What a run begins with, and what it leaves for one that goes on from it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from simsearch.classifier.finetune.backbones import Backbone
from simsearch.classifier.finetune.held_out import Places
from simsearch.classifier.finetune.losses import Objective
from simsearch.classifier.finetune.network import CARD, WEIGHTS, Network, load_network
from simsearch.classifier.finetune.state import write_tensors
from simsearch.classifier.finetune.weights import fill
from simsearch.errors import TrainingError
from simsearch.vectors import Rows

OBJECTIVE = "objective.safetensors"
TRUNK = "backbone.network."
"""How the names of timm's weights begin in a network."""


def earlier_run(weights: str) -> Path | None:
    """The folder of the run that a recipe's weights name; None where they name something else."""
    folder = Path(weights).expanduser()
    return folder if weights not in ("hub", "none") and folder.is_dir() else None


def save_objective(objective: Objective, folder: Path) -> None:
    """Writes the class directions and the maps to the teachers, which the finished network does without."""
    write_tensors(objective.state_dict(), folder / OBJECTIVE)


@torch.no_grad()
def begin_from(folder: Path, network: Network, objective: Objective) -> None:
    """Takes the network of a finished run over, and its class directions where the classes have the same names.

    The other run may have looked at images of another size: timm then resamples a position embedding that was learned.
    Directions are taken over for tasks that look at the same part as before, and maps to teachers where both runs list
    a teacher of the same width in the same place. Raises TrainingError for a network of another make.
    """
    before = load_network(folder)
    _take_over(before, network, folder)
    learned = _learned(folder)
    names = json.loads((folder / CARD).read_text(encoding="utf-8")).get("classes", {})
    for kind, layer in objective.layers.items():
        then, now = before.recipe.tasks.get(kind), objective.recipe.tasks[kind]
        if f"layers.{kind}.weight" not in learned or then is None or then.part != now.part:
            continue
        place = {name: i for i, name in enumerate(names[kind])}
        for row, name in enumerate(objective.classes[kind]):
            if name in place:
                for what, parameter in layer.named_parameters():
                    parameter[row] = learned[f"layers.{kind}.{what}"][place[name]]
    for number, layer in enumerate(objective.maps):
        stored = {n: learned.get(f"maps.{number}.{n}") for n in ("weight", "bias")}
        if all(v is not None and v.shape == getattr(layer, n).shape for n, v in stored.items()):
            layer.load_state_dict(stored)


def _take_over(before: Network, network: Network, folder: Path) -> None:
    state = before.state_dict()
    trunk = {name.removeprefix(TRUNK): value for name, value in state.items() if name.startswith(TRUNK)}
    rest = {name: value for name, value in state.items() if not name.startswith(TRUNK)}
    try:
        fill(network.backbone.network, trunk, (), f"{folder} does not fit {network.recipe.backbone}")
        found = network.load_state_dict(rest, strict=False)
        other = found.unexpected_keys or [name for name in found.missing_keys if not name.startswith(TRUNK)]
    except (RuntimeError, TrainingError) as error:
        raise _another_make(before, folder) from error
    if other:
        raise _another_make(before, folder)


def _another_make(before: Network, folder: Path) -> TrainingError:
    return TrainingError(
        f"{folder} holds a network of another make ({before.recipe.backbone}); begin from one with the same backbone, "
        f"neck and parts"
    )


def _learned(folder: Path) -> dict[str, Tensor]:
    """What a run learned beside its network; nothing where it has left none."""
    path = folder / OBJECTIVE
    try:
        return load_file(path) if path.is_file() else {}
    except (OSError, SafetensorError) as error:
        said = " ".join(str(error).split()).rstrip(".")
        raise TrainingError(f"{path} cannot be read ({said}); take it away to begin without it") from error


def weights_digest(weights: str) -> str:
    """SHA-256 of the file that a recipe's weights come from; ``hub`` and ``none`` as they are."""
    folder = earlier_run(weights)
    path = folder / WEIGHTS if folder else Path(weights).expanduser()
    if weights in ("hub", "none") or not path.is_file():
        return weights
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def trunk_digest(backbone: Backbone, below: int) -> str:
    """SHA-256 of the parameters of what stands below a cut: the same for runs whose trunks are equal."""
    stated = hashlib.sha256()
    for layer in backbone.layers()[: below + 1]:
        for parameter in layer:
            stated.update(parameter.detach().cpu().contiguous().numpy().tobytes())
    return stated.hexdigest()


def centred(rows: Rows, learn: Places) -> Rows:
    """Unit rows (n, d) float32 of a teacher, after the mean over the works that are learned from was taken away."""
    away = rows.astype(np.float32) - rows[learn].mean(0, dtype=np.float64).astype(np.float32)
    return np.asarray(away / np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-12), np.float32)
