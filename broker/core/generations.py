"""Which generation of each plugin has its name, and how another one gets it.

Rule 1: blue/green: a new generation is ready, its lists learned, before it gets the name; if it does not become
        ready, the old one keeps the name and goes on.
Rule 2: the older one finishes what it has, then is stopped. No call ever goes to two generations.
Rule 3: the smallest difference: what needs no new instance is changed in place, what did not change is not touched.
Rule 4: clients are told of changed lists only if what they are shown changed; `Pinning` decides what that is.
"""

from __future__ import annotations

import asyncio
import difflib
import logging
from collections.abc import Callable, Collection, Iterable
from typing import Protocol

from msgspec.structs import replace

from broker.core.catalog import Catalog
from broker.core.commands import Commands, Offered
from broker.core.deadlines import Deadlines
from broker.core.listings import Listings
from broker.core.pinning import Pinning
from broker.core.plugins import House, Plugin, changed_kinds
from broker.core.ports import Caller, Identity, Runtime
from broker.core.starts import Starts
from broker.core.status import State, Status, Surface
from broker.errors import BrokerError, NotFound
from broker.model import KINDS, Command, Kind, Listing, Spec

log = logging.getLogger("broker.generations")

DRAIN = 30.0  # seconds an older generation has for what is in work when its files changed
_NOTHING = Surface()
HURRY = 5.0  # seconds it has when a person asked for the change


class Neighbours(House, Protocol):
    """What the rest of the core is told."""

    def replaced(self, plugin: Plugin) -> None: ...
    def relisted(self, kinds: set[Kind]) -> None: ...
    def present(self, plugin: Plugin) -> None: ...
    def gone(self, name: str) -> None: ...
    def commands_changed(self) -> None: ...
    def hears_config(self, name: str) -> bool: ...
    def configured(self, spec: Spec) -> None: ...
    @property
    def client(self) -> tuple[Identity, Caller]:
        """Who is here, and opens what is opened without a call."""
        ...


