"""The small, safe language of ``--where``, compiled to SQLAlchemy conditions.

    style = 'Baroque' and not (begin_year < 1600 or artist is null)
    "height cm" between 40 and 60 or title like '%bridge%'

    expression  = all ("or" all)*
    all         = one ("and" one)*
    one         = "not" one | "(" expression ")" | column test
    test        = ("=" | "==" | "!=" | "<>" | "<" | "<=" | ">" | ">=") value
                | ["not"] "in" "(" value ("," value)* ")"
                | ["not"] "like" text
                | ["not"] "between" value "and" value
                | "is" ["not"] "null"
    column      = a bare name, or any name in "double quotes"
    value       = text in 'single quotes', or a number such as 12, -3 or 0.5

A quote within quotes is written twice. Keywords may be written in capitals; so may columns where only one is meant.
"""

from __future__ import annotations

import difflib
import math
import operator
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Float, Integer, Numeric, Text, and_, cast, literal, or_, true

from simsearch.errors import WhereError

MAX_LENGTH = 10_000
MAX_DEPTH = 50
MAX_COMPARISONS = 200  # a chain is a deep tree to SQLite, which refuses one of a thousand levels

KEYWORDS = frozenset(["and", "or", "not", "in", "like", "is", "null", "between"])
ORDERS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
EQUALS = {"=": False, "==": False, "!=": True, "<>": True}  # and whether it asks for the opposite

NUMBER = r"-?(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)"
NAME = r"[^\W\d]\w*"
TOKEN = re.compile(
    rf"""\s* (?: (?P<number> {NUMBER} (?![\w.]))
               | (?P<word>   {NAME})
               | (?P<text>   '(?:[^']|'')*+')
               | (?P<name>   "(?:[^"]|"")*+")
               | (?P<sign>   <> | <= | >= | == | != | [=<>(),])
               | (?P<end>    \Z)
               | (?P<odd>    [\w.]+ | . ) )""",
    re.VERBOSE | re.DOTALL,
)
UNSTORABLE = re.compile("[\0\ud800-\udfff]")
CURLY_QUOTES = "‘’‚‛“”„‟′″´`«»‹›"


def compile_where(text: str, columns: Mapping[str, ColumnElement[Any]]) -> ColumnElement[bool]:
    """The WHERE condition that keeps the rows `text` describes; every value in it is a bound parameter.

    A row without a value fits no comparison, and the opposite of a comparison is everything else: ``style != 'x'``,
    ``not style = 'x'``, ``style not in ('x')`` and ``style not like 'x'`` all keep the works that have no style.

    ``=`` and ``in`` compare exactly, capitals included; ``like`` disregards the case of A to Z and reads ``%`` as any
    text and ``_`` as any one character. On a text column ``=`` and ``in`` take a number as the text that was written,
    whereas ``<``, ``>`` and ``between`` with a number compare numerically, and text that is no number never fits.

    Raises WhereError, which names the character (from 1) and the way out.
    """
    if len(text) > MAX_LENGTH:
        raise WhereError(f"the expression has {len(text):,} characters, more than {MAX_LENGTH:,}; shorten it")
    if not text.strip():
        raise WhereError("the expression is empty; write a comparison such as style = 'Baroque'")
    parser = _Parser(text, columns)
    condition = parser.joined("or", negate=False, depth=0)
    if parser.token.kind != "end":
        raise WhereError(f"{parser.token} comes after a whole expression; write 'and' or 'or' before it, or remove it")
    return condition


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    """number, word, text, name, sign or end; text is a value in single quotes, name a column in double ones."""
    value: str  # without the quotes
    written: str
    at: int  # its first character, from 1

    def __str__(self) -> str:
        return f"{_shown(self.written) or 'the end'} at character {self.at}"

    @property
    def mark(self) -> str:
        """The sign or the keyword, in small letters, that it is; or nothing."""
        small = self.value.lower()
        return small if self.kind == "sign" or (self.kind == "word" and small in KEYWORDS) else ""


def _tokens(text: str) -> Iterator[_Token]:
    if found := UNSTORABLE.search(text):
        raise WhereError(f"character {found.start() + 1} is one that no stored text can contain; leave it out")
    start, kind = 0, ""
    while kind != "end":
        match = TOKEN.match(text, start)
        assert match is not None  # `odd` takes what nothing else does
        kind, start = str(match.lastgroup), match.end()
        written, at = match[kind], match.start(kind) + 1
        if kind == "odd":
            raise _odd(written, at)
        value = written[1:-1].replace(written[0] * 2, written[0]) if kind in ("text", "name") else written
        yield _Token(kind, value, written, at)


