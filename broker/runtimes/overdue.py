"""One timer for one call after the other: made and cancelled for each, it would cost as much as a short call itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Overdue:
    """Says when a call takes too long; for one call at a time."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._at = 0.0
        self._say: Callable[[], None] | None = None

    def begin(self, at: float, say: Callable[[], None]) -> None:
        """Call `say` at loop time `at`, in the place of what was said before, unless `end` comes first."""
        self._at, self._say = at, say
        if self._timer is not None and self._timer.when() <= at:
            return
        self._cancel()
        self._timer = self._loop.call_at(at, self._look)

    def end(self) -> None:
        """The call is over; the timer runs out by itself, or is there for the next call."""
        self._say = None

    def close(self) -> None:
        """Nothing is watched any more."""
        self.end()
        self._cancel()

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer, say = None, self._say
        if say is None:
            return
        if self._loop.time() < self._at:
            self._timer = self._loop.call_at(self._at, self._look)
        else:
            self._say = None
            say()
