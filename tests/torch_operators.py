"""torch and timm for the tests, also where torchvision was compiled for another torch than the one at hand.

Importing timm imports torchvision, and that fails where its compiled operators cannot be loaded. Nothing here calls
them (they choose boxes for detectors), so that it is enough to declare them. Tests import `timm` and `torch` from here.
"""

from __future__ import annotations

import contextlib
import importlib.util
from pathlib import Path

import torch

OPERATORS = ("nms", "qnms")
SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def declare_missing() -> torch.library.Library | None:
    """Declares the operators that torchvision cannot bring along. They last as long as the library that this gives."""
    spec = importlib.util.find_spec("torchvision")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for compiled in Path(folder).glob("_C.*"):
            with contextlib.suppress(OSError):
                torch.ops.load_library(compiled)
    if spec is None or hasattr(torch.ops.torchvision, OPERATORS[0]):
        return None
    library = torch.library.Library("torchvision", "DEF")
    for name in OPERATORS:
        library.define(name + SIGNATURE)
    return library


LIBRARY = declare_missing()

import timm  # noqa: E402  # it needs the operators

__all__ = ["timm", "torch"]
