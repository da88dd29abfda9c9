"""What one server or client can make the broker say, keep or do without end."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.e2e.harness import Home, Line, opened
from tests.hostile.evil import evil, until

pytestmark = pytest.mark.matrix

FRAME = 9 << 20  # above `max_frame` (8 MiB) with room for the envelope
BIG_RESULTS = r"""
BIG = text("x" * (7 << 20))

def on_call(m):
    mark("calls")
    send(id=m["id"], result=BIG)
"""


def longest(line: Line) -> int:
    return max(len(json.dumps(message)) for message in line.said)


def memory(pid: int) -> int:
    """MiB that a process holds."""
    return psutil.Process(pid).memory_info().rss >> 20


class Deaf:
    """A client that writes, and reads only when told to."""

    def __init__(self, home: Home) -> None:
        self._calls = home.folder / "calls"
        self.process = subprocess.Popen(
            [home.command, *home.args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=home.env,
            cwd=home.folder,
            bufsize=0,
        )
        who = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "deaf", "version": "1"}}
        self.say(id=0, method="initialize", params=who)
        self.read()
        self.say(method="notifications/initialized")
        self.say(id=1, method="tools/list", params={})
        self.read()

    def say(self, **message: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")

    def call(self, id: int) -> None:
        self.say(id=id, method="tools/call", params={"name": "one__echo", "arguments": {}})

    def read(self) -> bytes:
        """What comes next, up to the end of a line."""
        assert self.process.stdout is not None
        said: list[bytes] = []
        while not said or not said[-1].endswith(b"\n"):
            said.append(self.process.stdout.read(1 << 20))
            assert said[-1], "the broker ended"
        return b"".join(said)

    @property
    def calls(self) -> int:
        """How many calls reached the server."""
        return self._calls.stat().st_size if self._calls.exists() else 0

    def leave(self) -> None:
        """Close its side; the broker must be gone in time, whatever it could not say."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(6)

    def __enter__(self) -> Deaf:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            for process in (*psutil.Process(self.process.pid).children(recursive=True), self.process):
                process.kill()
            self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


@pytest.mark.parametrize("what", ["error-message", "error-data", "log", "other-notice"])
async def test_nothing_longer_than_max_frame_is_said(tmp_path: Path, what: str) -> None:
    source = r"""
BIG = "x" * FRAME

def on_call(m):
    if WHAT == "error-message":
        send(id=m["id"], error={"code": 1, "message": BIG})
    elif WHAT == "error-data":
        send(id=m["id"], error={"code": 1, "message": "m", "data": BIG})
    elif WHAT == "log":
        send(method="notifications/message", params={"level": "error", "data": BIG})
    else:
        send(method="notifications/vendor", params={"data": BIG})
    send(id=m["id"], result=text("hi"))
""".replace("WHAT", repr(what)).replace("FRAME", str(FRAME))
    async with opened(Home.of(tmp_path, {"one": evil(tmp_path, source)})) as line:
        await line.ask("tools/call", {"name": "one__echo", "arguments": {}})
        assert longest(line) < FRAME


async def test_a_template_cannot_stop_the_broker(tmp_path: Path) -> None:
    """Many expressions side by side are a pattern that a naive match tries in ways without end."""
    source = r"""
CAPS = {"tools": {}, "resources": {}}
TEMPLATE = "x://" + "".join("{v%d}" % n for n in range(12)) + "!"

def on_other(m):
    if m.get("method") == "resources/templates/list":
        send(id=m["id"], result={"resourceTemplates": [{"uriTemplate": TEMPLATE, "name": "t"}]})
    elif m.get("method") == "resources/list":
        send(id=m["id"], result={"resources": []})
    elif "id" in m:
        send(id=m["id"], result={})
"""
    async with opened(Home.of(tmp_path, {"one": evil(tmp_path, source)})) as line:
        line.judged = False  # it reads to an empty object
        await line.names("resources")
        line.send("resources/read", {"uri": "x://" + "a" * 60})
        await line.settled()


async def test_lists_that_always_change_are_not_asked_for_without_end(tmp_path: Path) -> None:
    """A server that says list_changed whenever it is asked for its list."""
    source = r"""
COUNT = 0

def on_list(m):
    global COUNT
    COUNT += 1
    send(id=m["id"], result={"tools": TOOLS})
    send(method="notifications/tools/list_changed")

def on_call(m):
    send(id=m["id"], result=text(str(COUNT)))
"""
    async with opened(Home.of(tmp_path, {"one": evil(tmp_path, source)})) as line:
        before = int(await line.text("one__echo"))
        await asyncio.sleep(1)  # what must not happen in it would happen hundreds of times
        assert int(await line.text("one__echo")) - before < 20


