"""The network that is trained: a backbone, a neck, and one projection for each part of the embedding."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import normalize

from simsearch.classifier.finetune.backbones import Backbone, load_backbone
from simsearch.classifier.finetune.necks import make_neck
from simsearch.classifier.finetune.recipe import Recipe, as_data, recipe_of
from simsearch.classifier.finetune.runs import clip_folder
from simsearch.classifier.finetune.state import write_tensors
from simsearch.errors import TrainingError

WEIGHTS, CARD = "network.safetensors", "network.json"


class Network(nn.Module):
    """Pixels to an embedding in parts, such as what a work means and which work it is."""

    def __init__(self, recipe: Recipe, backbone: Backbone) -> None:
        super().__init__()
        self.recipe, self.backbone = recipe, backbone
        self.neck = make_neck(recipe.neck, backbone)
        self.parts = nn.ModuleDict(
            {p.name: nn.Linear(self.neck.width, p.dim) if p.dim else nn.Identity() for p in recipe.parts}
        )
        for part in recipe.parts:
            self.register_buffer(f"centre_{part.name}", torch.zeros(part.dim or self.neck.width))

    @property
    def dim(self) -> int:
        """Numbers of the embedding."""
        return sum(self.width_of(part.name) for part in self.recipe.parts)

    def width_of(self, part: str) -> int:
        """Numbers of one part."""
        return int(self.centre(part).shape[0])

    def centre(self, part: str) -> Tensor:
        """The mean (dim,) of a part over the train works, once it was measured."""
        centre: Tensor = getattr(self, f"centre_{part}")
        return centre

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Each part (n, dim) of normalised pixels (n, 3, size, size)."""
        return self.from_features(self.backbone(x))

    def from_features(self, features: Tensor) -> dict[str, Tensor]:
        """Each part (n, dim) of what the backbone gives, not centred and not of unit length."""
        vector = self.neck(features)
        return {name: projection(vector) for name, projection in self.parts.items()}

    def joined(self, parts: Mapping[str, Tensor]) -> Tensor:
        """The embedding (n, dim), unit rows float32: each part centred, of the length that the recipe says."""
        stretches = [
            normalize(parts[p.name].float() - self.centre(p.name), dim=1) * p.weight for p in self.recipe.parts
        ]
        return normalize(torch.cat(stretches, 1), dim=1)

    def embed(self, x: Tensor) -> Tensor:
        """Unit rows (n, dim) float32 of normalised pixels (n, 3, size, size) float32."""
        return self.joined(self(x))


def save_network(network: Network, folder: Path, extra: Mapping[str, Any]) -> None:
    """Writes `network.safetensors` and `network.json`, of which :func:`load_network` makes the network again.

    `extra` joins the JSON file. Raises TrainingError where the folder cannot be written.
    """
    card = {
        "recipe": as_data(network.recipe),
        "dim": network.dim,
        "parameters": parameters_in(network),
        "mean": list(network.backbone.mean),
        "std": list(network.backbone.std),
    } | dict(extra)
    aside = folder / (CARD + ".part")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_tensors(network.state_dict(), folder / WEIGHTS)
        aside.write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
        aside.replace(folder / CARD)
    except OSError as error:
        raise TrainingError(f"{folder} cannot be written: {error.strerror or error}") from error


def empty_network(recipe: Recipe) -> Network:
    """The network that a recipe describes, with random numbers for a checkpoint to fill."""
    return Network(recipe, load_backbone(recipe, weights=False))


def load_network(folder: Path) -> Network:
    """The trained network of a run's folder, in eval mode. Raises TrainingError that names what is missing."""
    if clip_folder(folder):
        raise TrainingError(
            f"{folder} holds a CLIP of two towers, not a network of one; name it as the encoder "
            f"clip:{clip_folder(folder)}"
        )
    for needed in (folder / CARD, folder / WEIGHTS):
        if not needed.is_file():
            raise TrainingError(
                f"{folder} holds no finished run: it has no {needed.name}; let `simsearch finetune` end, or resume it"
            )
    try:
        recipe = recipe_of(json.loads((folder / CARD).read_text(encoding="utf-8"))["recipe"], str(folder / CARD))
        network = empty_network(recipe)
        network.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise TrainingError(f"{folder} holds no network that can be read: {' '.join(str(error).split())}") from error
    return network.eval()


def parameters_in(module: nn.Module) -> int:
    """How many numbers a module learns or could learn."""
    return sum(p.numel() for p in module.parameters())
