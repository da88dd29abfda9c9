"""Looks after one running instance: is it silent while it owes answers, is it idle?

Rule 1: health is passive: anything it says is a heartbeat. It is probed only when it owes an answer and was silent.
Rule 2: a slow tool is no reason to end it: one that answers no probe is called unresponsive, and ended only when a
        call's own time is over as well, or when the system says that it cannot run at all.
Rule 3: the lists of one that has a pin are asked for now and then; that is no use of it.
Rule 4: nobody's call and nobody's subscription for long enough: it is stopped until it is needed again.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from broker.core.ports import Instance
from broker.core.turns import Turns
from broker.errors import BrokerError

log = logging.getLogger("broker.vigil")

TICK = 5.0  # seconds between two looks
SILENCE = 15.0  # seconds it may owe an answer in silence, before it is probed
RECHECK = 300.0  # seconds between two looks at the lists of one that has a pin
PROBE = 5.0  # seconds it has to answer a probe
MISSES = 3  # probes in a row without any answer: unresponsive


class Watched(Protocol):
    """Whose instance it is."""

    turns: Turns

    @property
    def title(self) -> str: ...
    @property
    def idle_after(self) -> float: ...
    def recheck(self, instance: Instance) -> None: ...
    def suspended(self, instance: Instance, reason: str) -> None: ...
    def idle(self, instance: Instance) -> None: ...


class Vigil:
    """Looks at `instance` every few seconds, until `end`."""

    def __init__(self, lane: Watched, instance: Instance) -> None:
        self.unresponsive = False
        self._lane, self._instance = lane, instance
        self._loop = asyncio.get_running_loop()
        self._heard, self._taken = instance.heard, lane.turns.taken
        self._since = self._used = self._checked = self._loop.time()
        self._misses = 0
        self._probe: asyncio.Task[None] | None = None
        self._timer = self._loop.call_later(TICK, self._look)

    def end(self) -> None:
        """Look no more. Safe to call twice."""
        self._timer.cancel()
        if self._probe is not None:
            self._probe.cancel()

    def _look(self) -> None:
        self._timer = self._loop.call_later(TICK, self._look)
        now, turns = self._loop.time(), self._lane.turns
        if self._instance.heard != self._heard or not turns.busy:
            self._heard, self._since = self._instance.heard, now
            self._alive()
        if turns.busy or turns.taken != self._taken:
            self._taken, self._used = turns.taken, now
        if turns.busy and now - self._since >= SILENCE and (self._probe is None or self._probe.done()):
            self._probe = self._loop.create_task(self._ask())
        if now - self._checked >= RECHECK:
            self._checked = now
            self._lane.recheck(self._instance)
        if now - self._used >= self._lane.idle_after:
            self._lane.idle(self._instance)

    def _alive(self) -> None:
        if self.unresponsive:
            log.warning("%s answers again", self._lane.title)
        self._misses, self.unresponsive = 0, False

    async def _ask(self) -> None:
        try:
            async with asyncio.timeout(PROBE):
                await self._instance.probe()
        except TimeoutError:
            self._missed()
        except BrokerError:  # it ended, or its answer was an error, which is one
            pass

    def _missed(self) -> None:
        self._misses += 1
        reason = self._instance.suspended()
        if reason is not None:
            self._lane.suspended(self._instance, reason)
        elif self._misses >= MISSES and not self.unresponsive:
            self.unresponsive = True
            log.warning("%s owes an answer and answers no ping either; its calls go on until their time is over",
                        self._lane.title)  # fmt: skip
