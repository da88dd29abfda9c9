"""A WASM plugin as the broker asks it: one JSON request, one JSON answer, on an instance that may be thrown away.

A request is `{"op": …, "params": …, "config": …}`, the answer `{"result": …}` or `{"error": {"code", "message"}}`.
`describe`, `schema` and `tools/list` are asked once, when it is loaded, and `prompts/list` and `resources/list` if its
description names these capabilities; `unknown-op` is the answer to what it has not. Calls are `tools/call`,
`prompts/get`, `resources/read`, `observe` and `hook`. One that calls its host after `SOFT` seconds finds
`"event":{"name":"soft-limit","left":SECONDS}` beside the result or error, once: nothing else reaches a guest that runs.

Rule 1: with `instance = "fresh"` each call has an instance of its own; with "shared" all have one, until a call fails.
        The next ones are made ready while nobody waits, so that a call takes no longer than on a shared one.
Rule 2: an instance that was ended or failed is never asked again.
Rule 3: a call is over when its guest works no more. A guest that is not gone `GRACE` after it was ended (a bug, of ours
        or of wasmtime's) keeps its thread, and nothing else is run there.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from msgspec import Raw

from broker.core.pool import Pool
from broker.core.ports import Call
from broker.errors import BadArguments, BrokerError, PluginFailed, PluginUnavailable, TimedOut
from broker.model import Spec
from broker.runtimes.arguments import checked
from broker.runtimes.plugin_log import PluginLog
from broker.runtimes.served import Ended, GuestError, Offers, Work
from broker.runtimes.thread_lane import Job, Lane
from broker.runtimes.wasm_abi import PROTOCOLS
from broker.runtimes.wasm_answers import (
    MOST_SAID,
    OBSERVE,
    Description,
    Lists,
    UnknownOp,
    decoded,
    evidence,
    offers,
    result_of,
)
from broker.runtimes.wasm_engine import Control
from broker.runtimes.wasm_guest import MOST_LOGGED, AnyGuest, AnyProgram, GuestFailed
from broker.runtimes.wasm_world import NOTHING, Grants

MEMORY = 64 << 20  # bytes, where the entry says nothing
SOFT = 5.0  # seconds of a call, after which it is said to be slow
LOAD = 10.0  # seconds for all that is asked when it is loaded
HEALTH = 1.0  # seconds
HOOK_CPU, HOOK_WALL = 0.1, 1.0  # seconds of a hook
MOST_USED, USED = 8, 32 << 20  # instances that were called and wait to be cleared away, and bytes of their memory
POOL = 256 << 20  # bytes of memory of the instances that wait for calls; one may have more
GRACE = 0.25  # seconds from the end of a guest's time to its being gone; it takes a tick of 0.01
_LEVELS = ("error", "warning", "info", "debug")

T = TypeVar("T")
_encode = msgspec.json.Encoder().encode
Ask = Callable[[bytes, "Call | None", Control], bytes]  # host.call, on the guest's thread


class Run:
    """One use of a guest: its control, and what it logs meanwhile."""

    def __init__(self, hard: float, *, what: str = "", cpu: float | None = None) -> None:
        self._what, self._room, self._dropped = what, MOST_LOGGED, 0
        self._lines = bytearray()
        self._late = False
        self.control = Control(hard, SOFT, cpu, self._slow if what else None)
        self.control.log = self._take

    @property
    def left(self) -> float:
        """Seconds until its guest is ended."""
        return self.control.end - time.monotonic()

    def log(self) -> bytes:
        """What was logged, and how much was not kept."""
        if self._dropped:
            self._lines += b"broker: %d more lines of this call were not kept\n" % self._dropped
        return bytes(self._lines)

    def told(self, answer: bytes) -> bytes:
        """The host's answer, in which its guest also learns, once, that it is slow."""
        if not self._late:
            return answer
        self._late = False
        return b'%b,"event":{"name":"soft-limit","left":%.1f}}' % (answer[:-1], max(self.left, 0))

    def _slow(self) -> None:
        self._late = True
        self._lines += f"broker: {self._what} runs for more than {SOFT:g} s\n".encode()

    def _take(self, level: int, text: bytes) -> None:
        name = _LEVELS[level] if 0 <= level < len(_LEVELS) else _LEVELS[-1]
        line = b"%b: %b\n" % (name.encode(), text.decode("utf-8", "replace").replace("\n", "\n  ").encode())
        if len(line) > self._room:
            self._dropped += 1
        else:
            self._room -= len(line)
            self._lines += line


