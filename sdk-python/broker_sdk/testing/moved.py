"""A clock that stands still until a test moves it."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import threading
from collections.abc import Callable
from typing import Any

from broker_sdk.clock import Clock

START = 1_800_000_000.0  # seconds since the epoch; some day in 2027


class MovedClock(Clock):
    """Timers wait until `advance` has passed their time; from any thread."""

    def __init__(self) -> None:
        self._now = START
        self._lock = threading.Lock()
        self._order = itertools.count()
        self._timers: list[tuple[float, int, asyncio.TimerHandle, asyncio.AbstractEventLoop]] = []

    def now(self) -> float:
        return self._now

    def call_later(self, seconds: float, call: Callable[..., Any], *arguments: Any) -> asyncio.TimerHandle:
        loop = asyncio.get_running_loop()
        handle = asyncio.TimerHandle(self._now + seconds, call, arguments, loop)
        with self._lock:
            heapq.heappush(self._timers, (self._now + seconds, next(self._order), handle, loop))
        return handle

    def advance(self, seconds: float) -> None:
        """Let time pass: what was to happen until then happens, in its order."""
        with self._lock:
            self._now += seconds
            due: list[tuple[asyncio.TimerHandle, asyncio.AbstractEventLoop]] = []
            while self._timers and self._timers[0][0] <= self._now:
                _, _, handle, loop = heapq.heappop(self._timers)
                due.append((handle, loop))
        for handle, loop in due:
            if not handle.cancelled() and not loop.is_closed():
                loop.call_soon_threadsafe(_run, handle)

    @property
    def waiting(self) -> int:
        """How many timers have not come yet."""
        with self._lock:
            return sum(not handle.cancelled() for _, _, handle, _ in self._timers)


def _run(handle: asyncio.TimerHandle) -> None:
    if not handle.cancelled():
        handle._run()  # pyright: ignore[reportPrivateUsage]
