"""A page of the documentation for each operation of the host, made of the table of operations and an example each."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from textwrap import indent
from typing import Any

import msgspec
from msgspec import Struct

from broker.authoring.stubs_typescript import said
from broker.core.hosttable import schema
from tests.docs.literals import LUA, PYTHON, TYPESCRIPT, WIDTH
from tests.servers import ROOT

SOURCE = ROOT / "broker" / "docs" / "operations.toml"
_KINDS = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "null": "null",
    "object": "object",
}
_GROUPS = {
    "The person in front": ("toast", "ask", "pick", "input", "confirm", "show", "register_command"),
    "How it goes": ("log", "progress", "progress.begin", "progress.report", "progress.end", "set_status"),
    "What is kept": (
        *("config.get", "config.set", "state.get", "state.set"),
        *("secrets.get", "secrets.set", "secrets.delete"),
    ),
    "The editor": ("editor.active", "editor.read", "editor.edit", "editor.diagnostics", "events.subscribe"),
    "The rest of the world": ("fs.read", "fs.write", "http.fetch", "exec", "call"),
}

_Schema = Mapping[str, Any]


class Example(Struct, forbid_unknown_fields=True, kw_only=True):
    """One use of an operation. The languages have what is shorter there; empty: nothing is."""

    params: dict[str, Any]
    result: Any = None
    say: str = ""
    declared: bool = False  # the shorter ways are lines of the plugin's file, not of a function
    within: str = "command"  # what the function is that the Python lines stand in: `command` or `tool`
    python: str = ""
    typescript: str = ""
    lua: str = ""


class Tab(Struct):
    """One language of a page. `long` is what every operation has, `short` a better way for this one, or empty."""

    title: str
    fence: str
    long: str
    short: str


def examples() -> dict[str, Example]:
    """By operation. Raises `msgspec.ValidationError`."""
    return msgspec.convert(tomllib.loads(SOURCE.read_text("utf-8")), dict[str, Example])


def names() -> list[str]:
    """All operations, by what they are about."""
    return [name for group in _GROUPS.values() for name in group]


def pages() -> dict[str, str]:
    """By file name."""
    table, given = schema(), examples()
    made = {f"{name}.md": _page(name, table, given[name]) for name in table["operations"]}
    return {"index.md": _index(table), **made}


def tabs(name: str, example: Example) -> list[Tab]:
    """The same operation in each language."""
    params = example.params
    return [
        Tab("Python", "python", _python(name, params), example.python),
        Tab("TypeScript", "ts", _typescript(name, params), example.typescript),
        Tab("Lua", "lua", _lua(name, params), example.lua),
        Tab("WASM", "python", _wasm(name, params), _call("answer = call", name, params)),
    ]


def _index(table: _Schema) -> str:
    lines = ["# What a plugin may ask of broker", _INTRODUCTION]
    for title, names in _GROUPS.items():
        lines += [f"## {title}", "", "| operation | what it does | permission |", "|---|---|---|"]
        for name in names:
            each = table["operations"][name]
            needs = f"`{each['permission']}`" if each["permission"] else "none"
            lines.append(f"| [{name}]({name}.md) | {each['description']} | {needs} |")
        lines.append("")
    return "\n".join(lines)


_INTRODUCTION = """
A plugin gives tools, prompts and resources to a model by MCP. For everything else it asks broker, its **host**. These
are the operations of the host, the same in every language. Each needs a permission or none; what was not granted is
refused with the error [permission-missing](../errors.md#permission-missing).

In Python and TypeScript most of them have a method of `ctx`, in Lua a function of `broker`; each page shows both ways.
A WASM plugin has one import, `host.call`, which takes the name and the params as JSON.

Outside of broker, in any other MCP client, an SDK plugin still runs. Then messages go to the log, questions go to the
client, and what has no replacement raises `HostUnavailable`.

`broker schema host` prints the whole table as JSON Schema.
"""


def _page(name: str, table: _Schema, example: Example) -> str:
    each = table["operations"][name]
    parts = [f"# {name}", each["description"], example.say.strip(), "\n".join(_facts(each))]
    parts += _tabbed(name, example)
    parts += ["## What it takes", *_members(each["params"], table), "## What it gives back"]
    parts += [_fenced("json", msgspec.json.encode(example.result).decode()), *_members(each["result"], table)]
    parts += ["## Errors", ", ".join(f"[{code}](../errors.md#{code})" for code in each["codes"])]
    return "\n\n".join(part for part in parts if part) + "\n"


def _facts(each: _Schema) -> Iterator[str]:
    needs = f"`{each['permission']}`" if each["permission"] else "none"
    yield "| | |\n|---|---|"
    yield f"| permission | {needs} |"
    yield f"| how often | {each['atOnce']} at once, then {_often(each['perSecond'])} |"
    yield f"| in the audit | {'yes' if each['audited'] else 'no'} |"


def _often(rate: float) -> str:
    return f"{rate:g} a second" if rate >= 1 else f"one in {1 / rate:g} seconds"


def _tabbed(name: str, example: Example) -> Iterator[str]:
    for tab in tabs(name, example):
        code = f"{tab.short.strip()}\n\n{_OR[tab.title]}\n{tab.long}" if tab.short else tab.long
        yield f'=== "{tab.title}"\n\n{indent(_fenced(tab.fence, code), "    ")}'


_OR = {
    "Python": "# or",
    "TypeScript": "// or",
    "Lua": "-- or",
    "WASM": "# or, by the import `host.call` that every guest has",
}


def _fenced(fence: str, code: str) -> str:
    return f"```{fence}\n{code}\n```"


# The operation itself in each language


def _python(name: str, params: Mapping[str, Any]) -> str:
    return _call("await ctx.host.request", name, params)


def _call(head: str, name: str, params: Mapping[str, Any]) -> str:
    """A call of a function of Python's, with the params as keywords."""
    given = {f"{key}=": value for key, value in params.items()}
    words = ", ".join([PYTHON.write(name), *(PYTHON.write(value, key) for key, value in given.items())])
    line = f"{head}({words})"
    if len(line) <= WIDTH and "\n" not in line:
        return line
    return PYTHON.broken(head, ("(", ")"), {"": name, **given})


def _typescript(name: str, params: Mapping[str, Any]) -> str:
    return TYPESCRIPT.write(params, f"await ctx.host.request({TYPESCRIPT.write(name)}, ") + ");"


def _lua(name: str, params: Mapping[str, Any]) -> str:
    return LUA.write(params, f"broker.call({LUA.write(name)}, ") + ")"


def _wasm(name: str, params: Mapping[str, Any]) -> str:
    asked = f"answer = json.loads(host.call({PYTHON.write(name)}, json.dumps(params)))"
    return f"{PYTHON.write(params, 'params = ')}\n{asked}"


# Tables of what it takes and gives


def _members(shape: _Schema, table: _Schema) -> Iterator[str]:
    shape = _resolved(shape, table)
    if "anyOf" in shape:
        yield "Or null."
        shape = _resolved(shape["anyOf"][0], table)
    parts = shape.get("properties", {})
    if parts:
        sure = shape.get("required", ())
        rows = [
            f"| `{key}`{'' if key in sure else ' (optional)'} | {_kind(part, table)} | {_said(part)} |"
            for key, part in parts.items()
        ]
        yield "\n".join(["| | | |", "|---|---|---|", *rows])
        if any("range" in row for row in rows):
            yield _RANGE
    elif shape.get("type") == "object" and "title" in shape:
        yield "Nothing."


_RANGE = (
    "A range is `{ start, end }`, both `{ line, character }`, which count from 0; `end` is behind the last character."
)


def _said(part: _Schema) -> str:
    return re.sub(r"like (\S+)", r"like `\1`", said(part, _literal))


def _literal(value: Any) -> str:
    return f"`{msgspec.json.encode(value).decode()}`"


def _kind(part: _Schema, table: _Schema) -> str:
    if part.get("$ref") == "#/$defs/Range":
        return "range"
    part = _resolved(part, table)
    if "enum" in part:
        return ", ".join(f"`{each}`" for each in part["enum"])
    if "anyOf" in part:
        return " or ".join(dict.fromkeys(_kind(each, table) for each in part["anyOf"]))
    match part.get("type"):
        case "array":
            return f"list of {_kind(part.get('items', {}), table)}"
        case "object" if "properties" in part:
            return "{ " + ", ".join(f"{key}: {_kind(each, table)}" for key, each in part["properties"].items()) + " }"
        case "object" if isinstance(part.get("additionalProperties"), dict) and part["additionalProperties"]:
            return f"object of {_kind(part['additionalProperties'], table)}"
        case str(word):
            return _KINDS[word]
        case _:
            return "any JSON"


def _resolved(part: _Schema, table: _Schema) -> _Schema:
    name = part.get("$ref", "").removeprefix("#/$defs/")
    return table["$defs"][name] if name else part
