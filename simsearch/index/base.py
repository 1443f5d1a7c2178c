"""What every index offers. `exact` is the oracle that the others are compared with, by value, in one suite."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from simsearch.vectors import Rows

Ids = npt.NDArray[np.int64]
NO_ID = -1
"""Fills the places for which an index has no work; their score is -inf."""


class VectorIndex(Protocol):
    """Nearest neighbours by cosine. Scores are cosines, higher is nearer, in every kind; ties go to the lower id."""

    kind: str

    def build(self, rows: Rows, ids: Ids) -> None:
        """Holds these unit rows (n, dim), and nothing else, under these ids (n,), each once."""

    def add(self, rows: Rows, ids: Ids) -> None:
        """Holds these as well. Raises ValueError for an id that is there already."""

    def remove(self, ids: Ids) -> int:
        """Forgets these; how many of them were there."""

    def search(self, rows: Rows, k: int, allowed: Ids | None = None, *, of_text: bool = False) -> tuple[Rows, Ids]:
        """(scores, ids), each (q, k), the nearest first, of unit rows (q, dim), among the `allowed` ids alone.

        Places that cannot be filled hold -inf and NO_ID. Rows that come `of_text` lie apart from those of images, and
        an approximate index searches harder for them.
        """

    def parameters(self) -> dict[str, Any]:
        """What the index was built with, and its search effort, as plain values."""

    def save(self, folder: Path) -> None:
        """Writes files that :meth:`open` reads, into a folder that exists."""

    @classmethod
    def open(cls, folder: Path) -> Self:
        """The index that was saved there. Raises IndexFileError where it cannot be read."""

    def __len__(self) -> int: ...
