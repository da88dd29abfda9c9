"""Landlock: what of the file system, of TCP and of other processes a process can reach. Standard library only.

Linux 5.13 and later. What an older kernel cannot judge is left out of what is asked; `abi()` says how much there is.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterable, Sequence

from broker.confine import kernel

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, REMOVE_DIR, REMOVE_FILE = (1 << bit for bit in range(6))
MAKE_DIR, MAKE_FILE, MAKE_SOCKET, MAKE_PIPE, MAKE_LINK = 1 << 7, 1 << 8, 1 << 9, 1 << 10, 1 << 12
REFER, TRUNCATE, IOCTL, RESOLVE_UNIX = 1 << 13, 1 << 14, 1 << 15, 1 << 16

READ = READ_FILE | READ_DIR
RUN = READ | EXECUTE
DEVICE = READ | WRITE_FILE
WRITE = (
    READ | WRITE_FILE | REMOVE_DIR | REMOVE_FILE | REFER | TRUNCATE
    | MAKE_DIR | MAKE_FILE | MAKE_SOCKET | MAKE_PIPE | MAKE_LINK
)  # fmt: skip
CONNECT = RESOLVE_UNIX | READ_FILE
OF_A_FILE = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL | RESOLVE_UNIX

BIND_TCP, CONNECT_TCP = 1, 2
ABSTRACT, SIGNALS = 1, 2  # scopes: abstract unix sockets and processes outside

RULES_OF_FILES = (13, 14, 15, 15, 16, 16, 16, 16, 17)  # how many there are, by ABI from 1
NET_SINCE, SCOPES_SINCE = 4, 6  # ABI

Rule = tuple[str, int]


def abi() -> int:
    """The version of what the kernel can judge; 0 if it has no Landlock, or it is switched off."""
    try:
        return kernel.call("landlock_create_ruleset", None, 0, 1)  # 1: CREATE_RULESET_VERSION
    except OSError:
        return 0


def hold(rules: Iterable[Rule], *, tcp: Sequence[int] | None) -> None:
    """Hold this process to `rules` for good. `tcp`: ports it may connect to; None: somebody else judges TCP.

    No rule may be given through a symbolic link. Raises `OSError`, also when there is no Landlock.
    """
    version = abi()
    if not version:
        raise OSError(95, "this kernel has no Landlock, or it is switched off")
    files = (1 << RULES_OF_FILES[min(version, len(RULES_OF_FILES)) - 1]) - 1
    net = BIND_TCP | CONNECT_TCP if tcp is not None and version >= NET_SINCE else 0
    scopes = ABSTRACT | SIGNALS if version >= SCOPES_SINCE else 0
    judged = struct.pack("<QQQ", files, net, scopes)[
        : 8 if version < NET_SINCE else 16 if version < SCOPES_SINCE else 24
    ]
    ruleset = kernel.call("landlock_create_ruleset", judged, len(judged), 0)
    try:
        for path, access in rules:
            _allow(ruleset, path, access & files)
        for port in tcp or () if net else ():
            kernel.call("landlock_add_rule", ruleset, 2, struct.pack("<QQ", CONNECT_TCP, port), 0)
        kernel.call("landlock_restrict_self", ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, access: int) -> None:
    fd = kernel.pinned(path)
    try:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            access &= OF_A_FILE
        if access:
            kernel.call("landlock_add_rule", ruleset, 1, struct.pack("<Qi", access, fd), 0)
    finally:
        os.close(fd)
