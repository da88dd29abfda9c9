"""The broker as an MCP server: one `Session` per client, both eras on one connection, request by request.

Rule 1: a request that carries a 2026-07-28 envelope is modern, any other is legacy; the openings bind nothing, so a
        client that probes, gives up and initializes on the same pipe is served either way.
Rule 2: what is known is answered at once; only what needs a plugin waits.
Rule 3: a call's failure is told to the model, as a tool result with `isError`; a wrong name or message is an error.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw

from broker import __version__
from broker.core import tasks
from broker.core.manifest import LEAST_RESULT
from broker.core.ports import Call, Identity, Reply
from broker.core.router import Router
from broker.errors import (
    BadArguments,
    BrokerError,
    FrameTooLarge,
    NoSuchMethod,
    NotAnswered,
    NotFound,
    Overloaded,
    PluginFailed,
    RemoteError,
    TimedOut,
    UnsupportedVersion,
)
from broker.faces.listens import Listens
from broker.faces.offers import offered
from broker.faces.results import Results
from broker.link import Link
from broker.model import Era, Kind
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
MAX_INSTRUCTIONS = 32 << 10  # characters of all plugins' instructions together

_encode = msgspec.json.Encoder().encode
SERVER_INFO = Raw(
    _encode(
        {
            "name": "broker",
            "title": "broker",
            "version": __version__,
            "description": "All plugins, one process",
        }
    )
)
LISTS: dict[str, tuple[Kind, bytes]] = {
    "tools/list": ("tools", b"tools"),
    "resources/list": ("resources", b"resources"),
    "resources/templates/list": ("templates", b"resourceTemplates"),
    "prompts/list": ("prompts", b"prompts"),
}
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
_TOLD_TO_MODEL = (PluginFailed, TimedOut, Overloaded, FrameTooLarge, NotAnswered)

Answer = Reply | Coroutine[Any, Any, Reply]


class Session:
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
        self._search, self._results = search, Results(max_frame)
        self._small = min(LEAST_RESULT, max_frame)  # bytes that pass whatever anybody's limit is
        self._listens = Listens()
        self._subscribed: set[str] = set()
        self._shown: set[Kind] = set()
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
        if self._link.unsent < LAGGING:
            self._link.tell(method, params)
        elif method == "notifications/progress":
            self._progress[bytes(eras.members(params)["progressToken"])] = params

    async def ask(self, method: str, params: Reply) -> Reply:
        if not self._opened:
            raise NoSuchMethod(f"a client of MCP 2026-07-28 cannot be asked {method} in the middle of a call")
        version, declared = _version(self.identity), self.identity.capabilities
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
        self._changed |= kinds & self._shown if first else kinds
        if self._notice is None:
            self._notice = asyncio.get_running_loop().call_later(SETTLE, self._tell_changes)

    def _tell_changes(self) -> None:
        kinds, self._changed, self._notice = self._changed, set(), None
        if "tools" in kinds and self._search and not self._search.outdated(settled=self._router.all_known):
            kinds -= {"tools"}
        shown = {CHANGED[kind] for kind in kinds & self._shown}
        for what in sorted({CHANGED[kind] for kind in kinds}):
            if self._initialized and what in shown:  # what was never asked for cannot be out of date
                self._link.tell(f"notifications/{what}/list_changed")
            for params in self._listens.changed(what):
                self._link.tell(f"notifications/{what}/list_changed", params)

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
        params = _members(asked.params)
        raw = params.pop("_meta", None)
        meta = _members(raw) if raw is not None else None
        identity = self._identify(asked.method, meta)
        if asked.method in CALLS:
            if self._search is not None and asked.method == "tools/call" and self._search.serves(identity, params):
                return self._searched(self._search, identity, params, meta)
            return self._call(identity, asked.method, params, meta)
        if asked.method in LISTS:
            return self._list(identity, asked.method, params)
        if asked.method in tasks.METHODS[identity.era]:
            return self._call(identity, asked.method, params, meta)
        handler = (MODERN if identity.era is Era.MODERN else LEGACY).get(asked.method)
        if handler is not None and (asked.method != "tasks/list" or self._router.alone is None):
            return handler(self, asked, identity, params)
        if self._router.alone is not None:
            return self._call(identity, asked.method, params, meta)
        raise NoSuchMethod(f"{asked.method} is not a method of MCP {identity.version or identity.era}")

    def _told(self, told: Told) -> None:
        if told.method == "notifications/initialized":
            self._initialized = True
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
            self._modern = key, _modern_identity(method, meta)
            self.title = _name(self._modern[1].info)
        return self._modern[1]

    async def _call(self, identity: Identity, method: str, params: eras.Members, meta: eras.Members | None) -> Reply:
        call = Call(self, identity, method, params, meta)
        if meta is not None:
            call.token, call.log_level = meta.get("progressToken"), _text(meta, eras.LOG_LEVEL)
        if identity.era is Era.LEGACY:
            call.log_level = self._level
        name, version = params.get("name"), _version(identity)
        _check_arguments(method, params)
        try:
            if method == "resources/read" and (page := self._results.page(_text(params, "uri"), identity)) is not None:
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

    def _list(self, identity: Identity, method: str, params: eras.Members) -> Answer:
        if self._router.unknown(identity, self):
            return self._list_later(identity, method, params)
        return self._list_now(identity, method, params)

    async def _list_later(self, identity: Identity, method: str, params: eras.Members) -> Reply:
        await self._router.learned(identity, self)
        return self._list_now(identity, method, params)

    def _list_now(self, identity: Identity, method: str, params: eras.Members) -> Reply:
        kind, member = LISTS[method]
        self._shown.add(kind)
        cursor = _text(params, "cursor")
        if kind == "tools" and self._search is not None:
            page, following = self._search.page(identity, cursor, settled=self._router.all_known)
        else:
            page, following = self._router.catalog.page(kind, cursor)
        page = narrow.definitions(_version(identity), method, page)
        parts = [b'{"%b":%b' % (member, page)]
        if following is not None:
            parts.append(b',"nextCursor":%b' % _encode(following))
        if identity.era is Era.MODERN:
            parts.append(b',"resultType":"complete","ttlMs":0,"cacheScope":"private",%b' % self._stamp())
        return b"".join(parts) + b"}"

    async def _list_tasks(self, asked: Asked, identity: Identity, params: eras.Members) -> Reply:
        """The tasks of all plugins that tell theirs. One that was never met is not started for it."""
        listings = {name: self._router.catalog.listing(name) for name in self._router.plugins}
        names = [name for name, listing in listings.items() if listing is not None and tasks.lists_tasks(listing)]

        def ask(cursor: str) -> Awaitable[Reply]:
            return self._router.call(Call(self, identity, asked.method, {"cursor": Raw(_encode(cursor))}))

        return await tasks.page(names, _text(params, "cursor"), ask)

    def _initialize(self, asked: Asked, identity: Identity, params: eras.Members) -> Answer:
        requested = _text(params, "protocolVersion") or ""
        version = requested if requested in eras.LEGACY_VERSIONS else eras.LATEST_LEGACY
        capabilities = params.get("capabilities", Raw(b"{}"))
        info = params.get("clientInfo", identity.info)
        self.identity = Identity(Era.LEGACY, version, Raw(bytes(info)), _members(capabilities))
        self.title = _name(info)
        self._opened, self._initialized = True, False
        return self._described({"protocolVersion": version}, self.identity, in_meta=False)

    def _discover(self, asked: Asked, identity: Identity, params: eras.Members) -> Answer:
        head = {
            "resultType": "complete",
            "supportedVersions": eras.MODERN_VERSIONS,
            "ttlMs": 0,
            "cacheScope": "private",
        }
        return self._described(head, identity, in_meta=True)

    def _described(self, head: dict[str, Any], identity: Identity, *, in_meta: bool) -> Answer:
        if self._router.alone is not None:
            return self._described_alone(head, identity, in_meta)
        self._router.unknown(identity, self)  # the client will ask for the lists next: begin now
        return self._description(head, SERVER_INFO, self._offered(identity), self._instructions(identity), in_meta)

    async def _described_alone(self, head: dict[str, Any], identity: Identity, in_meta: bool) -> Reply:
        """A plugin that is passed through speaks for itself."""
        await self._router.learned(identity, self)
        listing = self._router.catalog.listing(self._router.alone or "")
        if listing is None:
            return self._description(head, SERVER_INFO, self._offered(identity), None, in_meta)
        capabilities = Raw(_encode(listing.capabilities))
        return self._description(head, listing.info, capabilities, listing.instructions, in_meta)

    def _offered(self, identity: Identity) -> Raw:
        found = (self._router.catalog.listing(name) for name in self._router.plugins)
        return offered((each for each in found if each is not None), identity)

    def _description(
        self, head: dict[str, Any], info: Raw, capabilities: Raw, instructions: str | None, in_meta: bool
    ) -> bytes:
        found = {**head, "capabilities": capabilities}
        found |= {"_meta": {eras.SERVER_INFO: info}} if in_meta else {"serverInfo": info}
        if instructions:
            found["instructions"] = instructions
        return _encode(found)

    def _instructions(self, identity: Identity) -> str | None:
        found = self._search.instructions(identity, self._router.plugins) if self._search is not None else None
        parts = [found] if found else []
        for name, plugin in self._router.plugins.items():
            listing = self._router.catalog.listing(name)
            if listing is not None and listing.instructions:
                parts.append(f"# {name}\n{listing.instructions}")
            elif listing is None and plugin.spec.required and plugin.failure is not None:
                parts.append(f"# {name}\nRequired, and not available: {plugin.failure}")
        return "\n\n".join(parts)[:MAX_INSTRUCTIONS] or None

    def _stamp(self) -> bytes:
        return b'"_meta":{"%b":%b}' % (eras.SERVER_INFO.encode(), SERVER_INFO)

    def _ping(self, asked: Asked, identity: Identity, params: eras.Members) -> Answer:
        return b"{}"

    def _set_level(self, asked: Asked, identity: Identity, params: eras.Members) -> Answer:
        level = _text(params, "level") or ""
        self._router.set_level(self, level)
        self._level = level
        return b"{}"

    async def _subscribe(self, asked: Asked, identity: Identity, params: eras.Members) -> Reply:
        uri = _required(params, "uri")
        await self._watch(identity, uri)
        self._subscribed.add(uri)
        return b"{}"

    async def _unsubscribe(self, asked: Asked, identity: Identity, params: eras.Members) -> Reply:
        uri = _required(params, "uri")
        self._subscribed.discard(uri)
        if not self._listens.wants(uri):
            await self._router.unwatch(self, uri)
        return b"{}"

    async def _listen(self, asked: Asked, identity: Identity, params: eras.Members) -> Reply:
        """Stays open until the client cancels it or says nothing more; the notices go out meanwhile."""
        listen = self._listens.open(asked.id, _members(params.get("notifications", Raw(b"{}"))))
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
            return listen.notice({"resultType": "complete"})
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
CALLS = frozenset({"tools/call", "resources/read", "prompts/get", "completion/complete"})
LEGACY: dict[str, Handler] = {
    "initialize": Session._initialize,  # pyright: ignore[reportPrivateUsage]
    "ping": Session._ping,  # pyright: ignore[reportPrivateUsage]
    "logging/setLevel": Session._set_level,  # pyright: ignore[reportPrivateUsage]
    "resources/subscribe": Session._subscribe,  # pyright: ignore[reportPrivateUsage]
    "resources/unsubscribe": Session._unsubscribe,  # pyright: ignore[reportPrivateUsage]
    "tasks/list": Session._list_tasks,  # pyright: ignore[reportPrivateUsage]
}
MODERN: dict[str, Handler] = {
    "server/discover": Session._discover,  # pyright: ignore[reportPrivateUsage]
    "subscriptions/listen": Session._listen,  # pyright: ignore[reportPrivateUsage]
}
_WHO = (eras.CLIENT_INFO, eras.CLIENT_CAPABILITIES)


def _modern_identity(method: str, meta: eras.Members) -> Identity:
    version = _text(meta, eras.VERSION) or ""
    if version not in eras.MODERN_VERSIONS:
        data = Raw(_encode({"supported": eras.MODERN_VERSIONS, "requested": version}))
        raise UnsupportedVersion(f"protocol version {version!r} is not supported", data=data)
    capabilities = meta.get(eras.CLIENT_CAPABILITIES)
    if capabilities is None:
        raise BadArguments(f"{method} needs {eras.CLIENT_CAPABILITIES} in `_meta`")
    info = meta.get(eras.CLIENT_INFO, Identity().info)
    return Identity(Era.MODERN, version, Raw(bytes(info)), _members(capabilities))


def _version(identity: Identity) -> str:
    """The version a client speaks; one that never said is taken for new."""
    return identity.version or eras.LATEST_LEGACY


def _members(value: Raw) -> eras.Members:
    try:
        return eras.members(value)
    except msgspec.MsgspecError:
        raise BadArguments("`params` and its `_meta` must be objects") from None


def _check_arguments(method: str, params: eras.Members) -> None:
    """Many servers never answer a call whose arguments are no object. Null is what some clients write for none."""
    arguments = params.get("arguments")
    if arguments is None or memoryview(arguments)[0] == ord("{"):
        return
    if arguments != Raw(b"null"):
        raise BadArguments(f"`arguments` of {method} must be an object")
    del params["arguments"]


def _text(params: eras.Members, member: str) -> str | None:
    try:
        return msgspec.json.decode(params[member], type=str | None) if member in params else None
    except msgspec.MsgspecError:
        raise BadArguments(f"`{member}` must be a string") from None


def _required(params: eras.Members, member: str) -> str:
    found = _text(params, member)
    if not found:
        raise BadArguments(f"`{member}` is missing")
    return found


def _name(info: Raw) -> str:
    try:
        return str(msgspec.json.decode(info, type=dict[str, Any]).get("name", "a client"))[:80]
    except msgspec.MsgspecError:
        return "a client"


def _tool_failure(error: BrokerError, era: Era) -> bytes:
    assert not isinstance(error, RemoteError)
    found: dict[str, Any] = {
        "content": [{"type": "text", "text": f"{error}\n{error.hint}"}],
        "isError": True,
        "_meta": {"plugin-broker/error": {"code": error.code, "name": error.name, "hint": error.hint, **error.facts}},
    }
    if era is Era.MODERN:
        found["resultType"] = "complete"
    return _encode(found)
