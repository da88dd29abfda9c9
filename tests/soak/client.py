"""A client that keeps nothing but what it waits for, so that an hour of it weighs no more than a minute."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

from tests.servers import VENV

Json = dict[str, Any]
LOST = 90.0  # seconds after which an answer is called lost; a call's own limit is 60
LIMIT = 64 << 20  # bytes of a line


class Client:
    """One `broker mcp` and our side of the pipe."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.notices: dict[str, int] = {}
        self._waiting: dict[int, asyncio.Future[Json]] = {}
        self._last = 0
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, home: Path, errors: Path) -> Client:
        with errors.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                str(VENV / "broker"), "mcp", "--config", str(home / "config.toml"),
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=log, limit=LIMIT,
                env={**os.environ, "BROKER_HOME": str(home / "home")},
            )  # fmt: skip
        client = cls(process)
        info = {"name": "soak", "version": "1"}
        await client.ask("initialize", {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": info})
        client.write({"method": "notifications/initialized"})
        return client

    def write(self, message: Json) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")

    async def ask(self, method: str, params: Json | None = None) -> Json:
        """The whole reply. Raises `TimeoutError` when it is lost."""
        self._last += 1
        id, future = self._last, asyncio.get_running_loop().create_future()
        self._waiting[id] = future
        self.write({"id": id, "method": method, "params": params or {}})
        try:
            return await asyncio.wait_for(future, LOST)
        finally:
            self._waiting.pop(id, None)

    async def call(self, tool: str, arguments: Json) -> Json:
        return await self.ask("tools/call", {"name": tool, "arguments": arguments})

    async def leave(self) -> int:
        """Close our side; the exit code. Raises `TimeoutError` if the broker does not mind."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return await asyncio.wait_for(self.process.wait(), 10)

    async def _read(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            message = json.loads(line)
            if "method" in message:
                self.notices[message["method"]] = self.notices.get(message["method"], 0) + 1
            elif (future := self._waiting.get(message["id"])) is not None and not future.done():
                future.set_result(message)
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(ConnectionError("the broker ended"))
