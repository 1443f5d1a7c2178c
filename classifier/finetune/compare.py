"""Recipes side by side: each trained on the same works, and measured on the same that were held out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from simsearch.classifier.finetune.held_out import GALLERY, QUERIES, Places, classes_of, divided, drawn
from simsearch.classifier.finetune.recipe import Recipe
from simsearch.classifier.finetune.runs import (
    Begin,
    Finished,
    Means,
    Notice,
    check_torch,
    finetune,
    finished,
    folder_of,
    standing,
    works_for,
)
from simsearch.classifier.finetune.works import Works
from simsearch.classifier.retrieval import NOBODY, retrieval
from simsearch.classifier.retrieval import Works as Retrieved
from simsearch.collection import Collection
from simsearch.errors import TrainingError
from simsearch.watch import Watch, silent

FIGURES = ("accuracy", "f1", "p10", "p10_other")
"""Of each kind: share named rightly, macro F1, and the share of the ten nearest works with the same label, of all
artists and of others only."""
MAJORITY, CHANCE = "majority", "chance"


@dataclass(frozen=True, slots=True)
class Compared:
    """Finished runs of several recipes on the same works."""

    runs: tuple[Finished, ...]
    """In the order that was asked for."""
    baselines: Mapping[str, Mapping[str, Mapping[str, float]]]
    """Kind to ``majority`` and ``chance``, and these to figures by the names of :data:`FIGURES`."""
    classes: Mapping[str, int]
    """Kind to the number of its classes."""
    learned_from: int
    held_out: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "learned_from": self.learned_from,
            "held_out": self.held_out,
            "classes": dict(self.classes),
            "recipes": [run.to_dict() for run in self.runs],
            "baselines": {
                kind: {name: {key: round(value, 4) for key, value in row.items()} for name, row in rows.items()}
                for kind, rows in self.baselines.items()
            },
        }


def compare(
    collection: Collection,
    recipes: Sequence[Recipe],
    *,
    where: str | None = None,
    split: str = "auto",
    means: Means | None = None,
    begin: Begin = "auto",
    watch: Watch = silent,
    notice: Notice | None = None,
) -> Compared:
    """Trains each recipe on the works of all of them, and measures each on the same works held out.

    A run of the same recipe and works that has ended is taken as it is, unless `begin` is ``restart``; one that was
    interrupted goes on. Raises TrainingError before anything is trained where two recipes have one name, would hold out
    other works or know other classes, or where a folder holds another run; LabelError, WhereError.
    """
    means, notice = means or Means(), notice or collection.notice
    check_torch()
    folders = [folder_of(collection, recipe.name) for recipe in recipes]
    for number, recipe in enumerate(recipes):
        if recipe.name in [other.name for other in recipes[:number]]:
            raise TrainingError(f"two recipes are called {recipe.name!r}; give each a name of its own")
    works = works_for(collection, recipes, where, split, watch)
    same_question(recipes, works)
    stands = [
        "new" if begin == "restart" else standing(folder, recipe, works, means.max_steps)
        for folder, recipe in zip(folders, recipes, strict=True)
    ]
    runs = []
    for folder, recipe, stood in zip(folders, recipes, stands, strict=True):
        if stood == "finished":
            notice(f"run {recipe.name!r} is finished, and taken as it is")
            runs.append(finished(folder))
            continue
        how: Begin = "restart" if begin == "restart" else "auto"
        named = _named(recipe.name, watch)
        runs.append(finetune(collection, recipe, works, means=means, begin=how, watch=named, notice=notice))
    return compared(recipes, works, runs)


def compared(recipes: Sequence[Recipe], works: Works, runs: Sequence[Finished]) -> Compared:
    """Finished runs of recipes on the same works, beside what knows nothing."""
    learn, held, sizes = same_question(recipes, works)
    return Compared(
        tuple(runs),
        {kind: baselines(works, kind, learn, held, of_class, recipes[0].seed) for kind, of_class in sizes.items()},
        {kind: len(of_class) for kind, of_class in sizes.items()},
        len(learn),
        len(held),
    )


def same_question(recipes: Sequence[Recipe], works: Works) -> tuple[Places, Places, dict[str, dict[str, int]]]:
    """(works to learn from, works held out, for each kind its classes with their works), the same for all recipes.

    Raises TrainingError that says which two recipes differ in these, and by what.
    """
    first = recipes[0]
    learn, held = divided(works, first)
    if not len(held) and len(recipes) > 1:
        raise TrainingError(
            f"recipe {first.name!r} holds no work out, so nothing can be compared; give it --set held_out=0.1"
        )
    sizes: dict[str, dict[str, int]] = {}
    whose: dict[str, str] = {}
    for recipe in recipes:
        if not np.array_equal(divided(works, recipe)[1], held):
            raise TrainingError(
                f"recipes {first.name!r} and {recipe.name!r} would hold out different works ({_split(first)}; "
                f"{_split(recipe)}); make them the same, for instance with --label, --seed and --set held_out=0.1"
            )
        for kind, found in classes_of(works, learn, recipe).items():
            if sizes.setdefault(kind, found) != found:
                raise TrainingError(
                    f"recipes {whose[kind]!r} and {recipe.name!r} would know {len(sizes[kind])} and {len(found)} "
                    f"classes of {kind}; give both the same min_images, as in --set tasks.{kind}.min_images=2"
                )
            whose.setdefault(kind, recipe.name)
    return learn, held, sizes


def baselines(
    works: Works, kind: str, learn: Places, held: Places, sizes: Mapping[str, int], seed: int
) -> dict[str, dict[str, float]]:
    """Figures of always the commonest class, and of guessing, on the works that a run is measured on.

    One who guesses each of K classes equally often has accuracy 1 / K, and of a class of s works among n an F1 of
    2 s / (n + K s); a random ranking has the share of the works that could be found as its precision.
    """
    queries, gallery = drawn(held, QUERIES, seed), drawn(learn, GALLERY, seed)
    values = works.labels[kind]
    truth = values[queries][np.isin(values[queries], list(sizes))]
    out: dict[str, dict[str, float]] = {MAJORITY: {}, CHANCE: {}}
    if len(truth):
        _, support = np.unique(truth, return_counts=True)
        n, k, classes = len(truth), len(sizes), len(support)
        of_most = int((truth == max(sizes, key=lambda name: sizes[name])).sum())
        out[MAJORITY] = {"accuracy": of_most / n, "f1": 2 * of_most / (n + of_most) / classes}
        out[CHANCE] = {"accuracy": 1 / k, "f1": float(np.mean(2 * support / (n + k * support)))}
    for name, without in (("p10", False), ("p10_other", True)):
        found = _random_ranking(works, kind, queries, gallery, without)
        if found is not None:
            out[CHANCE][name] = found
    return out


def _random_ranking(works: Works, kind: str, queries: Places, gallery: Places, without_artist: bool) -> float | None:
    """Mean over the queries of the share of what is ranked that has the query's label."""
    _, codes = np.unique(works.labels[kind], return_inverse=True)
    _, artists = np.unique(works.artists, return_inverse=True)
    artists = np.where(works.artists == "", NOBODY, artists)
    sides = [
        Retrieved(np.ones((len(places), 1), np.float32), codes[places], artists=artists[places],
                  groups=works.groups[places], ids=places)
        for places in (side[works.labels[kind][side] != ""] for side in (queries, gallery))
    ]  # fmt: skip
    found = retrieval(*sides, without_same_artist=without_artist, ks=(1,))
    if not found.counted.any():
        return None
    return float((found.relevant[found.counted] / found.candidates[found.counted]).mean())


def _split(recipe: Recipe) -> str:
    kind = next(iter(recipe.tasks), "no task")
    return f"held_out {recipe.held_out:g}, seed {recipe.seed}, first task {kind}"


def _named(name: str, watch: Watch) -> Watch:
    """The same watch, which says of which recipe it tells."""
    return lambda what, done, of: watch(f"{name}: {what}", done, of)
