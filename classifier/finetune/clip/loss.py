"""Contrast of images and captions in which works that a caption fits are never told to be strangers to it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from simsearch.classifier.finetune.held_out import UNKNOWN


def matches(codes: Tensor, told: Tensor, told_codes: Tensor) -> tuple[Tensor, Tensor]:
    """(which captions fit which works, of which pairs that is not known), each (m, B) bool.

    `codes` (K, B) int64 are what is known of B works in each of K respects, UNKNOWN where nothing is; `told` (K, m)
    bool are the respects that m captions speak of, and `told_codes` (K, m) what they say. A caption fits a work that
    has all it says, and does not where the work has something else; where the work lacks a label, that is open.
    """
    same = told_codes[:, :, None] == codes[:, None, :]
    speaks, known = told[:, :, None], (codes != UNKNOWN)[:, None, :]
    fits = (same | ~speaks).all(0)
    strange = (speaks & known & ~same).any(0)
    return fits, ~fits & ~strange


def contrast(images: Tensor, texts: Tensor, scale: Tensor, fits: Tensor, unknown: Tensor) -> Tensor:
    """Symmetric InfoNCE (Radford et al. 2021) of unit rows: images (B, d) and texts (m, d), with several positives.

    `fits` and `unknown` (m, B) are of :func:`matches`. Each caption's target is spread evenly over the works that it
    fits, and the other way round; pairs that are open count on neither side. A work that no caption fits is a stranger
    to captions and has no target of its own.
    """
    logits = scale * texts @ images.T
    return (_one_way(logits, fits, unknown) + _one_way(logits.T, fits.T, unknown.T)) / 2


def _one_way(logits: Tensor, positive: Tensor, unknown: Tensor) -> Tensor:
    likely = log_softmax(logits.masked_fill(unknown, float("-inf")), 1).masked_fill(~positive, 0)
    count = positive.sum(1)
    has = count > 0
    if not bool(has.any()):
        return logits.sum() * 0
    return -(likely.sum(1)[has] / count[has]).mean()


def largest_scale() -> float:
    """The largest logarithm of the factor on cosines; CLIP's own bound, a factor of 100."""
    return float(torch.log(torch.tensor(100.0)))
