"""How long a client waits for its first list of tools, and what had to be started for it.

Those who remember their servers have met them before; the others start them. The unit beside it is an interpreter
that imports asyncio and msgspec: less than that nobody in Python can take.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.figures import Measure
from tests.bench.plan import Plan
from tests.bench.targets import UNIT, Target, servers_below
from tests.servers import VENV

COUNTS, QUICK = (1, 10, 30), (30,)
GROUP = "startup"
UNIT_NAME = "unit"
PYGLS = (sys.executable, "-c", "import pygls.lsp.server")


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
    _editors(plan)


def _editors(plan: Plan) -> None:
    """Only said: most of what an editor waits for is the import of the library that knows its protocol."""
    took = statistics.median(_initialized() for _ in range(plan.rounds))
    bare = statistics.median(_run(PYGLS) for _ in range(plan.rounds))
    plan.say(f"broker lsp: initialize answered after {took:,.0f} ms; importing pygls alone takes {bare:,.0f} ms")


def _initialized() -> float:
    """Spawn to the answer to an editor's `initialize`, without any plugin."""
    with tempfile.TemporaryDirectory() as folder:
        servers = Path(folder, "servers.json")
        servers.write_text('{"mcpServers": {}}')
        command = [str(VENV / "broker"), "lsp", "--strict", "--mcp-config", str(servers)]
        body = b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"capabilities":{}}}'
        env, began = {**os.environ, "BROKER_HOME": folder}, time.perf_counter()
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, cwd=folder) as process:
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
            process.stdin.flush()
            process.stdout.readline()
            took = 1e3 * (time.perf_counter() - began)
            process.stdin.close()
    return took


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
