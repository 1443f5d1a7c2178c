"""``--where`` against those who mean ill, and against chance: injection attempts, random and damaged expressions."""

from __future__ import annotations

import operator
import random
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import (
    Engine,
    event,
    select,
)
from sqlalchemy.dialects import sqlite
from where_table import COLUMNS, ROWS, YEARS, Row, Test, artwork, error, expected, kept, like

from simsearch.catalog.where import compile_where
from simsearch.errors import WhereError

# -- attempts to get SQL in --------------------------------------------------------------------------------------------

# fmt: off
REFUSED = [
    "'; drop table artwork; --", "style = 'x'; drop table artwork", "style = 'x'; drop table artwork; --'",
    "style = 'x' or 1=1", "style = 'x' or '1' = '1'", "style = 'x' -- the rest", "style = 'x' --", "style/**/= 'x'",
    "style = 'x' /* and id = 1 */", "style = 'x' union select value from label", "style = (select value from label)",
    "style in (select value from label)", "id = 1 or id = id", "id = abs(1)", "load_extension('x') = 1", "id = 0x10",
    "sqlite_master.name = 'x'", "artwork.id = 1", "style = x'41'", "style = 'x' || 'y'", "style = :style", "style = ?",
    "style = %s", "style = ＇x＇", "style = ʼxʼ or id = 1", "style = ’ or id = 1 --’", "style = 'x\0'", "style\0= 'x'",
    "style = 'x' \0; drop table artwork", "style = '\udc80'", "\"style\" or 1=1 --\" = 'x'", "style = \\'x\\'",
]
HARMLESS = [
    "'; drop table artwork; --", "x' or 1=1 --", "/* */", "' or ''='", "\\", "\\'", '"', '" or 1=1', ";", "?", ":style",
    "%(x)s", "’ or 1=1", "＇", "\u2028", "\x1b[2J", "💥", "\n--", "__[POSTCOMPILE_x]", "%%", "{}",
]
# fmt: on


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_no_expression_never_becomes_sql(text: str) -> None:
    error(text)


def test_a_character_that_the_database_cannot_hold_is_named_by_its_place() -> None:
    assert error("style = 'x\0'") == "character 11 is one that no stored text can contain; leave it out"
    assert error("style = '\udc80'") == "character 10 is one that no stored text can contain; leave it out"


@pytest.mark.parametrize("value", HARMLESS)
def test_sql_within_quotes_is_text_like_any_other(engine: Engine, value: str) -> None:
    quoted = "'" + value.replace("'", "''") + "'"
    with engine.begin() as db:
        db.execute(artwork.insert().values(id=99, title=value, extra={}))
        for text in (f"title = {quoted}", f"title in ('-', {quoted})", f"title between {quoted} and {quoted}"):
            assert list(db.scalars(select(artwork.c.id).where(compile_where(text, COLUMNS)))) == [99], text
        found = list(db.scalars(select(artwork.c.id).where(compile_where(f"title like {quoted}", COLUMNS))))
        assert found == [*expected(lambda r: like(r["title"], value)), 99]
        db.rollback()
    assert kept(engine, "id > 0") == expected(lambda r: True)


def test_the_sql_that_reaches_the_database_holds_only_parameters(engine: Engine) -> None:
    text = (
        "style = 'zq1' or title != 'zq2' and begin_year in (918273, 918274) or style not in ('zq3', 555.25) "
        'or title like \'zq4%\' or "height cm" > 918275 or not "height cm" between 918276 and 918277.5 '
        "or share < -918278.25 or begin_year = '918279'"
    )
    seen: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        seen.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", note)
    try:
        kept(engine, text)
    finally:
        event.remove(engine, "before_cursor_execute", note)
    [(statement, parameters)] = seen
    assert "'" not in statement
    assert not re.search(r"zq|9182|555", statement)
    wanted = {"zq1", "zq2", "zq3", "zq4%", "555.25", 918273, 918274, 918275.0, 918276.0, 918277.5, -918278.25, 918279}
    assert wanted <= set(parameters)


def test_other_values_give_the_same_sql() -> None:
    def sql(text: str) -> str:
        return str(compile_where(text, COLUMNS).compile(dialect=sqlite.dialect()))

    shape = (
        "style = {0} or not title like {0} and begin_year >= {1} "
        'or "height cm" not between {1} and {1} or title in ({0}, {1})'
    )
    assert sql(shape.format("'x'", "1")) == sql(shape.format("'''; drop table artwork; --'", "-99999999999999999999.5"))


# -- random expressions ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Expression:
    text: str
    test: Test


