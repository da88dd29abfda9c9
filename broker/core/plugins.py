"""A plugin's life: configured -> known (its lists are kept) -> started -> called -> draining -> gone.

Rule 1: it is started when a call needs it, or once to learn its lists; starts are bounded, see `Starts` and `Life`.
Rule 2: one lane per era that clients really speak, each with one instance and its own turns. Legacy servers are told
        once what their client can be asked, and show and do less, or other things, if it is little: so they are told
        the truth about the client they are opened for. It shares its lane with every client that can do no more; one
        that can do more has a lane of its own, or this one anew if no call was made on it yet. What a client cannot
        be asked is declined for it. A modern server hears of its client in each request, and needs no second lane.
Rule 3: a `Plugin` is one generation: another configuration or other code is another `Plugin`, which must be ready
        before it gets the name; this one then drains.
Rule 4: lists are replaced only by a whole new answer, and clients are told only if it differs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Protocol

import msgspec

from broker.core import tasks
from broker.core.deadlines import Deadlines
from broker.core.lane import Lane, Moved
from broker.core.life import Life
from broker.core.pool import Pooled
from broker.core.ports import Call, Caller, Identity, Instance, Reply, Runtime
from broker.core.retries import READS, Retries
from broker.core.starts import Starts
from broker.core.status import State, Status
from broker.errors import BadArguments, BrokerError, PluginFailed, PluginUnavailable
from broker.model import Era, Kind, Listing, Spec
from broker.permissions.lack import may_sample
from broker.permissions.withheld import NOTHING

log = logging.getLogger("broker.plugins")

MOST_LANES = 3  # of one era; clients that would need more share the last
HOLD = 2.0  # seconds a call waits for a plugin that is started again; if it takes longer, its caller is told at once


class House(Protocol):
    """What a plugin tells the rest of the core."""

    def listed(self, plugin: Plugin, listing: Listing, kinds: set[Kind], *, first: bool) -> None: ...
    def updated(self, plugin: Plugin, uri: str) -> None: ...
    def absent(self, plugin: Plugin) -> None: ...
    def rested(self, plugin: Plugin) -> None: ...
    def logged(self, params: Reply) -> None: ...
    def task_changed(self, plugin: Plugin, params: Reply) -> None: ...
    @property
    def alone(self) -> str | None: ...
    @property
    def log_level(self) -> str | None: ...


class Plugin:
    """One generation of one configured plugin, whether it runs or not."""

    def __init__(
        self,
        spec: Spec,
        runtime: Runtime,
        house: House,
        *,
        deadlines: Deadlines,
        starts: Starts,
        listing: Listing | None,
        generation: int = 0,
    ) -> None:
        self.spec, self.runtime, self.house = spec, runtime, house
        self.deadlines, self.starts, self.listing = deadlines, starts, listing
        self.generation = generation
        self.life, self.retries = Life(spec.restart), Retries(spec)
        self.failure: BrokerError | None = None
        self.hinted = False
        self.crashes = 0
        self.after: asyncio.Task[None] | None = None  # what must be over before its first start
        self.shown, self.withheld = listing, NOTHING  # of its lists: what clients see, and what is kept from them
        self.pinned = False  # its lists are compared with a pin: before it serves, and while it runs
        self._has_served = False
        self._lanes: list[Lane] = []
        self._served: dict[Era, Era] = {}  # the era that was wanted -> the era it is served in
        self._learning: asyncio.Task[None] | None = None

    @property
    def lanes(self) -> list[Lane]:
        """Those with an instance, or with one on its way."""
        return [lane for lane in self._lanes if not lane.off]

    async def call(self, call: Call) -> Reply:
        """Run one call when its turn comes."""
        self.retries.check(call)
        try:
            return await self.lane(call.identity).call(call)
        except Moved:
            return await self.lane(call.identity).call(call)

    async def hook(self, event: bytes, call: Call, bound: float) -> Reply:
        """What it says to an event; any instance will do. Raises `BrokerError`, `TimeoutError`."""
        lanes = self.lanes
        try:
            return await (lanes[0] if lanes else self.lane(call.identity)).hook(event, call, bound)
        except Moved:
            return await self.lane(call.identity).hook(event, call, bound)

    def outward(self, said: Reply) -> Reply:
        """What it says, with the ids of its tasks as clients know them."""
        return said if self.house.alone is not None else tasks.outward(self.spec.name, said)

    def speaks(self, era: Era) -> bool:
        """Whether it is known to speak this era."""
        return self.listing is not None and self.listing.versions.get(era) is not None

    def seen(self, identity: Identity) -> Identity:
        """A client as this plugin is shown it."""
        return identity if may_sample(self.spec) or "sampling" not in identity.capabilities else identity.unvoiced

    def lane(self, identity: Identity) -> Lane:
        """Where a client is served: in its own era, unless the server is known not to speak it. See rule 2."""
        era = self._era(identity.era)
        for lane in self._lanes:
            if lane.era is era and lane.serves(identity):
                return lane
        return self._another(era)

    def _another(self, era: Era) -> Lane:
        """For a client that no lane serves: one that can be opened anew, or one more."""
        lanes = [lane for lane in self._lanes if lane.era is era]
        for lane in lanes:
            if lane.off or lane.rest():
                return lane
        if len(lanes) >= MOST_LANES:
            return lanes[-1]
        self._lanes.append(Lane(self, era))
        return self._lanes[-1]

    def _era(self, era: Era) -> Era:
        """In which clients of `era` are served."""
        if self.listing is not None and self.listing.versions.get(era, "?") is None:
            era = Era.MODERN if era is Era.LEGACY else Era.LEGACY
        return self._served.get(era, era)

    def learn(self, identity: Identity, opener: Caller) -> asyncio.Task[None] | None:
        """Start it once if its lists are not known, in the background; None if there is nothing to wait for."""
        if self.listing is not None:
            return None
        loop = asyncio.get_running_loop()
        if self._learning is None or (self._learning.done() and self.life.refused(loop.time()) is None):
            self._learning = loop.create_task(self._learn(identity, opener))
        return self._learning

    async def _learn(self, identity: Identity, opener: Caller) -> None:
        try:
            await self.lane(identity).ready(identity, opener)
        except BrokerError:
            pass  # `failure` has it; the log said it

    async def open(self, clients: Iterable[tuple[Identity, Caller]]) -> None:
        """Be ready for all of these. Raises `PluginUnavailable`."""
        begun = [(lane := self.lane(identity), lane.begin(identity, opener)) for identity, opener in clients]
        await asyncio.gather(*(lane.ready(lane.identity, lane.opener) for lane, _ in begun))

    async def warm(self, count: int, identity: Identity, opener: Caller) -> None:
        """Have instances ready ahead of calls; starts it if need be. Raises `BadArguments`, `PluginUnavailable`."""
        if self.spec.instance == "fresh" and (self.spec.entry or "").endswith(".wasm"):
            instance = (await self.lane(identity).ready(identity, opener)).instance
            if isinstance(instance, Pooled):
                await instance.warm(count)
                return
        raise BadArguments(
            f"{self.spec.name} has no instances that could wait for calls",
            hint='Only WASM plugins with `instance = "fresh"` have.',
        )

    def tune(self, spec: Spec) -> None:
        """Take on a configuration that needs no new instance."""
        self.spec = self.retries.spec = spec
        for lane in self._lanes:
            lane.turns.widen(spec.concurrency or 1)

    async def drain(self, bound: float) -> None:
        """Finish what it has, then end for good."""
        await asyncio.gather(*(lane.drain(bound) for lane in self._lanes))

    async def stop(self, grace: float) -> None:
        """End every instance, for good."""
        await asyncio.gather(*(lane.stop(grace) for lane in self._lanes))

    def status(self) -> Status:
        """What a person may know of it now."""
        now = asyncio.get_running_loop().time()
        lanes = self.lanes
        instances = [lane.instance for lane in lanes if lane.instance is not None]
        refused, failure = self.life.refused(now), self.failure
        return Status(
            name=self.spec.name,
            state=self._state(now, lanes),
            generation=self.generation,
            pids=tuple(instance.pid for instance in instances if instance.pid is not None),
            uptime=max((instance.uptime for instance in instances), default=None),
            restarts=self.life.restarts,
            running=sum(lane.turns.busy for lane in lanes),
            waiting=sum(len(lane.turns) for lane in lanes),
            retry_in=refused,
            failure=None if failure is None else str(failure),
            failure_name=None if failure is None else failure.name,
            hint=None if failure is None else failure.hint,
            about=None if self.shown is None else self.shown.about,
            pool=next((each.pool for each in instances if isinstance(each, Pooled)), None),
        )

    def _state(self, now: float, lanes: list[Lane]) -> State:
        if any(lane.instance is not None for lane in lanes):
            worst = [State.UNRESPONSIVE, State.DRAINING, State.STARTING, State.BACKOFF, State.READY]
            return next(state for state in worst if state in {lane.state for lane in lanes})
        if self.life.refused(now) is not None:
            return State.OPEN
        if self.life.half_open(now):
            return State.HALF_OPEN
        return lanes[0].state if lanes else State.OFF

    # what its lanes tell it

    async def admitted(self) -> None:
        """Wait until it may be started. Raises `PluginUnavailable` when that is not soon."""
        if self.after is not None:
            await asyncio.shield(self.after)
        if (refusal := self.refusal()) is not None:
            raise refusal
        now = asyncio.get_running_loop().time()
        if self.life.restarts:
            self.starts.again(self.spec.name, now)
        await asyncio.sleep(self.life.pause(now))

    def refusal(self) -> PluginUnavailable | None:
        """Why it may not be started now."""
        name, now = self.spec.name, asyncio.get_running_loop().time()
        refused = self.life.refused(now)
        if self.life.over:
            what, hint = "has ended, and its restart policy is never", f"`broker restart {name}` starts it again."
        elif refused is not None:
            what = f"keeps failing and is not started again for {refused:.0f} s"
            hint = f"`broker log {name}` shows what it printed; `broker restart {name}` tries again now."
        else:
            return None
        return PluginUnavailable(f"{name} {what}{self._why()}", hint=hint, facts=self._facts(now))

    def delay(self) -> PluginUnavailable | None:
        """Why a call must not wait for the next start, though there will be one: it is too far away."""
        name, now = self.spec.name, asyncio.get_running_loop().time()
        pause = self.life.pause(now)
        if pause <= HOLD:
            return None
        hint = f"Call again then; `broker restart {name}` starts it now."
        what = f"{name} ended and is started again in {pause:.0f} s{self._why()}"
        return PluginUnavailable(what, hint=hint, facts=self._facts(now))

    def _why(self) -> str:
        return f"; it failed last with: {self.failure}" if self.failure is not None else ""

    def _facts(self, now: float) -> dict[str, object]:
        """What every failure of its tells a program."""
        wait = self.life.refused(now)
        retry = {} if self.life.over else {"retryInMs": round(1000 * (wait or self.life.pause(now)))}
        return {"plugin": self.spec.name, "generation": self.generation, "restarts": self.life.restarts, **retry}

    def opened(self, lane: Lane, instance: Instance) -> None:
        """An instance answered, perhaps in the other era. Raises `Moved` when that one is served already."""
        if instance.era is lane.era:
            return
        self._served[lane.era] = instance.era
        self._lanes.remove(lane)
        others = [each for each in self._lanes if each.era is instance.era]
        if any(each.off or each.serves(lane.identity) for each in others):
            raise Moved
        lane.era = instance.era
        self._lanes.append(lane)

    def serves(self) -> None:
        """A start came to its end."""
        self.failure, self._has_served = None, True
        self.life.serves(asyncio.get_running_loop().time())

    def stillborn(self) -> bool:
        """A start failed; whether another is to follow by itself."""
        now = asyncio.get_running_loop().time()
        self.life.stillborn(now)
        return self._has_served and self.life.again(failed=True) and self.life.refused(now) is None

    def fell(self, *, failed: bool) -> None:
        """An instance ended while it served."""
        self.crashes += 1
        if failed:
            self.life.fell(asyncio.get_running_loop().time())
        else:
            self.life.rested()

    def failed(self, error: BrokerError) -> None:
        """It cannot be started."""
        if "retryInMs" not in error.facts and not self.life.over:  # else it was not tried
            log.warning("%s (%s)", error, error.hint)
            self.failure = error
            error.facts |= self._facts(asyncio.get_running_loop().time())
        if self.listing is None and (self.spec.required or self.spec.missing):
            self.house.absent(self)

    def crashed(self, call: Call, error: PluginFailed, now: float) -> PluginFailed:
        """What the caller of `call` is told, whose instance ended with `error`."""
        since, read = now - call.began, call.method in READS
        facts = {**error.facts, **self._facts(now), "sinceSentMs": int(1000 * since)}
        facts["sideEffects"] = "none" if read else "unknown"
        doubt = "" if read else "; whether it did anything is not known, so it is not sent again by itself"
        return PluginFailed(
            f"{error}\nThe call had been sent to it {since:.1f} s before{doubt}. {self.spec.name} {self._next(now)}.",
            hint=f"`broker log {self.spec.name}` shows all it printed.",
            facts=facts,
        )

    def _next(self, now: float) -> str:
        if self.life.over:
            return f"is started again only by `broker restart {self.spec.name}`"
        wait = self.life.refused(now)
        return "is started again" if wait is None else f"keeps failing and is not started again for {wait:.0f} s"

    def learned(self, listing: Listing, kinds: set[Kind]) -> None:
        """It showed its lists; keep them, and tell if they are not what they were."""
        old = self.listing
        known = {**old.versions, **listing.versions} if old else listing.versions
        self.listing = msgspec.structs.replace(listing, versions=known)
        if old is None or _signature(old) != _signature(self.listing):
            self.house.listed(self, self.listing, changed_kinds(old, listing, kinds), first=old is None)


def changed_kinds(old: Listing | None, new: Listing | None, kinds: set[Kind]) -> set[Kind]:
    """Those of `kinds` whose lists differ; all of them, if there was none."""
    if old is None or new is None:
        return set() if old is new else kinds
    return {kind for kind in kinds if _bytes(old, kind) != _bytes(new, kind)}


def _bytes(listing: Listing, kind: Kind) -> list[bytes]:
    return [bytes(item) for item in getattr(listing, kind)]


def _signature(listing: Listing) -> bytes:
    return msgspec.json.encode(listing, order="sorted")
