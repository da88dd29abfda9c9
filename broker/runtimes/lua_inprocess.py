"""A script in the broker's own process, on a thread of its own: for plugins that their user named.

Rule 1: the event loop never waits for the thread. What does not end within `GRACE` after its time is left behind with
        its thread, which cannot be stopped, and its owner is told by `Wedged`.
Rule 2: a state lives on one thread from its making on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError as Cancelled
from concurrent.futures import Future
from typing import TypeVar

from broker.errors import BrokerError
from broker.runtimes.lua_sandbox import Refused, Sandbox
from broker.runtimes.thread_lane import Job, Lane

# Seconds from the end of a script's time until it is given up; a hook takes at most 0.1. What is given up is gone 0.25
# after its time: the rest is for the kernel.
GRACE = 0.2

T = TypeVar("T")
Ask = Callable[[bytes, bytes], Awaitable[bytes]]  # an operation of the host; raises `BrokerError`, `Refused`


class Wedged(Exception):
    """What runs the script does not come back."""


class InProcess:
    """One state and its thread."""

    pid: int | None = None

    def __init__(self, name: str, memory: int, ask: Ask) -> None:
        self._lane, self._memory, self._ask = Lane(f"lua {name}"), memory, ask
        self._loop = asyncio.get_running_loop()
        self._sandbox: Sandbox | None = None
        self._pending: Future[bytes] | None = None

    async def load(self, source: bytes, seconds: float) -> bytes:
        """Run the script once; what it registered. Raises `ScriptError`, `Killed`, `Wedged`."""

        def first() -> bytes:
            self._sandbox = Sandbox(self._host, memory=self._memory)
            return self._sandbox.load(source, seconds)

        return await self._run(first, seconds)

    async def invoke(self, kind: str, name: str, arguments: bytes, seconds: float) -> bytes | str:
        """Call what it registered; `seconds` 0: as long as it takes. Raises `ScriptError`, `Killed`, `Wedged`."""
        sandbox = self._sandbox
        assert sandbox is not None
        words = kind.encode(), name.encode()
        return await self._run(lambda: sandbox.invoke(*words, arguments, seconds), seconds)

    async def cancel(self, reason: str) -> bool:
        """End what runs; whether it has ended."""
        if self._sandbox is not None:
            self._sandbox.cancel(reason)
        if self._pending is not None:
            self._pending.cancel()
        try:
            async with asyncio.timeout(GRACE):
                await self._lane.submit(_nothing)
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """Let go of it; the thread ends after what it does."""
        if self._sandbox is not None:
            self._sandbox.cancel("its plugin was stopped")
        self._sandbox = None
        self._lane.end()

    async def _run(self, work: Callable[[], T], seconds: float) -> T:
        job: Job[T] = Job()
        if seconds:
            self._lane.overdue.begin(self._loop.time() + seconds + GRACE, lambda: self._look(job))
        self._lane.begin(job, work)
        try:
            return await job
        finally:
            self._lane.overdue.end()

    def _look(self, job: Job[T]) -> None:
        """Give up on what is overdue; what waits for its host is not."""
        if job.done():
            return
        if self._sandbox is None or self._sandbox.overdue > GRACE:
            job.give_up(Wedged())
        else:
            self._lane.overdue.begin(self._loop.time() + GRACE / 5, lambda: self._look(job))

    def _host(self, op: bytes, params: bytes) -> bytes:
        """On the thread of the script."""
        asked = asyncio.run_coroutine_threadsafe(_awaited(self._ask(op, params)), self._loop)
        self._pending = asked
        try:
            if self._sandbox is not None and self._sandbox.cancelled is not None:
                asked.cancel()
            return asked.result()
        except Cancelled:
            raise Refused("the call was cancelled") from None
        except BrokerError as error:
            raise Refused(str(error)) from None
        finally:
            self._pending = None


async def _awaited(answer: Awaitable[T]) -> T:
    return await answer


def _nothing() -> None:
    """A thread that gets to do this does nothing else any more."""
