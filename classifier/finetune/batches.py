"""Batches of views: from image files, decoded and changed by worker processes, or from the cache of a frozen trunk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from simsearch.classifier.finetune.augment import Augment
from simsearch.classifier.finetune.backbones import Backbone, Fed, normalised
from simsearch.classifier.finetune.recipe import Recipe, as_data, steps_an_epoch
from simsearch.classifier.finetune.start import trunk_digest
from simsearch.classifier.finetune.trunk import PLAIN_VIEW, Activations, Keys, pixels_of
from simsearch.encoders.base import usable_cores
from simsearch.errors import ImageError
from simsearch.records import Preprocessing
from simsearch.watch import Watch

Rows = npt.NDArray[np.int64]
Order = Sequence[tuple[Rows, Rows]]
"""For each batch the works (B,) and for each of their views its number (views, B)."""


class Views(Protocol):
    """Where views come from. `below` is the number of blocks that they went through already."""

    below: int

    def batches(self, order: Order) -> Iterator[list[Tensor]]:
        """For each batch its views, each (B, ...) as the backbone's `upper` takes them."""


class FromFiles:
    """Views drawn from image files: pixels through `lower(x, 0)` where the backbone can be cut, else the pixels."""

    below = 0

    def __init__(
        self,
        paths: Sequence[Path],
        keys: Keys,
        recipe: Recipe,
        backbone: Fed,
        device: torch.device,
        workers: int,
        to: Preprocessing | None = None,
    ) -> None:
        """`to` is another preprocessing than the recipe's, for another network that looks at the same views."""
        to = to or Preprocessing(recipe.input_size, recipe.resize, "bicubic", backbone.mean, backbone.std)
        self.files = _Files(paths, keys, recipe.augment, to, recipe.seed)
        self.backbone, self.device, self.workers = backbone, device, workers

    def batches(self, order: Order) -> Iterator[list[Tensor]]:
        """Normalised pixels (B, 3, size, size) float32 of each view. Raises ImageError."""
        for (_, numbers), pixels in zip(order, self.pixels(order), strict=True):
            moved = normalised(pixels.to(self.device, non_blocking=True), self.backbone)
            yield list(moved.chunk(len(numbers)))

    def pixels(self, order: Order) -> Iterator[Tensor]:
        """(views x B, size, size, 3) uint8 of each batch, view by view. Raises ImageError."""
        requests = [[(int(r), int(n)) for view in numbers for r, n in zip(works, view, strict=True)]
                    for works, numbers in order]  # fmt: skip
        loader: DataLoader[Any] = DataLoader(
            self.files,
            batch_sampler=requests,
            num_workers=self.workers,
            collate_fn=stacked,
            pin_memory=self.device.type == "cuda",
            persistent_workers=False,
        )
        for pixels in loader:
            if isinstance(pixels, Unreadable):
                raise ImageError(pixels.reason, pixels.message)
            yield pixels


class FromCache:
    """Views whose way through the lower blocks was computed before."""

    def __init__(self, cache: Activations, rows: Rows, below: int, device: torch.device) -> None:
        """`rows` is the row of each work in the cache."""
        self.cache, self.rows, self.below, self.device = cache, rows, below, device
        self._views: dict[int, Any] = {}

    def batches(self, order: Order) -> Iterator[list[Tensor]]:
        """Activations (B, T, width) float32 of each view."""
        for works, numbers in order:
            yield [torch.from_numpy(self._taken(works, view)).to(self.device).float() for view in numbers]

    def _taken(self, works: Rows, numbers: Rows) -> npt.NDArray[np.float16]:
        out = np.empty((len(works), *self.cache.shape), np.float16)
        for number in np.unique(numbers).tolist():
            which = np.flatnonzero(numbers == number)
            if number not in self._views:
                self._views[number] = self.cache.view(number)
            out[which] = self._views[number][self.rows[works[which]]]
        return out


def cached_views(
    recipe: Recipe,
    keys: Keys,
    learn: Rows,
    held: Rows,
    files: FromFiles,
    folder: Path,
    autocast: Callable[[], AbstractContextManager[Any]],
    watch: Watch,
) -> FromCache:
    """Views of a recipe's cache in `folder`, once what it lacks is computed: every view of the works that are learned
    from, and the plain one of those held out."""
    backbone, below, device = files.backbone, recipe.cache.below, files.device
    assert isinstance(backbone, Backbone)
    probe = torch.zeros(1, 3, recipe.input_size, recipe.input_size, device=device)
    with torch.inference_mode():
        shape = tuple(backbone.eval().lower(probe, below).shape[1:])
    data = as_data(recipe)
    signature = {name: data[name] for name in ("backbone", "input_size", "resize", "augment", "seed")}
    signature |= {"below": below, "trunk": trunk_digest(backbone, below)}
    cache = Activations(cache_folder(folder, signature), signature, np.unique(keys), shape)
    rows = cache.rows(keys)

    def trunk(pixels: Tensor) -> Tensor:
        with torch.inference_mode(), autocast():
            return backbone.lower(pixels, below).float()

    def plain(order: Order) -> Iterator[Tensor]:
        return (pixels for (pixels,) in files.batches(order))

    for number in range(recipe.cache.views + 1):
        which = np.concatenate([learn, held]) if number == PLAIN_VIEW else learn
        fill_view(cache, rows, which, number, plain, trunk, watch)
    return FromCache(cache, rows, below, device)


