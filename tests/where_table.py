"""A dozen works in SQLite and in plain Python, for the tests of ``--where``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import (
    JSON,
    Column,
    ColumnElement,
    Engine,
    Float,
    Integer,
    MetaData,
    Table,
    Text,
    create_engine,
    func,
    select,
)

from simsearch.catalog.where import compile_where
from simsearch.errors import WhereError

Row = dict[str, Any]
Test = Callable[[Row], bool]

metadata = MetaData()
artwork = Table(
    "artwork",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("title", Text),
    Column("begin_year", Integer),
    Column("share", Float),
    Column("extra", JSON, nullable=False),
)
label = Table("label", metadata, Column("artwork", Integer), Column("kind", Text), Column("value", Text))

HEIGHTS = ["12", "12.5", "-3", " 7", "abc", "", None, "12 cm", "1e3", "40", "0x10", "100.00", "inf"]
NUMBERS = [12.0, 12.5, -3.0, 7.0, None, None, None, None, 1000.0, 40.0, None, 100.0, None]
"""What HEIGHTS count as where they meet a number."""

TITLES = ["Water Lilies", "water lilies", "L'Étoile", "L'étoile", "Mont-Saint-Michel", "100% blue", "100_ blue", None,
          "", "Straße", 'The "Kiss"', "two\nlines", "12"]  # fmt: skip
STYLES = ["Baroque", "Impressionism", None, "baroque", "Impressionism", "Art Nouveau", None, "x", "Baroque", "",
          "x' or", "Expressionism", "Pop--Art"]  # fmt: skip
YEARS = [1600, 1889, None, -300, 0, 1889, 1890, 1905, None, 2001, 9007199254740993, 1, 12]
SHARES = [0.5, None, 0.0, -1.25, 0.1, 12.0, 3.5, 0.5, 1e300, None, 0.25, 1.0, -0.0]

ROWS: list[Row] = [
    {"id": i, "title": title, "style": style, "begin_year": year, "share": share, "height cm": height, "number": number}
    for i, (title, style, year, share, height, number) in enumerate(
        zip(TITLES, STYLES, YEARS, SHARES, HEIGHTS, NUMBERS, strict=True), start=1
    )
]
COLUMNS: dict[str, ColumnElement[Any]] = {
    "id": artwork.c.id,
    "title": artwork.c.title,
    "begin_year": artwork.c.begin_year,
    "share": artwork.c.share,
    # The catalog's two other kinds of column: an attribute out of JSON, and a label by a subquery.
    "height cm": func.json_extract(artwork.c.extra, '$."height cm"', type_=Text),
    "style": select(label.c.value)
    .where(label.c.artwork == artwork.c.id, label.c.kind == "style")
    .limit(1)
    .correlate(artwork)
    .scalar_subquery(),
}


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = create_engine("sqlite://")
    metadata.create_all(engine)
    with engine.begin() as db:
        for row in ROWS:
            extra = {} if row["height cm"] is None else {"height cm": row["height cm"]}
            db.execute(
                artwork.insert().values(extra=extra, **{c: row[c] for c in ("id", "title", "begin_year", "share")})
            )
            if row["style"] is not None:
                db.execute(label.insert().values(artwork=row["id"], kind="style", value=row["style"]))
    yield engine
    engine.dispose()


def kept(engine: Engine, text: str) -> list[int]:
    with engine.connect() as db:
        return list(db.scalars(select(artwork.c.id).where(compile_where(text, COLUMNS)).order_by(artwork.c.id)))


def expected(test: Test) -> list[int]:
    return [row["id"] for row in ROWS if test(row)]


def error(text: str, columns: dict[str, ColumnElement[Any]] = COLUMNS) -> str:
    with pytest.raises(WhereError) as caught:
        compile_where(text, columns)
    message = str(caught.value)
    assert "\n" not in message
    assert message.isprintable()
    return message


def like(value: str | None, pattern: str) -> bool:
    """SQLite's LIKE: A to Z in either case, % for any text, _ for any character."""
    if value is None:
        return False
    small = {ord(c): c.lower() for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
    signs = {"%": ".*", "_": "."}
    expression = "".join(signs.get(c, re.escape(c)) for c in pattern.translate(small))
    return re.fullmatch(expression, value.translate(small), re.DOTALL) is not None
