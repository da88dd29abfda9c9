"""A task that begins at once and is woken at once, for the path every call takes.

An `asyncio.Task` costs a turn of the event loop to begin and another at each wake-up. A call through the broker waits
exactly once, for its plugin; with these two classes it is written to the plugin in the turn that read it from the
client, and the answer to the client in the turn that read it from the plugin.

Rule 1: to everything inside, an `EagerTask` is the current task: `asyncio.timeout`, `cancel` and the rest work.
Rule 2: a task that is begun or woken runs in the middle of its waker's turn, whose task is the current one again after.
"""

from __future__ import annotations

import asyncio
from asyncio.tasks import _enter_task, _leave_task  # pyright: ignore[reportPrivateUsage]  # for task types like this
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Waiter(Generic[T]):
    """The outcome of one request; one task may await it, of either kind."""

    __slots__ = ("_done", "_error", "_result", "_wake")

    def __init__(self) -> None:
        self._done = False
        self._result: T | None = None
        self._error: BaseException | None = None
        self._wake: Callable[[], object] | None = None

    def done(self) -> bool:
        return self._done

    def wake(self, result: T | None, error: BaseException | None = None) -> None:
        """Settle it, and run who waits for it now."""
        if self._done:
            return
        self._done, self._result, self._error = True, result, error
        if self._wake is not None:
            self._wake()

    def wake_later(self, error: BaseException) -> None:
        """Settle it with `error`, and run who waits for it in a turn of its own."""
        asyncio.get_running_loop().call_soon(self.wake, None, error)

    def __await__(self) -> Generator[Any, None, T]:
        if not self._done:
            if _running is not None:
                yield self
            else:
                future = asyncio.get_running_loop().create_future()
                self._wake = lambda: future.done() or future.set_result(None)
                yield from future
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]


def current() -> EagerTask | asyncio.Task[Any] | None:
    """The task that runs now, of either kind."""
    return _running or asyncio.current_task()


class EagerTask:
    """Runs `coroutine`, beginning now; `on_done(key, result, error)` is called once, when it is over."""

    __slots__ = ("_cancels", "_coroutine", "_loop", "_must_cancel", "_on_done", "_over", "_waiting", "key")

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, Any],
        on_done: Callable[[Any, Any, BaseException | None], None],
        key: object,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._coroutine, self._on_done, self.key, self._loop = coroutine, on_done, key, loop
        self._waiting: Waiter[Any] | asyncio.Future[Any] | None = None
        self._cancels = 0
        self._must_cancel = self._over = False
        self._step()

    def done(self) -> bool:
        return self._over

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def cancelling(self) -> int:
        return self._cancels

    def uncancel(self) -> int:
        self._cancels = max(0, self._cancels - 1)
        return self._cancels

    def cancel(self, msg: object = None) -> bool:
        """Raise `CancelledError` where it waits, in the next turn of the loop."""
        if self._over:
            return False
        self._cancels += 1
        waiting, self._waiting = self._waiting, None
        if isinstance(waiting, Waiter):
            waiting._wake = None  # pyright: ignore[reportPrivateUsage]
            self._loop.call_soon(self._step, asyncio.CancelledError())
        elif waiting is None or not waiting.cancel(msg):
            self._must_cancel = True
        return True

    def _step(self, error: BaseException | None = None) -> None:
        if self._over:
            return
        self._waiting = None
        if self._must_cancel:
            self._must_cancel, error = False, asyncio.CancelledError()
        global _running
        outer, _running = _enter(self._loop, self), self
        result: Any = None
        failure: BaseException | None = None
        try:
            waiting = self._coroutine.send(None) if error is None else self._coroutine.throw(error)
        except StopIteration as stop:
            self._over, result = True, stop.value
        except BaseException as raised:
            self._over, failure = True, raised
        else:
            self._wait_for(waiting)
        finally:
            _leave(self._loop, self, outer)
        try:
            if self._over:
                self._on_done(self.key, result, failure)
                if failure is not None and not isinstance(failure, (Exception, asyncio.CancelledError)):
                    raise failure
        finally:
            error = failure = None  # they hold this frame, and this frame them, with all a call was given

    def _wait_for(self, waiting: Any) -> None:
        if isinstance(waiting, Waiter):
            self._waiting = waiting
            waiting._wake = self._step  # pyright: ignore[reportPrivateUsage]
        elif waiting is None:  # `asyncio.sleep(0)`
            self._loop.call_soon(self._step)
        else:
            self._waiting = waiting
            waiting._asyncio_future_blocking = False
            waiting.add_done_callback(self._woken)

    def _woken(self, _: asyncio.Future[Any]) -> None:
        self._step()


_running: EagerTask | None = None
_Outer = EagerTask | asyncio.Task[Any] | None


def _enter(loop: asyncio.AbstractEventLoop, task: EagerTask) -> _Outer:
    """Make `task` the current one; the one it interrupts, if it does."""
    try:
        _enter_task(loop, task)  # type: ignore[arg-type]
        return None
    except RuntimeError:
        outer = current()
        _leave_task(loop, outer)  # type: ignore[arg-type]
        _enter_task(loop, task)  # type: ignore[arg-type]
        return outer


def _leave(loop: asyncio.AbstractEventLoop, task: EagerTask, outer: _Outer) -> None:
    global _running
    _leave_task(loop, task)  # type: ignore[arg-type]
    _running = outer if isinstance(outer, EagerTask) else None
    if outer is not None:
        _enter_task(loop, outer)  # type: ignore[arg-type]
