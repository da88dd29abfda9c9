"""Two versions of a definition, as a person reads them."""

from __future__ import annotations

import json
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from broker.permissions.difference import difference


def written(value: object) -> bytes:
    return json.dumps(value).encode()


def test_one_changed_word_in_a_long_text_is_two_lines() -> None:
    text = "Reads a file. It must exist. The path is relative. Nothing is written. "
    old, new = ({"name": "read", "description": text.replace("exist", word)} for word in ("exist", "be sent to x"))
    found = difference(written(old), written(new))
    assert [line for line in found if line[0] in "+-"] == ['-    "It must exist. "', '+    "It must be sent to x. "']


def test_an_enum_that_grew_is_one_line() -> None:
    found = difference(written({"enum": ["a"]}), written({"enum": ["a", "b"]}))
    assert [line for line in found if line[0] in "+-"] == ['+    "b"']


def test_a_new_definition_is_shown_whole_and_so_is_one_that_is_gone() -> None:
    raw = written({"name": "x", "n": 1.50, "none": None, "list": [], "table": {}})
    lines = ["{", '  "list": []', '  "n": 1.5', '  "name": "x"', '  "none": null', '  "table": {}', "}"]
    assert difference(None, raw) == [f"+{line}" for line in lines]
    assert difference(raw, None) == [f"-{line}" for line in lines]


def test_a_member_that_stands_twice_is_shown_twice() -> None:
    assert difference(None, b'{"a":1,"a":2}') == ["+{", '+  "a": 1', '+  "a": 2', "+}"]


def test_what_is_no_json_is_shown_as_it_is() -> None:
    assert difference(None, b"-- \xff\x1b[2J") == ["+-- \\xff\\u{1b}[2J"]


def test_numbers_are_shown_digit_by_digit() -> None:
    assert difference(b"9007199254740992", b"9007199254740993") == ["-9007199254740992", "+9007199254740993"]


@given(st.text(max_size=40), st.text(max_size=40))
def test_nothing_of_a_text_reaches_the_terminal_that_it_would_act_on(old: str, new: str) -> None:
    for line in difference(written({"d": old}), written({"d": new})):
        assert not [char for char in line if unicodedata.category(char) in ("Cc", "Cf", "Co", "Cs", "Zl", "Zp")]


def test_hidden_characters_are_shown_by_their_number() -> None:
    found = "\n".join(difference(None, written("a\u200bb\u202ec\U000e0041d\x1b[2J")))
    assert all(code in found for code in ("\\u{200b}", "\\u{202e}", "\\u{e0041}")) and "\x1b" not in found
