"""Bytes in and out of two descriptors on the event loop's own readers.

A stream of anyio or asyncio on top of them costs 35 us a call more, so the hot path sits here directly.

Rule 1: one writer. Frames are queued whole and written in order: those that reading led to when it was worked up,
        any other at the end of the turn of the loop.
Rule 2: what the other side does not read is counted (`unsent`), so that whoever fills it can stop.
Rule 3: `on_end` is called once, when the other side has ended; we may still write until `close`.
"""

from __future__ import annotations

import asyncio
import os
import select
import threading
from collections.abc import Callable
from typing import Protocol

Buffer = bytes | memoryview
READ = 64 << 10  # a Linux pipe's capacity; above 128 KiB malloc maps and faults a page range per read
HANG_UP = 0.5  # seconds between two looks whether one who is not read any more has left
JOIN = 64 << 10  # buffers up to here are joined into one write; a larger one is written as it is


class Stream(Protocol):
    """What a `Link` moves bytes over."""

    def start(self, on_data: Callable[[bytes], None], on_end: Callable[[], None]) -> None: ...
    def send(self, *buffers: Buffer) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def close(self) -> None: ...

    unsent: int
    on_drained: Callable[[], None]


def _nothing() -> None:
    """What happens when nobody asked to be told."""


_written: list[FdStream] | None = None  # while what was read is worked up: the streams that it led to write to


