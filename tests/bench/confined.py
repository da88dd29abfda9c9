"""What confinement costs: a start until a program's end, and a line to one and back, beside the same without."""

from __future__ import annotations

import asyncio
import os
import shutil
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

from broker.confine import backends, roots
from broker.confine.plan import Confinement
from broker.confine.start import start
from broker.confine.tree import Child, spawn
from tests.bench.figures import Measure
from tests.bench.plan import Plan

GROUP = "confined"
START = Measure(GROUP, "start to end", "p50", "ms")
MESSAGE = Measure(GROUP, "200 B there and back", "p50", "µs")
PLAIN, BUBBLEWRAP = "unconfined", "bwrap alone"
MECHANISMS: dict[str, tuple[backends.Layer, ...]] = {
    "native": (),
    "bwrap": ("native",),
    "landlock": ("native", "bwrap"),
}
STARTS, QUICK_STARTS = 25, 8
MESSAGES, QUICK_MESSAGES = 5_000, 500
LINE = b"x" * 199 + b"\n"

Begin = Callable[[str], Awaitable[Child]]


def measure(plan: Plan) -> None:
    """Each mechanism this machine has, and none, in turns."""
    asyncio.run(_measure(plan))


async def _measure(plan: Plan) -> None:
    ways = await _ways()
    await asyncio.gather(*(_timed_start(begin) for begin in ways.values()))  # what a first start pays once
    for round in range(plan.rounds):
        took: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(QUICK_STARTS if plan.quick else STARTS):
            for name, begin in ways.items():
                took[name].append(await _timed_start(begin))
        for name, values in took.items():
            plan.figures.add(START, name, round, 1e3 * statistics.median(values))
        for name, begin in ways.items():
            if name != BUBBLEWRAP:
                plan.figures.add(MESSAGE, name, round, 1e6 * await _round_trip(begin, plan))
    plan.say(f"confined: {', '.join(ways)}")


async def _ways() -> dict[str, Begin]:
    """How a program is started: its name -> a function of the program."""
    ways: dict[str, Begin] = {PLAIN: lambda program: spawn([program], env={}, cwd="/")}
    for name, without in MECHANISMS.items():
        found = await backends.examine(everything=False, without=without)
        if found.backend == name:
            ways[name] = _confined(found)
    if (bwrap := shutil.which("bwrap")) is not None and "bwrap" in ways:
        words = [bwrap, "--unshare-all", "--die-with-parent", "--ro-bind", "/", "/", "--dev", "/dev"]
        ways[BUBBLEWRAP] = lambda program: spawn([*words, program], env={}, cwd="/")
    return ways


def _confined(found: backends.Abilities) -> Begin:
    def begin(program: str) -> Awaitable[Child]:
        needs = roots.find([program], environ={})
        wall = Confinement(name="bench", roots=needs.roots, links=needs.links)
        return start(needs.argv, env={}, cwd=None, wall=wall, told=_nobody, found=found)

    return begin


def _nobody(denied: Any) -> None:
    """Nothing is refused here."""


async def _timed_start(begin: Begin) -> float:
    began = time.perf_counter()
    child = await begin("/usr/bin/true")
    await asyncio.shield(child.exited)
    took = time.perf_counter() - began
    await _over(child)
    return took


async def _round_trip(begin: Begin, plan: Plan) -> float:
    """Seconds for a line through `cat`, the middle of many; the loop of this process has no part in it."""
    child = await begin("/usr/bin/cat")
    took = [_exchange(child, plan) for _ in range(QUICK_MESSAGES if plan.quick else MESSAGES)]
    await _over(child)
    return statistics.median(took)


def _exchange(child: Child, plan: Plan) -> float:
    began = time.perf_counter()
    os.write(child.stdin, LINE)
    if os.read(child.stdout, 4096) != LINE:
        plan.figures.fault("confined", "a line did not come back whole")
    return time.perf_counter() - began


async def _over(child: Child) -> None:
    for fd in (child.stdin, child.stdout, child.stderr):
        os.close(fd)
    await child.end(grace=1.0)
