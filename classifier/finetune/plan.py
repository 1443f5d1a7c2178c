"""What a run would do: its works by task, and its steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from simsearch.classifier.finetune.held_out import classes_of, divided
from simsearch.classifier.finetune.recipe import Recipe, as_data, steps_of
from simsearch.classifier.finetune.runs import Standing, folder_of, standing
from simsearch.classifier.finetune.works import Works
from simsearch.classifier.prepare import VAL
from simsearch.collection import Collection


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run would do."""

    recipe: Recipe
    folder: Path
    standing: Standing
    learned_from: int
    """Works."""
    held_out: int
    """Works by which epochs are compared."""
    aside: int
    """Works that the published split holds out, which a run never looks at."""
    left_out: Mapping[str, int]
    """Works, by reason in words."""
    tasks: Mapping[str, tuple[int, int, int]]
    """Kind to its classes, the works of these that are learned from, and those that are held out."""
    steps: tuple[int, ...]
    """At most, of each phase."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        names = ("classes", "learned_from", "held_out")
        return {
            "recipe": as_data(self.recipe), "folder": str(self.folder), "standing": self.standing,
            "learned_from": self.learned_from, "held_out": self.held_out, "aside": self.aside,
            "left_out": dict(self.left_out),
            "tasks": {kind: dict(zip(names, counts, strict=True)) for kind, counts in self.tasks.items()},
            "steps": list(self.steps),
        }  # fmt: skip


def plan(
    collection: Collection, recipe: Recipe, works: Works, max_steps: int | None = None, *, restart: bool = False
) -> Plan:
    """What a run of this recipe on these works would do. Raises TrainingError where it would be refused.

    With `restart` it would replace a run that is there.
    """
    folder = folder_of(collection, recipe.name)
    learn, held = divided(works, recipe)
    tasks = {}
    for kind, sizes in classes_of(works, learn, recipe).items():
        tasks[kind] = (len(sizes), sum(sizes.values()), int(np.isin(works.labels[kind][held], list(sizes)).sum()))
    stands: Standing = "new" if restart else standing(folder, recipe, works, max_steps)
    return Plan(
        recipe, folder, stands, len(learn), len(held),
        int((works.parts == VAL).sum()), works.left_out, tasks, steps_of(recipe, len(learn), max_steps),
    )  # fmt: skip
