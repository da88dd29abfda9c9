"""More of everything than anybody can use: what it costs is bounded, and nobody else pays."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.e2e.harness import Home, Line, opened
from tests.hostile.evil import evil, until
from tests.hostile.test_bounds import Deaf, memory

ROOM = 100  # MiB that a flood may cost


async def test_a_server_that_floods_with_what_nobody_asked_for_is_ended_and_started_again(tmp_path: Path) -> None:
    source = r"""
def on_call(m):
    if (m["params"].get("arguments") or {}).get("flood"):
        for n in range(3000):
            send(id=10_000_000 + n, result={})
        time.sleep(30)
    send(id=m["id"], result=text(str(os.getpid())))
"""
    home = Home.of(tmp_path, {"one": evil(tmp_path / "one", source), "two": evil(tmp_path / "two")})
    async with opened(home) as line:
        before = await line.text("one__echo")
        failed = await line.call("one__echo", {"flood": True})
        assert failed["isError"] and "nobody asked for" in json.dumps(failed)
        assert await line.text("two__echo") == "{}"
        assert await line.text("one__echo") != before


@pytest.mark.parametrize("what", ["words", "objects", "vendor", "logs", "lists"])
async def test_a_server_may_say_much_that_it_is_allowed_to_say(tmp_path: Path, what: str) -> None:
    """None of these is a reason to end it."""
    source = r"""
SAYS = {
    "words": b"word\n",
    "objects": b"{}\n",
    "vendor": b'{"jsonrpc":"2.0","method":"notifications/vendor","params":{}}\n',
    "logs": b'{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"x"}}\n',
    "lists": b'{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}\n',
}

def on_call(m):
    raw(SAYS[WHAT] * 5000)
    send(id=m["id"], result=text(str(os.getpid())))
""".replace("WHAT", repr(what))
    async with opened(Home.of(tmp_path, {"one": evil(tmp_path, source)})) as line:
        assert await line.text("one__echo") == await line.text("one__echo")


async def test_late_answers_of_a_server_that_does_not_know_cancelling_are_no_misconduct(tmp_path: Path) -> None:
    source = r"""
def on_call(m):
    arguments = m["params"].get("arguments") or {}
    if arguments.get("late"):
        time.sleep(0.0005)
    send(id=m["id"], result=text(str(os.getpid())))
"""
    async with opened(Home.of(tmp_path, {"one": {**evil(tmp_path, source), "concurrency": 64}})) as line:
        before = await line.text("one__echo")
        for _ in range(24):
            ids = [line.send("tools/call", {"name": "one__echo", "arguments": {"late": True}}) for _ in range(50)]
            for id in ids:
                line.cancel(id)
            await line.settled()
        assert await line.text("one__echo") == before, line.stderr


async def test_a_server_that_asks_and_never_reads_is_ended(tmp_path: Path) -> None:
    source = r"""
def on_call(m):
    if not os.path.exists("asked"):
        mark("asked")
        ping = b'{"jsonrpc":"2.0","id":%d,"method":"ping"}\n'
        while True:
            raw(b"".join(ping % n for n in range(1000)))
    send(id=m["id"], result=text("hi"))
"""
    async with opened(Home.of(tmp_path, {"one": evil(tmp_path, source)})) as line:
        await line.names()
        before = memory(line.process.pid)
        failed = await line.call("one__echo")
        assert failed["isError"] and "without reading the answers" in json.dumps(failed)
        assert memory(line.process.pid) - before < ROOM
        assert await line.text("one__echo") == "hi"


async def test_a_line_without_an_end_costs_its_call_and_a_bounded_memory(tmp_path: Path) -> None:
    source = r"""
def on_call(m):
    if (m["params"].get("arguments") or {}).get("flood"):
        for _ in range(150):
            raw(b"x" * (1 << 20))
        mark("flooded")
        return
    raw(b"\n")
    send(id=m["id"], result=text("hi"))
"""
    home = Home.of(tmp_path, {"one": evil(tmp_path, source, timeout=4), "two": evil(tmp_path / "two")})
    async with opened(home) as line:
        await line.text("one__echo")
        before = memory(line.process.pid)
        id = line.send("tools/call", {"name": "one__echo", "arguments": {"flood": True}})
        await until((tmp_path / "flooded").exists)
        assert await line.text("two__echo") == "{}"
        assert memory(line.process.pid) - before < ROOM
        assert "did not answer" in json.dumps(await line.reply(id))
        assert await line.text("one__echo") == "hi"


async def test_a_flood_of_progress_becomes_some_news_and_the_last_before_the_result(tmp_path: Path) -> None:
    source = r"""
def on_call(m):
    token = m["params"]["_meta"]["progressToken"]
    for n in range(20000):
        send(method="notifications/progress", params={"progressToken": token, "progress": n})
    send(id=m["id"], result=text("done"))
