"""What a frozen trunk makes of every work and its views, computed once and kept on disk as float16.

Where the lower part of a network stays as it is, its outputs never change: epochs then cost only the upper part. A
cache is a folder with `signature.json` (which trunk, which size, which views), `keys.npy` (the images, by their keys)
and for each view its activations and a flag a work that is done, so that an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from simsearch.classifier.finetune.augment import Augment, view
from simsearch.errors import TrainingError
from simsearch.images import decode, fit, read_bytes
from simsearch.records import Preprocessing
from simsearch.watch import Watch, silent

if TYPE_CHECKING:
    import torch

Keys = npt.NDArray[np.uint64]
Rows = npt.NDArray[np.int64]
PLAIN_VIEW = 0
"""The view that is the work as it is; from 1 on they are drawn."""
FLUSH_EVERY = 20
"""Batches between two moments at which an interruption costs nothing."""


def pixels_of(path: Path, key: int, number: int, how: Augment, to: Preprocessing, seed: int) -> npt.NDArray[np.uint8]:
    """View `number` of an image file, (size, size, 3) uint8: the same for the same key, number and seed.

    The plain view is what the finished encoder will see, by `images.fit`; the others are squashed, except that pictures
    which the encoder cuts or pads to a square are brought to one first. Raises ImageError.
    """
    picture = decode(read_bytes(path), str(path), side=to.size)
    if number == PLAIN_VIEW:
        return fit(picture, to)
    image = picture.image
    if to.resize != "squash":
        from PIL import Image

        image = Image.fromarray(fit(picture, replace(to, size=max(image.size))))
    return view(image, how, to.size, np.random.default_rng([seed, key, number]))


class Activations:
    """The cache of one trunk. Rows are those of `keys`, in their order."""

    def __init__(self, folder: Path, signature: dict[str, Any], keys: Keys, shape: tuple[int, ...]) -> None:
        """Opens the cache in `folder`, or makes it, for activations of `shape` a view of a work.

        A cache of another signature is begun anew, and one without some of the keys gets rows for them. Raises
        TrainingError where the folder cannot be written.
        """
        self.folder, self.shape = folder, shape
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.keys = self._opened(signature, keys)
        except OSError as error:
            raise self._refused(error) from error
        self._order = np.argsort(self.keys)

    def rows(self, keys: Keys) -> Rows:
        """The row (m,) of each key."""
        return self._order[np.searchsorted(self.keys, keys, sorter=self._order)]

    def view(self, number: int) -> npt.NDArray[np.float16]:
        """Activations (n, *shape) of one view; rows that are not done hold zeros."""
        mapped: npt.NDArray[np.float16] = self._mapped(f"view-{number}.npy", np.float16, (len(self.keys), *self.shape))
        return mapped

    def fill(
        self,
        number: int,
        rows: Rows,
        batches: Callable[[Rows], Iterator[tuple[Rows, torch.Tensor]]],
        trunk: Callable[[torch.Tensor], torch.Tensor],
        watch: Watch = silent,
    ) -> None:
        """Computes one view of the rows that are not done yet; what an interruption finds computed stays.

        `batches` gives (rows (b,), pixels (b, 3, size, size) float32, normalised) for rows that it is asked for. Raises
        TrainingError where the disk has no room for them.
        """
        done = self._mapped(f"view-{number}.done.npy", np.bool_, (len(self.keys),))
        left = rows[~done[rows]]
        if not len(left):
            return
        self._check_room(len(left))
        into, pending, computed = self.view(number), list[Rows](), 0
        try:
            for which, pixels in batches(left):
                into[which] = trunk(pixels).numpy(force=True).astype(np.float16)
                pending.append(which)
                computed += len(which)
                watch(f"view {number}", computed, len(left))
                if len(pending) >= FLUSH_EVERY:
                    self._commit(into, done, pending)
        finally:
            self._commit(into, done, pending)

    def _check_room(self, rows: int) -> None:
        """A disk that is full ends the process where its pages are written, without a word; so it is asked before."""
        needed, free = rows * math.prod(self.shape) * np.dtype(np.float16).itemsize, shutil.disk_usage(self.folder).free
        if needed > free:
            raise TrainingError(
                f"{self.folder} needs {needed / 1e9:.1f} GB for one view of the works and has {free / 1e9:.1f} GB; "
                f"make room, or leave cache away"
            )

    def _refused(self, error: OSError) -> TrainingError:
        return TrainingError(f"{self.folder} cannot hold the cache of activations: {error.strerror or error}")

    def _commit(self, into: Any, done: Any, pending: list[Rows]) -> None:
        """Activations reach the disk before the flags that say so."""
        if pending:
            into.flush()
            done[np.concatenate(pending)] = True
            done.flush()
            pending.clear()

    def _opened(self, signature: dict[str, Any], keys: Keys) -> Keys:
        said, stored = self.folder / "signature.json", self.folder / "keys.npy"
        if stored.exists() and _read(said) == json.loads(json.dumps(signature)):
            return self._with(keys, np.load(stored))
        for old in (said, stored, *self.folder.glob("view-*")):
            old.unlink(missing_ok=True)
        np.save(stored, keys)
        said.write_text(json.dumps(signature, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        return keys

    def _with(self, keys: Keys, there: Keys) -> Keys:
        """The keys of the cache, once those that it lacks have rows at its end."""
        missing = np.setdiff1d(keys, there)
        if len(missing):
            there = np.concatenate([there, missing])
            for path in self.folder.glob("view-*.npy"):
                _lengthen(path, len(there))
            aside = self.folder / "keys.part"
            with aside.open("wb") as file:
                np.save(file, there)
            aside.replace(self.folder / "keys.npy")  # last: rows without a key are not looked at
        return there

    def _mapped(self, name: str, dtype: Any, shape: Sequence[int]) -> Any:
        path = self.folder / name
        try:
            if not path.exists():  # a hole in the file, which takes no room before it is filled
                aside = path.with_suffix(".part")
                np.lib.format.open_memmap(aside, mode="w+", dtype=dtype, shape=tuple(shape))
                aside.replace(path)
            return np.lib.format.open_memmap(path, mode="r+")
        except OSError as error:
            raise self._refused(error) from error


def _lengthen(path: Path, rows: int) -> None:
    """Gives an array in a file so many rows, the new ones zeros in a hole that takes no room; never fewer than it has.

    numpy leaves room in a header for its number of rows to grow.
    """
    array = np.load(path, mmap_mode="r")
    shape, dtype, fortran, begins = (max(rows, len(array)), *array.shape[1:]), array.dtype, False, array.offset
    del array
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": fortran, "shape": shape}
    with path.open("r+b") as file:
        file.truncate(begins + math.prod(shape) * dtype.itemsize)
        np.lib.format.write_array_header_1_0(file, header)
        assert file.tell() == begins, "the header has grown into the numbers"


def _read(signature: Path) -> Any:
    """What a cache says it is of; None for one that cannot be read."""
    try:
        return json.loads(signature.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
