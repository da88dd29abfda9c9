"""How long one thing takes, again and again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable


def timed(way: Callable[[], object], seconds: float) -> list[float]:
    """Seconds of each of as many as fit into `seconds`, after one that is not counted."""
    took: list[float] = []
    way()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        began = time.perf_counter()
        way()
        took.append(time.perf_counter() - began)
    return took


async def awaited(way: Callable[[], Awaitable[object]], seconds: float, rest: float = 0) -> list[float]:
    """The same of what is awaited, each after `rest` seconds."""
    took: list[float] = []
    await way()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        if rest:
            await asyncio.sleep(rest)
        began = time.perf_counter()
        await way()
        took.append(time.perf_counter() - began)
    return took


def at(values: list[float], part: float) -> float:
    """The value below which this part of them lies."""
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]
