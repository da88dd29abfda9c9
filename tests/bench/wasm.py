"""What a call of a WASM plugin costs: on its own thread beside bare wasmtime, and to its caller on the loop."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import wasmtime

from broker.core.ports import Call, Identity
from broker.errors import TimedOut
from broker.model import Limits, Spec
from broker.runtimes.served import Served
from broker.runtimes.thread_lane import Lane
from broker.runtimes.wasm import WasmRuntime
from broker.runtimes.wasm_cache import ModuleCache
from broker.runtimes.wasm_engine import Control
from broker.runtimes.wasm_world import NOTHING
from tests.bench.figures import Measure
from tests.bench.plan import Plan
from tests.bench.timing import at, awaited, timed
from tests.pretend import PretendFace, raw
from tests.runtimes.wasm_guests import Deaf, guest

GROUP = "wasm"
THREAD = Measure(GROUP, "98 B of JSON, on the guest's thread", "p50", "µs")
CALL = Measure(GROUP, "a call, to its caller", "p50", "µs")
CANCEL = Measure(GROUP, "cancelled while it spins, until it is gone", "p99", "ms")
OVER = Measure(GROUP, "ended at its deadline, too late by", "p99", "ms")
BARE, BARE_FRESH, HOP = "bare wasmtime", "bare wasmtime, fresh", "a thread and back"
SHARED, FRESH, RESTED = "broker, shared", "broker, fresh", "broker, fresh and rested"
KILLS, QUICK_KILLS = 30, 5
LIMIT = 0.05  # seconds of a call that spins
REST = 0.006  # seconds after which the next instance is ready
REQUEST = b'{"op":"tools/call","params":{"name":"echo","arguments":{"text":"%b"}},"config":{}}' % (b"x" * 28)
GOOD = guest(alloc="(i32.const 32768)", imports="")
SPIN = guest("(loop (br 0)) (unreachable)")


def tail_of(measure: Measure) -> Measure:
    """The same at its slowest."""
    return measure._replace(what="p99")


def measure(plan: Plan) -> None:
    """Everything in turns, in one process."""
    with tempfile.TemporaryDirectory(prefix="broker-bench-") as folder:
        asyncio.run(_measure(plan, Path(folder)))


async def _measure(plan: Plan, folder: Path) -> None:
    runtime = WasmRuntime(cache=folder / "cache", key=folder / "wasm.key")
    for round in range(plan.rounds):
        _on_thread(plan, round, folder)
        await _to_caller(plan, round, runtime, folder)
        await _ended(plan, round, runtime, folder)
    await runtime.close(1)
    plan.say("wasm: measured")


def _on_thread(plan: Plan, round: int, folder: Path) -> None:
    """Without a loop and without another thread."""
    program = ModuleCache(folder / "cache", folder / "wasm.key").load(GOOD)
    warm, control = program.guest(64 << 20, Control(60), NOTHING), Control(60)

    def fresh() -> None:
        one = program.guest(64 << 20, Control(60), NOTHING)
        one.handle(REQUEST, control)
        one.close()

    bare, bare_fresh = _bare()
    ways = {BARE: bare, BARE_FRESH: bare_fresh, SHARED: lambda: warm.handle(REQUEST, Control(60)), FRESH: fresh}
    for name, way in ways.items():
        keep(plan, THREAD, name, round, timed(way, plan.seconds))
    warm.close()


def _bare() -> tuple[Callable[[], object], Callable[[], object]]:
    """The same by the public functions of wasmtime: on one instance, and on a new one each time."""
    engine = wasmtime.Engine()
    module, linker = wasmtime.Module(engine, GOOD), wasmtime.Linker(engine)

    def made() -> Callable[[], object]:
        store = wasmtime.Store(engine)
        exports = linker.instantiate(store, module).exports(store)
        alloc, handle, memory = exports["alloc"], exports["handle"], exports["memory"]
        assert isinstance(alloc, wasmtime.Func) and isinstance(handle, wasmtime.Func)
        assert isinstance(memory, wasmtime.Memory)

        def call() -> object:
            at = alloc(store, len(REQUEST))
            memory.write(store, REQUEST, at)
            packed = handle(store, at, len(REQUEST)) & 0xFFFFFFFFFFFFFFFF
            return bytes(memory.read(store, packed >> 32, (packed >> 32) + (packed & 0xFFFFFFFF)))

        return call

    return made(), lambda: made()()


async def _to_caller(plan: Plan, round: int, runtime: WasmRuntime, folder: Path) -> None:
    lane = Lane("bench")
    keep(plan, CALL, HOP, round, await awaited(lambda: _hop(lane), plan.seconds))
    lane.end()
    shared = await started(runtime, folder, "shared", GOOD, shared=True)
    fresh = await started(runtime, folder, "fresh", GOOD)
    for name, served, rest in ((SHARED, shared, 0.0), (FRESH, fresh, 0.0), (RESTED, fresh, REST)):
        calls = Calls(served)
        keep(plan, CALL, name, round, await awaited(calls.one, plan.seconds, rest))
        if calls.wrong:
            plan.figures.fault(name, f"{calls.wrong} wrong answers")
    await asyncio.gather(shared.stop(1), fresh.stop(1))


class Calls:
    """Calls of one plugin, each of which is looked at."""

    def __init__(self, served: Served) -> None:
        self._served, self._face, self._identity = served, PretendFace(), Identity()
        self._given = {"name": raw("echo"), "arguments": raw({"text": "x" * 28})}
        self.wrong = 0

    async def one(self) -> None:
        result = await self._served.call(Call(self._face, self._identity, "tools/call", dict(self._given)))
        self.wrong += b'"echoed"' not in bytes(result)


async def _ended(plan: Plan, round: int, runtime: WasmRuntime, folder: Path) -> None:
    """Guests that do not end by themselves; each plugin is quarantined after three."""
    gone: list[float] = []
    late: list[float] = []
    for number in range(QUICK_KILLS if plan.quick else KILLS):
        spinning = await started(runtime, folder, f"spin{number}", SPIN, timeout=LIMIT)
        began = time.perf_counter()
        try:
            await Calls(spinning).one()
        except TimedOut:
            late.append(time.perf_counter() - began - LIMIT)
        task = asyncio.ensure_future(Calls(spinning).one())
        await asyncio.wait([task], timeout=LIMIT / 2)
        began = time.perf_counter()
        task.cancel()
        await asyncio.wait([task])
        gone.append(time.perf_counter() - began)
        await spinning.stop(1)
    plan.figures.add(CANCEL, SHARED, round, 1e3 * at(gone, 0.99))
    plan.figures.add(OVER, SHARED, round, 1e3 * at(late, 0.99))


async def started(
    runtime: WasmRuntime, folder: Path, name: str, wasm: bytes, *, shared: bool = False, timeout: float = 5
) -> Served:
    entry = folder / f"{name}.wasm"
    entry.write_bytes(wasm)
    instance, limits = "shared" if shared else "fresh", Limits(timeout=timeout)
    spec = Spec(name=name, source="bench", entry=str(entry), limits=limits, instance=instance)
    return await runtime.start(spec, Identity(), None, Deaf())


def keep(plan: Plan, measure: Measure, name: str, round: int, took: list[float]) -> None:
    plan.figures.add(measure, name, round, 1e6 * at(took, 0.5))
    plan.figures.add(tail_of(measure), name, round, 1e6 * at(took, 0.99))


async def _hop(lane: Lane) -> None:
    await lane.submit(_nothing)


def _nothing() -> None:
    """What the thread does there."""
