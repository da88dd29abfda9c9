"""How long one thing takes, again and again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

from broker.eager import EagerTask


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


async def awaited(way: Callable[[], Coroutine[Any, Any, object]], seconds: float, rest: float = 0) -> list[float]:
    """The same of what is awaited, each after `rest` seconds, and begun as a face begins a call."""
    took: list[float] = []
    await way()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        await asyncio.sleep(rest)
        took.append(await _begun(way))
    return took


async def _begun(way: Callable[[], Coroutine[Any, Any, object]]) -> float:
    loop = asyncio.get_running_loop()
    over: asyncio.Future[float] = loop.create_future()

    def begin() -> None:
        began = time.perf_counter()

        def done(key: object, result: object, error: BaseException | None) -> None:
            if error is None:
                over.set_result(time.perf_counter() - began)
            else:
                over.set_exception(error)

        EagerTask(way(), done, None, loop)

    loop.call_soon(begin)
    return await over


def at(values: list[float], part: float) -> float:
    """The value below which this part of them lies."""
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]