def _odd(written: str, at: int) -> WhereError:
    if written == "'":
        return WhereError(f"the text that starts at character {at} does not end; close it with ' (one within it is '')")
    if written == '"':
        return WhereError(f'the column name that starts at character {at} does not end; close it with "')
    odd = f"{_shown(written)} at character {at}"
    if written in CURLY_QUOTES:
        return WhereError(f"{odd} is not a straight quote; write text as in 'Baroque'")
    return WhereError(f"{odd} is no part of an expression; write 'text' and \"column\" in quotes if that is what it is")


@dataclass(frozen=True, slots=True)
class _Column:
    sql: ColumnElement[Any]
    name: str  # as it was written, fit for a message
    is_numeric: bool

    def bind(self, value: _Token) -> ColumnElement[Any]:
        """The value as a parameter of the column's kind: a number, or text."""
        if not self.is_numeric:
            return literal(value.value)
        written = value.value.strip()
        if not re.fullmatch(NUMBER, written):
            raise WhereError(f"{value} is no number, and {self.name} holds numbers; write one without quotes")
        if "." not in written and len(written) <= 20 and abs(int(written)) < 2**63:
            return literal(int(written))
        return literal(float(written))  # SQLite has no integers of more than 64 bits

    def ordered(self, sign: str, value: _Token) -> ColumnElement[bool]:
        """Whether the column stands in this order to the value; numerically if either is a number."""
        compare: Callable[[Any, Any], ColumnElement[bool]] = ORDERS[sign]
        if self.is_numeric or value.kind == "text":
            return compare(self.sql, self.bind(value))
        # Beside a REAL, SQLite reads text that is a number in full as that number. Other text stays text, which is
        # greater than every number, infinity included. A cast of the column would read 'abc' as 0 and '12 cm' as 12.
        condition = compare(self.sql, cast(literal(float(value.value)), Float))
        return condition if sign in ("<", "<=") else and_(condition, self.sql <= cast(literal(math.inf), Float))


