"""How many plugins may be started: at once, and again within a minute, in the whole broker.

A shared dependency that breaks makes every plugin fail at the same time; without a bound on all of them together
their restarts would be a fork storm.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque

from broker.errors import PluginUnavailable

AT_ONCE = max(4, 2 * (os.cpu_count() or 1))  # a start waits for a disk more than it computes
AGAIN = 30  # restarts in a minute
MINUTE = 60.0


class Starts(asyncio.Semaphore):
    """A place among those that start now; `again` counts the restarts."""

    def __init__(self) -> None:
        super().__init__(AT_ONCE)
        self._again: deque[float] = deque()

    def again(self, name: str, now: float) -> None:
        """Count a restart. Raises `PluginUnavailable` when there were too many."""
        while self._again and now - self._again[0] >= MINUTE:
            self._again.popleft()
        if len(self._again) >= AGAIN:
            wait = self._again[0] + MINUTE - now
            raise PluginUnavailable(
                f"{name} is not started again yet: plugins were started again {AGAIN} times in the last minute; "
                f"the next start is in {wait:.0f} s",
                hint="Something they share is broken. `broker doctor` shows which of them fail, and why.",
                facts={"plugin": name, "retryInMs": int(wait * 1000)},
            )
        self._again.append(now)
