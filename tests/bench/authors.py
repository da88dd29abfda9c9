"""How soon a plugin serves and what it costs, by the SDK it is written with: python -m tests.bench.authors

One echo tool each. Start: from the process to its answer to `initialize`, the least of some rounds, for that is what
the program takes and the rest is the machine's. Memory: what no other process shares. Echo: the median of many calls.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

SERVERS = {
    "broker_sdk": """
from broker_sdk import Plugin
plugin = Plugin("echo", version="1")
@plugin.tool
async def echo(text: str) -> str:
    return text
plugin.run()
""",
    "mcp, MCPServer": """
from mcp.server.mcpserver import MCPServer
server = MCPServer("echo")
@server.tool()
async def echo(text: str) -> str:
    return text
server.run()
""",
    "fastmcp": """
from fastmcp import FastMCP
server = FastMCP("echo")
@server.tool
async def echo(text: str) -> str:
    return text
server.run(show_banner=False)
""",
}
OURS = next(iter(SERVERS))
CALLS = 300
OPENING = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}}


@dataclass
class Figures:
    start: list[float] = field(default_factory=list[float])  # ms
    memory: list[float] = field(default_factory=list[float])  # MiB
    echo: list[float] = field(default_factory=list[float])  # microseconds


class Session:
    """A server, spoken to line by line."""

    def __init__(self, file: Path) -> None:
        self.spawned = time.perf_counter()
        pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
        self.process = subprocess.Popen([sys.executable, str(file)], stdin=pipe, stdout=pipe, stderr=nothing)

    def ask(self, id: int, method: str, params: object) -> None:
        """Send a request and wait for its answer."""
        assert self.process.stdin is not None and self.process.stdout is not None
        body = {"jsonrpc": "2.0", "id": id, "method": method, "params": params}
        self.process.stdin.write(json.dumps(body).encode() + b"\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        assert answer["id"] == id and "result" in answer, answer

    def tell(self, method: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0", "method": method}).encode() + b"\n")

    def end(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()


def measure(file: Path, found: Figures) -> None:
    """One round of one server."""
    session = Session(file)
    try:
        session.ask(0, "initialize", OPENING)
        found.start.append(1e3 * (time.perf_counter() - session.spawned))
        session.tell("notifications/initialized")
        for id in range(1, CALLS):
            since = time.perf_counter()
            session.ask(id, "tools/call", {"name": "echo", "arguments": {"text": "x"}})
            found.echo.append(1e6 * (time.perf_counter() - since))
        found.memory.append(psutil.Process(session.process.pid).memory_full_info().uss / 2**20)
    finally:
        session.end()


def run(rounds: int, folder: Path) -> dict[str, Figures]:
    """Every server once a round, so that all see the same machine."""
    figures = {name: Figures() for name in SERVERS}
    files = {name: folder / f"server_{number}.py" for number, name in enumerate(SERVERS)}
    for name, script in SERVERS.items():
        files[name].write_text(script)
    for _ in range(rounds):
        for name, file in files.items():
            measure(file, figures[name])
    return figures


def table(figures: dict[str, Figures]) -> Table:
    found = Table("plugin written with", "start, ms", "private, MiB", "echo, µs", title="How many times ours")
    ours = (min(figures[OURS].start), min(figures[OURS].memory), statistics.median(figures[OURS].echo))
    for name, each in figures.items():
        values = (min(each.start), min(each.memory), statistics.median(each.echo))
        cells = [f"{value:,.0f} ({value / own:.1f}x)" for value, own in zip(values, ours, strict=True)]
        found.add_row(name, *cells)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.authors", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        Console().print(table(run(asked.rounds, Path(folder))))


if __name__ == "__main__":
    main()
