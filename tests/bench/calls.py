"""What a call costs: one after the other in three sizes, and many at once."""

from __future__ import annotations

import statistics

from tests.bench.client import Session
from tests.bench.figures import Measure
from tests.bench.plan import Plan, one_cpu
from tests.bench.targets import Target

KB, MB = 1 << 10, 1 << 20
SIZES = {"100 B": 100, "10 KB": 10 * KB, "1 MB": MB}
AT_ONCE = 64
LATENCY, THROUGHPUT = "calls", "throughput"
RATE = Measure(THROUGHPUT, f"100 B, {AT_ONCE} in flight", "rate", "calls/s")


def median_of(case: str) -> Measure:
    """The middle of the times of single calls."""
    return Measure(LATENCY, case, "p50", "µs")


def worst_of(case: str) -> Measure:
    """What one call in a hundred takes at least."""
    return Measure(LATENCY, case, "p99", "µs")


def cpu_of(case: str) -> Measure:
    """Processor time of the target, the server's not counted."""
    return Measure(LATENCY, case, "CPU", "µs a call")


def latency(plan: Plan) -> None:
    """Time from one call written to its reply read, nothing else in flight."""
    for round, target in plan.turns():
        with one_cpu(), plan.session(target) as session:
            session.open()
            tool = session.tool_of(0)
            for case, size in SIZES.items():
                _warm(session, tool, size)
                before = session.cpu()
                took = session.sequential(tool, size, plan.seconds)
                if target.name != "direct":
                    plan.figures.add(cpu_of(case), target.name, round, 1e6 * (session.cpu() - before) / len(took))
                _add(plan, target, round, case, took)


def throughput(plan: Plan) -> None:
    """Replies a second with many small calls in flight."""
    for round, target in plan.turns():
        with plan.session(target, busy=True) as session:
            session.open()
            tool = session.tool_of(0)
            rate = _warm(session, tool, 100).pipelined(tool, 100, 2 * plan.seconds, AT_ONCE)
            plan.figures.add(RATE, target.name, round, rate)
            plan.say(f"round {round + 1}: {target.name}: {AT_ONCE} in flight: {rate:,.0f} calls/s")


def _warm(session: Session, tool: str, size: int) -> Session:
    """After some calls, which start the server and fill the caches of the processor."""
    session.sequential(tool, size, 0, least=3 if size >= MB else 20)
    return session


def _add(plan: Plan, target: Target, round: int, case: str, took: list[float]) -> None:
    micros = [1e6 * seconds for seconds in took]
    p50, p99 = statistics.median(micros), statistics.quantiles(micros, n=100, method="inclusive")[98]
    plan.figures.add(median_of(case), target.name, round, p50)
    plan.figures.add(worst_of(case), target.name, round, p99)
    plan.say(f"round {round + 1}: {target.name}: {case}: p50 {p50:,.1f} µs, p99 {p99:,.1f} µs, {len(took)} calls")
