"""What an MCP server shows, asked for page by page.

Rule 1: a list is a whole answer or none: one cut off half way, refused or not answered in time replaces nothing.
Rule 2: a server that ignores cursors shows its first page again; that is its end. A method it does not have is an
        empty list, whatever its capabilities say.
Rule 3: a definition nobody could name, or too long for a client's frame, is left out.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import msgspec
from msgspec import Raw

from broker.core.ports import Reply
from broker.errors import RemoteError
from broker.model import Kind
from broker.wire import eras

log = logging.getLogger("broker.upstream")

LISTS: dict[Kind, tuple[str, str, str]] = {  # method, member of the result, capability
    "tools": ("tools/list", "tools", "tools"),
    "resources": ("resources/list", "resources", "resources"),
    "templates": ("resources/templates/list", "resourceTemplates", "resources"),
    "prompts": ("prompts/list", "prompts", "prompts"),
}
NAMES: dict[Kind, str] = {"tools": "name", "prompts": "name", "resources": "uri", "templates": "uriTemplate"}
MAX_ITEM = 4 << 20  # bytes of one definition; half of what is written to a client in one message
MAX_PAGES = 1000  # of one list
NO_SUCH_METHOD = -32601

Ask = Callable[[str, eras.Members], Awaitable[Reply]]


async def listed(name: str, kind: Kind, ask: Ask, *, bound: float) -> list[Raw] | None:
    """The definitions of a kind that the server `name` shows; None if it gave no whole answer within `bound` s."""
    method = LISTS[kind][0]
    try:
        async with asyncio.timeout(bound):
            found = await _pages(kind, ask)
    except RemoteError as error:
        log.warning("%s answered %s with an error: %s", name, method, error)
        return [] if error.code == NO_SUCH_METHOD else None
    except (TimeoutError, msgspec.MsgspecError) as error:
        log.warning("%s did not answer %s: %s", name, method, error or f"not within {bound:g} s")
        return None
    kept = [Raw(bytes(item)) for item in found if len(memoryview(item)) <= MAX_ITEM and _named(kind, item)]
    if len(kept) < len(found):
        log.warning("%s shows %d %s without a name or too long; left out", name, len(found) - len(kept), kind)
    return kept


async def _pages(kind: Kind, ask: Ask) -> list[Raw]:
    method, member, _ = LISTS[kind]
    found: list[Raw] = []
    params: eras.Members = {}
    before: bytes | None = None
    for _ in range(MAX_PAGES):
        page = eras.members(await ask(method, params))
        items = page.get(member, Raw(b"[]"))
        if bytes(items) == before:
            break
        before = bytes(items)
        found += msgspec.json.decode(items, type=list[Raw])
        cursor = page.get("nextCursor")
        if cursor is None or bytes(cursor) == b"null":
            break
        params = {"cursor": cursor}
    return found


def _named(kind: Kind, item: Raw) -> bool:
    try:
        name = eras.members(item).get(NAMES[kind])
        return name is not None and bool(msgspec.json.decode(name, type=str))
    except msgspec.MsgspecError:
        return False
