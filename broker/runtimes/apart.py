"""Work that blocks for as long as a stranger likes, in a thread of its own.

The threads that asyncio keeps are few and everybody's: sixteen slow servers would hold up every file broker reads.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


async def apart(work: Callable[[], T]) -> T:
    """What `work` returns or raises. Cancelled, it goes on in its thread, for which nobody waits at the end."""
    loop = asyncio.get_running_loop()
    found: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        try:
            end: Callable[[], Any] = _ending(found.set_result, work())
        except Exception as error:
            end = _ending(found.set_exception, error)
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(lambda: None if found.done() else end())

    threading.Thread(target=run, daemon=True).start()
    return await found


def _ending(end: Callable[[Any], Any], outcome: object) -> Callable[[], Any]:
    return lambda: end(outcome)