@dataclass
class Writer:
    """Writes random expressions, and beside each the same in Python."""

    rng: random.Random

    def keyword(self, word: str) -> str:
        return self.rng.choice([word, word.upper(), word.title()])

    def space(self) -> str:
        return self.rng.choice([" ", " ", "  ", "\n", "\t "])

    def name(self, column: str) -> str:
        column = self.rng.choice([column, column.upper(), column.title()])
        return column if " " not in column and self.rng.random() < 0.7 else f'"{column}"'

    def string(self, column: str) -> str:
        return str(self.rng.choice([*(r[column] for r in ROWS if r[column] is not None), "zzz", "'", "%", "B"]))

    def number(self) -> str:
        return str(self.rng.choice([*filter(None, YEARS), -4, 0, 0.5, 12.5, 40, 1888.75, 7.0]))

    def expression(self, depth: int) -> Expression:
        kind = self.rng.choice(["or", "and", "not", "()", "test", "test"]) if depth else "test"
        if kind == "test":
            return self.comparison()
        first = self.expression(depth - 1)
        if kind == "()":
            return Expression(f"({self.space()}{first.text})", first.test)
        if kind == "not":
            return Expression(f"{self.keyword('not')} ({first.text})", lambda r: not first.test(r))
        second = self.expression(depth - 1)
        text = f"({first.text}){self.space()}{self.keyword(kind)}{self.space()}({second.text})"
        if kind == "or":
            return Expression(text, lambda r: first.test(r) or second.test(r))
        return Expression(text, lambda r: first.test(r) and second.test(r))

    def comparison(self) -> Expression:
        column = self.rng.choice(["id", "title", "begin_year", "share", "height cm", "style"])
        kind = self.rng.choice(["order", "order", "equal", "in", "like", "between", "null"])
        made: Expression = getattr(self, f"{kind}_test")(column)
        return made

    def value(self, column: str, *, as_text: bool) -> tuple[str, Any]:
        """A value as it is written, and as Python compares it: text, or a number."""
        if column in ("id", "begin_year", "share"):
            number = self.number()
            return self.rng.choice([number, number, f"'{number}'"]), float(number) if "." in number else int(number)
        if as_text:
            text = self.string(column)
            return "'" + text.replace("'", "''") + "'", text
        number = self.number()
        return number, float(number)

    def stored(self, column: str, value: Any) -> Callable[[Row], Any]:
        """What stands in the column, as it compares with `value`."""
        numeric = column in ("title", "style", "height cm") and isinstance(value, float)
        return lambda r: number_of(r[column]) if numeric else r[column]

    def order_test(self, column: str) -> Expression:
        sign, compare = self.rng.choice(
            list({"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}.items())
        )
        written, value = self.value(column, as_text=self.rng.random() < 0.5)
        stored = self.stored(column, value)
        space = self.rng.choice(["", " "])
        return Expression(
            f"{self.name(column)}{space}{sign}{space}{written}", lambda r: fits(compare, stored(r), value)
        )

    def equal_test(self, column: str) -> Expression:
        sign = self.rng.choice(["=", "==", "!=", "<>"])
        written, value = self.value(column, as_text=True)
        return Expression(
            f"{self.name(column)} {sign} {written}", lambda r: (r[column] == value) == (sign in ("=", "=="))
        )

    def in_test(self, column: str) -> Expression:
        values = [self.value(column, as_text=True) for _ in range(self.rng.randint(1, 4))]
        word, wanted = self.worded("in")
        text = f"{self.name(column)} {word} ({', '.join(written for written, _ in values)})"
        return Expression(text, lambda r: (r[column] in [value for _, value in values]) == wanted)

    def like_test(self, column: str) -> Expression:
        column = "title" if column == "share" else column
        text = self.string(column)
        start = self.rng.randint(0, len(text))
        pattern = self.rng.choice(
            [f"%{text[start:]}", f"{text[:start]}%", f"%{text[start : start + 2]}%", text.swapcase()]
        )
        pattern = pattern.replace("e", "_")
        word, wanted = self.worded("like")
        written = "'" + pattern.replace("'", "''") + "'"
        as_text: Callable[[Any], str | None] = lambda v: None if v is None else str(v)  # noqa: E731
        return Expression(
            f"{self.name(column)} {word} {written}", lambda r: like(as_text(r[column]), pattern) == wanted
        )

    def between_test(self, column: str) -> Expression:
        as_text = self.rng.random() < 0.5
        (low_written, low), (high_written, high) = (self.value(column, as_text=as_text) for _ in range(2))
        stored = self.stored(column, low)
        word, wanted = self.worded("between")
        return Expression(
            f"{self.name(column)} {word} {low_written} {self.keyword('and')} {high_written}",
            lambda r: (fits(operator.ge, stored(r), low) and fits(operator.le, stored(r), high)) == wanted,
        )

    def null_test(self, column: str) -> Expression:
        wanted = self.rng.random() < 0.5
        words = ["is", "null"] if wanted else ["is", "not", "null"]
        text = " ".join([self.name(column), *map(self.keyword, words)])
        return Expression(text, lambda r: (r[column] is None) == wanted)

    def worded(self, word: str) -> tuple[str, bool]:
        wanted = self.rng.random() < 0.5
        return self.keyword(word) if wanted else f"{self.keyword('not')} {self.keyword(word)}", wanted


def number_of(text: str | None) -> float | None:
    """The number that a text is in full, blanks around it aside."""
    if text is None or not re.fullmatch(r"\s*[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?\s*", text):
        return None
    return float(text)


def fits(compare: Callable[[Any, Any], bool], stored: Any, value: Any) -> bool:
    return stored is not None and compare(stored, value)


@pytest.mark.parametrize("seed", range(30))
def test_random_expressions_keep_what_python_keeps(engine: Engine, seed: int) -> None:
    writer = Writer(random.Random(seed))
    for _ in range(60):
        expression = writer.expression(depth=writer.rng.randint(0, 5))
        assert kept(engine, expression.text) == expected(expression.test), expression.text


@pytest.mark.parametrize("seed", range(10))
def test_a_damaged_expression_is_read_or_refused_but_never_fails_otherwise(engine: Engine, seed: int) -> None:
    rng = random.Random(seed)
    writer = Writer(rng)
    pieces = [*"()'\"=<>!,;-.%\\?:\0’é1", "''", " and ", " not ", " null ", "--", "/*", " in ", " between ", "\ud800"]
    for _ in range(150):
        text = list(writer.expression(depth=rng.randint(0, 3)).text)
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(text))
            text[at : at + rng.randint(0, 3)] = rng.choice(pieces)
        with suppress(WhereError):
            kept(engine, "".join(text))
    assert kept(engine, "id > 0") == expected(lambda r: True)
