"""Which weights of a backbone learn, and what the others do meanwhile."""

from __future__ import annotations

from collections.abc import Set

from torch import nn

from simsearch.classifier.finetune.backbones import Backbone


def top_layers(backbone: Backbone, share: float, below: int = 0) -> list[list[nn.Parameter]]:
    """The backbone's layers nearest the output: see :func:`topmost`."""
    return topmost(backbone.layers(), share, below)


def topmost(layers: list[list[nn.Parameter]], share: float, below: int = 0) -> list[list[nn.Parameter]]:
    """The layers nearest the output, output first: as many whole ones as hold at least `share` of all numbers.

    None for 0, all for 1; but where `below` blocks stay as they are, neither these nor what stands before them.
    """
    wanted = share * sum(p.numel() for layer in layers for p in layer)
    chosen: list[list[nn.Parameter]] = []
    held = 0
    for layer in reversed(layers[below + 1 :] if below else layers):  # layer 0 stands before the first block
        if held >= wanted:
            break
        chosen.append(layer)
        held += sum(p.numel() for p in layer)
    return chosen


def train_mode(backbone: nn.Module, trainable: Set[nn.Parameter]) -> None:
    """Puts what learns into training mode and what is frozen into evaluation mode.

    A frozen batch norm goes on with the statistics that it was trained with and leaves them as they are, and nothing is
    dropped in frozen blocks. Modules without parameters (dropout, activations) go with the module that they lie in.
    """
    _set_mode(backbone, trainable, learns=bool(trainable))


def _set_mode(module: nn.Module, trainable: Set[nn.Parameter], learns: bool) -> None:
    own = list(module.parameters())
    module.training = any(p in trainable for p in own) if own else learns
    for child in module.children():
        _set_mode(child, trainable, module.training)
