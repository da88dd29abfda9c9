"""The control socket: what it answers, whom it refuses, and that nothing said to it can hurt."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from broker.core.generations import Generations
from broker.core.meeting import Folder
from broker.core.status import State, Status
from broker.errors import NotFound, PluginFailed
from broker.faces import control as faces_control
from broker.faces.control import ASKS, CONNECTIONS, IN_WORK, LONGEST, Control

BOUND = 20.0
NOBODY = 65534
KNOCKER = """
import os, socket, sys
os.setuid(int(sys.argv[2]))
knock = socket.socket(socket.AF_UNIX)
knock.settimeout(10)
knock.connect(sys.argv[1])
try:
    knock.sendall(b'{"jsonrpc":"2.0","id":1,"method":"status"}\\n')
    sys.stdout.write(f"heard {knock.recv(100)!r}")
except OSError:
    sys.stdout.write("heard b''")
"""


class PretendGenerations(Generations):
    """One plugin `git`, and what was done to it; `go` lets a restart end."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.go = asyncio.Event()
        self.go.set()
        self.begun = 0

    def statuses(self) -> list[Status]:
        return [Status(name="git", state=State.READY, pids=(7,), uptime=1.5)]

    async def _did(self, what: str, name: str, state: State) -> Status:
        self.begun += 1
        await self.go.wait()
        if name == "broken":
            raise PluginFailed("broken ended with exit code 3", hint="look")
        if name != "git":
            raise NotFound(f"no plugin is called {name}; did you mean git?")
        self.done.append(what)
        return Status(name=name, state=state)

    async def restart(self, name: str) -> Status:
        return await self._did("restart", name, State.READY)

    async def stop_one(self, name: str) -> Status:
        return await self._did("stop", name, State.OFF)

    async def warm(self, name: str, count: int) -> Status:
        return await self._did(f"warm {count}", name, State.READY)

    async def disable(self, name: str) -> Status:
        return await self._did("disable", name, State.DISABLED)

    async def enable(self, name: str) -> Status:
        return await self._did("enable", name, State.READY)


class Knock:
    """Somebody at the socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def say(self, data: bytes) -> None:
        self.writer.write(data)

    def ask(self, method: str, id: int = 1, **params: Any) -> None:
        self.say(json.dumps({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).encode() + b"\n")

    async def hear(self) -> Any:
        """The next message; None when it hung up."""
        try:
            line = await asyncio.wait_for(self.reader.readline(), BOUND)
        except ConnectionResetError:
            return None
        return json.loads(line) if line else None

    async def result(self, method: str, **params: Any) -> Any:
        self.ask(method, **params)
        return (await self.hear())["result"]

    async def error(self, method: str, **params: Any) -> Any:
        self.ask(method, **params)
        return (await self.hear())["error"]

    def leave(self) -> None:
        self.writer.close()


class Door:
    """A control socket in a folder of the test's."""

    def __init__(self, home: Path) -> None:
        self.pretended = PretendGenerations()
        self.environ = {"BROKER_HOME": str(home)}
        self.folder = home / "run"
        self.control = Control(self.pretended, lambda: "Claude")
        self._knocks: list[Knock] = []

    @property
    def path(self) -> Path:
        return self.folder / f"{os.getpid()}.sock"

    async def knock(self) -> Knock:
        with Folder(self.folder) as folder:  # through the folder: the path may be long
            connection = await asyncio.to_thread(folder.connect, str(os.getpid()))
        assert connection is not None
        connection.setblocking(False)
        self._knocks.append(Knock(*await asyncio.open_unix_connection(sock=connection)))
        return self._knocks[-1]

    async def closed(self) -> None:
        self.control.close()
        for knock in self._knocks:
            knock.leave()
        waits = (asyncio.wait_for(knock.writer.wait_closed(), BOUND) for knock in self._knocks)
        await asyncio.gather(*waits, return_exceptions=True)


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    found = Door(tmp_path)
    found.control.open(found.environ)
    yield found
    await found.closed()


async def test_it_says_what_the_broker_is_and_how_its_plugins_are(door: Door) -> None:
    here = await (await door.knock()).result("status")
    assert (here["pid"], here["client"]) == (os.getpid(), "Claude")
    assert [(plugin["name"], plugin["state"], plugin["pids"]) for plugin in here["plugins"]] == [("git", "ready", [7])]


