"""MCP's two eras, and what a plain request or result of one looks like in the other.

Legacy (2024-11-05 to 2025-11-25): one `initialize` a connection. Modern (2026-07-28): an envelope in each request's
`_meta`, `resultType` in each result, cache hints on what may be cached, and in the result's `_meta` whose it is: the
server that made it. A plugin's result has the plugin's name there, and what the broker answers itself has the broker's.
Where both ends speak the same era nothing here touches a message.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import Raw, Struct

from broker.errors import BrokerError, PluginFailed, RemoteError

LEGACY_VERSIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
LATEST_LEGACY = LEGACY_VERSIONS[-1]
MODERN_VERSIONS = ("2026-07-28",)
LATEST_MODERN = MODERN_VERSIONS[-1]

VERSION = "io.modelcontextprotocol/protocolVersion"
CLIENT_INFO = "io.modelcontextprotocol/clientInfo"
CLIENT_CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
LOG_LEVEL = "io.modelcontextprotocol/logLevel"
SERVER_INFO = "io.modelcontextprotocol/serverInfo"
SUBSCRIPTION_ID = "io.modelcontextprotocol/subscriptionId"
_ENVELOPE = (VERSION, CLIENT_INFO, CLIENT_CAPABILITIES, LOG_LEVEL)

CACHEABLE = frozenset(
    {
        "tools/list",
        "prompts/list",
        "resources/list",
        "resources/templates/list",
        "resources/read",
        "server/discover",
        "skills/list",
        "skills/get",
    }
)
URL_NEEDED = -32042  # MCP 2025-11-25: a person must visit a page first; `data.elicitations` says which
LATEST_LEGACY_NOTICES = frozenset({"notifications/elicitation/complete", "notifications/tasks/status"})
LOG_LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")

Members = dict[str, Raw]


class _Page(Struct):
    url: str
    message: str = ""


class _PagesNeeded(Struct):
    elicitations: list[_Page]


_members = msgspec.json.Decoder(Members).decode
_encode = msgspec.json.Encoder().encode
_COMPLETE = Raw(b'"complete"')


def members(value: bytes | Raw) -> Members:
    """The members of an object, undecoded. Raises `msgspec.MsgspecError` when it is no object."""
    return _members(value)


def modern_meta(meta: Members | None, info: Raw, capabilities: Mapping[str, Raw], level: str | None) -> Members:
    """A legacy request's `_meta` with the envelope a modern server requires."""
    return {
        **(meta or {}),
        VERSION: Raw(_encode(LATEST_MODERN)),
        CLIENT_INFO: info,
        CLIENT_CAPABILITIES: Raw(_encode(dict(capabilities))),
        **({LOG_LEVEL: Raw(_encode(level))} if level else {}),
    }


def legacy_meta(meta: Members | None) -> Members | None:
    """A modern request's `_meta` without the envelope a legacy server does not know."""
    if meta is None:
        return None
    return {key: value for key, value in meta.items() if key not in _ENVELOPE} or None


def asks(result: bytes | Raw) -> bool:
    """Whether a modern result asks its client for something before there is a real one."""
    if b"input_required" not in bytes(result):
        return False
    try:
        return bytes(_members(result).get("resultType", b"")) == b'"input_required"'
    except msgspec.MsgspecError:
        return False


def modern_result(method: str, result: bytes | Raw, info: Raw) -> bytes:
    """The result for a modern client of a legacy server, which calls itself `info`."""
    found = _members(result)
    found.setdefault("resultType", _COMPLETE)
    if method in CACHEABLE:
        found.setdefault("ttlMs", Raw(b"0"))
        found.setdefault("cacheScope", Raw(b'"private"'))
    found["_meta"] = _stamped(found.get("_meta"), info)
    return _encode(found)


def _stamped(meta: Raw | None, info: Raw) -> Raw:
    try:
        return Raw(_encode({SERVER_INFO: info, **(_members(meta) if meta is not None else {})}))
    except msgspec.MsgspecError:  # no object: its client judges
        return meta or Raw(b"{}")


def questions_of(error: RemoteError, info: Raw) -> bytes | None:
    """The result by which a modern client is asked to visit the pages an error names, of a legacy server `info`."""
    try:
        found = msgspec.json.decode(error.data or b"", type=_PagesNeeded).elicitations
    except msgspec.MsgspecError:
        return None
    asked = {
        f"elicitation-{number}": {
            "method": "elicitation/create",
            "params": {"mode": "url", "message": page.message, "url": page.url},
        }
        for number, page in enumerate(found, 1)
    }
    return asking({"inputRequests": asked}, info) if asked else None


def asking(asked: Mapping[str, object], info: Raw) -> bytes:
    """The result by which the server `info` asks a modern client."""
    return _encode({"resultType": "input_required", **asked, "_meta": {SERVER_INFO: info}})


def legacy_result(plugin: str, result: bytes | Raw) -> bytes:
    """A modern server's result for a legacy client. Raises `PluginFailed` for one it could not understand."""
    found = _members(result)
    kind = found.pop("resultType", _COMPLETE)
    if bytes(kind) != b'"complete"':
        raise PluginFailed(
            f"{plugin} answered with a result of type {bytes(kind).decode()}, which a client of an MCP revision "
            "before 2026-07-28 cannot receive through broker yet",
            hint="Use a client that speaks MCP 2026-07-28.",
        )
    found.pop("ttlMs", None)
    found.pop("cacheScope", None)
    if "_meta" in found:
        meta = _members(found["_meta"])
        meta.pop(SERVER_INFO, None)
        if meta:
            found["_meta"] = Raw(_encode(meta))
        else:
            del found["_meta"]
    return _encode(found)


def modern_error(error: RemoteError) -> BrokerError:
    """A legacy server's error for a modern client, whose revision renamed or closed some codes."""
    if error.code == -32002:  # resource not found
        return RemoteError(-32602, str(error), error.data)
    if error.code == URL_NEEDED:
        return RemoteError(-32603, str(error), error.data)
    if error.code == 0:  # the Go SDK's code for anything
        return RemoteError(-32603, str(error), error.data)
    return error


def legacy_error(plugin: str, error: RemoteError) -> BrokerError:
    """A modern server's error for a legacy client: what concerns only the hop to the plugin is put in words."""
    if error.code in (-32020, -32021, -32022):
        return PluginFailed(f"{plugin} refused the request: {error}", data=error.data)
    return error
