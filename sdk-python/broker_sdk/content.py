"""What a tool, a resource or a prompt may return besides text and data: pictures, sounds, files, links, messages."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType

Json = dict[str, Any]


class Content(Struct, omit_defaults=True, rename="camel", tag_field="type"):
    """One block of what a tool returns. Make it with `text`, `image`, `audio`, `embedded` or `link`."""


class Text(Content, tag="text"):
    text: str
    annotations: Json | UnsetType = UNSET


class Image(Content, tag="image"):
    data: str
    mime_type: str
    annotations: Json | UnsetType = UNSET


class Audio(Content, tag="audio"):
    data: str
    mime_type: str
    annotations: Json | UnsetType = UNSET


class Embedded(Content, tag="resource"):
    resource: Json
    annotations: Json | UnsetType = UNSET


class Link(Content, tag="resource_link"):
    uri: str
    name: str
    title: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    mime_type: str | UnsetType = UNSET
    size: int | UnsetType = UNSET
    annotations: Json | UnsetType = UNSET


class Message(Struct):
    """One message of a prompt."""

    role: Literal["user", "assistant"]
    content: Content


class Result(Struct):
    """The whole result of a tool, for those who need more than a value: `meta` is for programs, not for the model."""

    content: list[Content] = []
    data: Any = UNSET
    is_error: bool = False
    meta: Json = {}


def text(value: str) -> Content:
    """A text."""
    return Text(value)


def image(data: bytes, mime: str = "image/png") -> Content:
    """A picture."""
    return Image(_base64(data), mime)


def audio(data: bytes, mime: str = "audio/wav") -> Content:
    """A sound."""
    return Audio(_base64(data), mime)


def embedded(uri: str, value: str | bytes, mime: str | None = None) -> Content:
    """A resource with its content."""
    return Embedded(held(uri, value, mime))


def link(
    uri: str, name: str, *, title: str | None = None, description: str | None = None, mime: str | None = None
) -> Content:
    """A resource that the client may read."""
    return Link(uri, name, title or UNSET, description or UNSET, mime or UNSET)


def user(content: str | Content) -> Message:
    """A message of a prompt, said by the person."""
    return Message("user", text(content) if isinstance(content, str) else content)


def assistant(content: str | Content) -> Message:
    """A message of a prompt, said by the model."""
    return Message("assistant", text(content) if isinstance(content, str) else content)


def held(uri: str, value: str | bytes, mime: str | None) -> Json:
    """A resource's content as MCP has it."""
    found: Json = {"uri": uri, "mimeType": mime} if mime else {"uri": uri}
    return {**found, "text": value} if isinstance(value, str) else {**found, "blob": _base64(value)}


def _base64(data: bytes) -> str:
    from base64 import b64encode

    return b64encode(data).decode()
