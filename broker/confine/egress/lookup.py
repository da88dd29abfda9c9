"""Names looked up by the system, away from the loop.

A lookup can hang for minutes and cannot be stopped. So each has a thread that nobody waits for at the end, and a
plugin has at most `MOST` of them: its own lookups wait then, and nobody else's.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable

MOST = 4  # lookups of one plugin at a time
PATIENCE = 10.0  # seconds for one, its waiting included; resolvers try again after 5

Lookup = Callable[[str], list[str]]  # blocks; a name -> its addresses in text; raises `OSError`


def ask_system(name: str) -> list[str]:
    """Every address the system knows for `name`, best first. Blocks; raises `OSError`."""
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Lookups:
    """The lookups of one plugin."""

    def __init__(self, lookup: Lookup = ask_system) -> None:
        self._lookup = lookup
        self._free = asyncio.Semaphore(MOST)

    async def addresses(self, name: str) -> list[str]:
        """The addresses of `name`. Raises `OSError`, also when it takes too long."""
        try:
            async with asyncio.timeout(PATIENCE):
                await self._free.acquire()
                return await self._begin(name)
        except TimeoutError:
            raise OSError(f"looking up {name} takes too long") from None

    def _begin(self, name: str) -> asyncio.Future[list[str]]:
        loop = asyncio.get_running_loop()
        found: asyncio.Future[list[str]] = loop.create_future()
        threading.Thread(target=self._run, args=(loop, name, found), daemon=True).start()
        return found

    def _run(self, loop: asyncio.AbstractEventLoop, name: str, found: asyncio.Future[list[str]]) -> None:
        addresses, failure = list[str](), None
        try:
            addresses = self._lookup(name)
        except (OSError, UnicodeError) as error:
            failure = OSError(f"{name} cannot be looked up: {error}")
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(self._end, found, addresses, failure)

    def _end(self, found: asyncio.Future[list[str]], addresses: list[str], failure: OSError | None) -> None:
        self._free.release()
        if found.done():  # nobody waits any more
            return
        if failure is None:
            found.set_result(addresses)
        else:
            found.set_exception(failure)
