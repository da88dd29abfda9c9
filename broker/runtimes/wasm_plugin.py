"""A WASM plugin as the broker asks it: one JSON request, one JSON answer, on an instance that may be thrown away.

A request is `{"op": …, "params": …, "config": …}`, the answer `{"result": …}` or `{"error": {"code", "message"}}`.
`describe`, `schema` and `tools/list` are asked once, when it is loaded; `unknown-op` is the answer to what it has not.

Rule 1: with `instance = "fresh"` each call has an instance of its own; with "shared" all have one, until a call fails.
        The next one is made ready while nobody waits, so that a call takes no longer than on a shared one.
Rule 2: an instance that was ended or failed is never asked again.
Rule 3: a call is over when its guest works no more. A guest that is not gone `GRACE` after it was ended (a bug, of ours
        or of wasmtime's) keeps its thread, and nothing else is run there.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from msgspec import Raw

from broker.core.ports import Call
from broker.errors import BadArguments, BrokerError, PluginFailed, PluginUnavailable, TimedOut
from broker.model import Kind, Spec
from broker.runtimes.arguments import checked
from broker.runtimes.plugin_log import PluginLog
from broker.runtimes.served import Ended, GuestError, Offers
from broker.runtimes.wasm_abi import PROTOCOLS
from broker.runtimes.wasm_answers import OBSERVE, Description, UnknownOp, decoded, evidence, offers, result_of
from broker.runtimes.wasm_engine import Control
from broker.runtimes.wasm_guest import MOST_LOGGED, Guest, GuestFailed, Program
from broker.runtimes.wasm_lane import Lane

MEMORY = 64 << 20  # bytes, where the entry says nothing
SOFT = 5.0  # seconds of a call, after which it is said to be slow
LOAD = 10.0  # seconds for all that is asked when it is loaded
HEALTH = 1.0  # seconds
HOOK_CPU, HOOK_WALL = 0.1, 1.0  # seconds of a hook
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

    def _slow(self) -> None:
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

    def __init__(self, spec: Spec, program: Program, notes: PluginLog, ask: Ask | None) -> None:
        self.spec = spec
        self.description = Description()
        self._program, self._notes, self._ask = program, notes, ask
        self._config = _encode(dict(spec.config))
        self._observes = False  # its `observe` is a tool
        self._shared: Guest | None = None
        self._spares: list[Guest] = []  # instantiated, and never called
        self._used: list[Guest] = []  # called, and never called again
        self._idle: list[Lane] = []
        self._runs: set[Run] = set()
        self.stopped = False

    async def load(self) -> Offers:
        """Ask it for everything it is. Raises `PluginUnavailable`."""
        run = Run(LOAD)
        try:
            return await self._on_lane(lambda: self._loaded(run.control), run)
        except GuestFailed as failure:
            what = f"{self.spec.name} cannot be started: {failure}"
            raise PluginUnavailable(what, facts={"kind": failure.kind}) from None
        except GuestError as error:
            raise PluginUnavailable(f"{self.spec.name} cannot be started: {error}") from None

    async def invoke(self, kind: Kind, name: str, arguments: bytes, call: Call) -> bytes:
        """Run a tool: JSON in, JSON out. Raises `GuestError`, `Ended`."""
        run = Run(self.spec.limits.timeout, what=name)
        if self._observes and name == OBSERVE:
            return evidence(await self._asked(OBSERVE, arguments, run, call))
        return await self._asked("tools/call", _encode({"name": name, "arguments": Raw(arguments)}), run, call)

    async def hook(self, event: bytes) -> bytes:
        """What it says to an event, within the time that hooks have. Raises `GuestError`, `Ended`."""
        return await self._asked("hook", event, Run(HOOK_WALL, what="hook", cpu=HOOK_CPU), None)

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
            control.calls = lambda asked: ask(asked, call, control)
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
        lane = self._idle.pop() if self._idle else Lane(self.spec.name)
        self._runs.add(run)
        done = lane.submit(job)
        stuck = GuestFailed("deadline", "it could not be ended, and its thread is given up")
        backstop = asyncio.get_running_loop().call_later(run.left + GRACE, done.give_up, stuck)
        try:
            return await done.future
        except asyncio.CancelledError:
            run.control.cancel()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(done.over.wait(), GRACE)
            raise
        finally:
            backstop.cancel()
            self._runs.discard(run)
            self._return(lane, done.over.is_set())
            if written := run.log():
                self._notes.write(written)

    def _return(self, lane: Lane, free: bool) -> None:
        if free and not self.stopped:
            if self.spec.instance == "fresh":
                lane.submit(self._renew)
            self._idle.append(lane)
            return
        if self.stopped:
            lane.submit(self._close_all)
        lane.end()

    # on a lane

    def _loaded(self, control: Control) -> Offers:
        guest = Guest(self._program, self._memory(), control)
        try:
            self._check_health(guest, control)
            self.description = decoded(self._told(guest, "describe", control), Description)
            self._check_config(self._told(guest, "schema", control))
            tools = self._told(guest, "tools/list", control)
            found, self._observes = offers(tools, self.description)
            return found
        finally:
            guest.close()

    def _check_health(self, guest: Guest, control: Control) -> None:
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

    def _told(self, guest: Guest, op: str, control: Control) -> bytes:
        """Its answer; `{}` for what it has not."""
        try:
            return result_of(guest.handle(self._request(op, b"{}"), control))
        except UnknownOp:
            return b"{}"

    def _answered(self, request: bytes, control: Control) -> bytes:
        if self.spec.instance == "shared":
            return self._answered_by_shared(request, control)
        guest = _popped(self._spares) or Guest(self._program, self._memory(), control)
        try:
            answer = guest.handle(request, control)
        finally:
            self._used.append(guest)
        return result_of(answer)

    def _renew(self) -> None:
        """Once a caller has its answer: clear away what was used for it, and have an instance ready for the next."""
        self._close(self._used)
        if self.stopped or self._spares:
            return
        # A start function that fails does so again in the call, which is told why.
        with contextlib.suppress(GuestFailed):
            self._spares.append(Guest(self._program, self._memory(), Run(HEALTH).control))

    def _answered_by_shared(self, request: bytes, control: Control) -> bytes:
        if self._shared is None:
            self._shared = Guest(self._program, self._memory(), control)
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

    def _close(self, guests: list[Guest]) -> None:
        while guest := _popped(guests):
            guest.close()

    def _memory(self) -> int:
        return self.spec.limits.memory or MEMORY

    def _request(self, op: str, params: bytes) -> bytes:
        return b'{"op":%b,"params":%b,"config":%b}' % (_encode(op), params, self._config)


def _popped(guests: list[Guest]) -> Guest | None:
    """One of them, which no other lane gets."""
    try:
        return guests.pop()
    except IndexError:
        return None
