"""What a call of a WASM component costs, beside the component API of bare wasmtime: 98 B of JSON each way."""

from __future__ import annotations

import asyncio
import importlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import wasmtime

from broker.runtimes.wasm import WasmRuntime
from broker.runtimes.wasm_cache import ModuleCache
from broker.runtimes.wasm_engine import Control
from broker.runtimes.wasm_world import NOTHING
from tests.bench.figures import Measure
from tests.bench.plan import Plan
from tests.bench.timing import awaited, timed
from tests.bench.wasm import BARE, BARE_FRESH, FRESH, REQUEST, REST, RESTED, SHARED, Calls, keep, started
from tests.runtimes.wasm_components import component

GROUP = "components"
THREAD = Measure(GROUP, "98 B of JSON, on the guest's thread", "p50", "µs")
CALL = Measure(GROUP, "a call, to its caller", "p50", "µs")
GIVEN = '{"text":"%s"}' % ("x" * 28)


# Without imports, so that bare wasmtime needs none either.
GOOD = component(imports="", functions={})


def measure(plan: Plan) -> None:
    """Everything in turns, in one process."""
    with tempfile.TemporaryDirectory(prefix="broker-bench-") as folder:
        asyncio.run(_measure(plan, Path(folder)))


async def _measure(plan: Plan, folder: Path) -> None:
    runtime = WasmRuntime(cache=folder / "cache", key=folder / "wasm.key")
    for round in range(plan.rounds):
        _on_thread(plan, round, folder)
        await _to_caller(plan, round, runtime, folder)
    await runtime.close(1)
    plan.say("components: measured")


def _on_thread(plan: Plan, round: int, folder: Path) -> None:
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
    module: Any = importlib.import_module("wasmtime.component")
    engine = wasmtime.Engine()
    program, linker = module.Component(engine, GOOD), module.Linker(engine)
    outer = program.get_export_index("broker:plugin/guest@1.0.0")
    index = program.get_export_index("call-tool", outer)

    def made() -> Callable[[], object]:
        store = wasmtime.Store(engine)
        function = linker.instantiate(store, program).get_func(store, index)

        def call() -> object:
            found = function(store, "echo", GIVEN)
            function.post_return(store)
            return found

        return call

    return made(), lambda: made()()


async def _to_caller(plan: Plan, round: int, runtime: WasmRuntime, folder: Path) -> None:
    shared = await started(runtime, folder, "shared", GOOD, shared=True)
    fresh = await started(runtime, folder, "fresh", GOOD)
    for name, served, rest in ((SHARED, shared, 0.0), (FRESH, fresh, 0.0), (RESTED, fresh, REST)):
        calls = Calls(served)
        keep(plan, CALL, name, round, await awaited(calls.one, plan.seconds, rest))
        if calls.wrong:
            plan.figures.fault(name, f"{calls.wrong} wrong answers")
    await asyncio.gather(shared.stop(1), fresh.stop(1))
