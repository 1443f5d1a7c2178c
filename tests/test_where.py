"""The language of ``--where``, by value: every expression against a table in SQLite and against plain Python."""

from __future__ import annotations

import operator
import random
import re
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Engine,
    MetaData,
    Table,
    Text,
)
from where_table import ROWS, Test, error, expected, kept

from simsearch.catalog.where import MAX_COMPARISONS, MAX_DEPTH, MAX_LENGTH, compile_where

# -- what an expression keeps ------------------------------------------------------------------------------------------

KEEPS: dict[str, Test] = {
    "style = 'Baroque'": lambda r: r["style"] == "Baroque",
    "style == 'Baroque'": lambda r: r["style"] == "Baroque",
    "style > 'C'": lambda r: r["style"] is not None and r["style"] > "C",
    "style in ('Baroque', 'x', 'nothing')": lambda r: r["style"] in ("Baroque", "x"),
    "style = 'x'' or'": lambda r: r["style"] == "x' or",
    "style = ''": lambda r: r["style"] == "",
    "style is null": lambda r: r["style"] is None,
    "style IS NOT NULL": lambda r: r["style"] is not None,
    "style between 'A' and 'C'": lambda r: r["style"] is not None and "A" <= r["style"] <= "C",
    "title like 'water%'": lambda r: r["id"] in (1, 2),
    "title like '%É%'": lambda r: r["id"] == 3,
    "title LIKE '100_ blue'": lambda r: r["id"] in (6, 7),
    "title like 'two%lines'": lambda r: r["id"] == 12,
    "title = 'The \"Kiss\"'": lambda r: r["id"] == 11,
    "title = 'Straße'": lambda r: r["id"] == 10,
    "title = 12": lambda r: r["title"] == "12",
    "begin_year = 1889": lambda r: r["begin_year"] == 1889,
    "begin_year = '1889'": lambda r: r["begin_year"] == 1889,
    "begin_year = ' 1889 '": lambda r: r["begin_year"] == 1889,
    "begin_year = 1889.0": lambda r: r["begin_year"] == 1889,
    "begin_year in (1889, '1890', 0.5)": lambda r: r["begin_year"] in (1889, 1890),
    "begin_year < 0": lambda r: r["begin_year"] is not None and r["begin_year"] < 0,
    "begin_year>=-300": lambda r: r["begin_year"] is not None,
    "begin_year between 0 and 1889.5": lambda r: r["begin_year"] is not None and 0 <= r["begin_year"] <= 1889,
    "begin_year like '18%'": lambda r: r["begin_year"] in (1889, 1890),
    "begin_year = 9007199254740993": lambda r: r["id"] == 11,
    "begin_year = 9007199254740992": lambda r: False,
    "share > .25": lambda r: r["share"] is not None and r["share"] > 0.25,
    "share = 0": lambda r: r["share"] == 0,
    "share <= -1.25": lambda r: r["share"] == -1.25,
    "style = 'x' or style = 'Baroque' and begin_year = 1600": lambda r: r["id"] in (1, 8),
    "(style = 'x' or style = 'Baroque') and begin_year = 1600": lambda r: r["id"] == 1,
    "not style = 'x' and begin_year = 1889": lambda r: r["begin_year"] == 1889,
    "NOT (style = 'Baroque' OR begin_year > 0)": lambda r: r["style"] != "Baroque" and not (r["begin_year"] or 0) > 0,
    "\tstyle\n=\r\n'Baroque'\u00a0": lambda r: r["style"] == "Baroque",
    "style='Baroque'and(share=0.5)or id in(3,4)": lambda r: r["id"] in (1, 3, 4),
}


@pytest.mark.parametrize("text", KEEPS)
def test_an_expression_keeps_the_rows_that_python_keeps(engine: Engine, text: str) -> None:
    assert kept(engine, text) == expected(KEEPS[text])


