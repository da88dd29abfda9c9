"""Floods of a confined plugin delay nobody else, and one whose start is given up leaves nothing."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from time import monotonic, process_time
from typing import Any

import pytest

from broker.confine.plan import Confinement
from broker.confine.start import start
from tests.confine.jailed import PYTHON, needs
from tests.hostile.evil import until
from tests.hostile.test_escapes import able

BOUND = 20.0  # seconds that anything here may take

CONNECTING = """
import socket, sys, threading
def connect():
    held = []
    while True:
        one = socket.socket(socket.AF_UNIX)
        try:
            one.connect(sys.argv[1])
        except OSError:
            pass
        held.append(one)
        del held[:-20]
for _ in range(4):
    threading.Thread(target=connect, daemon=True).start()
print("ready", flush=True)
sys.stdin.read()
"""
ASKING = """
import socket, sys, threading
def ask():
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.connect(("127.0.0.1", 53))
    for nth in range(1 << 30):
        name = b"%030d" % nth
        one.send(b"\\0\\1\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0" + bytes([30]) + name + b"\\7example\\3com\\0\\0\\1\\0\\1")
threading.Thread(target=ask, daemon=True).start()
print("ready", flush=True)
sys.stdin.read()
"""


@asynccontextmanager
async def flooding(backend: str, program: str, *words: str, **held: Any) -> AsyncGenerator[None]:
    seen = needs(PYTHON)
    wall = Confinement(name="flood", roots=seen.roots, links=seen.links, **held)
    child = await start(
        [seen.argv[0], "-I", "-S", "-c", program, *words],
        env={"PATH": "/usr/bin"},
        cwd=None,
        wall=wall,
        told=lambda denied: None,
        found=await able(backend),
    )
    try:
        async with asyncio.timeout(BOUND):
            assert await asyncio.to_thread(os.read, child.stdout, 100) == b"ready\n"
            yield
    finally:
        await child.end(grace=0)
        for fd in (child.stdin, child.stdout, child.stderr):
            os.close(fd)


async def delays(seconds: float) -> list[float]:
    """How late the loop was each time, in order of length."""
    found = list[float]()
    end = monotonic() + seconds
    while (before := monotonic()) < end:
        await asyncio.sleep(0.002)
        found.append(monotonic() - before - 0.002)
    return sorted(found)


async def test_a_socket_that_nobody_accepts_on_stops_the_plugin_and_not_the_broker(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as there:
        there.bind(str(path))
        there.listen(0)
        async with flooding("landlock", CONNECTING, str(path), sockets=(str(path),)):
            late = await delays(1.5)
    assert late[len(late) * 9 // 10] < 0.05  # each try that waits takes 0.2 seconds


async def test_a_flood_of_questions_for_names_costs_the_broker_little(tmp_path: Path) -> None:
    async with flooding("native", ASKING, net=("*.example.com:443",)):
        before, began = process_time(), monotonic()
        await delays(1.5)
        assert (process_time() - before) / (monotonic() - began) < 0.35  # of one core, the measuring included


@pytest.mark.parametrize("backend", ["native", "landlock"])
async def test_starts_that_are_cancelled_at_any_moment_leave_nothing(backend: str) -> None:
    found, seen = await able(backend), needs(PYTHON)
    wall = Confinement(name="gone", roots=seen.roots, links=seen.links, net=("example.com:443",))

    async def begin(steps: int) -> None:
        words = [seen.argv[0], "-I", "-S", "-c", "input()"]
        starting = asyncio.ensure_future(
            start(words, env={}, cwd=None, wall=wall, told=lambda denied: None, found=found)
        )
        for _ in range(steps):  # turns of the loop: a wait by the clock would miss the short moments
            await asyncio.sleep(0)
            if starting.done():
                break
        starting.cancel()
        with suppress(asyncio.CancelledError):
            child = await starting
            await child.end(grace=0)
            for fd in (child.stdin, child.stdout, child.stderr):
                os.close(fd)

    await begin(1 << 30)
    before = left()
    for steps in (*range(20), *range(20, 4000, 100)):
        await begin(steps)
    await until(lambda: left() <= before)


def left() -> tuple[int, int]:
    """Descriptors and scratch folders of this process."""
    gc.collect()
    return len(os.listdir("/proc/self/fd")), len(list(Path("/tmp").glob(f"broker-scratch-{os.getpid()}-*")))
