"""Where a run stands, on disk: enough to go on as if it had never stopped. Nothing is pickled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from simsearch.errors import TrainingError

STATE = "state.safetensors"
NETWORK, AVERAGE, OBJECTIVE, OPTIMISER = "network", "average", "objective", "optimiser"


def save_state(
    folder: Path, modules: dict[str, nn.Module], optimiser: torch.optim.Optimizer, place: dict[str, Any]
) -> None:
    """Writes weights, the optimiser's moments and the place in the recipe; an interruption leaves the state before."""
    tensors = {
        f"{room}/{name}": value.detach().cpu().contiguous().clone()
        for room, module in modules.items()
        for name, value in module.state_dict().items()
    }
    for number, (_, moments) in enumerate(_moments(optimiser)):
        tensors |= {f"{OPTIMISER}/{number}/{name}": torch.as_tensor(v).cpu().clone() for name, v in moments.items()}
    write_tensors(tensors, folder / STATE, {"place": json.dumps(place)})


def write_tensors(tensors: Mapping[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Writes a .safetensors file, whole or not at all. Raises TrainingError where that fails."""
    aside = path.with_name(path.name + ".part")
    try:
        save_file({name: value.contiguous() for name, value in tensors.items()}, aside, metadata=metadata)
        aside.replace(path)
    except (OSError, SafetensorError) as error:  # the latter for a disk that is full
        said = getattr(error, "strerror", None) or " ".join(str(error).split()).rstrip(".")
        raise TrainingError(f"{path} cannot be written: {said}; make room, or check its permissions") from error


def read_place(folder: Path) -> dict[str, Any] | None:
    """The place in the recipe at which a run stopped; None where it has no state. Raises TrainingError."""
    from safetensors import safe_open

    if not (folder / STATE).is_file():
        return None
    try:
        with safe_open(folder / STATE, "pt") as file:
            return dict(json.loads(file.metadata()["place"]))
    except Exception as error:  # safetensors has its own class for a file that is cut short
        raise TrainingError(f"{folder / STATE} cannot be read ({error}); begin anew with --restart") from error


def load_modules(folder: Path, modules: dict[str, nn.Module]) -> None:
    """Fills modules from the state. Raises TrainingError where they do not fit."""
    tensors = load_file(folder / STATE)
    for room, module in modules.items():
        own = {name.partition("/")[2]: v for name, v in tensors.items() if name.partition("/")[0] == room}
        try:
            module.load_state_dict(own)
        except RuntimeError as error:
            raise TrainingError(f"{folder / STATE} is of another network; begin anew with --restart") from error


def load_optimiser(folder: Path, optimiser: torch.optim.Optimizer) -> None:
    """Gives the optimiser its moments back; its groups must be those of the interrupted phase."""
    tensors = load_file(folder / STATE)
    for number, (parameter, _) in enumerate(_moments(optimiser)):
        prefix = f"{OPTIMISER}/{number}/"
        found = {name.removeprefix(prefix): v for name, v in tensors.items() if name.startswith(prefix)}
        if found:
            optimiser.state[parameter] = {
                name: value if name == "step" else value.to(parameter.device) for name, value in found.items()
            }


def _moments(optimiser: torch.optim.Optimizer) -> list[tuple[Tensor, dict[str, Any]]]:
    return [(p, optimiser.state.get(p, {})) for group in optimiser.param_groups for p in group["params"]]
