"""chmod and utimensat by path, made by the broker beneath the folders a plugin may write to.

Landlock does not judge these two, and refusing them breaks `git commit` and `shutil.copy`. So the broker makes them:
through a descriptor that was opened without following any symbolic link, beneath a folder that was granted, on files
of the plugin's own user, and never with a set-id bit.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from struct import pack

from broker.confine import kernel
from broker.confine.egress.denied import Denials
from broker.confine.egress.notify import Call, Handler

_HERE = -100  # AT_FDCWD
_EMPTY = 0x1000  # AT_EMPTY_PATH
_BENEATH = 0x08 | 0x04 | 0x02  # RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, RESOLVE_NO_MAGICLINKS
_MODES = 0o1777  # what may be set
_TIMES = 32  # bytes of two times


class Attributes:
    """Changes modes and times of files beneath `write`: files, and folders with all below."""

    def __init__(self, denials: Denials, write: Sequence[str]) -> None:
        self._denials, self._write = denials, tuple(write)

    def handlers(self) -> dict[str, Handler]:
        """By the name of the system call."""
        return {
            "chmod": self._away(lambda call, at: self._chmod(call, _HERE, at[0], at[1], 0)),
            "fchmodat": self._away(lambda call, at: self._chmod(call, at[0], at[1], at[2], 0)),
            "fchmodat2": self._away(lambda call, at: self._chmod(call, at[0], at[1], at[2], at[3])),
            "utimensat": self._away(lambda call, at: self._utime(call, at[0], at[1], at[2], at[3])),
        }

    def _away(self, change: Callable[[Call, list[int]], None]) -> Handler:
        """Away from the loop: a disk, or a file system over a network, may take its time."""

        def handle(call: Call) -> Awaitable[None]:
            return asyncio.to_thread(change, call, call.arguments)

        return handle

    def _chmod(self, call: Call, folder: int, at: int, mode: int, flags: int) -> None:
        with self._opened(call, folder, at, flags, "chmod") as path:
            os.chmod(path, mode & _MODES)

    def _utime(self, call: Call, folder: int, at: int, times: int, flags: int) -> None:
        copied = call.memory(times, _TIMES) if times else None  # None: now
        with self._opened(call, folder, at, flags, "utimensat") as path:
            kernel.call("utimensat", _HERE, path, copied, 0)

    @contextmanager
    def _opened(self, call: Call, folder: int, at: int, flags: int, name: str) -> Generator[str]:
        """A path to the file and to nothing else. Raises `OSError`."""
        asked = call.text(at)
        if not asked and not flags & _EMPTY:
            raise OSError(errno.ENOENT, name)
        number = folder & 0xFFFFFFFF
        start = call.link("cwd" if number == _HERE & 0xFFFFFFFF else f"fd/{number}")
        user = call.status("Uid")
        call.check()
        fd = self._open(os.path.normpath(os.path.join(start, asked)), name)
        try:
            if user not in (0, os.fstat(fd).st_uid):
                raise OSError(errno.EPERM, name)
            yield f"/proc/self/fd/{fd}"
        finally:
            os.close(fd)

    def _open(self, path: str, name: str) -> int:
        for granted in self._write:
            if path == granted:
                return kernel.pinned(granted)
            if path.startswith(granted.rstrip("/") + "/"):
                return _beneath(granted, os.path.relpath(path, granted))
        self._denials.refuse(path, None, name, "is in no folder it may write to.", f"write:{path}")
        raise OSError(errno.EPERM, name)


def _beneath(folder: str, path: str) -> int:
    at = kernel.pinned(folder)
    try:
        how = pack("<QQQ", os.O_PATH | os.O_CLOEXEC, 0, _BENEATH)
        return kernel.call("openat2", at, path, how, len(how))
    finally:
        os.close(at)
