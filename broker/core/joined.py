"""Lists that are asked of the plugins each time (tasks, skills), one plugin after the other, as one list.

A cursor is `PLUGIN:OWN`: whose page is next, and what the plugin calls it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable

import msgspec
from msgspec import Raw

from broker.core.ports import Reply
from broker.errors import BadArguments, BrokerError

log = logging.getLogger("broker.joined")

_encode = msgspec.json.Encoder().encode
_members = msgspec.json.Decoder(dict[str, Raw]).decode
_text = msgspec.json.Decoder(str).decode


async def page(what: str, plugins: Iterable[str], cursor: str | None, ask: Callable[[str], Awaitable[Reply]]) -> Reply:
    """One page of the list `what` of all `plugins`; one that fails is passed over. Raises `BadArguments`.

    `ask` is given the cursor to ask by.
    """
    left = sorted(plugins)
    first = cursor.partition(":")[0] if cursor is not None else "".join(left[:1])
    if cursor is not None and first not in left:
        raise BadArguments(f"the cursor {cursor!r} is not one of this list")
    left = [name for name in left if name >= first]
    at = cursor or f"{first}:"
    while left:
        name = left.pop(0)
        items, following = await _asked(what, name, at, ask)
        if following:
            at = f"{name}:{following}"
        elif left:
            at = f"{left[0]}:"
        if bytes(items) != b"[]" or following:
            return _encode({what: items, **({"nextCursor": at} if following or left else {})})
    return _encode({what: []})


async def _asked(what: str, name: str, cursor: str, ask: Callable[[str], Awaitable[Reply]]) -> tuple[Raw, str | None]:
    """A page of one plugin's, and its cursor of the next."""
    try:
        found = _members(await ask(cursor))
        return found.get(what, Raw(b"[]")), _text(found["nextCursor"]) if "nextCursor" in found else None
    except (BrokerError, msgspec.MsgspecError) as error:
        log.warning("the %s of %s are left out: %s", what, name, error)
        return Raw(b"[]"), None
