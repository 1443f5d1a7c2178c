"""Any model of open_clip as an encoder of pictures and of words."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, fields
from functools import cached_property
from typing import Any

import numpy as np
import open_clip
from open_clip.factory import convert_state_dict, convert_to_custom_text_state_dict
from open_clip.model import CLIPTextCfg, CLIPVisionCfg
from torch import Tensor, nn

from simsearch.encoders.checkpoints import State, digest_of, fill, read_state, said
from simsearch.encoders.hub import why_unreachable
from simsearch.encoders.locations import ClipLocation
from simsearch.encoders.openclip_source import Source, find_source
from simsearch.encoders.running import Running
from simsearch.encoders.tokenizer import cut_notice
from simsearch.encoders.torch_run import Runner, TorchEncoder
from simsearch.errors import EncoderError, QueryError
from simsearch.records import EncoderInfo, Preprocessing
from simsearch.vectors import Rows

REVISION = "1"
RESIZE = {"shortest": "crop", "longest": "pad", "squash": "squash"}
"""open_clip's words for how a picture is brought to a square, and ours. Bars are of the mean colour, not black."""
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
UNSHAPING = ("timm_model_pretrained", "hf_model_pretrained", "hf_tokenizer", "tokenizer")
"""Beginnings of keys by which the numbers that a tower gives for its input do not change."""


class OpenClipEncoder(TorchEncoder):
    """A CLIP: pictures and texts in one space."""

    def __init__(self, location: ClipLocation, running: Running | None = None) -> None:
        """Raises EncoderError for a model or weights that are not known, cannot be had, or do not fit together."""
        runner = Runner(running or Running())  # a device that is not there is said before the weights are read
        self.source = find_source(location)
        self.network = _filled(self.source)
        text = self.source.architecture["text_cfg"]
        self.context_length = int(getattr(self.network, "context_length", text.get("context_length", 77)))
        digest = digest_of(self.network, *_shaping(self.source.architecture))
        own = self.source.name if self.source.published else f"{self.source.name}-{digest[:8]}"
        info = EncoderInfo(
            name="clip-" + re.sub(r"[^\w.-]", "-", own),
            revision=REVISION,
            digest=digest,
            dim=int(self.source.architecture["embed_dim"]),
            preprocessing=_preprocessing(self.source, self.network),
        )
        super().__init__(ImageTower(self.network), info, str(location), runner)
        scale = getattr(self.network, "logit_scale", None)
        self.logit_scale: float | None = None if scale is None else float(scale.detach().float().exp())
        self.text_tower: nn.Module = runner.placed(TextTower(self.network))

    @cached_property
    def tokenizer(self) -> Any:
        """open_clip's tokenizer of the model: texts to (n, context_length) int64. Raises EncoderError."""
        text = self.source.architecture["text_cfg"]
        options = dict(text.get("tokenizer_kwargs") or {})
        if not text.get("hf_tokenizer_name"):
            return open_clip.SimpleTokenizer(context_length=self.context_length, **options)
        return _tokenizer_of_transformers(self.source, text, self.context_length)

    def embed_texts(self, texts: Sequence[str]) -> Rows:
        """Unit rows (n, dim) float32, in the order of the texts.

        A text with more tokens than the model takes is cut, which `notice` says. Raises QueryError for an empty one.
        """
        if isinstance(texts, str):
            raise TypeError("embed_texts takes a sequence of texts, not one")
        if not all(text.strip() for text in texts):
            raise QueryError("an empty text asks for nothing; write what the pictures should show")
        if not texts:
            return np.empty((0, self.info.dim), np.float32)
        tokens = self.tokenizer(list(texts)).long()
        for text in texts:
            self._warn_of_length(text)
        return self._unit(self.runner.outputs(self.text_tower, tokens, "texts", self._say))

    def _warn_of_length(self, text: str) -> None:
        length = self.tokens_of(text)
        if length > self.context_length:
            self.notice(cut_notice(text, length, self.context_length, self.info.name))

    def tokens_of(self, text: str) -> int:
        """How many tokens a text has, with those that mark its beginning and end."""
        if hasattr(self.tokenizer, "encode"):
            return len(self.tokenizer.encode(text)) + 2
        return len(self.tokenizer.tokenizer(self.tokenizer.clean_fn(text)).input_ids)


class ImageTower(nn.Module):
    """Features (n, dim) of normalised pixels (n, 3, size, size)."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> Tensor:
        """Not yet of length 1."""
        out: Tensor = self.network.encode_image(pixels)
        return out


class TextTower(nn.Module):
    """Features (n, dim) of tokens (n, context_length) int64."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, tokens: Tensor) -> Tensor:
        """Not yet of length 1."""
        out: Tensor = self.network.encode_text(tokens)
        return out


