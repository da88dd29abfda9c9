"""What a plugin may ask a client (a form, a page to visit, its model, its roots), in the words of the client's version.

Rule 1: what a client did not declare, or its version does not have, it is never asked.
Rule 2: a form is asked in the fields its version has; the answers go back in the form the plugin asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import Raw, Struct

from broker.wire.eras import LATEST_MODERN, Members, members
from broker.wire.narrow import blocks

NEEDS = {"elicitation/create": "elicitation", "sampling/createMessage": "sampling", "roots/list": "roots"}
FORMS_SINCE = "2025-06-18"
RICH_SINCE = "2025-11-25"  # pages to visit, choices with titles, choices of several, sampling with tools

_encode = msgspec.json.Encoder().encode
Json = dict[str, Any]
Answer = Callable[[bytes | Raw], bytes | Raw]


def refused(version: str, capabilities: Mapping[str, Raw], method: str, params: bytes | Raw) -> bool:
    """Whether a client of `version` that declared this must not be asked."""
    if NEEDS.get(method, "") not in capabilities or (method == "elicitation/create" and version < FORMS_SINCE):
        return True
    settings = _members(capabilities[NEEDS[method]]) if version >= RICH_SINCE else {}
    if method == "elicitation/create":
        return _mode(params) not in (settings or {"form"})
    return method == "sampling/createMessage" and _with_tools(params) and "tools" not in settings


def abilities(version: str, capabilities: Mapping[str, Raw]) -> frozenset[str]:
    """What a server may make use of: the questions a client of `version` answers, and the extensions it has."""
    found = {f"extensions.{name}" for name in _members(capabilities.get("extensions", b"{}"))}
    for name in NEEDS.values():
        if name in capabilities and (name != "elicitation" or version >= FORMS_SINCE):
            settings = _members(capabilities[name]).keys() if version >= RICH_SINCE else ()
            modes = settings or ("form",) if name == "elicitation" else settings
            found |= {name, *(f"{name}.{mode}" for mode in modes if mode != "listChanged")}
    return frozenset(found)


def named(method: str, params: bytes | Raw) -> str:
    """What is asked, in words for a person."""
    if method == "elicitation/create" and _mode(params) != "form":
        return f"{method} of mode {_mode(params)[:20]}"
    return f"{method} with tools" if method == "sampling/createMessage" and _with_tools(params) else method


def asked(version: str, method: str, params: bytes | Raw) -> tuple[bytes | Raw, Answer | None]:
    """A question for a client of `version`, and what makes its answer one to the question as it was."""
    if version >= LATEST_MODERN:
        return _without_id(params) if b'"elicitationId"' in bytes(params) else params, None
    if version >= RICH_SINCE:
        return params, None
    if method == "elicitation/create":
        return _form(params)
    if method == "sampling/createMessage":
        return _messages(version, params), None
    return params, None


def _mode(params: bytes | Raw) -> str:
    try:
        return msgspec.json.decode(members(params).get("mode", b'"form"'), type=str)
    except msgspec.MsgspecError:
        return "unknown"


def _with_tools(params: bytes | Raw) -> bool:
    return not _members(params).keys().isdisjoint(("tools", "toolChoice"))


def _members(value: bytes | Raw) -> Members:
    """The members of what should be an object."""
    try:
        return members(value)
    except msgspec.MsgspecError:
        return {}


def _without_id(params: bytes | Raw) -> bytes:
    """Without the id by which a legacy server says that a page was visited: the retry of a call says it."""
    return _encode({name: value for name, value in _members(params).items() if name != "elicitationId"})


# sampling: one block a message


def _messages(version: str, params: bytes | Raw) -> bytes | Raw:
    said: list[Members] = []
    try:
        held = members(params)
        for message in msgspec.json.decode(held["messages"], type=list[Members]):
            content = message["content"]
            parts = msgspec.json.decode(content, type=list[Raw]) if bytes(content)[:1] == b"[" else [content]
            said += [{**message, "content": block} for block in blocks(version, parts)]
    except (KeyError, msgspec.MsgspecError):  # no messages at all: whoever receives it judges
        return params
    return _encode({**held, "messages": said})


# forms: texts, numbers, yes or no, and one of several texts


class _Choice(Struct):
    const: str
    title: str | None = None


class _Field(Struct, rename="camel"):
    type: str = ""
    description: str = ""
    enum: list[str] = []
    one_of: list[_Choice] = []
    any_of: list[_Choice] = []
    items: _Field | None = None

    def choices(self) -> dict[str, str]:
        """What can be chosen: value -> its title."""
        titled = {each.const: each.title or each.const for each in [*self.one_of, *self.any_of]}
        return titled or {value: value for value in self.enum}


def _form(params: bytes | Raw) -> tuple[bytes | Raw, Answer | None]:
    try:
        held = members(params)
        schema = members(held["requestedSchema"])
        before = msgspec.json.decode(schema["properties"], type=dict[str, Json])
        fields = {name: msgspec.convert(field, _Field) for name, field in before.items()}
    except (KeyError, msgspec.MsgspecError):  # no form at all: whoever receives it judges
        return params, None
    after = {name: _plain(field, fields[name]) for name, field in before.items()}
    if after == before:
        return params, None
    several = {name: field.items.choices() for name, field in fields.items() if field.type == "array" and field.items}
    narrowed = _encode({**held, "requestedSchema": {**schema, "properties": after}})
    return narrowed, (lambda answer: _widened(answer, several)) if several else None


def _plain(before: Json, field: _Field) -> Json:
    """A field of a form, as MCP 2025-06-18 has it."""
    if field.type == "array":
        names = ", ".join((field.items or field).choices().values())
        what = f"{field.description} (any of these, separated by commas: {names})".strip()
        return {name: before[name] for name in ("title",) if name in before} | {"type": "string", "description": what}
    if field.one_of:
        choices, rest = field.choices(), {name: value for name, value in before.items() if name != "oneOf"}
        return {**rest, "type": "string", "enum": [*choices], "enumNames": [*choices.values()]}
    return before


def _widened(answer: bytes | Raw, several: Mapping[str, Mapping[str, str]]) -> bytes | Raw:
    """An answer with lists where the form had choices of several."""
    try:
        held = members(answer)
        content = msgspec.json.decode(held.get("content", b"{}"), type=dict[str, Any])
    except msgspec.MsgspecError:
        return answer
    for name, choices in several.items():
        if isinstance(content.get(name), str):
            values = {title.casefold(): value for value, title in choices.items()}
            parts = [part.strip() for part in content[name].split(",")]
            content[name] = [values.get(part.casefold(), part) for part in parts if part]
    return _encode({**held, "content": content}) if "content" in held else answer
