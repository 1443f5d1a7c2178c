"""Low-rank adapters in the blocks of both towers, by the `peft` package."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from simsearch.classifier.finetune.clip.sections import Lora
from simsearch.errors import TrainingError

NAMED: Mapping[str, tuple[str, ...]] = {
    "attention": ("attn", "q_proj", "k_proj", "v_proj", "qkv", "out_proj", "proj"),
    "mlp": ("c_fc", "c_proj", "fc1", "fc2"),
}
"""What the layers of a block are called in open_clip's towers and in timm's."""
BLOCKS = ("resblocks", "blocks", "layer", "layers")
"""What the row of blocks of a tower is called."""
ADAPTER = "lora_"
"""How the parameters of an adapter are recognised."""


def add_adapters(model: nn.Module, lora: Lora) -> Any:
    """Adapters in the model itself, whose first effect is none; what :func:`merged` takes.

    An attention whose projections are packed into one matrix gets one adapter for queries, keys and values and another
    for what joins the heads. Raises TrainingError where peft is missing, and for towers without such layers.
    """
    try:
        from peft import LoraConfig
        from peft.tuners.lora import LoraModel
    except ImportError as error:
        raise TrainingError("lora needs the package peft; run `pip install 'simsearch[torch]'`") from error
    names = targets(model, lora)
    if not names:
        raise TrainingError(
            f"this network has no {' or '.join(lora.targets)} that adapters could go into; leave lora away"
        )
    config = LoraConfig(
        r=lora.r, lora_alpha=lora.alpha,  # type: ignore[arg-type]  # it only divides by r
         lora_dropout=lora.dropout, target_modules=names, bias="none"
    )  # fmt: skip
    return LoraModel(model, {"default": config}, "default")


def targets(model: nn.Module, lora: Lora) -> list[str]:
    """Names of the layers that get adapters: linear ones, and packed attention as a whole."""
    wanted = {name for part in lora.targets for name in NAMED[part]}
    found: list[str] = []
    for name, module in model.named_modules():
        path = name.split(".")
        inside = any(step in BLOCKS for step in path[:-1])
        if not inside or path[-1] not in wanted or any(name.startswith(f"{taken}.") for taken in found):
            continue
        if isinstance(module, nn.Linear | nn.MultiheadAttention):
            found.append(name)
    return found


def adapter_parameters(module: nn.Module) -> list[nn.Parameter]:
    """What adapters learn."""
    return [parameter for name, parameter in module.named_parameters() if ADAPTER in name]


class Packed:
    """The weights of attentions that are packed into one matrix, as they are without adapters.

    At every step peft adds the adapters to these and takes them away again, by which weights that should stay as they
    are drift in their last bits.
    """

    def __init__(self, model: nn.Module) -> None:
        self.before = [(module, [w.clone() for w in _frozen(module)]) for module in _attentions(model)]

    @torch.no_grad()
    def restore(self) -> None:
        """Puts them back to the last bit."""
        for module, kept in self.before:
            for weight, before in zip(_frozen(module), kept, strict=True):
                weight.copy_(before)


def merged(tuner: Any, packed: Packed) -> nn.Module:
    """The model with its adapters added to the weights and taken out, under the names that it had before."""
    packed.restore()
    model: nn.Module = tuner.merge_and_unload()
    return model


def _attentions(model: nn.Module) -> list[nn.MultiheadAttention]:
    return [module for module in model.modules() if isinstance(module, nn.MultiheadAttention)]


def _frozen(module: nn.MultiheadAttention) -> list[Tensor]:
    """What goes in and what joins the heads."""
    joined: Any = getattr(module.out_proj, "base_layer", module.out_proj)
    return [w.data for w in (module.in_proj_weight, joined.weight) if w is not None]
