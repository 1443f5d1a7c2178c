"""What learning asks of the catalog: trusted labels, attributes and image keys, whole columns at a time.

Labels here are those of persons and sources. A prediction is never learned from, and never measured by.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sqlalchemy import Text, case, func, select

from simsearch.catalog import schema as t
from simsearch.catalog.catalog import Catalog, Ids
from simsearch.catalog.columns import json_path
from simsearch.records import LABEL_ORIGINS

Keys = np.ndarray[Any, np.dtype[np.uint64]]
Strings = np.ndarray[Any, np.dtype[np.str_]]


def trusted_labels(catalog: Catalog, kind: str) -> tuple[Ids, Strings]:
    """(ids (n,), labels (n,)), by id, of works that a person or a source gave a label of this kind.

    Of several labels a person's goes first, then the one that is surest, then the first by name: the same as
    `Artwork.label`.
    """
    c = t.label.c
    trust = case({origin: i for i, origin in enumerate(LABEL_ORIGINS)}, value=c.origin, else_=len(LABEL_ORIGINS))
    query = (
        select(c.artwork, c.value)
        .where(c.kind == kind, c.origin != "predicted")
        .order_by(c.artwork, trust, func.coalesce(c.confidence, 0).desc(), c.value)
    )
    with catalog.snapshot() as db:
        found: dict[int, str] = {}
        for id, value in db.execute(query):
            found.setdefault(id, value)
    return np.fromiter(found, dtype=np.int64, count=len(found)), _strings(list(found.values()))


def attribute(catalog: Catalog, name: str) -> dict[int, str]:
    """Id to text of an extra attribute of the sources' tables, such as ``split``, where it is filled."""
    value = func.json_extract(t.artwork.c.extra, json_path(name), type_=Text)
    with catalog.snapshot() as db:
        return {id: str(text) for id, text in db.execute(select(t.artwork.c.id, value).where(value.is_not(None)))}


def image_keys(catalog: Catalog, ids: Ids) -> Keys:
    """The first eight bytes of each image's SHA-256, big-endian, (n,) uint64, in the order of `ids`.

    They name an image in any collection: by them a head knows what it was trained on. Raises KeyError for a strange id.
    """
    with catalog.snapshot() as db:
        key = {
            id: int.from_bytes(digest[:8], "big")
            for id, digest in db.execute(select(t.artwork.c.id, t.artwork.c.digest))
        }
    return np.array([key[int(id)] for id in ids], dtype=np.uint64)


def _strings(values: list[str]) -> Strings:
    return np.array(values, dtype=np.str_) if values else np.empty(0, dtype="<U1")
