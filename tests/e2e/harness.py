"""Starts the real `broker mcp` and speaks to it in exact lines.

Rule 1: every wait is for something that is said, and ends after `BOUND` seconds.
Rule 2: leaving `opened` closes the broker's stdin, and it must be gone in time with everything it started.
Rule 3: then every message it wrote is judged; a test whose server or client writes garbage says `judged = False`.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests import oracle, parsing
from tests.servers import VENV, scripted

Json = dict[str, Any]

BOUND = 30.0  # seconds; what is right is over in a fraction of one, on a busy machine in a few
EXIT_BOUND = 5.0  # seconds from the end of stdin to the end of the broker
LINE_LIMIT = 64 << 20  # bytes
META = "io.modelcontextprotocol/"
MODERN = "2026-07-28"
LATEST_LEGACY = "2025-11-25"
ERAS = ("legacy", "modern")

# The five ways a server can be about the two eras.
KINDS: dict[str, Json] = {
    "legacy": scripted("--era", "legacy"),
    "modern": scripted("--era", "modern"),
    "dual": scripted("--era", "dual"),
    "locked": scripted("--era", "dual-locked"),
    "old": scripted("--only-2024"),
}


# As a parameter: those that differ from the others in their opening alone are left to the long run.
EACH_KIND = [pytest.param(kind, marks=[pytest.mark.long] if kind in ("locked", "old") else []) for kind in KINDS]


@dataclass(frozen=True)
class Home:
    """A folder with a broker's configuration and everything it keeps."""

    folder: Path
    flags: tuple[str, ...]

    @classmethod
    def of(cls, folder: Path, servers: Mapping[str, Json], *flags: str) -> Home:
        """A home whose broker runs these servers and no others."""
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "servers.json"
        file.write_text(json.dumps({"mcpServers": servers}))
        return cls(folder, ("--strict", "--mcp-config", str(file), *flags))

    @classmethod
    def of_toml(cls, folder: Path, text: str, *flags: str) -> Home:
        """A home with a config.toml."""
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "config.toml"
        file.write_text(text)
        return cls(folder, ("--config", str(file), *flags))

    @property
    def command(self) -> str:
        return str(VENV / "broker")

    @property
    def args(self) -> list[str]:
        return ["mcp", *self.flags]

    @property
    def env(self) -> dict[str, str]:
        return {**os.environ, "BROKER_HOME": str(self.folder / "home")}