@pytest.mark.parametrize(
    ("positive", "negatives"),
    [
        ("style = 'x'", ["style != 'x'", "style <> 'x'"]),
        ("style in ('x', 'Baroque')", ["style not in ('x', 'Baroque')"]),
        ("style like '%s%'", ["style not like '%s%'"]),
        ("begin_year between 1 and 1889", ["begin_year not between 1 and 1889"]),
        ('"height cm" > 10', []),
        ("style is null", ["style is not null"]),
        ("style = 'x' and begin_year > 3", ["style != 'x' or not begin_year > 3"]),
        ("style = 'x' or begin_year > 3", ["style != 'x' and not begin_year > 3"]),
    ],
)
def test_the_opposite_of_an_expression_keeps_all_other_rows(
    engine: Engine, positive: str, negatives: list[str]
) -> None:
    others = sorted(set(expected(lambda r: True)) - set(kept(engine, positive)))
    for negative in [f"not {positive}" if " and " not in positive and " or " not in positive else f"not ({positive})",
                     f"not not not ({positive})", *negatives]:  # fmt: skip
        assert kept(engine, negative) == others, negative
    assert kept(engine, f"not not ({positive})") == kept(engine, positive)


def test_a_work_without_a_value_fits_no_comparison_and_every_opposite(engine: Engine) -> None:
    without = expected(lambda r: r["style"] is None)
    assert without
    for comparison in ("= 'x'", "< 'x'", ">= ''", "in ('x')", "like '%'", "between '' and 'z'", "> 0"):
        assert not set(without) & set(kept(engine, f"style {comparison}")), comparison
        assert set(without) <= set(kept(engine, f"not style {comparison}")), comparison


@pytest.mark.parametrize("number", [-4, -3, 0, 7, 12, 12.5, 13, 100, 1e3, 1e25])
@pytest.mark.parametrize("sign", ["<", "<=", ">", ">="])
def test_text_compares_with_a_number_numerically_and_only_where_it_is_one(
    engine: Engine, sign: str, number: float
) -> None:
    compare = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}[sign]
    written = f"{number:.1f}"
    want = expected(lambda r: r["number"] is not None and compare(r["number"], number))
    assert kept(engine, f'"height cm" {sign} {written}') == want
    assert kept(engine, f'not "height cm" {sign} {written}') == [r["id"] for r in ROWS if r["id"] not in want]


def test_text_between_numbers_is_numeric_and_between_strings_is_not(engine: Engine) -> None:
    assert kept(engine, '"height cm" between 7 and 40') == expected(
        lambda r: r["number"] is not None and 7 <= r["number"] <= 40
    )
    assert kept(engine, "\"height cm\" between '1' and '2'") == expected(
        lambda r: r["height cm"] is not None and "1" <= r["height cm"] <= "2"
    )


def test_text_equals_a_number_only_as_it_is_written(engine: Engine) -> None:
    assert kept(engine, '"height cm" = 12') == [1]
    assert kept(engine, '"height cm" = 12.0') == []
    assert kept(engine, '"height cm" = 100.00') == [12]
    assert kept(engine, '"height cm" in (-3, 12.5)') == [2, 3]
    assert kept(engine, '"height cm" != 12') == expected(lambda r: r["height cm"] != "12")


@pytest.mark.parametrize("number", ["9" * 20, "9223372036854775808", "9" * 400, "9" * 5000, "9" * 5000 + ".5"])
def test_numbers_beyond_sqlites_integers_compare_all_the_same(engine: Engine, number: str) -> None:
    years = expected(lambda r: r["begin_year"] is not None)
    assert kept(engine, f"begin_year < {number}") == kept(engine, f"begin_year > -{number}") == years
    assert kept(engine, f"begin_year = {number}") == kept(engine, f"begin_year in (-{number})") == []
    assert kept(engine, f'"height cm" < {number}') == expected(lambda r: r["number"] is not None)


def test_zeros_before_a_number_change_nothing(engine: Engine) -> None:
    assert kept(engine, "begin_year = " + "0" * 5000 + "1889") == [2, 6]


# -- the names of columns ----------------------------------------------------------------------------------------------


def named(name: str, columns: list[str]) -> str:
    """The name of the column that an expression means by `name`."""
    table = Table("t", MetaData(), *(Column(c, Text) for c in columns))
    condition: Any = compile_where(f"{name} = 'x'", dict(table.c))
    return str(condition.left.name)


def test_columns_are_found_whatever_their_capitals() -> None:
    assert named("STYLE", ["style", "genre"]) == "style"
    assert named('"HEIGHT CM"', ["Height cm"]) == "Height cm"
    assert named("größe", ["GRÖSSE", "x"]) == "GRÖSSE"
    assert named("été", ["e\u0301te\u0301"]) == "e\u0301te\u0301"
    assert named("作者", ["作者"]) == "作者"


