"""The runtime of all plugins: each is started by the one for its kind of entry."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from broker.core.ports import Host, Identity, Instance, Runtime
from broker.model import Listing, Spec


class Kinds:
    """Chooses by the suffix of a plugin's entry; `others` runs what has none of them.

    A runtime is made when the first plugin of its kind is started, because most people have none.
    """

    def __init__(self, others: Runtime, make: dict[str, Callable[[], Runtime]]) -> None:
        self._others, self._make = others, make
        self._made: dict[str, Runtime] = {}

    async def start(self, spec: Spec, identity: Identity, known: Listing | None, host: Host) -> Instance:
        """A new instance. Raises `PluginUnavailable`."""
        return await self.of(spec).start(spec, identity, known, host)

    def of(self, spec: Spec) -> Runtime:
        """What runs this plugin."""
        suffix = os.path.splitext(spec.entry or "")[1].lower()
        if suffix not in self._make:
            return self._others
        if suffix not in self._made:
            self._made[suffix] = self._make[suffix]()
        return self._made[suffix]

    async def close(self, grace: float) -> None:
        """End everything that any of them started."""
        await asyncio.gather(*(each.close(grace) for each in (self._others, *self._made.values())))