class Line:
    """A client that writes and reads lines, and knows nothing it was not told."""

    def __init__(self, process: asyncio.subprocess.Process, era: str, capabilities: Json, errors: Path) -> None:
        self.process = process
        self.era = era
        self.capabilities = capabilities
        self.said: list[Json] = []  # all it ever said, in order
        self.frames: list[bytes] = []  # the same, as it came
        self.conversation: list[oracle.Said] = []  # both sides
        self._begun = b""  # of a line of ours
        self.judged = True  # at the end of the test, by the schemas of our version
        self._errors = errors
        self._last_id = 0
        self._news = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    @property
    def stderr(self) -> str:
        return self._errors.read_text(errors="replace")

    @property
    def envelope(self) -> Json:
        """The `_meta` of a modern request."""
        return {
            META + "protocolVersion": MODERN,
            META + "clientInfo": {"name": "line", "version": "1"},
            META + "clientCapabilities": self.capabilities,
        }

    # writing

    def write(self, *messages: Json) -> None:
        """These messages in one write."""
        self.write_bytes(b"".join(json.dumps({"jsonrpc": "2.0", **each}).encode() + b"\n" for each in messages))

    def write_bytes(self, data: bytes) -> None:
        assert self.process.stdin is not None
        *lines, self._begun = (self._begun + data).split(b"\n")
        for message in _readable(lines):
            self.conversation.append(("client", message))
        self.process.stdin.write(data)

    def request(self, method: str, params: Json | None = None, *, id: Any = None, meta: Json | None = None) -> Json:
        """A request in the era of this client; without an `id` it gets a new one."""
        if id is None:
            self._last_id += 1
            id = self._last_id
        full = dict(params or {})
        envelope = self.envelope if self.era == "modern" else {}
        if envelope or meta is not None:
            full["_meta"] = {**envelope, **(meta or {})}
        return {"id": id, "method": method, "params": full}

    def send(self, method: str, params: Json | None = None, *, id: Any = None, meta: Json | None = None) -> Any:
        """Send a request without waiting; its id."""
        request = self.request(method, params, id=id, meta=meta)
        self.write(request)
        return request["id"]

    def tell(self, method: str, params: Json | None = None) -> None:
        self.write({"method": method, **({"params": params} if params is not None else {})})

    def cancel(self, id: Any) -> None:
        self.tell("notifications/cancelled", {"requestId": id, "reason": "the test changed its mind"})

    # asking

    async def ask(self, method: str, params: Json | None = None, *, id: Any = None, meta: Json | None = None) -> Json:
        """The whole reply to a request."""
        return await self.reply(self.send(method, params, id=id, meta=meta))

    async def result(self, method: str, params: Json | None = None, *, meta: Json | None = None) -> Json:
        reply = await self.ask(method, params, meta=meta)
        assert "result" in reply, reply
        return reply["result"]

    async def error(self, method: str, params: Json | None = None, *, meta: Json | None = None) -> Json:
        reply = await self.ask(method, params, meta=meta)
        assert "error" in reply, reply
        return reply["error"]

    async def call(self, tool: str, arguments: Json | None = None, *, meta: Json | None = None) -> Json:
        return await self.result("tools/call", {"name": tool, "arguments": arguments or {}}, meta=meta)

    async def text(self, tool: str, arguments: Json | None = None, *, meta: Json | None = None) -> str:
        """The text of a tool's result, which must be no failure."""
        result = await self.call(tool, arguments, meta=meta)
        assert not result.get("isError"), result
        return result["content"][0]["text"]

    async def names(self, what: str = "tools") -> list[str]:
        return [entry["name"] for entry in (await self.result(f"{what}/list"))[what]]

    async def listed(self, *wanted: str) -> list[str]:
        """The names of all tools once these are among them: a first list waits only so long for plugins never met."""
        if self.era == "modern":
            self.send("subscriptions/listen", {"notifications": {"toolsListChanged": True}})
        while True:
            before = len(self.said)
            names = await self.names()
            if set(wanted) <= set(names):
                return names
            await self.notice("notifications/tools/list_changed", after=before)

    # waiting

    async def reply(self, id: Any) -> Json:
        return await self.until(lambda message: "method" not in message and same_id(message.get("id"), id))

    async def notice(self, method: str, *, after: int = 0) -> Json:
        """The params of the first such notification, from message number `after` on."""
        found = await self.until(lambda message: message.get("method") == method and "id" not in message, after)
        return found.get("params", {})

    async def asked(self, method: str) -> Json:
        """The first such request of the broker to us."""
        return await self.until(lambda message: message.get("method") == method and "id" in message)

    async def until(self, wanted: Callable[[Json], bool], after: int = 0) -> Json:
        """The first message that is `wanted`, whether it came already or comes in time."""
        try:
            async with asyncio.timeout(BOUND):
                while True:
                    self._news.clear()
                    for message in self.said[after:]:
                        if wanted(message):
                            return message
                    if self._reading.done():
                        raise AssertionError(f"the broker ended; it said {self.said[-5:]}\n{self.stderr}")
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"not within {BOUND:g} s; it said {self.said[-5:]}\n{self.stderr}") from None

    def notices(self, method: str) -> list[Json]:
        """The params of all such notifications so far."""
        return [message.get("params", {}) for message in self.said if message.get("method") == method]

    async def settled(self) -> None:
        """Everything the broker had to say before this moment has been said."""
        if self.era == "legacy":
            await self.result("ping")
        else:
            await self.result("server/discover")

    def processes(self) -> list[psutil.Process]:
        """Everything that runs below the broker."""
        return psutil.Process(self.process.pid).children(recursive=True)

    # opening and ending

    async def initialize(self, version: str = LATEST_LEGACY) -> Json:
        found = await self.result(
            "initialize",
            {
                "protocolVersion": version,
                "capabilities": self.capabilities,
                "clientInfo": {"name": "line", "version": "1"},
            },
        )
        self.tell("notifications/initialized")
        return found

    async def leave(self) -> int:
        """Close its stdin; the exit code, and an error if it takes too long."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return await self.gone()

    async def gone(self) -> int:
        try:
            code = await asyncio.wait_for(self.process.wait(), EXIT_BOUND)
        except TimeoutError:
            raise AssertionError(f"the broker still runs after {EXIT_BOUND:g} s\n{self.stderr}") from None
        await asyncio.wait_for(self._reading, EXIT_BOUND)
        return code

    async def _read(self) -> None:
        assert self.process.stdout is not None
        try:
            async for line in self.process.stdout:
                message = json.loads(line)
                self.said.append(message)
                self.frames.append(line)
                self.conversation.append(("broker", message))
                self._news.set()
        finally:
            self._news.set()


def _readable(lines: list[bytes]) -> Iterator[Any]:
    """The messages in what a client wrote; it may write anything."""
    for line in lines:
        with suppress(ValueError):
            yield json.loads(line)


def same_id(one: Any, other: Any) -> bool:
    """1 and "1" are two ids, and True is none."""
    return type(one) is type(other) and one == other


@asynccontextmanager
async def spoken(
    command: str, args: list[str], env: dict[str, str], folder: Path, era: str, capabilities: Json
) -> AsyncGenerator[Line]:
    """Lines to any MCP server, which nobody opened yet."""
    errors = folder / "stderr.txt"
    with errors.open("ab") as stderr:
        process = await asyncio.create_subprocess_exec(
            command,
            *args,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            env=env,
            cwd=folder,
            limit=LINE_LIMIT,
        )
    line = Line(process, era, capabilities, errors)
    try:
        yield line
        if process.returncode is None:
            below = line.processes()
            assert await line.leave() == 0
            assert not await survivors(below)
        parsing.keep(line.frames)
        if line.judged:
            oracle.check(line.conversation)
    finally:
        if process.returncode is None:
            for left in (*line.processes(), process):  # a test that failed leaves nobody behind either
                left.kill()
            await process.wait()
        await asyncio.wait([line._reading])


@asynccontextmanager
async def opened(
    home: Home, era: str = "legacy", capabilities: Json | None = None, *, initialized: bool = True
) -> AsyncGenerator[Line]:
    """A broker, and the lines to it; a legacy one is initialized."""
    async with spoken(home.command, home.args, home.env, home.folder, era, capabilities or {}) as line:
        if initialized and era == "legacy":
            await line.initialize()
        yield line


def servers_below(line: Line) -> list[psutil.Process]:
    """The scripted servers that run, without what stands between them and the broker."""
    return [process for process in line.processes() if "scripted.py" in " ".join(process.cmdline())]


async def survivors(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those of `processes` that still run when a moment for the kernel's own work has passed."""
    end = time.monotonic() + 1.0
    while (alive := [process for process in processes if runs(process)]) and time.monotonic() < end:
        await asyncio.sleep(0.01)
    return alive


def runs(process: psutil.Process) -> bool:
    """Whether it is more than an entry nobody has read yet."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def driven(home: Home, script: Path, *arguments: str, **environ: str) -> Json:
    """What a client in Node reports of the broker of this home, which it starts by its last arguments."""
    process = await asyncio.create_subprocess_exec(
        "node",
        *(str(script), *arguments, home.command, *home.args),
        env={**home.env, **environ},
        cwd=home.folder,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        said, _ = await asyncio.wait_for(process.communicate(), 100)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0
    return json.loads(said)
