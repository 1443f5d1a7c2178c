"""What every run has in common: phases and their steps, patience, the state to resume from, and the log."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from simsearch.classifier.finetune.batches import Order, epoch_order
from simsearch.classifier.finetune.held_out import Places
from simsearch.classifier.finetune.recipe import Phase, Recipe, as_data, steps_an_epoch, steps_of
from simsearch.classifier.finetune.runs import LOG
from simsearch.classifier.finetune.schedule import rate_at
from simsearch.classifier.finetune.state import load_modules, load_optimiser, read_place, save_state
from simsearch.errors import TrainingError
from simsearch.watch import Watch

SAVE_EVERY_S = 300.0
LOG_EVERY = 20
"""Steps between two lines of the log."""
RECIPE, BEST = "recipe.json", "best-{}.safetensors"

Batch = tuple[Places, Places]
"""Works (B,) of a batch, and the numbers (V,) of the views that it shows of them."""


class PhasedRun(ABC):
    """A run of a recipe. A subclass says what learns, what a step loses, and how good it is on what is held out.

    It sets the attributes below before :meth:`_go`.
    """

    recipe: Recipe
    folder: Path
    learn: Places
    """The works to learn from (n,)."""
    device: torch.device
    autocast: Callable[[], AbstractContextManager[Any]]
    max_steps: int | None
    """Bounds each phase."""
    watch: Watch
    new: list[nn.Parameter]
    """What is new in the phase at hand, which l1 counts."""
    steps_done: int = 0

    # -- what a subclass says ------------------------------------------------------------------------------------------

    @abstractmethod
    def _groups(self, number: int, phase: Phase) -> list[dict[str, Any]]:
        """What learns in a phase, with its peak rates; sets `new` and the modes of the modules."""

    @abstractmethod
    def _batches(self, order: Order) -> Iterable[list[Tensor]]:
        """What is looked at of each batch, in this order."""

    @abstractmethod
    def _losses(
        self, batch: Batch, tensors: list[Tensor], phase: Phase, draw: np.random.Generator
    ) -> dict[str, Tensor]:
        """Each term's loss, not weighted; none where a batch says nothing."""

    @abstractmethod
    def _total(self, losses: dict[str, Tensor]) -> Tensor:
        """The weighted sum of the terms."""

    @abstractmethod
    def _follow(self, keep: float) -> None:
        """Moves the average of the weights, of which it keeps this share, after a step."""

    @abstractmethod
    def _measured(self, number: int, epoch: float) -> float:
        """How good the average is on what is held out, logged; NaN where that cannot be said."""

    @abstractmethod
    def _keep(self, name: str) -> None:
        """Keeps the average in a file, with all that a phase needs to go back to it."""

    @abstractmethod
    def _take_back(self, name: str) -> None:
        """Goes back to what :meth:`_keep` kept."""

    @abstractmethod
    def _modules(self) -> dict[str, nn.Module]:
        """All that is needed to go on after an interruption."""

    def _views_a_work(self) -> int:
        """How many views of a work a batch shows."""
        return 1

    @abstractmethod
    def _phase_ended(self, number: int) -> None:
        """Called when a phase is over, before its end is saved."""

    # -- phases --------------------------------------------------------------------------------------------------------

    def _go(self) -> None:
        """Trains what is left of the recipe."""
        place = read_place(self.folder)
        if place is None:
            self._write(RECIPE, json.dumps(as_data(self.recipe), indent=2) + "\n", "w")
            place = {"phase": 0, "step": 0, "steps_done": 0, "best": None}
        else:
            load_modules(self.folder, self._modules())
            self.steps_done = int(place["steps_done"])
        for number in range(int(place["phase"]), len(self.recipe.phases)):
            self._phase(number, place if number == place["phase"] else None)

    def _phase(self, number: int, place: dict[str, Any] | None) -> None:
        phase = self.recipe.phases[number]
        groups = self._groups(number, phase)
        if not groups:
            raise TrainingError(
                f"nothing learns in phase {number + 1} of recipe {self.recipe.name!r}; give its parts a dim, or train "
                f"more than the head"
            )
        optimiser = torch.optim.AdamW(groups)
        views = self._views_a_work()
        a_epoch = steps_an_epoch(self.recipe, len(self.learn))
        steps = steps_of(self.recipe, len(self.learn), self.max_steps)[number]
        step, best, since = 0, None, 0
        if place and place["step"]:
            load_optimiser(self.folder, optimiser)
            step, best, since = int(place["step"]), place["best"], int(place.get("since", 0))
        saved = time.monotonic()
        while step < steps:
            epoch = step // a_epoch
            order = epoch_order(self.learn, self.recipe, number, epoch, views)[step % a_epoch :][: steps - step]
            end = step + len(order)
            for batch, tensors in zip(order, self._batches(order), strict=True):
                rate = rate_at(step, steps, phase.warmup)
                for group in optimiser.param_groups:
                    group["lr"] = group["peak"] * rate
                self._step(batch, tensors, phase, optimiser, number, step, step / a_epoch)
                step, self.steps_done = step + 1, self.steps_done + 1
                self.watch(f"phase {number + 1}", step, steps)
                if step < end and time.monotonic() - saved > SAVE_EVERY_S:  # at its end an epoch is measured first
                    self._save(optimiser, number, step, best, since)
                    saved = time.monotonic()
            value = self._measured(number, step / a_epoch)
            if self.recipe.patience and np.isfinite(value):
                better = best is None or value > best
                best, since = (value, 0) if better else (best, since + 1)
                if better:
                    self._keep(BEST.format(number + 1))
                elif since >= self.recipe.patience:
                    break
            self._save(optimiser, number, step, best, since)
            saved = time.monotonic()
        if self.recipe.patience and best is not None:
            self._take_back(BEST.format(number + 1))
        self._phase_ended(number)
        self._save(torch.optim.AdamW([nn.Parameter(torch.zeros(1))]), number + 1, 0, None, 0)

    # -- one step ------------------------------------------------------------------------------------------------------

    def _step(
        self, batch: Batch, tensors: list[Tensor], phase: Phase, optimiser: torch.optim.Optimizer, number: int,
        step: int, epoch: float,
    ) -> None:  # fmt: skip
        began = time.monotonic()
        torch.manual_seed(hash((self.recipe.seed, number, step)) & 0x7FFFFFFF)
        losses = self._losses(batch, tensors, phase, np.random.default_rng([self.recipe.seed, number, step]))
        if not losses:
            return
        loss = self._total(losses)
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
        # the average follows faster while it is young
        self._follow(min(self.recipe.ema, (1 + self.steps_done) / (10 + self.steps_done)))
        if step % LOG_EVERY == 0:
            took = max(1e-9, time.monotonic() - began)
            self._log(
                {"phase": number + 1, "epoch": round(epoch, 4), "step": step, "lr": optimiser.param_groups[0]["lr"],
                 "loss": round(float(loss.detach()), 5),
                 "losses": {name: round(float(value.detach()), 5) for name, value in losses.items()},
                 "images_per_s": round(len(batch[0]) * len(tensors) / took, 2)}
            )  # fmt: skip

    # -- files of the run ----------------------------------------------------------------------------------------------

    def _save(self, optimiser: torch.optim.Optimizer, phase: int, step: int, best: float | None, since: int) -> None:
        place = {"phase": phase, "step": step, "steps_done": self.steps_done, "best": best, "since": since}
        save_state(self.folder, self._modules(), optimiser, place)

    def _log_held_out(self, number: int, epoch: float, figures: dict[str, float]) -> None:
        shown = {name: round(value, 5) for name, value in figures.items()}
        self._log({"phase": number + 1, "epoch": round(epoch, 4), "held_out": shown})

    def _log(self, line: dict[str, Any]) -> None:
        self._write(LOG, json.dumps(line) + "\n", "a")

    def _write(self, name: str, text: str, mode: str) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / name).open(mode, encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise TrainingError(f"{self.folder / name} cannot be written: {error.strerror or error}") from error
