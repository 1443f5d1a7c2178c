"""The numbers of a model that a run changes: what it saves to go on from, and their average."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Self

import torch
from torch import Tensor, nn


class Kept(nn.Module):
    """Tensors by name, as a module that a state can be made of. They share their memory with where they come from."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.names = list(tensors)
        for name, tensor in tensors.items():
            self.register_buffer(_flat(name), tensor.detach())

    @classmethod
    def of(cls, model: nn.Module, parameters: list[nn.Parameter], buffers: bool) -> Self:
        """Some of a model's parameters, and its buffers where these belong to its weights too."""
        wanted = {id(parameter) for parameter in parameters}
        tensors: dict[str, Tensor] = {name: p for name, p in model.named_parameters() if id(p) in wanted}
        if buffers:
            stored = set(model.state_dict())
            tensors |= {name: buffer for name, buffer in model.named_buffers() if name in stored}
        return cls(tensors)

    def copy(self) -> Kept:
        """The same with memory of its own."""
        return Kept({name: tensor.clone() for name, tensor in self.tensors()})

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Name and tensor of each."""
        return ((name, getattr(self, _flat(name))) for name in self.names)

    @torch.no_grad()
    def follow(self, other: Kept, keep: float) -> None:
        """Moves towards another one: keeps the share `keep` of each number. What is no float is taken over."""
        for (_, own), (_, now) in zip(self.tensors(), other.tensors(), strict=True):
            if own.is_floating_point():
                own.lerp_(now, 1 - keep)
            else:
                own.copy_(now)

    @contextmanager
    def holding(self, other: Kept) -> Iterator[None]:
        """For a while another one's numbers stand in the place of these."""
        before = self.copy()
        self.take(other)
        try:
            yield
        finally:
            self.take(before)

    @torch.no_grad()
    def take(self, other: Kept) -> None:
        """Takes another one's numbers over."""
        for (_, own), (_, now) in zip(self.tensors(), other.tensors(), strict=True):
            own.copy_(now)


def _flat(name: str) -> str:
    return name.replace(".", "|")
