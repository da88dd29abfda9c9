"""Work in threads of its own: it comes back, it fails, it is left behind, and it holds up nobody."""

from __future__ import annotations

import asyncio
import threading

import pytest

from broker.runtimes.apart import apart


async def test_what_it_returns_and_raises_comes_back() -> None:
    assert await apart(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        await apart(lambda: 1 / 0)


async def test_work_that_hangs_takes_no_thread_from_others() -> None:
    go = threading.Event()
    hanging = [asyncio.create_task(apart(lambda: go.wait(20))) for _ in range(64)]
    try:
        assert await asyncio.wait_for(asyncio.to_thread(lambda: "mine"), 5) == "mine"
    finally:
        go.set()
    assert await asyncio.wait_for(asyncio.gather(*hanging), 5) == [True] * 64


async def test_who_is_cancelled_does_not_wait_for_it() -> None:
    go = threading.Event()
    waiting = asyncio.create_task(apart(lambda: go.wait(20)))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(waiting, 5)
    go.set()
