"""A file of the user's replaced whole or not at all, with a copy of what it was beside it.

Rule 1: the new file is complete on the disk before it takes the place of the old one.
Rule 2: mode and owner stay, a new file is for its user alone, a link stays a link to what it led to.
Rule 3: a file that somebody else changed since it was read is left alone.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import tempfile
from datetime import datetime
from pathlib import Path

from msgspec import Struct

from broker.core.source import Faulty
from broker.errors import ConfigError
from broker.model import Problem

_Stamp = tuple[int, int, int]


class Original(Struct, frozen=True):
    """A file as it was read."""

    path: Path  # as it was named, for people
    real: Path  # behind all links
    data: bytes | None  # None: there is none
    stamp: _Stamp | None


def original(path: Path, limit: int) -> Original:
    """The file at `path`, which may be missing. Faulty: it cannot be read, or is over `limit` bytes."""
    real = Path(os.path.realpath(path))
    try:
        if not os.path.lexists(real):
            return Original(path, real, None, None)
        if not stat.S_ISREG(real.stat().st_mode):
            raise Faulty(Problem(str(path), "it is not a file.", "Name a regular file."))
        stamp = _stamp(real)
        with real.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise Faulty(Problem(str(path), f"it cannot be read: {error.strerror}.", "Check the path.")) from None
    if len(data) > limit:
        raise Faulty(Problem(str(path), f"it is larger than {limit >> 20} MiB.", "Name the right file."))
    return Original(path, real, data, stamp)


def replace(old: Original, data: bytes | None, *, now: datetime) -> Path | None:
    """Put `data` in the place of the file, or remove it for None; the path of the copy of the old one.

    Raises ConfigError if that cannot be done; then nothing has changed.
    """
    draft: Path | None = None
    backup: Path | None = None
    try:
        if data is not None:
            draft = _draft(old.real, data)
        if _stamp(old.real) != old.stamp:
            raise ConfigError(f"{old.path} was changed meanwhile; it is left as it is", hint="Run the command again.")
        backup = _backup(old, now)
        if draft is None:
            old.real.unlink(missing_ok=True)
        else:
            os.replace(draft, old.real)
    except OSError as error:
        if backup is not None:
            backup.unlink(missing_ok=True)
        what = f"{old.path} cannot be written: {error.strerror}; nothing was changed"
        raise ConfigError(what, hint="Check the rights of its folder and the space on its disk.") from None
    finally:
        if draft is not None:
            draft.unlink(missing_ok=True)
    _settle(old.real.parent)
    return backup


def _stamp(path: Path) -> _Stamp | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _draft(real: Path, data: bytes) -> Path:
    real.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    number, name = tempfile.mkstemp(dir=real.parent, prefix=f".{real.name}.")
    draft = Path(name)
    try:
        _write(number, data)
        _same_rights(real, draft)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    return draft


def _backup(old: Original, now: datetime) -> Path | None:
    """A copy beside the file; a name that is taken gets a number."""
    if old.data is None:
        return None
    name, number = f"{old.real.name}.bak-{now:%Y%m%d-%H%M%S}", 1
    while True:
        backup = old.real.with_name(name if number == 1 else f"{name}-{number}")
        try:
            opened = os.open(backup, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
        except FileExistsError:
            number += 1
            continue
        try:
            _write(opened, old.data)
            _same_rights(old.real, backup)
        except BaseException:
            backup.unlink(missing_ok=True)
            raise
        return backup


def _write(number: int, data: bytes) -> None:
    with open(number, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(number)


def _same_rights(old: Path, new: Path) -> None:
    try:
        status = old.stat()
    except FileNotFoundError:
        return  # a new file keeps 0600
    if sys.platform != "win32":
        with contextlib.suppress(PermissionError):  # it is ours then, as every editor makes it
            os.chown(new, status.st_uid, status.st_gid)
    os.chmod(new, stat.S_IMODE(status.st_mode))


def _settle(folder: Path) -> None:
    """The new name is on the disk too, where the system can say so."""
    with contextlib.suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
