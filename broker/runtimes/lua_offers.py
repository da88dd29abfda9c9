"""What a script registered, as clients see it: JSON Schemas from the short form that scripts write.

    input = { path = "string", limit = { "integer", default = 100 }, tags = "string[]?" }

A type is a word of JSON Schema or `any`, `[]` after it is an array of it, `?` says that it may be left out. A table has
the type first and then members of JSON Schema; one with a `default` may be left out. A table that has `type = "object"`
is a JSON Schema already.
"""

from __future__ import annotations

import re
from typing import Any, cast

import msgspec
from msgspec import Raw, Struct

from broker.errors import PluginUnavailable
from broker.model import About
from broker.runtimes.served import Offer, Offers
from broker.runtimes.uri_templates import Template

MOST = 1000  # of each kind
_TYPES = ("string", "number", "integer", "boolean", "object", "array", "null")
_WORD = re.compile(rf"({'|'.join(_TYPES)}|any)(\[\])?(\?)?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_encode = msgspec.json.Encoder(order="sorted").encode

_Short = dict[str, Any]


class _Tool(Struct):
    name: str
    title: str | None = None
    description: str = ""
    input: _Short | list[Any] = {}
    output: _Short | None = None
    annotations: dict[str, Any] = {}
    read_only: bool | None = None


class _Prompt(Struct):
    name: str
    title: str | None = None
    description: str = ""
    arguments: _Short | list[Any] = {}
    complete: bool = False


class _Resource(Struct):
    uri: str = ""
    template: str = ""  # in the place of a URI
    name: str | None = None
    title: str | None = None
    description: str = ""
    mime: str | None = None
    complete: bool = False


class Command(Struct):
    """What a person can run in an editor."""

    name: str
    title: str = ""
    description: str = ""


class _Registered(Struct):
    tools: list[_Tool] = []
    prompts: list[_Prompt] = []
    resources: list[_Resource] = []
    templates: list[_Resource] = []
    commands: list[Command] = []
    events: list[str] = []


class Malformed(Exception):
    """A definition that cannot be understood; the text says which and why."""


def offers(plugin: str, registered: bytes) -> Offers:
    """What `plugin` offers by what it registered. Raises `PluginUnavailable` that says what is wrong with it."""
    try:
        found = msgspec.json.decode(registered, type=_Registered)
        for all_ in (found.tools, found.prompts, found.resources, found.templates, found.commands, found.events):
            if len(all_) > MOST:
                raise Malformed(f"it registers {len(all_)} things of a kind, and {MOST} are the most")
        return Offers(
            tools={_name(each.name): _tool(each) for each in found.tools},
            prompts={_name(each.name): _prompt(each) for each in found.prompts},
            resources={_name(each.uri): _resource(each) for each in found.resources},
            templates={_template(each.template): _resource(each) for each in found.templates},
            commands=frozenset(_name(each.name) for each in found.commands),
            events=frozenset(map(_name, found.events)),
            about=About(name=plugin, capabilities=_kinds(found)),
        )
    except (Malformed, msgspec.MsgspecError) as error:
        raise PluginUnavailable(f"{plugin} cannot be used: {error}", hint="Correct its script.") from None


def _kinds(found: _Registered) -> tuple[str, ...]:
    every = {"tools": found.tools, "prompts": found.prompts, "resources": found.resources, "commands": found.commands}
    return tuple(kind for kind, each in every.items() if each)


def commands(registered: bytes) -> list[Command]:
    """The commands among what `offers` took."""
    return msgspec.json.decode(registered, type=_Registered).commands


def schema(short: _Short | list[Any]) -> dict[str, Any]:
    """The JSON Schema of an object, by the short form. Raises `Malformed`."""
    if isinstance(short, list):
        raise Malformed("`input` must name its arguments: input = { path = 'string' }")
    if short.get("type") == "object":
        return short
    properties: dict[str, Any] = {}
    required: list[str] = []
    for key, value in short.items():
        properties[key], needed = _part(key, value)
        if needed:
            required.append(key)
    whole: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**whole, "required": required} if required else whole


def _part(key: str, value: object) -> tuple[dict[str, Any], bool]:
    """The schema of one argument, and whether it must be given."""
    members = cast(dict[str, Any], {**value}) if isinstance(value, dict) else {}
    word = members.pop("1", None) if members else cast(Any, value)
    if isinstance(word, list):  # { "string" }: nothing beside the type
        word = cast(list[Any], word)[0] if len(cast(list[Any], word)) == 1 else None
    found = _WORD.fullmatch(word) if isinstance(word, str) else None
    if found is None:
        raise Malformed(f"the type of `{key}` must be one of {', '.join(_TYPES)} or any, perhaps with [] or ?")
    kind: dict[str, Any] = {} if found[1] == "any" else {"type": found[1]}
    if found[2]:
        kind = {"type": "array", "items": kind}
    if isinstance(members.get("items"), str):
        members["items"] = _part(key, members["items"])[0]
    return {**kind, **members}, not found[3] and "default" not in members


def _name(name: str) -> str:
    if not name or _CONTROL.search(name):
        raise Malformed(f"{name!r} is no name")
    return name


def _template(text: str) -> str:
    try:
        Template(text)
    except ValueError as error:
        raise Malformed(str(error)) from None
    return _name(text)


def _tool(tool: _Tool) -> Offer:
    wanted = schema(tool.input)
    hints = tool.annotations if tool.read_only is None else {**tool.annotations, "readOnlyHint": tool.read_only}
    shown = {
        "name": tool.name,
        "title": tool.title,
        "description": tool.description or None,
        "inputSchema": wanted,
        "outputSchema": None if tool.output is None else schema(tool.output),
        "annotations": hints or None,
    }
    return _offer(shown, wanted)


def _prompt(prompt: _Prompt) -> Offer:
    wanted = schema(prompt.arguments)
    arguments = [
        {"name": key, "description": part.get("description", ""), "required": key in wanted.get("required", ())}
        for key, part in sorted(wanted.get("properties", {}).items())
    ]
    shown = {
        "name": prompt.name,
        "title": prompt.title,
        "description": prompt.description or None,
        "arguments": arguments,
    }
    return _offer(shown, wanted, prompt.complete)


def _resource(resource: _Resource) -> Offer:
    shown = {
        "uri": resource.uri or None,
        "uriTemplate": resource.template or None,
        "name": resource.name or resource.uri or resource.template,
        "title": resource.title,
        "description": resource.description or None,
        "mimeType": resource.mime,
    }
    return _offer(shown, None, resource.complete)


def _offer(shown: dict[str, Any], wanted: dict[str, Any] | None, completes: bool = False) -> Offer:
    return Offer(Raw(_encode({key: value for key, value in shown.items() if value is not None})), wanted, completes)
