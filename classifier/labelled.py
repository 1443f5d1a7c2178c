"""Works that a person or a source gave a label, with their embeddings: what heads are trained on and measured by."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from typing import Any, Self

import numpy as np

from simsearch.catalog.catalog import Catalog, Ids
from simsearch.catalog.labelled import Keys, Strings, attribute, image_keys, trusted_labels
from simsearch.classifier.groups import NEAR_DUPLICATE, Groups, near_duplicates
from simsearch.collection import Collection, EncoderEntry
from simsearch.errors import LabelError
from simsearch.records import EncoderInfo
from simsearch.vectors import Rows
from simsearch.watch import Watch, silent


@dataclass(frozen=True, slots=True)
class Labelled:
    """Works with one kind of label, row by row, by id."""

    kind: str
    encoder: EncoderInfo
    ids: Ids
    """(n,) ascending."""
    rows: Rows
    """Unit embeddings (n, dim) float32."""
    values: Strings
    """(n,) labels."""
    artists: Strings
    """(n,) artists; empty where unknown."""
    images: Keys
    """(n,) keys of the images, by which a head knows them again in any collection."""
    parts: Strings
    """(n,) the part of the published split that a work belongs to, such as ``train``, in small letters; empty where
    there is none."""
    groups: Ids
    """(n,) near-duplicate group: works of one group must not stand on both sides of a split."""

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, which: np.ndarray[Any, Any]) -> Self:
        """The works of a mask (n,) or of places (m,), in that order."""
        columns = {f.name: getattr(self, f.name)[which] for f in fields(self) if f.name not in ("kind", "encoder")}
        return replace(self, **columns)

    def labelled(self, values: Strings) -> Self:
        """The same works with other labels (n,)."""
        return replace(self, values=values)


def load(
    collection: Collection,
    kind: str,
    entry: EncoderEntry,
    *,
    where: str | None = None,
    split: str = "auto",
    near_duplicate: float = NEAR_DUPLICATE,
    groups: Groups | None = None,
    watch: Watch = silent,
) -> Labelled:
    """Every work with a trusted label of this kind and an embedding by this encoder, by id.

    `split` names the attribute of the works that holds the published split; ``auto`` takes ``<kind>_split`` or else
    ``split`` where some work has it, and ``none`` takes none. `groups` spares the search for near-duplicates where it
    was made before. Raises LabelError, WhereError, EmbeddingError.
    """
    catalog = collection.catalog
    with catalog.snapshot():
        check_kind(catalog, kind)
        ids, values = trusted_labels(catalog, kind)
        if where is not None:
            keep = np.isin(ids, catalog.ids_where(where))
            ids, values = ids[keep], values[keep]
        rows, found = catalog.embeddings(entry.number, entry.info.dim, ids)
        values = values[np.searchsorted(ids, found)]
        if not len(found):
            raise LabelError(_nothing(kind, entry, where))
        parts = _parts(catalog, kind, split)
        return Labelled(
            kind, entry.info, found, rows, values,
            artists=artists_of(catalog, found),
            images=image_keys(catalog, found),
            parts=np.array([parts.get(id, "") for id in found.tolist()], dtype=np.str_),
            groups=(groups or near_duplicates(collection, found, near_duplicate, watch)).of(found),
        )  # fmt: skip


def unlabelled(collection: Collection, kind: str, entry: EncoderEntry, where: str | None = None) -> tuple[Rows, Ids]:
    """(rows (n, dim), ids (n,)), by id, of works with an embedding that no person and no source gave such a label."""
    catalog = collection.catalog
    with catalog.snapshot():
        ids = np.setdiff1d(catalog.ids_where(where), trusted_labels(catalog, kind)[0], assume_unique=True)
        return catalog.embeddings(entry.number, entry.info.dim, ids)


def artists_of(catalog: Catalog, ids: Ids) -> Strings:
    """The artist (n,) of each work, empty where unknown."""
    artist = dict(zip(*(column.tolist() for column in trusted_labels(catalog, "artist")), strict=True))
    return np.array([artist.get(id, "") for id in ids.tolist()], dtype=np.str_)


def check_kind(catalog: Catalog, kind: str) -> None:
    """Raises LabelError where no work has a trusted label of this kind, with the nearest kind that there is."""
    kinds = catalog.label_kinds(said=True)
    if kind in kinds:
        return
    if not kinds:
        raise LabelError(
            "no work of this collection has a label to learn from; put an artworks.csv with columns path, style, genre "
            "or artist beside the images, or name a source of labels with --labels, and run `simsearch index` again"
        )
    near = get_close_matches(kind, kinds, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(kinds)}"
    raise LabelError(f"no work of this collection has a label {kind!r}; {hint}")


def _nothing(kind: str, entry: EncoderEntry, where: str | None) -> str:
    if where is not None:
        return f"no work with a label {kind!r} fits --where {where!r}; leave the filter away, or widen it"
    return (
        f"no work with a label {kind!r} has an embedding by {entry.info.name}; "
        f"run `simsearch index --encoder {entry.location}`"
    )


def _parts(catalog: Catalog, kind: str, split: str) -> dict[int, str]:
    if split == "none":
        return {}
    if split == "auto":
        found = attribute(catalog, f"{kind}_split") or attribute(catalog, "split")
    else:
        found = attribute(catalog, split)
        if not found:
            raise LabelError(f"no work has an attribute {split!r} that could be a split; leave --split-by away")
    return {id: part.strip().lower() for id, part in found.items()}
