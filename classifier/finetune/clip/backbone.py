"""The CLIP that is tuned: opened as the encoder of the same name opens it, and written so that it can be again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from simsearch.classifier.finetune.backbones import Channels
from simsearch.classifier.finetune.clip.sections import CLIP
from simsearch.classifier.finetune.recipe import Recipe
from simsearch.classifier.finetune.runs import clip_folder
from simsearch.classifier.finetune.state import write_tensors
from simsearch.encoders.locations import ClipLocation, parse_location
from simsearch.encoders.openclip import OpenClipEncoder
from simsearch.encoders.openclip_source import CONFIG, WEIGHTS
from simsearch.encoders.running import Running
from simsearch.errors import EncoderError, TrainingError
from simsearch.records import Preprocessing
from simsearch.vectors import Rows

TEXTS = 256
"""Texts that go through the text tower at once."""
FED = ("mean", "std", "interpolation", "resize_mode")
OWN_SIZE = 224
"""What a recipe says where it says nothing: then a CLIP's own size is meant."""


@dataclass(frozen=True, slots=True)
class Clip:
    """A model of open_clip with what goes around it."""

    model: Any
    """On the device where it learns, in float32."""
    encoder: OpenClipEncoder
    preprocessing: Preprocessing
    """Its own, which is what an index will use."""
    dim: int
    context_length: int
    digest: str
    """Of its weights as they were loaded, as the encoder's `info` has it."""

    @property
    def mean(self) -> Channels:
        """Of the channels, 0 to 1."""
        return self.preprocessing.mean

    @property
    def std(self) -> Channels:
        """Of the channels, 0 to 1."""
        return self.preprocessing.std

    @property
    def device(self) -> torch.device:
        """Where it is."""
        found: torch.device = self.model.logit_scale.device
        return found

    def tokens(self, texts: Sequence[str]) -> Tensor:
        """(n, context_length) int64; what is too long is cut."""
        found: Tensor = self.encoder.tokenizer(list(texts)).long()
        return found

    def cut(self, texts: Sequence[str]) -> int:
        """How many texts are longer than the text tower reads."""
        long = [text for text in texts if len(text) + 2 > self.context_length]  # a token has a letter or more
        return sum(self.encoder.tokens_of(text) > self.context_length for text in long)

    @torch.no_grad()
    def text_rows(self, texts: Sequence[str]) -> Rows:
        """Unit rows (n, dim) float32 of texts; leaves the model in evaluation mode."""
        self.model.eval()
        rows = [
            normalize(self.model.encode_text(self.tokens(texts[i : i + TEXTS]).to(self.device)).float(), dim=1)
            for i in range(0, len(texts), TEXTS)
        ]
        return torch.cat(rows).numpy(force=True) if rows else np.empty((0, self.dim), np.float32)

    def ensembles(self, sentences: Sequence[Sequence[str]]) -> Rows:
        """Unit rows (c, dim) float32: for each the mean of the rows of its sentences."""
        rows = self.text_rows([text for some in sentences for text in some])
        ends = np.cumsum([len(some) for some in sentences])[:-1]
        means = np.stack([part.mean(0) for part in np.split(rows, ends)])
        return np.asarray(means / np.linalg.norm(means, axis=1, keepdims=True), np.float32)


def location_of_recipe(recipe: Recipe) -> ClipLocation:
    """Where a recipe's model is found: its backbone, or that architecture with `weights`, a checkpoint.

    `weights` may also be a folder: an earlier run's, or one as open_clip has them. Raises TrainingError, EncoderError.
    """
    given = Path(recipe.weights).expanduser()
    if recipe.weights in ("hub", "none"):
        return _parsed(recipe.backbone)
    if given.is_dir():
        return _parsed(f"{CLIP}{(clip_folder(given) or given).resolve()}")
    name = recipe.backbone.removeprefix(CLIP).partition("?")[0]
    if Path(name).expanduser().is_dir():
        name = str((Path(name).expanduser() / CONFIG).resolve())
    return _parsed(f"{CLIP}{name}?weights={given.resolve()}")


def load_clip(location: ClipLocation, recipe: Recipe, device: torch.device) -> Clip:
    """The model of a location on a device, every weight from its file. Raises TrainingError, EncoderError."""
    encoder = OpenClipEncoder(location, Running("cpu", "fp32"))
    own = encoder.info.preprocessing
    if recipe.input_size not in (OWN_SIZE, own.size):
        raise TrainingError(
            f"{location} takes pictures of {own.size} x {own.size} pixels, not {recipe.input_size}; leave input_size "
            f"away"
        )
    encoder.network.to(device)
    return Clip(encoder.network, encoder, own, encoder.info.dim, encoder.context_length, encoder.info.digest)


def save_clip(clip: Clip, folder: Path) -> Path:
    """Writes both towers as open_clip does, so that `clip:FOLDER` is the model; the folder, replaced as a whole.

    Raises TrainingError where it cannot be written.
    """
    source, aside = clip.encoder.source, folder.with_name(folder.name + ".part")
    config = {
        "model_cfg": source.architecture,
        "preprocess_cfg": {key: source.preprocessing[key] for key in FED if source.preprocessing.get(key) is not None},
    }
    try:
        for before in (aside, folder):
            if before.exists():
                shutil.rmtree(before)
        aside.mkdir(parents=True)
        (aside / CONFIG).write_text(json.dumps(config, indent=2, default=list) + "\n", encoding="utf-8")
        if source.architecture["text_cfg"].get("hf_tokenizer_name"):
            clip.encoder.tokenizer.save_pretrained(str(aside))
        write_tensors(_whole(clip.model.state_dict()), aside / WEIGHTS[0])
        for file in aside.iterdir():
            file.chmod(0o644)  # safetensors makes files that nobody else may read
        aside.rename(folder)
    except OSError as error:
        raise TrainingError(f"{folder} cannot be written: {error.strerror or error}") from error
    return folder


def _whole(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors in memory of their own: some models know one by two names, which a .safetensors file refuses."""
    return {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}


def _parsed(text: str) -> ClipLocation:
    try:
        location = parse_location(text)
    except EncoderError as error:
        raise TrainingError(str(error)) from error
    if not isinstance(location, ClipLocation):
        raise TrainingError(f"there is no CLIP {text!r}; write clip:NAME/TAG, clip:NAME?weights=FILE or clip:FOLDER")
    return location
