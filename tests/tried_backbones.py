"""Small backbones, with what goes into them: shared by the tests of networks and of their weights."""

from pathlib import Path

from torch_operators import torch

from simsearch.classifier.finetune.backbones import load_backbone
from simsearch.classifier.finetune.recipe import Recipe

SIZE = 48


def recipe(backbone="timm:test_vit", size=SIZE, **other):
    return Recipe(name="tried", backbone=backbone, input_size=size, **other)


def loaded(*args, **other):
    torch.manual_seed(1)
    return load_backbone(recipe(*args, **other)).eval()


def pixels(size=SIZE, n=2):
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(2))


def saved(state, path: Path) -> str:
    from safetensors.torch import save_file

    save_file({name: value.contiguous() for name, value in state.items()}, path)
    return str(path)
