"""Where a JSON string is cut: between two characters, however they are written."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw, ValidationError

from broker.faces.cutting import boundary, inside, within

WRITTEN = ["a", '"', "\\", "\n", "\u0000", "é", "東", "😀", "\u2028", "\\u", "u", "d83d", "\\ud83d"]


def pieces(string: bytes, step: int) -> list[bytes]:
    found: list[bytes] = []
    start = 0
    while start < len(string):
        end = boundary(string, start, start + step)
        assert start < end <= start + step
        found.append(string[start:end])
        start = end
    return found


def said(piece: bytes) -> str:
    text = json.loads(b'"' + piece + b'"')
    text.encode()  # no half of a character
    return text


@pytest.mark.parametrize("ascii", [True, False])
@given(text=st.lists(st.sampled_from(WRITTEN)).map("".join), step=st.integers(12, 40))
def test_every_piece_is_text_of_its_own_and_together_they_are_all(ascii: bool, text: str, step: int) -> None:
    string = inside(Raw(json.dumps(text, ensure_ascii=ascii).encode()))
    assert "".join(said(piece) for piece in pieces(string, step)) == text


@given(st.text(), st.integers(12, 30))
def test_any_text_can_be_cut_anywhere(text: str, step: int) -> None:
    assert "".join(said(piece) for piece in pieces(within(text), step)) == text


@pytest.mark.parametrize("text", ["\\" * 50_000, '"' * 50_000, "\\\\u" * 20_000])
def test_many_escapes_are_cut_as_quickly_as_plain_text(text: str) -> None:
    assert "".join(said(piece) for piece in pieces(within(text), 1000)) == text


@pytest.mark.parametrize("value", ["7", "null", "[1]", '{"a":1}'])
def test_what_is_no_string_has_no_inside(value: str) -> None:
    with pytest.raises(ValidationError):
        inside(Raw(value.encode()))
