"""Threads on which guests run, so that the event loop stays free.

Daemon threads of our own, not an executor's: one that does not come back must neither hold up the end of the process
nor be given anything else.

Rule 1: each side wakes the other by a write to a descriptor, during which the interpreter's lock is free. Woken by a
        queue or by `call_soon_threadsafe`, it would only wait for that lock: five switches of threads instead of two.
Rule 2: the descriptors are closed when the thread has ended. One that does not come back keeps them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import select
import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from broker.eager import Waiter
from broker.runtimes.overdue import Overdue

T = TypeVar("T")

log = logging.getLogger("broker.lane")

STACK = 4 << 20  # bytes; below 1 MiB wasmtime's own megabyte of stack does not fit, and the process dies
MOMENT = 0.002  # seconds without work, after which the chore is done; sooner it would hold up who got the last answer
_ONE = (1).to_bytes(8, sys.byteorder)  # what an eventfd counts by
_spawning = threading.Lock()  # the size of stacks is a setting of the whole process


class Job(Waiter[T]):
    """Something a lane does; one task may await it, and again when it was cancelled over it."""

    __slots__ = ("on_over", "over")

    def __init__(self) -> None:
        super().__init__()
        self.over = False  # the lane is done with it, whoever gave it up before
        self.on_over: Callable[[], object] = _nothing

    def settle(self, result: Any, error: BaseException | None) -> None:
        """The lane is done with it."""
        self.over = True
        self.on_over()
        self.wake(result, error)

    def give_up(self, why: Exception) -> None:
        """Nobody waits for the lane any longer."""
        self.wake(None, why)


class Lane:
    """One thread that does one thing after the other."""

    def __init__(self, name: str) -> None:
        self.overdue = Overdue()  # for who waits for what it does
        self._loop = asyncio.get_running_loop()
        self._work: deque[tuple[Job[Any], Callable[[], Any], Callable[[], bool] | None] | None] = deque()
        self._done: deque[tuple[Job[Any], Any, BaseException | None]] = deque()
        self._chore: Callable[[], bool] | None = None
        self._there, self._back = _Bell(), _Bell()
        thread = threading.Thread(target=self._run, name=name, daemon=True)
        with _spawning:
            before = threading.stack_size(STACK)
            try:
                thread.start()
            finally:
                threading.stack_size(before)
        self._loop.add_reader(self._back.fd, self._heard)

    def submit(self, work: Callable[[], T], chore: Callable[[], bool] | None = None) -> Job[T]:
        """Begin `work` as soon as what came earlier is done. The thread runs at once: do everything else before.

        `chore` is done whenever nothing else is to do, as long as it says that there is more; there is one at a time.
        """
        job: Job[T] = Job()
        self.begin(job, work, chore)
        return job

    def begin(self, job: Job[T], work: Callable[[], T], chore: Callable[[], bool] | None = None) -> None:
        """The same for a job that is there already."""
        self._work.append((job, work, chore))
        self._there.ring()

    def end(self) -> None:
        """Let the thread end after what it does now."""
        self.overdue.close()
        self._work.append(None)
        self._there.ring()

    # on the loop

    def _heard(self) -> None:
        self._back.wait()
        self._settle()

    def _settle(self) -> None:
        while self._done:
            job, result, error = self._done.popleft()
            job.settle(result, error)

    def _close(self) -> None:
        self._settle()
        self._loop.remove_reader(self._back.fd)
        self._there.close()
        self._back.close()

    # on the thread

    def _run(self) -> None:
        while (work := self._next()) is not None:
            self._done.append(_outcome(*work[:2]))
            self._chore = work[2] or self._chore
            del work
            self._back.ring()
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._close)

    def _next(self) -> tuple[Job[Any], Callable[[], Any], Callable[[], bool] | None] | None:
        """What to do now. The chore waits until whoever got the last answer had time to go on with it."""
        while not self._work:
            if self._chore is None or self._there.rings(MOMENT):
                self._there.wait()
            elif not self._more(self._chore):
                self._chore = None
        return self._work.popleft()

    def _more(self, chore: Callable[[], bool]) -> bool:
        try:
            return chore()
        except Exception:
            log.exception("a chore of a plugin failed")
            return False


def _outcome(job: Job[Any], work: Callable[[], Any]) -> tuple[Job[Any], Any, BaseException | None]:
    try:
        return job, work(), None
    except BaseException as failure:
        return job, None, failure


class _Bell:
    """Wakes who waits for it, a thread or a loop; rung twice before that, it wakes once or twice."""

    def __init__(self) -> None:
        if hasattr(os, "eventfd"):
            self.fd = self._in = os.eventfd(0, os.EFD_CLOEXEC)
        else:
            self.fd, self._in = os.pipe()

    def ring(self) -> None:
        os.write(self._in, _ONE)

    def wait(self) -> None:
        os.read(self.fd, 4096)

    def rings(self, seconds: float) -> bool:
        """Whether it is rung within so many seconds."""
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        return bool(poll.poll(1000 * seconds))

    def close(self) -> None:
        for fd in {self.fd, self._in}:
            os.close(fd)


def _nothing() -> None:
    """What happens when nobody asked to be told."""
