"""The real MCP servers that broker is judged against, and how each is started.

They come from `make setup`; nothing here looks for what a machine may happen to have. They cover two
languages and every SDK generation in use: mcp 1.x and 2.x, FastMCP 3, TypeScript 1.0.1, 1.x and 2, and Go.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests"
VENV = ROOT / ".venv" / "bin"
LEGACY = ROOT / ".venv" / "servers-legacy" / "bin"
NODE_MODULES = TESTS / "node_modules"
SCRIPTED = TESTS / "fixtures" / "scripted.py"
PLUGINS = TESTS / "plugins"

# Stands in the arguments for a folder of the test's own.
HOME = "{home}"


@dataclass(frozen=True)
class Server:
    """One server: how to start it, what it speaks, and a call it answers without a network."""

    name: str
    sdk: str
    command: str
    args: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict[str, str])
    modern: bool = False
    """Whether it also speaks 2026-07-28; all of them speak an older revision."""
    tool: str = ""
    """A tool that answers offline; empty if it has none."""
    arguments: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def path(self) -> Path:
        """The file that has to be there for this server to start."""
        return Path(self.args[0] if self.command == "node" else self.command)

    def entry(self, home: Path) -> dict[str, Any]:
        """This server as an entry of an mcpServers file, with its files below `home`."""

        def filled(text: str) -> str:
            return text.replace(HOME, str(home))

        env = {key: filled(value) for key, value in self.env.items()}
        return {"command": self.command, "args": [filled(arg) for arg in self.args], "env": env}


def node(name: str, sdk: str, script: str, *args: str, **rest: Any) -> Server:
    return Server(name, sdk, "node", (str(NODE_MODULES / script), *args), **rest)


def program(name: str, sdk: str, path: Path, *args: str, **rest: Any) -> Server:
    return Server(name, sdk, str(path), args, **rest)


MCP = "@modelcontextprotocol/"
ZONE = {"timezone": "Europe/Berlin"}
THOUGHT = {"thought": "one", "nextThoughtNeeded": False, "thoughtNumber": 1, "totalThoughts": 1}

REAL = (
    program(
        "time",
        "mcp 2",
        VENV / "mcp-server-time",
        "--local-timezone=UTC",
        modern=True,
        tool="get_current_time",
        arguments=ZONE,
    ),
    program("git", "mcp 2", VENV / "mcp-server-git", modern=True),
    program("fetch", "mcp 2", VENV / "mcp-server-fetch", "--ignore-robots-txt", modern=True),
    program(
        "calculator",
        "mcp 1",
        LEGACY / "mcp-server-calculator",
        tool="calculate",
        arguments={"expression": "6*7"},
    ),
    program("timeserver", "fastmcp 3", LEGACY / "mcp-simple-timeserver", tool="get_local_time"),
    node(
        "everything",
        "typescript 1",
        MCP + "server-everything/dist/index.js",
        "stdio",
        tool="echo",
        arguments={"message": "hi"},
    ),
    node(
        "filesystem",
        "typescript 1",
        MCP + "server-filesystem/dist/index.js",
        HOME,
        tool="list_allowed_directories",
    ),
    node(
        "memory",
        "typescript 1",
        MCP + "server-memory/dist/index.js",
        env={"MEMORY_FILE_PATH": f"{HOME}/memory.jsonl"},
        tool="read_graph",
    ),
    node(
        "sequential-thinking",
        "typescript 1",
        MCP + "server-sequential-thinking/dist/index.js",
        tool="sequentialthinking",
        arguments=THOUGHT,
    ),
    node(
        "brave-search",
        "typescript 1.0.1",
        MCP + "server-brave-search/dist/index.js",
        env={"BRAVE_API_KEY": "dummy"},
    ),
    node("context7", "typescript 2", "@upstash/context7-mcp/dist/index.js", modern=True),
    program("grafana", "go", VENV / "mcp-grafana", env={"GRAFANA_URL": "http://127.0.0.1:9"}, modern=True),
)
BY_NAME = {server.name: server for server in REAL}


def mcp_servers_json(names: Iterable[str], tmp_path: Path) -> dict[str, Any]:
    """An mcpServers file of these servers, each with a folder of its own below `tmp_path`."""
    entries: dict[str, Any] = {}
    for name in names:
        home = tmp_path / name
        home.mkdir(parents=True, exist_ok=True)
        entries[name] = BY_NAME[name].entry(home)
    return {"mcpServers": entries}


def scripted(*flags: str) -> dict[str, Any]:
    """The scripted server as an entry; without site-packages, which it does not need and would wait for."""
    return {"command": sys.executable, "args": ["-S", "-E", str(SCRIPTED), *flags]}
