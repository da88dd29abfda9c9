"""What a client of an older version is shown of what newer ones have (reference: MCP's changelogs).

Rule 1: the version decides first, then a search for the bytes of what it does not know; only what has them is decoded.
Rule 2: nothing is lost that can be said in the older version's words; fields nobody asked about pass as they are.
Rule 3: what cannot be read is passed: whoever receives it judges.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import Raw

from broker.errors import BrokerError, RemoteError
from broker.wire.eras import LATEST_MODERN, URL_NEEDED, Members, members, modern_error
from broker.wire.outputs import is_object, is_plain, is_wrapped, wrapped_schema, wrapped_value

AUDIO_SINCE = "2025-03-26"
LINKS_SINCE = OUTPUTS_SINCE = "2025-06-18"
PAGES_SINCE = "2025-11-25"  # that a person must visit
AUDIO_URI = "urn:broker:audio"
_ONLY_MODERN = (-32020, -32021, -32022)
# Patterns, for they search a result where it lies; it may be large, and `bytes` of it is a copy.
_LATE = ((re.compile(rb'"audio"'), AUDIO_SINCE), (re.compile(rb'"resource_link"'), LINKS_SINCE))
_STRUCTURED = re.compile(rb'"structuredContent"')
_NO_OBJECT = re.compile(rb'"structuredContent"\s*:\s*[^\s{]')
_SAME = {b"true": Raw(b"{}"), b"false": Raw(b'{"not":{}}')}  # as a schema, and as the object that means the same
_OBJECT = b'{"type":"object"}'
_OPTIONAL = frozenset(
    (
        "title",
        "description",
        "icons",
        "annotations",
        "_meta",
        "outputSchema",
        "execution",
        "mimeType",
        "size",
        "arguments",
    )
)
_UNREADABLE = (msgspec.MsgspecError, RecursionError)  # the second: nested deeper than any schema is
_encode = msgspec.json.Encoder().encode
_list = msgspec.json.Decoder(list[Raw]).decode
_string = msgspec.json.Decoder(str).decode


def result(version: str, method: str, found: bytes | Raw, shown: Callable[[], Raw | None]) -> bytes | Raw:
    """A result for a client of `version`; `shown` finds the definition of the tool that gave it, in any era's form."""
    if method == "tools/call" and (version < LATEST_MODERN or is_wrapped(_schema(shown()))):
        return _called(version, found, shown)
    if method == "prompts/get" and _late(version, found):
        return _prompted(version, found)
    return found


@lru_cache(maxsize=8)  # pages of the catalog, which are the same for every client of a version
def definitions(version: str, method: str, page: bytes) -> bytes:
    """A page of a list, as a JSON array, for a client of `version`. For one fault some refuse the whole list."""
    if method != "tools/list" and b"null" not in page:
        return page
    before = _list(page)
    after = [_definition(version, method, definition) for definition in before]
    changed = any(one is not other for one, other in zip(before, after, strict=True))
    return b"[%b]" % b",".join(memoryview(each) for each in after) if changed else page


def error(version: str, found: RemoteError) -> BrokerError:
    """A plugin's error for a client of `version`: a code is another one where that version does not have it."""
    if version >= LATEST_MODERN:
        return modern_error(found) if found.code in (-32002, URL_NEEDED) else found
    if found.code in _ONLY_MODERN:
        return RemoteError(-32603, str(found), found.data)
    if found.code == URL_NEEDED and version < PAGES_SINCE:
        urls = re.findall(r'"url"\s*:\s*"([^"\\]*)"', bytes(found.data or b"").decode("utf-8", "replace"))
        return RemoteError(-32603, " ".join((str(found), *urls)), found.data)
    return found


def blocks(version: str, content: list[Raw]) -> list[Raw]:
    """Content in the kinds of block that `version` has."""
    return [_block(version, block) for block in content]


# results


def _called(version: str, found: bytes | Raw, shown: Callable[[], Raw | None]) -> bytes | Raw:
    structured, late = _STRUCTURED.search(found) is not None, _late(version, found)
    schema = _schema(shown()) if structured and version >= OUTPUTS_SINCE else None
    if structured and version >= OUTPUTS_SINCE and is_plain(schema):
        structured = version < LATEST_MODERN and _NO_OBJECT.search(found) is not None
    if not structured and not late:
        return found
    try:
        held = members(found)
        content = blocks(version, _list(held.get("content", b"[]")))
        held["content"] = Raw(_encode(_structured(version, held, content, schema)))
    except msgspec.MsgspecError:
        return found
    return _encode(held)


