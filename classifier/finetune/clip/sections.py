"""The keys of a recipe that only a CLIP backbone knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from simsearch.captions import fields_of, sentences
from simsearch.errors import TrainingError

CLIP = "clip:"
PARTS = ("attention", "mlp")
"""What adapters can be given to, in each block of both towers."""


@dataclass(frozen=True, slots=True)
class Captions:
    """Sentences about the works, from a column of the catalog or made of labels."""

    column: str = ""
    """A descriptive column such as ``title``, or an attribute that the sources' tables have beside them."""
    labels: tuple[str, ...] = ()
    """Kinds of label to make sentences of; a work tells those that it has."""
    templates: tuple[str, ...] = ()
    """Sentences with named fields, such as "a {style} {genre}"; empty for those that come with simsearch."""
    weight: float = 1.0

    def __bool__(self) -> bool:
        """Whether there are captions."""
        return bool(self.column or self.labels)

    def sentences(self) -> tuple[str, ...]:
        """The templates that captions are made by."""
        return self.templates or sentences(self.labels)


@dataclass(frozen=True, slots=True)
class Lora:
    """Low-rank adapters (Hu et al. 2021) instead of all weights; they are added to the weights at the end."""

    r: int = 0
    """Rank of the adapters; 0 for none, so that the weights themselves are tuned."""
    alpha: float = 16.0
    """Adapters count alpha / r."""
    dropout: float = 0.0
    """On what goes into an adapter; packed attention (open_clip's own towers) goes without."""
    targets: tuple[str, ...] = PARTS
    """``attention`` (queries, keys, values and what joins the heads) and ``mlp``, of both towers."""


@dataclass(frozen=True, slots=True)
class Wise:
    """Interpolation of original and tuned weights (WiSE-FT; Wortsman et al. 2022)."""

    alphas: tuple[float, ...] = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    """Shares of the tuned weights that are measured; empty keeps the tuned weights, unmeasured."""
    keep: float = 0.9
    """The share with the best figure is taken among those that keep at least so much of the original's ability."""
    retained: Captions = field(default_factory=Captions)
    """Captions that are not tuned on, whose text search is the ability to be kept. Empty: how far the tuned model ranks
    the works held out as the original does, for questions of many kinds."""


def check_sections(name: str, captions: Captions, lora: Lora, wise: Wise) -> None:
    """Raises TrainingError where they cannot be followed; `name` is the recipe's."""
    for what, of in (("captions", captions), ("wise.retained", wise.retained)):
        _check_captions(f"recipe {name!r}: {what}", of)
    if captions and wise.retained and _same(captions, wise.retained):
        raise TrainingError(
            f"recipe {name!r}: wise.retained must be captions that are not tuned on; name another column, or other "
            f"labels"
        )
    if odd := [target for target in lora.targets if target not in PARTS]:
        raise TrainingError(f"recipe {name!r}: lora.targets has {odd[0]!r}; there are {', '.join(PARTS)}")
    if lora.r < 0 or (lora.r and not lora.targets) or not 0 <= lora.dropout < 1 or lora.alpha <= 0:
        raise TrainingError(
            f"recipe {name!r}: lora needs r of 0 or more, an alpha above 0, a dropout from 0 to below 1, and a target"
        )
    if any(not 0 <= alpha <= 1 for alpha in wise.alphas) or not 0 <= wise.keep <= 1:
        raise TrainingError(f"recipe {name!r}: wise.alphas and wise.keep must be shares from 0 to 1")


def _check_captions(where: str, captions: Captions) -> None:
    if captions.column and captions.labels:
        raise TrainingError(f"{where} names a column and labels; give one of them")
    if captions.templates and not captions.labels:
        raise TrainingError(f"{where} has templates but no labels to fill them with; give labels")
    try:
        names = {name for template in captions.templates for name in fields_of(template)}
    except ValueError as error:
        raise TrainingError(f"{where} has a template whose braces do not close ({error})") from error
    if any(not fields_of(template) for template in captions.templates) or not names <= set(captions.labels):
        raise TrainingError(
            f"{where}: each template needs fields of the labels {_listed(captions.labels)}, such as "
            f'"a {{{captions.labels[0]}}} painting"'
        )


def _same(one: Captions, other: Captions) -> bool:
    return (
        bool(one.column == other.column and set(other.labels) <= set(one.labels))
        if one.column
        else bool(other.labels and set(other.labels) <= set(one.labels))
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
