"""The open `subscriptions/listen` requests of one modern client, and the notices each of them gets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Mapping, Sequence

import msgspec
from msgspec import Raw, Struct

from broker.core.ports import Reply
from broker.core.tasks import WATCHED
from broker.faces.offers import SERVER_INFO
from broker.wire.eras import SERVER_INFO as SERVER_INFO_KEY
from broker.wire.eras import SUBSCRIPTION_ID, Members, members
from broker.wire.peer import Id

_encode = msgspec.json.Encoder().encode
_FILTERS = {"tools": "toolsListChanged", "prompts": "promptsListChanged", "resources": "resourcesListChanged"}


class Listen(Struct):
    """One open request: its id, the lists and the resources it wants to hear of."""

    id: Id
    kinds: set[str]
    uris: list[str]  # and tasks, marked as such
    over: asyncio.Future[None]

    def acknowledgement(self, watched: Sequence[str]) -> bytes:
        """The first notice: the part of the request that is honoured."""
        honoured: dict[str, object] = {_FILTERS[kind]: True for kind in sorted(self.kinds)}
        parts = zip(("taskIds", "resourceSubscriptions"), _parted(watched), strict=True)
        honoured |= {name: found for name, found in parts if found}
        return self.notice({"notifications": honoured})

    def result(self) -> bytes:
        """What ends it in good order."""
        meta = {SUBSCRIPTION_ID: self.id, SERVER_INFO_KEY: SERVER_INFO}
        return _encode({"resultType": "complete", "_meta": meta})

    def notice(self, params: Mapping[str, object]) -> bytes:
        return _encode({**params, "_meta": {SUBSCRIPTION_ID: self.id}})


class Listens:
    """All of them."""

    def __init__(self) -> None:
        self._open: dict[Id, Listen] = {}

    def open(self, id: Id, notifications: Members) -> Listen:
        kinds = {kind for kind, name in _FILTERS.items() if bytes(notifications.get(name, b"")) == b"true"}
        uris: list[str] = []
        with contextlib.suppress(msgspec.MsgspecError):
            uris = msgspec.json.decode(notifications.get("resourceSubscriptions", Raw(b"[]")), type=list[str])
            uris += [WATCHED + id for id in msgspec.json.decode(notifications.get("taskIds", b"[]"), type=list[str])]
        over = asyncio.get_running_loop().create_future()
        listen = self._open[id] = Listen(id, kinds, uris, over)
        return listen

    def end(self) -> None:
        """End them all in good order: each gets its result."""
        for listen in self._open.values():
            if not listen.over.done():
                listen.over.set_result(None)

    def close(self, id: Id) -> None:
        self._open.pop(id, None)

    def wants(self, uri: str) -> bool:
        return any(uri in listen.uris for listen in self._open.values())

    def changed(self, what: str) -> Iterator[bytes]:
        """The params of a list's change, for each that wants it."""
        return (listen.notice({}) for listen in list(self._open.values()) if what in listen.kinds)

    def updated(self, uri: str) -> Iterator[bytes]:
        return (listen.notice({"uri": uri}) for listen in list(self._open.values()) if uri in listen.uris)

    def task(self, id: str, params: Reply) -> Iterator[bytes]:
        """The params of a task's news, `id` marked as one, for each that wants it."""
        news = members(params)
        return (listen.notice(news) for listen in list(self._open.values()) if id in listen.uris)


def _parted(watched: Sequence[str]) -> tuple[list[str], list[str]]:
    """The ids of tasks, and the URIs of resources."""
    ids = [each.removeprefix(WATCHED) for each in watched if each.startswith(WATCHED)]
    return ids, [each for each in watched if not each.startswith(WATCHED)]
