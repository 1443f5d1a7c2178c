"""FAISS inverted file: works are filed under the nearest of `lists` centroids, a query looks into `probes` of them.

Vectors are kept as float16, which is what the catalog holds, so nothing is lost by it. The only importer of faiss.
Where faiss has a GPU (the extra `gpu`), it learns the centroids, files the works and searches there, and what is saved
is an index of the processor all the same. Scores then differ by the order in which float32 products are summed, by less
than 1e-5, and a work that lies between two centroids may be filed under the other one.
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
from simsearch.errors import IndexFileError, QueryError
from simsearch.index.base import NO_ID, Ids
from simsearch.index.exact import nearest
from simsearch.vectors import Rows

FEWEST = 256
"""Below this number of works an inverted file has too few to learn centroids from."""
TRAINING_ROWS_A_LIST = 64
SPARE = 8
"""Candidates beyond k, so that ties at the last place are settled by id and not by the order of the lists. Where that
many works tie, more are asked for."""

MOST_ON_GPU = 2048
"""Candidates, and lists looked into, that faiss's GPU code takes at most; beyond, the processor searches."""


class IvfIndex:
    """An inverted file of float16 vectors with inner product as its metric."""

    kind = "ivf"

    def __init__(self, lists: int | None = None, probes: int | None = None, use_gpu: bool | str = "auto") -> None:
        """`lists` centroids, about 4 sqrt(n) by default; `probes` of them searched, a sixteenth by default.

        `use_gpu`: ``"auto"`` builds on a GPU where faiss has one with enough memory, and searches there what was built
        there; an opened index is searched on the processor, since copying it costs more than a query. True searches
        that on a GPU, too, and raises QueryError where there is none; False leaves it alone.
        """
        self._use_gpu = use_gpu
        self._resources: Any = None
        """faiss's memory on the GPU."""
        self._on_gpu: Any = None
        """A copy of the index on the GPU, until something is changed that it cannot follow."""
        self._lists = lists
        self._probes = probes
        self._index: Any = None
        self._mapped: Path | None = None
        """The file that the lists are mapped from, until something is to be changed."""
        self.text_probes = 0
        """Lists that a query of words looks into, where that is more than `probes`."""

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
        if not self._built_on_gpu(rows, ids, rows[np.sort(chosen)]):
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
        self._on_gpu = None  # a few more works are filed sooner than copied
        self._index.add_with_ids(np.ascontiguousarray(rows), np.ascontiguousarray(ids, dtype=np.int64))

    def remove(self, ids: Ids) -> int:
        """Forgets these; how many of them were there."""
        if self._index is None:
            return 0
        self._own()
        self._on_gpu = None  # faiss cannot remove there
        return int(self._index.remove_ids(np.ascontiguousarray(ids, dtype=np.int64)))

    def search(self, rows: Rows, k: int, allowed: Ids | None = None, *, of_text: bool = False) -> tuple[Rows, Ids]:
        """(scores, ids), each (q, k), the nearest first, of unit rows (q, dim), among the `allowed` ids alone."""
        faiss = _faiss()

        if not len(self) or k < 1:
            return np.full((len(rows), k), -np.inf, np.float32), np.full((len(rows), k), NO_ID, np.int64)
        usual = max(self.probes, self.text_probes) if of_text else self.probes
        effort = faiss.SearchParametersIVF(nprobe=usual)
        if allowed is not None:
            chosen = np.ascontiguousarray(allowed, dtype=np.int64)
            # as many allowed works are looked at as without a filter: a tenth of the works, ten times the lists
            probes = min(self.lists, usual * max(1, -(-len(self) // max(1, len(chosen)))))
            effort = faiss.SearchParametersIVF(nprobe=probes, sel=faiss.IDSelectorBatch(chosen))
        return self._search(np.ascontiguousarray(rows), k, effort, SPARE)

    def _search(self, rows: Rows, k: int, effort: Any, spare: int) -> tuple[Rows, Ids]:
        out_scores = np.full((len(rows), k), -np.inf, np.float32)
        out_ids = np.full((len(rows), k), NO_ID, np.int64)
        wanted = min(k + spare, len(self))
        unsettled = []
        found, ids = self._at(wanted, effort).search(rows, wanted, params=effort)
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
        said = {"lists": self.lists, "probes": self.probes}
        return said | ({"text_probes": self.text_probes} if self.text_probes else {})

    def save(self, folder: Path) -> None:
        """Writes index.faiss and its parameters."""
        faiss = _faiss()

        try:
            faiss.write_index(self._index, str(folder / "index.faiss"))
        except RuntimeError as error:
            raise OSError(str(error).rpartition(": ")[2]) from error
        (folder / "index.json").write_text(json.dumps(self.parameters()), encoding="utf-8")

    @classmethod
    def open(cls, folder: Path, use_gpu: bool | str = "auto") -> Self:
        """The index that was saved there. Raises IndexFileError where it cannot be read."""
        faiss = _faiss()

        index = cls(use_gpu=use_gpu)
        try:
            parameters = json.loads((folder / "index.json").read_text(encoding="utf-8"))
            # mapped, not read: a query looks at a few lists, and reading all takes a second at a million works
            index._mapped = folder / "index.faiss"
            index._index = faiss.read_index(os.fspath(index._mapped), faiss.IO_FLAG_MMAP_IFC)
            index.probes = int(parameters["probes"])
            index.text_probes = int(parameters.get("text_probes", 0))
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError, MemoryError) as error:
            raise IndexFileError(f"the index in {folder} cannot be read: {_first_line(error)}") from error
        return index

    def __len__(self) -> int:
        return 0 if self._index is None else int(self._index.ntotal)

    def _built_on_gpu(self, rows: Rows, ids: Ids, sample: Rows) -> bool:
        """Learns the centroids from the sample and files the works on a GPU; False where that is the processor's."""
        faiss, resources = _faiss(), self._gpu()
        if resources is None:
            return False
        try:
            coarse = faiss.index_cpu_to_gpu(resources, 0, faiss.IndexFlatIP(rows.shape[1]))
            train_by(self._index, coarse, np.ascontiguousarray(sample))
            there = faiss.index_cpu_to_gpu(resources, 0, self._index)
            there.add_with_ids(np.ascontiguousarray(rows), np.ascontiguousarray(ids, dtype=np.int64))
            self._index, self._on_gpu = faiss.downcast_index(faiss.index_gpu_to_cpu(there)), there
        except RuntimeError as error:
            self._too_much(error)
            return False
        return True

    def _at(self, wanted: int, effort: Any) -> Any:
        """The index to ask for so many candidates: its copy on the GPU where there is one that can answer."""
        if effort.sel is not None or max(wanted, effort.nprobe) > MOST_ON_GPU:
            return self._index
        if self._on_gpu is None and self._use_gpu is True:
            resources = self._gpu()
            self._own()
            try:
                self._on_gpu = _faiss().index_cpu_to_gpu(resources, 0, self._index)
            except RuntimeError as error:
                self._too_much(error)
        return self._on_gpu or self._index

    def _gpu(self) -> Any:
        """faiss's memory on the first GPU, None where everything is the processor's. Raises QueryError."""
        if self._resources is None and gpu_wanted(self._use_gpu, gpus()):
            self._resources = _faiss().StandardGpuResources()
        return self._resources

    def _too_much(self, error: RuntimeError) -> None:
        """Leaves the GPU, or raises QueryError where it was asked for."""
        if self._use_gpu is True:
            raise QueryError(
                f"the GPU does not take this index ({_first_line(error)}); free its memory, or leave use_gpu at auto"
            ) from error
        self._resources, self._on_gpu, self._use_gpu = None, None, False

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


def gpus() -> int:
    """How many GPUs faiss can use: none, unless the extra `gpu` is installed and a driver is there."""
    return int(getattr(_faiss(), "get_num_gpus", int)())


def gpu_wanted(use_gpu: bool | str, there: int) -> bool:
    """Whether to work on a GPU, of so many there are. Raises QueryError where one is asked for and there is none."""
    if use_gpu not in (True, False, "auto"):
        raise ValueError(f"use_gpu is 'auto', True or False, not {use_gpu!r}")
    if use_gpu is True and not there:
        raise QueryError(
            "faiss finds no GPU here; install simsearch[gpu] on a machine with CUDA, or leave use_gpu at auto"
        )
    return bool(use_gpu) and there > 0


def train_by(index: Any, coarse: Any, sample: Rows) -> None:
    """Learns an index's centroids with another flat index at the work of finding the nearest one, on a GPU, say."""
    index.clustering_index = coarse
    try:
        index.train(sample)
    finally:
        index.clustering_index = None  # it is not the index's own, and goes at the end of the caller


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0]


def _faiss() -> Any:
    """The library, imported when first needed; untyped, since its stubs lack the keyword arguments that it takes."""
    return import_module("faiss")
