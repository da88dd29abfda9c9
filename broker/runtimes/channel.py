"""What a subprocess plugin and the host say to each other beside MCP: JSON-RPC in lines, on a socket it was born with.

    broker -> plugin   hello {version, plugin, operations, config}; event {name, params}; asked: command/run {name,
                       arguments}, to which the plugin answers with any JSON
    plugin -> broker   any operation of `hosttable`, as a request or a notification; `_meta` in its params may hold
                       `requestId`, of the MCP request that it works for, or `commandId`, of the command/run
    both               cancel {id}: who asked does not wait any more

Rule 1: the socket is the plugin's identity: what is granted is what the instance on its other end was started with.
Rule 2: what comes here is never trusted. A line that is too long, no JSON or half costs an error; too many of them
        (see `Conduct`), or of requests that are refused, end the conversation, and nothing else: the plugin goes on.
Rule 3: without an id of a call it belongs to the one call in work; if there are several or none, to nobody's.
Rule 4: a plugin that never reads costs `MAX_UNREAD`; what it should have heard of then is left out.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Mapping

import msgspec
from msgspec import Raw, Struct

from broker.confine.keeper import CHANNEL
from broker.core import commands
from broker.core.events import notice
from broker.core.ports import Call, Reply
from broker.errors import BadArguments, NotFound, Overloaded
from broker.link import Dialect, Link
from broker.model import Spec
from broker.runtimes.conduct import Conduct
from broker.stream import FdStream
from broker.wire import eras
from broker.wire.framing import Lines
from broker.wire.peer import Asked, Peer, Told, Unreadable

VARIABLE, NUMBER = "BROKER_HOST_FD", CHANNEL
VERSION = 1
LINE = 1 << 20  # bytes of one line it sends
MAX_UNREAD = 2 << 20  # bytes it has not read; above it nothing more of its is served, and events are left out
MAX_OWED = 2000  # requests of its in work; those that are too many count before they are so many
BRAKE = 0.1  # seconds that the refusal of too many takes: who waits for it never comes to be ended for them
MOST_NOTED = 50  # lines that are no message, of which the plugin's log says something
REGISTERS_WITHIN = 5.0  # seconds a plugin that was just started has to register the command it is to run
DIALECT = Dialect("cancel", "id", True)

Operate = Callable[[Spec, str, bytes, Call | None], Awaitable[bytes]]

_encode = msgspec.json.Encoder().encode


class _Meta(Struct):
    requestId: int | str | None = None
    commandId: int | str | None = None


class _Marked(Struct):
    meta: _Meta = msgspec.field(default_factory=_Meta, name="_meta")


class _Named(Struct):
    name: str


_marked = msgspec.json.Decoder(_Marked).decode
_named = msgspec.json.Decoder(_Named).decode


class Ends:
    """A connected pair, `theirs` for the plugin; as a context it closes at its end what nobody took."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        ours.setblocking(False)
        self.ours, self.theirs = ours.detach(), theirs.detach()

    def __enter__(self) -> Ends:
        return self

    def __exit__(self, *_: object) -> None:
        for fd in (self.ours, self.theirs):
            if fd >= 0:
                os.close(fd)

    def taken(self) -> int:
        """Our end, the caller's from now on."""
        ours, self.ours = self.ours, -1
        return ours


