"""What a network is asked for while it learns: labels, neighbours, views of one work, another network's opinion.

Every view of a batch of B works comes with its shares (B, B): row i says of which works view i is made. They are the
identity for plain batches and two numbers a row where works are mixed (Zhang et al. 2018, mixup; Lee et al. 2021, i-Mix
for contrast). A loss is a mean over the views that it can speak of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear, log_softmax, normalize, softmax

from simsearch.classifier.finetune.held_out import UNKNOWN
from simsearch.classifier.finetune.recipe import Contrast, Recipe, Task


@dataclass(frozen=True, slots=True)
class Targets:
    """What is known of a batch of B works."""

    labels: Mapping[str, Tensor]
    """Kind of a task or of a contrast to class numbers (B,) int64, UNKNOWN where a work has no such label."""
    teachers: Sequence[Sequence[Tensor]]
    """For each `distill` of the recipe and each view unit rows (B, d): what the teacher says of the work, or of it."""
    shares: Sequence[Tensor]
    """(B, B) for each view."""


class ClassLayer(nn.Module):
    """Logits of a task, by a linear layer or by cosines with learned class directions."""

    def __init__(self, width: int, classes: int, task: Task) -> None:
        super().__init__()
        self.task = task
        self.weight = nn.Parameter(torch.randn(classes, width) * width**-0.5)
        self.bias = nn.Parameter(torch.zeros(classes))
        if task.loss == "cosine":
            self.bias.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, classes) of a part (n, width)."""
        if self.task.loss == "cosine":
            return linear(normalize(x.float(), dim=1), normalize(self.weight, dim=1)) * self.task.scale
        return linear(x.float(), self.weight, self.bias)


