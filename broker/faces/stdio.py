"""The owner of file descriptors 0 and 1; nobody else may name them.

Rule 1: the wire moves to private duplicates. 0 becomes /dev/null and 1 becomes stderr, so that a stray `print`
in us or in a library cannot tear a frame.
Rule 2: the end of input is not the only sign that the client is gone: a sibling of ours may have inherited the pipe
and hold it open for ever. So the process that started us is watched too, unless it was only a launcher.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable

log = logging.getLogger("broker.stdio")

LAUNCHER = 5.0  # seconds; a parent that leaves sooner only started us
LOOK = 2.0  # seconds between two looks at it where the kernel does not tell


def claim() -> tuple[int, int]:
    """Take standard input and output for the wire: (descriptor to read, descriptor to write)."""
    wire_in, wire_out = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return wire_in, wire_out


def is_open() -> bool:
    """Whether whoever started us gave us both; to be asked before any other file is opened."""
    return sys.stdin is not None and sys.stdout is not None  # pyright: ignore[reportUnnecessaryComparison]


def watch_parent(on_gone: Callable[[], None]) -> None:
    """Call `on_gone` when the process that started us ends; not if it is gone now or leaves in `LAUNCHER` seconds."""
    loop, parent = asyncio.get_running_loop(), os.getppid()
    if os.name != "posix" or parent <= 1:  # who is left to init was left by a launcher
        return
    since = loop.time()

    def gone() -> None:
        if loop.time() - since >= LAUNCHER:
            log.info("ending: the process that started broker is gone")
            on_gone()

    _when_gone(parent, gone, lambda: os.getppid() == parent)


def watch_process(pid: int, on_gone: Callable[[], None]) -> None:
    """Call `on_gone` when another process of this user ends; nothing if there is none of this number."""
    if os.name == "posix" and pid > 1 and _lives(pid):

        def gone() -> None:
            log.info("ending: process %d is gone", pid)
            on_gone()

        _when_gone(pid, gone, lambda: _lives(pid))


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:  # also one of another user, whose number comes from another machine or container
        return False
    return True


def _when_gone(pid: int, tell: Callable[[], None], lives: Callable[[], bool]) -> None:
    loop = asyncio.get_running_loop()
    try:
        fd = os.pidfd_open(pid)
    except (AttributeError, OSError):  # not Linux, or it is gone already
        _look(tell, lives)
        return

    def ready() -> None:
        loop.remove_reader(fd)
        os.close(fd)
        tell()

    loop.add_reader(fd, ready)


def _look(tell: Callable[[], None], lives: Callable[[], bool]) -> None:
    if lives():
        asyncio.get_running_loop().call_later(LOOK, _look, tell, lives)
    else:
        tell()
