"""What is measured, and the servers behind it.

direct    nothing between: the client speaks to the server itself
relay     the floor for Python: ids rewritten, nothing else (`relay.py`); no peer, because it does nothing
broker    this project
fastmcp   a peer: FastMCP's proxy, mounted
sdk       a peer: a forwarding server on the official Python SDK
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

HERE = Path(__file__).resolve().parent
ECHO = HERE / "echo.py"
UNIT = (sys.executable, "-c", "import asyncio, msgspec")
PEERS = ("fastmcp", "sdk")


def server_command(index: int) -> list[str]:
    """The echo server; the name makes each one another server to whoever remembers servers."""
    return [sys.executable, "-I", "-S", str(ECHO), server_name(index)]


def server_name(index: int) -> str:
    return f"u{index:03d}"


@dataclass(frozen=True)
class Target:
    """Something that speaks MCP on its standard streams. `argv` makes its command of a file of servers."""

    name: str
    argv: Callable[[Path], list[str]]
    busy: tuple[str, ...] = ()
    """What its command says more when many calls are in flight."""
    many: bool = True
    """Whether it can have more than one server behind it."""
    remembers: bool = False
    """Whether it knows its servers from an earlier run, without starting them."""


def _script(*parts: str) -> Callable[[Path], list[str]]:
    return lambda file: [sys.executable, "-P", str(HERE.joinpath(*parts)), str(file)]


def _broker(file: Path) -> list[str]:
    return [str(Path(sys.executable).with_name("broker")), "mcp", "--strict", "--mcp-config", str(file)]


ALL = (
    Target("direct", lambda file: server_command(0), many=False),
    Target("relay", _script("relay.py"), many=False),
    Target("broker", _broker, ("--concurrency", "64"), remembers=True),
    Target("fastmcp", _script("peers", "mount_fastmcp.py")),
    Target("sdk", _script("peers", "forward_sdk.py")),
)
BY_NAME: Mapping[str, Target] = {target.name: target for target in ALL}


@dataclass(frozen=True)
class Place:
    """A folder of its own for everything the targets read and write."""

    folder: Path
    warm: set[int] = field(default_factory=set[int])
    """Numbers of servers that those who remember have met."""

    def servers(self, count: int) -> Path:
        """An mcpServers file of `count` echo servers."""
        file = self.folder / f"{count}.json"
        if not file.exists():
            commands = {server_name(index): server_command(index) for index in range(count)}
            entries = {name: {"command": argv[0], "args": argv[1:]} for name, argv in commands.items()}
            file.write_text(json.dumps({"mcpServers": entries}))
        return file

    @property
    def env(self) -> dict[str, str]:
        return {**os.environ, "BROKER_HOME": str(self.folder / "home"), "NO_COLOR": "1"}

    @property
    def log(self) -> Path:
        """Where the targets' stderr goes."""
        return self.folder / "stderr.log"


def is_server(process: psutil.Process) -> bool:
    """Whether this is one of the echo servers, and not what stands before it."""
    try:
        return str(ECHO) in process.cmdline()
    except psutil.Error:
        return False


def servers_below(process: psutil.Process) -> list[psutil.Process]:
    """The echo servers a target started."""
    return [child for child in process.children(recursive=True) if is_server(child)]


def own_processes(process: psutil.Process) -> list[psutil.Process]:
    """A target's own: it and its children, without the servers."""
    return [each for each in [process, *process.children(recursive=True)] if not is_server(each)]


def chosen(names: Iterable[str]) -> list[Target]:
    """The targets of these names, in the order of `ALL`; every one of them when there are no names."""
    wanted = set(names) or set(BY_NAME)
    return [target for target in ALL if target.name in wanted]
