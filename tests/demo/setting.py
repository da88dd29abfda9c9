"""What the demo works with: a configuration of its own in a folder of its own, and brokers started on it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import wasmtime
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

from tests.servers import BY_NAME, PLUGINS, mcp_servers_json

REAL = ("time", "calculator", "timeserver", "everything", "filesystem", "memory", "sequential-thinking")
BUNDLED = ("greet-bin", "greet-js", "greet-py", "greet-ts", "greet-wasm", "words-lua")


@dataclass(frozen=True)
class Setting:
    """A folder with a config.toml of plugin folders and an mcpServers file of published servers."""

    folder: Path

    def write(self) -> None:
        assembled(PLUGINS / "greet-wasm", self.folder / "greet-wasm")
        folders = {name: PLUGINS / name for name in BUNDLED} | {"greet-wasm": self.folder / "greet-wasm"}
        tables = [f"[plugins.{name}]\npath = {json.dumps(str(folder))}\n" for name, folder in folders.items()]
        (self.folder / "config.toml").write_text("\n".join(tables))
        servers = mcp_servers_json(REAL, self.folder / "homes")
        (self.folder / "servers.json").write_text(json.dumps(servers, indent=2))

    def calls(self) -> dict[str, dict[str, Any]]:
        """One call for each server: the tool's name as clients see it, and its arguments."""
        greetings = {f"{name}__greet": {"name": "world"} for name in BUNDLED}
        return greetings | {f"{name}__{BY_NAME[name].tool}": BY_NAME[name].arguments for name in REAL}

    @property
    def log(self) -> Path:
        """Where the brokers' stderr goes."""
        return self.folder / "broker.log"

    @property
    def _options(self) -> list[str]:
        options = ["--config", str(self.folder / "config.toml")]
        return [*options, "--mcp-config", str(self.folder / "servers.json")]

    @property
    def _env(self) -> dict[str, str]:
        return {**os.environ, "BROKER_HOME": str(self.folder / "home")}

    async def grant(self, name: str) -> str:
        """Grant a plugin all it asks for, as its user would in a terminal; the last line that is said."""
        words = [sys.executable, "-m", "broker", "grant", name, "--yes", *self._options]
        done = await asyncio.create_subprocess_exec(*words, env=self._env, cwd=self.folder, stdout=subprocess.PIPE)
        out, _ = await done.communicate()
        return out.decode().strip().splitlines()[-1].strip()

    @asynccontextmanager
    async def broker(self) -> AsyncGenerator[tuple[Client, psutil.Process]]:
        """A new broker, with the official SDK's client connected to it."""
        command = StdioServerParameters(
            command=sys.executable, args=["-m", "broker", "mcp", *self._options], env=self._env, cwd=self.folder
        )
        before = {child.pid for child in psutil.Process().children()}
        with self.log.open("a") as log:
            async with Client(stdio_client(command, errlog=log)) as client:
                [process] = [child for child in psutil.Process().children() if child.pid not in before]
                yield client, process


def assembled(source: Path, folder: Path) -> None:
    """A plugin that is kept as text, with the WASM file that is made of it."""
    folder.mkdir()
    shutil.copy(source / "plugin.toml", folder)
    (folder / "plugin.wasm").write_bytes(wasmtime.wat2wasm((source / "plugin.wat").read_text()))


def servers_of(broker: psutil.Process) -> list[psutil.Process]:
    """The plugins' own processes: each is the child of a keeper, and those are the fork server's."""
    keepers = [keeper for server in broker.children() for keeper in server.children()]
    return [plugin for keeper in keepers for plugin in keeper.children()]


def server_of(broker: psutil.Process, name: str) -> psutil.Process:
    """The process of one bundled plugin."""
    [found] = [child for child in servers_of(broker) if any(name in word for word in child.cmdline())]
    return found
