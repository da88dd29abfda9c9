"""One operation of the host: its name, what it takes and gives, what it needs, how often it may be asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from broker.core.hostparams import Fetch, Params, Read, Write
from broker.errors import BadArguments
from broker.permissions.hosts import host_name
from broker.permissions.scopes import Permission, permission


class Operation(Struct, frozen=True, kw_only=True):
    """One operation."""

    name: str
    does: str
    params: type[Params]
    result: Any  # a type of `hostparams`, or a plain one
    rate: float  # a second, of one plugin, in the long run
    burst: int  # at once
    wants: Callable[[Any], Permission | None] = lambda _: None  # raises `BadArguments`
    needs: str = ""  # the same, for a person
    partly: bool = False  # only some of its params need that
    codes: tuple[str, ...] = ()  # names of errors beside `COMMON`
    audited: bool = True


COMMON = ("permission-missing", "invalid-params", "overloaded", "frame-too-large")


def wanted(kind: str, target: str) -> Permission:
    try:
        return permission(kind, target)
    except ValueError as error:
        raise BadArguments(str(error)) from None


def path(kind: str) -> Callable[[Any], Permission]:
    def wants(params: Read | Write) -> Permission:
        if "*" in params.path:
            raise BadArguments(f"{params.path[:200]!r} must be one path, without `*`")
        return wanted(kind, params.path)

    return wants


def ui(target: str) -> Callable[[Any], Permission]:
    return lambda _: Permission("ui", target)


class Url(Struct, frozen=True):
    """The parts of a URL that decide where it leads."""

    secure: bool
    host: str  # as `host_name` gives it
    port: int
    path: str  # with the query


def url_of(text: str) -> Url:
    """A URL of http or https. Raises `BadArguments`."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(text)
        port, host = parts.port, host_name(parts.hostname or "")
    except ValueError as error:
        raise BadArguments(f"{text[:200]!r} is no URL: {error}") from None
    odd = "@" in parts.netloc or not text.isascii() or any(letter <= " " or letter == "\x7f" for letter in text)
    if parts.scheme not in ("http", "https") or odd:
        raise BadArguments(f"{text[:200]!r} must be a URL of http or https, in ASCII, without a user in it")
    secure = parts.scheme == "https"
    query = f"?{parts.query}" if parts.query else ""
    return Url(secure, host, port or (443 if secure else 80), (parts.path or "/") + query)


def net(params: Fetch) -> Permission:
    url = url_of(params.url)
    return wanted("net", f"[{url.host}]:{url.port}" if ":" in url.host else f"{url.host}:{url.port}")
