"""The broker as an MCP server: one `Session` per client, both eras on one connection, request by request.

Rule 1: a request that carries a 2026-07-28 envelope is modern, any other is legacy; the openings bind nothing, so a
        client that probes, gives up and initializes on the same pipe is served either way.
Rule 2: what is known is answered at once; only what needs a plugin waits.
Rule 3: a call's failure is told to the model, as a tool result with `isError`; a wrong name or message is an error.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw

from broker.core import joined, skills, tasks
from broker.core.manifest import LEAST_RESULT
from broker.core.ports import Call, Identity, Plain, Reply
from broker.core.router import Router
from broker.errors import (
    BadArguments,
    BrokerError,
    Denied,
    FrameTooLarge,
    LedgerBroken,
    NoSuchMethod,
    NotAnswered,
    NotEnforced,
    NotFound,
    Overloaded,
    PermissionMissing,
    PluginFailed,
    RemoteError,
    TimedOut,
    Withdrawn,
)
from broker.faces.listens import Listens
from broker.faces.offers import SERVER_INFO
from broker.faces.params import check_arguments, members, modern_identity, name_of, required, text, version_of
from broker.faces.results import Results
from broker.faces.shown import LISTS, Answer, Shown
from broker.link import Link
from broker.model import Era, Kind, Listing
from broker.stream import Stream
from broker.wire import eras, narrow, questions
from broker.wire.framing import Lines
from broker.wire.peer import Asked, Peer, Told

if TYPE_CHECKING:
    from broker.faces.search import Search

log = logging.getLogger("broker.mcp")

CLOGGED = 8 << 20  # unsent bytes from which a client is not read, and none of its calls is begun
LAGGING = 1 << 20  # unsent bytes from which progress and log messages of a client are left out
LINGER = 1.0  # seconds that calls in flight may go on when the client's side has ended
SETTLE = 0.05  # seconds in which changes of lists become one notice
FRAME_ROOM = 1 << 10  # bytes of an envelope around a result

_encode = msgspec.json.Encoder().encode
CHANGED: dict[Kind, str] = {
    "tools": "tools",
    "prompts": "prompts",
    "resources": "resources",
    "templates": "resources",
}
PUSHES = {
    **questions.NEEDS,
    # A client's own tasks, by ids only their plugin knows. `tasks/list` would show them to every plugin.
    "tasks/get": "tasks",
    "tasks/result": "tasks",
    "tasks/cancel": "tasks",
}
RESOURCE_NOT_FOUND = -32002  # MCP before 2026-07-28; then -32602
_TOLD_TO_MODEL = (
    *(PluginFailed, TimedOut, Overloaded, FrameTooLarge, NotAnswered),
    *(PermissionMissing, NotEnforced, LedgerBroken, Withdrawn, Denied),
)


class Session(Plain):
    """One client on one stream. It is the `Face` the core knows that client by."""

    def __init__(
        self,
        router: Router,
        stream: Stream,
        *,
        key: str,
        max_frame: int,
        on_end: Callable[[], None],
        search: Search | None = None,
    ) -> None:
        self._router, self._max_frame, self._on_end = router, max_frame, on_end
        self.key = key
        self.title = "a client"
        self.identity = Identity()
        self._modern: tuple[bytes, Identity] = (b"", Identity(era=Era.MODERN))
        self._modern_seen = False  # a request with an envelope came
        self._opened = False  # `initialize` came
        self._initialized = False  # and the client said it is ready
        self._level: str | None = None
        self._shown, self._results = Shown(router, self, search), Results(max_frame)
        self._small = min(LEAST_RESULT, max_frame)  # bytes that pass whatever anybody's limit is
        self._listens = Listens()
        self._subscribed: set[str] = set()
        self._changed: set[Kind] = set()
        self._notice: asyncio.TimerHandle | None = None
        self._behind: set[str] = set()  # resources whose updates wait until the client reads again
        self._progress: dict[bytes, Reply] = {}  # the newest of each of its tokens, which waits the same way
        self._room = asyncio.Event()
        self._link = Link(
            Peer(Lines()),
            stream,
            on_ask=self._asked,
            on_tell=self._told,
            on_end=self._ended,
            linger=LINGER,
            max_unsent=CLOGGED,
            max_frame=max_frame + FRAME_ROOM,
            on_far_end=self._listens.end,
            on_room=self._caught_up,
        )

    def start(self) -> None:
        """Begin to serve."""
        self._router.join(self)
        self._link.start()

    def close(self) -> None:
        """End the session. Safe to call twice."""
        self._link.close()

    # what the core tells its face

    def tell(self, method: str, params: Reply) -> None:
        if method in eras.LATEST_LEGACY_NOTICES and not self._of_latest_legacy:
            return
        if self._link.unsent < LAGGING:
            self._link.tell(method, params)
        elif method == "notifications/progress":
            self._progress[bytes(eras.members(params)["progressToken"])] = params

    @property
    def _of_latest_legacy(self) -> bool:
        return self._opened and version_of(self.identity) == eras.LATEST_LEGACY

    async def ask(self, method: str, params: Reply) -> Reply:
        if not self._opened:
            raise NoSuchMethod(f"a client of MCP 2026-07-28 cannot be asked {method} in the middle of a call")
        version, declared = version_of(self.identity), self.identity.capabilities
        refused = method in questions.NEEDS and questions.refused(version, declared, method, params)
        if refused or PUSHES.get(method, "") not in declared:
            what = questions.named(method, params)
            raise NoSuchMethod(f"{self.title} did not declare that it answers {what}")
        if self.clogged:
            raise Overloaded(f"{self.title} does not read what it is sent")
        if len(memoryview(params)) > self._max_frame:
            raise FrameTooLarge(f"{method} has {len(memoryview(params))} bytes; the limit is {self._max_frame}")
        params, back = questions.asked(version, method, params)
        id, waiter = self._link.ask(method, params)
        try:
            answer = await waiter
            return answer if back is None else back(answer)
        except asyncio.CancelledError:
            self._link.give_up(id)
            raise

    def changed(self, kinds: set[Kind], *, first: bool) -> None:
        """Tell of changed lists; several changes at once are one notice, and a meeting only changes what was shown."""
        self._changed |= kinds & self._shown.kinds if first else kinds
        if self._notice is None:
            self._notice = asyncio.get_running_loop().call_later(SETTLE, self._tell_changes)

    def _tell_changes(self) -> None:
        kinds, self._changed, self._notice = self._changed, set(), None
        kinds = self._shown.really(kinds)
        shown = {CHANGED[kind] for kind in kinds & self._shown.kinds}
        for what in sorted({CHANGED[kind] for kind in kinds}):
            if self._initialized and what in shown:  # what was never asked for cannot be out of date
                self._link.tell(f"notifications/{what}/list_changed")
            for params in self._listens.changed(what):
                self._link.tell(f"notifications/{what}/list_changed", params)

    def expose(self, search: Search | None) -> None:
        """Show tools in another way from now on: by `search`, or as they are."""
        if self._shown.expose(search):
            self.changed({"tools"}, first=False)

    @property
    def clogged(self) -> bool:
        return self._link.open and self._link.unsent > CLOGGED

    async def room(self) -> None:
        """Return when the client has read what was written to it, or has left."""
        self._room.clear()
        if self.clogged:
            await self._room.wait()

    def _caught_up(self) -> None:
        self._room.set()
        behind, self._behind = self._behind, set()
        for uri in behind:
            self.updated(uri)
        progress, self._progress = self._progress, {}
        for params in progress.values():
            self._link.tell("notifications/progress", params)

    def updated(self, uri: str) -> None:
        if self._link.unsent > LAGGING:
            self._behind.add(uri)
            return
        if uri in self._subscribed:
            self._link.tell("notifications/resources/updated", _encode({"uri": uri}))
        for params in self._listens.updated(uri):
            self._link.tell("notifications/resources/updated", params)

    def task_changed(self, id: str, params: Reply) -> None:
        for notice in self._listens.task(id, params):
            self._link.tell(tasks.NEWS, notice)

    def logged(self, params: Reply) -> None:
        if not self._initialized:
            return
        level = msgspec.json.decode(params, type=dict[str, Any]).get("level")
        if self._level is None or (
            level in eras.LOG_LEVELS and eras.LOG_LEVELS.index(level) >= eras.LOG_LEVELS.index(self._level)
        ):
            self.tell("notifications/message", params)

    # what the client says

    def _asked(self, asked: Asked) -> Answer:
        params = members(asked.params)
        raw = params.pop("_meta", None)
        meta = members(raw) if raw is not None else None
        identity = self._identify(asked.method, meta)
        if asked.method in CALLS:
            search = self._shown.search
            if search is not None and asked.method == "tools/call" and search.serves(identity, params):
                return self._searched(search, identity, params, meta)
            return self._call(identity, asked.method, params, meta)
        if asked.method in LISTS:
            return self._shown.list(identity, asked.method, params)
        if asked.method in tasks.METHODS[identity.era]:
            return self._call(identity, asked.method, params, meta)
        handler = (MODERN if identity.era is Era.MODERN else LEGACY).get(asked.method)
        if handler is not None and (asked.method not in JOINED or self._router.alone is None):
            return handler(self, asked, identity, params)
        if self._router.alone is not None:
            return self._call(identity, asked.method, params, meta)
        raise NoSuchMethod(f"{asked.method} is not a method of MCP {identity.version or identity.era}")

    def _told(self, told: Told) -> None:
        if told.method == "notifications/initialized":
            self._initialized = True
            for notice in self._router.generations.notices:
                self.logged(notice)
        elif memoryview(told.params)[0] != ord("{"):
            log.debug("%s dropped: its params are no object", told.method)
        elif told.method == "notifications/roots/list_changed" or self._router.alone is not None:
            self._router.tell_all(told.method, told.params)

    def _ended(self) -> None:
        self._room.set()
        self._results.close()
        self._router.leave(self)
        self._on_end()

    def _identify(self, method: str, meta: eras.Members | None) -> Identity:
        """Whether this request is modern, and who asks."""
        if method == "initialize":
            return self.identity
        if meta is None or eras.VERSION not in meta:
            if method == "server/discover" or (self._modern_seen and not self._opened):
                raise BadArguments(f"{method} needs `_meta` with {eras.VERSION} and {eras.CLIENT_CAPABILITIES}")
            return self.identity
        self._modern_seen = True
        key = b"%b%b%b" % tuple(bytes(meta.get(name, b"")) for name in (eras.VERSION, *_WHO))
        if key != self._modern[0]:
            self._modern = key, modern_identity(method, meta)
            self.title = name_of(self._modern[1].info)
            self._router.met(self, self._modern[1])
        return self._modern[1]

    async def _call(self, identity: Identity, method: str, params: eras.Members, meta: eras.Members | None) -> Reply:
        call = Call(self, identity, method, params, meta)
        if meta is not None:
            call.token, call.log_level = meta.get("progressToken"), text(meta, eras.LOG_LEVEL)
        if identity.era is Era.LEGACY:
            call.log_level = self._level
        name, version = params.get("name"), version_of(identity)
        check_arguments(method, params)
        try:
            if method == "resources/read" and (page := self._results.page(text(params, "uri"), identity)) is not None:
                return page
            if not self._router.all_known:
                await self._router.learned_for(call)
            result = await self._router.call(call)
            result = narrow.result(version, method, result, lambda: self._definition(name))
            if len(memoryview(result)) <= self._small:
                return result
            return self._results.bounded(call, result, self._router.plugins.get(call.chain[-1]), _tool_failure)
        except NotFound as error:
            if method == "resources/read" and identity.era is Era.LEGACY:
                raise RemoteError(RESOURCE_NOT_FOUND, str(error)) from None
            raise
        except RemoteError as error:
            raise narrow.error(version, error) from None
        except _TOLD_TO_MODEL as error:
            if method != "tools/call":
                raise
            return _tool_failure(error, identity.era)
        finally:
            if self._progress and call.token is not None:
                self._progress.pop(bytes(call.token), None)

    def _definition(self, name: Raw | None) -> Raw | None:
        """A tool as the catalog shows it, if it still does."""
        try:
            return self._router.catalog.tool(msgspec.json.decode(name or b'""', type=str)).raw
        except (NotFound, msgspec.MsgspecError):
            return None

    async def _searched(
        self, search: Search, identity: Identity, params: eras.Members, meta: eras.Members | None
    ) -> Reply:
        """One of the three tools that stand for all; the model is told what is wrong with its call of them."""
        try:
            if search.through(params):
                return await self._call(identity, "tools/call", params, meta)
            await self._router.learned(identity, self)
            return await search.answer(params, identity.era)
        except BadArguments as error:
            error.hint = search.HINT
            return _tool_failure(error, identity.era)

    async def _list_tasks(self, asked: Asked, identity: Identity, params: eras.Members) -> Reply:
        """The tasks of all plugins that tell theirs. One that was never met is not started for it."""
        return await self._joined("tasks", asked.method, tasks.lists_tasks, identity, params)

    async def _list_skills(self, asked: Asked, identity: Identity, params: eras.Members) -> Reply:
        """The skills of all plugins that have some."""
        await self._router.learned(identity, self)
        found = await self._joined("skills", asked.method, skills.offers, identity, params)
        return found if identity.era is Era.LEGACY else eras.modern_result(asked.method, found, SERVER_INFO)

    async def _joined(
        self, what: str, method: str, has: Callable[[Listing], bool], identity: Identity, params: eras.Members
    ) -> Reply:
        """A page of a list that plugins are asked for each time."""
        catalog = self._router.catalog
        listings = {name: catalog.listing(name) for name in self._router.plugins if not catalog.withheld(name).reason}
        names = [name for name, listing in listings.items() if listing is not None and has(listing)]

        modern = identity.era is Era.MODERN
        meta = eras.modern_meta(None, identity.info, identity.capabilities, None) if modern else None

        def ask(cursor: str) -> Awaitable[Reply]:
            return self._router.call(Call(self, identity, method, {"cursor": Raw(_encode(cursor))}, meta))

        return await joined.page(what, names, text(params, "cursor"), ask)

    def _initialize(self, asked: Asked, identity: Identity, params: eras.Members) -> Answer:
        requested = text(params, "protocolVersion") or ""
        version = requested if requested in eras.LEGACY_VERSIONS else eras.LATEST_LEGACY
        capabilities = params.get("capabilities", Raw(b"{}"))
        info = params.get("clientInfo", identity.info)
        self.identity = Identity(Era.LEGACY, version, Raw(bytes(info)), members(capabilities))
        self.title = name_of(info)
        self._opened, self._initialized = True, False
        self._router.met(self, self.identity)
        return self._shown.description({"protocolVersion": version}, self.identity, in_meta=False)

    def _discover(self, asked: Asked, identity: Identity, params: eras.Members) -> Answer:
        head = {
            "resultType": "complete",
            "supportedVersions": eras.MODERN_VERSIONS,
            "ttlMs": 0,
            "cacheScope": "private",
        }
        return self._shown.description(head, identity, in_meta=True)

    def _ping(self, asked: Asked, identity: Identity, params: eras.Members) -> Answer:
        return b"{}"

    def _set_level(self, asked: Asked, identity: Identity, params: eras.Members) -> Answer:
        level = text(params, "level") or ""
        self._router.set_level(self, level)
        self._level = level
        return b"{}"

    async def _subscribe(self, asked: Asked, identity: Identity, params: eras.Members) -> Reply:
        uri = required(params, "uri")
        await self._watch(identity, uri)
        self._subscribed.add(uri)
        return b"{}"

    async def _unsubscribe(self, asked: Asked, identity: Identity, params: eras.Members) -> Reply:
        uri = required(params, "uri")
        self._subscribed.discard(uri)
        if not self._listens.wants(uri):
            await self._router.unwatch(self, uri)
        return b"{}"

    async def _listen(self, asked: Asked, identity: Identity, params: eras.Members) -> Reply:
        """Stays open until the client cancels it or says nothing more; the notices go out meanwhile."""
        listen = self._listens.open(asked.id, members(params.get("notifications", Raw(b"{}"))))
        if any(uri.startswith(tasks.WATCHED) for uri in listen.uris):
            tasks.check(identity, asked.method)
        watched: list[str] = []
        try:
            for uri in listen.uris:
                try:
                    await self._watch(identity, uri)
                    watched.append(uri)
                except BrokerError as error:
                    log.info("%s cannot be watched: %s", uri, error)
            self._link.tell("notifications/subscriptions/acknowledged", listen.acknowledgement(watched))
            await listen.over
            return listen.result()
        finally:
            self._listens.close(asked.id)
            for uri in watched:
                if not self._listens.wants(uri) and uri not in self._subscribed:
                    self._unwatch_soon(uri)

    async def _watch(self, identity: Identity, uri: str) -> None:
        try:
            await self._router.watch(self, identity, uri)
        except NotFound:  # perhaps it is of a plugin never met
            await self._router.learned(identity, self)
            await self._router.watch(self, identity, uri)

    def _unwatch_soon(self, uri: str) -> None:
        if self._link.open:
            task = asyncio.get_running_loop().create_task(self._router.unwatch(self, uri))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())


Handler = Callable[[Session, Asked, Identity, eras.Members], Answer]
CALLS = frozenset({"tools/call", "resources/read", "prompts/get", "completion/complete", *skills.METHODS})
LEGACY: dict[str, Handler] = {
    "initialize": Session._initialize,  # pyright: ignore[reportPrivateUsage]
    "ping": Session._ping,  # pyright: ignore[reportPrivateUsage]
    "logging/setLevel": Session._set_level,  # pyright: ignore[reportPrivateUsage]
    "resources/subscribe": Session._subscribe,  # pyright: ignore[reportPrivateUsage]
    "resources/unsubscribe": Session._unsubscribe,  # pyright: ignore[reportPrivateUsage]
    "tasks/list": Session._list_tasks,  # pyright: ignore[reportPrivateUsage]
    "skills/list": Session._list_skills,  # pyright: ignore[reportPrivateUsage]
}
MODERN: dict[str, Handler] = {
    "server/discover": Session._discover,  # pyright: ignore[reportPrivateUsage]
    "subscriptions/listen": Session._listen,  # pyright: ignore[reportPrivateUsage]
    "skills/list": Session._list_skills,  # pyright: ignore[reportPrivateUsage]
}
JOINED = frozenset({"tasks/list", "skills/list"})  # a plugin that is passed through answers them itself
_WHO = (eras.CLIENT_INFO, eras.CLIENT_CAPABILITIES)


def _tool_failure(error: BrokerError, era: Era) -> bytes:
    assert not isinstance(error, RemoteError)
    found: dict[str, Any] = {
        "content": [{"type": "text", "text": f"{error}\n{error.hint}"}],
        "isError": True,
        "_meta": {"plugin-broker/error": {"code": error.code, "name": error.name, "hint": error.hint, **error.facts}},
    }
    if era is Era.MODERN:
        found["resultType"] = "complete"
        found["_meta"][eras.SERVER_INFO] = SERVER_INFO
    return _encode(found)
