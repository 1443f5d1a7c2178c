"""What a network is to be trained on, and what came of it, for a terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import IO, Any

from simsearch.show.numbers import UNKNOWN, counted, decimals
from simsearch.show.table import table
from simsearch.show.text import harmless

FIGURES = {"accuracy": "accuracy", "f1": "macro F1", "p10": "P@10", "p10_other": "P@10, other artists"}
"""Figures of a kind of label, and what their columns are called."""


def show_plan(plan: Mapping[str, Any], recipe: str, out: IO[str]) -> None:
    """The recipe as YAML text, then the works of each task and the steps of each phase."""
    out.write("\n".join(harmless(line) for line in recipe.splitlines()) + "\n\n")
    rows = [
        [kind, f"{task['classes']:,}", f"{task['learned_from']:,}", f"{task['held_out']:,}"]
        for kind, task in plan["tasks"].items()
    ]
    if rows:
        table(["task", "classes", "learned from", "held out"], rows, out, right=frozenset({1, 2, 3}))
        out.write("\n")
    lines = [
        ("works", f"{plan['learned_from']:,} to learn from, {plan['held_out']:,} held out"),
        *([("kept aside", f"{counted(plan['aside'], 'work')} of the published split")] if plan["aside"] else []),
        *(("left out", f"{counted(n, 'work')} {reason}") for reason, n in plan["left_out"].items()),
        ("steps", _steps(plan["steps"])),
        ("run", f"{plan['folder']} ({plan['standing']})"),
    ]
    _lines(lines, out)


def show_compared(compared: Mapping[str, Any], out: IO[str]) -> None:
    """One table: each recipe's figures on the works held out, of each kind of label, beside the majority and chance."""
    works = (
        f"{counted(compared['held_out'], 'work')} held out, {counted(compared['learned_from'], 'work')} learned from"
    )
    out.write(works + "\n\n")
    runs = compared["recipes"]
    rows: list[list[str | None]] = []
    for kind, classes in compared["classes"].items():
        start = len(rows)
        for run in runs:
            own = {key: run["figures"].get(f"{kind}_{key}", math.nan) for key in FIGURES}
            if any(math.isfinite(value) for value in own.values()):
                rows.append([None, run["name"], *_figures(own), f"{run['parameters']:,}", _speed(run["images_per_s"])])
        for name, figures in compared["baselines"].get(kind, {}).items():
            if figures:
                rows.append([None, name, *_figures(figures), None, None])
        if rows[start:]:
            rows[start][0] = f"{kind} ({classes})"
    if not rows:
        rows = [["", run["name"], *_figures({}), f"{run['parameters']:,}", _speed(run["images_per_s"])] for run in runs]
    head = ["label (classes)", "recipe", *FIGURES.values(), "parameters", "images/s"]
    table(head, rows, out, right=frozenset(range(2, len(head))))


def show_run(compared: Mapping[str, Any], out: IO[str]) -> None:
    """The same for one run, and what can be done with it now."""
    show_compared(compared, out)
    (run,) = compared["recipes"]
    out.write("\n")
    if run.get("tradeoff"):
        show_trade_off(run["tradeoff"], out)
        out.write("\n")
    lines = [("saved", run["folder"])]
    if "encoder" in run:
        kept = "" if run["alpha"] is None else f"{run['alpha']:.0%} tuned weights, {1 - run['alpha']:.0%} original ones"
        lines += [("weights", kept), ("encoder", run["encoder"])]
    _lines(lines, out)


def show_trade_off(trade_off: Mapping[str, Any], out: IO[str]) -> None:
    """One table: for each share of tuned weights what was tuned for and what is retained, the chosen one marked."""
    rows = [
        [f"{point['alpha']:.2f}", _share(point["task"]), _share(point["retained"]),
         "chosen" if point["alpha"] == trade_off["chosen"] else ""]
        for point in trade_off["points"]
    ]  # fmt: skip
    table(["tuned share", "task", "retained", ""], rows, out, right=frozenset({0, 1, 2}))
    out.write("\n")
    _lines([("task", trade_off["task"]), ("retained", trade_off["retained"])], out)


def _share(value: float | None) -> str:
    return UNKNOWN if value is None else decimals(value)


def _steps(steps: list[int]) -> str:
    if len(steps) == 1:
        return f"{steps[0]:,}"
    return f"{sum(steps):,}: " + ", ".join(f"{n:,} of phase {number}" for number, n in enumerate(steps, 1))


def _figures(figures: Mapping[str, float]) -> list[str]:
    return [decimals(figures[key]) if key in figures else UNKNOWN for key in FIGURES]


def _speed(images_per_s: float) -> str:
    return f"{images_per_s:,.1f}" if images_per_s < 100 else f"{images_per_s:,.0f}"


def _lines(lines: list[tuple[str, str]], out: IO[str]) -> None:
    for name, text in lines:
        out.write(f"{name:<11} {harmless(text)}\n")
