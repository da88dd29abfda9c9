"""The runtime of plugins that are one Lua script.

`isolation` of its entry says where a script runs: in the broker's own process with the environment of `lua/boot.lua`
around it, or in a confined process. Both cost about the same per call; the second starts in tens of milliseconds
instead of one, and can be killed. "auto" is the first, because whoever is configured here was named by its user.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from broker.core.ports import Host, Identity
from broker.model import Listing, Spec
from broker.permissions.redaction import Redactions
from broker.runtimes.lua_guest import LuaGuest, Operations, Place
from broker.runtimes.plugin_log import PluginLog
from broker.runtimes.served import Served


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
        self._alive: set[LuaGuest] = set()

    async def start(self, spec: Spec, identity: Identity, known: Listing | None, host: Host) -> Served:
        """A new instance, for clients of every era. Raises `PluginUnavailable`."""
        await asyncio.to_thread(self.still, spec)
        path = self._logs / f"{spec.name}.log" if self._logs is not None else None
        log = PluginLog(path, self._redactions.declare(spec.name, spec.env.values()))
        place: Place = "process" if spec.isolation == "process" else "inprocess"
        guest = LuaGuest(spec, place, log, self._operations, self.kept, self._alive.discard)
        self._alive.add(guest)
        try:
            return Served(spec, await guest.begin(), guest)
        except BaseException:
            await guest.stop(0)
            raise

    async def close(self, grace: float) -> None:
        """End every script that still runs."""
        await asyncio.gather(*(guest.stop(grace) for guest in list(self._alive)))
