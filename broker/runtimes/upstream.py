"""The conversation with one running MCP server, in the era it was opened in.

Rule 1: a call's payload passes as bytes; only `_meta` is read, and only where a token or an envelope changes.
Rule 2: what the server pushes belongs to the call in flight, if all calls in flight are one caller's.
Rule 3: the server's death is told once, with everything known about it, to every caller and to the host.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
from msgspec import Raw

from broker.confine.condition import suspended
from broker.confine.tree import GRACE, Child, describe_exit
from broker.core import commands, tasks
from broker.core.ports import Call, Host, Lost, Reply, Unsent
from broker.errors import (
    BrokerError,
    Closed,
    NoSuchMethod,
    NotFound,
    PluginFailed,
    PluginUnavailable,
    RemoteError,
)
from broker.link import Link
from broker.model import Era, Kind, Listing, Spec
from broker.permissions.lack import may_sample, no_sampling
from broker.permissions.redaction import NO_SECRETS, Redaction
from broker.runtimes.channel import Channel, Operate
from broker.runtimes.conduct import Conduct
from broker.runtimes.lists import LISTS, listed
from broker.runtimes.plugin_log import PluginLog
from broker.runtimes.progress import Progress
from broker.runtimes.rounds import settled
from broker.runtimes.tasks import Tasks, finished
from broker.stream import FdStream
from broker.wire import eras
from broker.wire.framing import LARGE, Lines
from broker.wire.peer import Asked, Peer, Told, Unreadable

log = logging.getLogger("broker.upstream")

FAIL_GRACE = 0.3  # seconds per step for one that is ended because it does not answer
EXIT_NEWS = 0.08  # seconds between the end of stdout and the exit code, before callers are told without it
HOOK = "plugin-broker/hook"  # asked only of those whose manifest lists hooks
MAX_UNREAD = 16 << 20  # bytes it has not read, from which the next call waits for it, as long as its time allows
MAX_NOISE = 200  # lines of plain text on stdout that are kept in the log
MAX_QUESTIONS = 64  # requests of its in work
MAX_DEAF = 10_000  # requests of its whose answers it does not read

_BRACE = ord("{")
_SAMPLING = b'"sampling/createMessage"'
_ROUND = ("inputResponses", "requestState")  # of a modern retry
_encode = msgspec.json.Encoder().encode
CHANGES: dict[str, set[Kind]] = {
    "notifications/tools/list_changed": {"tools"},
    "notifications/prompts/list_changed": {"prompts"},
    "notifications/resources/list_changed": {"resources", "templates"},
}


class _Updated(msgspec.Struct):
    uri: str


class Upstream:
    """One MCP server process and what we said to each other."""

    def __init__(
        self,
        spec: Spec,
        child: Child,
        host: Host,
        plugin_log: PluginLog,
        on_gone: Callable[[Upstream], None],
        redaction: Redaction = NO_SECRETS,
    ) -> None:
        self._redaction = redaction
        self.spec, self.child, self._host, self._log, self._on_gone = spec, child, host, plugin_log, on_gone
        self.era = Era.LEGACY
        self.listing = Listing()
        self.meta: eras.Members | None = None  # the envelope of our own requests, in the modern era
        self._calls: dict[int, Call] = {}
        self._progress = Progress()
        self._tasks = Tasks(self._progress)
        self._conduct = Conduct(self._misbehaved)
        self._deaf = 0  # requests of its since it last read all we wrote
        self._watches: dict[str, int] = {}
        self._channel: Channel | None = None
        self._noise = 0
        self._room = asyncio.Event()
        self._death: asyncio.Task[PluginFailed] | None = None
        self._stopping = False
        self._verdict: str | None = None  # why we ended it
        self.serving = False  # until the opening is over its host need not know how it ended
        self._stream = FdStream(child.stdout, child.stdin)
        self.link = Link(
            Peer(Lines(), answers_junk=False),
            self._stream,
            on_ask=self._asked,
            on_tell=self._told,
            on_end=self._silent,
            on_junk=self._junk,
            on_room=self._room.set,
            on_read=self._conduct.read,
            on_stray=self._conduct.stray,
            max_owed=MAX_QUESTIONS,
        )
        self._stderr = FdStream(child.stderr, child.stderr)
        self._stderr.start(self._log.write, lambda: None)
        child.exited.add_done_callback(lambda _: asyncio.get_running_loop().call_later(EXIT_NEWS, self.link.close))
        self.link.start()

    def converse(self, fd: int, operate: Operate, operations: list[str]) -> None:
        """Talk with it as its host too, on our end of the socket that it was started with."""
        self._channel = Channel(self.spec, fd, operate, self._calls, self._log.write)
        self._channel.greet(operations)

    async def call(self, call: Call) -> Reply:
        """Run one call; the result is in the era of its caller."""
        if call.method == commands.METHOD:
            return await self._command(call)
        if call.as_task and self.era is Era.LEGACY:
            result = await self._tasks.run(call, self._host, self._exchange, self._forsake)
        else:
            result = await self._exchange(call, call.params)
        if self.era is not call.identity.era:
            if self.era is Era.MODERN:
                result = await settled(self.spec.name, call, self._host, result, self._exchange)
                result = await finished(self.spec.name, call, self._host, result, self._exchange, self._forsake)
            return self._converted(call, result)
        if memoryview(result)[0] != _BRACE:
            raise self._no_object(call)
        if not may_sample(self.spec) and eras.asks(result) and _SAMPLING in bytes(result):
            raise no_sampling(self.spec)
        return result

    async def _command(self, call: Call) -> bytes:
        if self._channel is None:
            raise NotFound(f"{self.spec.name} has no commands: it cannot talk with its host")
        try:
            return await self._channel.run(call)
        except RemoteError as error:
            raise self._redaction.error(error) from None
        except Closed:
            error = await self.death()
            if self.child.code is not None:
                raise Lost(error) from None
            raise PluginFailed(f"{self.spec.name} closed the channel to its host") from None

    async def _exchange(self, call: Call, params: eras.Members, method: str = "") -> Reply:
        """One request with these params, and what the server answers; `method`, if it is not that of the call."""
        while self.link.unsent > MAX_UNREAD and self.link.open:
            self._room.clear()
            await self._room.wait()
        token = self._progress.begin(call) if call.token is not None and not method else 0
        try:
            id, waiter = self.link.ask(method or call.method, self._params(call, params, token))
        except Closed:
            raise Unsent from None
        self._calls[id] = call
        try:
            result = await waiter
            if "task" in params or "taskId" in params or call.outward is not None:
                token = self._tasks.answered(call, params, result, token)
            return result
        except asyncio.CancelledError:
            self._progress.hush(token)
            self.link.give_up(id, "timed out" if call.late else "the client cancelled")
            raise
        except RemoteError as error:
            return self._refused(call, error)
        except Closed:
            raise Lost(await self.death()) from None
        except BrokerError as error:
            failure = PluginFailed(f"{self.spec.name} sent an answer that cannot be read: {error}")
            raise self._redaction.error(failure) from None
        finally:
            del self._calls[id]
            if token:
                self._progress.end(token)

    def _converted(self, call: Call, result: Reply) -> bytes:
        try:
            if self.era is Era.LEGACY:
                return eras.modern_result(call.method, result, self.listing.info)
            return eras.legacy_result(self.spec.name, result)
        except msgspec.MsgspecError:
            raise self._no_object(call) from None

    def _no_object(self, call: Call) -> PluginFailed:
        return PluginFailed(f"{self.spec.name} answered {call.method} with a result that is no object")

    async def request(self, method: str, params: eras.Members | None = None) -> Reply:
        """A request of our own. Raises `RemoteError` or `PluginFailed`."""
        members = dict(params or {})
        if self.meta is not None:
            members["_meta"] = Raw(_encode(self.meta))
        try:
            id, waiter = self.link.ask(method, _encode(members))
        except Closed:
            raise await self.death() from None
        try:
            return await waiter
        except RemoteError as error:
            raise self._redaction.error(error) from None
        except asyncio.CancelledError:
            if method not in ("initialize", "server/discover"):  # MCP: these are never cancelled
                self.link.give_up(id)
            raise
        except Closed:
            raise await self.death() from None

    async def hook(self, event: bytes, call: Call) -> Reply:
        """What it answers to the request `HOOK` with the event as params; its questions meanwhile are nobody's."""
        return self._redaction.raw(Raw(bytes(await self.request(HOOK, eras.members(event)))))

    @property
    def heard(self) -> int:
        return self.link.received

    @property
    def working(self) -> bool:
        return self._tasks.working

    @property
    def pid(self) -> int:
        return self.child.pid

    @property
    def uptime(self) -> float:
        return self.child.uptime

    async def probe(self) -> None:
        """Ask for a sign of life; an error is one too. Raises `PluginFailed` if it ended."""
        with contextlib.suppress(RemoteError):
            await self.request("ping" if self.era is Era.LEGACY else "server/discover")

    def suspended(self) -> str | None:
        """Why the system does not let it run, if so."""
        return suspended(self.child.pid)

    def tell(self, method: str, params: Reply = b"{}") -> None:
        """Send a notification, unless it does not read what it was sent before."""
        if self.link.unsent <= MAX_UNREAD:
            self.link.tell(method, params)

    async def lists(self, kinds: set[Kind] | None = None) -> Listing:
        """What it shows now; lists not in `kinds`, or not answered in time, are the ones it showed before.

        Raises `PluginUnavailable` if none of them holds anything and one was not answered.
        """
        wanted: list[Kind] = [kind for kind in LISTS if kinds is None or kind in kinds]
        found = dict(zip(wanted, await asyncio.gather(*(self._listed(kind) for kind in wanted)), strict=True))
        answered: dict[str, Any] = {kind: items for kind, items in found.items() if items is not None}
        if wanted and not any(found[kind] for kind in wanted) and None in found.values():
            raise PluginUnavailable(f"{self.spec.name} does not answer when it is asked for its lists")
        self.listing = msgspec.structs.replace(self.listing, **answered, partial=len(answered) < len(found))
        return self.listing

    async def _listed(self, kind: Kind) -> list[Raw] | None:
        if LISTS[kind][2] not in self.listing.capabilities:
            return []
        return await listed(self.spec.name, kind, self.request, bound=self.spec.limits.start)

    async def watch(self, uri: str) -> None:
        """Have its updates of `uri` sent to the host."""
        if self.era is Era.LEGACY:
            await self.request("resources/subscribe", {"uri": Raw(_encode(uri))})
        elif uri.startswith(tasks.WATCHED):
            self._watches[uri] = self._listen({"taskIds": [uri.removeprefix(tasks.WATCHED)]})
        else:
            self._watches[uri] = self._listen({"resourceSubscriptions": [uri]})

    async def unwatch(self, uri: str) -> None:
        if self.era is Era.LEGACY:
            await self.request("resources/unsubscribe", {"uri": Raw(_encode(uri))})
        elif uri in self._watches:
            self.link.give_up(self._watches.pop(uri))

    def level(self, level: str) -> None:
        """Ask for log messages from `level` up; in the modern era each request says so itself."""
        if self.era is Era.LEGACY and "logging" in self.listing.capabilities:
            with contextlib.suppress(Closed):
                self.link.ask("logging/setLevel", _encode({"level": level}))

    def happened(self, name: str, params: bytes) -> None:
        """Tell it of an event that it subscribed to."""
        if self._channel is not None:
            self._channel.happened(name, params)

    def listen_for_changes(self) -> None:
        """Have changes of its lists sent, in the modern era; a legacy server sends them unasked."""
        wanted = {
            name: True
            for name, kind in (
                ("toolsListChanged", "tools"),
                ("promptsListChanged", "prompts"),
                ("resourcesListChanged", "resources"),
            )
            if b'"listChanged":true' in bytes(self.listing.capabilities.get(kind, Raw(b""))).replace(b" ", b"")
        }
        if self.era is Era.MODERN and wanted:
            self._listen(wanted)

    async def stop(self, grace: float = GRACE) -> None:
        """Close its stdin, and end it and its tree. Safe to call twice, or when it is gone already."""
        self._stopping = True
        self._conduct.close()
        if self._channel is not None:
            self._channel.close()
        self._stream.close_output()
        await self.child.end(grace=grace)
        self.link.close()
        self._stderr.close()
        self._log.close()
        self._on_gone(self)

    async def fail(self, reason: str) -> None:
        """End it as if it had crashed. `reason` follows its name in what callers are told."""
        if self._verdict is None and not self._stopping:
            self._verdict = reason
            await self.child.end(grace=FAIL_GRACE)

    async def death(self) -> PluginFailed:
        """How it ended, in words; waits for the exit code no longer than callers may be kept."""
        if self._death is None:
            self._death = asyncio.get_running_loop().create_task(self._mourn())
        return await asyncio.shield(self._death)

    async def _mourn(self) -> PluginFailed:
        await asyncio.wait([self.child.exited], timeout=EXIT_NEWS)
        return self._obituary()

    def tail(self) -> str:
        """The last lines it printed beside its messages."""
        return self._log.tail()

    def _obituary(self) -> PluginFailed:
        code, tail, uptime = self.child.code, self._log.tail(), self.child.uptime
        how = "closed its stdout" if code is None else f"ended with {describe_exit(code)}"
        if self._stopping:
            how = "was stopped"
        if self._verdict is not None:
            how = f"{self._verdict}, and was ended"
        if self.child.overstepped:
            how = f"{self.child.overstepped}, and was ended"
        text = f"{self.spec.name} {how} after {uptime:.1f} s"
        facts: dict[str, object] = {"plugin": self.spec.name, "uptimeMs": int(1000 * uptime)}
        if code is not None:
            facts |= {"exitCode": code} if code >= 0 else {"signal": describe_exit(code).removeprefix("signal ")}
        if tail:
            facts["stderr"] = tail.splitlines()
        return PluginFailed(f"{text}; the last it wrote:\n{tail}" if tail else text, facts=facts)

    def _params(self, call: Call, params: eras.Members, token: int) -> bytes:
        meta = call.meta
        if self.era is not call.identity.era:
            if self.era is Era.LEGACY:
                meta = eras.legacy_meta(meta)
                params = {key: value for key, value in params.items() if key not in _ROUND}
            else:
                params = {key: value for key, value in params.items() if key != "task"}
                identity, capabilities = call.identity, call.identity.capabilities
                if tasks.makes_tasks(self.listing):  # what becomes of them is our affair
                    capabilities = tasks.declared(capabilities)
                meta = eras.modern_meta(meta, identity.info, capabilities, call.log_level)
        if token:
            meta = {**(meta or {}), "progressToken": Raw(b"%d" % token)}
        elif meta is not None and "progressToken" in meta:  # its call has asked already
            meta = {key: value for key, value in meta.items() if key != "progressToken"}
        return _joined(params if meta is None else {**params, "_meta": Raw(_encode(meta))})

    def _refused(self, call: Call, error: RemoteError) -> bytes:
        """The error in the era of its caller; one that wants a page visited is a result there, if it can be."""
        error = self._redaction.error(error)
        if self.era is call.identity.era:
            raise error from None
        if self.era is Era.MODERN:
            raise eras.legacy_error(self.spec.name, error) from None
        asked = eras.questions_of(error, self.listing.info) if error.code == eras.URL_NEEDED else None
        if asked is None or b'"url"' not in bytes(call.identity.capabilities.get("elicitation", b"")):
            raise eras.modern_error(error) from None
        return asked

    def _forsake(self, task: eras.Members) -> None:
        """Nobody waits for this task any more."""
        if self.link.open:
            params = task if self.meta is None else {**task, "_meta": tasks.declared_in(self.meta)}
            self.link.ask("tasks/cancel", _encode(params))

    def _listen(self, notifications: dict[str, Any]) -> int:
        assert self.meta is not None
        meta = tasks.declared_in(self.meta) if "taskIds" in notifications else self.meta
        params = {"notifications": notifications, "_meta": meta}
        return self.link.ask("subscriptions/listen", _encode(params))[0]

    def _current(self, params: Raw) -> list[Call] | None:
        """The calls that what is pushed now may belong to; None if they are not all one caller's."""
        begun = self._tasks.whose(params)
        if begun is not None:
            return [begun]
        calls = list(self._calls.values())
        return calls if all(call.caller is calls[0].caller for call in calls) else None

    def _asked(self, asked: Asked) -> bytes | Coroutine[Any, Any, Reply]:
        self._deaf = self._deaf + 1 if self.link.unsent else 0
        if self._deaf == MAX_DEAF:
            self._misbehaved(f"made {MAX_DEAF} requests without reading the answers")
        if asked.method == "ping":
            return b"{}"
        if self.era is Era.MODERN:
            self._conduct.stray()
            raise NoSuchMethod("MCP 2026-07-28 has no requests from a server")
        return self._put(self._current(asked.params), asked.method, Raw(bytes(asked.params)))

    async def _put(self, calls: list[Call] | None, method: str, params: Raw) -> Reply:
        """The client's answer. For one that cannot be asked, what a person would have decided is declined."""
        try:
            if calls is None:
                raise NoSuchMethod("several clients have calls in work, and nobody can tell whose question this is")
            return await self._host.ask(calls, method, params)
        except NoSuchMethod:
            if method != "elicitation/create":
                raise
            return b'{"action":"decline"}'

    def _told(self, told: Told) -> None:
        try:
            if memoryview(told.params)[0] != _BRACE:
                raise KeyError(told.method)
            self._take(told)
        except (msgspec.MsgspecError, KeyError):
            self._conduct.stray()

    def _take(self, told: Told) -> None:
        if told.method == "notifications/progress":
            call = self._progress.take(told.params)
            if call is not None:
                self._host.progressed(call)
        elif told.method in CHANGES:
            self._host.changed(CHANGES[told.method])
        elif told.method == "notifications/resources/updated":
            self._host.updated(msgspec.json.decode(told.params, type=_Updated).uri)
        elif told.method == "notifications/message":
            self._logged(told)
        elif told.method == tasks.STATUS:
            self._task_told(told)
        elif told.method != "notifications/subscriptions/acknowledged":
            if not self._calls and told.method != tasks.NEWS:
                self._conduct.stray()
            calls = self._current(told.params)
            if calls is not None:
                self._host.told(calls, told.method, told.params)

    def _task_told(self, told: Told) -> None:
        calls = self._current(told.params)
        begun = self._tasks.changed(told.params)
        if begun is not None:
            self._host.progressed(begun)
        if calls is not None and (begun is None or not begun.as_task):
            self._host.told(calls, told.method, told.params)

    def _logged(self, told: Told) -> None:
        calls = self._current(told.params)
        if calls is None:
            return  # nobody can tell whose it is, and it may hold what another client must not see
        params = self._redaction.raw(told.params)
        if not calls:
            self._host.logged(params)
        elif any(call.identity.era is Era.LEGACY or _as_severe(params, call.log_level) for call in calls):
            calls[0].caller.tell(told.method, params)

    def _misbehaved(self, reason: str) -> None:
        self._stream.pause()  # it is not heard any more
        asyncio.get_running_loop().create_task(self.fail(reason)).add_done_callback(_ignored)

    def _junk(self, event: Unreadable) -> None:
        self._noise += 1
        if self._noise == 1:
            log.info("%s prints on stdout beside its messages; the lines are in its log", self.spec.name)
        if self._noise <= MAX_NOISE:
            self._log.write(b"[stdout] " + event.line[:1000] + b"\n")

    def _silent(self) -> None:
        """Its stdout ended: nothing more will be said."""
        self._room.set()
        if not self._stopping:
            asyncio.get_running_loop().create_task(self._tell_death()).add_done_callback(_ignored)

    async def _tell_death(self) -> None:
        error = await self.death()
        if self.serving:
            self._host.ended(self, error)
        await self.stop(grace=0.5)


def _joined(members: eras.Members) -> bytes:
    """An object of undecoded members. The encoder's buffer grows by copying, so a large one is joined by hand."""
    if len(memoryview(members.get("arguments", b""))) < LARGE:
        return _encode(members)
    parts: list[bytes | memoryview] = []
    for key, value in members.items():
        parts += (b",", _encode(key), b":", memoryview(value))
    parts[0] = b"{"
    return b"".join((*parts, b"}"))


def _as_severe(message: Raw, level: str | None) -> bool:
    """Whether a log message is one that a modern request asked for; without a level it asked for none."""
    said = msgspec.json.decode(message, type=dict[str, Any]).get("level")
    levels = eras.LOG_LEVELS
    return level in levels and said in levels and levels.index(said) >= levels.index(level)


def _ignored(done: asyncio.Future[Any]) -> None:
    """Take note of an outcome nobody waits for."""
    if not done.cancelled():
        done.exception()
