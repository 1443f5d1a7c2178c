"""Weights from a .safetensors file into a network of timm, all of them or none."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from simsearch.errors import TrainingError

AUXILIARY = ("AuxLogits",)
"""Classifiers beside the last one that some files hold; Inception was trained with one."""
COUNTER = "num_batches_tracked"
"""Of batch norms; files of other tools lack it, and nothing here reads it."""
SHOWN = 3


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file by name. Raises TrainingError."""
    try:
        return load_file(path.expanduser())
    except FileNotFoundError as error:
        raise TrainingError(f"there are no weights at {path}; write hub, none, or a .safetensors file") from error
    except (OSError, SafetensorError) as error:
        said = " ".join(str(error).split()).rstrip(".")
        raise TrainingError(f"{path} cannot be read as a .safetensors file: {said}") from error


def fill(network: Any, state: Mapping[str, Tensor], spare: Collection[str], fits: str) -> None:
    """Puts weights with timm's names into a network, whatever their float type.

    Names below one of `spare`, modules that the network no longer has, are left out. A position embedding that was
    learned on another grid of patches is brought to the network's by timm. Raises TrainingError, which begins with
    `fits` ("FILE does not fit ARCHITECTURE"), where names or shapes differ.
    """
    ignored = tuple(f"{name}." for name in (*spare, *AUXILIARY))
    own = set(network.state_dict())
    state = {name: value for name, value in state.items() if name in own or not name.startswith(ignored)}
    here, there = getattr(network, "pos_embed", None), state.get("pos_embed")
    size = None
    if isinstance(here, Tensor) and there is not None and there.ndim == 3 and hasattr(network, "set_input_size"):
        side = math.isqrt(max(1, there.shape[1] - (here.shape[1] - network.patch_embed.num_patches)))
        size = network.patch_embed.img_size
        network.set_input_size(img_size=tuple(side * patch for patch in network.patch_embed.patch_size))
    _fill_exactly(network, state, fits)
    if size is not None:
        network.set_input_size(img_size=size)


def _fill_exactly(network: nn.Module, state: Mapping[str, Tensor], fits: str) -> None:
    own = {name: value for name, value in network.state_dict().items() if not name.endswith(COUNTER)}
    missing = [name for name in own if name not in state]
    strange = [name for name in state if name not in own and not name.endswith(COUNTER)]
    other = [
        f"{name}, {_shape(state[name])} in the file and {_shape(value)} in the network"
        for name, value in own.items()
        if name in state and state[name].shape != value.shape
    ]
    if missing or strange or other:
        kinds = ((missing, "missing"), (strange, "that the network lacks"), (other, "of another shape"))
        said = ", ".join(f"{len(names)} {what} ({_first(names)})" for names, what in kinds if names)
        raise TrainingError(f"{fits}: of {len(own)} names, {said}; take the file of this very architecture")
    network.load_state_dict(state, strict=False)  # only counters are not in both


def _first(names: list[str]) -> str:
    return "; ".join(names[:SHOWN]) + ("; ..." if len(names) > SHOWN else "")


def _shape(value: Tensor) -> str:
    return " x ".join(map(str, value.shape)) or "one number"
