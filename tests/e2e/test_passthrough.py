"""`--passthrough NAME`: one server alone, as if the broker were not there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.harness import EACH_KIND, ERAS, KINDS, META, Home, Json, Line, opened, servers_below, spoken
from tests.fixtures.scripted_tools import lists
from tests.servers import scripted

pytestmark = pytest.mark.matrix

SHOWN = lists(read_only=False)
LISTS = {
    "tools/list": "tools",
    "prompts/list": "prompts",
    "resources/list": "resources",
    "resources/templates/list": "resourceTemplates",
}
pairs = [pytest.mark.parametrize("kind", EACH_KIND), pytest.mark.parametrize("era", ERAS)]


def home(folder: Path, kind: str) -> Home:
    entry = {**KINDS[kind], "args": [*KINDS[kind]["args"], "--name", "itself"]}
    return Home.of(folder, {"one": entry, "other": scripted()}, "--passthrough", "one")


async def description(line: Line, era: str) -> Json:
    return await (line.initialize() if era == "legacy" else line.result("server/discover"))


class TestAlone:
    pytestmark = pairs

    async def test_it_describes_itself(self, tmp_path: Path, kind: str, era: str) -> None:
        async with opened(home(tmp_path, kind), era, initialized=False) as line:
            found = await description(line, era)
        info = found["serverInfo"] if era == "legacy" else found["_meta"][META + "serverInfo"]
        assert info == {"name": "itself", "version": "1.0"}
        assert found["instructions"] == "Instructions of itself."
        assert found["capabilities"]["experimental"] == {"vendor/capability": {"a": 1}}
        assert found["capabilities"]["resources"] == {"listChanged": True, "subscribe": True}

    async def test_its_names_are_its_own(self, tmp_path: Path, kind: str, era: str) -> None:
        async with opened(home(tmp_path, kind), era) as line:
            for method, member in LISTS.items():
                listed = (await line.result(method))[member]
                key = {"resources": "uri", "resourceTemplates": "uriTemplate"}.get(member, "name")
                assert sorted(listed, key=lambda entry: entry[key]) == sorted(
                    SHOWN[member], key=lambda entry: entry[key]
                )
            assert await line.text("echo", {"text": "hi"}) == "hi"
            assert (await line.result("resources/read", {"uri": "demo://item/1"}))["contents"]
            assert (await line.result("prompts/get", {"name": "hello", "arguments": {"name": "Ann"}}))["messages"]
            assert (await line.error("tools/call", {"name": "one__echo", "arguments": {}}))["code"] == -32602
            assert len(servers_below(line)) == 1, "the other server has nothing to do"


@pytest.mark.parametrize("kind", ["legacy", "modern"])
async def test_a_method_nobody_knows_is_the_servers_to_answer(tmp_path: Path, kind: str) -> None:
    async with opened(home(tmp_path, kind), kind) as line:
        await line.text("echo")
        error = await line.error("vendor/method", {"x": [1]})
        assert error["code"] == -32601 and error["message"] == "Method not found: vendor/method"


async def test_an_unknown_notification_reaches_the_server(tmp_path: Path) -> None:
    async with opened(home(tmp_path, "legacy")) as line:
        await line.text("echo")
        line.tell("notifications/vendor/said", {"x": 1})
        assert "notifications/vendor/said" in json.loads(await line.text("heard"))


async def test_a_name_that_is_not_configured_is_refused_at_the_start(tmp_path: Path) -> None:
    nobody = Home.of(tmp_path, {"one": scripted()}, "--passthrough", "nobody")
    async with spoken(nobody.command, nobody.args, nobody.env, tmp_path, "legacy", {}) as line:
        assert await line.gone() == 2
        assert "nobody" in line.stderr and "one" in line.stderr and line.said == []


@pytest.mark.parametrize("era", ERAS)
async def test_what_the_server_says_reaches_the_client(tmp_path: Path, era: str) -> None:
    async with opened(home(tmp_path, "dual"), era) as line:
        await line.text("progress", {"n": 2}, meta={"progressToken": "own"})
        steps = line.notices("notifications/progress")
        assert [(step["progressToken"], step["progress"]) for step in steps] == [("own", 1), ("own", 2)]
        error = await line.error("tools/call", {"name": "error", "arguments": {}})
        assert error == {"code": -32050, "message": "scripted error", "data": {"k": 1}}
