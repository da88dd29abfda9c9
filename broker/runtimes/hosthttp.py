"""Makes one HTTP request for a plugin that runs in the broker, to a host it was granted.

Rule 1: the connection is made as for a confined plugin: a name is looked up once, what it leads to is judged, and
        exactly that is dialled. No proxy and no `.netrc` of the environment is used.
Rule 2: redirects are not followed: where they lead is another question to the permissions.
Rule 3: the answer is read by a thread; when its time is over the connection is broken under it, so it ends too.
"""

from __future__ import annotations

import asyncio
import base64
import re
import socket
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any

from broker.confine.egress.allow import Allow
from broker.confine.egress.denied import Denials, Refused
from broker.confine.egress.dial import Dialler
from broker.confine.egress.lookup import Lookup, Lookups, ask_system
from broker.core.hostoperation import Url, url_of
from broker.core.hostparams import PIECE, Fetch
from broker.errors import BadArguments, FrameTooLarge, HostFailed, PermissionMissing, TimedOut
from broker.model import Spec
from broker.permissions.scopes import parse
from broker.runtimes.apart import apart

# What we say ourselves, or what would make one connection carry something else.
_TOKEN, _VALUE = (
    re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"),
    re.compile(r"[\t\x20-\x7e\x80-\xff]*"),
)  # RFC 9110, section 5
_OURS = ("host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer", "expect")


async def fetch(spec: Spec, params: Fetch, lookup: Lookup = ask_system) -> dict[str, Any]:
    """One request. Raises `HostFailed`, `PermissionMissing`, `TimedOut`, `FrameTooLarge`, `BadArguments`."""
    url = url_of(params.url)
    _check_headers(params)
    try:
        async with asyncio.timeout(params.timeout):
            return await _fetched(spec, params, url, lookup)
    except TimeoutError:
        raise TimedOut(f"{url.host} did not answer within {params.timeout:g} s", hint="Raise `timeout`.") from None
    except Refused as refused:
        raise PermissionMissing(str(refused.denied), facts={"plugin": spec.name}) from None
    except (OSError, HTTPException) as error:
        raise HostFailed(f"{url.host}:{url.port}: {error or type(error).__name__}") from None


def _check_headers(params: Fetch) -> None:
    """Before anything is dialled. Raises `BadArguments`."""
    for name, value in params.headers.items():
        if name.lower() in _OURS or not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
            raise BadArguments(f"the header {name[:100]!r} is not a plugin's to set, or is none")


async def _fetched(spec: Spec, params: Fetch, url: Url, lookup: Lookup) -> dict[str, Any]:
    net = [one.target for one in map(parse, spec.granted) if one.kind == "net" and not one.socket]
    denials = Denials(spec.name, lambda denied: None)
    sock = await Dialler(Allow(net), denials, Lookups(lookup)).dial(url.host, url.port, "http")
    spare = sock.dup()  # TLS takes the other over; breaking this one breaks both
    try:
        sock.settimeout(params.timeout)  # beside the clock of the whole, so that no thread can stay for good
        return await apart(partial(_exchanged, sock, params, url))
    except asyncio.CancelledError:
        try:
            spare.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it is broken already
        raise
    finally:
        spare.close()


def _exchanged(sock: socket.socket, params: Fetch, url: Url) -> dict[str, Any]:
    with sock:
        if url.secure:
            import ssl

            sock = ssl.create_default_context().wrap_socket(sock, server_hostname=url.host)
        connection = HTTPConnection(url.host, url.port)
        connection.sock = sock
        answer = HTTPResponse(sock, method=params.method)  # not that of the connection, which forgets it on failure
        try:
            body = params.body.encode() if params.body else None
            connection.request(params.method, url.path, body, {**params.headers, "Connection": "close"})
            answer.begin()
            data = answer.read(PIECE + 1)
            if len(data) > PIECE:
                raise FrameTooLarge(f"{url.host} answered with more than {PIECE >> 10} KiB", hint="Ask for a part.")
            headers = {name.lower(): value for name, value in answer.getheaders()}
            return {"status": answer.status, "headers": headers, **_body(data, params.encoding)}
        finally:
            answer.close()
            connection.close()


def _body(data: bytes, encoding: str) -> dict[str, str]:
    if encoding == "base64":
        return {"base64": base64.b64encode(data).decode()}
    return {"body": data.decode("utf-8", "replace")}
