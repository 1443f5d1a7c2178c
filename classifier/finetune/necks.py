"""From a backbone's last features to one vector an image."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from simsearch.classifier.finetune.backbones import Backbone
from simsearch.classifier.finetune.recipe import Neck
from simsearch.errors import TrainingError

LEVELS = 3
"""Scales of the feature pyramid: the last map, and it at a half and a quarter of its rows and columns."""
MOST_HEADS = 8


class NeckModule(nn.Module):
    """Features as the backbone gives them to vectors (n, width)."""

    width: int
    """Numbers of the vector."""


def make_neck(neck: Neck, backbone: Backbone) -> NeckModule:
    """The neck that a recipe asks for, fitted to its backbone. Raises TrainingError where they do not go together."""
    return ConvLstmNeck(neck, backbone) if neck.kind == "conv-lstm" else Pool(neck, backbone)


class Pool(NeckModule):
    """The class token beside the mean of the patches, that mean alone where there is no class token, or a map's mean.

    The first is what DINOv2's linear probes look at (Oquab et al. 2023). Registers are left out.
    """

    def __init__(self, neck: Neck, backbone: Backbone) -> None:
        super().__init__()
        self.tokens, self.prefix, self.class_token = backbone.kind == "tokens", backbone.prefix, backbone.class_token
        self.width = backbone.width * (2 if self.tokens and self.class_token else 1)
        self.dropout = nn.Dropout(neck.dropout)

    def forward(self, features: Tensor) -> Tensor:
        """Vectors (n, width) of tokens (n, T, width of the backbone), or of a map (n, width of the backbone, h, w)."""
        if not self.tokens:
            vector = features.mean((2, 3))
        else:
            vector = features[:, self.prefix :].mean(1)
            if self.class_token:
                vector = torch.cat([features[:, 0], vector], 1)
        out: Tensor = self.dropout(vector)
        return out


class ConvLstmNeck(NeckModule):
    """A ConvLSTM that reads a feature pyramid from coarse to fine, and self-attention over what it remembers.

    Every level of the pyramid, brought to the size of the last map, is one step of the sequence. Attention over the
    places of the last hidden state is added to that state and normed, as in Vaswani et al. 2017; the vector is the mean
    over places.
    """

    def __init__(self, neck: Neck, backbone: Backbone) -> None:
        super().__init__()
        if neck.width < 1:
            raise TrainingError(f"the conv-lstm neck has a width of {neck.width}; give at least 1")
        self.before, self.prefix = backbone.width, backbone.prefix
        self.grid = backbone.grid if backbone.kind == "tokens" else None
        if self.grid == (0, 0):
            raise TrainingError(
                "the conv-lstm neck needs patches in a square grid, which this backbone lacks; take pool"
            )
        self.width = neck.width
        self.pyramid = Pyramid(backbone.width, neck.width)
        self.cell = ConvLstmCell(neck.width, neck.width)
        self.attention = SelfAttention(neck.width)
        self.norm = nn.LayerNorm(neck.width)
        self.dropout = nn.Dropout(neck.dropout)

    def forward(self, features: Tensor) -> Tensor:
        """Vectors (n, width) of tokens (n, T, width of the backbone), or of a map (n, width of the backbone, h, w).

        Raises TrainingError for tokens of which patches were dropped.
        """
        levels = self.pyramid(self.laid_out(features))
        size = levels[-1].shape[-2:]
        hidden = memory = torch.zeros_like(levels[-1])
        for level in levels:
            hidden, memory = self.cell(functional.interpolate(level, size), hidden, memory)
        places = hidden.flatten(2).transpose(1, 2)
        out: Tensor = self.dropout(self.norm(places + self.attention(places)).mean(1))
        return out

    def laid_out(self, features: Tensor) -> Tensor:
        """The map (n, width of the backbone, h, w): patches row by row, as the image was cut."""
        if self.grid is None:
            return features
        down, across = self.grid
        patches = features.shape[1] - self.prefix
        if patches != down * across:
            raise TrainingError(
                f"the conv-lstm neck needs the whole grid of {down} x {across} patches and got {patches}; "
                "leave patch_dropout away, or take the pool neck"
            )
        return features[:, self.prefix :].transpose(1, 2).reshape(-1, self.before, down, across)


class Pyramid(nn.Module):
    """A feature pyramid (Lin et al. 2017, section 3) over one map at several scales.

    Lin et al. take the maps of several stages; here the coarser ones are the last map averaged over 3 x 3 places at
    every second one. Each has a lateral 1 x 1 convolution, to which the coarser level, enlarged by repetition, is
    added; a 3 x 3 convolution then smooths what the repetition left.
    """

    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(before, width, 1) for _ in range(LEVELS))
        self.smooth = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(LEVELS))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Levels (n, width, h', w') of a map (n, before, h, w), coarse to fine, the last one h x w."""
        levels: list[Tensor] = []
        for lateral in self.lateral:
            levels.append(lateral(x))
            x = functional.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False)
        joined = levels[-1:]
        for level in reversed(levels[:-1]):
            joined.append(level + functional.interpolate(joined[-1], level.shape[-2:]))
        return [smooth(level) for smooth, level in zip(self.smooth, joined, strict=True)]


class ConvLstmCell(nn.Module):
    """One step of a convolutional LSTM (Shi et al. 2015, equation 3), without the terms that let gates see the memory.

    Those terms have a weight for every place, which ties a network to one size of map. The bias of the forget gate
    begins at 1, so that the first levels are not forgotten before the gate has learned (Jozefowicz et al. 2015).
    """

    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        self.gates = nn.Conv2d(before + width, 4 * width, 3, padding=1)
        """Input gate, forget gate, candidate, output gate, each `width` channels."""
        bias = self.gates.bias
        if bias is not None:  # it is; Conv2d's type cannot say so
            nn.init.zeros_(bias)
            nn.init.ones_(bias[width : 2 * width])

    def forward(self, x: Tensor, hidden: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Hidden state and memory (n, width, h, w) after x (n, before, h, w)."""
        into, kept, candidate, out = self.gates(torch.cat([x, hidden], 1)).chunk(4, 1)
        memory = kept.sigmoid() * memory + into.sigmoid() * candidate.tanh()
        return out.sigmoid() * memory.tanh(), memory


class SelfAttention(nn.Module):
    """Multi-head scaled dot-product attention of places among themselves (Vaswani et al. 2017, section 3.2.2)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = max(n for n in range(1, MOST_HEADS + 1) if width % n == 0)
        self.asked = nn.Linear(width, 3 * width)
        """Queries, keys and values, each `width` numbers, head after head."""
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(n, places, width) of as many."""
        split = self.asked(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(split[0], split[1], split[2])
        joined: Tensor = self.out(seen.transpose(1, 2).flatten(2))
        return joined
