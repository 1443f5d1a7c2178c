"""What ``--where`` can name, as SQL: the columns of an artwork, its labels, and the extra attributes of its tables."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Text, case, func, select
from sqlalchemy.sql import ColumnElement

from simsearch.catalog import schema as t
from simsearch.catalog.where import folded
from simsearch.records import LABEL_COLUMNS, LABEL_ORIGINS, METADATA


def columns(kinds: Iterable[str], extras: Iterable[str]) -> dict[str, ColumnElement[Any]]:
    """Name to column of all that there is, given the kinds of label and the extra attributes.

    Beside each label stand who gave it, ``style_origin`` (human, source or predicted), and ``style_confidence``, which
    a prediction has. Where something else has such a name already, that keeps it.
    """
    a = t.artwork.c
    every = dict.fromkeys([*LABEL_COLUMNS, *kinds])
    out: dict[str, ColumnElement[Any]] = {
        name: func.json_extract(a.extra, json_path(name), type_=Text) for name in extras
    }
    out |= {kind: label_column(kind) for kind in every}
    out |= {name: a[name] for name in (*METADATA, "id", "width", "height")}
    out |= {"path": a.source_id, "source": t.source.c.name}
    taken = set(map(folded, out))
    beside = {f"{kind}_{what.name}": label_column(kind, what)
              for kind in every for what in (t.label.c.origin, t.label.c.confidence)}  # fmt: skip
    return out | {name: column for name, column in beside.items() if folded(name) not in taken}


def label_column(kind: str, what: ColumnElement[Any] = t.label.c.value, *, said: bool = False) -> ColumnElement[Any]:
    """The most trusted label of a kind, as a column, or something else of it: the same order as `Artwork.label`.

    A prediction is the least trusted one; with `said` it is none.
    """
    c = t.label.c
    trust = case({origin: i for i, origin in enumerate(LABEL_ORIGINS)}, value=c.origin, else_=len(LABEL_ORIGINS))
    return (
        select(what)
        .where(c.artwork == t.artwork.c.id, c.kind == kind, *([c.origin != "predicted"] if said else []))
        .order_by(trust, func.coalesce(c.confidence, 0).desc(), c.value)
        .limit(1)
        .correlate(t.artwork)
        .scalar_subquery()
    )


def json_path(name: str) -> str:
    """Where SQLite's JSON functions find an extra attribute."""
    return '$."' + name.replace('"', "") + '"'
