"""What a client's request holds, read with the errors it is due."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from broker.core.ports import Identity
from broker.errors import BadArguments, UnsupportedVersion
from broker.model import Era
from broker.wire import eras

_encode = msgspec.json.Encoder().encode


def members(value: Raw) -> eras.Members:
    """The members of `params`, or of an object in them. Raises `BadArguments`."""
    try:
        return eras.members(value)
    except msgspec.MsgspecError:
        raise BadArguments("`params` and its `_meta` must be objects") from None


def text(params: eras.Members, member: str) -> str | None:
    """A text that may be left out. Raises `BadArguments`."""
    try:
        return msgspec.json.decode(params[member], type=str | None) if member in params else None
    except msgspec.MsgspecError:
        raise BadArguments(f"`{member}` must be a string") from None


def required(params: eras.Members, member: str) -> str:
    """A text that must be there. Raises `BadArguments`."""
    found = text(params, member)
    if not found:
        raise BadArguments(f"`{member}` is missing")
    return found


def check_arguments(method: str, params: eras.Members) -> None:
    """Many servers never answer a call whose arguments are no object. Null is what some clients write for none."""
    arguments = params.get("arguments")
    if arguments is None or memoryview(arguments)[0] == ord("{"):
        return
    if arguments != Raw(b"null"):
        raise BadArguments(f"`arguments` of {method} must be an object")
    del params["arguments"]


def modern_identity(method: str, meta: eras.Members) -> Identity:
    """Who a modern request's envelope says it is. Raises `UnsupportedVersion`, `BadArguments`."""
    version = text(meta, eras.VERSION) or ""
    if version not in eras.MODERN_VERSIONS:
        data = Raw(_encode({"supported": eras.MODERN_VERSIONS, "requested": version}))
        raise UnsupportedVersion(f"protocol version {version!r} is not supported", data=data)
    capabilities = meta.get(eras.CLIENT_CAPABILITIES)
    if capabilities is None:
        raise BadArguments(f"{method} needs {eras.CLIENT_CAPABILITIES} in `_meta`")
    info = meta.get(eras.CLIENT_INFO, Identity().info)
    return Identity(Era.MODERN, version, Raw(bytes(info)), members(capabilities))


def version_of(identity: Identity) -> str:
    """The version a client speaks; one that never said is taken for new."""
    return identity.version or eras.LATEST_LEGACY


def name_of(info: Raw) -> str:
    """What a client calls itself."""
    try:
        return str(msgspec.json.decode(info, type=dict[str, Any]).get("name", "a client"))[:80]
    except msgspec.MsgspecError:
        return "a client"
