"""The system calls of a plugin that name a file, a program or a host, and what each would do to it.

A plugin that is watched (`witness`) has these looked at before the kernel judges them as ever.
Rule: a number here is the kernel's, for x86_64 and aarch64 (which has no `-`), as in `syscalls`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Literal, NamedTuple

from broker.confine.syscalls import MACHINE, NUMBERS

Kind = Literal["look", "read", "write", "run", "connect"]

# name, x86_64, aarch64, what it does, then each path: the argument with its folder (`-`: none) and its own
TABLE = """
access 21 - look -0, chdir 80 49 look -0, creat 85 - write -0, execve 59 221 run -0, execveat 322 281 run 01,
faccessat 269 48 look 01, faccessat2 439 439 look 01, inotify_add_watch 254 27 read -1, link 86 - write -1,
linkat 265 37 write 23, lstat 6 - look -0, mkdir 83 - write -0, mkdirat 258 34 write 01, newfstatat 262 79 look 01,
open 2 - read -0, openat 257 56 read 01, rename 82 - write -0 -1, renameat 264 38 write 01 23,
renameat2 316 276 write 01 23, rmdir 84 - write -0, stat 4 - look -0, statx 332 291 look 01, symlink 88 - write -1,
symlinkat 266 36 write 12, truncate 76 45 write -0, unlink 87 - write -0, unlinkat 263 35 write 01,
connect 42 203 connect
"""
FLAGS = {"open": 1, "openat": 2}  # which argument says whether it writes

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


class Path(NamedTuple):
    """Where a call has a path: the arguments with the descriptor of its folder, None without, and with its text."""

    folder: int | None
    text: int


class Way(NamedTuple):
    """One of these calls."""

    name: str
    kind: Kind
    paths: tuple[Path, ...]

    def kind_of(self, arguments: list[int]) -> Kind:
        """What it does with these arguments."""
        at = FLAGS.get(self.name)
        return "write" if at is not None and arguments[at] & _WRITES else self.kind


def ways(machine: str) -> dict[int, Way]:
    """By number; empty for a machine we do not know."""
    column = {"x86_64": 1, "aarch64": 2}.get(machine)
    return {} if column is None else dict(_rows(column))


def _rows(column: int) -> Iterator[tuple[int, Way]]:
    for cell in TABLE.replace("\n", " ").split(","):
        row = cell.split()
        if row and row[column] != "-":
            kind: Kind = row[3]  # pyright: ignore[reportAssignmentType]
            paths = tuple(Path(None if at[0] == "-" else int(at[0]), int(at[1])) for at in row[4:])
            yield int(row[column]), Way(row[0], kind, paths)


WAYS = ways(MACHINE)
FILES = tuple(number for number in WAYS if number != NUMBERS.get("connect"))
