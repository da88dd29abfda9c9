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
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from tests.servers import NODE_MODULES

PYTHON = {
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
JAVASCRIPT = {
    "@plugin-broker/sdk": """
import { definePlugin, s, tool } from "@plugin-broker/sdk";
const echo = tool({ input: s.object({ text: s.string() }), run: ({ text }) => text });
export default definePlugin({ name: "echo", version: "1", tools: { echo } });
""",
    "server 2": """
import { McpServer } from "@modelcontextprotocol/server";
import { serveStdio } from "@modelcontextprotocol/server/stdio";
import * as z from "zod";
serveStdio(() => {
  const server = new McpServer({ name: "echo", version: "1" });
  const inputSchema = z.object({ text: z.string() });
  server.registerTool("echo", { inputSchema }, ({ text }) => ({ content: [{ type: "text", text }] }));
  return server;
});
""",
    "sdk 1": """
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { StdioServerTransport } from "@modelcontextprotocol/sdk/server/stdio.js";
import * as z from "zod";
const server = new McpServer({ name: "echo", version: "1" });
const inputSchema = { text: z.string() };
server.registerTool("echo", { inputSchema }, ({ text }) => ({ content: [{ type: "text", text }] }));
await server.connect(new StdioServerTransport());
""",
}
LANGUAGES = {"Python": (sys.executable, "py", PYTHON), "JavaScript": ("node", "mjs", JAVASCRIPT)}
"""What runs a file, how its name ends, and the servers: ours first."""
CALLS = 300
OPENING = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}}


@dataclass
class Figures:
    start: list[float] = field(default_factory=list[float])  # ms
    memory: list[float] = field(default_factory=list[float])  # MiB
    echo: list[float] = field(default_factory=list[float])  # microseconds


class Session:
    """A server, spoken to line by line."""

    def __init__(self, command: list[str]) -> None:
        self.spawned = time.perf_counter()
        pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=nothing)

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


def measure(command: list[str], found: Figures) -> None:
    """One round of one server."""
    session = Session(command)
    try:
        session.ask(0, "initialize", OPENING)
        found.start.append(1e3 * (time.perf_counter() - session.spawned))
        session.tell("notifications/initialized")
        for id in range(1, CALLS):
            since = time.perf_counter()
            session.ask(id, "tools/call", {"name": "echo", "arguments": {"text": "x"}})
            found.echo.append(1e6 * (time.perf_counter() - since))
        found.memory.append(_own(session.process.pid) / 2**20)
    finally:
        session.end()


def _own(pid: int) -> int:
    """Bytes that nobody else could share: not those of a program's file that nobody else happens to have open."""
    maps: list[Any] = psutil.Process(pid).memory_maps(grouped=True)
    return sum(each.private_dirty for each in maps)


def run(rounds: int, folder: Path, language: str) -> dict[str, Figures]:
    """Every server of a language once a round, so that all see the same machine."""
    program, suffix, servers = LANGUAGES[language]
    if not (folder / "node_modules").exists():
        (folder / "node_modules").symlink_to(NODE_MODULES)
    figures = {name: Figures() for name in servers}
    files = {name: folder / f"server_{number}.{suffix}" for number, name in enumerate(servers)}
    for name, script in servers.items():
        files[name].write_text(script)
    for _ in range(rounds):
        for name, file in files.items():
            measure([program, str(file)], figures[name])
    return figures


def table(figures: dict[str, Figures], language: str) -> Table:
    title = f"{language}: how many times ours"
    found = Table("plugin written with", "start, ms", "private, MiB", "echo, µs", title=title)
    first = next(iter(figures.values()))
    ours = (min(first.start), min(first.memory), statistics.median(first.echo))
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
        for language in LANGUAGES:
            Console().print(table(run(asked.rounds, Path(folder), language), language))


if __name__ == "__main__":
    main()
