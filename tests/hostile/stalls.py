"""What of some time was ours: a machine that does other things, too, makes everybody wait for a processor.

Linux counts for each thread how long it was ready to run and could not. Elsewhere nothing is known of that.
"""

from __future__ import annotations

import os
import time


class Stalls:
    """A stretch of time, as a context. `look` at it now and then: a thread that is gone can be asked no more."""

    def __init__(self) -> None:
        self._began: dict[str, int] = {}
        self._waited: dict[str, int] = {}

    def __enter__(self) -> Stalls:
        self.look()
        self._since, self._took = time.monotonic(), 0.0
        return self

    def __exit__(self, *_: object) -> None:
        self._took = time.monotonic() - self._since
        self.look()

    def look(self, *pids: int) -> None:
        """At the threads of this process, and of others."""
        for pid in (os.getpid(), *pids):
            try:
                for thread in os.listdir(f"/proc/{pid}/task"):
                    self._note(f"/proc/{pid}/task/{thread}/schedstat")
            except OSError:  # it is gone, or this is no Linux
                continue

    @property
    def machine(self) -> float:
        """Seconds that our threads waited for a processor, all together."""
        return sum(waited - self._began[path] for path, waited in self._waited.items()) / 1e9

    @property
    def ours(self) -> float:
        """Seconds of it that were not the machine's."""
        return self._took - self.machine

    def _note(self, path: str) -> None:
        try:
            with open(path, "rb") as file:
                waited = int(file.read().split()[1])
        except OSError:
            return
        self._began.setdefault(path, waited if not self._waited else 0)
        self._waited[path] = waited


def parent(pid: int) -> int:
    """Whose child a process is: who is to end it."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[1])
    except OSError:
        return pid