def _filled(source: Source) -> Any:
    """The network with every tensor from its file: none keeps the random number that it began with."""
    state = read_state(source.weights)
    network = build_network(source.architecture, source.name)
    fill(network, _as_now(state, network), f"{source.weights} does not fit {source.name}")
    return network


def build_network(architecture: dict[str, Any], name: str) -> Any:
    """A network of open_clip with random numbers, to be filled. Raises EncoderError for what open_clip cannot build."""
    parts = deepcopy(architecture)
    parts["vision_cfg"]["timm_model_pretrained"] = False  # no weights of a tower's own that a file then lacks
    parts["text_cfg"]["hf_model_pretrained"] = False
    custom = parts.pop("custom_text", False) or bool(parts["text_cfg"].get("hf_model_name"))
    kind = open_clip.CLIP
    if custom:
        kind = open_clip.CoCa if "multimodal_cfg" in parts else open_clip.CustomTextCLIP
    try:
        return kind(**parts).eval()
    except Exception as error:  # keys that it does not know, sizes that do not go together, packages that it lacks
        raise EncoderError(f"open_clip cannot build {name}: {said(error)}; look at its architecture") from error


def _as_now(state: State, network: Any) -> State:
    """Weights of other tools, and of open_clip before its towers were separate, under the names that they have now."""
    state = dict(convert_state_dict(network, state))
    if "positional_embedding" in state and not hasattr(network, "positional_embedding"):
        state = dict(convert_to_custom_text_state_dict(state))
    for name in ("logit_scale", "logit_bias"):
        own = getattr(network, name, None)
        if isinstance(own, Tensor) and name in state and state[name].numel() == own.numel():
            state[name] = state[name].reshape(own.shape)
    return state


def _tokenizer_of_transformers(source: Source, text: Mapping[str, Any], context_length: int) -> Any:
    """The tokenizer that an architecture names, from the model's folder, the cache or the hub, in this order."""
    folder = source.folder
    here = folder is not None and any((folder / name).is_file() for name in TOKENIZER_FILES)
    place = str(folder if here else text["hf_tokenizer_name"])
    options = dict(text.get("tokenizer_kwargs") or {}) | {"tokenizer_mode": text.get("tokenizer_mode")}
    reason = ""
    for local in (True, False):
        if not local and (here or (reason := why_unreachable())):
            break
        try:
            return open_clip.tokenizer.HFTokenizer(
                place, context_length=context_length, local_files_only=local, **options
            )
        except ImportError as error:
            raise EncoderError(
                f"the tokenizer {place} of {source.name} needs another package ({said(error)}); run `pip install "
                "transformers`"
            ) from error
        except Exception as error:  # whatever transformers raises
            reason = said(error)
    way = (
        "put the files of the model's tokenizer there" if here else "go online once, or put its files into clip:FOLDER"
    )
    raise EncoderError(f"the tokenizer {place} of {source.name} cannot be had ({reason}); {way}")


def _preprocessing(source: Source, network: Any) -> Preprocessing:
    """The model's own rule in our words. Raises EncoderError for pictures that are not square."""
    given = {key: value for key, value in source.preprocessing.items() if value is not None}
    rule = asdict(open_clip.transform.PreprocessCfg()) | given
    size = network.visual.image_size
    sides = set(size) if isinstance(size, list | tuple) else {size}
    if len(sides) != 1:
        raise EncoderError(f"{source.name} takes pictures of {' x '.join(map(str, size))}, not square ones")
    if rule["resize_mode"] not in RESIZE:
        raise EncoderError(f"{source.name} has resize_mode {rule['resize_mode']!r}; there are {', '.join(RESIZE)}")
    # open_clip too takes every other word for bicubic
    interpolation = "bilinear" if rule["interpolation"] == "bilinear" else "bicubic"
    (mean, std) = (_channels(rule[key]) for key in ("mean", "std"))
    return Preprocessing(int(sides.pop()), RESIZE[rule["resize_mode"]], interpolation, mean, std)


def _channels(value: Any) -> tuple[float, float, float]:
    red, green, blue = value if isinstance(value, list | tuple) else (value,) * 3
    return float(red), float(green), float(blue)


def _shaping(architecture: dict[str, Any]) -> list[str]:
    """What of an architecture changes the numbers and shows in no tensor, such as the number of heads.

    Only what differs from open_clip's defaults, so that a later version with more of them says the same.
    """
    said_of = [f"quick_gelu={bool(architecture.get('quick_gelu', False))}"]
    for part, kind in (("vision_cfg", CLIPVisionCfg), ("text_cfg", CLIPTextCfg)):
        usual = {field.name: field.default for field in fields(kind)}
        for key, value in sorted(architecture[part].items()):
            if not key.startswith(UNSHAPING) and usual.get(key) != value:
                said_of.append(f"{part}.{key}={value}")
    return said_of
