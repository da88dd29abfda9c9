"""What functions return, as MCP's results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import UNSET, Raw

from broker_sdk.content import Content, Message, Result, held, text, user
from broker_sdk.schema import Output, encode

Json = dict[str, Any]


def tool_result(value: Any, output: Output | None, error: str | None = None) -> Json:
    """A value as a tool's result: contents as they are, data as `structuredContent` and as text.

    Raises `ValueError` for what the tool's hint does not allow.
    """
    if error is not None:
        return {"content": [text(error)], "isError": True}
    if isinstance(value, Result):
        return _whole(value)
    if isinstance(value, str):
        return {"content": [text(value)]}
    if value is None and (output is None or output.schema is None):
        return {"content": []}
    contents = _contents(value)
    if contents is not None:
        return {"content": contents}
    return _structured(value, output)


def _whole(result: Result) -> Json:
    found: Json = {"content": result.content}
    if result.data is not UNSET:
        found["structuredContent"] = result.data
        found["content"] = result.content or [text(encode(result.data).decode())]
    found.update({"isError": True} if result.is_error else {})
    return {**found, "_meta": result.meta} if result.meta else found


def _contents(value: Any) -> list[Content] | None:
    if isinstance(value, Content):
        return [value]
    if isinstance(value, list | tuple) and value and any(isinstance(each, Content) for each in value):
        parts: Sequence[Any] = value
        return [each if isinstance(each, Content) else text(_words(each)) for each in parts]
    return None


def _structured(value: Any, output: Output | None) -> Json:
    data = output.encoded(value) if output is not None else encode(value)
    found: Json = {"content": [text(_text_of(data))]}
    if output is not None and output.schema is not None:
        found["structuredContent"] = {"result": Raw(data)} if output.wrapped else Raw(data)
    elif data.startswith(b"{"):
        found["structuredContent"] = Raw(data)
    return found


def _text_of(data: bytes) -> str:
    """Data as text; a text is not quoted."""
    return msgspec.json.decode(data, type=str) if data.startswith(b'"') else data.decode()


def _words(value: Any) -> str:
    return value if isinstance(value, str) else _text_of(encode(value))


def resource_result(uri: str, value: Any, mime: str | None) -> Json:
    """A value as a resource's content: texts and bytes as they are, anything else as JSON."""
    if isinstance(value, bytes | str):
        return {"contents": [held(uri, value, mime or ("text/plain" if isinstance(value, str) else None))]}
    return {"contents": [held(uri, encode(value).decode(), mime or "application/json")]}


def prompt_result(value: Any, description: str) -> Json:
    """A value as a prompt's messages: texts and contents are said by the person."""
    parts: Sequence[Any] = value if isinstance(value, list | tuple) else [value]
    messages = [
        each if isinstance(each, Message) else user(each if isinstance(each, Content) else _words(each))
        for each in parts
    ]
    return {"description": description, "messages": messages} if description else {"messages": messages}
