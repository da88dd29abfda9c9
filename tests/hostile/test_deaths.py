"""A server is killed at every moment of its life: each caller is told once, in time, and the next call works."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from msgspec import Raw

from broker.core.listings import Listings
from broker.core.ports import Call
from broker.core.router import Router
from broker.core.status import State
from broker.errors import PluginFailed
from broker.model import Limits, Spec
from broker.runtimes.process import ProcessRuntime
from tests.e2e.harness import ERAS, Home, Json, opened
from tests.hostile.evil import evil, until
from tests.pretend import PretendFace, raw

pytestmark = pytest.mark.matrix

SLOW = 2.0  # seconds in which a caller must be told of a death; what is measured is printed by `pytest -s`
DIE = "\ndef die():\n    os.kill(os.getpid(), signal.SIGKILL)\n"
ONCE = (
    DIE
    + r"""
def die_once(name):
    if not os.path.exists(name):
        open(name, "w").close()
        die()
"""
)


def failure(result: Json) -> Json:
    """What a program is told of a failed call."""
    assert result.get("isError"), result
    return result["_meta"]["plugin-broker/error"]


@pytest.mark.parametrize("era", ERAS)
class TestTheMoment:
    async def test_before_exec(self, tmp_path: Path, era: str) -> None:
        async with opened(Home.of(tmp_path, {"one": {"command": "/no/such/program"}}), era) as line:
            found = failure(await line.call("one__echo"))
            assert found["name"] == "plugin-unavailable"

    async def test_right_after_exec(self, tmp_path: Path, era: str) -> None:
        async with opened(Home.of(tmp_path, {"one": evil(tmp_path, DIE + "die()")}), era) as line:
            found = failure(await line.call("one__echo"))
            assert found["name"] == "plugin-unavailable" and found["plugin"] == "one"

    async def test_in_the_middle_of_its_opening(self, tmp_path: Path, era: str) -> None:
        source = ONCE + f"def on_initialize(m):\n    die_once({str(tmp_path / 'died')!r})\n    polite(m)\n"
        source = "polite = on_initialize\n" + source
        async with opened(Home.of(tmp_path, {"one": evil(tmp_path, source)}), era) as line:
            first = await line.call("one__echo")
            if first.get("isError"):  # the era in which there is no second start within the first
                assert failure(first)["name"] == "plugin-unavailable"
            assert await line.text("one__echo") == "{}"

    async def test_while_it_is_idle(self, tmp_path: Path, era: str) -> None:
        source = "def on_call(m):\n    send(id=m['id'], result=text(str(os.getpid())))\n"
        async with opened(Home.of(tmp_path, {"one": evil(tmp_path, source)}), era) as line:
            pid = int(await line.text("one__echo"))
            os.kill(pid, signal.SIGKILL)
            await until(lambda: not psutil.pid_exists(pid))
            assert int(await line.text("one__echo")) != pid

    @pytest.mark.parametrize("moment", ["written", "half an answer", "after progress", "at the end of a log line"])
    async def test_while_it_has_a_call(self, tmp_path: Path, era: str, moment: str) -> None:
        dying = {
            "written": "",
            "half an answer": '    raw(b\'{"jsonrpc":"2.0","id":%d,"result":{"conte\' % m[\'id\'])\n',
            "after progress": "    send(method='notifications/progress', params={'progressToken': 1, 'progress': 1})\n",
            "at the end of a log line": "    os.write(2, b'the disk is on fire\\n')\n",
        }[moment]
        source = (
            DIE + f"def on_call(m):\n    if m['params'].get('arguments'):\n        return polite(m)\n{dying}    die()\n"
        )
        async with opened(Home.of(tmp_path, {"one": evil(tmp_path, "polite = on_call\n" + source)}), era) as line:
            result = await line.call("one__echo", meta={"progressToken": "p"})
            found = failure(result)
            assert found["name"] == "plugin-crashed" and found["signal"] == "SIGKILL" and found["plugin"] == "one"
            assert found["sideEffects"] == "unknown" and found["retryInMs"] >= 0 and found["uptimeMs"] > 0
            said = result["content"][0]["text"]
            assert "signal SIGKILL" in said and "broker log one" in said
            assert ("the disk is on fire" in said) == (moment == "at the end of a log line")
            assert await line.text("one__echo", {"a": 1}) == '{"a": 1}'

    async def test_while_a_call_is_cancelled(self, tmp_path: Path, era: str) -> None:
        pid = tmp_path / "pid"
        source = DIE + (
            "def on_call(m):\n    if m['params'].get('arguments'): polite(m)\n"
            f"    else: open({str(pid)!r}, 'w').write(str(os.getpid()))\n"
            "def on_other(m):\n    if m['method'] == 'notifications/cancelled': die()\n    other(m)\n"
        )
        source = "polite, other = on_call, on_other\n" + source
        async with opened(Home.of(tmp_path, {"one": evil(tmp_path, source)}), era) as line:
            id = line.send("tools/call", {"name": "one__echo", "arguments": {}})
            await until(lambda: pid.exists() and pid.read_text() != "")
            line.cancel(id)
            await until(lambda: not psutil.pid_exists(int(pid.read_text())))
            assert await line.text("one__echo", {"a": 1}) == '{"a": 1}'
            assert not any(message.get("id") == id and "method" not in message for message in line.said)

    async def test_with_64_calls_in_work(self, tmp_path: Path, era: str) -> None:
        died = tmp_path / "died"
        source = DIE + (
            "calls = []\n"
            "def on_call(m):\n    if m['params'].get('arguments', {}).get('a'): return polite(m)\n"
            "    calls.append(m)\n    if len(calls) == 64:\n"
            f"        open({str(died)!r}, 'w').write(repr(time.time()))\n        die()\n"
        )
        server = evil(tmp_path, "polite = on_call\n" + source, concurrency=64)
        async with opened(Home.of(tmp_path, {"one": server}), era) as line:
            assert await line.text("one__echo", {"a": 1}) == '{"a": 1}'
            ids = [line.send("tools/call", {"name": "one__echo", "arguments": {"n": n}}) for n in range(64)]
            replies = [await line.reply(id) for id in ids]
            took = time.time() - float(died.read_text())
            assert {failure(reply["result"])["sideEffects"] for reply in replies} == {"unknown"}
            assert await line.text("one__echo", {"a": 2}) == '{"a": 2}'
            assert took < SLOW

    async def test_while_the_broker_stops(self, tmp_path: Path, era: str) -> None:
        source = DIE + "import atexit\nos._exit = lambda code: die()\n"
        async with opened(Home.of(tmp_path, {"one": evil(tmp_path, source)}), era) as line:
            await line.text("one__echo")
            assert await line.leave() == 0

    async def test_a_read_is_answered_by_the_next_instance(self, tmp_path: Path, era: str) -> None:
        source = "polite = on_other\nCAPS = {'resources': {}}\n" + ONCE + (
            "def on_other(m):\n"
            "    if m['method'] == 'resources/list':\n"
            "        return send(id=m['id'], result={'resources': [{'uri': 'x://a', 'name': 'a'}]})\n"
            "    if m['method'] == 'resources/read':\n"
            f"        die_once({str(tmp_path / 'died')!r})\n"
            "        return send(id=m['id'], result={'contents': [{'uri': 'x://a', 'text': 'yes'}]})\n"
            "    polite(m)\n"
        )  # fmt: skip
        async with opened(Home.of(tmp_path, {"one": evil(tmp_path, source)}), era) as line:
            result = await line.result("resources/read", {"uri": "x://a"})
            assert result["contents"][0]["text"] == "yes" and (tmp_path / "died").exists()


@pytest.mark.parametrize("era", ERAS)
async def test_one_that_ends_at_every_start_is_started_four_times_a_minute_at_most(tmp_path: Path, era: str) -> None:
    marks = tmp_path / "starts"
    source = f"mark({str(marks)!r})\nos.write(2, b'no licence\\n')\nos._exit(3)\n"
    async with opened(Home.of(tmp_path, {"one": evil(tmp_path, source)}), era) as line:
        errors = [failure(await line.call("one__echo", {"n": n})) for n in range(50)]
        assert marks.stat().st_size <= 4
        assert {error["name"] for error in errors} == {"plugin-unavailable"}
        last = await line.call("one__echo")
        said = last["content"][0]["text"]
        assert "keeps failing" in said and "exit code 3" in said and "no licence" in said
        assert 0 < failure(last)["retryInMs"] <= 60_000 and "broker restart one" in said


@pytest.mark.parametrize("era", ERAS)
async def test_the_absence_of_a_required_server_is_seen_by_whoever_looks(tmp_path: Path, era: str) -> None:
    gone = evil(tmp_path / "gone", "os.write(2, b'no licence\\n')\nos._exit(3)\n", required=True)
    home = Home.of(tmp_path, {"gone": gone, "one": evil(tmp_path / "one")})
    async with opened(home, era) as line:
        tools = {tool["name"]: tool for tool in (await line.result("tools/list"))["tools"]}
        assert (
            set(tools) == {"gone__unavailable", "one__echo"}
            and "no licence" in tools["gone__unavailable"]["description"]
        )
        assert "exit code 3" in (await line.call("gone__unavailable"))["content"][0]["text"]
        assert await line.text("one__echo") == "{}"
        opening = "initialize" if era == "legacy" else "server/discover"
        who = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}
        assert "Required, and not available" in (await line.result(opening, who))["instructions"]


async def test_a_plugin_that_is_stopped_by_a_signal_is_ended_and_the_others_do_not_notice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the real processes; only the times are shorter."""
    for name, seconds in (("TICK", 0.05), ("SILENCE", 0.2), ("PROBE", 0.3)):
        monkeypatch.setattr(f"broker.core.vigil.{name}", seconds)
    router = Router([spec("one", tmp_path), spec("two", tmp_path)], ProcessRuntime(tmp_path), Listings(None))
    face = PretendFace()
    try:
        await router.learned(face.identity, face, 20)
        pid = router.plugins["one"].status().pids[0]
        os.kill(pid, signal.SIGSTOP)
        stuck = asyncio.ensure_future(router.call(asked(face, "one__echo")))
        for number in range(50):
            await asyncio.wait_for(router.call(asked(face, "two__echo", number=number)), 5)
        with pytest.raises(PluginFailed, match="one was stopped by a signal"):
            await asyncio.wait_for(stuck, 20)
        await asyncio.wait_for(router.call(asked(face, "one__echo")), 20)
        assert router.plugins["one"].status().pids != (pid,)
    finally:
        await router.stop(0.5)


async def test_a_plugin_that_is_idle_is_stopped_and_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.core.vigil.TICK", 0.05)
    router = Router([spec("one", tmp_path, limits=Limits(idle=0.2))], ProcessRuntime(tmp_path), Listings(None))
    face = PretendFace()
    try:
        await router.learned(face.identity, face, 20)
        pid = router.plugins["one"].status().pids[0]
        await until(lambda: router.plugins["one"].status().state is State.OFF and not psutil.pid_exists(pid))
        await asyncio.wait_for(router.call(asked(face, "one__echo")), 20)
    finally:
        await router.stop(0.5)


def spec(name: str, folder: Path, **rest: Any) -> Spec:
    entry = evil(folder / name)
    return Spec(name=name, source="test", command=(entry["command"], *entry["args"]), **rest)


def asked(face: PretendFace, tool: str, **arguments: Any) -> Call:
    params = {"name": raw(tool), "arguments": Raw(bytes(raw(arguments)))}
    return Call(face, face.identity, "tools/call", params)