def test_of_columns_that_differ_in_capitals_the_exact_one_is_meant() -> None:
    assert named("Title", ["title", "Title"]) == "Title"
    table = Table("t", MetaData(), Column("Title", Text), Column("title", Text))
    message = error("x = 'y' or TITLE = 'x'", {"x": table.c.title, **table.c})
    assert message == "TITLE at character 12 can mean Title or title; write the one you mean exactly so"


def test_any_name_can_be_written_in_double_quotes() -> None:
    for name in ["in", "a b", "2nd", "x'y", "; drop table artwork --", "%s", ":x", "?", "a-b"]:
        assert named(f'"{name}"', [name]) == name
    assert named('"say ""hi"""', ['say "hi"']) == 'say "hi"'


# -- errors ------------------------------------------------------------------------------------------------------------

ERRORS = {
    "": "the expression is empty; write a comparison such as style = 'Baroque'",
    " \n ": "the expression is empty",
    "stile = 'x'": "stile at character 1 is not a column (did you mean title or style?); the columns are id, "
    'title, begin_year, share, "height cm", style',
    'id = 1 and "heigth cm" > 4': '"heigth cm" at character 12 is not a column (did you mean "height cm"?); the',
    "qqq = 1": "qqq at character 1 is not a column; the columns are id,",
    '"" = 1': '"" at character 1 is not a column; the columns are',
    "style = 'x": "the text that starts at character 9 does not end; close it with '",
    "style = 'it''s": "the text that starts at character 9 does not end",
    "\"style = 'x'": 'the column name that starts at character 1 does not end; close it with "',
    "style = 'x'; drop table artwork": "; at character 12 is no part of an expression; write",
    "style = 'x' drop table artwork": "drop at character 13 comes after a whole expression; write 'and' or 'or'",
    "style = 'x')": ") at character 12 comes after a whole expression",
    "style = 'it's'": "s at character 13 comes after a whole expression",
    "id = 5-3": "-3 at character 7 comes after a whole expression",
    "(style = 'x'": ") must come to close the parenthesis of character 1, not the end at character 13",
    "style =": "a value is missing after = at character 7, before the end at character 8; write",
    "style = and id = 1": "a value is missing after = at character 7, before and at character 9",
    "style in ()": "a value is missing after in at character 7, before ) at character 11",
    "style = = 'x'": "a value is missing after = at character 7, before = at character 9",
    "style": "one of = != < <= > >= is in like between must come after style, not the end at character 6",
    "style 'x'": "must come after style, not 'x' at character 7",
    "style 'in' ('x')": "must come after style, not 'in' at character 7",
    "style not = 'x'": "one of in like between must come after not, not = at character 11",
    "style in 'x'": "( must come after in, before the list of values, not 'x' at character 10",
    "style in ('x' 'y')": ") must come after a value of the list, or a comma and another, not 'y' at character 15",
    "style in ('x',)": "a value is missing after in at character 7, before ) at character 15",
    "id between 1, 2": "and must come between the two values of between, not , at character 13",
    "style is 'x'": "null must come after style is, not 'x' at character 10",
    "style = null": "null at character 9 is not a value; write style is null, or style is not null",
    "style in ('x', NULL)": "NULL at character 16 is not a value; write style is null",
    "style = Baroque": "text needs quotes: style = 'Baroque'",
    "style = Art Nouveau or id = 1": "Art at character 9 is no value, which can only be a number or text, and text "
    "needs quotes: style = 'Art Nouveau'",
    'style != "L\'Étoile"': "text needs quotes: style != 'L''Étoile'",
    "style like Mon": "a number or text, and text needs quotes: 'Mon'",
    "begin_year = id": "id at character 14 is no value",
    "style = true": "true at character 9 is no value",
    "style like 5": "5 at character 12 is a number where like wants text; write like '5'",
    "begin_year = 'old'": "'old' at character 14 is no number, and begin_year holds numbers; write one without quotes",
    "begin_year > ''": "'' at character 14 is no number",
    "share in (1, 'x')": "'x' at character 14 is no number, and share holds numbers",
    "id between 1 and 'x'": "'x' at character 18 is no number",
    "\"height cm\" between 1 and '2'": "1 at character 21 and '2' at character 27 are of two kinds; write",
    "'x' = style": "a column's name is expected, not 'x' at character 1; write for example style = 'Baroque'",
    "or": "a column's name is expected, not or at character 1",
    "not": "a column's name is expected, not the end at character 4",
    "()": "a column's name is expected, not ) at character 2",
    "id = 1 and": "a column's name is expected, not the end at character 11",
    "id = 12abc": "12abc at character 6 is no part of an expression",
    "id = 1e5": "1e5 at character 6 is no part of an expression",
    "id = 1.": "1. at character 6 is no part of an expression",
    "id = 1.2.3": "1.2.3 at character 6 is no part of an expression",
    "id = --1": "- at character 6 is no part of an expression",
    "id = ١٢": "١٢ at character 6 is no part of an expression",
    "style = 'x' && id = 1": "& at character 13 is no part of an expression",
    "style = ‘Baroque’": "‘ at character 9 is not a straight quote; write text as in 'Baroque'",
    "style = “Baroque”": "“ at character 9 is not a straight quote",
    "\x1b[31m = 1": "\ufffd at character 1 is no part of an expression",
}


