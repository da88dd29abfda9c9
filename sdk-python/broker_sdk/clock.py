"""The time a plugin lives in: the real one, or one that a test moves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any


class Clock:
    """Seconds that pass by themselves."""

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def call_later(self, seconds: float, call: Callable[..., Any], *arguments: Any) -> asyncio.TimerHandle:
        """Call it then, unless the handle is cancelled before."""
        return asyncio.get_running_loop().call_later(seconds, call, *arguments)

    async def sleep(self, seconds: float) -> None:
        """Until then."""
        woken = asyncio.get_running_loop().create_future()
        handle = self.call_later(seconds, _wake, woken)
        try:
            await woken
        finally:
            handle.cancel()


def _wake(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)
