"""Measures, prints, and exits with 1 only if a reply was wrong or lost: no figure is ever a failure."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from tests.bench import calls, components, confined, lua, memory, startup, wasm
from tests.bench.goals import goals
from tests.bench.plan import Plan
from tests.bench.tables import tables
from tests.bench.targets import BY_NAME, Place, chosen


def in_wasm(plan: Plan) -> None:
    """Both kinds of WASM plugins."""
    wasm.measure(plan)
    components.measure(plan)


WORKS: dict[str, Callable[[Plan], None]] = {
    "calls": calls.latency,
    "throughput": calls.throughput,
    "startup": startup.measure,
    "memory": memory.measure,
    "confined": confined.measure,
    "wasm": in_wasm,
    "lua": lua.measure,
}
SECONDS, QUICK = 0.6, 0.1  # on one figure of one target in one round


def options(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="How fast and how small broker is.")
    parser.add_argument("what", nargs="?", choices=[*WORKS, "all"], default="all")
    parser.add_argument("--rounds", type=int, metavar="N", help="of everything but memory; 3 if unsaid, 1 if quick")
    parser.add_argument("--quick", action="store_true", help="a glance: short measurements, one round")
    parser.add_argument("--only", metavar="NAMES", help=f"some of {','.join(BY_NAME)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("-v", "--verbose", action="store_true", help="print each figure when it is measured")
    found = parser.parse_args(words)
    found.names = found.only.split(",") if found.only else []
    for name in found.names:
        if name not in BY_NAME:
            parser.error(f"--only {name}: no such target; there are {', '.join(BY_NAME)}")
    return found


def machine() -> dict[str, Any]:
    """Where this was measured, and how busy it was."""
    return {
        "cpus": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load": os.getloadavg() if hasattr(os, "getloadavg") else None,
    }


def run(asked: argparse.Namespace, folder: Path, console: Console) -> Plan:
    """Every measurement that was asked for."""
    say: Callable[[str], None] = (lambda line: console.print(escape(line))) if asked.verbose else (lambda line: None)
    rounds = asked.rounds or (1 if asked.quick else 3)
    seconds = QUICK if asked.quick else SECONDS
    plan = Plan(Place(folder), chosen(asked.names), rounds, seconds, asked.quick, say)
    for name in WORKS if asked.what == "all" else [asked.what]:
        with console.status(f"measuring {name} ..."):
            WORKS[name](plan)
    return plan


def show(plan: Plan, console: Console, before: dict[str, Any], took: float) -> None:
    """Tables, goals, faults."""
    for table in tables(plan.figures):
        console.print(table)
    load = ", ".join(f"{value:.2f}" for value in before["load"] or ())
    console.print(f"{before['cpus']} CPUs, {before['system']}, Python {before['python']}, load before {load}")
    console.print(f"Medians of {plan.rounds} rounds, in {took:.0f} s. Every reply was checked.")
    for target, what in plan.figures.faults:
        console.print(f"[red]{target}: {escape(what)}[/]")


def main(words: list[str]) -> int:
    asked, before, began = options(words), machine(), time.monotonic()
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    with tempfile.TemporaryDirectory(prefix="broker-bench-") as folder:
        plan = run(asked, Path(folder), console)
    show(plan, console, before, time.monotonic() - began)
    if asked.json:
        kept = {"machine": before, "rows": plan.figures.rows(), "faults": plan.figures.faults}
        kept["goals"] = [goal._asdict() for goal in goals(plan.figures)]
        asked.json.write_text(json.dumps(kept, indent=1) + "\n")
    return 1 if plan.figures.faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
