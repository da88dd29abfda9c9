"""Servers that end, close and jam at bad moments."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import psutil
import pytest

from tests.e2e.harness import Home, opened, survivors
from tests.hostile.evil import evil, until
from tests.servers import scripted

pytestmark = pytest.mark.matrix

LONG = {"name": "one__echo", "arguments": {"x": "y" * (5 << 20)}}


async def test_a_server_that_reads_and_writes_in_one_thread_is_never_jammed(tmp_path: Path) -> None:
    """It is blocked writing an answer while more than 8 MiB wait to be read by it: broker has to read on."""
    server = evil(tmp_path, concurrency=4, timeout=5)
    async with opened(Home.of(tmp_path, {"one": server})) as line:
        await line.text("one__echo")
        ids = [line.send("tools/call", LONG) for _ in range(4)]
        for id in ids:
            reply = await line.reply(id)
            assert not reply["result"].get("isError"), reply
        assert await line.text("one__echo") == "{}"


async def test_a_server_left_behind_by_cancelled_calls_is_never_jammed(tmp_path: Path) -> None:
    """The same one at a time, with calls that the client took back."""
    async with opened(Home.of(tmp_path, {"one": evil(tmp_path, timeout=3)})) as line:
        await line.text("one__echo")
        for _ in range(4):
            id = line.send("tools/call", LONG)
            await line.settled()
            line.cancel(id)
            await line.settled()
        assert await line.text("one__echo") == "{}"


async def test_a_long_reply_is_whole_when_the_client_closed_its_side_first(tmp_path: Path) -> None:
    async with opened(Home.of(tmp_path, {"one": scripted()})) as line:
        await line.text("one__echo", {"text": "hi"})
        id = line.send("tools/call", {"name": "one__big", "arguments": {"bytes": 3 << 20}})
        assert line.process.stdin is not None
        line.process.stdin.close()
        reply = await line.reply(id)
        assert len(reply["result"]["content"][0]["text"]) == 3 << 20
        await line.gone()


async def test_a_question_belongs_to_the_call_that_is_still_open(tmp_path: Path) -> None:
    """Two calls of one client are in flight; the older one ends while the person thinks about the other's question."""
    home = Home.of(tmp_path, {"one": {**scripted(), "concurrency": 4}})
    async with opened(home, capabilities={"elicitation": {}}) as line:
        await line.text("one__echo", {"text": "hi"})
        older = line.send("tools/call", {"name": "one__sleep", "arguments": {"ms": 600}})
        asking = line.send("tools/call", {"name": "one__elicit", "arguments": {"message": "Who?"}})
        question = await line.asked("elicitation/create")
        await line.reply(older)
        await line.settled()
        line.write({"id": question["id"], "result": {"action": "accept", "content": {"name": "Ann"}}})
        reply = await line.reply(asking)
        assert "Ann" in json.dumps(reply), (reply, line.said[-4:])


async def test_a_subscription_that_is_never_answered_ends(tmp_path: Path) -> None:
    source = r"""
CAPS = {"tools": {}, "resources": {"subscribe": True}}

def on_other(m):
    if m.get("method") == "resources/list":
        send(id=m["id"], result={"resources": [{"uri": "x://a", "name": "a"}]})
    elif "id" in m and m["method"] != "resources/subscribe":
        send(id=m["id"], result={})
"""
    async with opened(Home.of(tmp_path, {"one": evil(tmp_path, source, timeout=1)})) as line:
        await line.names()
        await line.error("resources/subscribe", {"uri": "x://a"})


async def test_a_server_that_closed_its_stdout_does_not_outlive_the_broker(tmp_path: Path) -> None:
    source = r"""
signal.signal(signal.SIGTERM, signal.SIG_IGN)

def on_call(m):
    send(id=m["id"], result=text(str(os.getpid())))
    os.close(1)
    time.sleep(60)
"""
    async with opened(Home.of(tmp_path, {"one": evil(tmp_path, source)})) as line:
        server = psutil.Process(int(await line.text("one__echo")))
        await asyncio.sleep(0.3)  # into the moment the broker gives it to end by itself
        await line.leave()
        left = await survivors([server])
        for process in left:
            process.kill()
        assert not left


async def test_a_restart_survives_a_client_that_unsubscribes_meanwhile(tmp_path: Path) -> None:
    source = r"""
CAPS = {"tools": {}, "resources": {"subscribe": True}}

def on_call(m):
    if (m["params"].get("arguments") or {}).get("die"):
        os._exit(1)
    send(id=m["id"], result=text("hi"))

def on_other(m):
    if m.get("method") == "resources/list":
        send(id=m["id"], result={"resources": [{"uri": "x://" + n, "name": n} for n in "abc"]})
    elif m.get("method") == "resources/subscribe":
        if os.path.exists("slow"):
            mark("subscribing")
            time.sleep(0.5)
        send(id=m["id"], result={})
    elif "id" in m:
        send(id=m["id"], result={})
"""
    async with opened(Home.of(tmp_path, {"one": evil(tmp_path, source)})) as line:
        await line.names()
        for name in "abc":
            await line.result("resources/subscribe", {"uri": f"x://{name}"})
        (tmp_path / "slow").write_text("")
        await line.call("one__echo", {"die": True})
        id = line.send("tools/call", {"name": "one__echo", "arguments": {}})
        await until((tmp_path / "subscribing").exists)
        line.send("resources/unsubscribe", {"uri": "x://b"})
        reply = await line.reply(id)
        assert not reply["result"].get("isError"), (reply, line.stderr)


async def test_lists_are_asked_of_the_instance_that_runs(tmp_path: Path) -> None:
    """A refresh waits for its turn when its instance dies: the next instance's lists are the ones to learn."""
    source = r"""
N = len(os.listdir("runs"))
mark("runs/%d" % N)
TOOLS = [{"name": "echo", "inputSchema": {}}, {"name": "run%d" % N, "inputSchema": {}}]

def on_call(m):
    if (m["params"].get("arguments") or {}).get("die"):
        send(method="notifications/tools/list_changed")
        time.sleep(0.2)
        os._exit(1)
    send(id=m["id"], result=text("hi"))
"""
    (tmp_path / "runs").mkdir()
    async with opened(Home.of(tmp_path, {"one": evil(tmp_path, source)})) as line:
        await line.names()
        ids = [line.send("tools/call", {"name": "one__echo", "arguments": {"die": n == 0}}) for n in range(2)]
        for id in ids:
            await line.reply(id)
        await line.notice("notifications/tools/list_changed")
        assert "one__run1" in await line.names(), os.listdir(tmp_path / "runs")


@pytest.mark.parametrize("shape", ["id-last", "id-inside"])
async def test_an_answer_that_is_too_long_fails_its_call_at_once(tmp_path: Path, shape: str) -> None:
    """The official TypeScript SDK writes `id` after `result`."""
    source = r"""
def on_call(m):
    big = text("x" * (17 << 20))
    if SHAPE == "id-last":
        body = {"result": big, "jsonrpc": "2.0", "id": m["id"]}
    else:
        body = {"jsonrpc": "2.0", "id": m["id"], "result": {"structuredContent": {"items": [{"id": 1}]}, **big}}
    raw(json.dumps(body, separators=(",", ":")).encode() + b"\n")
""".replace("SHAPE", repr(shape))
    async with opened(Home.of(tmp_path, {"one": evil(tmp_path, source)})) as line:
        await line.names()
        result = await line.call("one__echo")
        assert result["isError"]
