"""What an evaluation measured, for a terminal: `simsearch evaluate`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import IO

from simsearch.figures import Comparison, Difference, Evaluation, HeadFigures, Method, Retrieval, ZeroShotFigures
from simsearch.show.numbers import UNKNOWN, counted, decimals, difference, estimate, p_value, per_cent
from simsearch.show.table import table
from simsearch.show.text import harmless

NEAREST, NEAREST_10, MAJORITY, CHANCE = "nearest work", "10 nearest works", "majority", "chance"
ZERO_SHOT = "zero-shot"
"""Names of the methods that are measured beside a head."""

FIGURE_NAMES = {
    "top1": "top-1", "top5": "top-5", "macro_precision": "macro precision", "macro_recall": "macro recall",
    "macro_f1": "macro F1", "weighted_precision": "weighted precision", "weighted_recall": "weighted recall",
    "weighted_f1": "weighted F1",
}  # fmt: skip

SHOWN = ("top1", "top5", "macro_f1")
FEW_CLASSES = 5
"""With so many classes top-5 is always right, and says nothing."""
CONFUSIONS = 5
FLAT = 0.5
"""A macro F1 below this share of top-1 is worth a sentence."""


def show_evaluation(evaluation: Evaluation, out: IO[str]) -> None:
    """What was measured, the answer in a sentence, then tables: ways of naming, calibration, confusions, retrieval."""
    out.write(harmless(f"{evaluation.kind}: {subject(evaluation)}") + "\n")
    out.write(harmless(f"encoder {evaluation.encoder}") + "\n")
    for sentence in answer(evaluation):
        out.write(harmless(sentence) + "\n")
    out.write("\n")
    names = shown(evaluation)
    rows = [[method_name(m, evaluation), *(_figure(m, name) for name in names)] for m in evaluation.methods]
    head = [f"naming the {harmless(evaluation.kind)}", *(FIGURE_NAMES[name] for name in names)]
    table(head, rows, out, right=frozenset(range(1, len(head))))
    if evaluation.zero_shot:
        out.write("\n")
        _show_zero_shot(evaluation.zero_shot, out)
    if evaluation.head:
        out.write("\n")
        _show_head(evaluation.head, out)
    if evaluation.retrieval:
        out.write("\n")
        _show_retrieval(evaluation, out)
    out.write("\n")
    for reason, works in evaluation.left_out.items():
        out.write(harmless(f"left out: {counted(works, 'work')} {reason}") + "\n")
    out.write(
        f"in brackets: 95 % intervals from {evaluation.resamples:,} bootstrap resamples, seed {evaluation.seed}\n"
    )


def show_comparison(comparison: Comparison, out: IO[str]) -> None:
    """Figures of both side by side, the difference with its interval, and what a test makes of it."""
    works = f"{counted(comparison.works, 'work')} of {comparison.split}, held out from both"
    out.write(harmless(f"{comparison.kind}: {works}") + "\n")
    out.write(harmless(f"a  {comparison.a}") + "\n" + harmless(f"b  {comparison.b}") + "\n\n")
    _show_differences(comparison.differences, ["", "a", "b", "b less a", "p"], out)
    out.write("\n" + verdict(comparison) + "\n")


def subject(evaluation: Evaluation) -> str:
    """What was measured on what, in words."""
    artists = f" by {counted(evaluation.artists, 'artist')}" if evaluation.artists else ""
    measured = f"{counted(evaluation.works, 'held-out work')} of {evaluation.split}{artists}"
    if evaluation.split == "train":
        measured = f"{counted(evaluation.works, 'work')} that were trained on{artists}"
    return f"{measured}, against {counted(evaluation.gallery, 'labelled work')}"


def answer(evaluation: Evaluation) -> list[str]:
    """What came out, in a sentence or a few; the first says the most."""
    figures = {m.name: m.figures["top1"].value for m in evaluation.methods if "top1" in m.figures}
    beside = [f"{words} {per_cent(figures[name])}" for name, words in _BESIDE.items() if name in figures]
    head = next((m for m in evaluation.methods if evaluation.head and m.name == evaluation.head.name), None)
    said = []
    if head and evaluation.head:
        top1 = head.figures["top1"]
        first = f"The head names the {evaluation.kind} of {per_cent(top1.value)} of the works rightly"
        said.append(f"{first}; {', '.join(beside)}." if beside else f"{first}.")
        said += _sure(evaluation.head)
        if len(evaluation.head.classes) > 2 and head.figures["macro_f1"].value < FLAT * top1.value:
            flat = decimals(head.figures["macro_f1"].value)
            said.append(
                f"Its macro F1 is no more than {flat}: it does well on a few large classes, not on most classes."
            )
    elif NEAREST in figures:
        nearest = f"The nearest work has the same {evaluation.kind} for {per_cent(figures[NEAREST])} of the works"
        said.append("; ".join([nearest, *beside[1:]]) + ".")
        said.append(f"No head was measured; simsearch train --label {evaluation.kind} trains one.")
    if evaluation.split == "train":
        said.append("The head has seen these very works: the figures say how well it remembers, not how well it knows.")
    return said


_BESIDE = {
    NEAREST: "the nearest work alone",
    NEAREST_10: "a vote of the ten nearest",
    ZERO_SHOT: "words alone",
    MAJORITY: "always the commonest class",
    CHANCE: "guessing",
}


def _sure(head: HeadFigures) -> list[str]:
    if not (math.isfinite(head.accuracy_answered.value) and 0 < head.answered.value < 1):
        return []
    share, right = per_cent(head.answered.value), per_cent(head.accuracy_answered.value)
    return [f"It is at least {per_cent(head.threshold)} sure of {share} of the works, and right for {right} of those."]


def shown(evaluation: Evaluation) -> list[str]:
    """The figures of the methods that are worth a place beside each other."""
    few = evaluation.head is not None and len(evaluation.head.classes) <= FEW_CLASSES
    measured = [name for name in SHOWN if any(name in m.figures for m in evaluation.methods)]
    return [name for name in measured if not (few and name == "top5")]


def method_name(method: Method, evaluation: Evaluation) -> str:
    """How a method is called where several stand side by side."""
    return f"head {method.name}" if evaluation.head and method.name == evaluation.head.name else method.name


def leaning(head: HeadFigures) -> str:
    """Whether its probabilities are too high or too low on the whole, in words."""
    bins = head.reliability
    total = sum(bins.count)
    gap = sum(n * (c - a) for n, c, a in zip(bins.count, bins.confidence, bins.accuracy, strict=True) if n)
    gap = gap / total if total else 0.0
    if abs(gap) < 0.005:
        return "on the whole as sure as it is right"
    return f"on the whole {abs(100 * gap):.1f} points {'surer' if gap > 0 else 'less sure'} than it is right"


def asked_in_words(figures: ZeroShotFigures) -> str:
    """How labels were named by words alone, in a sentence."""
    labels, sentences = counted(len(figures.labels), "label"), counted(len(figures.templates), "sentence")
    return f"zero-shot by {figures.encoder.name}: {labels}, each in {sentences}; softmax of {figures.scale:g} x cosine"


def against_head(figures: ZeroShotFigures) -> list[str]:
    """What words alone and the head are to each other, in sentences; none where no head was measured."""
    said = []
    if figures.unnamed:
        said.append(f"{counted(figures.unnamed, 'work')} carry none of the labels, so zero-shot is wrong on them")
    if figures.against_head:
        said.append(verdict(figures.against_head, "the head", "zero-shot"))
    return said


def verdict(comparison: Comparison, a: str = "a", b: str = "b") -> str:
    """What the test of top-1 says, in a sentence, which calls the two `a` and `b`."""
    top1 = next((d for d in comparison.differences if d.name == "top1"), None)
    if top1 is None:
        return "p: how often a difference at least as large would come by chance alone"
    counts = ""
    if comparison.only_a is not None and comparison.only_b is not None:
        counts = f"only {a} is right on {comparison.only_a:,} works, only {b} on {comparison.only_b:,}; "
    if not math.isfinite(top1.p) or top1.p >= 0.05:
        return f"{counts}that difference could well be chance (p {p_value(top1.p)})"
    better = b if top1.difference.value > 0 else a
    return f"{counts}{better} is better, by more than chance explains (p {p_value(top1.p)})"


def _figure(method: Method, name: str) -> str:
    return estimate(method.figures[name]) if name in method.figures else UNKNOWN


def _show_differences(differences: Sequence[Difference], head: list[str], out: IO[str]) -> None:
    rows = [
        [FIGURE_NAMES.get(d.name, d.name), estimate(d.a), estimate(d.b), difference(d.difference), p_value(d.p)]
        for d in differences
    ]
    table(head, rows, out, right=frozenset({1, 2, 3, 4}))


def _show_zero_shot(figures: ZeroShotFigures, out: IO[str]) -> None:
    out.write(harmless(asked_in_words(figures)) + "\n")
    if figures.against_head:
        _show_differences(figures.against_head.differences, ["", "head", "zero-shot", "difference", "p"], out)
    for sentence in against_head(figures):
        out.write(harmless(sentence) + "\n")


def _show_head(head: HeadFigures, out: IO[str]) -> None:
    out.write(f"calibration: ECE {estimate(head.ece)}, Brier {estimate(head.brier)}, {leaning(head)}\n")
    answered = f"{estimate(head.answered)} of the works answered, {estimate(head.accuracy_answered)} of them rightly"
    out.write(f"unsure below {decimals(head.threshold)}: {answered}\n")
    if not head.confused:
        return
    out.write("\n")
    supports = {row.name: row.support for row in head.per_class}
    rows = [
        [pair.true, pair.predicted, f"{pair.count:,} of {supports[pair.true]:,}", per_cent(pair.share)]
        for pair in head.confused[:CONFUSIONS]
    ]
    table(["most confused", "taken for", "works", "share"], rows, out, right=frozenset({2, 3}))


def _show_retrieval(evaluation: Evaluation, out: IO[str]) -> None:
    depths = sorted({k for row in evaluation.retrieval for k in row.recall})[-1:]  # a terminal has no room for more
    head = [f"finding the same {harmless(evaluation.kind)}", "P@1", "P@10", "mAP", *(f"recall@{k}" for k in depths)]
    rows = [
        [artists(row), *map(estimate, (row.p1, row.p10, row.map)),
         *(estimate(row.recall[k]) if k in row.recall else UNKNOWN for k in depths), f"{row.queries:,}"]
        for row in evaluation.retrieval
    ]  # fmt: skip
    table([*head, "queries"], rows, out, right=frozenset(range(1, len(head) + 1)))
    for row in evaluation.retrieval:
        if row.without_relevant:
            nothing = f"{counted(row.without_relevant, 'query', 'queries')} had nothing to find"
            out.write(f"{artists(row)}: {nothing}\n")


def artists(row: Retrieval) -> str:
    """Which works could answer, in words."""
    return "all artists" if row.same_artist else "other artists only"
