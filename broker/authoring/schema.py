"""Whether a JSON Schema is one, by the rules of draft 2020-12: each keyword has a value of its kind.

Rule 1: it is the meta-schema of 2020-12 as a table, and two things more that no author means: a `$ref` to a place in
        the schema that is not there, and lists where 2020-12 has one schema (`items` of older drafts).
Rule 2: keywords that it does not know are allowed, as in the meta-schema. Patterns are texts: their language is not
        Python's.
Rule 3: a schema that says it is of another draft is left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast
from urllib.parse import unquote

from broker.core.shape import table

DRAFT = "https://json-schema.org/draft/2020-12/schema"
DEEPEST = 64  # levels; a tool's arguments have under ten
TYPES = frozenset(("array", "boolean", "integer", "null", "number", "object", "string"))
_ONE = (
    *("additionalProperties", "contains", "contentSchema", "else", "if", "items", "not", "propertyNames", "then"),
    *("unevaluatedItems", "unevaluatedProperties"),
)
_SEVERAL = ("allOf", "anyOf", "oneOf", "prefixItems")
_NAMED = ("$defs", "definitions", "dependentSchemas", "patternProperties", "properties")
_COUNTS = ("maxContains", "maxItems", "maxLength", "maxProperties", "minContains", "minItems", "minLength")
_TEXTS = (
    *("$anchor", "$comment", "$dynamicAnchor", "$dynamicRef", "$id", "$ref", "$schema", "contentEncoding"),
    *("contentMediaType", "description", "format", "pattern", "title"),
)

Complaint = str
Schema = Mapping[str, object]


def complaints(schema: object) -> list[Complaint]:
    """What is wrong in a schema, each with the way to it; nothing for one of another draft."""
    held = table(schema)
    if held is not None and held.get("$schema", DRAFT) not in (DRAFT, f"{DRAFT}#"):
        return []
    return list(_of(schema, schema, "", 0))


def _of(schema: object, root: object, at: str, depth: int) -> Iterator[Complaint]:
    if isinstance(schema, bool):
        return
    held = table(schema)
    if held is None:
        yield _said(at, "must be a schema: an object, true or false")
        return
    if depth > DEEPEST:
        yield _said(at, f"lies more than {DEEPEST} levels deep")
        return
    for key, value in held.items():
        where = f"{at}.{key}" if at else key
        if judge := _VALUES.get(key):
            if wrong := judge(value):
                yield _said(where, wrong)
            elif key == "$ref" and (wrong := _dangling(cast("str", value), root)):
                yield _said(where, wrong)
        else:
            yield from _inner(key, value, root, where, depth + 1)


def _inner(key: str, value: object, root: object, where: str, depth: int) -> Iterator[Complaint]:
    """The schemas below a keyword that has some."""
    if key in _ONE:
        if key == "items" and isinstance(value, list):
            yield _said(where, "must be one schema; several in a row are `prefixItems` in draft 2020-12")
        else:
            yield from _of(value, root, where, depth)
    elif key in _SEVERAL:
        several = _list(value)
        if not several:
            yield _said(where, "must be a list of one schema or more")
        for number, each in enumerate(several or ()):
            yield from _of(each, root, f"{where}[{number}]", depth)
    elif key in _NAMED:
        named = table(value)
        if named is None:
            yield _said(where, "must be an object whose members are schemas")
        for name, each in (named or {}).items():
            yield from _of(each, root, f"{where}.{name}", depth)


def _dangling(ref: str, root: object) -> str:
    """Why a reference leads nowhere; empty if it leads somewhere, or cannot be followed here."""
    if not ref.startswith("#/"):
        return ""
    found = root
    for part in unquote(ref[2:]).split("/"):
        name = part.replace("~1", "/").replace("~0", "~")
        several = _list(found)
        if several is not None and name.isdigit() and int(name) < len(several):
            found = several[int(name)]
        elif (held := table(found)) is not None and name in held:
            found = held[name]
        else:
            return f"leads to {ref}, which is not there"
    return ""


def _type(value: object) -> str:
    several = _list(value)
    names = [value] if several is None else several
    unknown = [each for each in names if not isinstance(each, str) or each not in TYPES]
    if unknown:
        return f"has {unknown[0]!r}, which is no type; there are {', '.join(sorted(TYPES))}"
    return "" if names and len(set(cast("list[str]", names))) == len(names) else "must name types, each once"


def _names(value: object) -> str:
    several = _list(value)
    if several is None or not all(isinstance(each, str) for each in several):
        return "must be a list of names"
    return "" if len(set(cast("list[str]", several))) == len(several) else "has a name twice"


def _dependent(value: object) -> str:
    held = table(value)
    if held is None:
        return "must be an object whose members are lists of names"
    return next((wrong for each in held.values() if (wrong := _names(each))), "")


def _text(value: object) -> str:
    return "" if isinstance(value, str) else "must be a text"


def _flag(value: object) -> str:
    return "" if isinstance(value, bool) else "must be true or false"


def _any_list(value: object) -> str:
    return "" if isinstance(value, list) else "must be a list"


def _count(value: object) -> str:
    whole = isinstance(value, int | float) and not isinstance(value, bool) and value == int(value) and value >= 0
    return "" if whole else "must be a whole number of 0 or more"


def _number(value: object) -> str:
    return "" if isinstance(value, int | float) and not isinstance(value, bool) else "must be a number"


def _multiple(value: object) -> str:
    return _number(value) or ("" if cast("float", value) > 0 else "must be more than 0")


def _vocabulary(value: object) -> str:
    held = table(value)
    return "" if held is not None and all(isinstance(each, bool) for each in held.values()) else "must be an object"


def _list(value: object) -> list[Any] | None:
    return cast("list[Any]", value) if isinstance(value, list) else None


def _said(where: str, wrong: str) -> Complaint:
    return f"{where or 'the schema'} {wrong}"


_VALUES: Mapping[str, Callable[[object], str]] = {
    "type": _type,
    "required": _names,
    "dependentRequired": _dependent,
    "multipleOf": _multiple,
    "enum": _any_list,
    "examples": _any_list,
    "$vocabulary": _vocabulary,
    **dict.fromkeys(("deprecated", "readOnly", "uniqueItems", "writeOnly"), _flag),
    **dict.fromkeys(("exclusiveMaximum", "exclusiveMinimum", "maximum", "minimum"), _number),
    **dict.fromkeys((*_COUNTS, "minProperties"), _count),
    **dict.fromkeys(_TEXTS, _text),
}
