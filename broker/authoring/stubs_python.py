"""The operations of the host as types of Python: a TypedDict for each shape, and the overloads of a request."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import wrap
from typing import Any

from broker.authoring.stubs_typescript import said
from broker.confine.tree import output_of

_Schema = Mapping[str, Any]
_WORDS = {"string": "str", "number": "float", "integer": "int", "boolean": "bool", "null": "None"}
_HEAD = '''\
"""What broker's operations are given and give back: types alone, which nothing needs at run time.

Written by `python -m broker.authoring.stubs` from the table of operations (`broker/core/host.json`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Literal, Protocol, TypedDict, overload

'''
_REQUEST = '''
class Request(Protocol):
    """`ctx.host.request`, by operation."""
'''


def text(table: _Schema) -> str:
    """The whole file, laid out by ruff, which every checkout has."""
    shapes = "\n".join(line for name in _ordered(table) for line in _class(name, table["$defs"][name]))
    requests = "\n".join(line for name, each in table["operations"].items() for line in _overload(name, each, table))
    loose = f"{_HEAD}\n{shapes}{_REQUEST}\n{requests}"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "operations.py")
        file.write_text(loose)
        output_of([sys.executable, "-m", "ruff", "format", "--line-length", "120", str(file)], timeout=60)
        return file.read_text()


def _ordered(table: _Schema) -> Iterator[str]:
    """The shapes that a value can have: of results, and within params; whatever they contain first."""
    seen: dict[str, None] = {}

    def see(part: _Schema, inner: bool) -> None:
        name = str(part.get("$ref", "")).removeprefix("#/$defs/")
        for each in _parts(table["$defs"][name] if name else part):
            see(each, True)
        if name and inner:
            seen[name] = None

    for each in table["operations"].values():
        see(each["params"], False)
        see(each["result"], True)
    yield from seen


def _parts(part: _Schema) -> list[_Schema]:
    """The schemas right within one."""
    found = [*part.get("properties", {}).values(), *part.get("anyOf", ())]
    return found + [part[key] for key in ("items", "additionalProperties") if part.get(key)]


def _class(name: str, shape: _Schema) -> Iterator[str]:
    sure = set(shape.get("required", ()))
    parts = shape["properties"]
    optional = {key: part for key, part in parts.items() if key not in sure}
    doc = [f'    """{shape["description"]}"""', ""] if "description" in shape else []
    if not optional:
        yield from (f"class {name}(TypedDict):", *doc, *_fields(parts), "", "")
        return
    yield from (f"class _{name}(TypedDict):", *_fields({key: parts[key] for key in parts if key in sure}), "", "")
    yield from (f"class {name}(_{name}, total=False):", *doc, *_fields(optional), "", "")


def _fields(parts: _Schema) -> Iterator[str]:
    for key, part in parts.items():
        bounds = said(part, _literal)
        yield f"    {key}: {kind(part, False)}{f'  # {bounds}' if bounds else ''}"


def _literal(value: Any) -> str:
    return json.dumps(value) if isinstance(value, str) else repr(value)


def _overload(name: str, each: _Schema, table: _Schema) -> Iterator[str]:
    shape = table["$defs"][each["params"]["$ref"].removeprefix("#/$defs/")]
    sure = shape.get("required", ())
    parts = shape["properties"].items()
    params = [f"{key}: {kind(part, True)}{'' if key in sure else ' = ...'}" for key, part in parts]
    given = ", ".join(["self", f'operation: Literal["{name}"]', "/", *(["*"] if params else []), *params])
    needs = f" Needs `{each['permission']}`." if each["permission"] else ""
    yield "    @overload"
    yield f"    def __call__({given}) -> Awaitable[{kind(each['result'], False)}]:"
    yield "\n".join(wrap(f'"""{each["description"]}{needs}"""', 110, initial_indent=" " * 8, subsequent_indent=" " * 8))
    yield "        ...\n"


def kind(part: _Schema, given: bool) -> str:
    """A type as Python writes it; of what is `given` to the host, any sequence or mapping will do."""
    if "$ref" in part:
        return str(part["$ref"]).removeprefix("#/$defs/")
    if "enum" in part:
        return f"Literal[{', '.join(json.dumps(each) for each in part['enum'])}]"
    if "anyOf" in part:
        return " | ".join(dict.fromkeys(kind(each, given) for each in part["anyOf"]))
    match part.get("type"):
        case "array":
            return f"{'Sequence' if given else 'list'}[{kind(part.get('items', {}), given)}]"
        case "object":
            more = part.get("additionalProperties")
            return f"{'Mapping' if given else 'dict'}[str, {kind(more, given) if more else 'Any'}]"
        case str(word):
            return _WORDS[word]
        case _:
            return "Any"