class _Parser:
    """Recursive descent, straight to conditions.

    A `negate` handed down turns `and` into `or` and ends at the comparisons, which then ask IS NOT true. So a missing
    value counts as false everywhere: SQL's third answer only meets `and`, `or` and WHERE, which keep no row for it.
    """

    def __init__(self, text: str, columns: Mapping[str, ColumnElement[Any]]) -> None:
        self.columns = columns
        self.comparisons = 0
        self.tokens = _tokens(text)
        self.token = next(self.tokens)

    def advance(self) -> _Token:
        """The token that was next; after the end comes the end again."""
        token, self.token = self.token, next(self.tokens, self.token)
        return token

    def take(self, mark: str) -> bool:
        """Whether the next token is this keyword or sign; it is consumed then."""
        return self.token.mark == mark and self.advance() is not None

    def expect(self, mark: str, where: str) -> None:
        if not self.take(mark):
            raise WhereError(f"{mark} must come {where}, not {self.token}")

    def joined(self, mark: str, negate: bool, depth: int) -> ColumnElement[bool]:
        """One or more conditions with `mark` between them: whole ones for ``or``, single ones for ``and``."""
        parts: list[tuple[int, ColumnElement[bool]]] = []
        while not parts or self.take(mark):
            before = self.comparisons
            part = self.joined("and", negate, depth) if mark == "or" else self.one(negate, depth)
            parts.append((before - self.comparisons, part))
        # The longest comes first: SQLite's parser has a stack of 100, for all that stands left of an open parenthesis.
        parts.sort(key=operator.itemgetter(0))
        return (or_ if (mark == "or") != negate else and_)(*(part for _, part in parts))

    def one(self, negate: bool, depth: int) -> ColumnElement[bool]:
        start = self.token
        if depth > MAX_DEPTH:
            raise WhereError(f"{start} is nested in more than {MAX_DEPTH} parentheses and nots; leave some out")
        if self.take("not"):
            return self.one(not negate, depth + 1)
        if self.take("("):
            inside = self.joined("or", negate, depth + 1)
            self.expect(")", f"to close the parenthesis of character {start.at}")
            return inside
        self.comparisons += 1
        if self.comparisons > MAX_COMPARISONS:
            raise WhereError(f"{start} is one comparison more than {MAX_COMPARISONS}; use in (...) for many values")
        return self.comparison(negate)

    def comparison(self, negate: bool) -> ColumnElement[bool]:
        column = self.column()
        if self.take("is"):
            negate ^= self.take("not")
            self.expect("null", f"after {column.name} is")
            return column.sql.is_not(None) if negate else column.sql.is_(None)
        inverted = self.take("not")
        sign = self.advance()
        if sign.mark in WORDED:
            condition = WORDED[sign.mark](self, column, sign)
        elif sign.mark in EQUALS and not inverted:
            condition = column.sql == column.bind(self.value(column, sign))
            inverted = EQUALS[sign.mark]
        elif sign.mark in ORDERS and not inverted:
            condition = column.ordered(sign.mark, self.value(column, sign))
        else:
            expected, after = ("", "not") if inverted else ("= != < <= > >= is ", column.name)
            raise WhereError(f"one of {expected}in like between must come after {after}, not {sign}")
        return condition.is_not(true()) if inverted != negate else condition

    def among(self, column: _Column, sign: _Token) -> ColumnElement[bool]:
        self.expect("(", "after in, before the list of values")
        values = [column.bind(self.value(column, sign))]
        while self.take(","):
            values.append(column.bind(self.value(column, sign)))
        self.expect(")", "after a value of the list, or a comma and another")
        return column.sql.in_(values)

    def like(self, column: _Column, sign: _Token) -> ColumnElement[bool]:
        pattern = self.value(column, sign)
        if pattern.kind != "text":
            raise WhereError(f"{pattern} is a number where like wants text; write like '{_shown(pattern.written)}'")
        return (cast(column.sql, Text) if column.is_numeric else column.sql).like(literal(pattern.value))

    def between(self, column: _Column, sign: _Token) -> ColumnElement[bool]:
        low = self.value(column, sign)
        self.expect("and", "between the two values of between")
        high = self.value(column, sign)
        if low.kind != high.kind and not column.is_numeric:
            raise WhereError(f"{low} and {high} are of two kinds; write both in quotes, or both as numbers")
        return and_(column.ordered(">=", low), column.ordered("<=", high))

    def value(self, column: _Column, sign: _Token) -> _Token:
        """The text or number that comes next; what people write in its place gets a hint."""
        token = self.advance()
        if token.kind in ("text", "number"):
            return token
        if token.mark == "null":
            raise WhereError(f"{token} is not a value; write {column.name} is null, or {column.name} is not null")
        if token.mark or token.kind == "end":
            raise WhereError(f"a value is missing after {sign}, before {token}; write 'text in quotes' or a number")
        words = token.value
        while self.token.kind == "word" and not self.token.mark:
            words += " " + self.advance().value
        example = "'" + _shown(words.replace("'", "''")) + "'"
        if sign.kind == "sign":
            example = f"{column.name} {sign.mark} {example}"
        raise WhereError(f"{token} is no value, which can only be a number or text, and text needs quotes: {example}")

    def column(self) -> _Column:
        """The column that is named next, capitals aside where that leaves one."""
        name = self.advance()
        if name.kind not in ("word", "name") or name.mark:
            raise WhereError(f"a column's name is expected, not {name}; write for example style = 'Baroque'")
        wanted = folded(name.value)
        found = [c for c in self.columns if c == name.value] or [c for c in self.columns if folded(c) == wanted]
        if len(found) == 1:
            sql = self.columns[found[0]]
            return _Column(sql, _shown(name.written), isinstance(sql.type, Integer | Numeric | Float))
        if found:
            raise WhereError(f"{name} can mean {' or '.join(map(_spelled, found))}; write the one you mean exactly so")
        near = difflib.get_close_matches(wanted, map(folded, self.columns), n=2)
        meant = " or ".join(_spelled(c) for close in near for c in self.columns if folded(c) == close)
        hint = f" (did you mean {meant}?)" if meant else ""
        raise WhereError(f"{name} is not a column{hint}; the columns are {', '.join(map(_spelled, self.columns))}")


WORDED = {"in": _Parser.among, "like": _Parser.like, "between": _Parser.between}


def folded(name: str) -> str:
    """What names have in common that differ in capitals, or in how their accents are written."""
    return unicodedata.normalize("NFC", name).casefold()


def _spelled(name: str) -> str:
    """The name as it is written in an expression: in quotes where it needs them."""
    bare = re.fullmatch(NAME, name) and name.lower() not in KEYWORDS
    return name if bare else _shown('"' + name.replace('"', '""') + '"', limit=1000)


def _shown(text: str, limit: int = 40) -> str:
    """The start of it, fit for a message."""
    short = text if len(text) <= limit else text[: limit - 1] + "…"
    return "".join(c if c.isprintable() else "\ufffd" for c in short)
