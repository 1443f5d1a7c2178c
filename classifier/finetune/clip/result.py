"""The end of a run that tuned a CLIP: weights mixed, measured and written."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from simsearch.classifier.finetune.batches import plain_order
from simsearch.classifier.finetune.clip.backbone import save_clip
from simsearch.classifier.finetune.clip.looking import BATCH, task_of
from simsearch.classifier.finetune.clip.lora import merged
from simsearch.classifier.finetune.clip.wise import Point, TradeOff, interpolated, trade_off
from simsearch.classifier.finetune.held_out import drawn
from simsearch.classifier.finetune.network import parameters_in
from simsearch.classifier.finetune.recipe import as_data
from simsearch.classifier.finetune.runs import CARD, CLIP_FOLDER, TRADE_OFF
from simsearch.errors import TrainingError
from simsearch.vectors import Rows

if TYPE_CHECKING:
    from simsearch.classifier.finetune.clip.train import ClipRun

ACCURACY, FOUND = "accuracy of labels given by text", "captions found among ten"
AGREEMENT = "rank correlation with the original on other questions"


def finish(run: ClipRun) -> dict[str, Any]:
    """Mixes the tuned weights with the original ones, writes the model and the card; what the run tells of itself."""
    learned = sum(tensor.numel() for _, tensor in run.weights.tensors())
    model = merged(run.tuner, run.packed) if run.packed else run.clip.model
    tuned = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
    mixed = _mixed(run, model, tuned)
    alpha = mixed.chosen if mixed else 1.0
    model.load_state_dict(interpolated(run.original, tuned, alpha))
    model.eval()
    figures: dict[str, float] = {}
    if len(run.held):
        images = run.looking.images(run.watch)
        figures = run.looking.figures_of(images) | run.looking.likeness(images, run.watch)
    rate = _images_per_s(run)
    path = save_clip(run.clip, run.folder / CLIP_FOLDER)
    if mixed:
        _write(run.folder / TRADE_OFF, mixed.to_dict())
    facts = {
        "recipe": as_data(run.recipe), "dim": run.clip.dim, "parameters": parameters_in(model), "learned": learned,
        "alpha": alpha, "figures": figures,
        "classes": {kind: list(found) for kind, found in run.sizes.items()},
        "works": {"learned_from": len(run.learn), "held_out": len(run.held), "digest": run.works.digest},
        "base_weights": run.clip.digest, "steps": run.steps_done, "images_per_s": rate, "device": str(run.device),
    }  # fmt: skip
    _write(run.folder / CARD, facts)
    return {
        "folder": run.folder, "clip": path, "alpha": alpha, "figures": figures, "parameters": facts["parameters"],
        "learned": learned, "images_per_s": rate,
    }  # fmt: skip


def _mixed(run: ClipRun, model: nn.Module, tuned: dict[str, torch.Tensor]) -> TradeOff | None:
    """The trade-off of the recipe's alphas; None where none are asked for, or nothing is held out."""
    wise = run.recipe.wise
    if not wise.alphas or not len(run.held):
        return None
    original: list[Rows] = []

    def measure(alpha: float) -> Point:
        model.load_state_dict(interpolated(run.original, tuned, alpha))
        images = run.looking.images(run.watch)
        figures = run.looking.figures_of(images)
        retained = run.looking.retained(images, original[0] if original else None)
        if not original:
            original.append(run.looking.probed(images))
        return Point(alpha, task_of(figures, run.recipe), retained, figures)

    kept = wise.retained
    retained = f"P@10 of {', '.join(kept.labels)} asked for in words" if kept.labels else AGREEMENT
    retained = f"{kept.column} found among ten" if kept.column else retained
    return trade_off(wise, measure, FOUND if run.recipe.captions.column else ACCURACY, retained)


@torch.no_grad()
def _images_per_s(run: ClipRun) -> float:
    """Pictures embedded a second, decoding included."""
    works = drawn(run.learn, 4 * BATCH, run.recipe.seed)
    began = time.monotonic()
    for (pixels,) in run.looking.files.batches(plain_order(works, BATCH)):
        with run.autocast():
            run.clip.model.encode_image(pixels)
    return float(len(works) / max(1e-9, time.monotonic() - began))


def _write(path: Path, data: dict[str, Any]) -> None:
    aside = path.with_name(path.name + ".part")
    try:
        aside.write_text(json.dumps(data, indent=2, default=_number) + "\n", encoding="utf-8")
        aside.replace(path)
    except OSError as error:
        raise TrainingError(f"{path} cannot be written: {error.strerror or error}") from error


def _number(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else str(value)
