"""An append-only file that becomes NAME.1 when it is full; any number of processes may write it at once.

Rule 1: what is appended is whole lines and goes out in one `write` on O_APPEND, so lines of two processes never mix.
Rule 2: whoever finds the file full renames it, holding its lock; the others see another file under the name and follow.
Rule 3: a disk that refuses costs the lines, never the caller. It is said once, and tried again after a while.
"""

from __future__ import annotations

import logging
import os
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger("broker.rotated")

AGAIN = 10.0  # seconds after which a disk that refused is tried again


class Rotated:
    """The file at `path`, at most `limit` bytes of it and as many again in NAME.1; only its user can read it."""

    def __init__(self, path: Path, limit: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._path, self._limit, self._clock = path, limit, clock
        self._fd = -1
        self._size = 0
        self._torn = False  # our last line is not whole
        self._lost = 0  # lines that were refused since it was said
        self._next_try = float("-inf")

    def append(self, lines: bytes) -> None:
        """Add these whole lines. Blocks as long as the disk takes; raises nothing because of it."""
        if self._lost and self._clock() < self._next_try:
            self._lost += lines.count(b"\n")
            return
        try:
            self._open(len(lines))
            self._write(lines)
        except OSError as error:
            self._refused(error, lines)
        else:
            self._taken()

    def close(self) -> None:
        """Let go of the file; the next `append` opens it again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self, more: int) -> None:
        """Have the file that the name stands for now, with room for `more` bytes."""
        if self._fd >= 0 and not self._is_current():
            self.close()
        if self._fd < 0:
            self._begin()
        if self._size and self._size + more > self._limit and self._rotate():
            self.close()
            self._begin()

    def _is_current(self) -> bool:
        try:
            named, ours = os.stat(self._path), os.fstat(self._fd)
        except FileNotFoundError:
            return False
        self._size = ours.st_size
        return (named.st_dev, named.st_ino) == (ours.st_dev, ours.st_ino)

    def _begin(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Not to wait for a reader, should the name be a pipe's.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
        self._fd = os.open(self._path, flags, 0o600)
        found = os.fstat(self._fd)
        self._size = found.st_size if stat.S_ISREG(found.st_mode) else 0  # a device such as /dev/null is never full

    def _rotate(self) -> bool:
        """Rename the full file; False if another process is about to, which is just as good."""
        if not _locked(self._fd):
            return False
        if self._is_current():
            os.replace(self._path, self._path.with_name(self._path.name + ".1"))
        return True  # the lock ends with the descriptor

    def _write(self, lines: bytes) -> None:
        data = b"\n" + lines if self._torn else lines
        sent = os.write(self._fd, data)
        self._torn = sent < len(data)
        if self._torn:
            raise OSError("the disk took only a part of it")

    def _refused(self, error: OSError, lines: bytes) -> None:
        if not self._lost:
            log.warning("%s cannot be written: %s; it is tried again", self._path, error.strerror or error)
        self._lost += max(1, lines.count(b"\n"))
        self._next_try = self._clock() + AGAIN
        self.close()

    def _taken(self) -> None:
        if self._lost:
            log.warning("%s is written again; %d lines were lost", self._path, self._lost)
            self._lost = 0


def _locked(fd: int) -> bool:
    """Whether the lock of the file could be had at once. Without it two processes would rename two files."""
    if sys.platform == "win32":
        return True
    import fcntl

    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
