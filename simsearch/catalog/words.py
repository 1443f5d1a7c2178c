"""Full-text search over what was said of the works: the table `words`, an SQLite FTS5 index that the writer fills.

The writer does it, a batch at a time. Triggers would keep step with any hand that writes to the catalog, but they write
a work's row again for each of its labels: filling the catalog then took five times as long.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import Connection

from simsearch.catalog.catalog import Catalog, Ids
from simsearch.catalog.where import UNSTORABLE
from simsearch.errors import QueryError

WEIGHTS = (10.0, 5.0, 1.0)
"""Of title, artist and terms in bm25: how often a word counts that stands there once."""
MAX_WORDS = 64
"""In one question. SQLite refuses an expression of a few hundred levels."""
MAX_LENGTH = 1000
"""Characters of a question: a word of very many parts takes SQLite the square of their number."""
MOST = 2**62
"""Answers to one question; SQLite has no larger numbers."""

BETWEEN = re.compile(r"""[\s,;:!?/|&+*=<>"()\[\]{}]+""")
"""What parts words. Other signs hold the parts of one together: ``O'Keeffe``, ``still-life``."""

SAID = """(label.origin = 'human' OR label.origin = 'source' AND NOT EXISTS (
    SELECT 1 FROM label AS person
    WHERE person.artwork = label.artwork AND person.kind = label.kind AND person.origin = 'human'))"""
"""As in `Artwork.label`: a person's labels of a kind take the place of the source's; a prediction is no word."""

FILL = f"""
    INSERT INTO words (rowid, title, artist, terms)
    SELECT artwork.id, artwork.title,
        (SELECT group_concat(label.value, char(10)) FROM label
         WHERE label.artwork = artwork.id AND label.kind = 'artist' AND {SAID}),
        (SELECT group_concat(term, char(10)) FROM (
            SELECT CASE WHEN label.kind IN ('style', 'genre') THEN label.value
                        ELSE label.kind || ' ' || label.value END AS term
            FROM label WHERE label.artwork = artwork.id AND label.kind <> 'artist' AND {SAID}
            UNION ALL SELECT artwork.date UNION ALL SELECT artwork.medium UNION ALL SELECT artwork.classification
            UNION ALL SELECT value FROM json_each(artwork.extra)))
    FROM artwork WHERE artwork.id IN (SELECT value FROM json_each(?))"""

ROWS = "IN (SELECT value FROM json_each(?))"


class Match(NamedTuple):
    """A work that words were found in."""

    id: int
    score: float
    """How well they fit, by bm25, with the sign turned: higher is better; six decimals."""
    words: tuple[str, ...]
    """Those of the question that were found, as they were written, in its order."""
    whole: bool
    """Whether all of them were."""


def refresh(db: Connection, ids: Iterable[int]) -> None:
    """Brings the words of these artworks in step with artworks and labels; those of artworks that are gone go too."""
    said = json.dumps(list(ids))
    db.exec_driver_sql(f"DELETE FROM words WHERE rowid {ROWS}", (said,))
    db.exec_driver_sql(FILL, (said,))


def split(text: str) -> list[str]:
    """The words of a question as they were written, each once. Raises QueryError where there is none, or too many.

    A word has a letter or a digit; what stands between words is :data:`BETWEEN`.
    """
    if len(text) > MAX_LENGTH:
        raise QueryError(f"{_shown(text)} has {len(text):,} characters, more than {MAX_LENGTH:,}; shorten it")
    parts = BETWEEN.split(UNSTORABLE.sub(" ", text))
    words = list({part.casefold(): part for part in parts if any(map(_is_letter, part))}.values())
    if not words:
        raise QueryError(f"{_shown(text)} has no word in it; write what titles, artists or terms should say")
    if len(words) > MAX_WORDS:
        raise QueryError(f"{_shown(text)} has {len(words):,} words, more than {MAX_WORDS}; leave some out")
    return words


def find(catalog: Catalog, text: str, k: int, allowed: Ids | None = None, *, whole: bool = False) -> list[Match]:
    """At most `k` works, the best first, among the `allowed` ids: those with every word, then those with any of them.

    Within each the order is that of bm25, a word in the title counting most, then in the artist, then in the terms;
    ties by id. The last word may be the beginning of a longer one; among works with every word it counts more where it
    is all of one. A word with signs in it, such as ``still-life``, asks for its parts side by side. Capitals and
    accents make no difference. With `whole` only works with every word are found. Raises QueryError where no word is
    asked for.
    """
    words = split(text)
    *first, last = map(_phrase, words)
    with catalog.snapshot() as db:
        every = _ranked(db, " AND ".join([*first, f"({last} OR {last} *)"]), k, allowed, ())
        some: list[tuple[int, float]] = []
        if first and not whole and len(every) < k:
            phrases = [*first, f"{last} *"]
            some = _ranked(db, " OR ".join(phrases), k - len(every), allowed, [id for id, _ in every])
            holders = [_holding(db, phrase, [id for id, _ in some]) for phrase in phrases]
    out = [Match(id, round(score, 6), tuple(words), True) for id, score in every]
    for id, score in some:
        held = tuple(word for word, ids in zip(words, holders, strict=True) if id in ids)
        out.append(Match(id, round(score, 6), held, False))
    return out


def _ranked(
    db: Connection, expression: str, k: int, allowed: Ids | None, without: Sequence[int]
) -> list[tuple[int, float]]:
    """(id, score) of at most `k` works, the best first."""
    # the plus keeps SQLite from asking the index again for each of the ids
    sql = "SELECT rowid, -bm25(words, ?, ?, ?) AS score FROM words WHERE words MATCH ?"
    values: list[object] = [*WEIGHTS, expression]
    if allowed is not None:
        sql, values = f"{sql} AND +rowid {ROWS}", [*values, json.dumps(allowed.tolist())]
    if without:
        sql, values = f"{sql} AND +rowid NOT {ROWS}", [*values, json.dumps(list(without))]
    rows = db.exec_driver_sql(f"{sql} ORDER BY score DESC, rowid LIMIT ?", (*values, min(k, MOST)))
    return [(int(id), float(score)) for id, score in rows]


def _holding(db: Connection, expression: str, ids: Sequence[int]) -> set[int]:
    """Those of these works that an expression fits."""
    if not ids:
        return set()
    sql = f"SELECT rowid FROM words WHERE words MATCH ? AND +rowid {ROWS}"
    return {int(id) for (id,) in db.exec_driver_sql(sql, (expression, json.dumps(list(ids))))}


def _phrase(word: str) -> str:
    """The word as FTS5 reads it literally, whatever signs are in it."""
    return '"' + word.replace('"', '""') + '"'


def _is_letter(letter: str) -> bool:
    """Whether it is part of a word to SQLite's tokenizer unicode61; all else only stands between words."""
    category = unicodedata.category(letter)
    return category[0] in "LN" or category == "Co"


def _shown(text: str, limit: int = 40) -> str:
    short = text if len(text) <= limit else text[: limit - 1] + "…"
    return repr(short) if short.strip() else "an empty text"
