"""Comments and trailing commas go, everything else keeps its place."""

from __future__ import annotations

import json

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from broker.core import jsonc

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=6,
)


def decoded(text: str) -> object:
    return msgspec.json.decode(jsonc.plain(text.encode()))


def test_comments_and_trailing_commas_are_not_there() -> None:
    text = '{ // one\n "a": [1, 2, /* , */ ],\n /* two\n lines */ "b": 3, // end\n}'
    assert decoded(text) == {"a": [1, 2], "b": 3}


def test_what_looks_like_a_comment_in_a_string_is_text() -> None:
    text = r'{"url": "https://a/b", "c": "/* x */ ,]", "q": "\" // \\", "d": ",}"}'
    assert decoded(text) == {"url": "https://a/b", "c": "/* x */ ,]", "q": '" // \\', "d": ",}"}


def test_every_byte_keeps_its_line_and_column() -> None:
    text = b'{\n/* a\n b */ "k": 1, // x\n}'
    plain = jsonc.plain(text)
    assert len(plain) == len(text)
    assert plain.index(b'"k"') == text.index(b'"k"')
    assert plain.count(b"\n") == text.count(b"\n")


@given(JSON)
def test_plain_json_means_the_same_afterwards(value: object) -> None:
    text = json.dumps(value)
    assert json.loads(jsonc.plain(text.encode())) == value
    assert json.loads(jsonc.plain(json.dumps(value, indent=1).encode())) == value


@given(st.binary())
def test_no_bytes_make_it_raise(data: bytes) -> None:
    assert len(jsonc.plain(data)) == len(data)
    jsonc.members(data)


def test_hostile_megabytes_take_linear_time() -> None:
    for piece in (b'"', b'\\"', b"/*", b"/", b",", b", ", b"[{"):
        jsonc.plain(piece * (300_000 // len(piece)))


@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_members_are_the_keys_and_values_in_order(value: dict[str, object]) -> None:
    text = json.dumps(value, indent=1).encode()
    found = jsonc.members(text)
    assert {json.loads(one.key): json.loads(one.value) for one in found} == value
    assert all(text[one.offset :].startswith(one.key) for one in found)


def test_a_key_that_comes_twice_is_seen_twice() -> None:
    assert [one.value for one in jsonc.members(b'{"a": {"a": 1}, "a": [2, {}], "b": ":"}')] == [
        b'{"a": 1}',
        b"[2, {}]",
        b'":"',
    ]
