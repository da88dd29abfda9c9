"""Bounds that every process of a plugin carries itself (`setrlimit`), where no cgroup counts the plugin as a whole.

Memory is counted differently by each runtime: Node reserves ten gigabytes of addresses for its compiler and does
not start, or loses `fetch`, under RLIMIT_AS; it and Go are held by RLIMIT_DATA. Python's shared mappings are seen
only by RLIMIT_AS. Neither sees the plugin's other processes: the watchdog does.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import PurePath

DESCRIPTORS = 1024  # node aborts below 24
OF_THE_HEAP = 0.75  # share of `memory` for what Node collects; Buffers and its own code lie outside
_HEAP = "--max-old-space-size="


def rlimits(program: str, *, memory: int | None, pids: int | None, disk: int | None, alone: bool) -> dict[str, int]:
    """Bounds of one process by the name of its `RLIMIT_`. `alone`: it has a user namespace of its own.

    Without one RLIMIT_NPROC counts everything that runs for this user, so what runs now is added. Root is exempt.
    """
    bounds = {"CORE": 0, "NOFILE": DESCRIPTORS}
    if memory is not None:
        bounds["AS" if _name(program).startswith(("python", "pypy")) else "DATA"] = memory
    if pids is not None:
        bounds["NPROC"] = pids if alone else pids + running()
    if disk is not None:
        bounds["FSIZE"] = disk
    return bounds


def heap(argv: Sequence[str], memory: int | None) -> tuple[str, ...]:
    """`argv` with Node told how much it may use, so that it collects garbage before it is refused more."""
    if memory is None or _name(argv[0]) != "node" or any(word.startswith(_HEAP) for word in argv):
        return tuple(argv)
    return (argv[0], f"{_HEAP}{max(int(memory * OF_THE_HEAP) >> 20, 16)}", *argv[1:])


def _name(program: str) -> str:
    return PurePath(program).name


def running(uid: int | None = None) -> int:
    """Processes and threads of a user, ours if none is given."""
    uid = os.getuid() if uid is None else uid
    count = 0
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.stat(f"/proc/{name}").st_uid == uid:
                count += len(os.listdir(f"/proc/{name}/task"))
        except OSError:  # it is gone
            continue
    return count
