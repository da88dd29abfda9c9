"""What a guest with WASI sees of the world: a clock, chance, its log, and the variables and files that were granted.

Rule 1: what was not granted does not exist: no variable, no folder, no host, no arguments, nothing to read from stdin.
Rule 2: a path is taken apart here: it must stay below the folder it starts from, and each file is looked up in the
        grants again, because a folder that is shown may hold more than was granted.
Rule 3: no symbolic link is followed and nothing but files and folders is opened, as in `hostfiles`.
Rule 4: waiting is done here, where the end of a call ends it; nothing of wasmtime's own WASI is used, because its
        sleep cannot be interrupted.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence

from msgspec import Struct

from broker.errors import PermissionMissing
from broker.model import Spec
from broker.permissions.scopes import Permission, allowed, parse
from broker.runtimes.command import granted_env
from broker.runtimes.hostfiles import check_kept
from broker.runtimes.wasm_engine import Control, Refused

MOST_OPEN = 64  # files of one instance
MOST_WRITTEN = 256 << 20  # bytes to files, of one instance
MOST_CALLS = 100_000  # of WASI, of one instance
MOST_NAMES = 10_000  # in a folder that is listed
PIECE = 1 << 20  # bytes read or written at once
_LINE = 8192  # bytes of output without an end of a line, after which it is logged anyway
_TAIL = 6  # lines of its errors that are told when it gives up, of 100 characters each
_OPEN = os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_INFO, _WARNING = 2, 1  # levels of a log line


def _nothing(kind: str, path: str) -> bool:
    return False


class Grants(Struct, frozen=True):
    """What one plugin was granted of the world. `folders` are those from which it can start."""

    env: Mapping[str, str] = {}
    folders: tuple[str, ...] = ()
    may: Callable[[str, str], bool] = _nothing


NOTHING = Grants()


def grants(spec: Spec, environ: Mapping[str, str], kept: Callable[[], Sequence[str]]) -> Grants:
    """Those of a plugin. `environ` is what granted names are looked up in; what is `kept` no plugin changes."""
    granted = [each for text in spec.granted if (each := parse(text)).kind in ("read", "write")]

    def may(kind: str, path: str) -> bool:
        if not allowed(granted, Permission(kind, path)):
            return False
        return kind == "read" or not _is_kept(spec, path, kept())

    env = {name: environ[name] for name in granted_env(spec) if name in environ} | dict(spec.env)
    folders = dict.fromkeys(folder for each in granted if os.path.isdir(folder := _start_of(each.target)))
    return Grants(env, tuple(folders), may)


def _is_kept(spec: Spec, path: str, kept: Sequence[str]) -> bool:
    try:
        check_kept(spec, path, kept)
    except PermissionMissing:
        return True
    return False


def _start_of(target: str) -> str:
    """The folder that a granted path or glob lies in, or is."""
    fixed = target.partition("*")[0]
    if fixed == target and os.path.isdir(target):
        return os.path.normpath(target)
    return os.path.normpath(os.path.dirname(fixed) or "/")


def wall_clock() -> int:
    """Nanoseconds since 1970, for guests that ask what time it is."""
    return time.time_ns()


class Opened(Struct):
    """An open file or folder of a guest."""

    path: str
    fd: int | None  # None: a folder
    read: bool = True
    write: bool = False
    append: bool = False
    offset: int = 0
    names: list[str] | None = None  # of a folder that is being listed


class World:
    """The world of one instance; used on its thread."""

    def __init__(self, granted: Grants) -> None:
        self.granted = granted
        self._said: deque[str] = deque(maxlen=_TAIL)
        self._left, self._room = MOST_CALLS, MOST_WRITTEN
        self._parts = {_INFO: bytearray(), _WARNING: bytearray()}
        self._files: set[int] = set()

    def spend(self, control: Control) -> None:
        """One more call of WASI. Raises `Refused`."""
        self._left -= 1
        if self._left < 0:
            raise Refused("it called WASI too often")
        if self._left % 64 == 0 and control.over():
            raise Refused("it must end")

    def nap(self, control: Control, until: float) -> None:
        """Wait for a moment of the monotonic clock. Raises `Refused` when its call ends before."""
        over = threading.Event()
        control.waiting(over.set)
        over.wait(max(min(until, control.end + 0.001) - time.monotonic(), 0))
        control.waiting(None)
        if control.over():
            raise Refused("it must end")

    def output(self, control: Control, errors: bool, data: bytes) -> None:
        """What it writes to stdout or stderr, line by line into its log."""
        level = _WARNING if errors else _INFO
        part = self._parts[level]
        part += data
        *lines, rest = bytes(part).split(b"\n")
        if len(rest) > _LINE:
            lines, rest = [*lines, rest], b""
        part[:] = rest
        for line in lines:
            self._log(control, level, line)

    def flush(self, control: Control) -> None:
        """Log what was written without an end of the line."""
        for level, part in self._parts.items():
            if part:
                self._log(control, level, bytes(part))
                part.clear()

    @property
    def said(self) -> str:
        """The last lines that it wrote to its errors."""
        return " / ".join(self._said)

    def close(self) -> None:
        """Close its files."""
        for fd in self._files:
            os.close(fd)
        self._files.clear()

    def _log(self, control: Control, level: int, line: bytes) -> None:
        if level == _WARNING and line.strip():
            self._said.append(line.decode("utf-8", "replace").strip()[:100])
        control.log(level, line)

    # files; all raise `OSError`

    def path(self, base: Opened, relative: str) -> str:
        """Where a path leads that starts in a folder."""
        if base.fd is not None:
            raise _error(errno.ENOTDIR)
        if relative.startswith("/") or "\0" in relative or len(relative) > 4096:
            raise _error(errno.EPERM)
        path = os.path.normpath(os.path.join(base.path, relative))
        if path != base.path and not path.startswith(base.path.rstrip("/") + "/"):
            raise _error(errno.EPERM)
        return path

    def open(
        self, path: str, *, read: bool, write: bool, flags: int = 0, folder: bool = False, append: bool = False
    ) -> Opened:
        """Open a file, or a folder. `flags` are of O_CREAT, O_EXCL and O_TRUNC."""
        found = self._look(path)
        if found is not None and stat.S_ISDIR(found.st_mode):
            if write or flags:
                raise _error(errno.EISDIR)
            return Opened(path, None)
        if folder:
            raise _error(errno.ENOTDIR if found else errno.ENOENT)
        if len(self._files) >= MOST_OPEN:
            raise _error(errno.EMFILE)
        self._may(path, read or not write, write or bool(flags))
        fd = self._file(path, read, write, flags)
        self._files.add(fd)
        return Opened(path, fd, read, write, append)

    def _file(self, path: str, read: bool, write: bool, flags: int) -> int:
        mode = (os.O_RDWR if read else os.O_WRONLY) if write or flags & os.O_TRUNC else os.O_RDONLY
        with _in(path) as (parent, name):
            # Not O_TRUNC: it would empty the file before it is known to be one.
            fd = os.open(name, mode | (flags & ~os.O_TRUNC) | _OPEN, 0o600, dir_fd=parent)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise _error(errno.EPERM)
            if flags & os.O_TRUNC:
                os.ftruncate(fd, 0)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def shut(self, opened: Opened) -> None:
        """It needs it no more."""
        if opened.fd is not None and opened.fd in self._files:
            self._files.discard(opened.fd)
            os.close(opened.fd)

    def read(self, opened: Opened, size: int, offset: int) -> bytes:
        """What is there, which may be less; nothing at the end."""
        if opened.fd is None:
            raise _error(errno.EISDIR)
        if not opened.read:
            raise _error(errno.EBADF)
        return os.pread(opened.fd, min(size, PIECE), min(offset, 1 << 62))

    def write(self, opened: Opened, data: bytes, offset: int) -> int:
        """How many bytes were written, which may be fewer."""
        if opened.fd is None or not opened.write:
            raise _error(errno.EBADF)
        data = data[:PIECE]
        self._room -= len(data)
        if self._room < 0:
            raise _error(errno.ENOSPC)
        at = os.fstat(opened.fd).st_size if opened.append else offset
        if at > 1 << 40:
            raise _error(errno.EFBIG)
        return os.pwrite(opened.fd, data, at)

    def resize(self, opened: Opened, size: int) -> None:
        """Cut a file off, or make it longer."""
        if opened.fd is None or not opened.write:
            raise _error(errno.EBADF)
        if size > os.fstat(opened.fd).st_size + max(self._room, 0):
            raise _error(errno.ENOSPC)
        os.ftruncate(opened.fd, size)

    def facts(self, opened: Opened) -> os.stat_result:
        return os.fstat(opened.fd) if opened.fd is not None else self.stat(opened.path)

    def stat(self, path: str) -> os.stat_result:
        found = self._look(path)
        if found is None:
            raise _error(errno.ENOENT)
        if path not in self.granted.folders and not self._any(path):
            raise _error(errno.EACCES)
        return found

    def names(self, path: str) -> list[str]:
        """What is in a folder, of what was granted."""
        if not self._any(path) and path not in self.granted.folders:
            raise _error(errno.EACCES)
        with _folder(path) as place:
            fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=place)
            try:
                found = os.listdir(fd)
            finally:
                os.close(fd)
        return sorted(name for name in found if self._any(os.path.join(path, name)))[:MOST_NAMES]

    def make_folder(self, path: str) -> None:
        self._may(path, False, True)
        with _in(path) as (parent, name):
            os.mkdir(name, 0o700, dir_fd=parent)

    def remove(self, path: str, folder: bool) -> None:
        self._may(path, False, True)
        with _in(path) as (parent, name):
            (os.rmdir if folder else os.unlink)(name, dir_fd=parent)

    def rename(self, old: str, new: str) -> None:
        for path in (old, new):
            self._may(path, False, True)
        with _in(old) as (source, name), _in(new) as (target, called):
            os.rename(name, called, src_dir_fd=source, dst_dir_fd=target)

    def _look(self, path: str) -> os.stat_result | None:
        try:
            with _in(path) as (parent, name):
                return os.stat(name, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def _any(self, path: str) -> bool:
        return self.granted.may("read", path) or self.granted.may("write", path)

    def _may(self, path: str, read: bool, write: bool) -> None:
        if (read and not self.granted.may("read", path)) or (write and not self.granted.may("write", path)):
            raise _error(errno.EACCES)


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@contextlib.contextmanager
def _in(path: str) -> Generator[tuple[int, str]]:
    """The folder something lies in, and its name there."""
    folder, name = os.path.split(path)
    with _folder(folder) as fd:
        yield fd, name or "."


@contextlib.contextmanager
def _folder(path: str) -> Generator[int]:
    fd = _pinned(path)
    try:
        yield fd
    finally:
        os.close(fd)


def _pinned(path: str) -> int:
    """A descriptor of a folder, reached without a symbolic link."""
    if sys.platform == "linux":
        from broker.confine.kernel import pinned

        try:
            return pinned(path)
        except OSError as error:
            if error.errno is not None:
                raise _error(error.errno) from None
    if os.path.realpath(path) != path:
        raise _error(errno.ELOOP)
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_DIRECTORY", 0))
