"""Captions that stand in the catalog already."""

from __future__ import annotations

from difflib import get_close_matches

from simsearch.catalog.catalog import Catalog
from simsearch.catalog.labelled import attribute, trusted_labels
from simsearch.errors import TrainingError
from simsearch.records import METADATA


def captions_in(catalog: Catalog, column: str) -> dict[int, str]:
    """Id to the text of a descriptive column, of an attribute of the sources' tables, or of a label, where it has one.

    Raises TrainingError for a column that no work has, with the nearest that there is.
    """
    if column in METADATA:
        every = catalog.artworks(catalog.ids_where(None).tolist())
        found = {work.id: str(text) for work in every if (text := getattr(work, column)) is not None}
    else:
        ids, values = trusted_labels(catalog, column)
        found = attribute(catalog, column) or dict(zip(ids.tolist(), values.tolist(), strict=True))
    filled = {id: words for id, text in found.items() if (words := " ".join(text.split()))}
    if filled:
        return filled
    there = [name for name in catalog.columns() if name != column and not name.endswith(("_origin", "_confidence"))]
    near = get_close_matches(column, there, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(there)}"
    raise TrainingError(f"no work of this collection has a text in the column {column!r} to be its caption; {hint}")
