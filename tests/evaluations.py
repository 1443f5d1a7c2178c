"""Evaluations to be drawn in tests: a real classifier on made-up embeddings, measured by scikit-learn."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support
from sklearn.naive_bayes import GaussianNB

from simsearch.figures import (
    ClassFigures,
    Confused,
    Evaluation,
    HeadFigures,
    Method,
    Reliability,
    Retrieval,
)
from simsearch.records import Artwork, EncoderInfo, Estimate, Label, Preprocessing

DIM = 12
CARD = {
    "name": "style", "choices": {"C": 1.0, "balance": "none", "seed": 7},
    "split": {"official": False, "share": 0.2, "seed": 7, "group_by": "artist", "near_duplicate": 0.93},
    "classes": [f"c{i}" for i in range(20)], "made": "2024-05-01",
}  # fmt: skip


@cache
def evaluation(
    classes: int = 4, works: int = 400, *, folder: Path | None = None, names: tuple[str, ...] = (), seed: int = 0
) -> Evaluation:
    """An evaluation of `classes` classes; with a folder its examples are painted into it, else they have no image."""
    random = np.random.default_rng(seed)
    names = tuple(sorted(names or (f"Style {i:03}" for i in range(classes))))
    centres = random.normal(size=(classes, DIM))
    true, known = (np.sort(random.integers(0, classes, n)) for n in (works, 5 * classes + works))
    rows, train = (centres[y] + random.normal(0, 1.0, (len(y), DIM)) for y in (true, known))
    model = GaussianNB(var_smoothing=0.05).fit(train, known)
    shares = np.zeros((works, classes))
    shares[:, model.classes_] = model.predict_proba(rows)
    nearest = known[((rows[:, None] - train[None]) ** 2).sum(-1).argmin(1)]
    methods = (
        _method("style", true, shares.argmax(1), classes, shares),
        _method("nearest work", true, nearest, classes),
        _method("majority", true, np.full(works, np.bincount(known).argmax()), classes),
        _method("chance", true, random.integers(0, classes, works), classes),
    )
    return Evaluation(
        "style", EncoderInfo("grid", "1", "ab" * 32, DIM, Preprocessing(16)), "val", works, len(known), 37,
        {"without an embedding": 3, "of classes that the head does not know": 1}, methods,
        _head(names, true, known, shares, folder), _retrieval(true, known, rows, train, random), seed=7, resamples=200,
    )  # fmt: skip


def estimate(values: np.ndarray) -> Estimate:
    """A mean with the normal approximation's interval."""
    values = np.asarray(values, float)
    half = 1.96 * values.std() / len(values) ** 0.5
    return Estimate(float(values.mean()), float(values.mean() - half), float(values.mean() + half))


def _method(name: str, true: np.ndarray, guess: np.ndarray, classes: int, shares: np.ndarray | None = None) -> Method:
    figures = {"top1": estimate(true == guess)}
    if shares is not None:
        best = np.argsort(-shares, axis=1)[:, :5]
        figures["top5"] = estimate((best == true[:, None]).any(1))
    for average in ("macro", "weighted"):
        found = precision_recall_fscore_support(true, guess, average=average, zero_division=0)
        for kind, value in zip(("precision", "recall", "f1"), found, strict=False):
            figures[f"{average}_{kind}"] = Estimate(float(value), float(value) - 0.02, float(value) + 0.02)
    return Method(name, figures)