class WasmGuest:
    """One plugin: what `Served` asks."""

    pid: int | None = None

    def __init__(
        self, spec: Spec, program: AnyProgram, notes: PluginLog, ask: Ask | None, granted: Grants = NOTHING
    ) -> None:
        self.spec, self._granted = spec, granted
        self.description = Description()
        self._program, self._notes, self._ask = program, notes, ask
        self._config = _encode(dict(spec.config))
        self._observes = False  # its `observe` is a tool
        self._shared: AnyGuest | None = None
        self._spares: list[AnyGuest] = []  # instantiated, and never called
        self._wanted = spec.warm if spec.instance == "fresh" else 0  # of these
        self._adding = threading.Lock()
        self._used: list[AnyGuest] = []  # called, and never called again
        self._idle: list[Lane] = []
        self._runs: set[Run] = set()
        self.stopped = False

    async def load(self) -> Offers:
        """Ask it for everything it is. Raises `PluginUnavailable`."""
        run = Run(LOAD)
        try:
            found = await self._on_lane(lambda: self._loaded(run.control), run)
            if self._wanted > 1:
                self._fill()
            return found
        except GuestFailed as failure:
            what = f"{self.spec.name} cannot be started: {failure}"
            raise PluginUnavailable(what, facts={"kind": failure.kind}) from None
        except GuestError as error:
            raise PluginUnavailable(f"{self.spec.name} cannot be started: {error}") from None

    async def invoke(self, kind: Work, name: str, arguments: bytes, call: Call) -> bytes:
        """Run a tool: JSON in, JSON out. Raises `GuestError`, `Ended`."""
        run = Run(self.spec.limits.timeout, what=name)
        if kind == "resources":
            return await self._asked("resources/read", arguments, run, call)
        if kind == "tools" and self._observes and name == OBSERVE:
            return evidence(await self._asked(OBSERVE, arguments, run, call))
        op = "prompts/get" if kind == "prompts" else "tools/call"
        return await self._asked(op, _encode({"name": name, "arguments": Raw(arguments)}), run, call)

    async def hook(self, event: bytes) -> bytes:
        """What it says to an event, within the time that hooks have. Raises `GuestError`, `Ended`."""
        return await self._asked("hook", event, Run(HOOK_WALL, what="hook", cpu=HOOK_CPU), None)

    @property
    def pool(self) -> Pool | None:
        """The instances that wait for calls."""
        if self.spec.instance != "fresh":
            return None
        waiting = list(self._spares)
        return Pool(wanted=self._wanted, ready=len(waiting), bytes=sum(each.memory for each in waiting))

    async def warm(self, count: int) -> Pool:
        """Have `count` instances wait for calls. Raises `BadArguments` where all calls share one."""
        if self.spec.instance != "fresh":
            raise BadArguments(f"all calls of {self.spec.name} share one instance")
        self._wanted = count
        await self._fill()
        found = self.pool
        assert found is not None
        return found

    def _fill(self) -> Job[bool]:
        """Bring the waiting instances to their number, on a thread that no call waits for; the last of its jobs."""
        lane = self._lane()
        jobs = [lane.submit(self._renew) for _ in range(max(1, self._wanted - len(self._spares)))]
        jobs[-1].on_over = lambda: self._return(lane, True)
        return jobs[-1]

    async def stop(self, grace: float) -> None:
        """End what runs, and let its threads go. Safe to call twice."""
        if self.stopped:
            return
        self.stopped = True
        for run in self._runs:
            run.control.cancel()
        lanes, self._idle = self._idle, []
        for lane in lanes:
            lane.submit(self._close_all)
            lane.end()
        self._notes.close()

    async def _asked(self, op: str, params: bytes, run: Run, call: Call | None) -> bytes:
        ask, control, request = self._ask, run.control, self._request(op, params)
        if ask is not None:
            control.calls = lambda asked: run.told(ask(asked, call, control))
        try:
            return await self._on_lane(lambda: self._answered(request, control), run)
        except GuestFailed as failure:
            raise Ended(self._explained(failure)) if failure.killed else self._explained(failure) from None

    def _explained(self, failure: GuestFailed) -> BrokerError:
        text, facts = f"{self.spec.name} gave no answer: {failure}", {"kind": failure.kind}
        if failure.kind == "deadline":
            return TimedOut(text, facts=facts)
        return PluginFailed(text, hint=f"`broker log {self.spec.name}` shows what it wrote.", facts=facts)

    async def _on_lane(self, job: Callable[[], T], run: Run) -> T:
        """Run `job` on a thread; comes back when the thread is free again, or given up."""
        if self.stopped:
            raise PluginFailed(f"{self.spec.name} was stopped")
        lane = self._lane()
        done: Job[T] = Job()
        self._runs.add(run)
        end = asyncio.get_running_loop().time() + run.left + GRACE
        lane.overdue.begin(end, lambda: done.give_up(_stuck()))
        lane.begin(done, job, self._renew if self.spec.instance == "fresh" else None)
        try:
            return await done
        except asyncio.CancelledError:
            run.control.cancel()
            with contextlib.suppress(Exception):
                async with asyncio.timeout(GRACE):
                    await done
            raise
        finally:
            lane.overdue.end()
            self._runs.discard(run)
            self._return(lane, done.over)
            if written := run.log():
                self._notes.write(written)

    def _lane(self) -> Lane:
        return self._idle.pop() if self._idle else Lane(f"wasm {self.spec.name}")

    def _return(self, lane: Lane, free: bool) -> None:
        if free and not self.stopped:
            self._idle.append(lane)
            return
        if self.stopped:
            lane.submit(self._close_all)
        lane.end()

    # on a lane

    def _loaded(self, control: Control) -> Offers:
        guest = self._program.guest(self._memory(), control, self._granted)
        try:
            self._check_health(guest, control)
            self.description = decoded(self._said(guest, "describe", control), Description)
            schema = self._said(guest, "schema", control)
            self._check_config(schema)
            found, self._observes = offers(self._lists(guest, control), self.description, schema)
            return found
        finally:
            guest.close()

    def _check_health(self, guest: AnyGuest, control: Control) -> None:
        version = guest.number("protocol_version", control)
        if version not in PROTOCOLS:
            spoken = ", ".join(map(str, PROTOCOLS))
            raise GuestFailed("bad_abi", f"it speaks protocol {version} of WASM plugins, and broker speaks {spoken}")
        health = guest.number("health", Run(HEALTH).control)
        if health:
            raise GuestFailed("unwell", f"it says that it is not well (health {health})")

    def _check_config(self, schema: bytes) -> None:
        try:
            checked(decoded(schema, dict[str, Any]), self._config)
        except BadArguments as error:
            raise PluginUnavailable(
                f"{self.spec.name} cannot be started: its configuration does not agree with its schema: {error}",
                hint=f"Correct [plugins.{self.spec.name}.config] in config.toml.",
            ) from None

    def _said(self, guest: AnyGuest, op: str, control: Control) -> bytes:
        """What it says of itself. Raises `GuestError` when that is too much to be shown."""
        said = self._told(guest, op, control)
        if len(said) > MOST_SAID:
            raise GuestError(f"Its {op} has {len(said)} bytes; the most is {MOST_SAID >> 10} KiB.")
        return said

    def _lists(self, guest: AnyGuest, control: Control) -> Lists:
        can = self.description.capabilities
        return Lists(
            tools=self._told(guest, "tools/list", control),
            prompts=self._told(guest, "prompts/list", control) if "prompts" in can else b"{}",
            resources=self._told(guest, "resources/list", control) if "resources" in can else b"{}",
        )

    def _told(self, guest: AnyGuest, op: str, control: Control) -> bytes:
        """Its answer; `{}` for what it has not."""
        try:
            return result_of(guest.handle(self._request(op, b"{}"), control))
        except UnknownOp:
            return b"{}"

    def _answered(self, request: bytes, control: Control) -> bytes:
        if self.spec.instance == "shared":
            return self._answered_by_shared(request, control)
        guest = _popped(self._spares) or self._program.guest(self._memory(), control, self._granted)
        try:
            answer = guest.handle(request, control)
        finally:
            self._used.append(guest)
            if len(self._used) > MOST_USED or sum(each.memory for each in self._used) > USED:
                self._close(self._used)  # its thread has no quiet moment
        return result_of(answer)

    def _renew(self) -> bool:
        """Clear away what was used, and have one more instance wait for a call; whether there are still too few."""
        self._close(self._used)
        while len(self._spares) > self._wanted and (extra := _popped(self._spares)):
            extra.close()
        if self.stopped or len(self._spares) >= self._wanted:
            return False
        try:
            guest = self._program.guest(self._memory(), Run(HEALTH).control, self._granted)
        except GuestFailed:  # its start function does so again in the call, which is told why
            return False
        return self._keep(guest) and len(self._spares) < self._wanted

    def _keep(self, guest: AnyGuest) -> bool:
        """Have it wait for a call; whether there was still room: other threads make some, too."""
        with self._adding:
            held = sum(each.memory for each in self._spares)
            full = len(self._spares) >= self._wanted or (self._spares and held + guest.memory > POOL)
            if not full and not self.stopped:
                self._spares.append(guest)
                return True
        guest.close()
        return False

    def _answered_by_shared(self, request: bytes, control: Control) -> bytes:
        if self._shared is None:
            self._shared = self._program.guest(self._memory(), control, self._granted)
        try:
            answer = self._shared.handle(request, control)
        except GuestFailed:
            self._close_shared()
            raise
        return result_of(answer)

    def _close_shared(self) -> None:
        guest, self._shared = self._shared, None
        if guest is not None:
            guest.close()

    def _close_all(self) -> None:
        self._close_shared()
        self._close(self._used)
        self._close(self._spares)

    def _close(self, guests: list[AnyGuest]) -> None:
        while guest := _popped(guests):
            guest.close()

    def _memory(self) -> int:
        return self.spec.limits.memory or MEMORY

    def _request(self, op: str, params: bytes) -> bytes:
        return b'{"op":%b,"params":%b,"config":%b}' % (_encode(op), params, self._config)


def _stuck() -> GuestFailed:
    return GuestFailed("deadline", "it could not be ended, and its thread is given up")


def _popped(guests: list[AnyGuest]) -> AnyGuest | None:
    """One of them, which no other lane gets."""
    try:
        return guests.pop()
    except IndexError:
        return None
