"""One vector a picture out of a backbone of timm: its own, or that of a layer, pooled over positions.

A Gram vector says which channels are at work together and forgets where, which is what texture and brushwork are made
of (Gatys, Ecker and Bethge, "A neural algorithm of artistic style", 2015). It is made of the
Gram matrix G = F'F / P of features F (P positions, C channels):

- Up to 64 channels it is the upper triangle of G with its diagonal, C (C + 1) / 2 numbers, those off the diagonal times
  the square root of 2, so that a dot product of two vectors is the one of the two matrices.
- Beyond, the triangle would have 131,328 numbers for 512 channels. It is sketched instead: number d is a_d' G b_d, with
  a_d and b_d vectors of random signs from a fixed seed, the same on every machine. The dot product of two sketches of
  2,048 numbers has that of the two matrices as its mean, and strays from it by some hundredths.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from simsearch.encoders.checkpoints import nearest
from simsearch.errors import EncoderError

EXACT_CHANNELS = 64
SKETCH = 2048
SEED = 20150826


class Features(nn.Module):
    """Features (n, dim) of normalised pixels (n, 3, size, size)."""

    def __init__(self, network: Any, layer: str | None, pool: str | None, who: str) -> None:
        """`who` is what messages call the encoder. Raises EncoderError for a layer that the network lacks."""
        super().__init__()
        self.network = network
        self.layer, self.who = layer, who
        self.pool = pool or ("avg" if layer else None)
        self.channels_last = getattr(network, "output_fmt", "NCHW") == "NHWC"
        self.prefix = int(getattr(network, "num_prefix_tokens", 0) or 0)
        self._caught: list[Any] = []
        self._signs: dict[tuple[int, torch.device], tuple[Tensor, Tensor]] = {}
        if layer is not None:
            modules = {name: module for name, module in network.named_modules() if name}
            if layer not in modules:
                hint = nearest(layer, modules, "named_modules() of the network tells what there is")
                raise EncoderError(f"{who}: the network has no layer {layer!r}{hint}")
            modules[layer].register_forward_hook(self._catch)

    def forward(self, pixels: Tensor) -> Tensor:
        """Not yet of length 1."""
        if self.pool is None:
            out = self.network(pixels)
            if not isinstance(out, Tensor) or out.ndim != 2:
                raise self._no_use(out, "one vector is needed; give pool=avg")
            return out
        found = self._inside(pixels) if self.layer else self.network.forward_features(pixels)
        return self._pooled(found)

    def _inside(self, pixels: Tensor) -> Any:
        """What the layer gives; what lies above it is not computed."""
        self._caught.clear()
        try:
            self.network(pixels)
        except _ReachedError:
            pass
        else:
            raise EncoderError(f"{self.who}: no picture passes through {self.layer!r}; take another layer")
        return self._caught.pop()

    def _catch(self, _module: nn.Module, _given: Any, out: Any) -> None:
        self._caught.append(out)
        raise _ReachedError

    def _pooled(self, found: Any) -> Tensor:
        if not isinstance(found, Tensor) or found.ndim not in (2, 3, 4):
            raise self._no_use(found, "tokens or a map are needed; take another layer")
        if found.ndim == 2 and self.pool in ("avg", "max"):
            return found
        tokens, positions = self._parts(found)
        if self.pool == "token":
            if tokens is None or not tokens.shape[1]:
                raise self._no_use(found, "pool=token needs a class token; give pool=avg")
            return tokens[:, 0]
        if positions is None:
            raise self._no_use(found, f"pool={self.pool} needs positions; take an earlier layer")
        if self.pool == "gram":
            return self._gram(positions.float())
        return positions.amax(1) if self.pool == "max" else positions.mean(1)

    def _parts(self, found: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """(tokens before the patches (n, t, C), positions (n, P, C)) of tokens or of a map."""
        if found.ndim == 2:
            return None, None
        if found.ndim == 3:
            prefix = self.prefix if found.shape[1] > self.prefix else 0
            return found[:, :prefix], found[:, prefix:]
        return None, found.flatten(1, 2) if self.channels_last else found.flatten(2).transpose(1, 2)

    def _gram(self, positions: Tensor) -> Tensor:
        with torch.autocast(positions.device.type, enabled=False):  # squares of features are too much for float16
            gram = positions.transpose(1, 2) @ positions / positions.shape[1]
            channels = gram.shape[1]
            if channels <= EXACT_CHANNELS:
                rows, columns = torch.triu_indices(channels, channels, device=gram.device)
                return gram[:, rows, columns] * torch.where(rows == columns, 1.0, 2.0**0.5)
            left, right = self._sketch(channels, gram.device)
            sketched: Tensor = (left * (gram @ right)).sum(1) / SKETCH**0.5
            return sketched

    def _sketch(self, channels: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Two matrices (channels, SKETCH) of 1 and -1."""
        if (channels, device) not in self._signs:
            drawn = np.random.default_rng(SEED).integers(0, 2, (2, channels, SKETCH)).astype(np.float32) * 2 - 1
            left, right = torch.from_numpy(drawn).to(device)
            self._signs[channels, device] = left, right
        return self._signs[channels, device]

    def _no_use(self, found: Any, way: str) -> EncoderError:
        numbers = isinstance(found, Tensor)
        shape = f"{' x '.join(map(str, found.shape[1:]))} numbers a picture" if numbers else f"a {type(found).__name__}"
        where = f"the layer {self.layer!r}" if self.layer else "the network"
        return EncoderError(f"{self.who}: {where} gives {shape}: {way}")


class _ReachedError(Exception):
    """The layer was reached. Raised and caught here."""
