"""Arguments against the JSON Schema of a tool, before a guest sees them.

A validator of our own, because the schema comes from the guest: the libraries turn schemas into Python code, fetch what
`$ref` names, or run patterns that never end. Here a schema is only read.

Rule 1: what is not known here (`pattern`, `format`, `$ref` to elsewhere, ...) is not checked; the guest sees it anyway.
Rule 2: nothing takes longer than the size of the schema times that of the arguments, and both are bounded.
Rule 3: what has a `default` in the outermost `properties` and is not given is added.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import msgspec
from msgspec import UNSET, UnsetType

from broker.errors import BadArguments

DEPTH = 32  # of a schema; deeper parts are not checked
STEPS = 200_000  # places of the arguments held against places of the schema; about 50 ms

_encode = msgspec.json.Encoder().encode
_Table = Mapping[str, Any]
_PLAIN: dict[str, Any] = {
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": float,
    "null": None,
    "object": dict,
    "array": list,
}
_WORDS = frozenset({"title", "description", "examples", "$schema", "default"})  # they ask for nothing


class Checker:
    """`checked` for one schema, many times. Where the schema is plain, one look says that arguments agree."""

    def __init__(self, schema: _Table) -> None:
        self._schema = schema
        shape = _shape(schema)
        self._look = None if shape is None else msgspec.json.Decoder(shape).decode

    def __call__(self, arguments: bytes) -> bytes:
        if self._look is not None:
            try:
                self._look(arguments)
            except (msgspec.MsgspecError, ValueError):  # a default is missing, or `checked` says it better
                return checked(self._schema, arguments)
            return arguments
        return checked(self._schema, arguments)


def _shape(schema: _Table) -> Any:
    """A type that takes only what agrees with `schema` and lacks no default; None if the schema asks for more."""
    known, required = _table(schema.get("properties")), _list(schema.get("required"))
    more = schema.get("additionalProperties", True)
    plain = schema.keys() <= _WORDS | {"type", "properties", "required", "additionalProperties"}
    if not plain or schema.get("type") != "object" or more not in (True, False) or not {*required} <= known.keys():
        return None
    kinds = {key: kind for key, part in known.items() if (kind := _kind(part)) is not None}
    if len(kinds) < len(known):
        return None
    fields: list[Any] = []
    for number, (key, kind) in enumerate(kinds.items()):
        needed = key in required or "default" in known[key]
        fields.append((f"a{number}", kind[0] if needed else kind[0] | UnsetType, *(() if needed else (UNSET,))))
    names = {f"a{number}": key for number, key in enumerate(kinds)}
    return msgspec.defstruct("Arguments", fields, kw_only=True, rename=names, forbid_unknown_fields=more is False)


def _kind(part: object) -> tuple[Any] | None:
    """The type of one plain argument."""
    rules, items = _table(part), Any
    if "items" in rules and rules.get("type") == "array":
        inner = _kind(rules["items"]) if "default" not in _table(rules["items"]) else None
        if inner is None:
            return None
        items, rules = inner[0], {key: each for key, each in rules.items() if key != "items"}
    if part is True or (isinstance(part, dict) and rules.keys() <= _WORDS):
        return (Any,)
    if not rules.keys() <= _WORDS | {"type"} or not isinstance(rules.get("type"), str):
        return None
    kind = _PLAIN.get(rules["type"])
    return (list[items],) if kind is list else (kind,) if rules["type"] in _PLAIN else None


def checked(schema: Mapping[str, object], arguments: bytes) -> bytes:
    """The arguments with the schema's defaults. Raises `BadArguments` that says where they do not agree with it."""
    try:
        value = msgspec.json.decode(arguments)
    except msgspec.MsgspecError as error:
        raise BadArguments(f"they are no JSON: {error}") from None
    if not isinstance(value, dict):
        raise BadArguments("they must be an object")
    given = cast(dict[str, Any], value)
    missing = {key: default for key, default in _defaults(schema) if key not in given}
    given |= missing
    _Check().value(schema, given, "", 0)
    return _encode(given) if missing else arguments


def _defaults(schema: _Table) -> list[tuple[str, Any]]:
    found = _table(schema.get("properties"))
    return [(key, part["default"]) for key, part in found.items() if isinstance(part, dict) and "default" in part]


def _table(value: object) -> dict[str, Any]:
    return cast(dict[str, Any], value) if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return cast(list[Any], value) if isinstance(value, list) else []


