"""The second channel: what a plugin asks of broker, and what broker tells it, beside MCP.

Broker hands a connected socket to the plugins it starts, its number in `BROKER_HOST_FD`: one JSON-RPC message a line.
The socket is the plugin's identity, so it is never inherited by what the plugin starts. Without it the plugin runs in
some other client, and every operation says so (`HostUnavailable`) unless its caller knows a replacement.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from msgspec import Raw, Struct

from broker_sdk import wire
from broker_sdk.errors import INTERNAL, HostError, HostUnavailable, Refusal, ToolError
from broker_sdk.wire import BadLine, Id, Lines, Message, encode

VARIABLE = "BROKER_HOST_FD"
MAX_LINE = 1 << 20  # bytes, in both directions
HELLO = 5.0  # seconds that the first call of an author's function waits for what broker says first
MAX_OPEN = 1024  # requests without an answer

Json = dict[str, Any]
Serve = Callable[[str, Json, int | str], Awaitable[bytes]]  # a request of broker: method, params, id -> JSON
Hear = Callable[[str, Json], None]  # a notification of broker: name of the event, params


class Hello(Struct):
    """What broker says first."""

    version: int = 1
    plugin: str = ""
    operations: frozenset[str] = frozenset()
    config: Json = {}


class Host(asyncio.Protocol):
    """The channel to broker. `available`: whether there is one; `operations`: what broker grants this plugin."""

    def __init__(self, serve: Serve, hear: Hear) -> None:
        self._serve, self._hear = serve, hear
        self._lines = Lines(MAX_LINE)
        self._transport: asyncio.WriteTransport | None = None
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._serving: dict[Id, asyncio.Task[None]] = {}
        self._last = 0
        self._greeted: asyncio.Event | None = None
        self.hello = Hello()

    @property
    def available(self) -> bool:
        return self._transport is not None

    @property
    def operations(self) -> frozenset[str]:
        return self.hello.operations

    async def connect(self, channel: socket.socket) -> None:
        """Use this socket, and close it in the end."""
        channel.setblocking(False)
        self._greeted = asyncio.Event()
        await asyncio.get_running_loop().create_connection(lambda: self, sock=channel)

    async def ready(self) -> None:
        """Wait until broker has said what this plugin may do; at once if there is no broker."""
        if self._greeted is not None and not self._greeted.is_set():
            try:
                await asyncio.wait_for(self._greeted.wait(), HELLO)
            except asyncio.TimeoutError:
                self._greeted.set()

    async def request(self, operation: str, params: Json, about: Json | None = None) -> Any:
        """Have broker do something; its result. `about`: in whose course, `requestId` of MCP's or `commandId`.

        Raises `HostUnavailable` without broker, `HostError` when it refuses.
        """
        if self._transport is None:
            raise HostUnavailable(operation)
        if len(self._waiting) >= MAX_OPEN:
            raise HostError(f"more than {MAX_OPEN} requests wait for broker", "overloaded")
        self._last += 1
        id = self._last
        answer = self._waiting[id] = asyncio.get_running_loop().create_future()
        try:
            self._write({"id": id, "method": operation, "params": {**params, "_meta": about} if about else params})
            return await answer
        except asyncio.CancelledError:
            self._write({"method": "cancel", "params": {"id": id}})
            raise
        finally:
            self._waiting.pop(id, None)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
        for task in self._serving.values():
            task.cancel()

    def _write(self, body: Json) -> None:
        line = encode({"jsonrpc": "2.0", **body}) + b"\n"
        if len(line) > MAX_LINE:
            raise HostError(f"the params have more than {MAX_LINE >> 20} MiB", "frame-too-large")
        if self._transport is not None:
            self._transport.write(line)

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._greeted is not None:
            self._greeted.set()
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(HostUnavailable("the operation"))

    def data_received(self, data: bytes) -> None:
        for line, whole in self._lines.feed(data):
            try:
                self._take(wire.decode(line, whole))
            except (BadLine, msgspec.MsgspecError):  # broker's fault, which costs its message
                continue

    def _take(self, message: Message) -> None:
        if not isinstance(message.method, str):
            self._settle(message)
        elif isinstance(message.id, int | str):
            self._start(message.id, message.method, _members(message.params))
        elif message.method == "hello":
            self.hello = msgspec.json.decode(message.params, type=Hello) if isinstance(message.params, Raw) else Hello()
            if self._greeted is not None:
                self._greeted.set()
        elif message.method == "cancel":
            task = self._serving.get(_members(message.params).get("id", ""))
            if task is not None:
                task.cancel()
        elif message.method == "event":
            members = _members(message.params)
            params = members.get("params")
            self._hear(str(members.get("name", "")), params if isinstance(params, dict) else {})

    def _settle(self, message: Message) -> None:
        answer = self._waiting.get(message.id) if isinstance(message.id, int) else None
        if answer is None or answer.done():
            return
        if isinstance(message.result, Raw):
            answer.set_result(msgspec.json.decode(message.result))
        else:
            answer.set_exception(_failure(message.error))

    def _start(self, id: Id, method: str, params: Json) -> None:
        task = self._serving[id] = asyncio.get_running_loop().create_task(self._answer(id, method, params))
        task.add_done_callback(lambda _: self._serving.pop(id, None))

    async def _answer(self, id: Id, method: str, params: Json) -> None:
        try:
            self._write({"id": id, "result": Raw(await self._serve(method, params, id))})
        except Refusal as refusal:
            self._write({"id": id, "error": {"code": refusal.code, "message": str(refusal)}})
        except ToolError as error:
            self._write({"id": id, "error": {"code": INTERNAL, "message": str(error)}})


def socket_given() -> socket.socket | None:
    """The socket that broker handed over, taken out of the environment; None without broker."""
    number = os.environ.pop(VARIABLE, "")
    if not number.isdigit():
        return None
    try:
        os.set_inheritable(int(number), False)
        return socket.socket(fileno=int(number))
    except OSError:  # a number that somebody else left there
        return None


def _members(params: Any) -> Json:
    return msgspec.json.decode(params, type=Json) if isinstance(params, Raw) else {}


def _failure(error: Any) -> HostError:
    fault: Json = error if isinstance(error, dict) else {}
    data: Json = fault["data"] if isinstance(fault.get("data"), dict) else {}
    name, hint = data.get("name") or data.get("code") or "host-failed", data.get("hint") or ""
    return HostError(str(fault.get("message", "broker refused")), str(name), str(hint))
