"""Where a command finds the brokers that run: a folder of their user's, with one socket for each, named by its pid.

Rule 1: the folder is its user's and closed to everybody else, or it is not used.
Rule 2: a socket gets its name when somebody listens behind it, so one that refuses belongs to a dead broker.
Rule 3: sockets are named through the open folder: what the path leads to later does not matter, and its length neither
        (a socket's own path ends after 107 bytes).
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import struct
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

BACKLOG = 16
_SUFFIX = ".sock"
_LONGEST = 107 if sys.platform == "linux" else 103  # bytes of a socket's path
_ucred = struct.Struct("3i")


def folders(environ: Mapping[str, str]) -> list[Path]:
    """Where brokers of this user may be; one that starts listens in the first.

    There can be two: a client may start its broker without XDG_RUNTIME_DIR in the environment.
    """
    if home := environ.get("BROKER_HOME"):
        return [Path(home) / "run"]
    named = environ.get("XDG_RUNTIME_DIR", "")
    usual = f"/run/user/{os.getuid()}" if sys.platform == "linux" else ""
    found = [Path(each) / "broker" for each in (named, usual) if os.path.isabs(each) and os.path.isdir(each)]
    return list(dict.fromkeys(found)) or [_fallback()]


def _fallback() -> Path:
    import warnings

    import platformdirs

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is a fallback
        return platformdirs.user_runtime_path("broker")


class Folder:
    """A private folder, open. Raises `OSError` if it is not there, or not private."""

    def __init__(self, path: Path, *, make: bool = False) -> None:
        if make:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path = path
        self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            _check(path, os.fstat(self._fd))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def listen(self, name: str) -> socket.socket:
        """A socket that is connected to by `name`, its user only. Raises `OSError`."""
        draft = f".{name}"
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.remove(draft)
            listener.bind(self._address(draft))
            os.chmod(draft, 0o600, dir_fd=self._fd)
            listener.listen(BACKLOG)
            listener.setblocking(False)
            os.rename(draft, name + _SUFFIX, src_dir_fd=self._fd, dst_dir_fd=self._fd)
        except BaseException:
            listener.close()
            raise
        return listener

    def names(self) -> list[str]:
        """Of all sockets, those of dead brokers included."""
        found = [name for name in os.listdir(self._fd) if name.endswith(_SUFFIX) and not name.startswith(".")]
        return sorted(name.removesuffix(_SUFFIX) for name in found)

    def connect(self, name: str) -> socket.socket | None:
        """A connection, not waited for longer than a moment; None if the broker is gone, or is not our user's.

        What a dead broker left is removed.
        """
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(2)
        try:
            connection.connect(self._address(name + _SUFFIX))
            if is_ours(connection):
                return connection
        except ConnectionRefusedError:
            self.remove(name + _SUFFIX)
        except OSError:
            pass
        connection.close()
        return None

    def sweep(self) -> None:
        """Remove what dead brokers left."""
        for name in self.names():
            connection = self.connect(name)
            if connection is not None:
                connection.close()

    def remove(self, file: str) -> None:
        """Remove a file of the folder, if it is there."""
        with contextlib.suppress(OSError):
            os.unlink(file, dir_fd=self._fd)

    def withdraw(self, name: str) -> None:
        """Nobody listens behind `name` any more."""
        self.remove(name + _SUFFIX)

    def _address(self, file: str) -> str:
        if sys.platform == "linux" and os.path.isdir("/proc/self/fd"):
            return f"/proc/self/fd/{self._fd}/{file}"
        path = str(self.path / file)
        if len(os.fsencode(path)) > _LONGEST:
            raise OSError(f"the path {path} is too long for a socket")
        return path


def is_ours(connection: socket.socket) -> bool:
    """Whether the process at the other end is of our user. Where that cannot be asked, the folder's rights say so."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True
    try:
        _, uid, _ = _ucred.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _ucred.size))
    except OSError:
        return False
    return uid == os.geteuid()


def opened(environ: Mapping[str, str]) -> Iterator[Folder]:
    """The folders that are there and private, each closed when the next is asked for."""
    for path in folders(environ):
        with contextlib.suppress(OSError), Folder(path) as folder:
            yield folder


def _check(path: Path, found: os.stat_result) -> None:
    if found.st_uid != os.geteuid():
        raise PermissionError(f"{path} belongs to another user")
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise PermissionError(f"{path} is open to other users; `chmod 700` it")
