"""Tuning a CLIP: both towers on captions of the works, in phases, and at the end a mix with the original weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import normalize

from simsearch.classifier.finetune.batches import FromFiles, Order, workers_for
from simsearch.classifier.finetune.clip.backbone import Clip, load_clip, location_of_recipe
from simsearch.classifier.finetune.clip.kept import Kept
from simsearch.classifier.finetune.clip.layers import projections, tower_layers
from simsearch.classifier.finetune.clip.looking import Looking, task_of
from simsearch.classifier.finetune.clip.lora import Packed, adapter_parameters, add_adapters
from simsearch.classifier.finetune.clip.loss import contrast, largest_scale, matches
from simsearch.classifier.finetune.clip.measure import sentences_of
from simsearch.classifier.finetune.clip.result import finish
from simsearch.classifier.finetune.clip.telling import Telling
from simsearch.classifier.finetune.device import autocast_for, chosen_device
from simsearch.classifier.finetune.freeze import topmost, train_mode
from simsearch.classifier.finetune.held_out import class_numbers, classes_of, divided
from simsearch.classifier.finetune.losses import ClassLayer, Objective, Targets
from simsearch.classifier.finetune.phased import Batch, PhasedRun
from simsearch.classifier.finetune.recipe import Phase, Recipe, share_of
from simsearch.classifier.finetune.runs import Notice
from simsearch.classifier.finetune.schedule import parameter_groups
from simsearch.classifier.finetune.state import (
    AVERAGE,
    NETWORK,
    OBJECTIVE,
    write_tensors,
)
from simsearch.classifier.finetune.works import Works
from simsearch.watch import Watch, silent

CAPTIONS = "captions"
"""The name of the loss of captions in the log."""


@dataclass(frozen=True, slots=True)
class Tuned:
    """A finished run."""

    folder: Path
    clip: Path
    """The folder of the tuned model, for ``clip:FOLDER``."""
    alpha: float
    """The share of the tuned weights that was taken; the rest are the original ones."""
    figures: dict[str, float]
    """Of the model that is kept, on the works held out."""
    parameters: int
    learned: int
    """How many numbers could learn."""
    images_per_s: float


def tune(
    recipe: Recipe,
    works: Works,
    folder: Path,
    *,
    device: str = "auto",
    precision: str = "auto",
    compiled: bool = False,
    max_steps: int | None = None,
    watch: Watch = silent,
    notice: Notice | None = None,
) -> Tuned:
    """Tunes the CLIP of a recipe on works, or goes on where the folder holds an unfinished run; leaves it there.

    `max_steps` bounds each phase. `notice` is told what happened to captions. The same seed gives the same weights on
    the same machine. Raises TrainingError, EncoderError, ImageError.
    """
    return ClipRun(recipe, works, folder, device, precision, compiled, max_steps, watch, notice or print).finish()


class ClipRun(PhasedRun):
    """A run and everything it holds in memory."""

    def __init__(
        self,
        recipe: Recipe,
        works: Works,
        folder: Path,
        device: str,
        precision: str,
        compiled: bool,
        max_steps: int | None,
        watch: Watch,
        notice: Notice,
    ) -> None:
        self.recipe, self.works, self.folder = recipe, works, folder
        self.max_steps, self.watch = max_steps, watch
        self.device = chosen_device(device)
        self.autocast = autocast_for(self.device, precision)
        self.learn, self.held = divided(works, recipe)
        self.sizes = classes_of(works, self.learn, recipe)
        self.telling = Telling(recipe.captions, works) if recipe.captions else None
        torch.manual_seed(recipe.seed)
        self.clip: Clip = load_clip(location_of_recipe(recipe), recipe, self.device)
        self.original = {name: value.detach().cpu().clone() for name, value in self.clip.model.state_dict().items()}
        self._warn_of_cut_captions(notice)
        self.objective = self._objective().to(self.device)
        self.tuner = add_adapters(self.clip.model, recipe.lora) if recipe.lora.r else None
        self.clip.model.to(self.device)
        self.packed = Packed(self.clip.model) if self.tuner is not None else None
        self.weights = self._learned()
        self.average = self.weights.copy()
        self.encode: Callable[[Tensor], Tensor] = self.clip.model.encode_image
        if compiled:
            self.encode = torch.compile(self.encode)
        self.numbers = {kind: torch.from_numpy(n) for kind, n in class_numbers(works, self.sizes, recipe).items()}
        self.looking = Looking(recipe, works, self.learn, self.held, self.sizes, self.clip, self._files, self.autocast)
        self.steps_done = 0
        self.source = self._files(workers_for(len(self.learn), self.device))

    # -- the whole -----------------------------------------------------------------------------------------------------

    def finish(self) -> Tuned:
        """Trains what is left of the recipe, mixes the weights, and writes the model."""
        self._go()
        self.weights.take(self.average)
        done = finish(self)
        return Tuned(**done)

    def _batches(self, order: Order) -> Iterable[list[Tensor]]:
        return self.source.batches(order)

    def _phase_ended(self, number: int) -> None:
        """Nothing: a CLIP is large, and what it takes to go on is saved in any case."""

    def _follow(self, keep: float) -> None:
        with torch.no_grad():
            self.clip.model.logit_scale.clamp_(0, largest_scale())
        self.average.follow(self.weights, keep)

    def _total(self, losses: dict[str, Tensor]) -> Tensor:
        return torch.stack([self._weight(name) * value for name, value in losses.items()]).sum()

    def _weight(self, name: str) -> float:
        return self.recipe.captions.weight if name == CAPTIONS else self.objective.weight(name)

    def _losses(
        self, batch: Batch, tensors: list[Tensor], phase: Phase, draw: np.random.Generator
    ) -> dict[str, Tensor]:
        works, _ = batch
        if self.packed:
            self.packed.restore()
        with self.autocast():
            images = self.encode(tensors[0])
        images = normalize(images.float(), dim=1)
        losses: dict[str, Tensor] = {}
        drawn = self.telling.draw(works, draw) if self.telling else None
        if self.telling and drawn and drawn.texts:
            with self.autocast():
                texts = self.clip.model.encode_text(self.clip.tokens(drawn.texts).to(self.device))
            known = (self.telling.codes[:, works], drawn.told, drawn.said)
            codes, told, said = (torch.from_numpy(rows).to(self.device) for rows in known)
            scale = self.clip.model.logit_scale.exp().reshape(())
            texts = normalize(texts.float(), dim=1)
            losses[CAPTIONS] = contrast(images, texts, scale, *matches(codes, told, said))
        if self.recipe.tasks or self.recipe.contrast:
            where = torch.from_numpy(works)
            labels = {kind: numbers[where].to(self.device) for kind, numbers in self.numbers.items()}
            shares = [torch.eye(len(works), device=self.device)]
            losses |= self.objective([{self.recipe.parts[0].name: images}], Targets(labels, [], shares))
        return losses

    # -- what learns ---------------------------------------------------------------------------------------------------

    def _groups(self, number: int, phase: Phase) -> list[dict[str, Any]]:
        model, lora = self.clip.model, self.tuner is not None
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        layers = topmost(tower_layers(model, adapters=lora), share_of(phase.train))
        self.new = [*self._heads(), *(p for p in self.objective.parameters() if p.requires_grad)]
        for parameter in (*(p for layer in layers for p in layer), *self._heads()):
            parameter.requires_grad_(True)
        model.train()
        self.objective.train()
        train_mode(model, {p for p in model.parameters() if p.requires_grad})
        return parameter_groups(layers, self.new, phase)

    def _heads(self) -> list[nn.Parameter]:
        """The maps to the common space; with adapters, which leave the weights as they are, the scale alone."""
        return [self.clip.model.logit_scale] if self.tuner is not None else projections(self.clip.model)

    def _learned(self) -> Kept:
        """What this run may change, in the model's memory."""
        model = self.clip.model
        if self.tuner is not None:
            return Kept.of(model, [*adapter_parameters(model), *self._heads()], buffers=False)
        return Kept.of(model, list(model.parameters()), buffers=True)

    def _objective(self) -> Objective:
        """Terms of labels on the image embedding; directions of cosine tasks begin as what the text tower says."""
        sizes = {kind: self.sizes[kind] for kind in self.recipe.tasks}
        objective = Objective(
            self.recipe,
            {part.name: self.clip.dim for part in self.recipe.parts},
            {kind: list(found) for kind, found in sizes.items()},
            {kind: list(found.values()) for kind, found in sizes.items()},
            [],
        )
        for kind, layer in objective.layers.items():
            if self.recipe.tasks[kind].loss == "cosine":
                rows = self.clip.ensembles(sentences_of(kind, list(sizes[kind])))
                assert isinstance(layer, ClassLayer)
                layer.weight.data.copy_(torch.from_numpy(rows))
        return objective

    def _warn_of_cut_captions(self, notice: Notice) -> None:
        if self.telling is None:
            return
        texts = [question.text for question in self.telling.questions(np.arange(len(self.works)))]
        cut = self.clip.cut(texts)
        if cut:
            notice(
                f"{cut:,} of {len(texts):,} captions are longer than the {self.clip.context_length} tokens that the "
                f"text tower reads; they are cut"
            )

    # -- looking at it -------------------------------------------------------------------------------------------------

    def _measured(self, number: int, epoch: float) -> float:
        """What the averaged model does on the works held out; one number to compare epochs by, NaN for none."""
        with self.weights.holding(self.average):
            figures = self.looking.figures(self.watch)
        self.clip.model.train()
        train_mode(self.clip.model, {p for p in self.clip.model.parameters() if p.requires_grad})
        if figures:
            self._log_held_out(number, epoch, figures)
        return task_of(figures, self.recipe)

    # -- rooms of the run ----------------------------------------------------------------------------------------------

    def _files(self, workers: int) -> FromFiles:
        clip = self.clip
        return FromFiles(self.works.paths, self.works.keys, self.recipe, clip, self.device, workers, clip.preprocessing)

    def _modules(self) -> dict[str, nn.Module]:
        return {NETWORK: self.weights, AVERAGE: self.average, OBJECTIVE: self.objective}

    def _keep(self, name: str) -> None:
        write_tensors(self.average.state_dict(), self.folder / name)

    def _take_back(self, name: str) -> None:
        self.average.load_state_dict(load_file(self.folder / name))
        self.weights.take(self.average)
