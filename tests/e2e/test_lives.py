"""The life of a server behind the broker: met once, started when needed, started again, and gone with the broker."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path

import psutil
import pytest

from tests.e2e.harness import EACH_KIND, ERAS, EXIT_BOUND, KINDS, Home, Json, Line, opened, servers_below, survivors
from tests.servers import scripted

pytestmark = pytest.mark.matrix

BROKEN: dict[str, Json] = {
    "absent": {"command": "/nowhere/no-such-program"},
    "falls": {"command": "/bin/sh", "args": ["-c", "echo going down >&2; exit 3"]},
    "mute": {"command": "/bin/sh", "args": ["-c", "exec sleep 1000"], "limits": {"start": "2s"}},
    "babbles": {"command": "/bin/sh", "args": ["-c", "echo not json; exit 0"]},
}


class TestKnown:
    """A server whose lists are kept is not started to be listed."""

    @pytest.mark.parametrize("era", ERAS)
    async def test_a_second_broker_lists_and_starts_nobody(self, tmp_path: Path, era: str) -> None:
        home = Home.of(tmp_path, {"one": scripted("--era", "dual"), "two": scripted()})
        lists = ("tools/list", "prompts/list", "resources/list", "resources/templates/list")
        async with opened(home, era) as line:
            first = [await line.result(each) for each in lists]
            assert len(servers_below(line)) == 2
        async with opened(home, era) as line:
            await line.settled()
            assert [await line.result(each) for each in lists] == first
            assert line.processes() == []
            assert await line.text("two__echo", {"text": "now"}) == "now"
            assert len(servers_below(line)) == 1

    async def test_what_one_era_learned_the_other_is_answered_with(self, tmp_path: Path) -> None:
        home = Home.of(tmp_path, {"one": scripted()})
        async with opened(home, "modern") as line:
            names = await line.names()
        async with opened(home, "legacy") as line:
            assert await line.names() == names
            assert line.processes() == []

    async def test_a_server_that_changed_meanwhile_tells_at_its_next_start(self, tmp_path: Path) -> None:
        """Its file is the same, its lists are not: the broker learns that when it has to start it anyway."""
        script = tmp_path / "run.sh"
        entry = scripted()
        run = f"exec {entry['command']} {' '.join(entry['args'])} $(cat {tmp_path / 'flags'})"
        script.write_text(run)
        (tmp_path / "flags").write_text("")
        home = Home.of(tmp_path, {"one": {"command": "/bin/sh", "args": [str(script)]}})
        async with opened(home) as line:
            assert "annotations" not in (await line.result("tools/list"))["tools"][0]
        (tmp_path / "flags").write_text("--read-only")
        async with opened(home) as line:
            assert "annotations" not in (await line.result("tools/list"))["tools"][0]
            await line.text("one__echo")
            await line.notice("notifications/tools/list_changed")
            assert "annotations" in (await line.result("tools/list"))["tools"][0]

    async def test_lists_do_not_wait_long_for_one_that_is_slow(self, tmp_path: Path) -> None:
        home = Home.of(tmp_path, {"quick": scripted(), "slow": scripted("--slow-start", "30")})
        async with opened(home) as line:
            async with asyncio.timeout(9.5):
                names = await line.names()
            assert "quick__echo" in names and "slow__echo" not in names

    async def test_a_call_does_not_wait_for_servers_it_is_not_for(self, tmp_path: Path) -> None:
        home = Home.of(tmp_path, {"quick": scripted(), "slow": scripted("--slow-start", "30")})
        async with opened(home) as line, asyncio.timeout(4):
            assert await line.text("quick__echo", {"text": "hi"}) == "hi"


class TestEnds:
    """Servers that end before their time."""

    @pytest.mark.parametrize("era", ERAS)
    @pytest.mark.parametrize("kind", EACH_KIND)
    async def test_a_dead_server_is_explained_and_started_again_at_the_next_call(
        self, tmp_path: Path, kind: str, era: str
    ) -> None:
        entry = {**KINDS[kind], "args": [*KINDS[kind]["args"], "--stderr", "the last words"]}
        async with opened(Home.of(tmp_path, {"one": entry}), era) as line:
            before = await line.text("one__whoami")
            died = await line.call("one__die", {"code": 7})
            assert died["isError"]
            assert ("resultType" in died) == (era == "modern")
            told = died["content"][0]["text"]
            assert "one " in told and "exit code 7" in told and "the last words" in told
            assert await line.text("one__whoami") != before

    async def test_a_signal_is_named(self, tmp_path: Path) -> None:
        async with opened(Home.of(tmp_path, {"one": scripted()})) as line:
            pid = int(await line.text("one__whoami"))
            line.send("tools/call", {"name": "one__forever", "arguments": {}}, id="x", meta={"progressToken": 1})
            await line.notice("notifications/progress")
            os.kill(pid, signal.SIGKILL)
            died = (await line.reply("x"))["result"]
            assert died["isError"] and "SIGKILL" in died["content"][0]["text"]

    async def test_a_server_that_dies_while_nobody_calls_is_started_again(self, tmp_path: Path) -> None:
        async with opened(Home.of(tmp_path, {"one": scripted()})) as line:
            [server] = servers_below(line) if await line.text("one__whoami") else []
            server.kill()
            await survivors([server])
            assert int(await line.text("one__whoami")) != server.pid

    async def test_calls_that_wait_behind_a_death_get_the_next_server(self, tmp_path: Path) -> None:
        async with opened(Home.of(tmp_path, {"one": scripted()})) as line:
            await line.text("one__echo")
            line.write(
                line.request("tools/call", {"name": "one__die", "arguments": {}}, id="die"),
                *(line.request("tools/call", {"name": "one__echo", "arguments": {}}, id=id) for id in (1_000, 1_001)),
            )
            assert (await line.reply("die"))["result"]["isError"]
            for id in (1_000, 1_001):
                assert not (await line.reply(id))["result"].get("isError")

    @pytest.mark.parametrize("era", ERAS)
    async def test_broken_servers_do_not_affect_the_others(self, tmp_path: Path, era: str) -> None:
        async with opened(Home.of(tmp_path, {"good": scripted(), **BROKEN}), era) as line:
            names = await line.names()
            assert names and all(name.startswith("good__") for name in names)
            assert await line.text("good__echo", {"text": "hi"}) == "hi"
            await line.settled()
            for name in ("absent", "falls", "mute", "babbles"):
                assert name in line.stderr
            assert "going down" in line.stderr and "exit code 3" in line.stderr

    async def test_an_entry_that_is_wrong_costs_only_itself(self, tmp_path: Path) -> None:
        servers: dict[str, Json] = {"good": scripted(), "bad": {"command": 7}, "remote": {"url": "http://x/"}}
        async with opened(Home.of(tmp_path, servers)) as line:
            assert await line.text("good__echo", {"text": "hi"}) == "hi"
            assert "bad" in line.stderr and "remote" in line.stderr


class TestTurns:
    """How many calls a server has at once."""

    @pytest.mark.parametrize("kind", ["legacy", "modern"])
    async def test_calls_are_serialized_unless_said_otherwise(self, tmp_path: Path, kind: str) -> None:
        async with opened(Home.of(tmp_path, {"one": KINDS[kind]})) as line:
            assert await self.peak(line) == 1

    async def test_concurrency_lets_more_in_and_no_more_than_that(self, tmp_path: Path) -> None:
        async with opened(Home.of(tmp_path, {"one": scripted()}, "--concurrency", "8")) as line:
            assert 1 < await self.peak(line) <= 8

    async def test_an_entry_sets_its_own_concurrency(self, tmp_path: Path) -> None:
        servers = {"one": {**scripted(), "concurrency": 3}, "two": scripted()}
        async with opened(Home.of(tmp_path, servers)) as line:
            assert 1 < await self.peak(line) <= 3
            assert await self.peak(line, "two") == 1

    async def peak(self, line: Line, name: str = "one") -> int:
        """The most calls the server had at once, of twenty that were sent together."""
        call = {"name": f"{name}__sleep", "arguments": {"ms": 10}}
        requests = [line.request("tools/call", call, id=f"{name}{number}") for number in range(20)]
        line.write(*requests)
        for request in requests:
            assert (await line.reply(request["id"]))["result"]["content"][0]["text"] == "slept"
        return int(await line.text(f"{name}__inflight"))

    async def test_one_busy_server_keeps_no_other_waiting(self, tmp_path: Path) -> None:
        async with opened(Home.of(tmp_path, {"busy": scripted(), "free": scripted()})) as line:
            line.send("tools/call", {"name": "busy__forever", "arguments": {}}, id="x", meta={"progressToken": 1})
            await line.notice("notifications/progress")
            assert await line.text("free__echo", {"text": "hi"}) == "hi"
            line.cancel("x")

    async def test_answers_come_when_they_are_ready_not_in_the_order_of_asking(self, tmp_path: Path) -> None:
        async with opened(Home.of(tmp_path, {"slow": scripted(), "quick": scripted()})) as line:
            await line.text("slow__echo")
            late = line.send("tools/call", {"name": "slow__sleep", "arguments": {"ms": 500}})
            await line.text("quick__echo")
            assert not any(message.get("id") == late for message in line.said)
            await line.reply(late)


class TestNoise:
    """Servers that misbehave on their pipes."""

    async def test_a_noisy_server_is_understood(self, tmp_path: Path) -> None:
        async with opened(Home.of(tmp_path, {"one": scripted("--banner", "--stderr", "x" * 9000)})) as line:
            assert await line.text("one__noise") == "after the noise"
            assert await line.text("one__twice") == "twice"
            assert await line.text("one__echo", {"text": "on"}) == "on"

    @pytest.mark.parametrize("flag", ["--exit-on-probe", "--hang-on-probe"])
    async def test_accidents_at_the_probe_end_in_the_legacy_era(self, tmp_path: Path, flag: str) -> None:
        async with opened(Home.of(tmp_path, {"one": scripted(flag)}), "modern") as line:
            assert await line.text("one__echo", {"text": "hi"}) == "hi"
            assert len(servers_below(line)) == 1

    async def test_a_result_of_some_megabytes_passes(self, tmp_path: Path) -> None:
        async with opened(Home.of(tmp_path, {"one": scripted()})) as line:
            assert len(await line.text("one__big", {"bytes": 5 << 20})) == 5 << 20

    async def test_a_result_above_the_limit_names_the_limit(self, tmp_path: Path) -> None:
        async with opened(Home.of(tmp_path, {"one": scripted()}, "--max-frame", "1MiB")) as line:
            result = await line.call("one__big", {"bytes": 2 << 20})
            assert result["isError"] and str(1 << 20) in result["content"][0]["text"]
            assert await line.text("one__echo", {"text": "on"}) == "on"


class TestTheEnd:
    """When the broker goes, everything goes."""

    STUBBORN: dict[str, Json] = {  # noqa: RUF012 - never changed
        "plain": scripted(),
        "deaf": scripted("--ignore-eof"),
        "stubborn": scripted("--ignore-eof", "--ignore-sigterm"),
    }

    async def begun(self, line: Line) -> list[psutil.Process]:
        for name in ("plain", "deaf", "stubborn"):
            await line.text(f"{name}__echo")
        line.send("tools/call", {"name": "plain__forever", "arguments": {}}, meta={"progressToken": 0})
        await line.notice("notifications/progress")
        below = line.processes()
        assert len(below) >= 3
        return below

    @pytest.mark.parametrize("era", ERAS)
    async def test_nobody_outlives_the_end_of_stdin(self, tmp_path: Path, era: str) -> None:
        async with opened(Home.of(tmp_path, self.STUBBORN), era) as line:
            below = await self.begun(line)
            assert await line.leave() == 0
            assert await survivors(below) == []

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
    async def test_nobody_outlives_a_signal(self, tmp_path: Path, number: signal.Signals) -> None:
        async with opened(Home.of(tmp_path, self.STUBBORN)) as line:
            below = await self.begun(line)
            line.process.send_signal(number)
            assert await line.gone() == 0
            assert await survivors(below) == []

    async def test_nobody_who_minds_the_end_of_stdin_outlives_a_broker_that_is_killed(self, tmp_path: Path) -> None:
        async with opened(Home.of(tmp_path, {"one": scripted(), "two": scripted("--era", "dual")})) as line:
            await line.text("one__echo")
            await line.text("two__echo")
            below = line.processes()
            assert len(servers_below(line)) == 2
            line.process.kill()
            assert await line.gone() == -signal.SIGKILL
            assert await survivors(below) == []

    async def test_grandchildren_go_too(self, tmp_path: Path) -> None:
        run = f"sleep 1000 & echo $! > {tmp_path / 'pid'}; exec " + " ".join(
            [scripted()["command"], *scripted()["args"]]
        )
        async with opened(Home.of(tmp_path, {"one": {"command": "/bin/sh", "args": ["-c", run]}})) as line:
            await line.text("one__echo")
            grandchild = psutil.Process(int((tmp_path / "pid").read_text()))
            assert await line.leave() == 0
            assert await survivors([grandchild]) == []

    async def test_a_server_that_is_just_starting_goes_too(self, tmp_path: Path) -> None:
        started = tmp_path / "started"
        os.mkfifo(started)
        slow = scripted("--slow-start", "1000", "--ignore-sigterm")
        run = f"echo $$ > {started}; exec {' '.join([slow['command'], *slow['args']])}"
        async with opened(Home.of(tmp_path, {"one": {"command": "/bin/sh", "args": ["-c", run]}})) as line:
            asked = line.send("tools/list")
            server = psutil.Process(int(await asyncio.to_thread(started.read_text)))
            await line.settled()
            assert not any(message.get("id") == asked for message in line.said)
            assert await line.leave() == 0
            assert await survivors([server]) == []

    async def test_a_broker_nobody_spoke_to_ends_at_once(self, tmp_path: Path) -> None:
        async with opened(Home.of(tmp_path, self.STUBBORN), initialized=False) as line:
            assert await asyncio.wait_for(line.leave(), EXIT_BOUND) == 0
            assert line.said == []

    async def test_what_was_learned_is_kept_when_it_ends_in_the_middle_of_a_start(self, tmp_path: Path) -> None:
        home = Home.of(tmp_path, {"one": scripted(), "starting": scripted("--slow-start", "1000")})
        cache = home.folder / "home" / "cache"
        async with opened(home) as line:
            await line.text("one__echo")
            await line.leave()
        [kept] = [json.loads(file.read_text()) for file in cache.rglob("one-*.json")]
        assert kept["tools"]
