"""A tool's structured output, for clients of before 2026-07-28, who know only objects (MCP SEP-2106).

Any other value is wrapped, `{"result": value}`, and so is its schema. The shapes are those of the official TypeScript
SDK, so a server of both eras that wraps by itself and one that is wrapped here look the same.
"""

from __future__ import annotations

from typing import Any, cast

import msgspec
from msgspec import Raw

_DATA = frozenset({"const", "enum", "default", "examples"})  # hold values, and no schemas
_NAMES = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies"})
_ROOT = "#/properties/result"
Schema = dict[str, Any]


def is_object(schema: Any) -> bool:
    """Whether a legacy client takes it for an output schema."""
    return isinstance(schema, dict) and cast("Schema", schema).get("type") == "object"


def is_wrapped(schema: Any) -> bool:
    """Whether it is the schema of a wrapped value."""
    if not is_object(schema):
        return False
    properties = schema.get("properties")
    return schema.get("required") == ["result"] and isinstance(properties, dict) and [*properties] == ["result"]


def is_plain(schema: Any) -> bool:
    """Whether objects that come with it need no wrapping; None: there is no schema."""
    return schema is None or (is_object(schema) and not is_wrapped(schema))


def wrapped_schema(schema: Any) -> Schema:
    """The schema of a wrapped value. References into the schema itself are moved along."""
    natural = cast("Schema", schema) if isinstance(schema, dict) else {}
    dialect = {"$schema": natural["$schema"]} if isinstance(natural.get("$schema"), str) else {}
    return {**dialect, "type": "object", "properties": {"result": _moved(schema, False)}, "required": ["result"]}


def wrapped_value(value: Raw, schema: Any) -> Raw | None:
    """The wrapped value of a tool that shows `schema` (in any era's form); None when it has to stay as it is."""
    held = _members(value)
    if held is not None:
        if is_plain(schema):
            return None
        if [*held] == ["result"] or (is_object(schema) and "result" in held):
            return None  # its server wrapped it
    return Raw(b'{"result":%b}' % memoryview(value))


def _members(value: Raw) -> dict[str, Raw] | None:
    try:
        return msgspec.json.decode(value, type=dict[str, Raw])
    except msgspec.MsgspecError:
        return None


def _moved(node: Any, names: bool) -> Any:
    """A part of the schema; `names`: its keys are names of the author's, not words of JSON Schema."""
    if isinstance(node, list):
        return [_moved(each, False) for each in cast("list[Any]", node)]
    if not isinstance(node, dict):
        return node
    held = cast("Schema", node)
    if names:
        return {key: _moved(value, False) for key, value in held.items()}
    if _has_base(held.get("$id")):
        return held  # its references lead into itself, wherever it stands
    return {key: _keyword(key, value) for key, value in held.items()}


def _keyword(key: str, value: Any) -> Any:
    if key in ("$ref", "$dynamicRef") and isinstance(value, str):
        return _ROOT + value[1:] if value == "#" or value.startswith("#/") else value
    return value if key in _DATA else _moved(value, key in _NAMES)


def _has_base(id: Any) -> bool:
    """Whether a `$id` makes references start at it; one that is only a fragment does not."""
    return isinstance(id, str) and not id.startswith("#")
