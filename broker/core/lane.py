"""One instance at a time of a plugin, in one era, for clients that can do no more than the one it was opened for.

Rule 1: it is started when a call needs it, and again by itself when it ends badly, as `Life` allows.
Rule 2: a call whose instance ends is sent once more only as `Retries` allows; those still waiting get the next one.
Rule 3: a lane that drains takes nothing new; it finishes what it has, then its instance is stopped for good.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from broker.core import tasks
from broker.core.ports import Call, Caller, Host, Identity, Instance, Lost, Nobody, Reply, Unsent
from broker.core.status import State
from broker.core.turns import Turns
from broker.core.vigil import Vigil
from broker.errors import BrokerError, Closed, NoSuchMethod, Overloaded, PluginFailed, PluginUnavailable, TimedOut
from broker.model import KINDS, Era, Kind
from broker.permissions.lack import may_sample, no_sampling

if TYPE_CHECKING:
    from broker.core.plugins import Plugin

log = logging.getLogger("broker.plugins")

RECHECK_CALLS = 10  # calls after which the lists of one that has a pin are asked for again
LONG_WAIT = 5.0  # seconds in line after which the log says, once, what to change
TRIES = 3  # instances that may end before a call could be written to them
REFRESH_PAUSE = 1.0  # seconds between two refreshes of the lists of a plugin that says they change all the time


class Moved(Exception):
    """The server speaks only the era that another lane serves: its calls go there."""


class Lane(Host):
    """See above. It is the `Host` its instance knows."""

    def __init__(self, plugin: Plugin, era: Era) -> None:
        self.plugin, self.era = plugin, era
        self.instance: Instance | None = None
        self.starting: asyncio.Task[None] | None = None
        self.turns = Turns(plugin.spec.concurrency or 1)
        self._opener: Caller = Nobody()
        self._identity = Identity(era=era)
        self._watched: set[str] = set()
        self._refreshing: asyncio.Task[None] | None = None
        self._refreshed_at = float("-inf")
        self._stale: set[Kind] = set()
        self._unchecked = 0  # calls since its lists were asked for
        self._questions: dict[asyncio.Future[Reply], set[Call]] = {}
        self._vigil: Vigil | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._pausing = self._draining = self._stopped = False
        self._used = False  # a call was made on this instance

    # what the core asks of it

    async def call(self, call: Call) -> Reply:
        """Run one call when its turn comes. Raises `PluginFailed`, `TimedOut`, `RemoteError`, `Overloaded`."""
        if call.method in tasks.BESIDE:
            return await self._beside(call)
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
            except Lost as loss:
                assert instance is not None
                self._after_crash(instance, call, loss.error)
                lost += 1
            finally:
                self.turns.give_back()
        raise self.plugin.failure or PluginFailed(f"{self.title} ends before it can be called")

    async def _beside(self, call: Call) -> Reply:
        """About a task: in line it would wait for calls that may wait for it."""
        lane = await self.ready(call.identity, call.caller)
        if lane is not self or self.instance is None:
            return await lane.call(call)
        instance = self.instance
        self.turns.begin_beside()
        try:
            return await self._run(instance, call)
        except Unsent:
            raise self.plugin.failure or PluginFailed(f"{self.title} ended before it could be asked") from None
        except Lost as loss:
            self.ended(instance, loss.error)
            raise self.plugin.crashed(call, loss.error, asyncio.get_running_loop().time()) from None
        finally:
            self.turns.end_beside()

    async def hook(self, event: bytes, call: Call, bound: float) -> Reply:
        """What its instance says to an event within `bound` seconds: beside the line, because others wait for it."""
        lane = await self.ready(call.identity, call.caller)
        if lane.instance is None:
            raise self.plugin.failure or PluginFailed(f"{self.title} ended before it could be asked")
        lane._used = True
        lane.turns.begin_beside()
        try:
            async with asyncio.timeout(bound):
                return await lane.instance.hook(event, call)
        finally:
            lane.turns.end_beside()

    async def ready(self, identity: Identity, opener: Caller) -> Lane:
        """Have an instance, its lists known; the lane it is in. Raises `PluginUnavailable`."""
        if self.instance is None or self.starting is not None:
            await asyncio.shield(self._start_soon(identity, opener))
            if (lane := self.plugin.lane(identity)) is not self:
                return await lane.ready(identity, opener)
            if self.instance is None:
                raise self.plugin.failure or PluginUnavailable(f"{self.title} ended at its start")
        return self

    def begin(self, identity: Identity, opener: Caller) -> None:
        """Have an instance, soon."""
        if self.off:
            self._start_soon(identity, opener)

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

    async def drain(self, bound: float) -> None:
        """Finish what it has, for `bound` seconds at most, then end for good."""
        self._draining = True
        with suppress(TimeoutError):
            async with asyncio.timeout(bound):
                await self.turns.quiet()
        await self.stop(2.0)

    async def stop(self, grace: float) -> None:
        """End the instance, for good."""
        self._stopped = True
        self.turns.close()
        self.turns.fail(PluginUnavailable(f"{self.title} is being stopped"))
        for task in (self.starting, self._refreshing):
            if task is not None:
                task.cancel()
        if self.starting is not None:
            await asyncio.wait([self.starting])
        instance = self._let_go()
        if instance is not None:
            await instance.stop(grace)
        if self._ending:
            await asyncio.wait(self._ending)

    # what others see of it

    @property
    def title(self) -> str:
        """The plugin's name, for a person."""
        return self.plugin.spec.name

    @property
    def identity(self) -> Identity:
        """Of the client that opened it last."""
        return self._identity

    @property
    def opener(self) -> Caller:
        """The client that opened it last."""
        return self._opener

    @property
    def off(self) -> bool:
        """Whether it has no instance, and none is on its way: the next is opened for whoever needs it."""
        return self.instance is None and self.starting is None

    def serves(self, identity: Identity) -> bool:
        """Whether its instance knows, or will know, of all that this client can do."""
        if identity is self._identity or self.era is Era.MODERN:
            return not self.off
        return not self.off and identity.abilities <= self._identity.abilities

    @property
    def idle_after(self) -> float:
        """Seconds without a call after which it is stopped; infinite while somebody waits for something of its."""
        working = self.instance is not None and self.instance.working
        return math.inf if self._watched or self._draining or working else self.plugin.spec.limits.idle

    @property
    def state(self) -> State:
        """Where it is in its life, the breaker aside."""
        if self._draining:
            return State.DRAINING
        if self.starting is not None:
            return State.BACKOFF if self._pausing else State.STARTING
        if self.instance is None:
            return State.OFF
        return State.UNRESPONSIVE if self._vigil is not None and self._vigil.unresponsive else State.READY

    # what the instance tells its host

    def progressed(self, call: Call) -> None:
        call.heard = True
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
        """It ended and nobody asked it to. Told by the instance, or by the first call that saw it."""
        if self.instance is not instance:
            return
        idle = not self.turns.busy and error.facts.get("exitCode") == 0
        self.plugin.failure = None if idle else error
        log.log(logging.INFO if idle else logging.WARNING, "%s", error)
        if self.starting is None:  # else its start notices
            self.plugin.fell(failed=not idle)
        self._lost(instance, again=self.plugin.life.again(failed=not idle))

    def told(self, calls: Sequence[Call], method: str, params: Reply) -> None:
        for call in calls:
            call.heard = True
        if method == tasks.NEWS:
            self.plugin.house.task_changed(self.plugin, params)
        else:
            (calls[0].caller if calls else self._opener).tell(method, self._outward(calls, params))

    async def ask(self, calls: Sequence[Call], method: str, params: Reply) -> Reply:
        """Ask whoever made `calls`, or opened the instance; the question ends when all of them have ended."""
        if method == "sampling/createMessage" and not may_sample(self.plugin.spec):
            raise NoSuchMethod(str(no_sampling(self.plugin.spec)))
        open_calls = set(calls)
        question = asyncio.ensure_future(self._put(calls, open_calls, method, self.plugin.outward(params)))
        self._questions[question] = open_calls
        for call in calls:
            call.questions += 1
            call.heard = True
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

    async def _put(self, calls: Sequence[Call], open_calls: set[Call], method: str, params: Reply) -> Reply:
        """Ask by the first call that is open; if it ends before its client answered, by the next."""
        if not calls:
            return await self._opener.ask(method, params)
        for call in calls:
            try:
                if call in open_calls:
                    return await (call.asked or call.caller.ask)(method, params)
            except Closed:
                if call in open_calls:
                    raise
        raise Closed("the calls that may have asked this have ended")

    def _outward(self, calls: Sequence[Call], said: Reply) -> Reply:
        return ((calls[0].outward if calls else None) or self.plugin.outward)(said)

    def rest(self) -> bool:
        """Give up an instance that was never called and that nobody needs; whether it has none now."""
        if self.instance is None or self.starting is not None or self._used or self._watched or len(self.turns):
            return False
        self._stop_until_needed(self.instance)
        return True

    # what its vigil finds

    def idle(self, instance: Instance) -> None:
        """Nobody called it for long: stop it until somebody does."""
        if self.instance is instance and self.starting is None and not len(self.turns):
            log.info("%s is stopped until its next call: nobody called it for %g s", self.title, self.idle_after)
            self._stop_until_needed(instance)

    def _stop_until_needed(self, instance: Instance) -> None:
        self.turns.close()
        self._let_go()
        self.plugin.life.rested()
        self._end(instance.stop(2.0))

    def recheck(self, instance: Instance) -> None:
        """Its lists were not asked for in a while: see whether one that has a pin still agrees with it."""
        if self.instance is instance and self.plugin.pinned:
            self.changed(set(KINDS))

    def suspended(self, instance: Instance, reason: str) -> None:
        """It cannot answer anybody, and the system says why."""
        if self.instance is instance:
            self._end(instance.fail(reason))

    # its own affairs

    async def _run(self, instance: Instance, call: Call) -> Reply:
        deadlines, spec = self.plugin.deadlines, self.plugin.spec
        limits = spec.limits
        self._used = True
        if self.plugin.withheld:
            self.plugin.withheld.check(call.method, call.params)
        if call.method == "tasks/result":  # it is there to wait
            limits = replace(limits, timeout=limits.cap)
        deadlines.begin(call, limits)
        try:
            if self.plugin.pinned:
                self._count(instance)
            return await instance.call(call)
        except asyncio.CancelledError:
            if not call.late:
                raise
            call.task.uncancel()
            self._timed_out(instance)
            raise TimedOut(
                f"{spec.name} did not answer {call.method} within {limits.timeout:g} s",
                facts={"plugin": spec.name, "sideEffects": "unknown"},
            ) from None
        finally:
            deadlines.end(call)
            if call.questions:
                self._end_questions(call)

    def _count(self, instance: Instance) -> None:
        self._unchecked += 1
        if self._unchecked >= RECHECK_CALLS:
            self._unchecked = 0
            self.recheck(instance)

    def _timed_out(self, instance: Instance) -> None:
        if self._vigil is not None and self._vigil.unresponsive and self.instance is instance:
            self._end(instance.fail("answered neither a call in its time nor any ping"))

    def _after_crash(self, instance: Instance, call: Call, error: PluginFailed) -> None:
        """`call` was with an instance that ended. Returns if it may be sent to the next; else raises what happened."""
        self.ended(instance, error)
        plugin, now = self.plugin, asyncio.get_running_loop().time()
        plugin.retries.crashed(call, plugin.crashes)
        refused = plugin.life.refused(now)
        if refused is None and not self._stopped and plugin.retries.may_repeat(call, plugin.shown, now):
            call.repeated = True
            return
        raise plugin.crashed(call, error, now) from None

    def _end_questions(self, call: Call) -> None:
        for question, calls in list(self._questions.items()):
            calls.discard(call)
            if not calls:
                question.cancel()

    async def _bounded(self, request: Coroutine[Any, Any, None], method: str) -> None:
        spec = self.plugin.spec
        try:
            async with asyncio.timeout(spec.limits.timeout):
                await request
        except TimeoutError:
            raise TimedOut(f"{spec.name} did not answer {method} within {spec.limits.timeout:g} s") from None

    async def _wait(self, call: Call) -> None:
        if self.instance is None:
            self._start_soon(call.identity, call.caller)
            if (delay := self.plugin.delay()) is not None:
                raise delay
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
                self.title,
                waited,
                self.plugin.spec.source,
            )

    # how an instance begins and ends

    def _start_soon(self, identity: Identity, opener: Caller) -> asyncio.Task[None]:
        if self.starting is None:
            self._identity, self._opener = self.plugin.seen(identity), opener
            self.starting = asyncio.get_running_loop().create_task(self._start())
        return self.starting

    async def _start(self) -> None:
        again = False
        try:
            await self._admitted()
            try:
                await self._open()
            except Overloaded:  # there was no room for it, which nobody holds against it
                raise
            except BrokerError:
                again = self.plugin.stillborn()
                raise
        except Moved as moved:
            self.turns.fail(moved)
        except BrokerError as error:
            self._failed(error)
        except Exception as error:
            log.exception("%s could not be started", self.title)
            self._failed(PluginUnavailable(f"{self.title} could not be started: {error!r}"))
        finally:
            self.starting = None
        if again and not self._stopped:
            self._start_soon(self._identity, self._opener)

    async def _admitted(self) -> None:
        """Wait until it may be started. Raises `PluginUnavailable` if that is not soon."""
        if self._stopped:
            raise PluginUnavailable(f"{self.title} is being stopped")
        try:
            self._pausing = True
            await self.plugin.admitted()
        finally:
            self._pausing = False

    async def _open(self) -> None:
        """A new instance, ready to be called."""
        plugin = self.plugin
        async with plugin.starts:
            instance = await plugin.runtime.start(plugin.spec, self._identity, plugin.listing, self)
        self.instance, self._used = instance, False
        try:
            await self._begin(instance)
            if self.instance is not instance:
                raise plugin.failure or PluginUnavailable(f"{plugin.spec.name} ended at its start")
        except BaseException:
            self._let_go()
            await instance.stop(0.5)
            raise
        plugin.serves()
        self._vigil = Vigil(self, instance)
        self.turns.open()

    async def _begin(self, instance: Instance) -> None:
        """Learn its lists if nobody knows them, and tell it what its predecessor was told."""
        self.plugin.opened(self, instance)
        if self.plugin.listing is None or self.plugin.pinned:
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
                        self.plugin.house.updated(self.plugin, uri)  # it may have changed while nobody looked

    def _failed(self, error: BrokerError) -> None:
        self.plugin.failed(error)
        self.turns.fail(error)

    def _lost(self, instance: Instance | None, *, again: bool = False) -> None:
        """The instance is gone; whoever still waits gets another."""
        if instance is None or self.instance is not instance:
            return
        self._let_go()
        self.turns.close()
        wanted = len(self.turns) or self._watched or (again and not self._draining)
        if wanted and not self._stopped and self.starting is None:
            self._start_soon(self._identity, self._opener)
            if (delay := self.plugin.delay()) is not None:
                self.turns.fail(delay)

    def _let_go(self) -> Instance | None:
        instance, self.instance = self.instance, None
        if self._vigil is not None:
            self._vigil.end()
            self._vigil = None
        if instance is not None:
            self.plugin.house.rested(self.plugin)
        return instance

    def _end(self, ending: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(ending)
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

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
            self.turns.taken -= 1  # our own asking is no use of it: it may fall asleep all the same
            try:
                if self.instance is None:
                    return  # the next one is asked when it is ready
                kinds, self._stale = self._stale, set()
                self.plugin.learned(await self.instance.lists(kinds), kinds)
            except BrokerError as error:
                log.info("the lists of %s cannot be asked for: %s", self.title, error)
            finally:
                self.turns.give_back()
