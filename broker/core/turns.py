"""Whose turn it is at an instance: so many at once, first come first served, and fair between callers.

Rule 1: a turn is handed over, never grabbed: who gives one back picks the next, so nobody overtakes.
Rule 2: each caller has a line of its own and the lines are served in rotation; in a line, order of arrival.
Rule 3: nobody passes while it is closed (no instance is ready).
Rule 4: what is about a call that was answered already stands in no line; it counts as busy all the same.
"""

from __future__ import annotations

import asyncio
from collections import deque

from broker.errors import Overloaded

MAX_WAITING = 2048  # calls of one caller waiting at one instance


class Turns:
    """`limit` callers at once."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._busy = self._beside = 0
        self.taken = 0  # turns so far
        self._open = False
        self._quiet: asyncio.Event | None = None
        self._lines: dict[str, deque[asyncio.Future[None]]] = {}

    @property
    def busy(self) -> int:
        return self._busy + self._beside

    def __len__(self) -> int:
        """How many wait."""
        return sum(len(line) for line in self._lines.values())

    def take_now(self) -> bool:
        """Take a turn if one is free and nobody waits."""
        if self._open and self._busy < self._limit and not self._lines:
            self._busy += 1
            self.taken += 1
            return True
        return False

    async def take(self, key: str) -> None:
        """Wait for a turn in the line of `key`. Raises what `fail` is given, or `Overloaded`."""
        line = self._lines.setdefault(key, deque())
        if len(line) >= MAX_WAITING:
            raise Overloaded(f"{MAX_WAITING} calls are waiting already")
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line.append(mine)
        self._hand_over()
        try:
            await mine
        except asyncio.CancelledError:
            if mine.done() and not mine.cancelled() and mine.exception() is None:
                self.give_back()
            else:
                self._leave(key, mine)
            raise

    def give_back(self) -> None:
        """End a turn."""
        self._busy -= 1
        if self._lines:
            self._hand_over()
        self._calm()

    def begin_beside(self) -> None:
        """Something is done that needs no turn."""
        self._beside += 1
        self.taken += 1

    def end_beside(self) -> None:
        self._beside -= 1
        self._calm()

    async def quiet(self) -> None:
        """Return when nobody has a turn or waits for one."""
        while self.busy or self._lines:
            self._quiet = asyncio.Event()
            await self._quiet.wait()

    def widen(self, limit: int) -> None:
        """Another number of callers at once, from now on."""
        self._limit = limit
        self._hand_over()

    def open(self) -> None:
        self._open = True
        self._hand_over()

    def close(self) -> None:
        self._open = False

    def fail(self, error: Exception) -> None:
        """Everyone who waits gets `error`."""
        lines, self._lines = self._lines, {}
        for line in lines.values():
            for waiter in line:
                if not waiter.done():
                    waiter.set_exception(error)
        self._calm()

    def _hand_over(self) -> None:
        while self._open and self._busy < self._limit and self._lines:
            key = next(iter(self._lines))
            line = self._lines.pop(key)
            waiter = line.popleft()
            if line:
                self._lines[key] = line  # at the end: the others come first
            if not waiter.done():
                self._busy += 1
                self.taken += 1
                waiter.set_result(None)

    def _leave(self, key: str, waiter: asyncio.Future[None]) -> None:
        line = self._lines.get(key)
        if line is not None and waiter in line:
            line.remove(waiter)
            if not line:
                del self._lines[key]
        self._calm()

    def _calm(self) -> None:
        if self._quiet is not None and not (self.busy or self._lines):
            self._quiet.set()