def _head(
    names: tuple[str, ...], true: np.ndarray, known: np.ndarray, shares: np.ndarray, folder: Path | None
) -> HeadFigures:
    classes, guess, top = len(names), shares.argmax(1), shares.max(1)
    counts = confusion_matrix(true, guess, labels=range(classes))
    p, r, f1, n = precision_recall_fscore_support(true, guess, labels=range(classes), zero_division=0)
    trained = np.bincount(known, minlength=classes)
    hits = guess == true
    edges = np.linspace(0, 1, 11)
    bins = np.clip(np.searchsorted(edges, top, side="left") - 1, 0, 9)
    count = np.bincount(bins, minlength=10)
    mean = [np.bincount(bins, v, minlength=10) / np.maximum(count, 1) for v in (top, hits)]
    order = np.argsort(-top, kind="stable")
    curve = zip(
        np.arange(1, len(true) + 1) / len(true), np.cumsum(hits[order]) / np.arange(1, len(true) + 1), strict=True
    )
    threshold = float(np.quantile(top, 0.3))
    answered = top >= threshold
    gap = float((count * np.abs(mean[0] - mean[1])).sum() / len(true))
    return HeadFigures(
        "style", names,
        tuple(
            ClassFigures(names[i], int(n[i]), int(trained[i]), float(p[i]), float(r[i]), float(f1[i]))
            for i in range(classes)
        ),
        tuple(tuple(row) for row in counts.tolist()), _confused(names, true, guess, shares, counts, folder),
        Estimate(gap, gap - 0.01, gap + 0.01), estimate(((np.eye(classes)[true] - shares) ** 2).sum(1)),
        Reliability(tuple(edges), tuple(mean[0]), tuple(mean[1]), tuple(int(v) for v in count)),
        tuple((float(c), float(a)) for c, a in curve), threshold, estimate(answered), estimate(hits[answered]), CARD,
    )  # fmt: skip


def _confused(
    names: tuple[str, ...], true: np.ndarray, guess: np.ndarray, shares: np.ndarray, counts: np.ndarray,
    folder: Path | None,
) -> tuple[Confused, ...]:  # fmt: skip
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    pairs = []
    for cell in np.argsort(-wrong, axis=None, kind="stable")[:6].tolist():
        i, j = divmod(cell, len(names))
        if not wrong[i, j]:
            break
        places = np.flatnonzero((true == i) & (guess == j))
        places = places[np.argsort(-shares[places, j], kind="stable")][:3].tolist()
        examples = tuple((work(place + 1, names[i], folder), float(shares[place, j])) for place in places)
        typical = tuple(work(1000 + place, names[j], folder) for place in np.flatnonzero(true == j)[:2].tolist())
        share = float(wrong[i, j] / counts[i].sum())
        pairs.append(Confused(names[i], names[j], int(wrong[i, j]), share, examples, typical))
    return tuple(pairs)


def work(id: int, style: str, folder: Path | None = None) -> Artwork:
    """A work of a style; with a folder, its picture is painted there in the style's own colour."""
    path = None
    if folder:
        path = folder / f"{id}.png"
        colour = tuple(hashlib.sha256(style.encode("utf-8", "replace")).digest()[:3])
        picture = Image.new("RGB", (60, 40), colour)
        picture.paste((255 - colour[0], 128, id % 256), (10, 10, 30, 30))
        picture.save(path)
    labels = (Label("style", style), Label("artist", f"Artist {id}"))
    return Artwork("folder:/art", f"a/{id}.png", id, str(path) if path else None, title=f"Work {id}", labels=labels)


def _retrieval(
    true: np.ndarray, known: np.ndarray, rows: np.ndarray, train: np.ndarray, random: np.random.Generator
) -> tuple[Retrieval, ...]:
    """With and without works by the query's artist; a class has three artists."""
    artists = [3 * y + random.integers(0, 3, len(y)) for y in (true, known)]
    near = np.argsort(((rows[:, None] - train[None]) ** 2).sum(-1), axis=1, kind="stable")
    out = []
    for same in (True, False):
        found: list[tuple[float, ...]] = []
        for query, order in enumerate(near):
            kept = order if same else order[artists[1][order] != artists[0][query]]
            right = known[kept] == true[query]
            if right.any():
                places = np.flatnonzero(right)
                precision = float((np.arange(1, len(places) + 1) / (places + 1)).mean())
                recalls = (right[:k].sum() / right.sum() for k in (1, 10, 100))
                found.append((right[0], right[:10].mean(), precision, *recalls))
        columns = [estimate(column) for column in np.array(found, float).T]
        recall = dict(zip((1, 10, 100), columns[3:], strict=True))
        out.append(Retrieval(same, len(found), len(true) - len(found), *columns[:3], recall))
    return tuple(out)
