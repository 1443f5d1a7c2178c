import json
from types import MappingProxyType

import pytest

from simsearch.show.text import harmless, json_line

MARKS = "\u061c\u200e\u200f"
OVERRIDES = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
BREAKS = "\t\n\v\f\r\x85\u2028\u2029"
CONTROLS = "".join(chr(c) for c in (*range(0x20), *range(0x7F, 0xA0)) if chr(c) not in BREAKS)
SURROGATES = "\ud800\udbff\udc00\udcff\udfff"

ORDINARY = [
    "",
    "Étude d’une femme assise",
    "富嶽三十六景 神奈川沖浪裏",
    "דיוקן של אישה",
    "e\u0301 combining",
    "no-break\u00a0space, soft\u00adhyphen",
    "\U0001f469\u200d\U0001f3a8 paints",
    "नर्तकी",
]


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_unicode_is_left_as_it_is(text):
    assert harmless(text) == text


def test_printable_text_comes_back_as_the_same_object():
    text = "The Rialto Bridge, 1740 · Canaletto"
    assert harmless(text) is text


@pytest.mark.parametrize("character", CONTROLS + OVERRIDES + SURROGATES)
def test_what_a_terminal_would_obey_becomes_the_replacement_character(character):
    assert harmless(f"a{character}b") == "a\ufffdb"


def test_colours_and_window_titles_lose_the_character_that_starts_them():
    assert harmless("\x1b[31mred\x1b[0m") == "\ufffd[31mred\ufffd[0m"
    assert harmless("\x9b31mred") == "\ufffd31mred"
    assert harmless("\x1b]0;owned\x07") == "\ufffd]0;owned\ufffd"


@pytest.mark.parametrize("character", BREAKS)
def test_every_tab_and_line_break_becomes_one_space(character):
    assert harmless(f"a{character}b") == "a b"


def test_a_run_of_line_breaks_becomes_one_space_and_spaces_stay():
    assert harmless("Untitled\r\n\r\n(Study)") == "Untitled (Study)"
    assert harmless("two  spaces\n") == "two  spaces "


def test_directional_marks_are_left_out():
    assert harmless("".join(f"a{c}" for c in MARKS)) == "aaa"


def test_every_character_there_is_gives_one_line_of_utf8_and_the_same_again():
    everything = "".join(chr(c) for c in range(0x110000))
    shown = harmless(everything)
    shown.encode()
    assert len(shown.splitlines()) == 1
    assert harmless(shown) == shown


def test_a_file_name_that_is_not_utf8_can_be_shown():
    assert harmless(b"caf\xe9.jpg".decode("utf-8", "surrogateescape")) == "caf\ufffd.jpg"


def test_json_keeps_titles_legible():
    line = json_line({"title": "Étude 富嶽 \U0001f3a8", "score": 0.93})
    assert line == '{"title": "Étude 富嶽 \U0001f3a8", "score": 0.93}'


@pytest.mark.parametrize("character", CONTROLS + BREAKS + MARKS + OVERRIDES + SURROGATES)
def test_json_escapes_what_a_terminal_would_obey_and_loses_nothing(character):
    value = {f"key{character}": [f"a{character}b"]}
    line = json_line(value)
    assert character not in line
    assert len(line.splitlines()) == 1
    assert json.loads(line) == value


def test_json_writes_the_escape_as_four_hexadecimal_digits():
    assert json_line({"t": "\x7f\x9b\u2028\u202e\ud800"}) == r'{"t": "\u007f\u009b\u2028\u202e\ud800"}'


def test_json_takes_a_backslash_before_an_escaped_character_for_a_backslash():
    value = {"t": "\\\x9b \\u009b"}
    assert json.loads(json_line(value)) == value


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_json_refuses_numbers_that_json_does_not_have(number):
    with pytest.raises(ValueError, match="JSON"):
        json_line({"score": [number]})


def test_json_takes_any_mapping():
    assert json_line(MappingProxyType({"rank": 1})) == '{"rank": 1}'
