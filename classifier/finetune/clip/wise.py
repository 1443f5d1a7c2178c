"""Interpolation of original and tuned weights, and which share of the tuned ones is best (Wortsman et al. 2022)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from simsearch.classifier.finetune.clip.sections import Wise

ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Point:
    """What a mix of weights can do."""

    alpha: float
    """Share of the tuned weights."""
    task: float
    """What was tuned for, on works held out."""
    retained: float
    """What the original could do and should go on doing."""
    figures: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class TradeOff:
    """Mixes from the original to the tuned weights, and the one that is taken."""

    points: tuple[Point, ...]
    """By alpha; the first is the original."""
    chosen: float
    task: str
    """What `task` is, in words."""
    retained: str
    """What `retained` is, in words."""
    keep: float

    def at(self, alpha: float) -> Point:
        """The point of this alpha. Raises KeyError where it was not measured."""
        for point in self.points:
            if point.alpha == alpha:
                return point
        raise KeyError(alpha)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "task": self.task, "retained": self.retained, "keep": self.keep, "chosen": self.chosen,
            "points": [
                {"alpha": point.alpha, "task": _plain(point.task), "retained": _plain(point.retained),
                 "figures": {name: _plain(value) for name, value in point.figures.items()}}
                for point in self.points
            ],
        }  # fmt: skip


def interpolated(original: Mapping[str, Tensor], tuned: Mapping[str, Tensor], alpha: float) -> dict[str, Tensor]:
    """(1 - alpha) times the original plus alpha times the tuned weights, name by name; at 0 and 1 they to the last bit.

    Between, what is no floating-point number is the tuned model's.
    """
    if alpha in (0.0, 1.0):
        return dict(tuned if alpha else original)
    return {
        name: torch.lerp(original[name].float(), value.float(), alpha).to(value.dtype)
        if value.is_floating_point()
        else value
        for name, value in tuned.items()
    }


def trade_off(wise: Wise, measure: Callable[[float], Point], task: str, retained: str) -> TradeOff:
    """Measures each alpha, the original first, and takes the best that keeps enough."""
    alphas = sorted({0.0, *wise.alphas})
    points = tuple(measure(alpha) for alpha in alphas)
    return TradeOff(points, chosen(points, wise), task, retained, wise.keep)


def chosen(points: Sequence[Point], wise: Wise) -> float:
    """The alpha with the best task figure among those that keep `wise.keep` of what the original (the first) retains.

    Of equal ones the one that retains more. The original itself is taken where it is the best or no other keeps
    enough; where nothing could be measured, the largest alpha.
    """
    measured = [point for point in points if math.isfinite(point.task)]
    if not measured:
        return points[-1].alpha
    least = wise.keep * points[0].retained
    kept = [p for p in measured if not math.isfinite(least) or p.retained >= least - ROUNDING]
    return max(kept or points[:1], key=lambda p: (p.task, p.retained if math.isfinite(p.retained) else 0.0)).alpha


def _plain(value: float) -> float | None:
    return round(value, 5) if math.isfinite(value) else None
