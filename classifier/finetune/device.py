"""What a network runs on, and in which numbers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from simsearch.errors import TrainingError

PRECISIONS = ("auto", "float32", "bfloat16")
Autocast = Callable[[], AbstractContextManager[Any]]


def chosen_device(name: str) -> torch.device:
    """The device of a name; ``auto`` takes CUDA where there is one. Raises TrainingError for one that does not work."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise TrainingError(f"there is no device {name!r}; give auto, cpu or cuda") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise TrainingError("this machine has no CUDA device that torch can use; leave --device away, or give cpu")
    try:
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError) as error:
        raise TrainingError(f"torch cannot use a device {name!r} on this machine; give auto, cpu or cuda") from error
    return device


def autocast_for(device: torch.device, precision: str) -> Autocast:
    """What runs the network in bfloat16; ``auto`` where the device computes in it (on a CPU: with AVX-512 BF16).

    Raises TrainingError for a precision that is none.
    """
    if precision not in PRECISIONS:
        raise TrainingError(f"there is no precision {precision!r}; give one of {', '.join(PRECISIONS)}")
    able = torch.cuda.is_bf16_supported() if device.type == "cuda" else torch.cpu._is_avx512_bf16_supported()
    if precision == "bfloat16" or (precision == "auto" and able):
        return lambda: torch.autocast(device.type, torch.bfloat16)
    return nullcontext
