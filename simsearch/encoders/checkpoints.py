"""Weights of torch: read from a file without running anything in it, put into a network whole or not at all."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from simsearch.errors import EncoderError

State = dict[str, Tensor]
INSIDE = ("state_dict", "model")
"""Keys below which training scripts keep the tensors, among what they need to go on."""
WRAPPED = ("module.", "_orig_mod.")
"""What stands before every name where the network was trained in parallel or compiled."""
COUNTER = "num_batches_tracked"
"""Of batch norms; files of other tools lack it, and nothing here reads it."""
STRAY = ("attn_mask", "position_ids", "input_resolution", "context_length", "vocab_size")
"""What older files hold beside the weights, and what follows from the architecture."""
SHOWN = 3


def read_state(path: Path) -> State:
    """The tensors of a .safetensors, .pt, .pth or .bin file by name.

    Raises EncoderError for a file that is not there, that is damaged, or that holds more than tensors: pickled objects
    would have to be run to be read, and are not.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "is not there"
        raise EncoderError(f"{path} {what}; weights= takes a .safetensors, .pt or .bin file")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (OSError, SafetensorError) as error:
            raise EncoderError(f"{path} cannot be read as a .safetensors file: {said(error)}") from error
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise EncoderError(
            f"{path} is damaged or holds more than tensors ({said(error)}), and nothing pickled is run here; save "
            "its state_dict as .safetensors where you trust it"
        ) from error
    except Exception as error:  # a zip file cut short, an archive of TorchScript: a class for each
        raise EncoderError(f"{path} cannot be read as a file of torch: {said(error)}; take another file") from error
    return _unwrapped(held, path)


def fill(network: Any, state: Mapping[str, Tensor], fits: str, spare: Collection[str] = ()) -> None:
    """Puts weights into a network, whatever their float type; every tensor of it comes from them.

    Names below one of `spare`, modules that the network does without, are left out. Raises EncoderError, which begins
    with `fits` ("FILE does not fit ARCHITECTURE"), with the first names that differ; the network is then as it was.
    """
    own = {name: value for name, value in network.state_dict().items() if not name.endswith(COUNTER)}
    ignored = tuple(f"{name}." for name in spare)
    given = {
        name: value
        for name, value in state.items()
        if name in own or not (name.startswith(ignored) or name.endswith((COUNTER, *STRAY)))
    }
    other = [
        f"{name}, {_shape(given[name])} in the file and {_shape(value)} in the network"
        for name, value in own.items()
        if name in given and given[name].shape != value.shape
    ]
    missing = [name for name in own if name not in given]
    strange = [name for name in given if name not in own]
    if missing or strange or other:
        kinds = ((missing, "missing"), (strange, "that the network lacks"), (other, "of another shape"))
        differ = ", ".join(f"{len(names)} {what} ({_first(names)})" for names, what in kinds if names)
        raise EncoderError(f"{fits}: of {len(own)} tensors, {differ}; take the weights of this very architecture")
    network.load_state_dict(given, strict=False)  # only counters are not in both


def digest_of(network: Any, *more: str) -> str:
    """Hexadecimal SHA-256 of a network's tensors, by name, and of what else its numbers depend on.

    It is of the numbers in float32, so that it is the same for whatever kind of file they came from.
    """
    found = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        if not name.endswith(COUNTER):
            numbers = value.detach().cpu().float().contiguous().numpy()
            found.update(f"{name} {_shape(value)}\n".encode())
            found.update(numbers.astype("<f4", copy=False).reshape(-1).view("u1"))
    for text in more:
        found.update(f"{text}\n".encode())
    return found.hexdigest()


def nearest(name: str, known: Collection[str], otherwise: str) -> str:
    """``; did you mean ...?`` with the names that come nearest, whatever their case, or what to do otherwise."""
    lower = {each.lower(): each for each in known}
    near = get_close_matches(name.lower(), lower, 3, 0.5)
    return f"; did you mean {' or '.join(lower[each] for each in near)}?" if near else f"; {otherwise}"


def said(error: BaseException) -> str:
    """The first line of what an error says, without the stop that would end our sentence."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".: ")


def _unwrapped(held: Any, path: Path) -> State:
    for key in INSIDE:
        if isinstance(held, Mapping) and isinstance(held.get(key), Mapping):
            held = held[key]
    if not isinstance(held, Mapping) or not any(isinstance(value, Tensor) for value in held.values()):
        raise EncoderError(f"{path} holds no tensors by name; save the network's state_dict")
    state = {str(name): value for name, value in held.items() if isinstance(value, Tensor)}
    for prefix in WRAPPED:
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def _first(names: list[str]) -> str:
    return "; ".join(names[:SHOWN]) + ("; ..." if len(names) > SHOWN else "")


def _shape(value: Tensor) -> str:
    return " x ".join(map(str, value.shape)) or "one number"