def cache_folder(folder: Path, signature: dict[str, Any]) -> Path:
    """Where the cache of a signature lies."""
    return folder / f"cache-{hashlib.sha256(json.dumps(signature, sort_keys=True).encode()).hexdigest()[:12]}"


def fill_view(
    cache: Activations,
    rows: Rows,
    works: Rows,
    number: int,
    views: Callable[[Order], Iterator[Tensor]],
    make: Callable[[Tensor], Tensor],
    watch: Watch,
) -> None:
    """Computes one view of `works` (m,) that the cache lacks; `rows` (n,) is the row of every work in the cache.

    `views` gives the pixels of batches, and `make` what is kept of them.
    """
    work_of = {int(rows[work]): int(work) for work in works}

    def batches(left: Rows) -> Iterator[tuple[Rows, Tensor]]:
        blocks = [left[i : i + CACHE_BATCH] for i in range(0, len(left), CACHE_BATCH)]
        order = [(np.array([work_of[int(row)] for row in block]), np.full((1, len(block)), number)) for block in blocks]
        return zip(blocks, views(order), strict=True)

    cache.fill(number, np.unique(rows[works]), batches, make, watch)


CACHE_BATCH = 64
FEW_VIEWS = 512
"""Views up to which starting worker processes costs more than they save."""


def workers_for(views: int, device: torch.device) -> int:
    """How many processes should decode so many views while the device computes."""
    return max(0, usable_cores() - (device.type == "cpu")) if views > FEW_VIEWS else 0


def epoch_order(works: Rows, recipe: Recipe, phase: int, epoch: int, views: int) -> list[tuple[Rows, Rows]]:
    """The batches of an epoch over works (n,): the same for the same seed, phase and epoch.

    With a cache, a work's views are drawn from the plain one and those that were made, no view twice in a batch;
    without, each is new. A last batch of fewer than two works is left out.
    """
    draw = np.random.default_rng([recipe.seed, phase, epoch])
    mixed = draw.permutation(works)
    order = []
    for start in range(steps_an_epoch(recipe, len(works))):
        batch = mixed[start * recipe.batch_size : (start + 1) * recipe.batch_size]
        if recipe.cache.below:
            drawn = draw.random((recipe.cache.views + 1, len(batch))).argsort(0)[:views]
        else:
            first = 1 + views * (epoch + EPOCHS_A_PHASE * phase)
            drawn = np.arange(first, first + views)[:, None].repeat(len(batch), 1)
        order.append((batch, drawn))
    return order


EPOCHS_A_PHASE = 1000
"""Keeps the views of one phase apart from those of another."""


def plain_order(works: Rows, batch: int) -> list[tuple[Rows, Rows]]:
    """Batches of the works (n,) as they are, in their order."""
    blocks = [works[i : i + batch] for i in range(0, len(works), batch)]
    return [(block, np.full((1, len(block)), PLAIN_VIEW)) for block in blocks]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """What an ImageError said, as worker processes can pass it on."""

    reason: str
    message: str


class _Files(Dataset[npt.NDArray[np.uint8] | Unreadable]):
    """One view of one work, by (work, number of the view)."""

    def __init__(self, paths: Sequence[Path], keys: Keys, how: Augment, to: Preprocessing, seed: int) -> None:
        self.paths, self.keys, self.how, self.to, self.seed = paths, keys, how, to, seed

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, request: tuple[int, int]) -> npt.NDArray[np.uint8] | Unreadable:
        work, number = request
        try:
            return pixels_of(self.paths[work], int(self.keys[work]), number, self.how, self.to, self.seed)
        except ImageError as error:
            return Unreadable(error.reason, str(error))


def stacked(views: Sequence[npt.NDArray[np.uint8] | Unreadable]) -> Tensor | Unreadable:
    """(n, size, size, 3) uint8 of as many views, or the first that could not be made."""
    made = []
    for view in views:
        if isinstance(view, Unreadable):
            return view
        made.append(view)
    return torch.from_numpy(np.stack(made))


def mixed(view: Tensor, draw: np.random.Generator) -> tuple[Tensor, Tensor]:
    """(views (B, ...) each mixed with another's, shares (B, B)); the other's share is Beta(0.4, 0.4) up to a half."""
    n = len(view)
    other = torch.from_numpy(draw.permutation(n)).to(view.device)
    share = float(min(x := draw.beta(0.4, 0.4), 1 - x))
    shares = torch.eye(n, device=view.device)
    return view * (1 - share) + view[other] * share, (1 - share) * shares + share * shares[other]
