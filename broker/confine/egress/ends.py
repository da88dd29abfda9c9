"""The two ends of a connection that goes through the broker, and the copying of bytes between them.

Rule 1: what one end does not read stops the other from being read: a connection holds at most some 300 KB each way.
Rule 2: an end that says nothing more still hears (half-closed), until the other has said all too.
Rule 3: an end that breaks breaks the other; one on which nothing moves for long is broken.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Any, cast

HEAD = 16 << 10  # bytes that are kept of an end before it is joined to another: the longest head of a request
PARTING = 1.0  # seconds one has to hear why it is refused
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing is a reset


class End(asyncio.Protocol):
    """One end. Until it is joined it keeps what arrives, at most `HEAD` bytes and what one read brings."""

    def __init__(self, accepted: Callable[[End], None] | None = None) -> None:
        loop = asyncio.get_running_loop()
        self.gone: asyncio.Future[None] = loop.create_future()
        self.moved = 0  # bytes that arrived
        self._accepted = accepted
        self._kept = bytearray()
        self._deaf = False  # what it says is not kept any more
        self._over = False  # it says nothing more
        self._news: asyncio.Future[None] | None = None
        self._other: End | None = None
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        if self._accepted is not None:
            self._accepted(self)

    def data_received(self, data: bytes) -> None:
        self.moved += len(data)
        if self._deaf:
            return
        if self._other is not None:
            self._other.transport.write(data)
            return
        self._kept += data
        if len(self._kept) >= HEAD:
            self.transport.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        self._over = True
        self._wake()
        self._pass_end_on()
        return not self._deaf

    def connection_lost(self, exc: Exception | None) -> None:
        if self._other is not None and exc is not None:
            self._other.abort()
        elif self._other is not None:
            self._other.transport.close()
        self._over = True
        self.gone.set_result(None)
        self._wake()

    def pause_writing(self) -> None:
        if self._other is not None:
            self._other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self._other is not None:
            self._other.transport.resume_reading()

    async def first(self) -> bytes:
        """The next byte, which stays. Raises `EOFError`."""
        while not self._kept:
            await self._more()
        return bytes(self._kept[:1])

    async def take(self, count: int) -> bytes:
        """The next `count` bytes. Raises `EOFError`."""
        while len(self._kept) < count:
            await self._more()
        return self._cut(count)

    async def take_until(self, mark: bytes) -> bytes | None:
        """The next bytes including `mark`; None if it is not among the first `HEAD`. Raises `EOFError`."""
        while (at := self._kept.find(mark, 0, HEAD)) < 0:
            if len(self._kept) >= HEAD:
                return None
            await self._more()
        return self._cut(at + len(mark))

    def say(self, data: bytes) -> None:
        """Write `data`; only for what is short."""
        self.transport.write(data)

    def join(self, other: End) -> None:
        """From now on what arrives at one of them is written to the other."""
        pair = (self, other)
        self._other, other._other = other, self  # both, before a byte is written: that may stop the reading again
        for end in pair:
            end.transport.resume_reading()
        for end in pair:
            end._pass_kept_on()
            end._pass_end_on()
        if any(end.gone.done() for end in pair):  # it went before there was anybody to tell
            for end in pair:
                end.abort()

    async def part(self) -> None:
        """Say no more, and leave when it does or after `PARTING` seconds: to close at once would lose what we said."""
        self._deaf = True
        self.transport.resume_reading()
        self._say_no_more()
        await asyncio.wait([self.gone], timeout=0 if self._over else PARTING)
        self.abort()

    def abort(self) -> None:
        """End it at once. Safe when it has ended: a transport that closed after its last write would raise then."""
        if not self.gone.done():
            self.transport.abort()

    def reset(self) -> None:
        """End it as if nobody had listened."""
        handle = cast("socket.socket | None", self.transport.get_extra_info("socket"))
        if handle is not None and handle.fileno() >= 0:
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.abort()

    def progress(self) -> tuple[int, int]:
        """Changes whenever a byte moves."""
        return self.moved, self.transport.get_write_buffer_size()

    def _pass_kept_on(self) -> None:
        if self._other is not None and self._kept:
            self._other.transport.write(bytes(self._kept))
            self._kept.clear()

    def _pass_end_on(self) -> None:
        if self._other is None or not self._over:
            return
        if self._other._over:
            self.transport.close()
            self._other.transport.close()
        else:
            self._other._say_no_more()

    def _say_no_more(self) -> None:
        try:
            self.transport.write_eof()
        except OSError:  # it broke, and the loop does not know yet
            self.abort()

    def _cut(self, count: int) -> bytes:
        taken = bytes(self._kept[:count])
        del self._kept[:count]
        if len(self._kept) < HEAD:
            self.transport.resume_reading()
        return taken

    async def _more(self) -> None:
        if self._over:
            raise EOFError
        self._news = asyncio.get_running_loop().create_future()
        await self._news

    def _wake(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)


async def relay(near: End, far: End, idle: float) -> None:
    """Copy both ways until both ends are gone, or until nothing moved for `idle` seconds (at most twice that)."""
    near.join(far)
    last: Any = None
    both = asyncio.gather(near.gone, far.gone)
    while not (await asyncio.wait([both], timeout=idle))[0]:
        now = (near.progress(), far.progress())
        if now == last:
            near.abort()
            far.abort()
        last = now
