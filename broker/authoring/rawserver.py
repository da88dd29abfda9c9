"""A plugin's own process, spoken to in exact bytes: what comes back is kept as it is.

Rule 1: it is started as the broker starts it: the same words, the same confinement, a channel to a host that obeys.
Rule 2: every wait has a bound. What it floods us with is counted, and beyond a bound not read any more.
Rule 3: a line that is no JSON-RPC is noise. A request of its own is refused, as by a client that can do nothing.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import msgspec

from broker.authoring.client import Json
from broker.confine.tree import Child, prepare, spawn
from broker.confine.witness import Witness
from broker.core.hosttable import OPERATIONS
from broker.errors import PluginFailed
from broker.model import Spec
from broker.runtimes.channel import NUMBER, VARIABLE, Channel, Ends, Operate
from broker.runtimes.command import argv, child_env
from broker.runtimes.declared import Secrets
from broker.stream import FdStream
from broker.wire.eras import LATEST_LEGACY, LATEST_MODERN
from broker.wire.framing import Lines

ANSWER = 5.0  # seconds for one request; what the SDKs measured here take is under 10 ms
EXIT = 5.0  # seconds from the end of its input to its own end
MOST, MOST_BYTES = 20_000, 64 << 20  # lines and bytes, after which it is not read any more
TAIL = 4 << 10  # bytes of its stderr that are kept
FEW = 20  # lines of noise that are kept

_INFO = {"name": "broker-test", "version": "1"}
_MODERN_META = {
    "io.modelcontextprotocol/protocolVersion": LATEST_MODERN,
    "io.modelcontextprotocol/clientInfo": _INFO,
    "io.modelcontextprotocol/clientCapabilities": {},
}
_encode = msgspec.json.encode


class RawServer:
    """One running process. `replies` has all answers by the JSON of their ids; null and no id are `null`."""

    def __init__(self, child: Child, name: str) -> None:
        self.child, self.name = child, name
        self.replies: dict[str, list[Json]] = {}
        self.noise: list[str] = []
        self.lines = self.bytes = 0
        self.modern = False
        self.stderr = b""
        self._channel: Channel | None = None
        self._numbers = count(1)
        self._news = asyncio.Event()
        self._lines = Lines()
        self._stream = FdStream(child.stdout, child.stdin)
        self._errors = FdStream(child.stderr, os.open(os.devnull, os.O_WRONLY))
        self._stream.start(self._take, self._wake)
        self._errors.start(self._keep, lambda: None)
        child.exited.add_done_callback(lambda _: self._wake())

    @classmethod
    async def start(cls, spec: Spec, own: Path, witness: Witness | None, operate: Operate) -> RawServer:
        """A process that nothing was said to on stdin; `operate` is its host, if it has a manifest.

        Raises `BrokerError`, `OSError`, `ValueError`.
        """
        prepare()
        words = await asyncio.to_thread(lambda: argv(spec, environ=os.environ))
        env = child_env(spec, os.environ, secrets=await Secrets().of(spec))
        if spec.permissions is None:
            return cls(await spawn(words, env=env, cwd=spec.cwd), spec.name)
        from broker.runtimes.confined import start

        told: Callable[[Any], None] = (lambda denied: None) if witness is None else witness.refused
        env[VARIABLE] = str(NUMBER)
        with Ends() as ends:
            server = cls(await start(spec, words, env, own, told, witness, channel=ends.theirs), spec.name)
            server._channel = Channel(spec, ends.taken(), operate, {}, lambda line: None)
            server._channel.greet(list(OPERATIONS))
        return server

    @property
    def flooding(self) -> bool:
        return self.lines > MOST or self.bytes > MOST_BYTES

    @property
    def ended(self) -> bool:
        return self.child.exited.done()

    def send(self, data: bytes) -> None:
        """Write exactly this."""
        self._stream.send(data)

    def new_id(self) -> int:
        return next(self._numbers)

    async def ask(self, method: str, params: Mapping[str, object] | None = None, *, within: float = ANSWER) -> Json:
        """The answer to a request, with `result` or `error`. Raises `PluginFailed` if there is none in time."""
        id = self.new_id()
        given = dict(params or {})
        if self.modern:
            given["_meta"] = _MODERN_META
        self.send(_encode({"jsonrpc": "2.0", "id": id, "method": method, "params": given}) + b"\n")
        return await self.reply(str(id), method, within=within)

    async def reply(self, id: str, method: str, *, within: float = ANSWER) -> Json:
        """The first answer with this id, as JSON. Raises `PluginFailed`."""
        try:
            async with asyncio.timeout(within):
                while id not in self.replies:
                    if self.ended:
                        raise PluginFailed(f"it ended instead of answering {method}{self.last_words()}")
                    if self.flooding:
                        much = f"more than {MOST} lines or {MOST_BYTES >> 20} MiB"
                        raise PluginFailed(f"it wrote {much} while {method} waited")
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise PluginFailed(f"it did not answer {method} within {within:g} s") from None
        return self.replies[id][0]

    async def open(self, version: str = LATEST_LEGACY, *, within: float = ANSWER) -> Json:
        """Open a conversation, in the era it speaks; the result. Raises `PluginFailed`."""
        params = {"protocolVersion": version, "capabilities": {}, "clientInfo": _INFO}
        said = await self.ask("initialize", params, within=within)
        if "result" in said:
            self.send(b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n')
            return said["result"]
        self.modern = True
        said = await self.ask("server/discover", within=within)
        if "result" not in said:
            raise PluginFailed(f"it answers neither initialize nor server/discover: {said.get('error')}")
        return said["result"]

    async def sign_of_life(self, *, within: float = ANSWER) -> None:
        """Wait for an answer to something harmless. Raises `PluginFailed`."""
        await self.ask("server/discover" if self.modern else "ping", within=within)

    async def leave(self) -> float | None:
        """End its input; seconds until it ended by itself, None if it did not in `EXIT`."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        self._stream.close_output()
        done, _ = await asyncio.wait([self.child.exited], timeout=EXIT)
        return loop.time() - began if done else None

    async def close(self) -> None:
        """End it, whatever it does."""
        self._stream.close()
        if self._channel is not None:
            self._channel.close()
        await self.child.end(grace=0.2)
        self._errors.close()

    def last_words(self) -> str:
        """What it wrote on stderr last, as the end of a sentence."""
        said = self.stderr.decode("utf-8", "replace").strip()
        return f"; the last it wrote: {said.splitlines()[-1]}" if said else ""

    def _take(self, data: bytes) -> None:
        self.bytes += len(data)
        for line in self._lines.feed(data):
            self.lines += 1
            self._line(line)
        if self.flooding:
            self._stream.pause()
        self._wake()

    def _line(self, line: bytes) -> None:
        if not line.strip():
            return
        try:
            message = msgspec.json.decode(line, type=Json)
        except (msgspec.MsgspecError, RecursionError):
            message = {}
        if message.get("jsonrpc") != "2.0":
            if len(self.noise) < FEW:
                self.noise.append(line[:200].decode("utf-8", "replace"))
        elif "method" not in message:
            self.replies.setdefault(_encode(message.get("id")).decode(), []).append(message)
        elif "id" in message and not self.flooding:
            error = {"code": -32601, "message": "broker test answers no requests"}
            self.send(_encode({"jsonrpc": "2.0", "id": message["id"], "error": error}) + b"\n")

    def _keep(self, data: bytes) -> None:
        self.stderr = (self.stderr + data)[-TAIL:]

    def _wake(self) -> None:
        self._news.set()