class Channel:
    """The broker's end for one instance of `spec`. `calls`: what it works at now, by the ids it knows."""

    def __init__(
        self, spec: Spec, fd: int, operate: Operate, calls: Mapping[int, Call], note: Callable[[bytes], None]
    ) -> None:
        self.spec, self._operate, self._calls, self._note = spec, operate, calls, note
        self._commands: dict[int, Call] = {}
        self._registered: dict[str, asyncio.Event] = {}
        self._began = asyncio.get_running_loop().time()
        self._noted = 0
        self._beside: set[asyncio.Task[bytes]] = set()  # operations it does not want the result of
        self._conduct = Conduct(self._misbehaved)
        self._stream = FdStream(fd, fd)
        self._link = Link(
            Peer(Lines(LINE)),
            self._stream,
            on_ask=self._asked,
            on_tell=self._told,
            on_end=self._ended,
            on_junk=self._unreadable,
            on_stray=self._conduct.stray,
            on_read=self._conduct.read,
            dialect=DIALECT,
            max_unsent=MAX_UNREAD,
            max_owed=MAX_OWED,
        )
        self._link.start()

    def greet(self, operations: list[str]) -> None:
        """Tell it what it may ask for, before it says anything."""
        hello = {"version": VERSION, "plugin": self.spec.name, "operations": operations, "config": self.spec.config}
        self._link.tell("hello", _encode(hello))

    async def run(self, call: Call) -> bytes:
        """Run a command of the plugin's. Raises `NotFound`, `RemoteError`, `PluginFailed`, `Closed`."""
        name = msgspec.json.decode(call.params["name"], type=str)
        await self._known(name)
        arguments = call.params.get("arguments", Raw(b"[]"))
        id, waiter = self._link.ask("command/run", _encode({"name": name, "arguments": arguments}))
        self._commands[id] = call
        try:
            return commands.result(bytes(await waiter))
        except asyncio.CancelledError:
            self._link.give_up(id)
            raise
        finally:
            del self._commands[id]

    async def _known(self, name: str) -> None:
        """Return once the plugin registered this command: one that was just started may be about to."""
        event = self._registered.setdefault(name, asyncio.Event())
        left = self._began + REGISTERS_WITHIN - asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(max(left, 0)):
                await event.wait()
        except TimeoutError:
            raise NotFound(
                f"{self.spec.name} did not register the command {name}", hint="Its manifest, or its code, is wrong."
            ) from None

    def happened(self, name: str, params: bytes) -> None:
        """Tell it of an event, unless it does not read."""
        if self._link.unsent <= MAX_UNREAD:
            self._link.tell("event", notice(name, params))

    def close(self) -> None:
        """End the conversation. Safe to call twice."""
        self._link.close()

    # what it says

    async def _asked(self, asked: Asked) -> Reply:
        return await self._operated(asked.method, asked.params)

    def _told(self, told: Told) -> None:
        task = asyncio.get_running_loop().create_task(self._operated(told.method, told.params))
        self._beside.add(task)
        task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[bytes]) -> None:
        self._beside.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._jot(f"{error}")

    async def _operated(self, op: str, params: Raw) -> bytes:
        call, held = self._course(params)
        try:
            found = await self._operate(self.spec, op, held, call)
        except Overloaded:
            self._conduct.stray()
            await asyncio.sleep(BRAKE)
            raise
        if op == "register_command":
            self._registered.setdefault(_named(held).name, asyncio.Event()).set()
        return found

    def _course(self, params: Raw) -> tuple[Call | None, bytes]:
        """The call that this belongs to, and the params without what says so. Raises `BadArguments`."""
        try:
            held = eras.members(params)
            meta = _marked(params).meta
        except msgspec.MsgspecError as error:
            raise BadArguments(f"the params are no object: {error}") from None
        held.pop("_meta", None)
        calls = [*self._calls.values(), *self._commands.values()]
        if meta.commandId is not None or meta.requestId is not None:
            return self._named(meta), _encode(held)
        return (calls[0] if len(calls) == 1 else None), _encode(held)

    def _named(self, meta: _Meta) -> Call | None:
        """By its id; None if it has ended."""
        if isinstance(meta.commandId, int):
            return self._commands.get(meta.commandId)
        return self._calls.get(meta.requestId) if isinstance(meta.requestId, int) else None

    def _unreadable(self, event: Unreadable) -> None:
        self._conduct.stray()
        self._jot(f"{event.error}: {event.line[:200].decode('utf-8', 'replace')}")

    def _jot(self, text: str) -> None:
        self._noted += 1
        if self._noted <= MOST_NOTED:
            self._note(f"[host] {text}\n".encode("utf-8", "replace"))

    def _misbehaved(self, how: str) -> None:
        self._note(f"broker: the channel to its host is closed: it {how}\n".encode())
        asyncio.get_running_loop().call_soon(self.close)

    def _ended(self) -> None:
        self._conduct.close()
        for task in self._beside:
            task.cancel()
        for event in self._registered.values():  # who waits finds out that there is nobody
            event.set()
