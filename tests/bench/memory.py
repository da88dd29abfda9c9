"""Resident memory of a target, without the servers behind it."""

from __future__ import annotations

import contextlib
import time

import psutil

from tests.bench.client import Session
from tests.bench.figures import Measure
from tests.bench.plan import Plan
from tests.bench.targets import Target, own_processes, servers_below

COUNTS, QUICK = (1, 10, 50), (10, 50)
STARTED = 10
GROUP = "memory"
SETTLE = 0.2  # seconds after the last answer
IN_USE = Measure(GROUP, f"{STARTED} configured, {STARTED} called", "RSS", "MB")


def configured(count: int) -> Measure:
    """After the lists were shown; nobody was called."""
    return Measure(GROUP, f"{count} configured", "RSS", "MB")


def running(count: int) -> Measure:
    """Servers that run meanwhile."""
    return Measure(GROUP, f"{count} configured", "started", "")


def measure(plan: Plan) -> None:
    """Memory hardly varies from run to run: one round does."""
    for count in QUICK if plan.quick else COUNTS:
        plan.meet(count)
        for target in plan.targets:
            if target.name != "direct" and (target.many or count == 1):
                _weigh(plan, target, count)


def _weigh(plan: Plan, target: Target, count: int) -> None:
    with plan.session(target, count) as session:
        session.open()
        session.tools()
        size = _weight(session)
        plan.figures.add(configured(count), target.name, 0, size)
        plan.figures.add(running(count), target.name, 0, len(servers_below(session.process)))
        plan.say(f"{target.name}: {count} configured: {size:.1f} MB")
        if count == STARTED:
            _use(plan, target, session)


def _use(plan: Plan, target: Target, session: Session) -> None:
    for index in range(STARTED):
        session.sequential(session.tool_of(index), 100, 0)
    size = _weight(session)
    if len(servers_below(session.process)) != STARTED:
        plan.figures.fault(target.name, f"{STARTED} servers were called, but not as many run")
    plan.figures.add(IN_USE, target.name, 0, size)
    plan.say(f"{target.name}: {STARTED} started and called: {size:.1f} MB")


def _weight(session: Session) -> float:
    time.sleep(SETTLE)
    return sum(_resident(each) for each in own_processes(session.process)) / (1 << 20)


def _resident(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.Error):
        return process.memory_info().rss
    return 0
