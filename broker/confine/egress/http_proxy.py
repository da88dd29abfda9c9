"""An HTTP/1 proxy: CONNECT, and requests with an absolute http:// URI. One request for each connection.

Rule 1: a head is read whole, bounded, and every line of it is checked; what is odd is refused, never repaired.
Rule 2: what goes on is written anew: `Host` is the host that was judged, what concerns only this hop stays here.
Rule 3: a body has one length. Two of them are how one request is smuggled inside another.
"""

from __future__ import annotations

import re
from http import HTTPStatus

from msgspec import Struct

from broker.confine.egress.denied import Refused
from broker.confine.egress.ends import End
from broker.confine.egress.ways import Connect

CONNECT, HTTP = "connect", "http"  # how a plugin came

_END = b"\r\n\r\n"
_PORT = 80
_REQUEST = re.compile(r"([A-Z]{1,32}) ([!-~]+) HTTP/1\.[01]")
_FIELD = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e\x80-\xff]*)")
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^][/?#@:\\]+):([0-9]{1,5})")
_ABSOLUTE = re.compile(
    r"(?i:http)://(\[[0-9A-Fa-f:.]+\]|[^][/?#@:\\]+)(?::([0-9]{1,5}))?((?:/[^#]*)?(?:\?[^#]*)?)", re.ASCII
)
_THIS_HOP = frozenset(
    "connection host keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer upgrade".split()
)

_LENGTHS = frozenset(("content-length", "transfer-encoding"))


class Request(Struct, frozen=True):
    """A head that was understood. `onward` is what its host is sent; empty for CONNECT."""

    host: str
    port: int
    onward: bytes = b""


class Odd(Exception):
    """A head that is refused; `str()` says why."""


async def serve(end: End, connect: Connect) -> End | None:
    """The far end of the connection that `end` asks for; None if it was told that there is none. Raises `EOFError`."""
    head = await end.take_until(_END)
    if head is None:
        return _told(end, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "The head of the request is too long.")
    try:
        request = parse(head)
        far = await connect(request.host, request.port, HTTP if request.onward else CONNECT)
    except Odd as error:
        return _told(end, HTTPStatus.BAD_REQUEST, str(error))
    except Refused as error:
        return _told(end, HTTPStatus.FORBIDDEN, str(error))
    except OSError as error:
        return _told(end, HTTPStatus.BAD_GATEWAY, f"It cannot be reached: {error}")
    if request.onward:
        far.say(request.onward)
    else:
        end.say(b"HTTP/1.1 200 Connection established\r\n\r\n")
    return far


def parse(head: bytes) -> Request:
    """What a head with its empty line asks for. Raises `Odd`."""
    first, *lines = head.removesuffix(_END).decode("latin-1").split("\r\n")
    start = _REQUEST.fullmatch(first)
    if start is None:
        raise Odd("The first line is no request.")
    fields = [_field(line) for line in lines]
    method, target = start.groups()
    if method == "CONNECT":
        return _tunnel(target)
    return _forwarded(method, target, fields)


def _tunnel(target: str) -> Request:
    found = _AUTHORITY.fullmatch(target)
    if found is None:
        raise Odd("CONNECT needs host:port.")
    return Request(found[1], _port(found[2]))


def _forwarded(method: str, target: str, fields: list[tuple[str, str]]) -> Request:
    found = _ABSOLUTE.fullmatch(target)
    if found is None:
        raise Odd("A proxy needs a whole http:// address; https goes by CONNECT.")
    _check_length(fields)
    host, port, path = found[1], _port(found[2] or str(_PORT)), found[3]
    path = path if path.startswith("/") else "/" + path
    named = {name.strip().lower() for key, value in fields if _is(key, "connection") for name in value.split(",")}
    dropped = _THIS_HOP | named - _LENGTHS
    kept = [f"{key}: {value}" for key, value in fields if key.lower() not in dropped]
    name = host if port == _PORT else f"{host}:{port}"
    lines = [f"{method} {path} HTTP/1.1", f"Host: {name}", "Connection: close", *kept]
    return Request(host, port, "\r\n".join(lines).encode("latin-1") + _END)


def _field(line: str) -> tuple[str, str]:
    found = _FIELD.fullmatch(line)
    if found is None:
        raise Odd("A line of the head is no field.")
    return found[1], found[2].rstrip(" \t")


def _check_length(fields: list[tuple[str, str]]) -> None:
    lengths = [value for key, value in fields if _is(key, "content-length")]
    codings = [value.lower() for key, value in fields if _is(key, "transfer-encoding")]
    if len(lengths) + len(codings) > 1 or codings not in ([], ["chunked"]):
        raise Odd("The body has more than one length.")
    if lengths and not (lengths[0].isascii() and lengths[0].isdigit()):
        raise Odd("The length of the body is no number.")


def _is(key: str, name: str) -> bool:
    return key.lower() == name


def _port(digits: str) -> int:
    port = int(digits)
    if not 0 < port < 1 << 16:
        raise Odd("There is no such port.")
    return port


def _told(end: End, status: HTTPStatus, why: str) -> None:
    body = why.encode() + b"\n"
    lines = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        "Content-Type: text/plain; charset=utf-8",
        f"Content-Length: {len(body)}",
        "Connection: close",
    ]
    end.say("\r\n".join(lines).encode() + _END + body)