class FdStream:
    """A pair of descriptors it owns: `read_fd` and `write_fd` are closed with the stream."""

    def __init__(self, read_fd: int, write_fd: int) -> None:
        self._in, self._out = read_fd, write_fd
        self._loop = asyncio.get_running_loop()
        self._queue: list[Buffer] = []
        self._scheduled = self._writing = self._ended = self._closed = False
        self._pollable = True
        self._on_end: Callable[[], None] = _nothing
        self.unsent = 0
        self.on_drained: Callable[[], None] = _nothing

    def start(self, on_data: Callable[[bytes], None], on_end: Callable[[], None]) -> None:
        """Deliver what arrives to `on_data`, and the end, once, to `on_end`."""
        self._on_data, self._on_end = on_data, on_end
        os.set_blocking(self._in, False)
        os.set_blocking(self._out, False)
        try:
            self._loop.add_reader(self._in, self._readable)
        except PermissionError:  # a regular file, as in `broker mcp < session.jsonl`
            self._pollable = False
            threading.Thread(target=self._read_file, daemon=True).start()

    def send(self, *buffers: Buffer) -> None:
        """Queue one frame, in as many buffers as it comes; it is written at the end of this turn of the loop."""
        if self._out < 0:
            return
        self._add(buffers)
        if not (self._scheduled or self._writing):
            self._scheduled = True
            if _written is not None:
                _written.append(self)
            else:
                self._loop.call_soon(self.flush)

    def send_now(self, *buffers: Buffer) -> None:
        """Queue one frame with which nothing else will be written: it is written now, after what was queued before."""
        if self._out >= 0:
            self._add(buffers)
            self.flush()

    def _add(self, buffers: tuple[Buffer, ...]) -> None:
        self._queue += buffers
        for buffer in buffers:
            self.unsent += len(buffer)

    def pause(self) -> None:
        """Stop reading until `resume`, or until the other side has ended."""
        if self._pollable and not self._ended:
            self._loop.remove_reader(self._in)
            self._hang_up_watch = self._loop.call_later(HANG_UP, self._look_for_end)

    def resume(self) -> None:
        if self._pollable and not self._ended:
            self._hang_up_watch.cancel()
            self._loop.add_reader(self._in, self._readable)

    def _look_for_end(self) -> None:
        """While nothing is read, the end of the other side shows only as a hang-up of its pipe."""
        poll = select.poll()
        poll.register(self._in, 0)
        if poll.poll(0):
            self.resume()
        elif not self._ended:
            self._hang_up_watch = self._loop.call_later(HANG_UP, self._look_for_end)

    def close_output(self) -> None:
        """End what we say: the other side sees the end of its input. What is unsent is lost."""
        if self._out < 0:
            return
        if self._writing:
            self._loop.remove_writer(self._out)
        fd, self._out = self._out, -1
        if fd != self._in:
            os.set_blocking(fd, True)
            os.close(fd)
        self._queue.clear()
        self._writing = False

    def close(self) -> None:
        """End both directions. Safe to call twice."""
        if self._closed:
            return
        self.flush()
        self._end()
        self._closed = True
        self.close_output()
        os.set_blocking(self._in, True)  # the description may be a terminal's, shared with others
        os.close(self._in)

    def _end(self) -> None:
        """The other side says nothing more, or hears nothing more."""
        if self._ended:
            return
        self._ended = True
        if self._pollable:
            self._loop.remove_reader(self._in)
        self._on_end()

    def _readable(self) -> None:
        try:
            data = os.read(self._in, READ)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if data:
            self._work_up(data)
        else:
            self._end()

    def _work_up(self, data: bytes) -> None:
        global _written
        written: list[FdStream] = []
        _written = written
        try:
            self._on_data(data)
        finally:
            _written = None
            for stream in written:
                stream.flush()

    def _read_file(self) -> None:
        while data := os.read(self._in, READ):
            self._loop.call_soon_threadsafe(self._on_data, data)
        self._loop.call_soon_threadsafe(self._end)

    def flush(self) -> None:
        """Write what is queued, as far as the other side takes it."""
        self._scheduled = False
        if self._out < 0:
            return
        queue = self._queue
        while queue:
            data = queue.pop(0) if len(queue) == 1 else self._joined()
            try:
                sent = os.write(self._out, data)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError:  # the other side is gone
                queue.clear()
                self.unsent = 0
                self._loop.call_soon(self._end)
                return
            self.unsent -= sent
            if sent < len(data):
                queue.insert(0, memoryview(data)[sent:])
                self._wait_writable()
                return
        if self._writing:
            self._loop.remove_writer(self._out)
            self._writing = False
            self.on_drained()

    def _joined(self) -> Buffer:
        """The queue's first buffers up to `JOIN` bytes, as one."""
        size = count = 0
        for data in self._queue:
            if count and size + len(data) > JOIN:
                break
            size += len(data)
            count += 1
        head = self._queue[:count]
        del self._queue[:count]
        return b"".join(head) if count > 1 else head[0]

    def _wait_writable(self) -> None:
        if not self._writing:
            self._writing = True
            self._loop.add_writer(self._out, self.flush)


class MemoryStream:
    """One end of a pair in memory; for tests and for clients in the same process."""

    def __init__(self) -> None:
        self._other: MemoryStream | None = None
        self._inbox: list[bytes] = []
        self._paused = True
        self._ended = self._closed = False
        self.unsent = 0
        self.on_drained: Callable[[], None] = _nothing

    @classmethod
    def pair(cls) -> tuple[MemoryStream, MemoryStream]:
        """Two ends; what is sent on one arrives at the other, a turn of the loop later."""
        a, b = cls(), cls()
        a._other, b._other = b, a
        return a, b

    def start(self, on_data: Callable[[bytes], None], on_end: Callable[[], None]) -> None:
        self._on_data, self._on_end = on_data, on_end
        self.resume()

    def send(self, *buffers: Buffer) -> None:
        if self._other is not None and not self._closed:
            self._other._inbox.append(b"".join(buffers))
            asyncio.get_running_loop().call_soon(self._other._deliver)

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False
        asyncio.get_running_loop().call_soon(self._deliver)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._end()
        if self._other is not None:
            asyncio.get_running_loop().call_soon(self._other._end)

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            self._on_end()

    def _deliver(self) -> None:
        while self._inbox and not self._paused and not self._ended:
            self._on_data(self._inbox.pop(0))
