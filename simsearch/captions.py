"""Sentences made of labels: what a text tower is told of a work, and how a label is asked for in words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from string import Formatter
from types import MappingProxyType
from typing import TYPE_CHECKING

from simsearch.records import LABEL_COLUMNS, Artwork

if TYPE_CHECKING:
    import numpy as np

TEMPLATES: Mapping[str, tuple[str, ...]] = MappingProxyType({
    "style": ("a painting in the style of {}", "a {} painting", "a {} artwork", "a work in the {} manner", "{} art"),
    "genre": ("a {}", "a painting of the genre {}", "a {} painting", "an artwork showing a {}"),
    "artist": ("a painting by {}", "an artwork by {}", "a work of {}", "{}, painting"),
    "kind": ("a {}", "an artwork of the kind {}", "a picture of a {}"),
    "": ("{}", "an artwork: {}", "a painting of {}", "an image of {}"),
})  # fmt: skip
"""Kind of label to sentences with ``{}`` for its value, the plainest first; ``""`` serves every other kind.

The mean of the embeddings of all of them (a prompt ensemble; Radford et al. 2021) stands for the label.
"""

COMPOSED = (
    "a {style} {genre} by {artist}", "a {genre} by {artist}, {style}", "a {style} {genre}",
    "a {style} painting by {artist}", "a {genre} by {artist}",
)  # fmt: skip
"""Sentences of several labels."""

_ARTICLE = re.compile(r"\b([Aa]) (?=[aeiouAEIOU])")


@dataclass(frozen=True, slots=True)
class Caption:
    """A sentence about a work, and which of its labels it tells."""

    text: str
    kinds: tuple[str, ...]


def templates_for(kind: str) -> tuple[str, ...]:
    """The sentences with ``{}`` for a label of this kind."""
    return TEMPLATES.get(kind, TEMPLATES[""])


def prompts(kind: str, value: str, templates: Sequence[str] = ()) -> list[str]:
    """All sentences that ask for a label, such as "a Baroque painting"; those of `templates` instead where given.

    Each template has ``{}`` for the value.
    """
    return [_with_article(template.format(spoken(value))) for template in (templates or templates_for(kind))]


def spoken(value: str) -> str:
    """A label as words: ``Art_Nouveau_Modern`` is "Art Nouveau Modern", ``claude-monet`` is "claude monet"."""
    words = value.replace("_", " ")
    return " ".join((words if " " in words else words.replace("-", " ")).split())


def sentences(kinds: Iterable[str]) -> tuple[str, ...]:
    """Templates with named fields, such as "a {style} {genre}", that need none but labels of these kinds."""
    known = tuple(dict.fromkeys(kinds))
    joined = [template for template in COMPOSED if set(fields_of(template)) <= set(known)]
    single = [template.replace("{}", "{" + kind + "}") for kind in known for template in templates_for(kind)]
    return (*joined, *single)


def fields_of(template: str) -> tuple[str, ...]:
    """The names in braces of a template, in order. Raises ValueError where its braces do not close."""
    return tuple(name for _, name, _, _ in Formatter().parse(template) if name is not None)


def fitting(said: Artwork | Mapping[str, str], templates: Sequence[str]) -> list[str]:
    """The templates whose labels are all known of a work."""
    labels = labels_of(said)
    return [template for template in templates if all(labels.get(name) for name in fields_of(template))]


def filled(template: str, said: Artwork | Mapping[str, str]) -> Caption:
    """The caption that a template with named fields gives of a work. Raises KeyError for a label that it lacks."""
    labels, names = labels_of(said), fields_of(template)
    text = template.format_map({name: spoken(labels[name]) for name in names})
    return Caption(_with_article(text), tuple(dict.fromkeys(names)))


def fullest(said: Artwork | Mapping[str, str], templates: Sequence[str]) -> Caption | None:
    """The caption that tells most of a work's labels, the first such template's; None where no template fits."""
    fits = fitting(said, templates)
    return filled(max(fits, key=lambda template: len(set(fields_of(template)))), said) if fits else None


def caption(said: Artwork | Mapping[str, str], rng: np.random.Generator, templates: Sequence[str] = ()) -> str:
    """A sentence of a work's labels, drawn from those that fit; empty where it has no label that a sentence tells.

    `said` is a work, or kind of label to label. `templates` have named fields; the default is :func:`sentences` of the
    labels that are known, or of style, genre and artist for a work.
    """
    kinds = LABEL_COLUMNS if isinstance(said, Artwork) else tuple(said)
    fits = fitting(said, templates or sentences(kinds))
    return filled(fits[int(rng.integers(len(fits)))], said).text if fits else ""


def labels_of(said: Artwork | Mapping[str, str]) -> Mapping[str, str]:
    """Kind to label of a work, what was said of it only; a mapping as it is."""
    if not isinstance(said, Artwork):
        return said
    return {kind: text for kind in dict.fromkeys(label.kind for label in said.labels) if (text := said.label(kind))}


def _with_article(text: str) -> str:
    return _ARTICLE.sub(r"\1n ", text)
