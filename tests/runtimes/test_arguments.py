"""What a guest's arguments are held against, and that no schema is more than read."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from broker.errors import BadArguments
from broker.runtimes.arguments import Checker, checked


def agrees(schema: dict[str, Any], value: Any) -> bool:
    try:
        checked({"type": "object", "properties": {"v": schema}}, json.dumps({"v": value}).encode())
    except BadArguments:
        return False
    return True


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"type": "string"}, "x", 1),
        ({"type": "integer"}, 1, 1.5),
        ({"type": "integer"}, 2.0, True),
        ({"type": "number"}, 1.5, "1"),
        ({"type": "boolean"}, False, 0),
        ({"type": "null"}, None, 0),
        ({"type": ["string", "null"]}, None, 1),
        ({"type": "array", "items": {"type": "string"}}, ["a"], ["a", 1]),
        ({"prefixItems": [{"type": "string"}], "items": False}, ["a"], ["a", 1]),
        ({"type": "object", "required": ["a"]}, {"a": 1}, {}),
        ({"properties": {"a": {}}, "additionalProperties": False}, {"a": 1}, {"b": 1}),
        ({"additionalProperties": {"type": "integer"}}, {"a": 1}, {"a": "x"}),
        ({"enum": ["a", 1]}, 1, True),
        ({"const": 0}, 0, False),
        ({"minimum": 1, "maximum": 2}, 2, 3),
        ({"exclusiveMinimum": 1}, 2, 1),
        ({"exclusiveMaximum": 1}, 0, 1),
        ({"minLength": 2}, "ab", "a"),
        ({"maxLength": 1}, "a", "ab"),
        ({"minItems": 1}, [1], []),
        ({"maxItems": 1}, [1], [1, 2]),
        ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, 1, 1.5),
        ({"oneOf": [{"type": "number"}, {"type": "integer"}]}, 1.5, 1),
        ({"allOf": [{"minimum": 1}, {"maximum": 2}]}, 1, 3),
        ({"not": {"type": "string"}}, 1, "x"),
    ],
)
def test_a_value_agrees_with_its_schema_or_not(schema: dict[str, Any], good: Any, bad: Any) -> None:
    assert agrees(schema, good)
    assert not agrees(schema, bad)


def test_what_is_wrong_is_said_with_its_place() -> None:
    schema = {"properties": {"a": {"properties": {"b": {"items": {"type": "string"}}}}}}
    with pytest.raises(BadArguments, match=r"`a`\.b\[1\] must be string"):
        checked(schema, b'{"a":{"b":["x",1]}}')


def test_defaults_are_added_and_nothing_else_changes() -> None:
    schema = {"properties": {"a": {"type": "integer", "default": 3}, "b": {}}}
    assert json.loads(checked(schema, b'{"b": 1}')) == {"a": 3, "b": 1}
    assert checked(schema, b'{"a": 1,  "b": 2}') == b'{"a": 1,  "b": 2}'


@pytest.mark.parametrize("arguments", [b"", b"[]", b"null", b"{", b'"x"', b"\xff"])
def test_what_is_no_object_is_refused(arguments: bytes) -> None:
    with pytest.raises(BadArguments):
        checked({}, arguments)


def test_a_schema_that_is_nonsense_hurts_nobody() -> None:
    for schema in ({"properties": 1}, {"required": "a"}, {"type": {}}, {"enum": 3}, {"minimum": "x"}, {"anyOf": 1}):
        checked(schema, b"{}") if "enum" not in schema else None


def test_a_schema_that_multiplies_is_given_up_on() -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(30):
        schema = {"anyOf": [schema, schema]}
    with pytest.raises(BadArguments, match="too large"):
        checked({"properties": {"a": schema}}, b'{"a": 1}')


PLAIN = {
    "type": "object",
    "properties": {
        "s": {"type": "string", "description": "d"},
        "n": {"type": "number"},
        "i": {"type": "integer", "default": 3},
        "b": {"type": "boolean"},
        "l": {"type": "array", "items": {"type": "string"}},
        "o": {"type": "object"},
        "x": {},
        "0": {"type": "null"},
    },
    "required": ["s"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("given", [
    {"s": "x"}, {"s": "x", "i": 1}, {"s": "x", "i": 1.0}, {"s": "x", "i": 1.5}, {"s": 1, "i": 1}, {"i": 1},
    {"s": "x", "i": 1, "n": 2}, {"s": "x", "i": 1, "n": True}, {"s": "x", "i": True}, {"s": "x", "i": 1, "b": 0},
    {"s": "x", "i": 1, "l": ["a"]}, {"s": "x", "i": 1, "l": [1]}, {"s": "x", "i": 1, "o": {"a": [1]}},
    {"s": "x", "i": 1, "o": []}, {"s": "x", "i": 1, "x": [None]}, {"s": "x", "i": 1, "y": 1}, [], "x", None,
    {"s": None, "i": 1}, {"s": "x", "i": 10**30}, {"s": "x", "i": 1, "0": None}, {"s": "x", "i": 1, "0": 0},
])  # fmt: skip
def test_the_short_way_says_the_same_as_the_long_one(given: object) -> None:
    arguments = json.dumps(given).encode()
    assert outcome(lambda: Checker(PLAIN)(arguments)) == outcome(lambda: checked(PLAIN, arguments))


def outcome(check: Callable[[], bytes]) -> object:
    try:
        return json.loads(check())
    except BadArguments as error:
        return str(error)


@pytest.mark.parametrize("rule", [
    {"type": "string", "minLength": 2}, {"type": ["string", "null"]}, {"enum": ["xy"]}, {"anyOf": [{"type": "number"}]},
    {"type": "array", "items": {"type": "integer", "minimum": 5}}, False, {"type": "no such type"},
    {"type": "string", "items": {"type": "integer"}}, {"items": {"type": "integer"}},
])  # fmt: skip
@pytest.mark.parametrize("given", ["x", "xy", [1], [6], [True], 7, None])
def test_what_is_not_plain_goes_the_long_way(rule: object, given: object) -> None:
    schema = {"type": "object", "properties": {"a": rule}, "required": ["a"]}
    arguments = json.dumps({"a": given}).encode()
    assert outcome(lambda: Checker(schema)(arguments)) == outcome(lambda: checked(schema, arguments))
