"""Questions to a person as MCP's forms: texts, numbers, yes or no, and choices; and answers back as values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from broker_sdk.errors import Misdeclared, ToolError
from broker_sdk.schema import described, from_json, plain

Json = dict[str, Any]
VALUE = "value"  # the only field of a question that has one
_TYPES = {"string", "number", "integer", "boolean"}


class Form:
    """A form and what its answer becomes."""

    def __init__(self, schema: Json, hint: Any, single: bool) -> None:
        self.schema, self._hint, self._single = schema, hint, single

    def read(self, content: Json) -> Any:
        """The value in an answer. Raises `ToolError` for one that is none."""
        try:
            value = content[VALUE] if self._single else content
            return msgspec.convert(value, self._hint, dec_hook=from_json)
        except KeyError:
            raise ToolError("the answer lacks its value") from None
        except msgspec.ValidationError as error:
            raise ToolError(f"the answer is not what was asked for: {error}") from None


def form_of(kind: Any, *, titled: bool, default: Any = None) -> Form:
    """The form for a type, or for choices (a list, or values with their titles).

    `titled`: whether the client knows choices with titles; others see the values and an old spelling of the titles.
    """
    if isinstance(kind, Mapping):
        return Form(_single(_choices(kind, titled), default), str, single=True)
    if isinstance(kind, Sequence) and not isinstance(kind, str):
        return Form(_single({"type": "string", "enum": [*map(str, kind)]}, default), str, single=True)
    schema = _resolved(described(plain(kind)))
    if schema.get("type") == "object" and "properties" in schema:
        fields = {name: _flat(name, field) for name, field in schema["properties"].items()}
        return Form({"type": "object", "properties": fields, "required": schema.get("required", [])}, kind, False)
    return Form(_single(_flat(VALUE, schema), default), kind, single=True)


def _single(field: Json, default: Any) -> Json:
    if default is not None:
        field = {**field, "default": default}
    return {"type": "object", "properties": {VALUE: field}, "required": [VALUE]}


def _choices(titles: Mapping[Any, Any], titled: bool) -> Json:
    values, names = [*map(str, titles)], [*map(str, titles.values())]
    if not titled:
        return {"type": "string", "enum": values, "enumNames": names}
    return {
        "type": "string",
        "oneOf": [{"const": each, "title": name} for each, name in zip(values, names, strict=True)],
    }


def _resolved(schema: Json) -> Json:
    """A schema with what it refers to put in place."""
    shared: Json = schema.pop("$defs", {})

    def put(value: Any) -> Any:
        if isinstance(value, dict):
            name = str(value.get("$ref", "")).rpartition("/")[2]
            if name in shared:
                return put({**shared[name], **{key: each for key, each in value.items() if key != "$ref"}})
            return {key: put(each) for key, each in value.items()}
        return [put(each) for each in value] if isinstance(value, list) else value

    return put(schema)


def _flat(name: str, field: Json) -> Json:
    """A field as MCP's forms have it."""
    some = [each for each in field.get("anyOf", []) if each.get("type") != "null"]
    if len(some) == 1:
        field = {**some[0], **{key: each for key, each in field.items() if key not in ("anyOf", "default")}}
    field = {key: each for key, each in field.items() if each is not None or key != "default"}
    if "enum" in field:
        field = {**field, "type": "string", "enum": [*map(str, field["enum"])]}
    if field.get("type") == "array" and "enum" in field.get("items", {}):  # several of some choices
        return {**field, "items": _flat(name, field["items"])}
    if field.get("type") not in _TYPES:
        raise Misdeclared(f"`{name}` cannot be asked for: a form has texts, numbers, yes or no, and choices")
    return field
