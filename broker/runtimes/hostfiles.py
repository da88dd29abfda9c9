"""Reads and writes files for a plugin that runs in the broker, where the path was allowed.

Rule 1: no symbolic link is followed, on the way or at the end: what was granted is a place, and a link is another one.
        Where the kernel cannot promise that, a path that is not its own real path is refused.
Rule 2: only files: no device, socket or pipe is opened, whatever its name.
Rule 3: what other programs of the user's run or take commands from is not written, unless it was granted by its name.
"""

from __future__ import annotations

import base64
import binascii
import os
import stat
import sys
from collections.abc import Iterable
from typing import Any

from msgspec import UNSET

from broker.confine.kept import NAMES
from broker.core.hostparams import PIECE, Read, Write
from broker.errors import BadArguments, BrokerError, HostFailed, PermissionMissing
from broker.model import Spec
from broker.runtimes.apart import apart

_FLAGS = os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_KEPT = tuple(f"/{name}/" for name in NAMES)


async def read(spec: Spec, params: Read) -> dict[str, Any]:
    """A piece of a file. Raises `HostFailed`, `BadArguments`."""
    return await _apart(_read, params)


async def write(spec: Spec, params: Write, kept: Iterable[str]) -> dict[str, Any]:
    """Write or append; `kept` are files and folders no plugin may change. Raises `PermissionMissing` for them, too."""
    if (params.text is UNSET) is (params.base64 is UNSET):
        raise BadArguments("fs.write takes either `text` or `base64`")
    check_kept(spec, params.path, kept)
    return await _apart(_write, params)


def check_kept(spec: Spec, path: str, kept: Iterable[str]) -> None:
    """Raises `PermissionMissing` for what no plugin may change unless it was granted by its name."""
    path = os.path.normpath(path)
    if f"write:{path}" not in spec.granted and (_is_kept(path) or any(_is_in(path, each) for each in kept)):
        raise PermissionMissing(
            f"{spec.name} may not write to {path}: others take commands from it",
            hint="If it should, its permissions must name this very file.",
            facts={"plugin": spec.name, "missing": [f"write:{path}"]},
        )


async def _apart(work: Any, params: Read | Write) -> dict[str, Any]:
    try:
        return await apart(lambda: work(params))
    except BrokerError:
        raise
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise HostFailed(f"{params.path[:500]}: {why}") from None


def _read(params: Read) -> dict[str, Any]:
    fd = _opened(params.path, os.O_RDONLY)
    try:
        size = os.fstat(fd).st_size
        data = os.pread(fd, PIECE, params.offset)
    finally:
        os.close(fd)
    if params.encoding == "base64":
        return {"base64": base64.b64encode(data).decode(), "size": size}
    try:
        return {"text": data.decode(), "size": size}
    except UnicodeDecodeError:
        raise BadArguments(f"{params.path[:500]} is no text in UTF-8; ask for it as base64") from None


def _write(params: Write) -> dict[str, Any]:
    try:
        data = base64.b64decode(params.base64, validate=True) if params.base64 is not UNSET else b""
    except binascii.Error as error:
        raise BadArguments(f"`base64` cannot be read: {error}") from None
    if params.text is not UNSET:
        data = params.text.encode()
    # Not O_TRUNC: it would empty the file before it is known to be one.
    fd = _opened(params.path, os.O_WRONLY | os.O_CREAT | (os.O_APPEND if params.append else 0))
    try:
        if not params.append:
            os.ftruncate(fd, 0)
        with os.fdopen(fd, "wb", closefd=False) as file:
            file.write(data)
        return {"size": os.fstat(fd).st_size}
    finally:
        os.close(fd)


def _opened(path: str, flags: int) -> int:
    """A descriptor of the file at `path`. Raises `OSError`."""
    folder, name = os.path.split(os.path.normpath(path))
    fd = _within(folder, name, flags)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(None, "is no file")
    return fd


def _within(folder: str, name: str, flags: int) -> int:
    if sys.platform == "linux":
        from broker.confine.kernel import pinned

        try:
            place = pinned(folder)
        except OSError as error:
            if error.errno is not None:
                raise OSError(None, str(error.strerror or error)) from None
        else:
            try:
                return os.open(name, flags | _FLAGS, 0o600, dir_fd=place)
            finally:
                os.close(place)
    if os.path.realpath(folder) != folder:
        raise OSError(None, "lies behind a symbolic link")
    return os.open(os.path.join(folder, name), flags | _FLAGS, 0o600)


def _is_kept(path: str) -> bool:
    return path.endswith("/.git") or any(name in f"{path}/" for name in _KEPT)


def _is_in(path: str, folder: str) -> bool:
    real = os.path.realpath(folder)
    return path == real or path.startswith(real.rstrip("/") + "/")
