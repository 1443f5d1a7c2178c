"""Tuning a CLIP: both towers on captions of the works, in phases, and at the end a mix with the original weights."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import normalize

from simsearch.classifier.finetune.batches import FromFiles, epoch_order, workers_for
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
from simsearch.classifier.finetune.held_out import Places, class_numbers, classes_of, divided
from simsearch.classifier.finetune.losses import ClassLayer, Objective, Targets
from simsearch.classifier.finetune.recipe import Phase, Recipe, as_data, share_of, steps_an_epoch, steps_of
from simsearch.classifier.finetune.runs import LOG, Notice
from simsearch.classifier.finetune.schedule import parameter_groups, rate_at
from simsearch.classifier.finetune.state import (
    AVERAGE,
    NETWORK,
    OBJECTIVE,
    load_modules,
    load_optimiser,
    read_place,
    save_state,
    write_tensors,
)
from simsearch.classifier.finetune.works import Works
from simsearch.errors import TrainingError
from simsearch.watch import Watch, silent

RECIPE, BEST = "recipe.json", "best-{}.safetensors"
SAVE_EVERY_S = 300.0
LOG_EVERY = 20
"""Steps between two lines of the log."""
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


class ClipRun:
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

    # -- the whole -----------------------------------------------------------------------------------------------------

    def finish(self) -> Tuned:
        """Trains what is left of the recipe, mixes the weights, and writes the model."""
        place = read_place(self.folder)
        if place is None:
            self._write(RECIPE, json.dumps(as_data(self.recipe), indent=2) + "\n", "w")
            place = {"phase": 0, "step": 0, "steps_done": 0, "best": None}
        else:
            load_modules(self.folder, self._modules())
            self.steps_done = int(place["steps_done"])
        for number in range(int(place["phase"]), len(self.recipe.phases)):
            self._phase(number, place if number == place["phase"] else None)
        self.weights.take(self.average)
        done = finish(self)
        return Tuned(**done)

    def _phase(self, number: int, place: dict[str, Any] | None) -> None:
        phase = self.recipe.phases[number]
        optimiser = self._optimiser(number, phase)
        a_epoch = steps_an_epoch(self.recipe, len(self.learn))
        steps = steps_of(self.recipe, len(self.learn), self.max_steps)[number]
        step, best, since = 0, None, 0
        if place and place["step"]:
            load_optimiser(self.folder, optimiser)
            step, best, since = int(place["step"]), place["best"], int(place.get("since", 0))
        files, saved = self._files(workers_for(len(self.learn), self.device)), time.monotonic()
        while step < steps:
            epoch = step // a_epoch
            order = epoch_order(self.learn, self.recipe, number, epoch, 1)[step % a_epoch :][: steps - step]
            end = step + len(order)
            for (works, _), (pixels,) in zip(order, files.batches(order), strict=True):
                rate = rate_at(step, steps, phase.warmup)
                for group in optimiser.param_groups:
                    group["lr"] = group["peak"] * rate
                self._step(works, pixels, phase, optimiser, number, step, step / a_epoch)
                step, self.steps_done = step + 1, self.steps_done + 1
                self.watch(f"phase {number + 1}", step, steps)
                if step < end and time.monotonic() - saved > SAVE_EVERY_S:
                    self._save(optimiser, number, step, best, since)
                    saved = time.monotonic()
            value = self._measured(number, step / a_epoch)
            if self.recipe.patience and np.isfinite(value):
                better = best is None or value > best
                best, since = (value, 0) if better else (best, since + 1)
                if better:
                    write_tensors(self.average.state_dict(), self.folder / BEST.format(number + 1))
                elif since >= self.recipe.patience:
                    break
            self._save(optimiser, number, step, best, since)
            saved = time.monotonic()
        if self.recipe.patience and best is not None:
            self.average.load_state_dict(load_file(self.folder / BEST.format(number + 1)))
            self.weights.take(self.average)
        self._save(torch.optim.AdamW([nn.Parameter(torch.zeros(1))]), number + 1, 0, None, 0)

    # -- one step ------------------------------------------------------------------------------------------------------

    def _step(
        self, works: Places, pixels: Tensor, phase: Phase, optimiser: torch.optim.Optimizer, number: int, step: int,
        epoch: float,
    ) -> None:  # fmt: skip
        began = time.monotonic()
        torch.manual_seed(hash((self.recipe.seed, number, step)) & 0x7FFFFFFF)
        if self.packed:
            self.packed.restore()
        with self.autocast():
            images = self.encode(pixels)
        images = normalize(images.float(), dim=1)
        losses = self._losses(images, works, np.random.default_rng([self.recipe.seed, number, step]))
        if not losses:  # of a batch without captions and labels nothing can be said
            return
        loss = torch.stack([self._weight(name) * value for name, value in losses.items()]).sum()
        if phase.l1:
            loss = loss + phase.l1 * sum(p.abs().sum() for p in self.new)
        if not bool(torch.isfinite(loss)):
            raise TrainingError(
                f"the loss of recipe {self.recipe.name!r} is no longer a number at step {step} of phase {number + 1}; "
                f"lower lr or head_lr, or train in float32"
            )
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_([p for group in optimiser.param_groups for p in group["params"]], self.recipe.clip)
        optimiser.step()
        with torch.no_grad():
            self.clip.model.logit_scale.clamp_(0, largest_scale())
        self.average.follow(self.weights, min(self.recipe.ema, (1 + self.steps_done) / (10 + self.steps_done)))
        if step % LOG_EVERY == 0:
            took = max(1e-9, time.monotonic() - began)
            self._log(
                {"phase": number + 1, "epoch": round(epoch, 4), "step": step, "lr": optimiser.param_groups[0]["lr"],
                 "loss": round(float(loss.detach()), 5),
                 "losses": {name: round(float(value.detach()), 5) for name, value in losses.items()},
                 "images_per_s": round(len(works) / took, 2)}
            )  # fmt: skip

    def _weight(self, name: str) -> float:
        return self.recipe.captions.weight if name == CAPTIONS else self.objective.weight(name)

    def _losses(self, images: Tensor, works: Places, random: np.random.Generator) -> dict[str, Tensor]:
        """Each term's loss for unit rows (B, d) of images, not weighted."""
        losses: dict[str, Tensor] = {}
        drawn = self.telling.draw(works, random) if self.telling else None
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

    def _optimiser(self, number: int, phase: Phase) -> torch.optim.Optimizer:
        model, lora = self.clip.model, self.tuner is not None
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        layers = topmost(tower_layers(model, adapters=lora), share_of(phase.train))
        self.new = [*self._heads(), *(p for p in self.objective.parameters() if p.requires_grad)]
        for parameter in (*(p for layer in layers for p in layer), *self._heads()):
            parameter.requires_grad_(True)
        groups = parameter_groups(layers, self.new, phase)
        if not groups:
            raise TrainingError(
                f"nothing learns in phase {number + 1} of recipe {self.recipe.name!r}; train more than the head"
            )
        model.train()
        self.objective.train()
        train_mode(model, {p for p in model.parameters() if p.requires_grad})
        return torch.optim.AdamW(groups)

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
            shown = {name: round(value, 5) for name, value in figures.items()}
            self._log({"phase": number + 1, "epoch": round(epoch, 4), "held_out": shown})
        return task_of(figures, self.recipe)

    # -- rooms of the run ----------------------------------------------------------------------------------------------

    def _files(self, workers: int) -> FromFiles:
        clip = self.clip
        return FromFiles(self.works.paths, self.works.keys, self.recipe, clip, self.device, workers, clip.preprocessing)

    def _modules(self) -> dict[str, nn.Module]:
        return {NETWORK: self.weights, AVERAGE: self.average, OBJECTIVE: self.objective}

    def _save(self, optimiser: torch.optim.Optimizer, phase: int, step: int, best: float | None, since: int) -> None:
        place = {"phase": phase, "step": step, "steps_done": self.steps_done, "best": best, "since": since}
        save_state(self.folder, self._modules(), optimiser, place)

    def _log(self, line: dict[str, Any]) -> None:
        self._write(LOG, json.dumps(line) + "\n", "a")

    def _write(self, name: str, text: str, mode: str) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / name).open(mode, encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise TrainingError(f"{self.folder / name} cannot be written: {error.strerror or error}") from error