@pytest.mark.parametrize(
    ("method", "state"), [("restart", "ready"), ("stop", "off"), ("disable", "disabled"), ("enable", "ready")]
)
async def test_it_acts_and_says_how_the_plugin_is_then(door: Door, method: str, state: str) -> None:
    status = await (await door.knock()).result(method, name="git")
    assert (status["name"], status["state"]) == ("git", state)
    assert door.pretended.done == [method]


async def test_it_has_instances_made_ready(door: Door) -> None:
    assert (await (await door.knock()).result("warm", name="git", count=4))["name"] == "git"
    assert door.pretended.done == ["warm 4"]


@pytest.mark.parametrize(
    ("method", "params", "name", "said"),
    [
        ("warm", {"name": "git", "count": -1}, "invalid-params", "at most 16"),
        ("warm", {"name": "git", "count": 17}, "invalid-params", "at most 16"),
        ("warm", {"name": "git", "count": "4"}, "invalid-params", "at most 16"),
        ("restart", {"name": "gti"}, "not-found", "did you mean git?"),
        ("restart", {"name": "broken"}, "plugin-crashed", "exit code 3"),
        ("restart", {}, "invalid-params", "which plugin"),
        ("restart", {"name": 7}, "invalid-params", "which plugin"),
        ("tools/call", {"name": "git"}, "method-not-found", "tools/call"),
        ("__init__", {"name": "git"}, "method-not-found", "__init__"),
    ],
)
async def test_what_cannot_be_done_is_told(door: Door, method: str, params: Any, name: str, said: str) -> None:
    error = await (await door.knock()).error(method, **params)
    assert error["data"]["name"] == name and said in error["message"]
    assert door.pretended.done == []


async def test_what_was_asked_is_done_though_the_asker_left(door: Door) -> None:
    door.pretended.go.clear()
    knock = await door.knock()
    knock.ask("restart", name="git")
    async with asyncio.timeout(BOUND):
        while not door.pretended.begun:
            await asyncio.sleep(0.01)
    knock.leave()
    assert await (await door.knock()).result("status")
    door.pretended.go.set()
    async with asyncio.timeout(BOUND):
        while door.pretended.done != ["restart"]:
            await asyncio.sleep(0.01)


async def test_it_is_gone_with_the_broker(door: Door) -> None:
    knock = await door.knock()
    assert door.path.exists()
    door.control.close()
    assert not door.path.exists() and await knock.hear() is None
    door.control.close()


@pytest.mark.parametrize(
    "garbage",
    [b"hello\n", b"GET / HTTP/1.1\r\n\r\n", b"\0" * 1000 + b"\n", b"[]\n", b"{}\n", b"\xff\xfe\n", b"[" * 5000 + b"\n"],
)
async def test_garbage_ends_only_its_own_connection(door: Door, garbage: bytes) -> None:
    other, knock = await door.knock(), await door.knock()
    knock.say(garbage)
    assert "error" in await knock.hear()
    assert await knock.hear() is None
    assert await other.result("status")


async def test_a_line_without_end_is_not_kept(door: Door) -> None:
    knock = await door.knock()
    assert await knock.result("status")
    for _ in range(8):
        knock.say(b"x" * LONGEST)
        await knock.writer.drain()
    knock.say(b"\n")
    assert "size limit" in (await knock.hear())["error"]["message"]
    assert await (await door.knock()).result("status")


async def test_who_never_speaks_is_hung_up_on(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faces_control, "PATIENCE", 0.05)
    knock = await door.knock()
    assert await knock.hear() is None


async def test_who_waits_for_an_answer_is_not_hung_up_on(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faces_control, "PATIENCE", 0.02)
    door.pretended.go.clear()
    knock = await door.knock()
    knock.ask("restart", name="git")
    other = await door.knock()
    assert await other.hear() is None  # its patience is over
    door.pretended.go.set()
    assert (await knock.hear())["result"]["name"] == "git"


async def test_a_flood_of_requests_has_an_end(door: Door) -> None:
    knock = await door.knock()
    for id in range(ASKS + 50):
        knock.ask("status", id)
    heard = [await knock.hear() for _ in range(ASKS)]
    assert all("result" in each for each in heard)
    rest: list[Any] = []
    while (message := await knock.hear()) is not None:
        rest.append(message)
    assert all(each["error"]["data"]["name"] == "overloaded" for each in rest)
    assert await (await door.knock()).result("status")