async def test_a_list_that_is_never_answered_costs_only_itself(tmp_path: Path) -> None:
    """It says it has resources and keeps quiet when asked for them; its tools are fine."""
    source = r"""
CAPS = {"tools": {}, "resources": {}}

def on_other(m):
    pass
"""
    async with opened(Home.of(tmp_path, {"one": evil(tmp_path, source, limits={"start": 1})})) as line:
        assert await line.names() == ["one__echo"], line.stderr


async def test_what_a_server_does_not_read_is_bounded(tmp_path: Path) -> None:
    source = r"""
def on_call(m):
    time.sleep(60)
"""
    call = {"name": "one__echo", "arguments": {"x": "y" * (4 << 20)}}
    async with opened(Home.of(tmp_path, {"one": {**evil(tmp_path, source), "timeout": 1000}})) as line:
        await line.names()
        before = psutil.Process(line.process.pid).memory_info().rss
        for _ in range(40):  # 160 MiB, of which 16 may wait
            id = line.send("tools/call", call)
            await line.settled()
            line.cancel(id)
            await line.settled()
        assert psutil.Process(line.process.pid).memory_info().rss - before < 90 << 20
        waiting = await line.call("one__echo")
        assert waiting["isError"] and "did not answer" in json.dumps(waiting)


async def test_a_burst_larger_than_what_may_wait_is_served_whole(tmp_path: Path) -> None:
    call = {"name": "one__echo", "arguments": {"x": "y" * (3 << 20)}}
    async with opened(Home.of(tmp_path, {"one": {**evil(tmp_path), "concurrency": 16}})) as line:
        await line.names()
        ids = [line.send("tools/call", call) for _ in range(10)]
        for id in ids:
            assert not (await line.reply(id))["result"].get("isError")


async def test_updates_that_a_client_does_not_read_are_told_once(tmp_path: Path) -> None:
    """20 MB of updates of one resource are sent to a client that does not read."""
    source = r"""
CAPS = {"tools": {}, "resources": {"subscribe": True}}
URI = "x://" + "b" * 2000

def on_other(m):
    if m.get("method") == "resources/list":
        send(id=m["id"], result={"resources": [{"uri": URI, "name": "a"}]})
    elif "id" in m:
        send(id=m["id"], result={})

def on_call(m):
    update = {"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": URI}}
    for _ in range(100):
        raw((json.dumps(update).encode() + b"\n") * 100)
    send(id=m["id"], result=text("done"))
    mark("calls")
"""
    with Deaf(Home.of(tmp_path, {"one": evil(tmp_path, source)})) as client:
        client.say(id=5, method="resources/subscribe", params={"uri": "x://" + "b" * 2000})
        client.read()
        client.call(6)
        await until(lambda: client.calls == 1)
        said = client.read()
        while b'"id":6' not in said:
            said += client.read()
        assert b"notifications/resources/updated" in said
        assert len(said) < 4 << 20


async def test_results_that_a_client_does_not_read_are_bounded(tmp_path: Path) -> None:
    with Deaf(Home.of(tmp_path, {"one": evil(tmp_path, BIG_RESULTS)})) as client:
        before = memory(client.process.pid)
        for n in range(40):
            client.call(10 + n)
        await until(lambda: client.calls >= 2)
        await asyncio.sleep(1.5)  # nothing more may come: time for all 40, which are 280 MiB
        assert client.calls < 5
        assert memory(client.process.pid) - before < 100


async def test_a_client_that_does_not_read_can_still_leave(tmp_path: Path) -> None:
    """Reading is paused when 8 MiB are unread, and then the end of stdin is not seen."""
    with Deaf(Home.of(tmp_path, {"one": evil(tmp_path, BIG_RESULTS)})) as client:
        for n in range(4):
            client.call(10 + n)
        await until(lambda: client.calls >= 2)
        await asyncio.sleep(0.5)  # for the results to be in the broker, which nothing shows
        client.say(id=50, method="ping")
        await asyncio.sleep(0.3)  # for the ping to be read and reading to be paused
        client.leave()


async def test_a_client_that_left_with_much_unread_does_not_make_the_broker_spin(tmp_path: Path) -> None:
    """Its last call waits for room, which a client that left will never make."""
    source = BIG_RESULTS.replace("mark(", "time.sleep(0.05); mark(")
    with Deaf(Home.of(tmp_path, {"one": evil(tmp_path, source)})) as client:
        client.call(9)
        client.read()
        for n in range(3):
            client.call(10 + n)
        client.leave()


async def test_an_unknown_name_among_many_is_answered_at_once(tmp_path: Path) -> None:
    source = r"""
TOOLS = [{"name": "get_the_%05d_thing_of_the_list" % n, "inputSchema": {}} for n in range(20000)]
"""
    async with opened(Home.of(tmp_path, {"one": evil(tmp_path, source)})) as line:
        await line.names()
        start = time.monotonic()
        await line.error("tools/call", {"name": "one__get_the_0x0x0_thinks_off_the_lisp", "arguments": {}})
        assert time.monotonic() - start < 1
