"""Any backbone of timm as an encoder: its pooled features, those of a layer in it, or what its channels do together.

Pictures are brought to the network's square as its own rule says (centre, squashed or padded), but all of the centre
square is seen: timm's margin around it (crop_pct) is left out, because a painting goes up to its edges.
"""

from __future__ import annotations

import hashlib
import math
import re
from typing import Any

import timm
import torch
from timm.data.config import resolve_data_config
from torch import Tensor

from simsearch.encoders.checkpoints import digest_of, fill, nearest, read_state, said
from simsearch.encoders.hub import hub_file
from simsearch.encoders.locations import TimmLocation
from simsearch.encoders.running import Running
from simsearch.encoders.timm_features import Features
from simsearch.encoders.torch_run import Runner, TorchEncoder
from simsearch.errors import EncoderError
from simsearch.records import EncoderInfo, Preprocessing

REVISION = "1"
RESIZE = {"center": "crop", "squash": "squash", "border": "pad"}
INTERPOLATIONS = ("bicubic", "bilinear", "lanczos")
HUB_FILES = ("model.safetensors", "pytorch_model.bin")
AUXILIARY = ("AuxLogits",)
"""Classifiers beside the last one that some files hold; Inception was trained with one."""


class TimmEncoder(TorchEncoder):
    """A backbone of timm without its classifier."""

    def __init__(self, location: TimmLocation, running: Running | None = None) -> None:
        """Raises EncoderError for a network, layer or size that is not there, and for weights that do not fit."""
        runner = Runner(running or Running())  # a device that is not there is said before the weights are read
        network = _network(location)
        weights = digest_of(network)  # before positions are resampled, whose last bits depend on the processor
        how = f"{weights} layer={location.layer} pool={location.pool}"
        rule = _sized(network, location)
        self.network = network
        features = Features(network, location.layer, location.pool, str(location)).eval()
        parts = [location.name, weights[:8] if location.weights else "", location.layer, location.pool]
        parts.append(f"{location.size}px" if location.size else "")
        info = EncoderInfo(
            name="timm-" + re.sub(r"[^\w.-]", "-", "-".join(part for part in parts if part)),
            revision=REVISION,
            digest=hashlib.sha256(how.encode()).hexdigest() if location.layer or location.pool else weights,
            dim=_width(features, rule.size, location),
            preprocessing=rule,
        )
        super().__init__(features, info, str(location), runner)


def _network(location: TimmLocation) -> Any:
    """timm's network without its classifier, every tensor from its weights."""
    name = location.name
    if not timm.is_model(name):
        hint = nearest(name, timm.list_models(), "timm.list_models() tells what there is")
        raise EncoderError(f"timm has no backbone {name!r}{hint}")
    try:
        config = timm.models.get_pretrained_cfg(name)
    except RuntimeError as error:  # the architecture is known, what stands after the dot is not
        known = timm.list_pretrained(f"{name.partition('.')[0]}.*")
        hint = nearest(name, known, "leave away what follows the dot")
        raise EncoderError(f"timm has no weights {name!r}{hint}") from error
    if location.weights is None:
        return _of_hub(location, config)
    network = timm.create_model(name, pretrained=False, num_classes=0)
    state = read_state(location.weights)
    _take_grid(network, state.get("pos_embed"))
    classifiers = (config.classifier if config else None) or ()
    spare = (*((classifiers,) if isinstance(classifiers, str) else classifiers), *AUXILIARY)
    fill(network, state, f"{location.weights} does not fit timm:{name}", spare)
    return network


def _of_hub(location: TimmLocation, config: Any) -> Any:
    """The network with the weights that timm publishes for it, in whatever form it publishes them."""
    name = location.name
    way = f"write timm:{name}?weights=FILE for a file of your own"
    if config is None or not config.has_weights:
        known = timm.list_pretrained(f"{name.partition('.')[0]}.*")
        raise EncoderError(f"timm publishes no weights for {name!r}{nearest(name, known, way)}")
    overlay = {}
    if config.hf_hub_id:
        names = (config.hf_hub_filename,) if config.hf_hub_filename else HUB_FILES
        wanted = f"the weights of timm:{name}"
        file = hub_file(config.hf_hub_id, names, wanted, f"go online, or get the file elsewhere and {way}")
        overlay = {"file": str(file)}
    try:
        return timm.create_model(name, pretrained=True, num_classes=0, pretrained_cfg_overlay=overlay)
    except Exception as error:  # what a download raises differs with the place that it is from
        raise EncoderError(
            f"the weights of timm:{name} ({overlay.get('file') or config.url}) cannot be had: {said(error)}; {way}"
        ) from error


def _take_grid(network: Any, positions: Tensor | None) -> None:
    """Brings a vision transformer to the grid of patches whose positions the file holds, where it holds another."""
    own = getattr(network, "pos_embed", None)
    if not (isinstance(own, Tensor) and positions is not None and own.ndim == positions.ndim == 3):
        return
    if own.shape == positions.shape or not hasattr(network, "set_input_size"):
        return
    prefix = own.shape[1] - network.patch_embed.num_patches
    side = math.isqrt(max(1, positions.shape[1] - prefix))
    network.set_input_size(img_size=tuple(side * patch for patch in network.patch_embed.patch_size))


def _sized(network: Any, location: TimmLocation) -> Preprocessing:
    """How pictures are fed, and the network brought to that size. Raises EncoderError for one that it cannot take."""
    config = resolve_data_config({}, model=network)  # type: ignore[no-untyped-call]
    _, down, across = config["input_size"]
    size = location.size or min(down, across)
    embed = getattr(network, "patch_embed", None)
    if hasattr(network, "set_input_size") and getattr(embed, "img_size", None) not in (None, (size, size)):
        try:
            network.set_input_size(img_size=(size, size))
        except (AssertionError, ValueError, RuntimeError) as error:
            raise _bad_size(location, size, error) from error
    asked = config["interpolation"]
    mean, std = (tuple(float(v) for v in config[key]) for key in ("mean", "std"))
    return Preprocessing(
        size,
        RESIZE.get(config["crop_mode"], "crop"),
        asked if asked in INTERPOLATIONS else "bicubic",
        mean,  # type: ignore[arg-type]
        std,  # type: ignore[arg-type]
    )


def _width(features: Features, size: int, location: TimmLocation) -> int:
    """How many numbers a picture gives, seen from one."""
    try:
        with torch.inference_mode():
            return int(features(torch.zeros(1, 3, size, size)).shape[1])
    except (AssertionError, ValueError, RuntimeError, TypeError, IndexError) as error:
        raise _bad_size(location, size, error) from error


def _bad_size(location: TimmLocation, size: int, error: Exception) -> EncoderError:
    return EncoderError(
        f"{location} takes no pictures of {size} x {size} pixels: {said(error)}; give another size with size=N"
    )