async def test_one_connection_has_only_so_much_in_work(door: Door) -> None:
    door.pretended.go.clear()
    knock = await door.knock()
    for id in range(IN_WORK + 1):
        knock.ask("restart", id, name="git")
    assert (await knock.hear())["error"]["data"]["name"] == "overloaded"
    assert door.pretended.begun == IN_WORK
    door.pretended.go.set()
    assert len([await knock.hear() for _ in range(IN_WORK)]) == IN_WORK


async def test_who_does_not_read_is_not_served(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    many = [Status(name=f"plugin-{number}", state=State.READY) for number in range(500)]
    monkeypatch.setattr(door.pretended, "statuses", lambda: many)
    knock = await door.knock()  # asyncio reads a little by itself, then nobody does
    for id in range(ASKS):
        knock.ask("status", id)
    other = await door.knock()
    for _ in range(ASKS):  # turns enough to serve all of it, were it served
        assert "did you mean" in (await other.error("restart", name="gti"))["message"]
    assert max(guest._link.unsent for guest in door.control._guests) < 5 * LONGEST


async def test_a_thousand_connections_leave_room_for_the_broker(door: Door) -> None:
    knocks = [socket.socket(socket.AF_UNIX) for _ in range(1000)]
    address = f"/proc/self/fd/{os.open(door.folder, os.O_RDONLY)}/{os.getpid()}.sock"
    refused = 0
    for knock in knocks:
        knock.setblocking(False)
        try:
            knock.connect(address)
        except BlockingIOError:  # the line before the door is full
            refused += 1
            await asyncio.sleep(0)
        assert len(door.control._guests) <= CONNECTIONS
    for knock in knocks:
        knock.close()
    os.close(int(address.split("/")[4]))
    async with asyncio.timeout(BOUND):
        while door.control._guests:
            await asyncio.sleep(0.01)
    assert refused < 1000 and await (await door.knock()).result("status")


async def test_without_descriptors_it_looks_away_and_comes_back(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faces_control, "PAUSE", 0.05)
    listener = door.control._listener
    looks = 0

    class Exhausted:
        def accept(self) -> Any:
            nonlocal looks
            looks += 1
            raise OSError(24, "Too many open files")

        def fileno(self) -> int:
            assert listener is not None
            return listener.fileno()

    door.control._listener = cast(socket.socket, Exhausted())
    knock = await door.knock()
    async with asyncio.timeout(BOUND):
        while looks < 2:
            await asyncio.sleep(0.01)
    assert looks < 10
    door.control._listener = listener
    assert await knock.result("status")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
async def test_another_user_is_refused_even_if_the_folder_let_them_in(door: Door, tmp_path: Path) -> None:
    for folder in (door.folder, *door.folder.parents[:-2]):
        mode = folder.stat().st_mode & 0o777
        folder.chmod(mode | 0o055)
    door.path.chmod(0o666)
    knocker = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KNOCKER, str(door.path), str(NOBODY), stdout=subprocess.PIPE
    )
    said, _ = await asyncio.wait_for(knocker.communicate(), BOUND)
    assert said == b"heard b''"
    assert door.control._guests == set()


@pytest.mark.parametrize("trouble", ["file", "open", "link"])
async def test_a_folder_that_cannot_be_used_is_a_line_in_the_log(
    tmp_path: Path, trouble: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "broker.control")
    run = tmp_path / "run"
    if trouble == "file":
        run.write_text("")
    elif trouble == "open":
        run.mkdir()
        run.chmod(0o777)
    else:
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        run.symlink_to(tmp_path / "elsewhere")
    door = Door(tmp_path)
    door.control.open(door.environ)
    assert "will not reach this broker" in caplog.text
    await door.closed()


async def test_sockets_of_dead_brokers_are_swept_away(tmp_path: Path) -> None:
    with Folder(tmp_path / "run", make=True) as folder:
        folder.listen("1").close()
    door = Door(tmp_path)
    door.control.open(door.environ)
    assert {file.name for file in door.folder.iterdir()} == {door.path.name}
    await door.closed()


async def test_without_a_gate_nobody_is_granted_anything(door: Door) -> None:
    knock = await door.knock()
    for method in ("grant", "revoke"):
        error = await knock.error(method, name="git", permissions=["net:a.b:1"])
        assert error["data"]["name"] == "method-not-found"