class Objective(nn.Module):
    """All terms of a recipe, with what they learn beside the network."""

    def __init__(
        self,
        recipe: Recipe,
        widths: Mapping[str, int],
        classes: Mapping[str, Sequence[str]],
        sizes: Mapping[str, Sequence[int]],
        teachers: Sequence[int],
    ) -> None:
        """`widths` of the parts, names of the `classes` and train works of each (`sizes`), widths of the teachers."""
        super().__init__()
        self.recipe = recipe
        self.classes = {kind: tuple(names) for kind, names in classes.items()}
        self.layers = nn.ModuleDict(
            {kind: ClassLayer(widths[recipe.tasks[kind].part], len(names), recipe.tasks[kind])
             for kind, names in self.classes.items()}
        )  # fmt: skip
        self.maps = nn.ModuleList(
            nn.Linear(widths[d.part], width) for d, width in zip(recipe.distill, teachers, strict=True)
        )
        for kind, counts in sizes.items():
            self.register_buffer(f"weights_{kind}", class_weights(counts, recipe.tasks[kind].balance))

    def forward(self, views: Sequence[Mapping[str, Tensor]], targets: Targets) -> dict[str, Tensor]:
        """Each term's loss, not weighted, for the parts of each view. A term that has nothing to speak of is absent."""
        losses: dict[str, Tensor] = {}
        for kind, layer in self.layers.items():
            task = self.recipe.tasks[kind]
            said = [
                task_loss(layer(view[task.part]), targets.labels[kind], shares, task, getattr(self, f"weights_{kind}"))
                for view, shares in zip(views, targets.shares, strict=True)
            ]
            _put(losses, kind, said)
        for i, contrast in enumerate(self.recipe.contrast):
            _put(losses, _name("contrast", i, contrast.label or "views"), self._contrast(contrast, views, targets))
        for i, (distill, said_of, layer) in enumerate(
            zip(self.recipe.distill, targets.teachers, self.maps, strict=True)
        ):
            pairs = [
                (view[distill.part].float(), normalize(shares @ teacher, dim=1))
                for view, shares, teacher in zip(views, targets.shares, said_of, strict=True)
            ]
            if distill.regression:
                said = [(1 - (normalize(layer(rows), dim=1) * wanted).sum(1)).mean() for rows, wanted in pairs]
                _put(losses, _name("regression", i, Path(distill.teacher).stem), said)
            if distill.relation:
                said = [relation_loss(rows, wanted, distill.temperature) for rows, wanted in pairs]
                _put(losses, _name("relation", i, Path(distill.teacher).stem), said)
        return losses

    def total(self, losses: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum of :meth:`forward`'s losses."""
        return sum((self.weight(name) * loss for name, loss in losses.items()), torch.zeros(()))

    def weight(self, name: str) -> float:
        """The weight that the recipe gives a term."""
        if name in self.layers:
            return self.recipe.tasks[name].weight
        term, _, rest = name.partition(" ")
        number = int(rest.partition(" ")[0]) - 1
        if term == "contrast":
            return self.recipe.contrast[number].weight
        return float(getattr(self.recipe.distill[number], term))

    def _contrast(self, contrast: Contrast, views: Sequence[Mapping[str, Tensor]], targets: Targets) -> list[Tensor]:
        rows = [normalize(view[contrast.part].float(), dim=1) for view in views]
        if contrast.label:
            plain = [i for i, shares in enumerate(targets.shares) if _is_plain(shares)]
            labels = targets.labels[contrast.label]
            known = labels != UNKNOWN
            if not plain or int(known.sum()) < 2:
                return []
            return [
                supervised_contrast(
                    torch.cat([rows[i][known] for i in plain]), labels[known].repeat(len(plain)), contrast.temperature
                )
            ]
        return [
            view_contrast(rows[i], rows[j], targets.shares[i] @ targets.shares[j].T, contrast.temperature)
            for i in range(len(rows))
            for j in range(i + 1, len(rows))
        ]


def task_loss(logits: Tensor, labels: Tensor, shares: Tensor, task: Task, weights: Tensor) -> Tensor | None:
    """Cross entropy of logits (B, C) with labels (B,) mixed by shares (B, B); None where no work has a label.

    Unlabelled works count nothing; a view made of a labelled and an unlabelled work counts by its labelled share.
    Smoothing as in Szegedy et al. 2016: that share of the target is spread evenly over all classes.
    """
    known = (labels != UNKNOWN).float()
    hot = torch.zeros_like(logits)
    hot[torch.arange(len(labels), device=labels.device), labels.clamp(min=0)] = known
    if not bool(known.any()):
        return None
    target = shares @ (hot * weights)
    smooth = task.label_smoothing
    each = -(log_softmax(logits, 1) * ((1 - smooth) * target + smooth * target.sum(1, keepdim=True) / logits.shape[1]))
    return each.sum() / target.sum()


def view_contrast(one: Tensor, other: Tensor, belongs: Tensor, temperature: float) -> Tensor:
    """InfoNCE (van den Oord et al. 2018) both ways between unit rows (B, d) of two views.

    Row i of the target `belongs` (B, B) says how much of each row of the other view belongs to row i of this one.
    """
    logits = one @ other.T / temperature
    there = belongs / belongs.sum(1, keepdim=True)
    back = belongs.T / belongs.T.sum(1, keepdim=True)
    return (cross_entropy(logits, there) + cross_entropy(logits.T, back)) / 2


def supervised_contrast(rows: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Khosla et al. 2020, eq. 2 (the sum outside the logarithm), for unit rows (n, d) with labels (n,).

    Rows whose label no other row has count nothing.
    """
    self_ = torch.eye(len(rows), dtype=torch.bool, device=rows.device)
    logits = (rows @ rows.T / temperature).masked_fill(self_, float("-inf"))
    likely = log_softmax(logits, 1).masked_fill(self_, 0)
    positive = (labels[:, None] == labels[None]) & ~self_
    count = positive.sum(1)
    has = count > 0
    if not bool(has.any()):
        return rows.sum() * 0
    return -((likely * positive).sum(1)[has] / count[has]).mean()


def relation_loss(rows: Tensor, wanted: Tensor, temperature: float) -> Tensor:
    """Kullback-Leibler divergence of each work's similarities to the others from the teacher's (both unit, (B, d)).

    The student's rows are centred within the batch first, as cosines are taken after centring.
    """
    own = normalize(rows - rows.mean(0), dim=1)
    off = ~torch.eye(len(rows), dtype=torch.bool, device=rows.device)
    n = len(rows)
    student = (own @ own.T / temperature)[off].view(n, n - 1)
    teacher = softmax((wanted @ wanted.T / temperature)[off].view(n, n - 1), 1)
    return (teacher * (teacher.clamp(min=1e-12).log() - log_softmax(student, 1))).sum(1).mean()


def class_weights(counts: Sequence[int], balance: str) -> Tensor:
    """(C,) float32: ones, or what gives each class the same weight with a mean of one over the works."""
    sizes = np.asarray(counts, np.float64)
    if balance == "none":
        return torch.ones(len(sizes))
    return torch.tensor(sizes.sum() / (len(sizes) * np.maximum(sizes, 1)), dtype=torch.float32)


def _name(term: str, number: int, what: str) -> str:
    """A term's name in the log, such as ``contrast 1 views``; numbers count from 1 within the recipe's list."""
    return f"{term} {number + 1} {what}"


def _put(losses: dict[str, Tensor], name: str, said: Sequence[Tensor | None]) -> None:
    """Notes the mean of what was said, if anything was."""
    spoken = [loss for loss in said if loss is not None]
    if spoken:
        losses[name] = torch.stack(spoken).mean()


def _is_plain(shares: Tensor) -> bool:
    return bool(torch.equal(shares, torch.eye(len(shares), device=shares.device, dtype=shares.dtype)))
