"""A plugin's life: configured -> known (its lists are kept) -> started -> called -> stopped.

Rule 1: it is started when a call needs it, or once to learn its lists; starts at the same time are bounded.
Rule 2: one instance per era that clients really speak, each with its own turns.
Rule 3: an instance that ends fails the calls it was given; those still waiting get the next instance.
Rule 4: lists are replaced only by a whole new answer, and clients are told only if it differs.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import Any, Protocol

import msgspec

from broker.core.deadlines import Deadlines
from broker.core.ports import Call, Caller, Host, Identity, Instance, Nobody, Reply, Runtime, Unsent
from broker.core.turns import Turns
from broker.errors import BrokerError, Closed, PluginFailed, PluginUnavailable, TimedOut
from broker.model import KINDS, Era, Kind, Listing, Spec

log = logging.getLogger("broker.plugins")

LONG_WAIT = 5.0  # seconds in line after which the log says, once, what to change
TRIES = 3  # instances that may end before a call could be written to them
REFRESH_PAUSE = 1.0  # seconds between two refreshes of the lists of a plugin that says they change all the time
LEARN_AGAIN = 10.0  # seconds before a plugin that could not be started is tried again for a list
STARTS = max(4, 2 * (os.cpu_count() or 1))  # at the same time, in the whole broker


class Moved(Exception):
    """The server speaks only the era that another lane serves: its calls go there."""


class House(Protocol):
    """What a plugin tells the rest of the core."""

    def listed(self, plugin: Plugin, listing: Listing, kinds: set[Kind], *, first: bool) -> None: ...
    def updated(self, plugin: Plugin, uri: str) -> None: ...
    def logged(self, params: Reply) -> None: ...
    @property
    def log_level(self) -> str | None: ...


class Plugin:
    """One configured plugin, whether it runs or not."""

    def __init__(
        self,
        spec: Spec,
        runtime: Runtime,
        house: House,
        *,
        deadlines: Deadlines,
        starts: asyncio.Semaphore,
        listing: Listing | None,
    ) -> None:
        self.spec, self.runtime, self.house = spec, runtime, house
        self.deadlines, self.starts, self.listing = deadlines, starts, listing
        self.failure: BrokerError | None = None
        self.hinted = False
        self._lanes: dict[Era, Lane] = {}
        self._served: dict[Era, Era] = {}  # the era that was wanted -> the era it is served in
        self._failed_at = float("-inf")
        self._learning: asyncio.Task[None] | None = None

    @property
    def lanes(self) -> list[Lane]:
        """Those with an instance, or with one on its way."""
        return [lane for lane in self._lanes.values() if lane.instance is not None or lane.starting is not None]

    async def call(self, call: Call) -> Reply:
        """Run one call when its turn comes."""
        try:
            return await self.lane(call.identity.era).call(call)
        except Moved:
            return await self.lane(call.identity.era).call(call)

    def lane(self, era: Era) -> Lane:
        """Where clients of `era` are served: in their own era, unless the server is known not to speak it."""
        if self.listing is not None and self.listing.versions.get(era, "?") is None:
            era = Era.MODERN if era is Era.LEGACY else Era.LEGACY
        era = self._served.get(era, era)
        lane = self._lanes.get(era)
        if lane is None:
            lane = self._lanes[era] = Lane(self, era)
        return lane

    def learn(self, identity: Identity, opener: Caller) -> asyncio.Task[None] | None:
        """Start it once if its lists are not known, in the background; None if there is nothing to wait for."""
        if self.listing is not None:
            return None
        loop = asyncio.get_running_loop()
        if self._learning is None or (self._learning.done() and loop.time() - self._failed_at > LEARN_AGAIN):
            self._learning = loop.create_task(self._learn(identity, opener))
        return self._learning

    async def _learn(self, identity: Identity, opener: Caller) -> None:
        try:
            await self.lane(identity.era).ready(identity, opener)
        except BrokerError:
            self._failed_at = asyncio.get_running_loop().time()  # `failure` has it; the log said it

    def opened(self, lane: Lane, instance: Instance) -> None:
        """An instance answered, perhaps in the other era. Raises `Moved` when that one is served already."""
        self.failure = None
        if instance.era is lane.era:
            return
        self._served[lane.era] = instance.era
        del self._lanes[lane.era]
        if instance.era in self._lanes:
            raise Moved
        lane.era = instance.era
        self._lanes[instance.era] = lane

    def learned(self, listing: Listing, kinds: set[Kind]) -> None:
        """It showed its lists; keep them, and tell if they are not what they were."""
        old = self.listing
        known = {**old.versions, **listing.versions} if old else listing.versions
        self.listing = msgspec.structs.replace(listing, versions=known)
        if old is None or _signature(old) != _signature(self.listing):
            changed: set[Kind] = {kind for kind in kinds if old is None or _bytes(old, kind) != _bytes(listing, kind)}
            self.house.listed(self, self.listing, changed, first=old is None)

    async def stop(self, grace: float) -> None:
        """End every instance."""
        await asyncio.gather(*(lane.stop(grace) for lane in self._lanes.values()))


class Lane(Host):
    """One instance at a time of a plugin, in one era, and the calls that wait for it."""

    def __init__(self, plugin: Plugin, era: Era) -> None:
        self.plugin, self.era = plugin, era
        self.instance: Instance | None = None
        self.starting: asyncio.Task[None] | None = None
        self.turns = Turns(plugin.spec.concurrency or 1)
        self._opener: Caller = Nobody()
        self._identity = Identity()
        self._watched: set[str] = set()
        self._refreshing: asyncio.Task[None] | None = None
        self._refreshed_at = float("-inf")
        self._stale: set[Kind] = set()
        self._questions: dict[asyncio.Future[Reply], set[Call]] = {}
        self._stopped = False

    async def call(self, call: Call) -> Reply:
        """Run one call when its turn comes. Raises `PluginFailed`, `TimedOut`, `RemoteError`, `Overloaded`."""
        lost = 0
        while lost < TRIES:
            if call.caller.clogged:
                await call.caller.room()
            if not self.turns.take_now():
                await self._wait(call)
            instance = self.instance
            try:
                if instance is not None and not call.caller.clogged:
                    return await self._run(instance, call)
            except Unsent:
                lost += 1
                self._lost(instance)
            finally:
                self.turns.give_back()
        raise self.plugin.failure or PluginFailed(f"{self.plugin.spec.name} ends before it can be called")

    async def ready(self, identity: Identity, opener: Caller) -> Lane:
        """Have an instance, its lists known; the lane it is in. Raises `PluginUnavailable`."""
        if self.instance is None or self.starting is not None:
            await asyncio.shield(self._start_soon(identity, opener))
            if (lane := self.plugin.lane(identity.era)) is not self:
                return await lane.ready(identity, opener)
            if self.instance is None:
                raise self.plugin.failure or PluginUnavailable(f"{self.plugin.spec.name} ended at its start")
        return self

    async def watch(self, uri: str, identity: Identity, opener: Caller) -> None:
        """Have updates of a resource of its. Raises `PluginFailed`, `TimedOut`, `RemoteError`."""
        lane = await self.ready(identity, opener)
        if uri not in lane._watched:
            if lane.instance is not None:
                await self._bounded(lane.instance.watch(uri), "resources/subscribe")
            lane._watched.add(uri)

    async def unwatch(self, uri: str) -> None:
        if uri in self._watched:
            self._watched.discard(uri)
            if self.instance is not None:
                await self._bounded(self.instance.unwatch(uri), "resources/unsubscribe")

    async def _bounded(self, request: Coroutine[Any, Any, None], method: str) -> None:
        spec = self.plugin.spec
        try:
            async with asyncio.timeout(spec.limits.timeout):
                await request
        except TimeoutError:
            raise TimedOut(f"{spec.name} did not answer {method} within {spec.limits.timeout:g} s") from None

    async def stop(self, grace: float) -> None:
        """End the instance, for good."""
        self._stopped = True
        self.turns.close()
        self.turns.fail(PluginUnavailable(f"{self.plugin.spec.name} is being stopped"))
        for task in (self.starting, self._refreshing):
            if task is not None:
                task.cancel()
        if self.starting is not None:
            await asyncio.wait([self.starting])
        instance, self.instance = self.instance, None
        if instance is not None:
            await instance.stop(grace)

    # what the instance tells its host

    def progressed(self, call: Call) -> None:
        self.plugin.deadlines.progressed(call)

    def changed(self, kinds: set[Kind]) -> None:
        self._stale |= kinds
        if self.instance is not None and (self._refreshing is None or self._refreshing.done()):
            self._refreshing = asyncio.get_running_loop().create_task(self._refresh())

    def updated(self, uri: str) -> None:
        self.plugin.house.updated(self.plugin, uri)

    def logged(self, params: Reply) -> None:
        self.plugin.house.logged(params)

    def ended(self, instance: Instance, error: BrokerError) -> None:
        log.warning("%s", error)
        self.plugin.failure = error
        self._lost(instance)

    def told(self, calls: Sequence[Call], method: str, params: Reply) -> None:
        (calls[0].caller if calls else self._opener).tell(method, params)

    async def ask(self, calls: Sequence[Call], method: str, params: Reply) -> Reply:
        """Ask whoever made `calls`, or opened the instance; the question ends when all of them have ended."""
        caller = calls[0].caller if calls else self._opener
        question = asyncio.ensure_future(caller.ask(method, params))
        open_calls = self._questions[question] = set(calls)
        for call in calls:
            call.questions += 1
        try:
            return await question
        except asyncio.CancelledError:
            question.cancel()
            if calls and not open_calls:
                raise Closed("the call that asked this has ended") from None
            raise
        finally:
            del self._questions[question]
            for call in calls:
                call.questions -= 1
                self.plugin.deadlines.progressed(call)

    # its own affairs

    async def _run(self, instance: Instance, call: Call) -> Reply:
        deadlines, spec = self.plugin.deadlines, self.plugin.spec
        deadlines.begin(call, spec.limits)
        try:
            return await instance.call(call)
        except asyncio.CancelledError:
            if not call.late:
                raise
            call.task.uncancel()
            raise TimedOut(f"{spec.name} did not answer {call.method} within {spec.limits.timeout:g} s") from None
        finally:
            deadlines.end(call)
            if call.questions:
                self._end_questions(call)

    def _end_questions(self, call: Call) -> None:
        for question, calls in list(self._questions.items()):
            calls.discard(call)
            if not calls:
                question.cancel()

    async def _wait(self, call: Call) -> None:
        if self.instance is None:
            self._start_soon(call.identity, call.caller)
            await self.turns.take(call.caller.key)
            return
        since = asyncio.get_running_loop().time()
        await self.turns.take(call.caller.key)
        waited = asyncio.get_running_loop().time() - since
        if waited > LONG_WAIT and not self.plugin.hinted:
            self.plugin.hinted = True
            log.warning(
                "a call to %s waited %.1f s for its turn; if it can serve several at once, "
                "set `concurrency = 4` in its entry (%s)",
                self.plugin.spec.name,
                waited,
                self.plugin.spec.source,
            )

    def _start_soon(self, identity: Identity, opener: Caller) -> asyncio.Task[None]:
        if self.starting is None:
            self._identity, self._opener = identity, opener
            self.starting = asyncio.get_running_loop().create_task(self._start())
        return self.starting

    async def _start(self) -> None:
        try:
            if self._stopped:
                raise PluginUnavailable(f"{self.plugin.spec.name} is being stopped")
            await self._open()
        except Moved as moved:
            self.turns.fail(moved)
        except BrokerError as error:
            self._failed(error)
        except Exception as error:
            log.exception("%s could not be started", self.plugin.spec.name)
            self._failed(PluginUnavailable(f"{self.plugin.spec.name} could not be started: {error!r}"))
        finally:
            self.starting = None

    async def _open(self) -> None:
        """A new instance, ready to be called."""
        plugin = self.plugin
        async with plugin.starts:
            instance = await plugin.runtime.start(plugin.spec, self._identity, plugin.listing, self)
        self.instance = instance
        try:
            await self._begin(instance)
            if self.instance is not instance:
                raise plugin.failure or PluginUnavailable(f"{plugin.spec.name} ended at its start")
        except BaseException:
            self.instance = None
            await instance.stop(0.5)
            raise
        self.turns.open()

    async def _begin(self, instance: Instance) -> None:
        """Learn its lists if nobody knows them, and tell it what its predecessor was told."""
        self.plugin.opened(self, instance)
        if self.plugin.listing is None:
            self.plugin.learned(await instance.lists(), set(KINDS))
        else:
            self.changed(set(KINDS))
        if self.plugin.house.log_level is not None:
            instance.level(self.plugin.house.log_level)
        with suppress(TimeoutError):
            async with asyncio.timeout(self.plugin.spec.limits.start):
                for uri in list(self._watched):
                    with suppress(BrokerError):
                        await instance.watch(uri)

    def _failed(self, error: BrokerError) -> None:
        self.plugin.failure = error
        log.warning("%s (%s)", error, error.hint)
        self.turns.fail(error)

    async def _refresh(self) -> None:
        """Ask for its lists again, in turn with the calls, and no more often than a client could use."""
        loop = asyncio.get_running_loop()
        while self._stale:
            await asyncio.sleep(max(0, self._refreshed_at + REFRESH_PAUSE - loop.time()))
            try:
                await self.turns.take("broker")
            except (BrokerError, Moved):
                return
            self._refreshed_at = loop.time()
            try:
                if self.instance is None:
                    return  # the next one is asked when it is ready
                kinds, self._stale = self._stale, set()
                self.plugin.learned(await self.instance.lists(kinds), kinds)
            except BrokerError as error:
                log.info("the lists of %s cannot be asked for: %s", self.plugin.spec.name, error)
            finally:
                self.turns.give_back()

    def _lost(self, instance: Instance | None) -> None:
        """The instance is gone; whoever still waits gets another."""
        if instance is None or self.instance is not instance:
            return
        self.instance = None
        self.turns.close()
        if len(self.turns) and not self._stopped:
            self._start_soon(self._identity, self._opener)


def _bytes(listing: Listing, kind: Kind) -> list[bytes]:
    return [bytes(item) for item in getattr(listing, kind)]


def _signature(listing: Listing) -> bytes:
    return msgspec.json.encode(listing, order="sorted")
