"""All real servers behind one broker: what they say through it is what they say alone."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters

from tests.e2e.harness import MODERN, Home, Json, Line, driven, opened, spoken
from tests.servers import BY_NAME, REAL, Server, mcp_servers_json

DRIVER = Path(__file__).parent / "node" / "real.mjs"
LISTS = {
    "tools/list": ("tools", "name"),
    "prompts/list": ("prompts", "name"),
    "resources/list": ("resources", "uri"),
    "resources/templates/list": ("resourceTemplates", "uriTemplate"),
}
# What the modern era wraps around a result: each hop writes its own.
ENVELOPE = ("resultType", "ttlMs", "cacheScope")
CLOCK = re.compile(r"\d\d:\d\d:\d\d(\.\d+)?")
OFFLINE = [server for server in REAL if server.tool]

pytestmark = [pytest.mark.timeout(180), pytest.mark.slow]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """All of them; whoever is first meets them, the others find their lists kept."""
    folder = tmp_path_factory.mktemp("real")
    return Home.of(folder, mcp_servers_json([server.name for server in REAL], folder / "own")["mcpServers"])


@pytest.fixture(scope="module")
async def met(home: Home) -> Json:
    """The lists of a broker that has met every server, and under `called` what each said to its offline call."""
    async with opened(home) as line:
        found = await lists(line, patient=True)
        called = {each.name: await line.call(f"{each.name}__{each.tool}", each.arguments) for each in OFFLINE}
        return {**found, "called": called}


async def lists(line: Line, *, patient: bool = False) -> Json:
    """All lists; with patience, until every server that can be started has shown its own."""
    found: Json = {}
    for method, (member, _) in LISTS.items():
        found[member] = (await line.result(method))[member]
    owners = {tool["name"].partition("__")[0] for tool in found["tools"]}
    if patient and owners != {server.name for server in REAL}:
        await line.notice("notifications/tools/list_changed")
        return await lists(line, patient=True)
    return found


@pytest.fixture(autouse=True)
def bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve interpreters that start at once on a small machine are no scripted server."""
    monkeypatch.setattr("tests.e2e.harness.BOUND", 60.0)


def test_there_are_enough_of_them() -> None:
    assert len(REAL) >= 8 and all(server.path.exists() or server.command == "node" for server in REAL)


# The first era is what the Python client below speaks to all of them, too.
@pytest.mark.parametrize("era", [pytest.param("legacy", marks=pytest.mark.long), "modern"])
async def test_every_server_is_listed_and_every_offline_tool_answers(home: Home, met: Json, era: str) -> None:
    async with opened(home, era) as line:
        found = await lists(line)
        assert {member: len(found[member]) for member in found} == {member: len(met[member]) for member in found}
        for server in OFFLINE:
            result = await line.call(f"{server.name}__{server.tool}", server.arguments)
            assert not result.get("isError"), (server.name, result)
            assert ("resultType" in result) == (era == "modern")


@pytest.mark.parametrize("name", sorted(BY_NAME))
async def test_a_server_says_the_same_through_the_broker_as_alone(home: Home, met: Json, name: str) -> None:
    server = BY_NAME[name]
    direct, called = await alone(server, home)
    for member, key in LISTS.values():
        own = [comparable(entry) for entry in direct[member]]
        shown = [comparable(entry, prefix=f"{name}__") for entry in met[member] if owned(entry, name, key, own)]
        assert sorted(shown, key=str) == sorted(own, key=str), member
    if server.tool:
        assert timeless(met["called"][name]) == timeless(called)


async def alone(server: Server, home: Home) -> tuple[Json, Json]:
    """Its lists and its offline call without a broker."""
    entry = server.entry(home.folder / "own" / server.name)
    env = {**os.environ, **entry["env"]}
    async with spoken(entry["command"], entry["args"], env, home.folder, "legacy", {}) as line:
        line.judged = False  # no broker
        capabilities = (await line.initialize())["capabilities"]
        found: Json = {}
        for method, (member, _) in LISTS.items():
            reply = await line.ask(method) if method.partition("/")[0] in capabilities else {}
            found[member] = reply.get("result", {}).get(member, [])
        called = await line.call(server.tool, server.arguments) if server.tool else {}
        line.process.kill()  # one of them does not end with its stdin; that is not what is tested
        await line.process.wait()
    return found, called


def owned(entry: Json, name: str, key: str, own: list[Json]) -> bool:
    """Whether an entry of the broker's list is this server's."""
    if key == "name":
        return entry["name"].startswith(f"{name}__")
    return entry[key].startswith(f"broker://{name}/") or any(entry == each for each in own)


def comparable(entry: Json, prefix: str = "") -> Json:
    """Without what broker changes: the prefix, and that a tool which must be a task can be called plainly."""
    found = {**entry, "name": entry["name"].removeprefix(prefix)}
    if found.get("execution", {}).get("taskSupport") == "required":
        found["execution"] = {**found["execution"], "taskSupport": "optional"}
    return found


def timeless(result: Json) -> Any:
    """A result without the modern envelope, and with every time of day the same."""
    kept = {key: value for key, value in result.items() if key not in ENVELOPE}
    return json.loads(CLOCK.sub("00:00:00", json.dumps(kept)))


@pytest.mark.parametrize("mode", ["legacy", pytest.param(MODERN, marks=pytest.mark.long)])
async def test_the_python_client_uses_all_of_them(home: Home, met: Json, mode: str) -> None:
    server = StdioServerParameters(command=home.command, args=home.args, env=home.env)
    async with Client(server, mode=mode, read_timeout_seconds=60) as client:
        assert [tool.name for tool in (await client.list_tools()).tools] == names(met)
        for each in OFFLINE:
            result = await client.call_tool(f"{each.name}__{each.tool}", each.arguments)
            assert not result.is_error and result.content, each.name


@pytest.mark.parametrize("mode", [pytest.param("legacy", marks=pytest.mark.long), MODERN])
async def test_the_typescript_client_uses_all_of_them(home: Home, met: Json, mode: str) -> None:
    calls = [(f"{each.name}__{each.tool}", each.arguments) for each in OFFLINE]
    report = await driven(home, DRIVER, mode, CALLS=json.dumps(calls))
    assert report["tools"] == names(met)
    assert len(report["resources"]) == len(met["resources"])
    assert {name for name, result in report["calls"].items() if result["text"] and not result["isError"]} == {
        name for name, _ in calls
    }


def names(listed: Json) -> list[str]:
    return [tool["name"] for tool in listed["tools"]]
