"""The parameters of a CLIP in the order in which they are tuned: its projections, then both towers block by block."""

from __future__ import annotations

import re
from collections.abc import Iterator

from torch import nn

from simsearch.classifier.finetune.clip.lora import ADAPTER, BLOCKS

Layers = list[list[nn.Parameter]]
PROJECTION = re.compile(
    r"(visual\.(proj|head\.|attnpool\.|trunk\.head\.)|(text\.)?(text_projection|proj)(\.|$)|logit_scale$|logit_bias$)"
)
"""What maps the towers' features to the common space."""
BLOCK = re.compile(rf"(?:^|\.)(?:{'|'.join(BLOCKS)}|layer(?=\d))\.?(\d+)\.")
LAST = re.compile(r"(?:^|\.)(ln_post|ln_final|norm|fc_norm|final_layer_norm)\.")
"""Norms that stand after the last block."""


def projections(model: nn.Module) -> list[nn.Parameter]:
    """What is trained first: the maps to the common space, and the scale of cosines."""
    return [parameter for name, parameter in model.named_parameters() if PROJECTION.match(name)]


def tower_layers(model: nn.Module, adapters: bool = False) -> Layers:
    """Everything else, from the input to the output: blocks of both towers that are as far from the output together.

    With `adapters` only what these learn.
    """
    sides = [_tower(model, text, adapters) for text in (False, True)]
    depth = max(map(len, sides))
    joined: Layers = []
    for place in range(depth):
        layer: list[nn.Parameter] = []
        for side in sides:
            first = depth - len(side)
            if place >= first:
                layer += side[place - first]
        joined.append(layer)
    return [layer for layer in joined if layer]


def _tower(model: nn.Module, text: bool, adapters: bool) -> Layers:
    named = [(name, p) for name, p in model.named_parameters() if name.startswith("visual.") != text]
    named = [(name, p) for name, p in named if not PROJECTION.match(name)]
    blocks: dict[int, list[nn.Parameter]] = {}
    for name, parameter in _with_adapters(named, adapters):
        blocks.setdefault(_place(name), []).append(parameter)
    last = blocks.pop(AFTER, [])
    layers = [blocks[place] for place in sorted(blocks)]
    if last:
        layers = [*layers[:-1], [*layers[-1], *last]] if layers else [last]
    return layers


BEFORE, AFTER = -1, 1 << 30


def _place(name: str) -> int:
    found = BLOCK.search(name)
    if found:
        return int(found[1])
    return AFTER if LAST.search(name) else BEFORE


def _with_adapters(named: list[tuple[str, nn.Parameter]], adapters: bool) -> Iterator[tuple[str, nn.Parameter]]:
    for name, parameter in named:
        if not adapters or ADAPTER in name:
            yield name, parameter
