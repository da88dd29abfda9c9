"""A member goes into a JSON text and out of it again, and every other byte stays."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.clients import jsontext
from broker.core import jsonc

BOM = b"\xef\xbb\xbf"
ENTRY: dict[str, object] = {"command": "broker", "args": ["mcp"]}
BLANKS = [" ", "\t", "\n", "\r\n", "  ", '// a, "b": {\n', "// c\r\n", "/* } , */", "/* d\n e */", "/**/"]


def decoded(text: bytes) -> Any:
    return msgspec.json.decode(jsonc.plain(text.removeprefix(BOM)))


def put(text: bytes | None) -> bytes:
    return jsontext.put(text, "servers", "broker", ENTRY)


def take(text: bytes) -> bytes | None:
    return jsontext.take(text, "servers", "broker")


# JSON as people write it: white space and comments anywhere, trailing commas, any depth.

blanks = st.lists(st.sampled_from(BLANKS), max_size=3).map("".join)
keys = st.sampled_from(["a", "servers", 'q"uote', "b{", "//", "ü", "broke", "\\", "Broker"])
scalars = st.sampled_from(["1", "-2.5e3", "true", "null", '""', '"x, // y"', '"\\"}"', '"ü\\u00fc"', "[]", "{}"])


def braced(opening: str, closing: str, items: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    def written(parts: tuple[list[str], str, str, bool]) -> str:
        inner, before, after, trailing = parts
        comma = f",{after}" if trailing and inner else ""
        return f"{opening}{before}{','.join(inner)}{comma}{after if not inner else ''}{closing}"

    return st.tuples(st.lists(items, max_size=3), blanks, blanks, st.booleans()).map(written)


def member(value: st.SearchStrategy[str], key: st.SearchStrategy[str] = keys) -> st.SearchStrategy[str]:
    parts = st.tuples(blanks, key, blanks, blanks, value, blanks)
    return parts.map(lambda p: f"{p[0]}{msgspec.json.encode(p[1]).decode()}{p[2]}:{p[3]}{p[4]}{p[5]}")


def nested(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    listed = st.tuples(blanks, inner, blanks).map("".join)
    return braced("{", "}", member(inner)) | braced("[", "]", listed)


values = st.recursive(scalars, nested, max_leaves=6)
sections = member(braced("{", "}", member(values)), st.just("servers"))
others = member(values, keys.filter(lambda key: key != "servers"))
objects = braced("{", "}", others | sections)
documents = st.tuples(st.sampled_from(["", "\ufeff"]), blanks, objects, blanks).map("".join).map(str.encode)
comments = st.tuples(st.sampled_from(["", "\ufeff"]), blanks).map("".join).map(str.encode)


@given(documents)
def test_what_was_put_in_leaves_no_byte_behind(text: bytes) -> None:
    assert take(put(text)) == text


@given(documents)
def test_what_is_put_in_is_all_that_is_new(text: bytes) -> None:
    before, after = decoded(text), decoded(put(text))
    assert after["servers"].pop("broker") == ENTRY
    assert after == {**before, "servers": before.get("servers", {})}


@given(documents, st.sampled_from(["a", "ü"]))
def test_another_member_put_in_after_it_stays_when_it_leaves(text: bytes, name: str) -> None:
    both = jsontext.put(put(text), "servers", f"new {name}", {"command": name})
    rest = take(both)
    assert rest is not None
    wanted = decoded(both)
    del wanted["servers"]["broker"]
    assert decoded(rest) == wanted


@given(comments)
def test_a_file_without_a_value_comes_back_as_it_was(text: bytes) -> None:
    assert decoded(put(text)) == {"servers": {"broker": ENTRY}}
    assert take(put(text)) == text


def test_a_file_that_was_made_is_gone_with_its_only_member() -> None:
    made = put(None)
    assert made.decode() == (
        '{\n  "servers": {\n    "broker": {\n      "command": "broker",\n      "args": ["mcp"]\n    }\n  }\n}\n'
    )
    assert take(made) is None


def test_a_file_that_was_made_stays_for_what_somebody_added() -> None:
    assert take(put(None).replace(b"{\n", b'{\n  "mine": 1,\n', 1)) == b'{\n  "mine": 1\n}\n'


def test_a_member_is_laid_out_like_its_neighbours() -> None:
    text = b'{\r\n\t"servers": {\r\n\t\t"x": {}, // mine\r\n\t\t// nobody\'s\r\n\t}\r\n}'
    added = b'\t\t"broker": {\r\n\t\t\t"command": "broker",\r\n\t\t\t"args": ["mcp"]\r\n\t\t},\r\n'
    assert put(text) == text.replace(b"\t\t// nobody", added + b"\t\t// nobody")


def test_a_tight_text_stays_tight() -> None:
    assert put(b'{"servers":{"x":{}}}') == b'{"servers":{"x":{},"broker":{ "command":"broker","args":["mcp"] }}}'


def test_an_empty_section_stays_when_its_only_member_leaves() -> None:
    assert take(put(b'{"servers": {}}')) == b'{"servers": {}}'


def test_a_member_in_the_middle_takes_its_own_comma_along() -> None:
    assert take(b'{"servers": {"a": 1, "broker": {}, "b": 2}}') == b'{"servers": {"a": 1, "b": 2}}'


def test_a_comment_to_the_end_of_the_line_does_not_swallow_what_follows() -> None:
    rest = take(b'{"servers": {\n "a": 1, // one\n "broker": {} }}')
    assert rest is not None
    assert decoded(rest) == {"servers": {"a": 1}}


def test_a_member_that_comes_twice_leaves_twice() -> None:
    assert take(b'{"servers": {"broker": 1, "a": 2, "broker": 3}}') == b'{"servers": { "a": 2}}'


@pytest.mark.parametrize("text", [b"{}", b'{"servers": {}}', b'{"servers": 1}', b""])
def test_what_is_not_there_cannot_be_taken(text: bytes) -> None:
    assert take(text) == text


def test_another_value_takes_the_place_of_the_old_one() -> None:
    text = BOM + b'{"servers": {"broker": {"command": "x"}, /* y */ "z": 1}}'
    swapped = jsontext.swap(text, "servers", "broker", {"command": "b"})
    assert swapped == BOM + b'{"servers": {"broker": { "command": "b" }, /* y */ "z": 1}}'


def test_a_large_file_takes_no_noticeable_time() -> None:
    text = b'{"history": [' + b'{"a": "b\\"c", "d": [1, 2]}, ' * 40_000 + b"1]}"
    assert take(put(text)) == text
