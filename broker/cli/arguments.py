"""`key=value` words as the arguments of a tool, by the types its inputSchema declares.

Rule 1: text stays text wherever the schema takes a string; nothing is guessed then.
Rule 2: a key the schema does not know and a required one that is missing are told before anything starts.
Rule 3: a schema that cannot be judged here (combined, or open) lets all keys through: the server judges.
"""

from __future__ import annotations

import difflib
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from broker.core.shape import table
from broker.errors import BadArguments

Schema = Mapping[str, Any]
_COMBINED = ("anyOf", "oneOf", "allOf", "$ref", "if", "patternProperties")
_WORDS: dict[str, tuple[type, ...]] = {
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
    "array": (list,),
    "object": (dict,),
}
_EXAMPLES = {
    "integer": "a whole number such as 5",
    "number": "a number such as 1.5",
    "boolean": "true or false",
    "null": "null",
    "array": 'a JSON array such as ["a", "b"]',
    "object": 'a JSON object such as {"a": 1}',
}


def arguments(schema: Schema, words: Sequence[str], given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call: `given` (from JSON), then the `key=value` words. Raises `BadArguments`."""
    found = dict(given)
    properties = table(schema.get("properties")) or {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not key:
            raise _bad(f"{word!r} is not of the form key=value")
        if key in found:
            raise _bad(f"`{key}` is given twice", 'Write several values as a JSON array: key=\'["a", "b"]\'.')
        found[key] = convert(key, text, types(properties.get(key, {}), schema))
    _check_keys(schema, properties, found)
    return found


def convert(key: str, text: str, allowed: frozenset[str]) -> Any:
    """The value that `text` means where a value of these types is allowed (none: any)."""
    if "string" in allowed:
        return text
    value = _json(text)
    if not allowed:
        return text if value is _NOT_JSON else value
    if any(_is(kind, value) for kind in allowed):
        return int(value) if "integer" in allowed and isinstance(value, float) else value
    wanted = " or ".join(_EXAMPLES.get(kind, kind) for kind in sorted(allowed))
    raise _bad(f"`{key}` must be {wanted}, not {text!r}")


def types(schema: object, root: Schema) -> frozenset[str]:
    """The JSON types a schema allows; empty where it does not say."""
    return _types(schema, root, 8)


def array(value: object) -> list[Any]:
    """`value` if it is an array: a server may have written anything."""
    return value if isinstance(value, list) else []  # pyright: ignore[reportUnknownVariableType]


def read(text: str | None) -> dict[str, Any]:
    """The arguments as one JSON object, also in `@FILE` or on standard input (`-`). Raises `BadArguments`."""
    if text is None:
        return {}
    if text == "-":
        return _parsed(sys.stdin.buffer.read(), "standard input")
    if not text.startswith("@"):
        return _parsed(text, "--json")
    try:
        return _parsed(Path(text[1:]).read_bytes(), text[1:])
    except OSError as error:
        raise _bad(f"--json {text} cannot be read: {error.strerror}", "Check the path.") from None


def _parsed(text: str | bytes, where: str) -> dict[str, Any]:
    try:
        found = table(json.loads(text, parse_constant=_refuse))
    except (ValueError, RecursionError) as error:
        raise _bad(f"{where} is not JSON: {error}", "Write an object such as '{\"key\": 1}'.") from None
    if found is None:
        raise _bad(f"{where} must be a JSON object", "Write an object such as '{\"key\": 1}'.")
    return dict(found)


def _types(schema: object, root: Schema, depth: int) -> frozenset[str]:
    held = table(schema)
    if held is None or depth == 0:
        return frozenset()
    if "type" in held:
        return frozenset(map(str, array(held["type"]) or [held["type"]]))
    if "$ref" in held:
        return _types(_referred(str(held["$ref"]), root), root, depth - 1)
    if "const" in held or "enum" in held:
        return frozenset(map(_kind, array(held.get("enum")) or [held.get("const")]))
    parts = [_types(each, root, depth - 1) for key in ("anyOf", "oneOf") for each in array(held.get(key))]
    return frozenset[str]().union(*parts) if all(parts) else frozenset()


def _referred(ref: str, root: Schema) -> object:
    found: object = root if ref.startswith("#/") else None
    for part in ref[2:].split("/"):
        found = (table(found) or {}).get(part)
    return found


def _kind(value: Any) -> str:
    if isinstance(value, str):
        return "string"
    return next((kind for kind in _WORDS if _is(kind, value)), "string")


def _is(kind: str, value: Any) -> bool:
    if isinstance(value, bool) or kind == "boolean":
        return kind == "boolean" and isinstance(value, bool)
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _WORDS.get(kind, ()))


def _check_keys(schema: Schema, properties: Schema, found: Mapping[str, Any]) -> None:
    takes = f"It takes {', '.join(sorted(properties)) or 'no arguments'}."
    for key in found:
        if key not in properties and _closed(schema):
            near = difflib.get_close_matches(key, list(properties), 1)
            suggestion = f"; did you mean `{near[0]}`?" if near else ""
            raise _bad(f"the tool has no argument `{key}`{suggestion}", takes)
    missing = [f"`{key}`" for key in array(schema.get("required")) if key not in found]
    if missing:
        raise _bad(f"the tool needs {', '.join(missing)}", takes)


def _closed(schema: Schema) -> bool:
    """Whether keys it does not name are a mistake."""
    return not any(key in schema for key in _COMBINED) and not schema.get("additionalProperties")


_NOT_JSON = object()


def _json(text: str) -> Any:
    try:
        value = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return _NOT_JSON
    return _NOT_JSON if isinstance(value, float) and not math.isfinite(value) else value


def _refuse(word: str) -> Any:
    raise ValueError(f"{word} is no JSON")


def _bad(what: str, hint: str = "Run `broker tools NAME` to see the arguments of a tool.") -> BadArguments:
    return BadArguments(what, hint=hint)
