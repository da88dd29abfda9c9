"""The owner of stdin and stdout, and a plugin's life between the two.

Rule 1: the wire has descriptors of its own; 0 becomes nothing and 1 becomes stderr, so a `print` cannot tear a message.
Rule 2: no write blocks: a pipe is only written to when it takes `PIPE` bytes, which the kernel promises not to split or
        hold up. The descriptors stay in the mode they came in: others may share them.
Rule 3: a client that does not read is not listened to either, from `MOST_UNSENT` bytes on.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from broker_sdk.host import socket_given

if TYPE_CHECKING:
    from broker_sdk.clock import Clock
    from broker_sdk.plugin import Plugin
    from broker_sdk.server import Server

PIPE = min(getattr(select, "PIPE_BUF", 512), 4096)  # bytes
READ = 256 << 10  # bytes at once
MOST_UNSENT = 32 << 20  # bytes

_output: int | None = None


def claim_output() -> int:
    """The descriptor for the wire; what is printed from now on goes to stderr."""
    global _output
    if _output is None:
        sys.stdout.flush()
        _output = os.dup(1)
        os.dup2(2, 1)
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(line_buffering=True)  # pyright: ignore
    return _output


def claim_input() -> int:
    """The descriptor for the wire; whoever reads stdin from now on finds nothing."""
    wire, nothing = os.dup(0), os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return wire


class Pipes:
    """Two descriptors in an event loop. `hear` has what was read, `gone` is called once, at the end of either."""

    def __init__(self, reading: int, writing: int, hear: Callable[[bytes], None], gone: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._in, self._out, self._hear, self._gone = reading, writing, hear, gone
        self._unsent = bytearray()
        self._waits = self._closed = self._paused = False
        self._poll = select.poll()
        self._poll.register(writing, select.POLLOUT)
        self._polled = self._watch()

    def send(self, data: bytes) -> None:
        """Write it, now or when the client reads on."""
        if self._closed:
            return
        self._unsent += data
        if self._waits:
            self._hold()
        else:
            self._flush()

    def close(self) -> None:
        """Stop, with what can be written at once."""
        self._end()

    @property
    def unsent(self) -> int:
        return len(self._unsent)

    def _watch(self) -> bool:
        """Read when there is something; files that cannot be waited for are read in a thread."""
        try:
            self._loop.add_reader(self._in, self._readable)
            return True
        except (OSError, NotImplementedError):
            threading.Thread(target=self._read_on, daemon=True).start()
            return False

    def _readable(self) -> None:
        try:
            data = os.read(self._in, READ)
        except OSError:
            data = b""
        self._take(data)

    def _read_on(self) -> None:
        data = b"."
        while data:
            data = os.read(self._in, READ)
            self._loop.call_soon_threadsafe(self._take, data)

    def _take(self, data: bytes) -> None:
        if self._closed:
            return
        if data:
            self._hear(data)
            return
        self._hear(b"\n")  # a last line may have no end
        if self._polled:
            self._loop.remove_reader(self._in)
        self._gone()

    def _flush(self) -> None:
        try:
            while self._unsent and self._poll.poll(0):
                sent = os.write(self._out, self._unsent[:PIPE])
                del self._unsent[:sent]
        except OSError:  # nobody reads any more
            self._unsent.clear()
            self._end()
            self._gone()
            return
        self._wait(bool(self._unsent))

    def _wait(self, wait: bool) -> None:
        if wait and not self._waits:
            self._loop.add_writer(self._out, self._flush)
        elif self._waits and not wait:
            self._loop.remove_writer(self._out)
        self._waits = wait
        self._hold()

    def _hold(self) -> None:
        """Read on only while not too much waits for the client."""
        full = len(self._unsent) > MOST_UNSENT
        if self._polled and full != self._paused:
            self._paused = full
            if full:
                self._loop.remove_reader(self._in)
            else:
                self._loop.add_reader(self._in, self._readable)

    def _end(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._waits:
            self._loop.remove_writer(self._out)
        if self._polled:
            self._loop.remove_reader(self._in)


async def serve(
    plugin: Plugin,
    reading: int,
    writing: int,
    channel: socket.socket | None = None,
    clock: Clock | None = None,
    *,
    signals: bool = False,
) -> None:
    """Serve a plugin on two descriptors, until the other side is gone (or a signal comes). `channel`: to broker."""
    from broker_sdk.server import Server

    gone = asyncio.Event()
    pipes: Pipes | None = None
    server = Server(plugin, lambda data: pipes.send(data) if pipes is not None else None, clock)
    if signals:
        _end_at_signals(gone)
    if channel is not None:
        await server.host.connect(channel)
    await server.beside.start()
    pipes = Pipes(reading, writing, server.receive, gone.set)
    await gone.wait()
    await _end(server, pipes)


def _end_at_signals(gone: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, gone.set)
        except (NotImplementedError, RuntimeError, ValueError):  # Windows, or not the main thread
            return


async def _end(server: Server, pipes: Pipes) -> None:
    from broker_sdk.server import ENDING

    host = server.host
    try:
        await asyncio.wait_for(server.beside.stop(), ENDING)
    except asyncio.TimeoutError:
        server.complain("what it ends with takes too long")
    await server.close()
    for _ in range(int(ENDING / 0.01)):
        if not pipes.unsent:
            break
        await asyncio.sleep(0.01)
    pipes.close()
    host.close()


def run(plugin: Plugin) -> None:
    """Serve on this process's stdin and stdout."""
    writing = claim_output()
    asyncio.run(serve(plugin, claim_input(), writing, socket_given(), signals=True))
