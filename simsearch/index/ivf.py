"""FAISS inverted file: works are filed under the nearest of `lists` centroids, a query looks into `probes` of them.

Vectors are kept as float16, which is what the catalog holds, so nothing is lost by it. The only importer of faiss.
Jégou, Douze, Schmid, Product quantization for nearest neighbor search, TPAMI 2011, describes the inverted file.
"""

from __future__ import annotations

import json
import os
from importlib import import_module
from pathlib import Path
from typing import Any, Self

import numpy as np

from simsearch import vectors
from simsearch.errors import IndexFileError
from simsearch.index.base import NO_ID, Ids
from simsearch.index.exact import nearest
from simsearch.vectors import Rows

FEWEST = 256
"""Below this number of works an inverted file has too few to learn centroids from."""
TRAINING_ROWS_A_LIST = 64
SPARE = 8
"""Candidates beyond k, so that ties at the last place are settled by id and not by the order of the lists. Where that
many works tie, more are asked for."""


class IvfIndex:
    """An inverted file of float16 vectors with inner product as its metric."""

    kind = "ivf"

    def __init__(self, lists: int | None = None, probes: int | None = None) -> None:
        """`lists` centroids, about 4 sqrt(n) by default; `probes` of them searched, a sixteenth by default."""
        self._lists = lists
        self._probes = probes
        self._index: Any = None
        self._mapped: Path | None = None
        """The file that the lists are mapped from, until something is to be changed."""

    def build(self, rows: Rows, ids: Ids) -> None:
        """Learns the centroids from a sample of these rows (n, dim) and files all of them under ids (n,)."""
        faiss = _faiss()

        if len(rows) < FEWEST:
            raise ValueError(f"an inverted file needs at least {FEWEST} works, there are {len(rows)}; use exact")
        self._refuse_twice(ids)
        lists = max(1, self._lists or int(min(4 * np.sqrt(len(rows)), len(rows) / 39)))
        self._mapped = None
        self._index = faiss.index_factory(rows.shape[1], f"IVF{lists},SQfp16", faiss.METRIC_INNER_PRODUCT)
        self._index.by_residual = False  # the very float16 numbers of the catalog, not their distance from a centroid
        self._index.cp.spherical = True  # centroids of unit rows under inner product are unit rows
        self._index.cp.seed = 7
        sample = min(len(rows), lists * TRAINING_ROWS_A_LIST)
        chosen = np.random.default_rng(7).choice(len(rows), sample, replace=False)
        self._index.train(np.ascontiguousarray(rows[np.sort(chosen)]))
        self._index.add_with_ids(np.ascontiguousarray(rows), np.ascontiguousarray(ids, dtype=np.int64))
        self.probes = self._probes or max(1, lists // 16)

    @property
    def probes(self) -> int:
        """How many lists a query looks into."""
        return int(self._index.nprobe)

    @probes.setter
    def probes(self, value: int) -> None:
        self._index.nprobe = min(max(1, value), self._index.nlist)

    @property
    def lists(self) -> int:
        """How many lists the works are filed in."""
        return int(self._index.nlist)

    def add(self, rows: Rows, ids: Ids) -> None:
        """Files these as well, under the centroids there are. Raises ValueError for an id that is there already."""
        if self._index is None:
            self.build(rows, ids)
            return
        self._own()
        self._refuse_twice(np.concatenate([self._all_ids(), ids]))
        self._index.add_with_ids(np.ascontiguousarray(rows), np.ascontiguousarray(ids, dtype=np.int64))

    def remove(self, ids: Ids) -> int:
        """Forgets these; how many of them were there."""
        if self._index is None:
            return 0
        self._own()
        return int(self._index.remove_ids(np.ascontiguousarray(ids, dtype=np.int64)))

    def search(self, rows: Rows, k: int, allowed: Ids | None = None) -> tuple[Rows, Ids]:
        """(scores, ids), each (q, k), the nearest first, of unit rows (q, dim), among the `allowed` ids alone."""
        faiss = _faiss()

        if not len(self) or k < 1:
            return np.full((len(rows), k), -np.inf, np.float32), np.full((len(rows), k), NO_ID, np.int64)
        effort = faiss.SearchParametersIVF(nprobe=self.probes)
        if allowed is not None:
            chosen = np.ascontiguousarray(allowed, dtype=np.int64)
            # as many allowed works are looked at as without a filter: a tenth of the works, ten times the lists
            probes = min(self.lists, self.probes * max(1, -(-len(self) // max(1, len(chosen)))))
            effort = faiss.SearchParametersIVF(nprobe=probes, sel=faiss.IDSelectorBatch(chosen))
        return self._search(np.ascontiguousarray(rows), k, effort, SPARE)

    def _search(self, rows: Rows, k: int, effort: Any, spare: int) -> tuple[Rows, Ids]:
        out_scores = np.full((len(rows), k), -np.inf, np.float32)
        out_ids = np.full((len(rows), k), NO_ID, np.int64)
        wanted = min(k + spare, len(self))
        unsettled = []
        found, ids = self._index.search(rows, wanted, params=effort)
        for i in range(len(rows)):
            there = np.flatnonzero(ids[i] != NO_ID)
            there = there[np.argsort(ids[i, there])]
            scores = vectors.rounded(found[i, there])
            best = nearest(scores, k)
            out_scores[i, : len(best)], out_ids[i, : len(best)] = scores[best], ids[i, there][best]
            if len(there) == wanted < len(self) and scores.min() == scores[best[-1]]:
                unsettled.append(i)  # still more of them may tie with the last place
        if unsettled:
            out_scores[unsettled], out_ids[unsettled] = self._search(rows[unsettled], k, effort, 8 * spare)
        return out_scores, out_ids

    def parameters(self) -> dict[str, Any]:
        """Number of lists, and how many of them a query looks into."""
        return {"lists": self.lists, "probes": self.probes}

    def save(self, folder: Path) -> None:
        """Writes index.faiss and its parameters."""
        faiss = _faiss()

        try:
            faiss.write_index(self._index, str(folder / "index.faiss"))
        except RuntimeError as error:
            raise OSError(str(error).rpartition(": ")[2]) from error
        (folder / "index.json").write_text(json.dumps(self.parameters()), encoding="utf-8")

    @classmethod
    def open(cls, folder: Path) -> Self:
        """The index that was saved there. Raises IndexFileError where it cannot be read."""
        faiss = _faiss()

        index = cls()
        try:
            parameters = json.loads((folder / "index.json").read_text(encoding="utf-8"))
            # mapped, not read: a query looks at a few lists, and reading all takes a second at a million works
            index._mapped = folder / "index.faiss"
            index._index = faiss.read_index(os.fspath(index._mapped), faiss.IO_FLAG_MMAP_IFC)
            index.probes = int(parameters["probes"])
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError, MemoryError) as error:
            first = (str(error).splitlines() or [""])[0]
            raise IndexFileError(f"the index in {folder} cannot be read: {first}") from error
        return index

    def __len__(self) -> int:
        return 0 if self._index is None else int(self._index.ntotal)

    def _own(self) -> None:
        """Reads a mapped index into memory, where it can be changed."""
        if self._mapped is not None:
            probes = self.probes
            self._index, self._mapped = _faiss().read_index(os.fspath(self._mapped)), None
            self.probes = probes

    def _all_ids(self) -> Ids:
        faiss = _faiss()

        lists = self._index.invlists
        parts = [
            faiss.rev_swig_ptr(lists.get_ids(i), lists.list_size(i)).copy()
            for i in range(self.lists)
            if lists.list_size(i)
        ]
        return np.concatenate(parts) if parts else np.empty(0, np.int64)

    @staticmethod
    def _refuse_twice(ids: Ids) -> None:
        if len(np.unique(ids)) != len(ids):
            raise ValueError("an id stands twice among those to be indexed")


def _faiss() -> Any:
    """The library, imported when first needed; untyped, since its stubs lack the keyword arguments that it takes."""
    return import_module("faiss")