"""
    async with opened(Home.of(tmp_path, {"one": evil(tmp_path, source)})) as line:
        assert await line.text("one__echo", meta={"progressToken": "t"}) == "done"
        news = [params["progress"] for params in line.notices("notifications/progress")]
        assert news == sorted(set(news)) and news[-1] == 19999
        assert len(news) < 5000


async def asked_much(line: Line, size: int, count: int) -> list[int]:
    call = {"name": "one__echo", "arguments": {"x": "y" * size}}
    return [line.send("tools/call", call) for _ in range(count)]


async def test_calls_that_wait_with_much_in_their_arguments_are_refused_beyond_a_bound(tmp_path: Path) -> None:
    source = r"""
def on_call(m):
    while not os.path.exists("go"):
        time.sleep(0.01)
    send(id=m["id"], result=text("hi"))
"""
    async with opened(Home.of(tmp_path, {"one": evil(tmp_path, source)})) as line:
        await line.names()
        before = memory(line.process.pid)
        ids = await asked_much(line, 1 << 20, 200)
        refused = await line.until(lambda message: "error" in message)
        assert refused["error"]["code"] == -31007
        assert memory(line.process.pid) - before < 200
        (tmp_path / "go").write_text("")
        replies = [await line.reply(id) for id in ids]
        assert sum("result" in reply for reply in replies) >= 60


async def test_a_thousand_answers_wait_for_a_client_that_does_not_read(tmp_path: Path) -> None:
    """100 MB of them; it gets them all when it reads again."""
    source = r"""
BIG = "x" * 100_000

def on_call(m):
    mark("calls")
    send(id=m["id"], result=text(BIG))
"""
    with Deaf(Home.of(tmp_path, {"one": {**evil(tmp_path, source), "concurrency": 16}})) as client:
        sending = asyncio.get_running_loop().run_in_executor(None, lambda: [client.call(n) for n in range(10, 1010)])
        await until(lambda: client.calls >= 50)
        await asyncio.sleep(1)  # nothing more may come: time for all of them
        assert memory(client.process.pid) < 128
        seen: set[int] = set()
        rest = b""
        while len(seen) < 1000:
            data = rest + await asyncio.to_thread(client.read)
            *lines, rest = data.split(b"\n")
            seen |= {json.loads(line).get("id") for line in lines}
        await sending
        assert seen == set(range(10, 1010))


async def test_lists_asked_for_all_at_once_wait_for_a_client_that_does_not_read(tmp_path: Path) -> None:
    """What came in one read is answered no further than its client reads: these would be 500 MB."""
    source = 'TOOLS.append({"name": "big", "description": "x" * 1_000_000, "inputSchema": {}})'
    with Deaf(Home.of(tmp_path, {"one": evil(tmp_path, source)})) as client:
        request = b'{"jsonrpc":"2.0","id":%d,"method":"tools/list"}\n'
        assert client.process.stdin is not None
        client.process.stdin.write(b"".join(request % n for n in range(10, 510)))
        await asyncio.sleep(1)  # nothing more may come: time for all of them
        assert memory(client.process.pid) < 128
        said = 0
        while said < 500:
            said += (await asyncio.to_thread(client.read)).count(b"\n")


async def test_notices_to_a_server_that_does_not_read_are_bounded(tmp_path: Path) -> None:
    source = r"""
def on_call(m):
    time.sleep(60)
"""
    async with opened(Home.of(tmp_path, {"one": evil(tmp_path, source), "two": evil(tmp_path / "two")})) as line:
        await line.names()
        line.send("tools/call", {"name": "one__echo", "arguments": {}})
        before = memory(line.process.pid)
        notice = {"jsonrpc": "2.0", "method": "notifications/roots/list_changed", "params": {"x": "y" * 10_000}}
        for _ in range(100):
            line.write_bytes((json.dumps(notice).encode() + b"\n") * 50)
            await line.settled()
        assert memory(line.process.pid) - before < ROOM
        assert await line.text("two__echo") == "{}"


@pytest.mark.slow
async def test_a_message_that_trickles_ends_its_server_and_the_next_call_gets_a_new_one(tmp_path: Path) -> None:
    source = r"""
def on_call(m):
    if not os.path.exists("trickled"):
        mark("trickled")
        raw(b'{"jsonrpc":"2.0","id":%d,' % m["id"])
        while True:
            raw(b" ")
            time.sleep(0.05)
    send(id=m["id"], result=text("hi"))
"""
    async with opened(Home.of(tmp_path, {"one": evil(tmp_path, source)})) as line:
        await line.names()
        id = line.send("tools/call", {"name": "one__echo", "arguments": {}})
        await asyncio.sleep(9)
        failed = await line.reply(id)
        assert "bytes of a message" in json.dumps(failed)
        assert await line.text("one__echo") == "hi"
