"""SOCKS 5 (RFC 1928), as much as a program needs to be connected: no authentication, CONNECT only."""

from __future__ import annotations

import socket

from broker.confine.egress.denied import Refused
from broker.confine.egress.ends import End
from broker.confine.egress.ways import Connect

VERSION = b"\x05"
VIA = "socks"

_OPEN, _NO_METHOD = 0, b"\xff"  # methods: no authentication; none of yours
_CONNECT = 1
_IPV4, _NAME, _IPV6 = 1, 3, 4
_DONE, _REFUSED, _UNREACHABLE, _NO_COMMAND, _NO_ADDRESS = 0, 2, 4, 7, 8


async def serve(end: End, connect: Connect) -> End | None:
    """The far end of the connection that `end` asks for; None if it was told that there is none. Raises `EOFError`."""
    if await end.take(1) != VERSION or not await _greeted(end):
        return None
    version, command, _, kind = await end.take(4)
    host = await _host(end, kind)
    port = int.from_bytes(await end.take(2), "big")
    if bytes([version]) != VERSION or command != _CONNECT or host is None:
        return _told(end, _NO_COMMAND if host is not None else _NO_ADDRESS)
    try:
        far = await connect(host, port, VIA)
    except Refused:
        return _told(end, _REFUSED)
    except OSError:
        return _told(end, _UNREACHABLE)
    _told(end, _DONE)
    return far


async def _greeted(end: End) -> bool:
    methods = await end.take((await end.take(1))[0])
    end.say(VERSION + (bytes([_OPEN]) if _OPEN in methods else _NO_METHOD))
    return _OPEN in methods


async def _host(end: End, kind: int) -> str | None:
    if kind == _IPV4:
        return socket.inet_ntop(socket.AF_INET, await end.take(4))
    if kind == _IPV6:
        return socket.inet_ntop(socket.AF_INET6, await end.take(16))
    if kind == _NAME:
        return (await end.take((await end.take(1))[0])).decode("ascii", "backslashreplace")
    return None


def _told(end: End, code: int) -> None:
    end.say(VERSION + bytes([code, 0, _IPV4]) + bytes(6))
