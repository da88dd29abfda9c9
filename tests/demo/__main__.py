"""Runs the steps, prints what happened and how long it took; exits with 1 if anything went wrong."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import AsyncExitStack
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from tests.demo.setting import Setting
from tests.demo.steps import Step, Visit

ALL_TOGETHER = 90.0  # seconds; it takes about ten


class Report:
    """What happened so far."""

    def __init__(self) -> None:
        self.failures = 0
        self.table = Table("step", "ms", "what happened", title="broker on real servers", title_justify="left")
        self.table.columns[1].justify = "right"

    async def run(self, steps: Iterable[Step]) -> None:
        """Each step after the other, also when one failed."""
        for name, step in steps:
            began = time.monotonic()
            try:
                self.add(name, began, await step())
            except Exception as error:
                self.add(name, began, f"{type(error).__name__}: {error}", failed=True)

    def add(self, name: str, began: float, what: str, *, failed: bool = False) -> None:
        self.failures += failed
        took = f"{(time.monotonic() - began) * 1000:.1f}"
        self.table.add_row(name, took, what[:200], style="red" if failed else None)


async def visit(setting: Setting, report: Report, *, first: bool) -> None:
    """A broker from its start to its end."""
    began = time.monotonic()
    async with AsyncExitStack() as stack:
        client, broker = await stack.enter_async_context(setting.broker())
        report.add("start a broker and connect", began, f"MCP {client.protocol_version}")
        steps = Visit(setting, client, broker)
        await report.run(steps.first() if first else steps.second())
        processes = [broker, *broker.children(recursive=True)]
        began = time.monotonic()
    _, alive = psutil.wait_procs(processes, timeout=5)
    what = f"{len(alive)} processes are left" if alive else f"all {len(processes)} processes are gone"
    report.add("the client leaves", began, what, failed=bool(alive))


async def main() -> int:
    report, console = (
        Report(),
        Console(width=None if sys.stdout.isatty() else 140, markup=False, highlight=False),
    )
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="broker-demo-") as folder:
        setting = Setting(Path(folder))
        setting.write()
        status = console.status("starting, calling, cancelling and killing real servers …")
        async with asyncio.timeout(ALL_TOGETHER):
            with status:
                await visit(setting, report, first=True)
                await visit(setting, report, first=False)
        console.print(report.table)
        if report.failures:
            console.print(f"The broker's own log:\n{setting.log.read_text()}")
    outcome = f"{report.failures} steps FAILED" if report.failures else "Everything happened as it should"
    console.print(f"{outcome}, in {time.monotonic() - began:.1f} s.", style="red" if report.failures else "green")
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
