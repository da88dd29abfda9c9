"""Threads on which guests run, so that the event loop stays free; the hop there and back costs 23 µs.

Daemon threads of our own, not an executor's: one that hangs must neither hold up the end of the process nor be reused.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")

log = logging.getLogger("broker.wasm")

MOMENT = 0.002  # seconds without work, after which the chore is done; sooner it would hold up who got the last answer
STACK = 4 << 20  # bytes; below 1 MiB wasmtime's own megabyte of stack does not fit, and the process dies
_spawning = threading.Lock()  # the size of stacks is a setting of the whole process


class Job(Generic[T]):
    """Something a lane does: `future` may be cancelled or failed earlier, `over` is when the lane is done with it."""

    def __init__(self, future: asyncio.Future[T]) -> None:
        self.future, self.over = future, asyncio.Event()

    def settle(self, result: Any, error: BaseException | None) -> None:
        """The lane is done with it."""
        self.over.set()
        if self.future.done():
            return
        if error is None:
            self.future.set_result(result)
        else:
            self.future.set_exception(error)

    def give_up(self, why: Callable[[], Exception]) -> None:
        """Nobody waits for the lane any longer."""
        if not self.future.done():
            self.future.set_exception(why())


class Lane:
    """One thread that does one thing after the other."""

    def __init__(self, name: str) -> None:
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._chore: Callable[[], bool] | None = None
        thread = threading.Thread(target=self._run, name=f"wasm {name}", daemon=True)
        with _spawning:
            before = threading.stack_size(STACK)
            try:
                thread.start()
            finally:
                threading.stack_size(before)

    def submit(self, work: Callable[[], T], chore: Callable[[], bool] | None = None) -> Job[T]:
        """Begin `work` as soon as what came earlier is done."""
        job: Job[T] = Job(asyncio.get_running_loop().create_future())
        self.begin(job, work, chore)
        return job

    def begin(self, job: Job[T], work: Callable[[], T], chore: Callable[[], bool] | None = None) -> None:
        """The same for a job that is there already. After this the thread wants the interpreter: do the rest before.

        `chore` is done whenever nothing else is to do, as long as it says that there is more; there is one at a time.
        """
        loop = asyncio.get_running_loop()

        def run() -> None:
            try:
                result, error = work(), None
            except BaseException as failure:
                result, error = None, failure
            self._chore = chore or self._chore
            try:
                loop.call_soon_threadsafe(job.settle, result, error)
            except RuntimeError:  # the loop is closed: nobody waits any more
                return

        self._work.put(run)

    def end(self) -> None:
        """Let the thread end after what it does now."""
        self._work.put(None)

    def _run(self) -> None:
        while (work := self._next()) is not None:
            work()

    def _next(self) -> Callable[[], None] | None:
        """What to do now. The chore waits until whoever got the last answer had time to go on with it."""
        while self._chore is not None:
            with contextlib.suppress(queue.Empty):
                return self._work.get(timeout=MOMENT)
            try:
                more = self._chore()
            except Exception:
                log.exception("a chore of a WASM plugin failed")
                more = False
            if not more:
                self._chore = None
        return self._work.get()