def _structured(version: str, held: Members, content: list[Raw], schema: Any) -> list[Raw]:
    """Give structured content the form `version` has; the content, with what has to be said in words instead."""
    value = held.get("structuredContent")
    if value is None or (version >= LATEST_MODERN and not is_wrapped(schema)):
        return content
    if version < OUTPUTS_SINCE or (bytes(value) == b"null" and is_plain(schema)):
        del held["structuredContent"]
        return content if bytes(value) == b"null" else _told(content, value)
    wrapped = wrapped_value(value, schema)
    if wrapped is None:
        return content
    held["structuredContent"] = wrapped
    return _told(content, value)


def _told(content: list[Raw], value: Raw) -> list[Raw]:
    """The content with `value` as text, if it has none."""
    if any(_kind(members(block)) == "text" for block in content):
        return content
    return [*content, _text_block(bytes(value).decode())]


def _prompted(version: str, found: bytes | Raw) -> bytes | Raw:
    try:
        held = members(found)
        messages = [members(message) for message in _list(held["messages"])]
        for message in messages:
            message["content"] = _block(version, message["content"])
    except (KeyError, msgspec.MsgspecError):
        return found
    return _encode({**held, "messages": messages})


# blocks of content


def _late(version: str, found: bytes | Raw) -> bool:
    """Whether there may be a block in it that `version` does not have."""
    return version < LINKS_SINCE and any(version < since and word.search(found) for word, since in _LATE)


def _block(version: str, block: Raw) -> Raw:
    try:
        held = members(block)
        kind = _kind(held)
        if kind == "audio" and version < AUDIO_SINCE:
            return _audio(held)
        if kind == "resource_link" and version < LINKS_SINCE:
            return _link(held)
    except (KeyError, msgspec.MsgspecError):
        pass
    return block


def _audio(held: Members) -> Raw:
    """Audio as the resource it could have been; there is nothing to read it again from."""
    resource = {"uri": AUDIO_URI, "mimeType": held.pop("mimeType"), "blob": held.pop("data")}
    return Raw(_encode({**held, "type": "resource", "resource": resource}))


def _link(held: Members) -> Raw:
    """A link in words."""
    said = {name: _string(held[name]) for name in ("title", "name", "mimeType", "description") if name in held}
    name, kind = said.get("title") or said.get("name", "resource"), said.get("mimeType")
    lines = [f"{name} ({kind}): {_string(held['uri'])}" if kind else f"{name}: {_string(held['uri'])}"]
    about = {"annotations": held["annotations"]} if "annotations" in held else {}
    return _text_block("\n".join([*lines, *filter(None, [said.get("description")])]), about)


def _text_block(text: str, about: Members | None = None) -> Raw:
    return Raw(_encode({"type": "text", "text": text, **(about or {})}))


def _kind(block: Members) -> str:
    return _string(block.get("type", b'""'))


# definitions


def _definition(version: str, method: str, definition: Raw) -> Raw:
    try:
        held = {name: value for name, value in members(definition).items() if not _absent(name, value)}
        if method == "tools/list":
            _tool(version, held)
        return definition if held == members(definition) else Raw(_encode(held))
    except _UNREADABLE:
        return definition


def _absent(name: str, value: Raw) -> bool:
    """Whether a member says that there is none: many write null for that, which no version has."""
    return name in _OPTIONAL and bytes(value) == b"null"


def _tool(version: str, held: Members) -> None:
    held["inputSchema"] = _arguments(version, held.get("inputSchema", Raw(b"{}")))
    if version >= LATEST_MODERN:
        held.pop("execution", None)  # how the tasks of 2025-11-25 are run
    elif version < OUTPUTS_SINCE:
        held.pop("outputSchema", None)
    elif "outputSchema" in held:
        schema = msgspec.json.decode(held["outputSchema"])
        if not is_object(schema):
            held["outputSchema"] = Raw(_encode(wrapped_schema(schema)))


def _arguments(version: str, schema: Raw) -> Raw:
    """An input schema as every version has it: of an object; before 2026-07-28 each argument is described by one."""
    if memoryview(schema)[0] != ord("{"):
        return Raw(_OBJECT)
    held = members(schema)
    changed = {"type": Raw(b'"object"')} if held.get("type") != Raw(b'"object"') else {}
    named = members(held.get("properties", b"{}")) if version < LATEST_MODERN else {}
    if any(bytes(each) in _SAME for each in named.values()):
        described = {name: _SAME.get(bytes(each), each) for name, each in named.items()}
        changed["properties"] = Raw(_encode(described))
    return Raw(_encode({**held, **changed})) if changed else schema


def _schema(definition: Raw | None) -> Any:
    """A tool's output schema, if it has one."""
    if definition is None or b'"outputSchema"' not in bytes(definition):
        return None
    try:
        return msgspec.json.decode(members(definition)["outputSchema"])
    except (KeyError, *_UNREADABLE):
        return None
