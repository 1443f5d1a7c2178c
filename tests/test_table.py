"""`simsearch.show.table`: what a person sees of a list of works."""

import io

import pytest

from simsearch.show.table import table

ROWS = [["1", "Nachtwache", "Rembrandt"], ["10", "富嶽三十六景", "北斎"], ["100", None, "Moreau\x1b[2J"]]
HEAD = ["", "title", "artist"]


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


@pytest.fixture
def eighty_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


def shown(rows, out, **options):
    table(HEAD, rows, out, **options)
    return out.getvalue().splitlines()


def test_columns_line_up_and_numbers_stand_to_the_right():
    assert shown([*ROWS[:1], ["10", "Sita", "X"]], io.StringIO(), right=frozenset({0})) == [
        "    title       artist",
        " 1  Nachtwache  Rembrandt",
        "10  Sita        X",
    ]


def test_wide_letters_take_two_places_and_combining_marks_none():
    lines = shown([["1", "富嶽", "a"], ["2", "e\u0301te\u0301 x", "b"]], io.StringIO())
    assert lines[1:] == ["1  富嶽   a", "2  e\u0301te\u0301 x  b"]


def test_an_unknown_value_leaves_its_place_empty_and_no_control_character_gets_out():
    lines = shown(ROWS, io.StringIO())
    assert lines[3] == "100                Moreau\N{REPLACEMENT CHARACTER}[2J"


def test_a_file_gets_long_texts_whole():
    assert "x" * 500 in shown([["1", "x" * 500, "y"]], io.StringIO())[1]


def test_a_terminal_gets_rows_that_fit_with_the_widest_text_cut(eighty_columns):
    head, row = shown([["1", "x" * 500, "Rembrandt"]], Terminal())
    assert head.startswith("\x1b[1m")
    assert len(row) == 80
    assert row.endswith("…  Rembrandt")


def test_numbers_are_never_cut(eighty_columns):
    number = "9" * 100
    assert shown([[number, "title", "artist"]], Terminal(), right=frozenset({0}))[1].startswith(number)
