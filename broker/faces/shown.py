"""What one client is shown: what the broker says of itself, and the lists.

Rule 1: what is known is answered at once. Only a list waits for plugins never met, and a plugin that is passed through
        alone, which speaks for itself.
Rule 2: the client is told of a changed list only if it is shown another one.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw

from broker.core.ports import Face, Identity, Reply
from broker.core.router import Router
from broker.faces.offers import SERVER_INFO, STAMP, offered
from broker.faces.params import text, version_of
from broker.model import Era, Kind
from broker.wire import eras, narrow

if TYPE_CHECKING:
    from broker.faces.search import Search

MAX_INSTRUCTIONS = 32 << 10  # characters of all plugins' instructions together
LISTS: dict[str, tuple[Kind, bytes]] = {
    "tools/list": ("tools", b"tools"),
    "resources/list": ("resources", b"resources"),
    "resources/templates/list": ("templates", b"resourceTemplates"),
    "prompts/list": ("prompts", b"prompts"),
}
_encode = msgspec.json.Encoder().encode

Answer = Reply | Coroutine[Any, Any, Reply]


class Shown:
    """See above. `face` is the client's; `search`, if any, decides how it is shown tools."""

    def __init__(self, router: Router, face: Face, search: Search | None) -> None:
        self._router, self._face, self.search = router, face, search
        self.kinds: set[Kind] = set()  # of lists it asked for
        self._asker = Identity()  # who asked for tools last

    # lists

    def list(self, identity: Identity, method: str, params: eras.Members) -> Answer:
        """One page of a list."""
        if self._router.unknown(identity, self._face):
            return self._list_later(identity, method, params)
        return self._list_now(identity, method, params)

    async def _list_later(self, identity: Identity, method: str, params: eras.Members) -> Reply:
        await self._router.learned(identity, self._face)
        return self._list_now(identity, method, params)

    def _list_now(self, identity: Identity, method: str, params: eras.Members) -> Reply:
        kind, member = LISTS[method]
        self.kinds.add(kind)
        if kind == "tools":
            self._asker = identity
        cursor = text(params, "cursor")
        if kind == "tools" and self.search is not None:
            page, following = self.search.page(identity, cursor, settled=self._router.all_known)
        else:
            page, following = self._router.catalog.page(kind, cursor)
        page = narrow.definitions(version_of(identity), method, page)
        parts = [b'{"%b":%b' % (member, page)]
        if following is not None:
            parts.append(b',"nextCursor":%b' % _encode(following))
        if identity.era is Era.MODERN:
            parts.append(b',"resultType":"complete","ttlMs":0,"cacheScope":"private","_meta":%b' % STAMP)
        return b"".join(parts) + b"}"

    def expose(self, search: Search | None) -> bool:
        """Show tools by `search` from now on, None: as they are. Whether the client's list is another one then."""
        before, self.search = self._first(), search
        return before != self._first()

    def _first(self) -> bytes:
        if self.search is not None:
            return self.search.first(self._asker, settled=self._router.all_known)
        return self._router.catalog.page("tools", None)[0]

    def really(self, kinds: set[Kind]) -> set[Kind]:
        """Those of `kinds` whose lists are not what the client was shown."""
        if "tools" in kinds and self.search and not self.search.outdated(settled=self._router.all_known):
            return kinds - {"tools"}
        return kinds

    # openings

    def description(self, head: dict[str, Any], identity: Identity, *, in_meta: bool) -> Answer:
        """What answers an opening: `head`, capabilities, instructions, and who we are (in `_meta` since 2026-07-28)."""
        if self._router.alone is not None:
            return self._alone(head, identity, in_meta)
        self._router.unknown(identity, self._face)  # the client will ask for the lists next: begin now
        return _described(head, SERVER_INFO, self._offered(identity), self._instructions(identity), in_meta)

    async def _alone(self, head: dict[str, Any], identity: Identity, in_meta: bool) -> Reply:
        """A plugin that is passed through speaks for itself."""
        await self._router.learned(identity, self._face)
        listing = self._router.catalog.listing(self._router.alone or "")
        if listing is None:
            return _described(head, SERVER_INFO, self._offered(identity), None, in_meta)
        capabilities = Raw(_encode(listing.capabilities))
        return _described(head, listing.info, capabilities, listing.instructions, in_meta)

    def _offered(self, identity: Identity) -> Raw:
        found = (self._router.catalog.listing(name) for name in self._router.plugins)
        return offered((each for each in found if each is not None), identity, all_known=self._router.all_known)

    def _instructions(self, identity: Identity) -> str | None:
        found = self.search.instructions(identity, self._router.plugins) if self.search is not None else None
        parts = [found] if found else []
        for name, plugin in self._router.plugins.items():
            listing = self._router.catalog.listing(name)
            if listing is not None and listing.instructions:
                parts.append(f"# {name}\n{listing.instructions}")
            elif listing is None and plugin.spec.required and plugin.failure is not None:
                parts.append(f"# {name}\nRequired, and not available: {plugin.failure}")
        return "\n\n".join(parts)[:MAX_INSTRUCTIONS] or None


def _described(head: dict[str, Any], info: Raw, capabilities: Raw, instructions: str | None, in_meta: bool) -> bytes:
    found = {**head, "capabilities": capabilities}
    found |= {"_meta": {eras.SERVER_INFO: info}} if in_meta else {"serverInfo": info}
    if instructions:
        found["instructions"] = instructions
    return _encode(found)