class Generations:
    """All plugins by name; if `alone` is given, only that one."""

    def __init__(
        self,
        runtime: Runtime,
        listings: Listings,
        catalog: Catalog,
        house: Neighbours,
        alone: str | None,
        pinning: Pinning | None = None,
    ) -> None:
        self.plugins: dict[str, Plugin] = {}
        self.disabled: dict[str, Spec] = {}
        self.unknown: set[str] = set()  # plugins whose lists nobody knows
        self.deadlines = Deadlines()
        self.commands = Commands()
        self._starts = Starts()
        self._runtime, self._listings, self._catalog, self._house = runtime, listings, catalog, house
        self._alone, self._pinning = alone, pinning or Pinning()
        self._pinning.tell = house.logged
        self.surface: Callable[[str], Surface] = lambda name: _NOTHING  # what a plugin shows beside its tools
        self._leaving: dict[asyncio.Task[None], Plugin] = {}  # older generations that finish what they have
        self._locks: dict[str, asyncio.Lock] = {}

    def add(self, spec: Spec) -> None:
        """A plugin nobody knew by this name."""
        self.disabled.pop(spec.name, None)
        if self._alone not in (None, spec.name):
            return
        if not spec.enabled:
            self.disabled[spec.name] = spec
            return
        known = self._listings.get(spec)
        self.commands.met(spec.name, known)
        self.plugins[spec.name] = plugin = self._generation(spec, known)
        self._show(plugin)
        if known is None:
            self.unknown.add(spec.name)

    async def apply(self, specs: Iterable[Spec], touched: Collection[str] = ()) -> None:
        """Make `specs` the plugins there are; those in `touched` have changed files. Failures are logged."""
        wanted = {spec.name: spec for spec in specs}
        gone = (self.plugins.keys() | self.disabled.keys()) - wanted.keys()
        await asyncio.gather(*(self._take_away(name) for name in gone))
        await asyncio.gather(*(self._apply(spec, spec.name in touched) for spec in wanted.values()))

    async def change(self, spec: Spec) -> None:
        """Make one plugin what `spec` says; the others stay as they are."""
        await self._apply(spec, touched=False)

    async def restart(self, name: str) -> Status:
        """End a plugin's instances, soon, and start it anew. Raises `NotFound`, `PluginUnavailable`."""
        async with self._lock(name):
            old = self.named(name)
            clients = self._clients(old)
            new = self._successor(old)
            await new.open(clients)
            return new.status()

    async def stop_one(self, name: str) -> Status:
        """End a plugin's instances, soon; the next call starts it anew. Raises `NotFound`."""
        async with self._lock(name):
            new = self._successor(self.named(name))
            if new.after is not None:
                await asyncio.shield(new.after)
            return new.status()

    async def warm(self, name: str, count: int) -> Status:
        """Have `count` instances of a plugin ready until it is stopped.

        Raises `NotFound`, `BadArguments`, `PluginUnavailable`.
        """
        plugin = self.named(name)
        await plugin.warm(count, *self._house.client)
        return plugin.status()

    async def disable(self, name: str) -> Status:
        """Take a plugin away until it is enabled. Raises `NotFound`."""
        async with self._lock(name):
            if name not in self.disabled:
                spec = self.named(name).spec
                self._remove(name)
                self.disabled[name] = spec
        return Status(name=name, state=State.DISABLED)

    async def enable(self, name: str) -> Status:
        """Bring a disabled plugin back. Raises `NotFound`."""
        spec = self.disabled.get(name)
        if spec is not None:
            await self._apply(_enabled(spec), touched=False)
        return self.named(name).status()

    def statuses(self) -> list[Status]:
        """Every plugin, by name; an older generation of one has a line of its own while it has calls to finish."""
        leaving = [plugin for plugin in self._leaving.values() if plugin.lanes]
        found = [self._status(plugin) for plugin in (*self.plugins.values(), *leaving)]
        found += [Status(name=name, state=State.DISABLED) for name in self.disabled]
        return sorted(found, key=lambda status: (status.name, -status.generation))

    def _status(self, plugin: Plugin) -> Status:
        found, shown = plugin.status(), self.surface(plugin.spec.name)
        return (
            replace(found, commands=shown.commands, notes=shown.notes) if plugin.lanes and shown != _NOTHING else found
        )

    def learned(self, plugin: Plugin, listing: Listing, kinds: set[Kind]) -> set[Kind]:
        """Keep what a plugin showed; those of `kinds`, which it changed, that are changed for clients."""
        name = plugin.spec.name
        if not listing.partial:
            self._keep(plugin, listing)
        if self.plugins.get(name) is not plugin:
            return set()
        self.unknown.discard(name)
        before = self._catalog.listing(name)
        self._show(plugin)
        return changed_kinds(before, self._catalog.listing(name), kinds) if plugin.pinned else kinds

    def _keep(self, plugin: Plugin, listing: Listing) -> None:
        self._listings.put(plugin.spec, replace(listing, commands=self.commands.registered(plugin.spec.name)))

    def register(self, name: str, command: Command) -> None:
        """A plugin registered a command."""
        if self.commands.add(name, command):
            self._registered(name)

    def unregister(self, name: str, command: str) -> None:
        """A plugin does not know this command any more."""
        if self.commands.drop(name, command):
            self._registered(name)

    def _registered(self, name: str) -> None:
        plugin = self.plugins.get(name)
        if plugin is not None and plugin.listing is not None and not plugin.listing.partial:
            self._keep(plugin, plugin.listing)
        self._house.commands_changed()

    def offered(self) -> list[Offered]:
        """The commands that a person can run now; nothing of a plugin that its user has yet to approve."""
        return self.commands.offered(plugin.spec for plugin in self.plugins.values() if not plugin.withheld.reason)

    @property
    def notices(self) -> list[bytes]:
        """What is kept from clients now, as log messages for one that has just come."""
        return self._pinning.notices

    async def stop(self, grace: float) -> None:
        """End every generation of every plugin."""
        self.deadlines.close()
        for leaving in self._leaving:
            leaving.cancel()
        await asyncio.gather(*(plugin.stop(grace) for plugin in self.plugins.values()))

    # one plugin

    async def _apply(self, spec: Spec, touched: bool) -> None:
        async with self._lock(spec.name):
            old = self.plugins.get(spec.name)
            if old is not None and spec.enabled:
                await self._changed(old, spec, touched)
                return
            if old is not None:
                self._remove(spec.name)
            before = self._shown()
            self.add(spec)
            self._tell(before)
            plugin = self.plugins.get(spec.name)
            if plugin is not None:
                plugin.learn(*self._house.client)
                self._house.replaced(plugin)

    async def _changed(self, old: Plugin, spec: Spec, touched: bool) -> None:
        if not touched and _what_runs(self._heard(spec, old.spec)) == _what_runs(old.spec):
            if spec != old.spec or self._pinning.moved(spec.name):
                before = self._shown()
                configured = dict(spec.config) != dict(old.spec.config)
                old.tune(spec)
                if configured:
                    self._house.configured(spec)
                self._show(old)
                self._tell(before)
            return
        new = self._generation(spec, None if touched else self._listings.get(spec), old.generation + 1)
        if old.listing is not None and not await self._ready(old, new):
            return
        self._swap(old, new)
        self._leave(old, DRAIN)

    def _heard(self, spec: Spec, old: Spec) -> Spec:
        """`spec` without what its running instance is told of instead of being replaced."""
        return replace(spec, config=old.config) if self._house.hears_config(spec.name) else spec

    def _clients(self, old: Plugin) -> list[tuple[Identity, Caller]]:
        """Whom a new generation is to be opened for: those the old one is, or who is here."""
        return [(lane.identity, lane.opener) for lane in old.lanes] or [self._house.client]

    async def _ready(self, old: Plugin, new: Plugin) -> bool:
        """Bring the new generation to where the old one is."""
        try:
            await new.open(self._clients(old))
        except BrokerError as error:
            await new.stop(0.5)
            old.failure = error
            log.warning("%s goes on as it was, because its new version does not start: %s", old.spec.name, error)
            return False
        return True

    def _successor(self, old: Plugin) -> Plugin:
        """A generation of the same, which has the name at once and begins when the old one is over."""
        new = self._generation(old.spec, old.listing, old.generation + 1)
        new.after = self._leave(old, HURRY)
        self._swap(old, new)
        return new

    def _swap(self, old: Plugin, new: Plugin) -> None:
        before = self._shown()
        self.plugins[new.spec.name] = new
        self._show(new)
        if new.listing is None:
            self.unknown.add(new.spec.name)
            new.learn(*self._house.client)
        else:
            self.unknown.discard(new.spec.name)
        self._tell(before)
        self._house.replaced(new)

    async def _take_away(self, name: str) -> None:
        async with self._lock(name):
            self._remove(name)

    def _remove(self, name: str) -> None:
        self.disabled.pop(name, None)
        self.unknown.discard(name)
        before = self._shown()
        old = self.plugins.pop(name, None)
        if old is not None:
            self._catalog.put(old.spec, None)
            self._pinning.forget(name)
            self.commands.forget(name)
            self._house.gone(name)
            self._tell(before)
            self._leave(old, HURRY)

    def _leave(self, old: Plugin, bound: float) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(old.drain(bound))
        self._leaving[task] = old
        task.add_done_callback(self._leaving.pop)
        return task

    def _show(self, plugin: Plugin) -> None:
        """Have clients see of its lists what they may. Nothing else gives a list to the catalog."""
        judged = self._pinning.judge(plugin.spec.name, plugin.listing)
        plugin.shown, plugin.withheld, plugin.pinned = judged.listing, judged.withheld, judged.pinned
        self._catalog.put(plugin.spec, judged.listing, judged.withheld)
        self._house.present(plugin)

    def _generation(self, spec: Spec, known: Listing | None, generation: int = 0) -> Plugin:
        plugin = Plugin(
            spec,
            self._runtime,
            self._house,
            deadlines=self.deadlines,
            starts=self._starts,
            listing=known,
            generation=generation,
        )
        plugin.pinned = self._pinning.holds(spec.name)
        return plugin

    def named(self, name: str) -> Plugin:
        """The plugin of this name. Raises `NotFound`."""
        plugin = self.plugins.get(name)
        if plugin is not None:
            return plugin
        if name in self.disabled:
            raise NotFound(f"{name} is disabled", hint=f"`broker enable {name}` brings it back.")
        near = difflib.get_close_matches(name, self.plugins, 1)
        known = f"; did you mean {near[0]}?" if near else ""
        raise NotFound(f"no plugin is called {name}{known}", hint="Run `broker list` to see them.")

    def _lock(self, name: str) -> asyncio.Lock:
        return self._locks.setdefault(name, asyncio.Lock())

    # what clients see

    def _shown(self) -> tuple[dict[Kind, list[bytes]], list[Offered]]:
        lists: dict[Kind, list[bytes]] = {
            kind: [bytes(entry.raw) for entry in self._catalog.entries(kind)] for kind in KINDS
        }
        return lists, self.offered()

    def _tell(self, before: tuple[dict[Kind, list[bytes]], list[Offered]]) -> None:
        lists, commands = self._shown()
        changed: set[Kind] = {kind for kind in KINDS if before[0][kind] != lists[kind]}
        if changed:
            self._house.relisted(changed)
        if before[1] != commands:
            self._house.commands_changed()


def _what_runs(spec: Spec) -> tuple[object, ...]:
    """What an instance is made of; the rest of a configuration can be changed under it."""
    made_of = (spec.command, spec.entry, spec.cwd, dict(spec.env), dict(spec.config), spec.restart)
    made_of += (spec.instance, spec.warm, spec.isolation, spec.wasm)
    held_to = (spec.permissions, spec.granted, spec.unconfined, spec.unenforced, spec.strict, spec.limits)
    return made_of if spec.permissions is None else made_of + held_to


def _enabled(spec: Spec) -> Spec:
    return replace(spec, enabled=True)
