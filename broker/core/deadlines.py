"""How long a call may take, for thousands of calls with one timer.

A timer per call costs more than the rest of its routing; here a call is an entry in a dict, and the one timer
sleeps until the earliest is due. Calls that end meanwhile leave no trace.
"""

from __future__ import annotations

import asyncio

from broker.core.ports import Call
from broker.eager import current
from broker.model import Limits

SLEPT = 0.5  # seconds a timer may be late; beyond it broker was stopped or starved, and the plugin is not to blame


class Deadlines:
    """Cancels the task of a call whose time is over, and marks it `late`."""

    def __init__(self) -> None:
        self._calls: dict[Call, Limits] = {}
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, call: Call, limits: Limits) -> None:
        """The clock of `call`, run by the current task, starts now; on its second instance it goes on."""
        call.task = current()
        if not call.began:
            now = call.began = asyncio.get_running_loop().time()
            call.due, call.end = now + limits.timeout, now + limits.cap
        self._calls[call] = limits
        if self._timer is None or self._timer.when() > call.due:
            self._arm(call.due)

    def progressed(self, call: Call) -> None:
        """It is alive: its time starts anew, up to its cap."""
        limits = self._calls.get(call)
        if limits is not None:
            call.due = min(asyncio.get_running_loop().time() + limits.timeout, call.end)

    def end(self, call: Call) -> None:
        """`call` has its outcome."""
        self._calls.pop(call, None)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _slept(self, seconds: float) -> None:
        """We did not run for so long, and what was answered meanwhile is still to be read."""
        for call in self._calls:
            call.due += seconds + SLEPT
            call.end += seconds + SLEPT

    def _arm(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(when, self._sweep)

    def _sweep(self) -> None:
        assert self._timer is not None
        now = asyncio.get_running_loop().time()
        if now - self._timer.when() > SLEPT:
            self._slept(now - self._timer.when())
        self._timer = None
        for call in [call for call in self._calls if call.due <= now]:
            if call.questions and call.end > now:
                call.due = min(now + self._calls[call].timeout, call.end)
                continue
            del self._calls[call]
            call.late = True
            call.task.cancel()
        if self._calls:
            self._arm(min(call.due for call in self._calls))
