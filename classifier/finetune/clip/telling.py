"""What is told of the works: captions drawn for a batch, and the questions by which text search is measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simsearch.captions import filled, fitting, fullest
from simsearch.classifier.finetune.clip.sections import Captions
from simsearch.classifier.finetune.held_out import UNKNOWN, Places
from simsearch.classifier.finetune.works import Works
from simsearch.errors import TrainingError

Codes = npt.NDArray[np.int64]
Which = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Drawn:
    """Captions of some of the works of a batch."""

    texts: list[str]
    """(m)"""
    told: Which
    """(K, m) which respects each speaks of."""
    said: Codes
    """(K, m) what it says in each."""


@dataclass(frozen=True, slots=True)
class Question:
    """A text, and the works that it should find."""

    text: str
    finds: Which
    """(n,) of the works that were asked for."""


class Telling:
    """Captions of works, as a recipe wants them."""

    def __init__(self, captions: Captions, works: Works) -> None:
        """Raises TrainingError where no work has a caption."""
        self.captions = captions
        if captions.column:
            self.columns = [works.texts[captions.column]]
        else:
            self.columns = [works.labels[kind] for kind in captions.labels]
        self.codes: Codes = np.stack([_numbers(column) for column in self.columns])
        """(K, n): K respects, a column's text or each kind of label; UNKNOWN where a work says nothing."""
        self.templates = captions.sentences()
        if not self.has(np.arange(len(works))).any():
            raise TrainingError(f"no work has a caption by {_named(captions)}; take other labels, or another column")

    def has(self, works: Places) -> Which:
        """Which of the works (n,) have a caption."""
        if self.captions.column:
            return np.asarray(self.codes[0, works] != UNKNOWN)
        return np.array([bool(fitting(self._said(work), self.templates)) for work in works.tolist()], bool)

    def draw(self, works: Places, random: np.random.Generator) -> Drawn:
        """A caption of each of the works (n,) that has one; of labels, by a template drawn from those that fit."""
        texts, told, said = [], [], []
        for work in works.tolist():
            drawn = self._one(work, random)
            if drawn is not None:
                texts.append(drawn[0])
                told.append(drawn[1])
                said.append(self.codes[:, work])
        empty = np.empty((len(self.columns), 0))
        return Drawn(
            texts,
            np.array(told, bool).T if told else empty.astype(bool),
            np.array(said, np.int64).T if said else empty.astype(np.int64),
        )

    def questions(self, works: Places) -> list[Question]:
        """The fullest caption of each of the works (n,), each text once, with all of these works that it fits."""
        found: dict[str, Which] = {}
        for work in works.tolist():
            if self.captions.column:
                text, kinds = str(self.columns[0][work]), [True]
            else:
                caption = fullest(self._said(work), self.templates)
                text = caption.text if caption else ""
                kinds = [kind in caption.kinds for kind in self.captions.labels] if caption else []
            if text and text not in found:
                respects = np.flatnonzero(kinds)
                found[text] = np.all(self.codes[respects][:, works] == self.codes[respects, work][:, None], axis=0)
        return [Question(text, finds) for text, finds in found.items()]

    def _one(self, work: int, random: np.random.Generator) -> tuple[str, list[bool]] | None:
        if self.captions.column:
            text = str(self.columns[0][work])
            return (text, [True]) if text else None
        fits = fitting(said := self._said(work), self.templates)
        if not fits:
            return None
        caption = filled(fits[int(random.integers(len(fits)))], said)
        return caption.text, [kind in caption.kinds for kind in self.captions.labels]

    def _said(self, work: int) -> Mapping[str, str]:
        return {kind: str(column[work]) for kind, column in zip(self.captions.labels, self.columns, strict=True)}


def _numbers(column: npt.NDArray[np.str_]) -> Codes:
    """The number of each text among those that there are, (n,); UNKNOWN for an empty one."""
    _, numbers = np.unique(column, return_inverse=True)
    return np.where(column == "", UNKNOWN, numbers).astype(np.int64)


def _named(captions: Captions) -> str:
    names: Sequence[str] = (captions.column,) if captions.column else captions.labels
    return ", ".join(map(repr, names))
