"""What one plugin may not do on its stdout: begin a message and not finish it, or say what nobody asked for, endlessly.

Rule 1: nothing here costs a timer, or a look at its bytes, for a message that comes whole.
Rule 2: text that is no message is never misconduct; it is skipped elsewhere, however slowly it comes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

FRAME_TIME = 30.0  # seconds from the first byte of a message to its last
LOOK = 10.0  # seconds between two looks at one that is not whole
SLOWEST = 1 << 10  # bytes a second, judged at each look
STRAYS = 1000  # answers, notices and requests without sense, in one window
WINDOW = 60.0  # seconds


class Conduct:
    """Of one plugin; `on_misconduct` is told the reason, once."""

    def __init__(self, on_misconduct: Callable[[str], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_misconduct: Callable[[str], None] | None = on_misconduct
        self._begun: float | None = None  # since when a message is not whole
        self._inside = False  # of a line, be it a message or not
        self._size = 0
        self._look: asyncio.TimerHandle | None = None
        self._strays, self._window_ends = 0, 0.0

    def read(self, data: bytes) -> None:
        """Something came."""
        if data[-1] == 10:
            self._inside, self._begun = False, None
        else:
            self._unfinished(data)

    def stray(self) -> None:
        """It said something that means nothing: an answer to no question, news of no call."""
        now = self._loop.time()
        if now > self._window_ends:
            self._strays, self._window_ends = 0, now + WINDOW
        self._strays += 1
        if self._strays > STRAYS:
            self._misconduct(f"sent more than {STRAYS} messages in {WINDOW:g} s that nobody asked for")

    def close(self) -> None:
        """Look no more."""
        self._on_misconduct = None
        if self._look is not None:
            self._look.cancel()

    def _unfinished(self, data: bytes) -> None:
        start = data.rfind(b"\n") + 1
        if self._inside and not start:
            self._size += len(data)
            return
        self._inside, self._size = True, len(data) - start
        self._begun = self._loop.time() if data[start:].lstrip().startswith(b"{") else None
        if self._begun is not None and self._look is None:
            self._look = self._loop.call_later(LOOK, self._look_again)

    def _look_again(self) -> None:
        self._look = None
        if self._begun is None:
            return
        age = self._loop.time() - self._begun
        if age >= FRAME_TIME:
            self._misconduct(f"began a message and did not finish it within {FRAME_TIME:g} s")
        elif age >= LOOK and self._size < age * SLOWEST:
            self._misconduct(f"wrote {self._size} bytes of a message in {age:.0f} s; {SLOWEST} bytes/s is the least")
        else:
            self._look = self._loop.call_at(min(self._begun + FRAME_TIME, self._loop.time() + LOOK), self._look_again)

    def _misconduct(self, reason: str) -> None:
        told, self._on_misconduct = self._on_misconduct, None
        if told is not None:
            told(reason)