@pytest.mark.parametrize("text", ERRORS)
def test_an_expression_that_cannot_be_read_is_refused_with_the_place_and_the_way_out(text: str) -> None:
    assert ERRORS[text] in error(text)


def test_an_expression_may_have_ten_thousand_characters_and_no_more(engine: Engine) -> None:
    longest = "id = 3".ljust(MAX_LENGTH)
    assert kept(engine, longest) == [3]
    assert error(longest + " ") == "the expression has 10,001 characters, more than 10,000; shorten it"


@pytest.mark.parametrize("opening", ["(", "not ", "not(", "( (not not not "])
def test_fifty_levels_are_read_and_the_next_is_refused(engine: Engine, opening: str) -> None:
    times = MAX_DEPTH // (opening.count("(") + opening.count("not"))
    text = opening * times + "id = 3" + ")" * (opening.count("(") * times)
    negated = opening.count("not") * times % 2 == 1
    assert kept(engine, text) == expected(lambda r: (r["id"] == 3) != negated)
    message = error(f"not {text}")
    assert re.fullmatch(r"id at character \d+ is nested in more than 50 parentheses and nots; leave some out", message)


@pytest.mark.parametrize(
    "bomb", ["(" * 9000, "not " * 2500, "(" * 5000 + ")" * 5000, "not(" * 2000, "((id = 1) or" * 800]
)
def test_a_bomb_of_parentheses_is_refused_before_it_grows(bomb: str) -> None:
    assert "nested in more than 50" in error(bomb)


def test_more_comparisons_than_sqlite_could_take_are_refused(engine: Engine) -> None:
    for join in (" or ", " and "):
        most = join.join(["style not between 'a' and 'b'"] * MAX_COMPARISONS)
        assert kept(engine, most) == kept(engine, "style not between 'a' and 'b'")
        assert "one comparison more than 200; use in (...)" in error(most + join + "id = 1")


def test_a_list_may_have_thousands_of_values(engine: Engine) -> None:
    assert kept(engine, f"id in ({'0,' * 4900}3)") == [3]
    assert kept(engine, f"style not in ({'1,' * 4800}'x')") == expected(lambda r: r["style"] != "x")


@pytest.mark.parametrize("seed", range(20))
def test_the_deepest_expressions_fit_the_stack_of_sqlites_parser(engine: Engine, seed: int) -> None:
    """SQLite's parser gives up at a stack of 100, and ``a and (b or (c and ...`` would take four for each level."""
    rng = random.Random(seed)

    def nested(depth: int, comparisons: int) -> str:
        leaf = rng.choice(["style not in ('a')", '"height cm" > 1', "style not between 1 and 2"])
        if depth == 0 or comparisons < 4:
            return leaf
        spent = rng.choice([1, 1, 1, 2, comparisons // 2])
        beside = nested(depth - 1, spent) if spent > 2 else leaf
        first, second = rng.sample(["and", "or"], 2)
        return f"({beside} {first} {leaf} {second} {nested(depth - 1, comparisons - spent - 1)})"

    kept(engine, nested(MAX_DEPTH, MAX_COMPARISONS))
    chain = "style = 'x'"
    for i in range(MAX_DEPTH):
        chain = f"(style = 'x' {('and', 'or')[i % 2]} {chain})"
    assert kept(engine, chain) == kept(engine, "style = 'x'")
