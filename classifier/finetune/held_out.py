"""The works that a run looks at to know how far it is, and what it sees there."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from simsearch.catalog.labelled import Strings
from simsearch.classifier.metrics import confusion, macro
from simsearch.classifier.prepare import SPLIT_NAMES, TRAIN, VAL, together
from simsearch.classifier.retrieval import Works as Retrieved
from simsearch.classifier.retrieval import retrieval
from simsearch.classifier.split import part
from simsearch.errors import TrainingError
from simsearch.vectors import Rows

if TYPE_CHECKING:
    from simsearch.classifier.finetune.recipe import Recipe
    from simsearch.classifier.finetune.works import Works

Places = npt.NDArray[np.int64]
GALLERY = 2500
QUERIES = 1500
NEIGHBOURS = 10
TOLD = 2
"""Works that a label of captions needs to be measured by, and labels that a kind needs."""
UNKNOWN = -1
"""The class number of a work without a label."""


def divided(works: Works, recipe: Recipe) -> tuple[Places, Places]:
    """(works to learn from, works held out), places among `works`.

    Of a published split only the train part is used. What is held out are whole artists where they are known, and never
    a near-duplicate of what is learned. Raises TrainingError where nothing is left to learn from.
    """
    names = np.array([SPLIT_NAMES.get(name, name) for name in works.parts.tolist()])
    usable = np.flatnonzero(names == TRAIN) if (names == TRAIN).any() else np.flatnonzero(names != VAL)
    kind = next(iter((*recipe.tasks, *recipe.captions.labels)), "")
    labels = works.labels[kind][usable] if kind else np.full(len(usable), "", np.str_)
    groups = together(works.groups[usable], works.artists[usable])
    held = part(labels, groups, recipe.held_out, recipe.seed) if recipe.held_out else np.zeros(len(usable), bool)
    if len(usable) - int(held.sum()) < 2:
        raise TrainingError(f"{len(works.paths)} works leave {len(usable) - int(held.sum())} to learn from; index more")
    return usable[~held], usable[held]


def classes_of(works: Works, learn: Places, recipe: Recipe) -> dict[str, dict[str, int]]:
    """For each task its classes by name, with the number of works that are learned from; for each kind of label that
    captions tell too, where there are two classes or more of two works.

    Raises TrainingError where a task has fewer than two.
    """
    out = {}
    for kind, task in recipe.tasks.items():
        names, counts = np.unique(works.labels[kind][learn], return_counts=True)
        found = {str(name): int(n) for name, n in zip(names, counts, strict=True) if name and n >= task.min_images}
        if len(found) < 2:
            raise TrainingError(
                f"{kind} has {len(found)} classes with {task.min_images} or more works to learn from; two are needed: "
                f"leave the task away, or lower its min_images"
            )
        out[kind] = found
    for kind in recipe.captions.labels:
        names, counts = np.unique(works.labels[kind][learn], return_counts=True)
        found = {str(name): int(n) for name, n in zip(names, counts, strict=True) if name and n >= TOLD}
        if kind not in out and len(found) >= TOLD:
            out[kind] = found
    return out


def class_numbers(works: Works, sizes: Mapping[str, Mapping[str, int]], recipe: Recipe) -> dict[str, Places]:
    """For each kind of a task or of a contrast the class numbers (n,) of all works; UNKNOWN where a work has none.

    A task counts its classes as `sizes` names them, and a contrast of another kind all labels that there are.
    """
    classes = {kind: list(names) for kind, names in sizes.items()}
    for term in recipe.contrast:
        if term.label and term.label not in classes:
            classes[term.label] = [str(name) for name in np.unique(works.labels[term.label]) if name]
    out = {}
    for kind, names in classes.items():
        number = {name: i for i, name in enumerate(names)}
        out[kind] = np.array([number.get(value, UNKNOWN) for value in works.labels[kind].tolist()], np.int64)
    return out


def drawn(places: Places, most: int, seed: int) -> Places:
    """At most so many of the places, in order, the same for the same seed."""
    if len(places) <= most:
        return places
    return np.sort(np.random.default_rng(seed).choice(places, most, replace=False))


def likeness_figures(
    works: Works, queries: Places, query_rows: Rows, gallery: Places, gallery_rows: Rows, kinds: Sequence[str]
) -> dict[str, float]:
    """Share of the 10 nearest works with the query's label, of all artists and of others (``<kind>_p10_other``).

    Unit rows (q, d) and (g, d). Works without the label are left out; a figure that nothing speaks of is absent.
    """
    out: dict[str, float] = {}
    _, artists = np.unique(works.artists, return_inverse=True)
    artists = np.where(works.artists == "", -1, artists)
    for kind in kinds:
        values = works.labels[kind]
        names, codes = np.unique(values, return_inverse=True)
        asked, there = values[queries] != "", values[gallery] != ""
        if not asked.any() or not there.any() or len(names) < 2:
            continue
        sides = [
            Retrieved(rows[keep], codes[places[keep]], artists=artists[places[keep]], groups=works.groups[places[keep]],
                      ids=places[keep])
            for rows, places, keep in ((query_rows, queries, asked), (gallery_rows, gallery, there))
        ]  # fmt: skip
        for name, without in ((f"{kind}_p10", False), (f"{kind}_p10_other", True)):
            if without and (artists[queries] < 0).all():
                continue
            found = retrieval(*sides, without_same_artist=without, centre=True, ks=(NEIGHBOURS,))
            precision = found.precision_at(NEIGHBOURS)
            if np.isfinite(precision).any():
                out[name] = float(np.nanmean(precision))
    return out


def label_figures(kind: str, truth: Strings, said: Strings, sizes: Mapping[str, int]) -> dict[str, float]:
    """Accuracy and macro F1 over works with a label that could be learned, beside the majority and chance."""
    known = np.isin(truth, list(sizes))
    if not known.any():
        return {}
    names = sorted(sizes)
    code = {name: i for i, name in enumerate(names)}
    t, s = (np.array([code[v] for v in values[known].tolist()]) for values in (truth, said))
    most = max(sizes, key=lambda name: sizes[name])
    return {
        f"{kind}_accuracy": float((t == s).mean()),
        f"{kind}_f1": float(macro(confusion(t, s, len(names))).f1),
        f"{kind}_majority": float((t == code[most]).mean()),
        f"{kind}_chance": 1 / len(names),
        f"{kind}_works": float(known.sum()),
    }


def merit(figures: Mapping[str, float]) -> float:
    """One number to compare epochs by: the mean of the accuracies and of the neighbours of other artists; NaN for none.

    Neighbours by the query's own artist are left out where artists are known: they are found without any style.
    """
    chosen = [v for name, v in figures.items() if name.endswith(("_accuracy", "_p10_other"))]
    chosen += [v for name, v in figures.items() if name.endswith("_p10") and f"{name}_other" not in figures]
    return sum(chosen) / len(chosen) if chosen else math.nan
