"""How often a plugin may ask, and how much of it at a time: a guest in a loop costs nobody else anything."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager

from broker.core.hosttable import Operation
from broker.errors import Overloaded

AT_ONCE = 16  # operations of one plugin in work


class Bounds:
    """Of all plugins: for each of their operations a bucket that fills by its rate, up to its burst."""

    def __init__(self) -> None:
        self._buckets: dict[tuple[str, str], tuple[float, float]] = {}  # what is left, and when that was
        self._working: dict[str, int] = {}

    @contextmanager
    def taken(self, plugin: str, operation: Operation) -> Generator[None]:
        """One operation of `plugin`, from its beginning to its end. Raises `Overloaded`."""
        if self._working.get(plugin, 0) >= AT_ONCE:
            raise Overloaded(f"{plugin} asks for more than {AT_ONCE} things at a time", hint="Wait for some of them.")
        self._take(plugin, operation)
        self._working[plugin] = self._working.get(plugin, 0) + 1
        try:
            yield
        finally:
            self._working[plugin] -= 1

    def _take(self, plugin: str, operation: Operation) -> None:
        now, key = time.monotonic(), (plugin, operation.name)
        left, since = self._buckets.get(key, (float(operation.burst), now))
        left = min(operation.burst, left + (now - since) * operation.rate)
        if left < 1:
            self._buckets[key] = left, now
            wait = (1 - left) / operation.rate
            raise Overloaded(
                f"{plugin} asks for {operation.name} too often: {operation.burst} at once, {operation.rate:g} a second",
                hint=f"It may ask again in {wait:.1f} s.",
                facts={"plugin": plugin, "retryInMs": int(1000 * wait) + 1},
            )
        self._buckets[key] = left - 1, now
