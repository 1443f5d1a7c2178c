"""Fine-tuning: phases, steps, an average of the weights, and a run's folder that any interruption leaves whole."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from simsearch.classifier.finetune.backbones import load_backbone
from simsearch.classifier.finetune.batches import (
    FromFiles,
    Order,
    Views,
    cached_views,
    mixed,
    workers_for,
)
from simsearch.classifier.finetune.device import autocast_for, chosen_device
from simsearch.classifier.finetune.freeze import train_mode
from simsearch.classifier.finetune.held_out import (
    GALLERY,
    QUERIES,
    class_numbers,
    classes_of,
    divided,
    drawn,
    merit,
)
from simsearch.classifier.finetune.losses import Objective, Targets
from simsearch.classifier.finetune.measuring import EMBED_BATCH, embedded, figures_of, images_per_s
from simsearch.classifier.finetune.network import Network, empty_network, parameters_in, save_network
from simsearch.classifier.finetune.phased import Batch, PhasedRun
from simsearch.classifier.finetune.recipe import Phase, Recipe
from simsearch.classifier.finetune.schedule import learning_layers, parameter_groups
from simsearch.classifier.finetune.start import (
    begin_from,
    earlier_run,
    save_objective,
    weights_digest,
)
from simsearch.classifier.finetune.state import (
    AVERAGE,
    NETWORK,
    OBJECTIVE,
    write_tensors,
)
from simsearch.classifier.finetune.view_teachers import teacher_of
from simsearch.classifier.finetune.works import Works
from simsearch.records import Preprocessing
from simsearch.vectors import Rows
from simsearch.watch import Watch, silent


@dataclass(frozen=True, slots=True)
class Trained:
    """A finished run."""

    network: Network
    folder: Path
    figures: dict[str, float]
    """Of the network that is kept, on the works held out."""
    parameters: int
    images_per_s: float
    """Pictures embedded a second, decoding included, by torch on the device that was used."""
    seconds: float


def train(
    recipe: Recipe,
    works: Works,
    teachers: Sequence[Rows],
    folder: Path,
    *,
    device: str = "auto",
    precision: str = "auto",
    compiled: bool = False,
    max_steps: int | None = None,
    watch: Watch = silent,
) -> Trained:
    """Trains a recipe on works, goes on where the folder holds an unfinished run, and leaves the network in the folder.

    `teachers` are rows (n, d) for each `distill` of the recipe, in the order of the works. `max_steps` bounds each
    phase. The same seed gives the same network on the same machine. Raises TrainingError, ImageError.
    """
    run = Run(recipe, works, teachers, folder, device, precision, compiled, max_steps, watch)
    return run.finish()


class Run(PhasedRun):
    """A run and everything it holds in memory."""

    def __init__(
        self,
        recipe: Recipe,
        works: Works,
        teachers: Sequence[Rows],
        folder: Path,
        device: str,
        precision: str,
        compiled: bool,
        max_steps: int | None,
        watch: Watch,
    ) -> None:
        self.recipe, self.works, self.folder = recipe, works, folder
        self.max_steps, self.watch = max_steps, watch
        self.device = chosen_device(device)
        self.autocast = autocast_for(self.device, precision)
        self.learn, self.held = divided(works, recipe)
        self.sizes = classes_of(works, self.learn, recipe)
        torch.manual_seed(recipe.seed)
        before = earlier_run(recipe.weights)
        self.network = (empty_network(recipe) if before else Network(recipe, load_backbone(recipe))).to(self.device)
        self.objective = Objective(
            recipe,
            {p.name: self.network.width_of(p.name) for p in recipe.parts},
            {kind: list(sizes) for kind, sizes in self.sizes.items()},
            {kind: list(sizes.values()) for kind, sizes in self.sizes.items()},
            [rows.shape[1] for rows in teachers],
        ).to(self.device)
        if before:
            begin_from(before, self.network, self.objective)
        self.average = empty_network(recipe).to(self.device)
        self.average.load_state_dict(self.network.state_dict())
        self.upper: Any = torch.compile(self._parts_of) if compiled else self._parts_of
        self.labels = {kind: torch.from_numpy(n) for kind, n in class_numbers(works, self.sizes, recipe).items()}
        self.steps_done = 0
        self.views = self._views()
        self.teachers = [
            teacher_of(distill, rows, recipe, works, self.learn, folder.parent, self._files, watch)
            for distill, rows in zip(recipe.distill, teachers, strict=True)
        ]

    # -- the whole -----------------------------------------------------------------------------------------------------

    def finish(self) -> Trained:
        """Trains what is left of the recipe and writes the network."""
        began = time.monotonic()
        self._go()
        figures = self._centre_and_measure(len(self.recipe.phases))
        rate = images_per_s(self.average, self._files(0), drawn(self.learn, 4 * EMBED_BATCH, self.recipe.seed))
        seconds = time.monotonic() - began
        facts = {
            "figures": figures, "classes": {kind: list(sizes) for kind, sizes in self.sizes.items()},
            "works": {"learned_from": len(self.learn), "held_out": len(self.held), "digest": self.works.digest},
            "base_weights": weights_digest(self.recipe.weights), "steps": self.steps_done, "images_per_s": rate,
            "device": str(self.device),
        }  # fmt: skip
        save_objective(self.objective, self.folder)
        save_network(self.average.eval(), self.folder, facts)
        return Trained(self.average, self.folder, figures, parameters_in(self.average), rate, seconds)

    def _groups(self, number: int, phase: Phase) -> list[dict[str, Any]]:
        layers = learning_layers(self.network, phase, self.recipe.cache.below)
        for parameter in self.network.backbone.parameters():
            parameter.requires_grad_(False)
        for layer in layers:
            for parameter in layer:
                parameter.requires_grad_(True)
        self._train_mode()
        new = [*self.network.neck.parameters(), *self.network.parts.parameters(), *self.objective.parameters()]
        self.new = [p for p in new if p.requires_grad]
        return parameter_groups(layers, self.new, phase)

    def _views_a_work(self) -> int:
        views, cache = self.recipe.views, self.recipe.cache
        return min(views, cache.views + 1) if cache.below else views

    def _batches(self, order: Order) -> Iterable[list[Tensor]]:
        return self.views.batches(order)

    # -- one step ------------------------------------------------------------------------------------------------------

    def _losses(
        self, batch: Batch, tensors: list[Tensor], phase: Phase, draw: np.random.Generator
    ) -> dict[str, Tensor]:
        works, numbers = batch
        shares = [torch.eye(len(works), device=self.device) for _ in tensors]
        prepared = [self._dropped(view, phase.patch_dropout, draw) for view in tensors]
        if phase.mix and draw.random() < phase.mix:
            prepared[0], shares[0] = mixed(prepared[0], draw)
        with self.autocast():
            parts = self.upper(torch.cat(prepared))
        views = range(len(tensors))
        each = [{name: rows.float().chunk(len(tensors))[i] for name, rows in parts.items()} for i in views]
        where = torch.from_numpy(works)
        targets = Targets(
            {kind: labels[where].to(self.device) for kind, labels in self.labels.items()},
            [[teacher.rows(works, view).to(self.device) for view in numbers] for teacher in self.teachers],
            shares,
        )
        losses: dict[str, Tensor] = self.objective(each, targets)
        return losses

    def _total(self, losses: dict[str, Tensor]) -> Tensor:
        return self.objective.total(losses)

    def _parts_of(self, x: Tensor) -> dict[str, Tensor]:
        backbone = self.network.backbone
        features = backbone.upper(x, self.views.below) if backbone.depth else backbone(x)
        return self.network.from_features(features)

    def _dropped(self, view: Tensor, share: float, draw: np.random.Generator) -> Tensor:
        """The tokens of a view without a share of its patches, the same patches for the whole batch."""
        backbone = self.network.backbone
        if not self.views.below and backbone.depth:
            with self.autocast():
                view = backbone.lower(view, 0)
        if not share or not backbone.depth:
            return view
        patches = view.shape[1] - backbone.prefix
        kept = np.sort(draw.permutation(patches)[: max(1, round(patches * (1 - share)))]) + backbone.prefix
        return view[:, torch.from_numpy(np.concatenate([np.arange(backbone.prefix), kept])).to(view.device)]

    def _train_mode(self) -> None:
        """Nothing is dropped in blocks that stay as they are, and their batch statistics do not move."""
        self.network.train()
        self.objective.train()
        train_mode(self.network.backbone, {p for p in self.network.backbone.parameters() if p.requires_grad})

    @torch.no_grad()
    def _follow(self, keep: float) -> None:
        for mean, now in zip(self.average.parameters(), self.network.parameters(), strict=True):
            mean.lerp_(now, 1 - keep)  # also of what no longer learns: it may be behind
        for kept, told in zip(self.average.buffers(), self.network.buffers(), strict=True):
            kept.copy_(told)

    # -- looking at it -------------------------------------------------------------------------------------------------

    def _centre_and_measure(self, number: int, epoch: float | None = None) -> dict[str, float]:
        """Measures the averaged network on what is held out, and centres its parts on the works that it learns from."""
        gallery, queries = drawn(self.learn, GALLERY, self.recipe.seed), drawn(self.held, QUERIES, self.recipe.seed)
        parts = embedded(self.average, self.views, np.concatenate([gallery, queries]), self.autocast, self.watch)
        asked = {name: rows[len(gallery) :] for name, rows in parts.items()}
        there = {name: rows[: len(gallery)] for name, rows in parts.items()}
        for name, rows in there.items():
            self.average.centre(name).copy_(rows.mean(0))
            self.network.centre(name).copy_(rows.mean(0))
        if not len(queries):
            return {}
        figures = figures_of(self.average, self.objective, self.works, queries, asked, gallery, there, self.sizes)
        if epoch is not None:
            self._log_held_out(number, epoch, figures)
        return figures

    def _measured(self, number: int, epoch: float) -> float:
        return merit(self._centre_and_measure(number, epoch))

    # -- rooms of the run ----------------------------------------------------------------------------------------------

    def _files(self, workers: int, to: Preprocessing | None = None) -> FromFiles:
        return FromFiles(
            self.works.paths, self.works.keys, self.recipe, self.network.backbone, self.device, workers, to
        )

    def _views(self) -> Views:
        files = self._files(workers_for(len(self.learn) * self.recipe.views, self.device))
        if not self.recipe.cache.below:
            return files
        beside = self.folder.parent
        return cached_views(
            self.recipe, self.works.keys, self.learn, self.held, files, beside, self.autocast, self.watch
        )

    def _modules(self) -> dict[str, nn.Module]:
        return {NETWORK: self.network, AVERAGE: self.average, OBJECTIVE: self.objective}

    def _keep(self, name: str) -> None:
        own = {f"{OBJECTIVE}/{key}": value for key, value in self.objective.state_dict().items()}
        write_tensors(self.average.state_dict() | own, self.folder / name)

    def _take_back(self, name: str) -> None:
        kept = load_file(self.folder / name)
        learned = {key: kept.pop(key) for key in list(kept) if key.startswith(f"{OBJECTIVE}/")}
        self.average.load_state_dict(kept)
        self.network.load_state_dict(kept)
        if learned:
            self.objective.load_state_dict({key.partition("/")[2]: value for key, value in learned.items()})

    def _phase_ended(self, number: int) -> None:
        write_tensors(self.average.state_dict(), self.folder / f"phase-{number + 1}.safetensors")
