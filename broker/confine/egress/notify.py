"""System calls of a plugin that stop until the broker has made them in its stead (seccomp user notification).

Rule 1: the plugin's own call never runs. What it asks for is copied once, judged, and done by us; what it changes in
        its memory meanwhile changes nothing.
Rule 2: a thread of it waits for each answer, so each gets one. When the broker is gone, its calls fail (ENOSYS).
        A call that is only looked at (`Look`) goes on as it came; the kernel judges it, and nobody counts on what was
        read of it.
Rule 3: a number of a process may be another's by now: after everything that was read by it, `check` says whether the
        call still waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import select
import socket
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from struct import pack, unpack

from broker.confine import kernel

Handler = Callable[
    ["Call"], Awaitable[None]
]  # returns when it was done; raises `OSError` with what the call fails with

Look = Callable[["Call"], bool]  # sees a call; whether the kernel goes on with it. Raises nothing

PATH = 4096  # bytes of a path with its end

_RECEIVE, _SEND, _VALID, _ADD = 0xC0502100, 0xC0182101, 0x40082102, 0x40182103  # ioctls; linux/seccomp.h
_NOTE = "<QIIiIQ6Q"  # id, pid, flags, number, machine, instruction, arguments
_NOTE_SIZE = 80
_PAGE = 4096
_LAST = (1 << 63) - 1  # the highest address a file can be read at
_IN_PLACE = 1  # SECCOMP_ADDFD_FLAG_SETFD
_CONTINUE = 1  # SECCOMP_USER_NOTIF_FLAG_CONTINUE


class Call:
    """One call that waits."""

    def __init__(self, fd: int, note: bytes) -> None:
        self._fd = fd
        self._id, self._thread, _, self.number, _, _, *self.arguments = unpack(_NOTE, note)

    def memory(self, at: int, count: int) -> bytes:
        """`count` bytes of its memory, or fewer. Raises `OSError`."""
        if at > _LAST:
            raise OSError(errno.EFAULT, "address")
        with open(f"/proc/{self._thread}/mem", "rb", buffering=0) as memory:
            return os.pread(memory.fileno(), count, at)

    def text(self, at: int) -> str:
        """The path at `at`. Raises `OSError`."""
        found = b""
        while b"\0" not in found:
            if len(found) >= PATH:
                raise OSError(errno.ENAMETOOLONG, "path")
            next_at = at + len(found)
            found += self.memory(next_at, _PAGE - next_at % _PAGE)  # the next page may not be there
        return os.fsdecode(found.split(b"\0")[0])

    def link(self, name: str) -> str:
        """Where its `cwd` or `fd/N` is. Raises `OSError`."""
        return os.readlink(f"/proc/{self._thread}/{name}")

    def status(self, name: str) -> int:
        """The first number of a line of its status. Raises `OSError`."""
        return int(self._line("status", name))

    def flags(self, fd: int) -> int:
        """Those its descriptor was opened with. Raises `OSError`."""
        return int(self._line(f"fdinfo/{fd}", "flags"), 8)

    def _line(self, file: str, name: str) -> str:
        for line in Path(f"/proc/{self._thread}/{file}").read_text("utf-8", "replace").splitlines():
            if line.startswith(name + ":"):
                return line.split()[1]
        raise OSError(errno.ESRCH, file)

    def borrow(self, fd: int) -> socket.socket:
        """The socket behind its descriptor. Raises `OSError`, `PermissionError` where the system forbids it at all."""
        process = os.pidfd_open(self.status("Tgid"))
        try:
            return socket.socket(fileno=kernel.call("pidfd_getfd", process, fd, 0))
        finally:
            os.close(process)

    def place(self, sock: socket.socket, fd: int, flags: int) -> None:
        """Put `sock` where its descriptor `fd` is. Raises `OSError`."""
        kept = flags & os.O_CLOEXEC
        fcntl.ioctl(self._fd, _ADD, pack("<QIIII", self._id, _IN_PLACE, sock.fileno(), fd, kept))

    def check(self) -> None:
        """Raises `OSError` if it does not wait any more."""
        fcntl.ioctl(self._fd, _VALID, pack("<Q", self._id))

    def answer(self, number: int) -> None:
        """Let it return: 0, or fail with an error number."""
        with contextlib.suppress(OSError):  # it was killed meanwhile
            fcntl.ioctl(self._fd, _SEND, pack("<QqiI", self._id, 0, -number, 0))

    def go_on(self) -> None:
        """Let the kernel do it, and judge it."""
        with contextlib.suppress(OSError):  # it was killed meanwhile
            fcntl.ioctl(self._fd, _SEND, pack("<QqiI", self._id, 0, 0, _CONTINUE))


class Notify:
    """Answers the calls that arrive at a notification descriptor, which is ours from here on.

    `look` sees each first.
    """

    def __init__(self, fd: int, handlers: Mapping[str, Handler], look: Look | None = None) -> None:
        self._fd, self._look = fd, look
        self._handlers = {kernel.NUMBERS[name]: handler for name, handler in handlers.items() if name in kernel.NUMBERS}
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)
        self._loop.add_reader(fd, self._readable)

    def close(self) -> None:
        """What still waits fails with ENOSYS, and so does what comes. Safe to call twice."""
        if self._fd < 0:
            return
        self._loop.remove_reader(self._fd)
        for task in self._tasks:
            task.cancel()
        os.close(self._fd)
        self._fd = -1

    def _readable(self) -> None:
        """Take one call. To ask for one where there is none would block, so it is looked for first."""
        events = dict(self._poll.poll(0)).get(self._fd, 0)
        if events & select.POLLIN:
            self._take()
        elif events:  # every process that could call has ended
            self.close()

    def _take(self) -> None:
        note = bytearray(_NOTE_SIZE)
        try:
            fcntl.ioctl(self._fd, _RECEIVE, note)
        except OSError:  # the one who called was killed
            return
        call = Call(self._fd, bytes(note))
        if self._look is not None and self._look(call):
            call.go_on()
            return
        task = self._loop.create_task(self._serve(call))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, call: Call) -> None:
        handler = self._handlers.get(call.number)
        number = errno.EACCES
        try:
            if handler is not None:
                await handler(call)
                number = 0
        except OSError as error:
            number = error.errno or errno.EACCES
        except ValueError:  # a path with what no path can have
            number = errno.EINVAL
        finally:
            if self._fd >= 0:
                call.answer(number)
