"""The ledger: who granted what to which plugin and when, in one file that only its user can read and write.

Rule 1: it is replaced as a whole, by one process at a time, and is on the disk before anyone is told so.
Rule 2: it fails closed. A file that is torn, of another user, open to others, or has a word in it that nobody here
        knows grants nothing and is not written over: `LedgerBroken` says what to do.
Rule 3: grants belong to a plugin's name in one configuration file, and to what was approved there. A grant for
        something else by the same name drops the older ones: they do not come to life again.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from broker.errors import ConfigError, LedgerBroken
from broker.permissions.approval import Approval, changes
from broker.permissions.scopes import Permission, parse
from broker.permissions.written import alone, replace_file

FILE = "grants.json"
MOST = 8 << 20  # bytes; a grant has about 100
OTHERS = 0o077  # what nobody but its user may do with the file
FOLDER = 0o022  # and with its folder: whoever may write there can put another file in its place


class Grant(Struct, frozen=True, forbid_unknown_fields=True):
    """One yes."""

    permission: str  # as `scopes` prints it, its places filled in
    at: str  # UTC, RFC 3339
    by: str  # how it was given: a terminal, a client's name


class Entry(Struct, frozen=True, forbid_unknown_fields=True):
    """What one plugin was granted, and for which state of it that counts."""

    name: str
    source: str  # the configuration file that names it
    approval: Approval
    grants: tuple[Grant, ...]


class Kept(Struct, frozen=True, forbid_unknown_fields=True):
    """The content of the file."""

    version: Literal[1]
    entries: tuple[Entry, ...] = ()

    def entry(self, name: str, source: str) -> Entry | None:
        """What the plugin `name` of this configuration file was granted."""
        return next((each for each in self.entries if (each.name, each.source) == (name, source)), None)


_EMPTY = Kept(1)
_Stamp = tuple[int, ...]


class Ledger:
    """The ledger in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self._known: tuple[_Stamp, Kept] | None = None

    def read(self) -> Kept:
        """What is in it; without a file nothing is granted. Raises `LedgerBroken`."""
        try:
            fd = os.open(self.path, os.O_RDONLY | _CAREFULLY)
        except FileNotFoundError:
            return _EMPTY
        except OSError as error:
            raise _broken(self.path, f"it cannot be opened: {error.strerror}") from None
        try:
            return self._content(fd)
        except OSError as error:
            raise _broken(self.path, f"it cannot be read: {error.strerror}") from None
        finally:
            os.close(fd)

    def grant(self, name: str, source: str, approved: Approval, permissions: Iterable[Permission], by: str) -> Entry:
        """Keep a yes to each of `permissions`, for exactly what was approved. Raises `LedgerBroken`, `ConfigError`."""
        at = moment()
        new = [Grant(str(permission), at, by) for permission in permissions]

        def add(old: Entry | None) -> Entry:
            kept = old.grants if old is not None and not changes(old.approval, approved) else ()
            texts = {grant.permission for grant in new}
            return Entry(name, source, approved, (*(each for each in kept if each.permission not in texts), *new))

        entry = self._change(name, source, add)
        assert entry is not None
        return entry

    def revoke(self, name: str, source: str, permissions: Iterable[Permission] | None = None) -> tuple[Grant, ...]:
        """Take grants back, all if none are named; those that were there. Raises `LedgerBroken`, `ConfigError`."""
        texts = None if permissions is None else {str(permission) for permission in permissions}
        gone: list[Grant] = []

        def drop(old: Entry | None) -> Entry | None:
            if old is None:
                return None
            gone.extend(each for each in old.grants if texts is None or each.permission in texts)
            left = tuple(each for each in old.grants if each not in gone)
            return replace(old, grants=left) if left else None

        self._change(name, source, drop)
        return tuple(gone)

    def _change(self, name: str, source: str, change: Callable[[Entry | None], Entry | None]) -> Entry | None:
        try:
            with alone(self.path):
                kept = self.read()
                old = kept.entry(name, source)
                new = change(old)
                if new != old:
                    others = tuple(each for each in kept.entries if each is not old)
                    self._write(Kept(1, (*others, new) if new is not None else others))
                return new
        except OSError as error:
            what = f"{self.path} cannot be written: {error.strerror or error}"
            raise ConfigError(what, hint="Make room on the disk, or correct the rights of the folder.") from None

    def _write(self, kept: Kept) -> None:
        ordered = replace(kept, entries=tuple(sorted(kept.entries, key=lambda each: (each.name, each.source))))
        data = msgspec.json.format(msgspec.json.encode(ordered), indent=1)
        replace_file(self.path, data + b"\n", lasting=True)

    def _content(self, fd: int) -> Kept:
        found = os.fstat(fd)
        self._check(found)
        stamp = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        if self._known is None or self._known[0] != stamp:
            with open(fd, "rb", closefd=False) as file:
                self._known = stamp, self._decoded(file.read(MOST + 1))
        return self._known[1]

    def _check(self, found: os.stat_result) -> None:
        if not stat.S_ISREG(found.st_mode):
            raise _broken(self.path, "it is not a file")
        if os.name != "posix":
            return
        folder = os.stat(self.path.parent)
        if found.st_uid != os.geteuid() or folder.st_uid not in (os.geteuid(), 0):
            raise _broken(self.path, "it belongs to another user")
        if found.st_mode & OTHERS:
            raise _broken(self.path, "other users may open it", f"Look through it, then `chmod 600 {self.path}`.")
        if folder.st_mode & FOLDER:
            fix = f"Look through it, then `chmod 700 {self.path.parent}`."
            raise _broken(self.path, "other users may write to its folder", fix)

    def _decoded(self, data: bytes) -> Kept:
        if len(data) > MOST:
            raise _broken(self.path, f"it is larger than {MOST >> 20} MiB")
        try:
            kept = _decode(data)
            for entry in kept.entries:
                for grant in entry.grants:
                    parse(grant.permission)
        except (ValueError, RecursionError) as error:  # msgspec's own errors are ValueErrors
            raise _broken(self.path, f"it is no ledger ({error})") from None
        if len({(each.name, each.source) for each in kept.entries}) < len(kept.entries):
            raise _broken(self.path, "it names a plugin twice")
        return kept


def moment() -> str:
    """Now, for people to read: UTC, RFC 3339."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


_decode = msgspec.json.Decoder(Kept).decode
# A link would let somebody choose the file, and to open a FIFO would wait for its writer.
_CAREFULLY = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)


def _broken(path: Path, why: str, hint: str | None = None) -> LedgerBroken:
    return LedgerBroken(f"nothing is granted, because {path} cannot be trusted: {why}", hint=hint)
