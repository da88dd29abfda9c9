"""Functions that are not async run in threads, so that one which waits keeps nobody else waiting.

The threads are daemons: one that never returns does not keep the plugin from ending.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
from collections.abc import Callable
from typing import Any

MOST = 8  # at once; the next one waits in line


class Threads:
    """Of one event loop."""

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(MOST)

    async def run(self, function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        """What the function returns, async or not. Cancelled, a thread goes on, but nobody waits for it."""
        if inspect.iscoroutinefunction(function):
            return await function(**arguments)
        result = await self._run(function, arguments)
        return await result if inspect.isawaitable(result) else result

    async def _run(self, function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        await self._free.acquire()
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Any] = loop.create_future()
        context = contextvars.copy_context()

        def settle(result: Any, error: BaseException | None) -> None:
            self._free.release()
            if done.cancelled():
                return
            if error is not None:
                done.set_exception(error)
            else:
                done.set_result(result)

        def work() -> None:
            result, error = None, None
            try:
                result = context.run(function, **arguments)
            except StopIteration:
                error = RuntimeError("the function raised StopIteration")  # no future takes that one
            except BaseException as raised:
                error = raised
            if not loop.is_closed():
                loop.call_soon_threadsafe(settle, result, error)

        threading.Thread(target=work, daemon=True, name=f"tool {getattr(function, '__name__', '')}").start()
        return await done
