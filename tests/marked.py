"""Finds processes by a mark in their environment, whoever is their parent by now."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import suppress
from pathlib import Path

MARK = "BROKER_TEST_MARK"


def marked(mark: str) -> list[int]:
    """Those that run with the variable `MARK` set to `mark`. One that has ended and waits for its parent is none."""
    wanted, found = f"{MARK}={mark}".encode(), list[int]()
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError):
                if wanted in Path(f"/proc/{name}/environ").read_bytes().split(b"\0"):
                    found.append(int(name))
    return found


async def all_gone(mark: str, bound: float) -> float:
    """Wait until nobody has the mark; the seconds it took. An error after `bound` seconds, and then they are killed."""
    began = time.monotonic()
    while left := marked(mark):
        if time.monotonic() - began > bound:
            said = [_described(pid) for pid in left]
            await killed(mark)
            raise AssertionError(f"after {bound:g} s there are still {said}")
        await asyncio.sleep(0.15)  # a look costs 10 ms
    return time.monotonic() - began


async def killed(mark: str) -> None:
    """Kill whoever has the mark, also those it forks meanwhile."""
    while left := marked(mark):
        for pid in left:
            with suppress(OSError):
                os.kill(pid, 9)
        await asyncio.sleep(0.01)


def _described(pid: int) -> str:
    with suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
        return f"{pid} below {parent}: {words[-120:]}"
    return f"{pid}"
