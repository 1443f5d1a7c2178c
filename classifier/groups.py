"""Groups of works that show the same picture, so that no split has one of them on each side.

Two works are near-duplicates where their files are the same bytes, or where the cosine of their embeddings, centred
on the mean of all, reaches a threshold by any encoder of the collection: each of them misses some that another sees.
Groups are the connected components.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simsearch.catalog.catalog import Ids
from simsearch.catalog.labelled import image_keys
from simsearch.collection import Collection
from simsearch.vectors import Rows
from simsearch.watch import Watch, silent

NEAR_DUPLICATE = 0.93
"""On 22,481 WikiArt works 97 to 99 of 100 pairs at or above it are by one artist, whether `color` or DINOv2 compares
them, and four of five are filed under two styles; no group grows beyond six."""

BLOCK = 2048


@dataclass(frozen=True, slots=True)
class Groups:
    """Which works show the same picture."""

    ids: Ids
    """(n,) ascending."""
    labels: Ids
    """(n,) the group of each work: the lowest id in it."""

    def of(self, ids: Ids) -> Ids:
        """The group of each of these works (m,); a work that was not looked at is its own."""
        place = np.searchsorted(self.ids, ids).clip(max=max(len(self.ids) - 1, 0))
        known = self.ids[place] == ids if len(self.ids) else np.zeros(len(ids), bool)
        return np.where(known, self.labels[place], ids) if len(self.ids) else ids.copy()


def near_duplicates(
    collection: Collection, ids: Ids, threshold: float = NEAR_DUPLICATE, watch: Watch = silent
) -> Groups:
    """The groups of works with these ids (n,), ascending.

    Every pair is compared, so time grows with the square of n: some seconds an encoder for 22,000 works.
    """
    catalog = collection.catalog
    keys = image_keys(catalog, ids)
    _, same = np.unique(keys, return_inverse=True)
    first = np.full(len(ids), len(ids))
    np.minimum.at(first, same, np.arange(len(ids)))
    left, right = [np.arange(len(ids))], [first[same]]
    for entry in collection.encoders() if len(ids) else []:
        rows, found = catalog.embeddings(entry.number, entry.info.dim, ids)
        place = np.searchsorted(ids, found)
        for i, j in _pairs(rows, threshold, f"comparing works by {entry.info.name}", watch):
            left.append(place[i])
            right.append(place[j])
    return Groups(ids, connected(np.concatenate(left), np.concatenate(right), ids))


def connected(left: Ids, right: Ids, ids: Ids) -> Ids:
    """The lowest id (n,) of each work's connected component; pairs are places (m,) in `ids`."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(left), np.int8), (left, right)), shape=(len(ids), len(ids)))
    _, component = connected_components(graph, directed=False)
    lowest = np.full(len(ids), np.iinfo(np.int64).max)
    np.minimum.at(lowest, component, ids)
    return np.asarray(lowest[component], np.int64)


def _pairs(rows: Rows, threshold: float, what: str, watch: Watch) -> list[tuple[Ids, Ids]]:
    """Places (i, j), i < j, of rows whose centred cosine reaches the threshold, block by block."""
    if not len(rows):
        return []  # an encoder may have embedded none of these works, and nothing has no mean
    centred = rows - rows.mean(axis=0, dtype=np.float64).astype(np.float32)
    centred /= np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
    out = []
    for start in range(0, len(rows), BLOCK):
        watch(what, start, len(rows))
        i, j = np.nonzero(centred[start : start + BLOCK] @ centred[start:].T >= threshold)
        later = i < j
        out.append((i[later] + start, j[later] + start))
    watch(what, len(rows), len(rows))
    return out
