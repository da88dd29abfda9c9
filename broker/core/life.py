"""When a plugin that ended may be started again. Sans-IO: told what happened and when, in monotonic seconds.

Rule 1: the first restart is at once, the next ones after a random part (full jitter) of 0.25 s doubled each time.
Rule 2: 5 unexpected ends in 3 minutes (LanguageClient's number), or 3 starts in a row that never served (it will not
        change by itself), open the breaker: nothing is started for 60 s, doubling up to 10 minutes.
Rule 3: then it is half-open: one start decides. An end soon after that one opens it again, for longer.
Rule 4: 5 minutes of service forgive everything. It is never dead for good, unless its policy is `never`.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import Literal

FIRST_PAUSE, LONGEST_PAUSE = 0.25, 30.0  # seconds
ENDS, WITHIN = 5, 180.0
STILLBORN = 3
OPEN, LONGEST_OPEN = 60.0, 600.0
STABLE = 300.0

Policy = Literal["never", "on-failure", "always"]


class Life:
    """The record of one plugin."""

    def __init__(self, policy: Policy = "on-failure", spread: Callable[[float, float], float] = random.uniform) -> None:
        self._policy, self._spread = policy, spread
        self._ends: deque[float] = deque(maxlen=ENDS)
        self._failures = 0  # in a row, without 5 stable minutes between them
        self._stillborn = 0  # starts in a row
        self._openings = 0  # of the breaker, without 5 stable minutes between them
        self._until = self._not_before = float("-inf")
        self._serving_since: float | None = None
        self.restarts = 0  # all of them
        self.over = False  # its policy forbids another start

    def refused(self, now: float) -> float | None:
        """Seconds for which nothing may be started, while the breaker is open."""
        return self._until - now if now < self._until else None

    def half_open(self, now: float) -> bool:
        """Whether the next start decides if the breaker closes."""
        return self._openings > 0 and self._serving_since is None and self.refused(now) is None

    def pause(self, now: float) -> float:
        """Seconds to wait before the next start."""
        return max(0.0, self._not_before - now)

    def serves(self, now: float) -> None:
        """A start came to serving."""
        self._stillborn = 0
        self._serving_since = now

    def stillborn(self, now: float) -> None:
        """A start failed before it served."""
        deciding = self.half_open(now)
        self._stillborn += 1
        self._failed(now, opens=deciding or self._stillborn >= STILLBORN)

    def fell(self, now: float) -> None:
        """It ended while it served, and nobody asked it to."""
        if self._serving_since is not None and now - self._serving_since >= STABLE:
            self._failures = self._openings = 0
            self._ends.clear()
        self._serving_since = None
        self._ends.append(now)
        self.over = self._policy == "never"
        often = len(self._ends) == ENDS and now - self._ends[0] <= WITHIN
        self._failed(now, opens=often or self._openings > 0)

    def rested(self) -> None:
        """It was stopped, or left in peace: nothing to hold against it."""
        self._serving_since = None

    def again(self, *, failed: bool) -> bool:
        """Whether one that has served and ended is started without being called."""
        return self._policy == "always" or (self._policy == "on-failure" and failed)

    def _failed(self, now: float, *, opens: bool) -> None:
        self._failures += 1
        self.restarts += 1
        self._not_before = now + self._jitter()
        if opens:
            self._openings += 1
            self._until = now + min(LONGEST_OPEN, OPEN * 2 ** (self._openings - 1))
            self._ends.clear()

    def _jitter(self) -> float:
        if self._failures == 1:
            return 0.0
        return self._spread(0.0, min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(self._failures - 1, 10)))
