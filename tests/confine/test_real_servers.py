"""Servers that people use, held to exactly what they need, by each mechanism that this machine has."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from broker.confine import backends, roots
from broker.confine.backends import BACKENDS, Abilities, Backend
from broker.confine.plan import Confinement
from broker.confine.start import start
from broker.confine.tree import Child

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="nothing is confined elsewhere"),
    pytest.mark.timeout(180),
]

PYTHONS = Path(sys.executable).parent
NODES = Path(__file__).parent.parent / "node_modules" / ".bin"
GIT = os.path.realpath("/usr/bin/git") if os.path.exists("/usr/bin/git") else None
PATIENCE = 90  # seconds; the Python servers import for two on a quiet machine
ENV = {"PATH": "/usr/bin:/bin"}


@functools.cache
def with_backend(backend: Backend) -> Abilities:
    return asyncio.run(backends.examine(without=BACKENDS[: BACKENDS.index(backend)]))


@pytest.fixture(params=BACKENDS)
async def found(request: pytest.FixtureRequest) -> Abilities:
    has = await asyncio.to_thread(with_backend, request.param)
    if has.backend != request.param:
        pytest.skip(f"NOT TESTED: {request.param} does not work here: {backends.tried(has)}")
    return has


class Server:
    """One of them, and its end of the conversation."""

    def __init__(self, child: Child) -> None:
        self.child, self._ids, self._rest = child, 0, b""

    async def ask(self, method: str, **params: Any) -> dict[str, Any]:
        self._ids += 1
        self._send(id=self._ids, method=method, params=params)
        while (reply := json.loads(await self._line())).get("id") != self._ids:
            pass
        assert "result" in reply, reply
        return reply["result"]

    async def call(self, tool: str, **arguments: Any) -> str:
        result = await self.ask("tools/call", name=tool, arguments=arguments)
        return "".join(content["text"] for content in result["content"])

    async def open(self) -> None:
        who = {"name": "test", "version": "1"}
        await self.ask("initialize", protocolVersion="2025-06-18", capabilities={}, clientInfo=who)
        self._send(method="notifications/initialized")

    def _send(self, **message: Any) -> None:
        os.write(self.child.stdin, json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")

    async def _line(self) -> bytes:
        while b"\n" not in self._rest:
            more = await asyncio.wait_for(asyncio.to_thread(os.read, self.child.stdout, 65536), PATIENCE)
            assert more, os.read(self.child.stderr, 65536).decode()
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\n")
        return line


@pytest.fixture
async def serve(found: Abilities) -> AsyncIterator[Any]:
    children: list[Child] = []

    async def begun(program: Path, *words: str, env: dict[str, str] | None = None, **may: Any) -> Server:
        if not is_installed(program):
            pytest.skip(f"NOT TESTED: {program.name} is not installed; see the Makefile")
        # Node's own programs begin with `env node`.
        needs = roots.find([str(program), *words], environ={**os.environ, **ENV}, run=may.get("run", ()))
        wall = Confinement(name=program.name, roots=needs.roots, links=needs.links, memory=1 << 30, pids=64, **may)
        given = {**ENV, **(env or {})}
        child = await start(needs.argv, env=given, cwd=None, wall=wall, told=lambda _: None, found=found)
        children.append(child)
        server = Server(child)
        await server.open()
        return server

    yield begun
    for child in children:
        await child.end(grace=0)
        for fd in (child.stdin, child.stdout, child.stderr):
            with suppress(OSError):
                os.close(fd)


def is_installed(program: Path) -> bool:
    return program.exists()


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    path = Path(os.path.realpath(tmp_path)) / "docs"
    path.mkdir()
    (path / "a.txt").write_text("hello")
    (path.parent / "secret.txt").write_text("secret")
    return path


async def test_time_needs_nothing(serve: Any) -> None:
    server = await serve(PYTHONS / "mcp-server-time")
    assert '"timezone": "UTC"' in await server.call("get_current_time", timezone="UTC")


@pytest.mark.skipif(GIT is None, reason="NOT TESTED: there is no git")
async def test_git_needs_git_and_the_repository(serve: Any, docs: Path) -> None:
    assert GIT is not None
    identity = {"GIT_CONFIG_GLOBAL": str(docs / ".gitconfig")}
    (docs / ".gitconfig").write_text("[user]\nname = x\nemail = x@example.com\n[safe]\ndirectory = *\n")
    await asyncio.to_thread(subprocess.run, [GIT, "init", "-q", docs], check=True)
    server = await serve(PYTHONS / "mcp-server-git", env=identity, run=(GIT,), write=(str(docs),))
    repository = {"repo_path": str(docs)}
    assert "staged" in await server.call("git_add", **repository, files=["a.txt"])
    assert "committed" in await server.call("git_commit", **repository, message="one")
    assert "one" in await server.call("git_log", **repository)


async def test_fetch_starts_with_a_host(serve: Any) -> None:
    server = await serve(PYTHONS / "mcp-server-fetch", net=("example.com:443",))
    assert [tool["name"] for tool in (await server.ask("tools/list"))["tools"]] == ["fetch"]


async def test_filesystem_needs_its_folder_and_sees_no_other(serve: Any, docs: Path) -> None:
    server = await serve(NODES / "mcp-server-filesystem", str(docs), str(docs.parent), write=(str(docs),))
    assert "hello" in await server.call("read_text_file", path=str(docs / "a.txt"))
    assert "Successfully" in await server.call("write_file", path=str(docs / "b.txt"), content="x")
    assert (docs / "b.txt").read_text() == "x"
    refused = await server.call("read_text_file", path=str(docs.parent / "secret.txt"))
    assert "secret" not in refused.replace("secret.txt", "")


async def test_everything_needs_nothing_and_sees_no_variable(serve: Any) -> None:
    server = await serve(NODES / "mcp-server-everything")
    assert "Echo: x" in await server.call("echo", message="x")
    seen: dict[str, str] = json.loads(await server.call("get-env"))
    assert set(seen) <= {"PATH", "HOME", "TMPDIR", "PWD", "USER", "LOGNAME"}


async def test_memory_needs_its_file(serve: Any, docs: Path) -> None:
    kept = {"MEMORY_FILE_PATH": str(docs / "memory.json")}
    server = await serve(NODES / "mcp-server-memory", env=kept, write=(str(docs),))
    entity = {"name": "x", "entityType": "y", "observations": ["z"]}
    await server.call("create_entities", entities=[entity])
    assert '"x"' in (docs / "memory.json").read_text()
