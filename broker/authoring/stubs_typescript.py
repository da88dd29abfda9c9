"""The operations of the host as types of TypeScript: an interface for each shape, and one that names them all."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

_Schema = Mapping[str, Any]
_WORDS = {"string": "string", "number": "number", "integer": "number", "boolean": "boolean", "null": "null"}
_HEAD = """\
// Written by `python -m broker.authoring.stubs` from the table of operations (`broker/core/host.json`).

"""
_TAIL = """
/** The name of an operation. */
export type Operation = keyof Operations;
/** What an operation is given. */
export type ParamsOf<O extends Operation> = Operations[O]["params"];
/** What an operation gives back. */
export type ResultOf<O extends Operation> = Operations[O]["result"];
"""


def text(table: _Schema) -> str:
    """The whole file."""
    shapes = "\n".join(line for name, shape in table["$defs"].items() for line in _interface(name, shape))
    return f"{_HEAD}{shapes}\n{chr(10).join(_operations(table['operations']))}\n{_TAIL}"


def _interface(name: str, shape: _Schema) -> Iterator[str]:
    if "description" in shape:
        yield f"/** {shape['description']} */"
    members = [line for each in _members(shape) for line in each]
    if not members:
        yield f"export type {name} = Record<string, never>;\n"
        return
    yield f"export interface {name} {{"
    yield from (f"  {line}" for line in members)
    yield "}\n"


def _members(shape: _Schema) -> Iterator[list[str]]:
    sure = shape.get("required", ())
    for key, part in shape["properties"].items():
        bounds = said(part, json.dumps)
        note = [f"// {bounds}"] if bounds else []  # not for editors: what is published is to stay small
        yield [*note, f"{key}{'' if key in sure else '?'}: {kind(part)};"]


def _operations(operations: _Schema) -> Iterator[str]:
    yield "/** Each operation of the host: what it is given, and what it gives back. */"
    yield "export interface Operations {"
    for name, each in operations.items():
        needs = f" Needs `{each['permission']}`." if each["permission"] else ""
        yield f"  /** {each['description']}{needs} */"
        yield f'  "{name}": {{ params: {kind(each["params"])}; result: {kind(each["result"])} }};'
    yield "}"


def kind(part: _Schema) -> str:
    """A type as TypeScript writes it."""
    if "$ref" in part:
        return str(part["$ref"]).removeprefix("#/$defs/")
    if "enum" in part:
        return " | ".join(json.dumps(each) for each in part["enum"])
    if "anyOf" in part:
        return " | ".join(dict.fromkeys(kind(each) for each in part["anyOf"]))
    match part.get("type"):
        case "array":
            item = kind(part.get("items", {}))
            return f"({item})[]" if " | " in item else f"{item}[]"
        case "object":
            more = part.get("additionalProperties")
            return f"Record<string, {kind(more) if more else 'unknown'}>"
        case str(word):
            return _WORDS[word]
        case _:
            return "unknown"


def said(part: _Schema, literal: Any) -> str:
    """The bounds of a value and what it is when unsaid, in words; `literal` writes a value in the language."""
    inner = next((each for each in part.get("anyOf", ()) if each.get("type") != "null"), part)
    words: list[str] = []
    for key, phrase in _BOUNDS.items():
        if key in inner:
            words.append(phrase.format(inner[key]))
    default = part.get("default")
    if default not in (None, "", [], {}):
        words.append(f"{literal(default)} if unsaid")
    return "; ".join(words)


_BOUNDS = {
    "pattern": "like {}",
    "maxLength": "at most {} characters",
    "maxItems": "at most {} of them",
    "maxProperties": "at most {} of them",
    "minimum": "from {}",
    "exclusiveMinimum": "more than {}",
    "maximum": "up to {}",
}