class _Check:
    """One comparison, with what it may still cost."""

    def __init__(self) -> None:
        self._left = STEPS

    def value(self, schema: object, value: Any, at: str, depth: int) -> None:
        """Raises `BadArguments` if `value`, found at `at`, does not agree."""
        self._left -= 1
        if self._left < 0:
            raise BadArguments("they are too large to be held against the schema")
        if schema is False:
            raise BadArguments(f"{at or 'they'} must not be given")
        rules = _table(schema)
        if depth > DEPTH or not rules:
            return
        if "type" in rules:
            _type(rules, value, at)
        if not _CHOOSING.isdisjoint(rules):
            _choice(rules, value, at)
        if not _BOUNDING.isdisjoint(rules):
            _bounds(rules, value, at)
        if isinstance(value, dict):
            self._object(rules, cast(dict[str, Any], value), at, depth)
        if isinstance(value, list):
            self._array(rules, cast(list[Any], value), at, depth)
        if not _COMBINING.isdisjoint(rules):
            self._combined(rules, value, at, depth)

    def _object(self, rules: _Table, value: dict[str, Any], at: str, depth: int) -> None:
        for key in _list(rules.get("required")):
            if key not in value:
                raise BadArguments(f"{_under(at, str(key))} is missing")
        known, others = _table(rules.get("properties")), rules.get("additionalProperties", True)
        for key, each in value.items():
            if key not in known and others is False and "patternProperties" not in rules:
                raise BadArguments(f"{_under(at, key)} is not known; known are {', '.join(known) or 'none'}")
            self.value(known.get(key, others), each, _under(at, key), depth + 1)

    def _array(self, rules: _Table, value: list[Any], at: str, depth: int) -> None:
        first = _list(rules.get("prefixItems"))
        for index, each in enumerate(value):
            rule = first[index] if index < len(first) else rules.get("items", True)
            self.value(rule, each, f"{at}[{index}]", depth + 1)

    def _combined(self, rules: _Table, value: Any, at: str, depth: int) -> None:
        for part in _list(rules.get("allOf")):
            self.value(part, value, at, depth + 1)
        for key in ("anyOf", "oneOf"):
            parts = _list(rules.get(key))
            matching = sum(self._agrees(part, value, depth) for part in parts)
            if parts and (not matching or (key == "oneOf" and matching > 1)):
                raise BadArguments(
                    f"{at or 'they'} must agree with {'one' if key == 'oneOf' else 'any'} of the schemas"
                )
        if "not" in rules and self._agrees(rules["not"], value, depth):
            raise BadArguments(f"{at or 'they'} must not be that")

    def _agrees(self, schema: object, value: Any, depth: int) -> bool:
        try:
            self.value(schema, value, "", depth + 1)
        except BadArguments:
            if self._left < 0:
                raise
            return False
        return True


def _under(at: str, key: str) -> str:
    return f"{at}.{key}"[:200] if at else f"`{key[:100]}`"


_IS: dict[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "integer": lambda value: not isinstance(value, bool) and isinstance(value, int | float) and value == value // 1,
}


def _type(rules: _Table, value: Any, at: str) -> None:
    wanted = rules.get("type")
    names = [wanted] if isinstance(wanted, str) else _list(wanted)
    if names and not any(name in _IS and _IS[name](value) for name in names):
        raise BadArguments(f"{at or 'they'} must be {' or '.join(map(str, names))}")


def _choice(rules: _Table, value: Any, at: str) -> None:
    # In JSON true is not 1, in Python it is.
    allowed = _list(rules.get("enum"))
    if "const" in rules:
        allowed = [rules["const"]]
    if ("enum" in rules or "const" in rules) and not any(
        each == value and isinstance(each, bool) == isinstance(value, bool) for each in allowed
    ):
        raise BadArguments(f"{at or 'they'} must be one of {_encode(allowed).decode()[:300]}")


_BOUNDS: tuple[tuple[str, Callable[[Any], bool], Callable[[Any, Any], bool], str], ...] = (
    ("minimum", _IS["number"], lambda value, bound: value >= bound, "at least {}"),
    ("maximum", _IS["number"], lambda value, bound: value <= bound, "at most {}"),
    ("exclusiveMinimum", _IS["number"], lambda value, bound: value > bound, "more than {}"),
    ("exclusiveMaximum", _IS["number"], lambda value, bound: value < bound, "less than {}"),
    ("minLength", _IS["string"], lambda value, bound: len(value) >= bound, "at least {} characters"),
    ("maxLength", _IS["string"], lambda value, bound: len(value) <= bound, "at most {} characters"),
    ("minItems", _IS["array"], lambda value, bound: len(value) >= bound, "at least {} items"),
    ("maxItems", _IS["array"], lambda value, bound: len(value) <= bound, "at most {} items"),
)


_BOUNDING = frozenset(name for name, *_ in _BOUNDS)
_CHOOSING = frozenset(("enum", "const"))
_COMBINING = frozenset(("allOf", "anyOf", "oneOf", "not"))


def _bounds(rules: _Table, value: Any, at: str) -> None:
    for name, concerns, holds, words in _BOUNDS:
        bound = rules.get(name)
        if bound is not None and _IS["number"](bound) and concerns(value) and not holds(value, bound):
            raise BadArguments(f"{at or 'they'} must be {words.format(bound)}")
