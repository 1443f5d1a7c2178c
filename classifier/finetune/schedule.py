"""Which weights learn in a phase, and how fast at each of its steps."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from torch import nn

from simsearch.classifier.finetune.freeze import top_layers
from simsearch.classifier.finetune.network import Network
from simsearch.classifier.finetune.recipe import Phase, share_of


def learning_layers(network: Network, phase: Phase, below: int) -> list[list[nn.Parameter]]:
    """The backbone's layers that learn in a phase, output first; with a cache never one below its cut."""
    return top_layers(network.backbone, share_of(phase.train), below)


def parameter_groups(
    layers: list[list[nn.Parameter]], new: Iterable[nn.Parameter], phase: Phase
) -> list[dict[str, Any]]:
    """Groups for AdamW: layers (output first) at falling rates, then what is new; biases and norms without decay.

    Each group carries `peak`, its largest learning rate.
    """
    rates = [(layer, phase.lr * phase.layer_decay**depth) for depth, layer in enumerate(layers)]
    groups: list[dict[str, Any]] = []
    for parameters, rate in [*rates, (list(new), phase.head_lr)]:
        for decayed in (True, False):
            members = [p for p in parameters if (p.ndim > 1) == decayed and p.requires_grad]
            if members:
                decay = phase.weight_decay if decayed else 0.0
                groups.append({"params": members, "lr": rate, "peak": rate, "weight_decay": decay})
    return groups


def rate_at(step: int, steps: int, warmup: float) -> float:
    """The factor on the learning rate at a step of a phase: a straight rise, then half a cosine down to 0.

    Loshchilov and Hutter 2017 (SGDR, without restarts).
    """
    rising = max(1, round(steps * warmup)) if warmup else 0
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))
