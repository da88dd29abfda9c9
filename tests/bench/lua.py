"""What a call of a Lua plugin costs: on its own thread beside bare lupa, and to its caller on the loop."""

from __future__ import annotations

import asyncio
import importlib
import tempfile
import time
from pathlib import Path
from typing import Any

from broker.core.ports import Call, Identity
from broker.errors import TimedOut
from broker.model import Limits, Spec
from broker.runtimes.lua_process import InWorker
from broker.runtimes.lua_runtime import LuaRuntime
from broker.runtimes.lua_sandbox import Refused, Sandbox
from broker.runtimes.lua_spare import Workers
from broker.runtimes.plugin_log import PluginLog
from broker.runtimes.served import Served
from broker.runtimes.thread_lane import Lane
from tests.bench.figures import Measure
from tests.bench.plan import Plan
from tests.bench.timing import at, awaited, timed
from tests.pretend import PretendFace, raw
from tests.runtimes.test_process import Holder

GROUP = "lua"
THREAD = Measure(GROUP, "100 B of JSON, on the script's thread", "p50", "µs")
CALL = Measure(GROUP, "a call, to its caller", "p50", "µs")
START = Measure(GROUP, "until a script is there", "p50", "ms")
OVER = Measure(GROUP, "ended at its deadline, too late by", "p99", "ms")
BARE, HOP = "bare lupa", "a thread and back"
INSIDE, WORKER = "broker, in process", "broker, worker"
FIRST, NEXT = "broker, first worker", "broker, next worker"
STARTS, QUICK_STARTS = 10, 4
HEAP = 16 << 20
LIMIT = 0.05  # seconds of a call that spins
PAUSE = 0.2  # seconds between two starts; a script that has to be ended ran for 0.1
SOURCE = """
broker.tool{name = 'echo', input = {text = 'string'}, run = function(given) return given.text end}
broker.tool{name = 'spin', run = function() while true do end end}
"""
ARGUMENTS = b'{"text":"%b"}' % (b"x" * 89)


def tail_of(measure: Measure) -> Measure:
    """The same at its slowest."""
    return measure._replace(what="p99")


def measure(plan: Plan) -> None:
    """Everything in turns, in one process."""
    with tempfile.TemporaryDirectory(prefix="broker-bench-") as folder:
        (Path(folder) / "plugin.lua").write_text(SOURCE)
        asyncio.run(_measure(plan, folder))


async def _measure(plan: Plan, folder: str) -> None:
    runtime = LuaRuntime()
    for round in range(plan.rounds):
        _on_thread(plan, round)
        lane = Lane("bench")
        _keep(plan, CALL, HOP, round, await awaited(lambda lane=lane: _hop(lane), plan.seconds))
        lane.end()
        for name in (INSIDE, WORKER):
            served = await runtime.start(_spec(folder, name), Identity(), None, Holder())
            await _called(plan, round, name, served)
            await _ended(plan, round, name, served)
            await served.stop(0)
        await _started(plan, round, folder)
    await runtime.close(0)
    plan.say("lua: measured")


def _spec(folder: str, name: str) -> Spec:
    place = "process" if name == WORKER else "inprocess"
    limits = Limits(script=LIMIT)
    return Spec(name="p", source="bench", entry=f"{folder}/plugin.lua", cwd="/", isolation=place, limits=limits)


def _on_thread(plan: Plan, round: int) -> None:
    """Without a loop and without another thread; bare lupa echoes the text and reads no JSON."""
    module: Any = importlib.import_module("lupa.lua54")
    bare = module.LuaRuntime(encoding=None).execute("return function(text) return text end")
    sandbox = Sandbox(lambda op, params: b"null")
    sandbox.load(SOURCE.encode(), 1)
    _keep(plan, THREAD, BARE, round, timed(lambda: bare(ARGUMENTS), plan.seconds))
    ours = timed(lambda: sandbox.invoke(b"tools", b"echo", ARGUMENTS, 0.1), plan.seconds)
    _keep(plan, THREAD, INSIDE, round, ours)


async def _called(plan: Plan, round: int, name: str, served: Served) -> None:
    face, identity, wrong = PretendFace(), Identity(), 0
    given = {"name": raw("echo"), "arguments": raw({"text": "x" * 89})}

    async def one() -> None:
        nonlocal wrong
        wrong += b"x" * 89 not in bytes(await served.call(Call(face, identity, "tools/call", dict(given))))

    _keep(plan, CALL, name, round, await awaited(one, plan.seconds))
    if wrong:
        plan.figures.fault(name, f"{wrong} wrong answers")


async def _ended(plan: Plan, round: int, name: str, served: Served) -> None:
    """A script that does not end by itself; what is left alone after three is not measured."""
    late: list[float] = []
    for _ in range(3):
        began = time.perf_counter()
        try:
            await served.call(Call(PretendFace(), Identity(), "tools/call", {"name": raw("spin")}))
        except TimedOut:
            late.append(time.perf_counter() - began - LIMIT)
    plan.figures.add(OVER, name, round, 1e3 * at(late, 0.99))


async def _started(plan: Plan, round: int, folder: str) -> None:
    """Workers one after the other, with and without one that waits."""
    took: dict[str, list[float]] = {FIRST: [], NEXT: []}
    for _ in range(QUICK_STARTS if plan.quick else STARTS):
        workers = Workers()
        for name in (FIRST, NEXT):
            began = time.perf_counter()
            child = await workers.begin(_spec(folder, WORKER), HEAP, PluginLog(None))
            worker = InWorker(child, _refused, PluginLog(None))
            await worker.load(SOURCE.encode(), 5)
            took[name].append(time.perf_counter() - began)
            await worker.close()
            await asyncio.sleep(PAUSE)
        await workers.close()
    for name, values in took.items():
        plan.figures.add(START, name, round, 1e3 * at(values, 0.5))
        plan.figures.add(tail_of(START), name, round, 1e3 * at(values, 0.99))


def _keep(plan: Plan, measure: Measure, name: str, round: int, took: list[float]) -> None:
    plan.figures.add(measure, name, round, 1e6 * at(took, 0.5))
    plan.figures.add(tail_of(measure), name, round, 1e6 * at(took, 0.99))


async def _refused(op: bytes, params: bytes) -> bytes:
    raise Refused("there is no host")


async def _hop(lane: Lane) -> None:
    await lane.submit(_nothing)


def _nothing() -> None:
    """What the thread does there."""
