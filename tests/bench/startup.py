"""How long a client waits for its first list of tools, and what had to be started for it.

Those who remember their servers have met them before; the others start them. The unit beside it is an interpreter
that imports asyncio and msgspec: less than that nobody in Python can take.
"""

from __future__ import annotations

import statistics
import subprocess
import time

from tests.bench.figures import Measure
from tests.bench.plan import Plan
from tests.bench.targets import UNIT, Target, servers_below

COUNTS, QUICK = (1, 10, 30), (30,)
GROUP = "startup"
UNIT_NAME = "unit"


def first_list(count: int) -> Measure:
    """Spawn to the first answer to `tools/list`."""
    return Measure(GROUP, _servers(count), "first tools/list", "ms")


def started(count: int) -> Measure:
    """Servers that run when the list is answered."""
    return Measure(GROUP, _servers(count), "started", "")


def measure(plan: Plan) -> None:
    for count in QUICK if plan.quick else COUNTS:
        plan.meet(count)
        for round in range(plan.rounds):
            _round(plan, round, count)


def _round(plan: Plan, round: int, count: int) -> None:
    """The unit is measured before each target: everything is compared with it, and the machine changes quickly."""
    units: list[float] = []
    for target in plan.shuffled(many=count > 1):
        units.append(_run(UNIT))
        _start(plan, target, round, count)
    plan.figures.add(first_list(count), UNIT_NAME, round, statistics.median(units))


def _start(plan: Plan, target: Target, round: int, count: int) -> None:
    with plan.session(target, count) as session:
        session.open()
        tools = session.tools()
        took = 1e3 * (time.perf_counter() - session.spawned)
        if len(tools) != count:
            plan.figures.fault(target.name, f"showed {len(tools)} tools of {count} servers")
        running = len(servers_below(session.process)) if target.name != "direct" else 0
        plan.figures.add(first_list(count), target.name, round, took)
        plan.figures.add(started(count), target.name, round, running)
        plan.say(f"round {round + 1}: {target.name}: {count} servers: {took:,.0f} ms, {running} started")


def _run(command: tuple[str, ...]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True)
    return 1e3 * (time.perf_counter() - began)


def _servers(count: int) -> str:
    return f"{count} server{'s' * (count > 1)}"
