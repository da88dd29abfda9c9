"""The definition file for editors of Lua plugins (LuaLS): what is written by hand, then every operation by the table.

`python -m broker.runtimes.lua_meta` writes `lua/broker.d.lua` anew after the table of operations changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from broker.core.hosttable import schema

FILE = Path(__file__).with_name("lua") / "broker.d.lua"
MARK = "-- What follows is written by `python -m broker.runtimes.lua_meta`.\n"
_WORDS = {"string": "string", "number": "number", "integer": "integer", "boolean": "boolean", "null": "nil"}

_Schema = Mapping[str, Any]


def text(written: str) -> str:
    """The whole file, of which `written` is the hand-written part, with or without the rest."""
    head, _, _ = written.partition(MARK)
    return "\n".join([head + MARK, *_operations(schema())])


def _operations(table: _Schema) -> Iterator[str]:
    calls: list[str] = []
    for name, each in table["operations"].items():
        title = f"broker.op.{name}"
        yield from _class(title, _resolved(each["params"], table), table)
        permission = f" Needs `{each['permission']}`." if each["permission"] else ""
        calls.append(f'---@overload fun(op: "{name}", params: {title}): {_kind(each["result"], table)}')
        calls.append(f"---`{name}`: {each['description']}{permission}")
    yield "---Asks the host to do something; throws when it refuses or fails. By operation:"
    yield "---"
    yield from (line for line in calls if line.startswith("---`"))
    yield from (line for line in calls if line.startswith("---@"))
    yield "---@param op string"
    yield "---@param params table?"
    yield "---@return any"
    yield "function broker.call(op, params) end\n"


def _class(title: str, shape: _Schema, table: _Schema) -> Iterator[str]:
    yield f"---@class {title}"
    required = shape.get("required", ())
    for key, part in shape.get("properties", {}).items():
        optional = "" if key in required else "?"
        yield f"---@field {key}{optional} {_kind(part, table)}{_default(part)}"
    yield ""


def _default(part: _Schema) -> str:
    value = part.get("default")
    if value is None or value == "" or isinstance(value, list | dict):
        return ""
    return f" # {str(value).lower() if isinstance(value, bool) else value} if unsaid"


def _kind(part: _Schema, table: _Schema) -> str:
    """A type as LuaLS writes it."""
    part = _resolved(part, table)
    if "enum" in part:
        return "|".join(f'"{each}"' for each in part["enum"])
    if "anyOf" in part:
        return "|".join(dict.fromkeys(_kind(each, table) for each in part["anyOf"]))
    match part.get("type"):
        case "array":
            return f"{_kind(part.get('items', {}), table)}[]"
        case "object" if "properties" in part:
            sure = part.get("required", ())
            marked = {key if key in sure else f"{key}?": each for key, each in part["properties"].items()}
            members = (f"{key}: {_kind(each, table)}" for key, each in marked.items())
            return f"{{ {', '.join(members)} }}"
        case "object":
            more: Any = part.get("additionalProperties")
            return f"table<string, {_kind(cast(_Schema, more), table) if isinstance(more, dict) else 'any'}>"
        case str(word):
            return _WORDS[word]
        case _:
            return "any"


def _resolved(part: _Schema, table: _Schema) -> _Schema:
    name = part.get("$ref", "").removeprefix("#/$defs/")
    return table["$defs"][name] if name else part


if __name__ == "__main__":
    FILE.write_text(text(FILE.read_text()))
