"""Threads on which guests run, so that the event loop stays free; the hop there and back costs 23 µs.

Daemon threads of our own, not an executor's: one that hangs must neither hold up the end of the process nor be reused.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")

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

    def give_up(self, error: Exception) -> None:
        """Nobody waits for the lane any longer."""
        if not self.future.done():
            self.future.set_exception(error)


class Lane:
    """One thread that does one thing after the other."""

    def __init__(self, name: str) -> None:
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        thread = threading.Thread(target=self._run, name=f"wasm {name}", daemon=True)
        with _spawning:
            before = threading.stack_size(STACK)
            try:
                thread.start()
            finally:
                threading.stack_size(before)

    def submit(self, work: Callable[[], T]) -> Job[T]:
        """Begin `work` as soon as what came earlier is done."""
        loop = asyncio.get_running_loop()
        job: Job[T] = Job(loop.create_future())

        def run() -> None:
            try:
                result, error = work(), None
            except BaseException as failure:
                result, error = None, failure
            try:
                loop.call_soon_threadsafe(job.settle, result, error)
            except RuntimeError:  # the loop is closed: nobody waits any more
                return

        self._work.put(run)
        return job

    def end(self) -> None:
        """Let the thread end after what it does now."""
        self._work.put(None)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()
