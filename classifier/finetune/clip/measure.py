"""What text search by a CLIP finds among works held out, and how much of what the original could do is left."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from simsearch.captions import prompts, spoken
from simsearch.classifier.finetune.clip.telling import Question
from simsearch.classifier.finetune.held_out import label_figures
from simsearch.vectors import Rows

NEAREST = 10
ENSEMBLE_UP_TO = 200
"""Labels of a kind up to which each is asked for by all its sentences; above, by the plainest."""
PROBES = (
    "a stormy sea", "a calm lake at dawn", "snow on the roofs", "a forest in autumn", "mountains in the distance",
    "a woman reading", "a man with a beard", "a child playing", "a crowd in the street", "two people talking",
    "a horse and its rider", "a dog", "birds in the sky", "a vase of flowers", "fruit on a table", "an empty room",
    "a church", "a bridge over a river", "a boat with sails", "a battle", "angels in the clouds", "a dance",
    "a night scene", "bright colours", "dark shadows", "a red dress", "something blue", "straight lines and squares",
    "circles", "many small dots", "thick brushstrokes", "a drawing in ink", "hands", "a window", "a garden", "fire",
)  # fmt: skip
"""Questions of many kinds, none of them a caption, by which a tuned model is held against the original."""


def search_figures(name: str, questions: Sequence[Question], texts: Rows, images: Rows) -> dict[str, float]:
    """``<name>_r10``: the share of the questions with a work they should find among the ten nearest; chance beside it.

    Unit rows of the questions (q, d) and of the works (n, d). Ties go by the order of the works. No figure of no
    question.
    """
    if not questions:
        return {}
    order = _ranked(texts, images)[:, :NEAREST]
    finds = np.array([question.finds for question in questions])
    hit = np.take_along_axis(finds, order, 1).any(1)
    chance = [_chance(int(row.sum()), len(images)) for row in finds]
    return {
        f"{name}_r10": float(hit.mean()),
        f"{name}_chance": float(np.mean(chance)),
        f"{name}_questions": float(len(questions)),
    }


def label_search_figures(
    kind: str, values: npt.NDArray[np.str_], sizes: Mapping[str, int], texts: Rows, images: Rows
) -> dict[str, float]:
    """Labels given by the nearest text, and what a label as a question finds.

    `texts` (c, d) stand for the labels of `sizes`, in their order; `values` (n,) are the labels of the works. The
    figures of :func:`label_figures`, and ``<kind>_text_p10``: the mean over the labels that some work has of the share
    of the ten nearest works that have it (of as many as there are where there are fewer), with chance beside it.
    """
    names = np.array(list(sizes))
    figures = label_figures(kind, values, names[(images @ texts.T).argmax(1)], sizes)
    asked = [number for number, name in enumerate(names.tolist()) if (values == name).any()]
    if not asked:
        return figures
    order = _ranked(texts[asked], images)
    shares, chances = [], []
    for row, number in zip(order, asked, strict=True):
        right = values == names[number]
        most = min(NEAREST, int(right.sum()))
        shares.append(float(right[row[:most]].mean()))
        chances.append(float(right.mean()))
    return figures | {f"{kind}_text_p10": float(np.mean(shares)), f"{kind}_text_chance": float(np.mean(chances))}


def sentences_of(kind: str, names: Sequence[str]) -> list[list[str]]:
    """The sentences that ask for each label of a kind."""
    asked = [prompts(kind, name) for name in names]
    return asked if len(asked) <= ENSEMBLE_UP_TO else [some[:1] for some in asked]


def probes_beside(labels: Sequence[str]) -> list[str]:
    """The probes in which none of these labels stands as a word."""
    taken = {spoken(label).lower() for label in labels}
    return [probe for probe in PROBES if not taken & {*probe.split(), " ".join(probe.split()[1:])}]


def agreement(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> float:
    """The mean over questions of Spearman's rank correlation of two scorings (q, n) of the works; 1 for equal orders.

    NaN for fewer than two works.
    """
    if one.shape[1] < 2:
        return math.nan
    a, b = (np.argsort(np.argsort(scores, axis=1, kind="stable"), axis=1).astype(np.float64) for scores in (one, other))
    a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    return float(((a * b).sum(1) / np.sqrt((a * a).sum(1) * (b * b).sum(1))).mean())


def _ranked(texts: Rows, images: Rows) -> npt.NDArray[np.int64]:
    return np.argsort(-np.round(texts @ images.T, 6), axis=1, kind="stable")


def _chance(right: int, of: int) -> float:
    """That one of `right` works is among ten drawn from `of`."""
    drawn = min(NEAREST, of)
    return 1 - math.comb(of - right, drawn) / math.comb(of, drawn)
