"""The runtime of plugins that are one Lua script.

`isolation` of its entry says where a script runs: in the broker's own process with the environment of `lua/boot.lua`
around it, or in a confined process. Both cost about the same per call; the first of the second kind starts in tens of
milliseconds instead of one, and each can be killed. "auto" is the first, because whoever is configured here was named
by its user.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from broker.core.ports import Host, Identity
from broker.model import Listing, Spec
from broker.permissions.redaction import Redactions
from broker.runtimes.lua_guest import LuaGuest, Operations, Place
from broker.runtimes.plugin_log import PluginLog
from broker.runtimes.served import Served

if TYPE_CHECKING:
    from broker.runtimes.lua_spare import Workers


class LuaRuntime:
    """Loads scripts. `logs` is the folder of their log files, `operations` the host that they may call."""

    def __init__(
        self,
        logs: Path | None = None,
        redactions: Redactions | None = None,
        operations: Operations | None = None,
    ) -> None:
        self._logs, self._redactions, self._operations = logs, redactions or Redactions(), operations
        # Looks, right before a start, whether what was granted is so now; blocks, raises `PermissionMissing`.
        self.still: Callable[[Spec], None] = lambda spec: None
        # What no plugin may change, wherever it may write.
        self.kept: Callable[[], Sequence[str]] = lambda: ()
        # Hears of each instance that has ended.
        self.gone: Callable[[Spec], None] = lambda spec: None
        self._alive: set[LuaGuest] = set()
        self._workers: Workers | None = None  # until a script needs a process
        self._closing: asyncio.Task[None] | None = None  # of the process that is kept ready

    async def start(self, spec: Spec, identity: Identity, known: Listing | None, host: Host) -> Served:
        """A new instance, for clients of every era. Raises `PluginUnavailable`."""
        await asyncio.to_thread(self.still, spec)
        path = self._logs / f"{spec.name}.log" if self._logs is not None else None
        log = PluginLog(path, self._redactions.declare(spec.name, spec.env.values()))
        place: Place = "process" if spec.isolation == "process" else "inprocess"
        guest = LuaGuest(spec, place, log, self._processes, self._operations, self._ended)
        self._alive.add(guest)
        try:
            return Served(spec, await guest.begin(), guest, self.gone)
        except BaseException:
            await guest.stop(0)
            raise

    async def close(self, grace: float) -> None:
        """End every script that still runs."""
        await asyncio.gather(*(guest.stop(grace) for guest in list(self._alive)))
        if self._workers is not None:
            await self._workers.close()
        if self._closing is not None:
            await self._closing

    def _processes(self) -> Workers:
        if self._workers is None:
            from broker.runtimes.lua_spare import Workers

            self._workers = Workers(lambda: self.kept())
        return self._workers

    def _ended(self, guest: LuaGuest) -> None:
        """A script has ended; with the last in a process goes the process that is kept ready."""
        self._alive.discard(guest)
        if self._workers is not None and all(each.place != "process" for each in self._alive):
            self._closing = asyncio.get_running_loop().create_task(self._workers.close())
