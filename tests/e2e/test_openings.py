"""The ways a client may open: every revision, both eras on one pipe, in any order, with any id."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness import ERAS, LATEST_LEGACY, META, MODERN, Home, Json, Line, opened, same_id, spoken
from tests.servers import scripted

pytestmark = pytest.mark.matrix

LEGACY_VERSIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
PROMPT = 10.0  # seconds; an answer that starts nobody needs a thirtieth of it
SLOW = {name: scripted("--slow-start", "30") for name in ("one", "two", "three")}


@pytest.fixture
def slow(tmp_path: Path) -> Home:
    """Servers that would keep anyone waiting who needs them."""
    return Home.of(tmp_path, SLOW)


def hello(version: str, id: Any = "hello") -> Json:
    client = {"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "line", "version": "1"}}
    return {"id": id, "method": "initialize", "params": client}


@pytest.mark.parametrize("version", LEGACY_VERSIONS)
async def test_every_known_revision_is_echoed_at_once(slow: Home, version: str) -> None:
    async with opened(slow, initialized=False) as line, asyncio.timeout(PROMPT):
        found = await line.initialize(version)
        assert found["protocolVersion"] == version
        assert found["serverInfo"]["name"] == "broker" and found["serverInfo"]["version"]
        assert {"tools", "resources", "prompts", "completions", "logging"} <= {*found["capabilities"]}


@pytest.mark.parametrize("version", ["2026-07-28", "2099-01-01", "1.0", ""])
async def test_an_unknown_revision_gets_the_latest_of_its_era(slow: Home, version: str) -> None:
    async with opened(slow, initialized=False) as line:
        assert (await line.initialize(version))["protocolVersion"] == LATEST_LEGACY


async def test_discover_is_answered_at_once_and_says_everything(slow: Home) -> None:
    async with opened(slow, "modern") as line, asyncio.timeout(PROMPT):
        found = await line.result("server/discover")
        assert found["supportedVersions"] == [MODERN] and found["resultType"] == "complete"
        assert found["_meta"][META + "serverInfo"]["name"] == "broker"
        assert {"tools", "resources", "prompts", "completions", "logging"} <= {*found["capabilities"]}
        assert isinstance(found["ttlMs"], int) and found["cacheScope"] in ("private", "public")
        assert "protocolVersion" not in found


async def test_ping_is_answered_before_and_after_initialize(slow: Home) -> None:
    async with opened(slow, initialized=False) as line, asyncio.timeout(PROMPT):
        assert await line.result("ping") == {}
        await line.initialize()
        assert await line.result("ping") == {}


async def served(line: Line, era: str) -> None:
    """Both a list and a call are answered in `era`."""
    line.era = era
    listed = await line.result("tools/list")
    called = await line.call("one__echo", {"text": era})
    assert ("resultType" in listed, "resultType" in called) == (era == "modern", era == "modern")
    assert called["content"][0]["text"] == era


@pytest.mark.parametrize("kind", ["legacy", "modern", "dual", "dual-locked"])
@pytest.mark.parametrize("first", ERAS)
async def test_both_eras_are_served_on_one_pipe_in_either_order(tmp_path: Path, kind: str, first: str) -> None:
    async with opened(Home.of(tmp_path, {"one": scripted("--era", kind)}), initialized=False) as line:
        if first == "modern":
            line.era = "modern"
            await line.result("server/discover")
            await served(line, "modern")
            line.era = "legacy"
        await line.initialize()
        await served(line, "legacy")
        line.era = "modern"
        await line.result("server/discover")
        await served(line, "modern")
        await served(line, "legacy")


async def test_a_client_that_gives_up_on_its_probe_and_initializes_has_both_answered(slow: Home) -> None:
    async with opened(slow, "modern", initialized=False) as line, asyncio.timeout(PROMPT):
        line.write(line.request("server/discover", id="probe"), hello(LATEST_LEGACY, 0))
        assert (await line.reply("probe"))["result"]["supportedVersions"] == [MODERN]
        assert (await line.reply(0))["result"]["protocolVersion"] == LATEST_LEGACY


async def test_lists_asked_for_in_both_eras_at_once_are_each_answered_in_their_own(tmp_path: Path) -> None:
    async with opened(Home.of(tmp_path, {"one": scripted("--era", "dual")})) as line:
        line.era = "modern"
        modern = line.request("tools/list", id="list")
        line.era = "legacy"
        legacy = line.request("tools/list", id=1_000)
        line.write(legacy, modern)
        assert "resultType" in (await line.reply("list"))["result"]
        assert "resultType" not in (await line.reply(1_000))["result"]


@pytest.mark.parametrize("method", ["tools/list", "tools/call", "server/discover", "resources/read"])
async def test_a_modern_client_that_forgets_its_envelope_is_told(slow: Home, method: str) -> None:
    async with opened(slow, "modern") as line:
        await line.result("server/discover")
        line.write({"id": "bare", "method": method, "params": {"name": "one__echo", "uri": "demo://a"}})
        assert (await line.reply("bare"))["error"]["code"] == -32602


@pytest.mark.parametrize("missing", ["protocolVersion", "clientCapabilities"])
async def test_half_an_envelope_is_none(slow: Home, missing: str) -> None:
    async with opened(slow, "modern") as line:
        request = line.request("server/discover", id="half")
        del request["params"]["_meta"][META + missing]
        line.write(request)
        error = (await line.reply("half"))["error"]
        assert error["code"] == -32602 and missing in error["message"]


@pytest.mark.parametrize("version", ["2025-11-25", "2099-01-01", ""])
@pytest.mark.parametrize("method", ["server/discover", "tools/list", "tools/call"])
async def test_a_version_nobody_speaks_is_answered_with_those_that_are(slow: Home, method: str, version: str) -> None:
    async with opened(slow, "modern") as line:
        error = await line.error(method, {"name": "one__echo"}, meta={META + "protocolVersion": version})
        assert error["code"] == -32022
        assert error["data"] == {"supported": [MODERN], "requested": version}


@pytest.mark.parametrize("method", ["ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"])
async def test_what_the_modern_era_took_away_is_not_there(slow: Home, method: str) -> None:
    async with opened(slow, "modern") as line:
        error = await line.error(method, {"uri": "demo://a", "level": "info"})
        assert error["code"] == -32601


@pytest.mark.parametrize("method", ["server/discover", "subscriptions/listen", "tools/nothing", ""])
async def test_an_unknown_method_of_a_legacy_client_is_refused(slow: Home, method: str) -> None:
    async with opened(slow) as line:
        assert (await line.error(method))["code"] in (-32601, -32602)


@pytest.mark.parametrize("era", ERAS)
async def test_ids_of_every_shape_come_back_as_they_were(tmp_path: Path, era: str) -> None:
    ids = [0, "", 7, "7", -1, 2**53, 2**63 - 1, "ü\u2028\x00", '"\\', "x" * 200, "null", "0"]
    async with opened(Home.of(tmp_path, {"one": scripted()}), era) as line:
        await line.text("one__echo")
        so_far = len(line.said)
        method = "ping" if era == "legacy" else "server/discover"
        line.write(*(line.request(method, id=id) for id in ids))
        for id in ids:
            await line.until(lambda message, id=id: same_id(message.get("id"), id), so_far)
        assert len(line.said) == so_far + len(ids)
        arguments = {"name": "one__echo", "arguments": {"text": "hi"}}
        so_far = len(line.said)
        line.write(*(line.request("tools/call", arguments, id=id) for id in ids))
        for id in ids:
            reply = await line.until(lambda message, id=id: same_id(message.get("id"), id), so_far)
            assert reply["result"]["content"][0]["text"] == "hi"
        assert len(line.said) == so_far + len(ids)


async def test_bad_frames_cost_only_themselves(tmp_path: Path) -> None:
    async with opened(Home.of(tmp_path, {"one": scripted()})) as line:
        so_far = len(line.said)
        line.write_bytes(b'{not json}\n[]\n\n  \n"text"\n\xff\xfe\n')
        line.write_bytes(b'{"jsonrpc":"2.0","id":"x","method":5}\n{"jsonrpc":"1.0","id":"y","method":"ping"}\n')
        assert await line.text("one__echo", {"text": "on"}) == "on"
        replies = line.said[so_far:-1]
        assert {message["error"]["code"] for message in replies} == {-32700, -32600}
        assert {message.get("id") for message in replies} >= {"x", "y"}


async def test_an_id_in_flight_cannot_be_used_again(tmp_path: Path) -> None:
    async with opened(Home.of(tmp_path, {"one": scripted()})) as line:
        line.send("tools/call", {"name": "one__forever", "arguments": {}}, id="same", meta={"progressToken": 1})
        await line.notice("notifications/progress")
        line.send("ping", id="same")
        refused = await line.until(lambda message: "error" in message)
        assert refused["error"]["code"] == -32600
        line.cancel("same")
        assert await line.text("one__echo", {"text": "on"}) == "on"


async def test_frames_may_come_in_pieces_and_with_carriage_returns(tmp_path: Path) -> None:
    async with opened(Home.of(tmp_path, {"one": scripted()})) as line:
        ping = json.dumps({"jsonrpc": "2.0", "id": "split", "method": "ping"}).encode()
        assert line.process.stdin is not None
        for byte in ping + b"\r\n":
            line.write_bytes(bytes([byte]))
            await line.process.stdin.drain()
        assert await line.reply("split") == {"jsonrpc": "2.0", "id": "split", "result": {}}


async def test_stdout_carries_nothing_but_messages(tmp_path: Path) -> None:
    """`Line` decodes every line the broker writes; a banner or a log line would fail it."""
    home = Home.of(tmp_path, {"one": scripted("--banner", "--stderr", "on stderr")})
    async with spoken(home.command, ["-v", *home.args], home.env, home.folder, "legacy", {}) as line:
        await line.initialize()
        assert await line.text("one__noise") == "after the noise"
        assert all(message["jsonrpc"] == "2.0" for message in line.said)
        assert "stdout" in line.stderr
