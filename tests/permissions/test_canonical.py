"""Two definitions have one digest exactly if they mean the same."""

from __future__ import annotations

import json
import random
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.permissions.canonical import Ambiguous, canonical, digest

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text("aeé́ \n"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=4),
    max_leaves=12,
)


def shuffled(value: Any, chance: random.Random) -> Any:
    """The same with its members in another order."""
    if isinstance(value, dict):
        names = list(value)
        chance.shuffle(names)
        return {name: shuffled(value[name], chance) for name in names}
    return [shuffled(item, chance) for item in value] if isinstance(value, list) else value


@given(value=JSON, seed=st.integers())
def test_order_white_space_and_escapes_do_not_count(value: Any, seed: int) -> None:
    other = shuffled(value, random.Random(seed))
    plain = json.dumps(value).encode()
    assert canonical(json.dumps(other, indent=2, ensure_ascii=False).encode()) == canonical(plain)


@given(one=JSON, other=JSON)
def test_what_has_one_form_is_the_same_up_to_the_form_of_its_letters(one: Any, other: Any) -> None:
    if canonical(json.dumps(one).encode()) == canonical(json.dumps(other).encode()):
        assert folded(one) == folded(other)


def folded(value: Any) -> Any:
    """Its text in NFC."""
    if isinstance(value, dict):
        return {folded(name): folded(item) for name, item in value.items()}
    if isinstance(value, list):
        return [folded(item) for item in value]
    return unicodedata.normalize("NFC", value) if isinstance(value, str) else value


@pytest.mark.parametrize("text", ["1", "1.0", "10e-1", "0.1E+1", "1.000e0", "100e-2"])
def test_a_number_is_one_number_however_it_is_written(text: str) -> None:
    assert canonical(text.encode()) == canonical(b"1")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("9007199254740992", "9007199254740993"),
        ("0.1", "0.10000000000000001"),
        ("1e400", "1e401"),
        ("-1", "1"),
        ("1", '"1"'),
        ("true", '"true"'),
        ("null", "0"),
        ("10", "1"),
        ('{"a":1}', '{"A":1}'),
        ("[1,2]", "[2,1]"),
        ("[[1],2]", "[1,[2]]"),
    ],
)
def test_two_values_that_differ_are_two(one: str, other: str) -> None:
    assert canonical(one.encode()) != canonical(other.encode())
    assert digest("tools", one.encode()) != digest("tools", other.encode())


def test_numbers_of_thousands_of_digits_are_compared_by_their_digits() -> None:
    assert canonical(b"9" * 9000) != canonical(b"9" * 8999 + b"8")
    assert canonical(b"1" + b"0" * 9000) == canonical(b"1e9000")


@pytest.mark.parametrize("zero", ["0", "-0", "0.0", "0e10", "-0.0e-5"])
def test_nothing_is_zero(zero: str) -> None:
    assert canonical(zero.encode()) == b"0"


def test_the_two_unicode_forms_of_a_letter_are_one() -> None:
    assert canonical('"caf\u00e9"'.encode()) == canonical('"cafe\u0301"'.encode())


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":1,"a":2}',
        '{"\u00e9":1,"e\u0301":2}'.encode(),
        b'{"inner":{"a":1,"a":1}}',
        b'"\\ud800"',
        b"NaN",
        b"[Infinity]",
        b"1e9999999999999999999",
        b"{",
        b"\xff",
        b"[" * 100_000,
    ],
)
def test_what_can_be_read_in_two_ways_has_no_form_and_is_compared_byte_by_byte(text: bytes) -> None:
    with pytest.raises(Ambiguous):
        canonical(text)
    assert digest("tools", text) == digest("tools", bytes(text))
    assert digest("tools", text) != digest("tools", text + b" ")


def test_the_digests_of_two_kinds_are_two() -> None:
    assert digest("tools", b"{}") != digest("prompts", b"{}")
