"""The two eras of MCP: what a request of each carries, and what a result needs.

Legacy (2024-11-05 to 2025-11-25): one `initialize` a connection, and the server may ask the client in requests of its
own. Modern (2026-07-28): everything is in the `_meta` of each request, and a server asks by a result, to which the
client answers by repeating the request. Both are served on one pipe, request by request.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from broker_sdk.errors import PARAMS, UNSUPPORTED_VERSION, Refusal
from broker_sdk.schema import encode

LEGACY = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
MODERN = ("2026-07-28",)
TITLED_CHOICES = "2025-11-25"  # since when a choice of a form may have a title beside its value
META = "io.modelcontextprotocol/"
SUBSCRIPTION = META + "subscriptionId"
LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
CACHEABLE = frozenset(
    {"tools/list", "prompts/list", "resources/list", "resources/templates/list", "resources/read", "server/discover"}
)
NEEDS = {"elicitation/create": "elicitation", "sampling/createMessage": "sampling", "roots/list": "roots"}

Json = dict[str, Any]


class RequestMeta(
    Struct,
    rename={
        "version": META + "protocolVersion",
        "capabilities": META + "clientCapabilities",
        "info": META + "clientInfo",
        "level": META + "logLevel",
        "token": "progressToken",
    },
):
    """The `_meta` of a request; all of it but the token is modern."""

    version: str | UnsetType | None = UNSET
    capabilities: Json | UnsetType = UNSET
    info: Any = None
    level: str | UnsetType = UNSET
    token: Any = None

    @property
    def progress_token(self) -> int | str | None:
        """What progress is reported under; 0 is one."""
        usable = isinstance(self.token, int | str) and not isinstance(self.token, bool)
        return self.token if usable else None


class _Params(Struct, rename={"meta": "_meta"}):
    meta: RequestMeta | UnsetType = UNSET


_decode = msgspec.json.Decoder(_Params).decode
_members = msgspec.json.Decoder(dict[str, Raw]).decode


def meta_of(params: Raw) -> RequestMeta | None:
    """The `_meta` of a request, None if it has none. Raises `Refusal` for params that MCP does not know."""
    try:
        found = _decode(params).meta
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise Refusal(PARAMS, f"the params are not what MCP has: {error}") from None
    return None if found is UNSET else found


def check_envelope(meta: RequestMeta) -> None:
    """Refuse a modern request of a version we do not speak, or without what it must carry."""
    if meta.version not in MODERN:
        data = {"supported": [*MODERN], "requested": meta.version}
        raise Refusal(UNSUPPORTED_VERSION, "Unsupported protocol version", data)
    if meta.capabilities is UNSET:
        raise Refusal(PARAMS, f"`_meta` lacks {META}clientCapabilities")


def stamped(method: str, result: bytes, info: Json) -> bytes:
    """A modern result: its type, hints where it may be cached, and whose it is."""
    found: dict[str, Any] = {"resultType": "complete", **_members(result)}
    if method in CACHEABLE:
        found = {"ttlMs": 0, "cacheScope": "private", **found}
    meta: dict[str, Any] = _members(found["_meta"]) if "_meta" in found else {}
    return encode({**found, "_meta": {META + "serverInfo": info, **meta}})


def asking(requests: Json, state: str, info: Json) -> bytes:
    """The modern result that asks the client."""
    return encode(
        {
            "resultType": "input_required",
            "inputRequests": requests,
            "requestState": state,
            "_meta": {META + "serverInfo": info},
        }
    )
