"""Writes the catalog out for other programs: `simsearch export`."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from simsearch.collection import Collection, EncoderEntry
from simsearch.errors import QueryError
from simsearch.records import LABEL_COLUMNS, METADATA
from simsearch.show.hits import cells

COLUMNS = ("id", "title", *LABEL_COLUMNS, *METADATA[1:], "path", "width", "height", "source", "source_id", "extra",
           "resembles")  # fmt: skip


def export_csv(collection: Collection, path: Path) -> int:
    """Writes one line a work, UTF-8, extra attributes and predictions as JSON; how many works."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        rows.writeheader()
        return sum(1 for row in _rows(collection) if rows.writerow(row))


def export_parquet(collection: Collection, path: Path, embeddings_of: EncoderEntry | None = None) -> int:
    """Writes one row a work, with a column `embedding` of float32 where an encoder is given; how many works.

    Raises QueryError where pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise QueryError("Parquet needs one more package: pip install 'simsearch[parquet]'; or use --csv") from None
    whole = {"id", "begin_year", "end_year", "width", "height"}
    schema = pa.schema([(name, pa.int64() if name in whole else pa.string()) for name in COLUMNS])
    with collection.catalog.snapshot():
        table = pa.Table.from_pylist(list(_rows(collection)), schema=schema)
        if embeddings_of is not None:
            table = table.append_column("embedding", _embeddings(collection, embeddings_of, table["id"].to_pylist()))
    with path.open("wb") as file:  # whose error names the path, which pyarrow's own does not
        pq.write_table(table, file)
    return int(table.num_rows)


def export_embeddings(collection: Collection, entry: EncoderEntry, path: Path) -> int:
    """Writes `id` (n,) int64 and `embedding` (n, dim) float32 as a NumPy .npz; how many works."""
    rows, ids = collection.catalog.embeddings(entry.number, entry.info.dim)
    with path.open("wb") as file:
        np.savez(file, id=ids, embedding=rows, encoder=np.array(str(entry.info)))
    return len(ids)


def _rows(collection: Collection) -> Iterator[dict[str, Any]]:
    for work in collection.catalog.all_artworks():
        said = cells(work.to_dict())
        extra = {**said.pop("extra", {}), **{key: said[key] for key in said if key not in COLUMNS}}
        row = {name: said.get(name) for name in COLUMNS}
        yield row | {"extra": json.dumps(extra, ensure_ascii=False, sort_keys=True) if extra else None}


def _embeddings(collection: Collection, entry: EncoderEntry, ids: list[int]) -> Any:
    import pyarrow as pa

    rows, found = collection.catalog.embeddings(entry.number, entry.info.dim)
    place = {int(id): i for i, id in enumerate(found)}
    return pa.array([rows[place[id]] if id in place else None for id in ids], pa.list_(pa.float32()))
