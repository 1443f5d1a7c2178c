"""What a teacher says of a view: what it says of the work, or what it makes of that very view, computed once and kept.

A student that sees a corner of a picture and is told what the whole one means learns to guess; one that is told what
its teacher sees in that corner learns the teacher (Beyer et al. 2022, Knowledge distillation: A good teacher is patient
and consistent). Photographs are left aside: frame and wall are nothing that a work means.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from simsearch.classifier.finetune.augment import is_photograph
from simsearch.classifier.finetune.batches import FromFiles, cache_folder, fill_view, workers_for
from simsearch.classifier.finetune.held_out import Places
from simsearch.classifier.finetune.recipe import Distill, Recipe, as_data
from simsearch.classifier.finetune.start import centred
from simsearch.classifier.finetune.trunk import PLAIN_VIEW, Activations
from simsearch.classifier.finetune.works import Works, columns_of
from simsearch.encoders.base import Encoder
from simsearch.encoders.registry import load_encoder
from simsearch.errors import EncoderError, TrainingError
from simsearch.vectors import Rows, unit_rows
from simsearch.watch import Watch

Files = Callable[..., FromFiles]
"""Makes the views for so many processes and another preprocessing than the recipe's."""


class Teacher:
    """What a teacher says of the works; of any view of a work the same."""

    def __init__(self, plain: Rows, learn: Places) -> None:
        """`plain` (n, d) is what it said of the works, `learn` those over which it is centred."""
        self.mean = plain[learn].mean(0, dtype=np.float64).astype(np.float32)
        self.plain = torch.from_numpy(centred(plain, learn))

    def rows(self, works: Places, numbers: Places) -> Tensor:
        """Unit rows (B, d) float32 of the works (B,) in their views of these numbers (B,)."""
        return self.plain[torch.from_numpy(works)]


class LookingTeacher(Teacher):
    """What a teacher says of each view that is kept, photographs aside."""

    def __init__(
        self, plain: Rows, learn: Places, columns: slice, cache: Activations, at: Places, photographs: dict[int, Places]
    ) -> None:
        """`at` (n,) is the row of each work in the cache, `photographs` the works of each view that are one there."""
        super().__init__(plain, learn)
        self.columns, self.cache, self.at = columns, cache, at
        self.photographs = {number: set(works.tolist()) for number, works in photographs.items()}

    def rows(self, works: Places, numbers: Places) -> Tensor:
        """Unit rows (B, d) float32 of the works (B,) in their views of these numbers (B,)."""
        out = self.plain[torch.from_numpy(works)].clone()
        for i, (work, number) in enumerate(zip(works.tolist(), numbers.tolist(), strict=True)):
            if number != PLAIN_VIEW and work not in self.photographs[number]:
                away = self.cache.view(number)[self.at[work], self.columns].astype(np.float32) - self.mean
                out[i] = torch.from_numpy(away / max(float(np.linalg.norm(away)), 1e-12))
        return out


def teacher_of(
    distill: Distill, plain: Rows, recipe: Recipe, works: Works, learn: Places, folder: Path, files: Files, watch: Watch
) -> Teacher:
    """The teacher of a term of a recipe, whose rows of the works are `plain` (n, d).

    Where the recipe names its encoder, that embeds every kept view that is none yet; the cache lies in `folder`. Raises
    TrainingError for an encoder that is not the one that made those rows, and for one that is not there.
    """
    if not distill.encoder:
        return Teacher(plain, learn)
    try:
        encoder = load_encoder(distill.encoder)
    except EncoderError as error:
        raise TrainingError(f"the teacher cannot look at views: {error}") from error
    columns = columns_of(distill, encoder.info.dim)
    views = files(workers_for(len(learn) * recipe.cache.views, torch.device("cpu")), encoder.info.preprocessing)
    _check(encoder, distill, plain, columns, views, learn)
    signature = _signature(encoder, recipe)
    cache = Activations(cache_folder(folder, signature), signature, np.unique(works.keys), (encoder.info.dim,))
    at = cache.rows(works.keys)
    photographs = {}

    def look(pixels: Tensor) -> Tensor:
        size = encoder.batch_size
        parts = [encoder.embed_images(pixels[i : i + size].numpy()) for i in range(0, len(pixels), size)]
        return torch.from_numpy(np.concatenate(parts))

    for number in range(1, recipe.cache.views + 1):
        drawn = [np.random.default_rng([recipe.seed, int(key), number]) for key in works.keys[learn]]
        photo = np.array([is_photograph(recipe.augment, draw) for draw in drawn], bool)
        photographs[number] = learn[photo]
        fill_view(cache, at, learn[~photo], number, views.pixels, look, watch)
    return LookingTeacher(plain, learn, columns, cache, at, photographs)


ALIKE = 0.9
"""Least cosine of what an encoder gives a few works with what is kept of them: CLIP ViT-B/16 in dynamic int8, which
rounds on each kind of processor in another way, gives .94."""
COMPARED = 4


def _check(encoder: Encoder, distill: Distill, plain: Rows, columns: slice, files: FromFiles, learn: Places) -> None:
    few = learn[:COMPARED]
    pixels = next(iter(files.pixels([(few, np.full((1, len(few)), PLAIN_VIEW))])))
    said = unit_rows(encoder.embed_images(pixels.numpy())[:, columns])
    if said.shape[1] != plain.shape[1] or float((said * unit_rows(plain[few])).sum(1).min()) < ALIKE:
        raise TrainingError(
            f"{distill.encoder} is not the encoder that made the embeddings of {distill.teacher}: it gives other ones; "
            f"name the right one, or leave encoder away"
        )


def _signature(encoder: Encoder, recipe: Recipe) -> dict[str, Any]:
    data = as_data(recipe)
    of = {"encoder": str(encoder.info), "digest": encoder.info.digest}
    return of | {name: data[name] for name in ("augment", "seed", "resize")}
