"""Tiny networks with random numbers, saved as people have them: a CLIP of open_clip, a backbone of timm.

A random CLIP tells pictures and texts apart but knows nothing of what they show.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch_operators import timm, torch

import open_clip  # isort: skip  # it needs the operators that torch_operators declares

SIDE, DIM, CONTEXT = 32, 16, 77
ARCHITECTURE: dict[str, Any] = {
    "embed_dim": DIM,
    "vision_cfg": {"image_size": SIDE, "layers": 2, "width": 32, "patch_size": 8, "head_width": 16},
    "text_cfg": {"context_length": CONTEXT, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}
PREPROCESSING: dict[str, Any] = {
    "mean": [0.48, 0.46, 0.41], "std": [0.27, 0.26, 0.28], "interpolation": "bicubic", "resize_mode": "shortest",
}  # fmt: skip


def tiny_clip(seed: int = 0, architecture: dict[str, Any] = ARCHITECTURE) -> Any:
    """The network itself, in evaluation mode."""
    state = torch.random.get_rng_state()
    try:
        torch.manual_seed(seed)
        return open_clip.CLIP(**architecture).eval()
    finally:
        torch.random.set_rng_state(state)


def tiny_clip_folder(folder: Path, seed: int = 0, preprocessing: dict[str, Any] = PREPROCESSING) -> Path:
    """A folder with open_clip_config.json and open_clip_model.safetensors, as ``clip:FOLDER`` takes it."""
    return save_clip_folder(tiny_clip(seed), folder, preprocessing)


def save_clip_folder(network: Any, folder: Path, preprocessing: dict[str, Any] = PREPROCESSING) -> Path:
    """The folder of a network of :data:`ARCHITECTURE` that a test has trained or changed."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    config = {"model_cfg": ARCHITECTURE, "preprocess_cfg": preprocessing}
    (folder / "open_clip_config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file(_contiguous(network.state_dict()), folder / "open_clip_model.safetensors")
    return folder


def tiny_clip_checkpoint(folder: Path, seed: int = 0, name: str = "tiny") -> tuple[Path, Path]:
    """(architecture JSON, .pt file), as ``clip:JSON?weights=FILE`` takes them."""
    folder.mkdir(parents=True, exist_ok=True)
    architecture, weights = folder / f"{name}.json", folder / f"{name}.pt"
    architecture.write_text(json.dumps(ARCHITECTURE), encoding="utf-8")
    state = {f"module.{key}": value for key, value in tiny_clip(seed).state_dict().items()}
    torch.save({"epoch": 1, "name": "a run", "state_dict": state}, weights)  # as open_clip's training saves it
    return architecture, weights


def tiny_timm_checkpoint(path: Path, name: str = "test_vit", seed: int = 0, **options: Any) -> Path:
    """A .safetensors file of a backbone of timm with its classifier, as ``timm:NAME?weights=FILE`` takes it."""
    from safetensors.torch import save_file

    state = torch.random.get_rng_state()
    try:
        torch.manual_seed(seed)
        network = timm.create_model(name, **options)
    finally:
        torch.random.set_rng_state(state)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(_contiguous(network.state_dict()), path)
    return path


def _contiguous(state: dict[str, Any]) -> dict[str, Any]:
    return {key: value.contiguous() for key, value in state.items()}
