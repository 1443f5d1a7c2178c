"""What a run looks at to know how far a CLIP is: works held out, asked for in words."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from simsearch.catalog.labelled import Strings
from simsearch.classifier.finetune.backbones import normalised
from simsearch.classifier.finetune.batches import FromFiles, plain_order
from simsearch.classifier.finetune.clip.measure import (
    agreement,
    label_search_figures,
    probes_beside,
    search_figures,
    sentences_of,
)
from simsearch.classifier.finetune.clip.telling import Telling
from simsearch.classifier.finetune.device import Autocast
from simsearch.classifier.finetune.held_out import GALLERY, QUERIES, Places, drawn, likeness_figures
from simsearch.classifier.finetune.recipe import Recipe
from simsearch.classifier.finetune.works import Works
from simsearch.vectors import Rows
from simsearch.watch import Watch

if TYPE_CHECKING:
    from simsearch.classifier.finetune.clip.backbone import Clip

BATCH = 64
KEPT_BYTES = 1 << 29
"""Pixels of the works held out stay in memory up to so many bytes: they are looked at again and again."""
CAPTIONS, RETAINED = "captions", "retained"
"""How the names of the figures of captions begin, and of those that are not tuned on."""


class Looking:
    """The works that a run is measured on, and what is asked of them."""

    def __init__(
        self,
        recipe: Recipe,
        works: Works,
        learn: Places,
        held: Places,
        sizes: Mapping[str, Mapping[str, int]],
        clip: Clip,
        files: Callable[[int], FromFiles],
        autocast: Autocast,
    ) -> None:
        """`files` gives pictures, read by so many processes; `sizes` are the classes of each kind with their works."""
        self.works, self.sizes, self.clip, self.autocast = works, sizes, clip, autocast
        self.files = files(0)
        self.held = drawn(held, QUERIES, recipe.seed)
        self.gallery = drawn(learn, GALLERY, recipe.seed)
        self.questions = Telling(recipe.captions, works).questions(self.held) if recipe.captions else []
        kept = recipe.wise.retained
        self.kept_questions = Telling(kept, works).questions(self.held) if kept.column else []
        self.kept_sizes = {kind: _sizes(works.labels[kind][self.held]) for kind in kept.labels}
        self.kept_sizes = {kind: found for kind, found in self.kept_sizes.items() if found}
        self.probes = probes_beside([name for found in sizes.values() for name in found])
        self._pixels: list[Tensor] | None = None

    def figures(self, watch: Watch) -> dict[str, float]:
        """What words find among the works held out; nothing where none are."""
        return self.figures_of(self.images(watch)) if len(self.held) else {}

    def figures_of(self, images: Rows) -> dict[str, float]:
        """The same for unit rows (n, d) of the works held out."""
        texts = self.clip.text_rows([question.text for question in self.questions])
        figures = search_figures(CAPTIONS, self.questions, texts, images)
        for kind, found in self.sizes.items():
            if np.isin(self.works.labels[kind][self.held], list(found)).any():
                figures |= self._labels_found(kind, found, images)
        return figures

    def retained(self, images: Rows, original: Rows | None) -> float:
        """How much of what the original could do is left, from unit rows (n, d) of the works held out.

        Text search by captions that are not tuned on: the R@10 of a column's, the P@10 of labels as questions. Without
        such, the agreement with `original`, its scores (q, n) of the probes, and 1 where it is itself asked (None).
        """
        if self.kept_sizes:
            found = self.kept_sizes.items()
            return float(np.mean([self._labels_found(kind, n, images)[f"{kind}_text_p10"] for kind, n in found]))
        if self.kept_questions:
            texts = self.clip.text_rows([question.text for question in self.kept_questions])
            return search_figures(RETAINED, self.kept_questions, texts, images)[f"{RETAINED}_r10"]
        return 1.0 if original is None else agreement(self.probed(images), original)

    def _labels_found(self, kind: str, sizes: Mapping[str, int], images: Rows) -> dict[str, float]:
        rows = self.clip.ensembles(sentences_of(kind, list(sizes)))
        return label_search_figures(kind, self.works.labels[kind][self.held], sizes, rows, images)

    def probed(self, images: Rows) -> Rows:
        """The cosine (q, n) of each probe with each of the works held out."""
        return np.asarray(self.clip.text_rows(self.probes) @ images.T, np.float32)

    def likeness(self, images: Rows, watch: Watch) -> dict[str, float]:
        """How many of the works nearest to those held out share their labels; `images` are unit rows (n, d)."""
        if not self.sizes:
            return {}
        gallery = self._rows(self.files.pixels(plain_order(self.gallery, BATCH)), len(self.gallery), watch)
        return likeness_figures(self.works, self.held, images, self.gallery, gallery, list(self.sizes))

    def images(self, watch: Watch) -> Rows:
        """Unit rows (n, d) of the works held out."""
        return self._rows(self._held_pixels(), len(self.held), watch)

    def _held_pixels(self) -> Iterator[Tensor]:
        if self._pixels is not None:
            yield from self._pixels
            return
        size = self.clip.preprocessing.size
        keep = len(self.held) * size * size * 3 <= KEPT_BYTES
        found = []
        for pixels in self.files.pixels(plain_order(self.held, BATCH)):
            if keep:
                found.append(pixels)
            yield pixels
        self._pixels = found if keep else None

    @torch.no_grad()
    def _rows(self, batches: Iterator[Tensor], works: int, watch: Watch) -> Rows:
        self.clip.model.eval()
        out, total = [], math.ceil(works / BATCH)
        for done, pixels in enumerate(batches, 1):
            with self.autocast():
                rows = self.clip.model.encode_image(normalised(pixels.to(self.files.device), self.clip))
            out.append(torch.nn.functional.normalize(rows.float(), dim=1).numpy(force=True))
            watch("measuring", done, total)
        return np.concatenate(out) if out else np.empty((0, self.clip.dim), np.float32)


def _sizes(values: Strings) -> dict[str, int]:
    """The labels that there are, and of how many works."""
    names, counts = np.unique(values, return_counts=True)
    return {str(name): int(count) for name, count in zip(names, counts, strict=True) if name}


def task_of(figures: Mapping[str, float], recipe: Recipe) -> float:
    """One number to compare by; NaN for none.

    The mean of the accuracies of labels, and of the captions' R@10 where they are a column's. Captions of labels are
    too few and each fits too many works for that, so theirs counts only where no label could be measured.
    """
    names = [name for name in figures if name.endswith("_accuracy")]
    if recipe.captions.column or not names:
        names += [name for name in figures if name == f"{CAPTIONS}_r10"]
    return sum(figures[name] for name in names) / len(names) if names else math.nan
