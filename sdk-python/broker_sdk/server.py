"""A plugin being served: one client on one pair of pipes, and perhaps broker on a channel beside it.

Rule 1: every request is answered exactly once, unless its client cancelled it; ids are its own and never converted.
Rule 2: what is wrong with a message is said in its answer; nothing a client sends ends the plugin.
Rule 3: of an exception that is not a `ToolError` a client learns only that it happened; the author reads it on stderr.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import traceback
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from msgspec import UNSET, Raw, Struct

from broker_sdk import methods, wire
from broker_sdk.calls import Call, Parked
from broker_sdk.clock import Clock
from broker_sdk.ctx import Ctx
from broker_sdk.eras import LEGACY, LEVELS, SUBSCRIPTION, meta_of, stamped
from broker_sdk.errors import INTERNAL, MISSING_CAPABILITY, REQUEST, CannotAsk, Refusal, ToolError
from broker_sdk.host import Host
from broker_sdk.schema import encode
from broker_sdk.serving import Beside
from broker_sdk.threads import Threads
from broker_sdk.wire import BadLine, Id, Message

if TYPE_CHECKING:
    from broker_sdk.plugin import Plugin

MOST_CALLS = 1024  # in flight
ENDING = 1.0  # seconds that calls in flight have when the client is gone, and again what stops the plugin

Json = dict[str, Any]
T = TypeVar("T")
_NO_PARAMS = Raw(b"{}")


class Client(Struct):
    """Who is on the other side of a legacy connection; of a modern one each request says it."""

    version: str = LEGACY[-1]
    capabilities: Json = {}
    info: Json = {}
    opened: bool = False
    initialized: bool = False
    level: str = "info"


class Server:
    """Serves a plugin: lines come in by `receive`, and go out by `send`, in the event loop it was made in."""

    def __init__(self, plugin: Plugin, send: Callable[[bytes], None], clock: Clock | None = None) -> None:
        self.plugin, self._send = plugin, send
        self.clock = clock or Clock()
        self.loop = asyncio.get_running_loop()
        self.client = Client()
        self.info: Json = {"name": plugin.name, "version": plugin.version}
        if plugin.title:
            self.info["title"] = plugin.title
        self.beside = Beside(self)
        self.host = Host(self.beside.serve, self.beside.hear)
        self.state: Json = {}
        self.threads = Threads()
        self.subscribed: set[str] = set()
        self.listens: dict[Id, Json] = {}
        self._parked = Parked()
        self._lines = wire.Lines()
        self._calls: dict[Id, Call] = {}
        self._asked: dict[str, asyncio.Future[Json]] = {}
        self._numbers = itertools.count(1)
        self._spawned: set[asyncio.Task[Any]] = set()
        plugin.server = self

    # Lines in

    def receive(self, data: bytes) -> None:
        """Take what the client wrote."""
        for line, whole in self._lines.feed(data):
            if line.strip():
                self._read(line, whole)

    def _read(self, line: bytes, whole: bool) -> None:
        try:
            message = wire.decode(line, whole)
        except BadLine as bad:
            known = bad.id is not UNSET and bad.id not in self._calls
            self._send(wire.encode_error(bad.id if known else UNSET, bad))
            return
        if message.method is UNSET:
            self._answered(message)
        elif isinstance(message.id, int | str):
            self._asked_for(message.id, message.method, message.params)
        else:
            self._told(message.method, message.params)

    def _asked_for(self, id: Id, method: str, params: Any) -> None:
        if id in self._calls or id in self.listens:
            self._send(wire.encode_error(UNSET, Refusal(REQUEST, "a request with this id is in flight")))
            return
        try:
            if len(self._calls) >= MOST_CALLS:
                raise Refusal(INTERNAL, f"more than {MOST_CALLS} requests are in flight")
            raw = params if isinstance(params, Raw) else _NO_PARAMS
            methods.take(self, id, method, raw, meta_of(raw))
        except Refusal as refusal:
            self._send(wire.encode_error(id, refusal))

    def _told(self, method: str, params: Any) -> None:
        if method == "notifications/initialized":
            self.client.initialized = True
        elif method == "notifications/cancelled" and isinstance(params, Raw):
            self._cancelled(params)

    def _cancelled(self, params: Raw) -> None:
        try:
            id = msgspec.json.decode(params, type=_Cancelled).request_id
        except (msgspec.MsgspecError, RecursionError):
            return
        self.listens.pop(id, None)
        call = self._calls.pop(id, None)
        if call is not None:
            call.cancel()

    def _answered(self, message: Message) -> None:
        answer = self._asked.get(message.id) if isinstance(message.id, str) else None
        if answer is None or answer.done():
            return
        try:
            if isinstance(message.result, Raw):
                answer.set_result(msgspec.json.decode(message.result, type=Json))
                return
            why = str(message.error["message"]) if isinstance(message.error, dict) else "it did not say why"
        except (msgspec.MsgspecError, RecursionError, KeyError):
            why = "its answer is none"
        answer.set_exception(ToolError(f"the client refused: {why}"))

    # Requests

    def call(self, call: Call, work: Coroutine[Any, Any, bytes], seconds: float | None = None) -> None:
        """Answer a request with what `work` gives, in its own time."""
        assert call.id is not None
        self._calls[call.id] = call
        call.start(work, seconds)

    def resume(self, state: str, again: Call, responses: dict[str, Raw]) -> None:
        """A client came back to a call that was parked. Raises `Refusal`."""
        assert again.id is not None
        call = self._parked.take(state, again.key)
        self._calls[again.id] = call
        call.resume(again.id, again.meta, responses)
        if call.task is not None and call.task.done():
            self.finished(call, call.task)

    def park(self, call: Call, state: str) -> None:
        """The client is asked, and has to come back with this state."""
        self._parked.add(call, state)
        if call.id is not None:
            self._calls.pop(call.id, None)

    def finished(self, call: Call, task: asyncio.Task[bytes]) -> None:
        """The work of a call is done: answer it, unless it is parked or nobody waits."""
        call.ended()
        id = call.id
        if id is None:
            if call.cancelled and not task.cancelled():
                task.exception()  # seen
            return
        self._calls.pop(id, None)
        try:
            result = task.result()
        except asyncio.CancelledError:
            self._send(wire.encode_error(id, Refusal(INTERNAL, "the plugin ended the request")))
        except CannotAsk as error:
            data = {"requiredCapabilities": {error.capability: {}}}
            code = MISSING_CAPABILITY if call.modern else INTERNAL
            self._send(wire.encode_error(id, Refusal(code, str(error), data)))
        except Refusal as refusal:
            self._send(wire.encode_error(id, refusal))
        except ToolError as error:
            self._send(wire.encode_error(id, Refusal(INTERNAL, str(error))))
        except Exception as error:
            self.failed(f"{call.method} {call.key[1]}", error)
            self._send(wire.encode_error(id, Refusal(INTERNAL, f"{call.method} failed in the plugin")))
        else:
            self.reply(id, stamped(call.method, result, self.info) if call.modern else result)

    def reply(self, id: Id, result: bytes) -> None:
        self._send(b'{"jsonrpc":"2.0","id":%b,"result":%b}\n' % (encode(id), result))

    # What the plugin says

    def notify(self, method: str, params: Json | None = None) -> None:
        self._send(encode({"jsonrpc": "2.0", "method": method, **({"params": params} if params else {})}) + b"\n")

    async def ask_client(self, method: str, params: Json) -> Json:
        """The answer to a request of ours, in the legacy era. Raises `ToolError`."""
        id = f"ask-{next(self._numbers)}"
        answer = self._asked[id] = self.loop.create_future()
        try:
            self._send(encode({"jsonrpc": "2.0", "id": id, "method": method, "params": params}) + b"\n")
            return await answer
        except asyncio.CancelledError:
            self.notify("notifications/cancelled", {"requestId": id})
            raise
        finally:
            del self._asked[id]

    def log(self, data: Any, level: str, call: Call | None) -> None:
        """Send a log message if the client wants it, else write it to stderr; from any thread."""
        wanted = call.meta.level if call is not None and call.modern else self.client.level
        listens = (call is not None and call.modern) or self.client.initialized
        if not listens or wanted not in LEVELS or LEVELS.index(level) < LEVELS.index(wanted):
            self.complain(data if isinstance(data, str) else encode(data).decode())
            return
        params = {"level": level, "logger": self.plugin.name, "data": data}
        self.call_soon(lambda: self.notify("notifications/message", params))

    def changed(self, kind: str) -> None:
        """A list is no longer what it was."""
        if kind == "commands":
            self.spawn(self.beside.register())
            return
        method = f"notifications/{kind}/list_changed"
        if self.client.initialized:
            self.notify(method)
        for id, wanted in self.listens.items():
            if wanted.get(f"{kind}ListChanged"):
                self.notify(method, {"_meta": {SUBSCRIPTION: id}})

    def updated(self, uri: str) -> None:
        """A resource has another content."""
        if uri in self.subscribed:
            self.notify("notifications/resources/updated", {"uri": uri})
        for id, wanted in self.listens.items():
            if uri in wanted.get("resourceSubscriptions", ()):
                self.notify("notifications/resources/updated", {"uri": uri, "_meta": {SUBSCRIPTION: id}})

    # Running an author's functions

    async def run(self, function: Callable[..., Any], arguments: Json) -> Any:
        """What a function returns; in a thread if it is not async."""
        await self.host.ready()
        return await self.threads.run(function, arguments)

    def ctx(self, call: Call | None = None, command: Id | None = None) -> Ctx:
        """Of a request of the client's, of a command that broker has run, or of neither."""
        return Ctx(self, call, command)

    def call_soon(self, work: Callable[[], Any]) -> None:
        """Do it in the event loop, from any thread: at once if this is its thread."""
        try:
            here = asyncio.get_running_loop() is self.loop
        except RuntimeError:
            here = False
        if here:
            work()
        elif not self.loop.is_closed():
            self.loop.call_soon_threadsafe(work)

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        """Have it done beside everything else."""
        task = self.loop.create_task(work)
        self._spawned.add(task)
        task.add_done_callback(self._spawned.discard)

    def failed(self, what: str, error: BaseException) -> None:
        """Tell the author of an exception."""
        shown = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        self.complain(f"{what} failed:\n{shown.rstrip()}")

    def complain(self, text: str) -> None:
        """A line for the author, on stderr."""
        sys.stderr.write(f"{self.plugin.name}: {text}\n")
        sys.stderr.flush()

    # Its end

    async def close(self) -> None:
        """The client is gone: let what is in flight end for a moment, and answer the rest with an error."""
        tasks = [call.task for call in self._calls.values() if call.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=ENDING)
        self._parked.close()
        for task in [*tasks, *self._spawned]:
            task.cancel()
        for answer in self._asked.values():
            answer.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        self.host.close()
        self.plugin.server = None


class _Cancelled(Struct, rename="camel"):
    request_id: int | str
