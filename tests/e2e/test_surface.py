"""Crowded set-ups and large results through the real broker, with real servers and the official client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from mcp import Client, StdioServerParameters

from tests.e2e.harness import ERAS, LATEST_LEGACY, MODERN, Home, Json, Line, opened
from tests.hostile.evil import evil
from tests.servers import REAL, mcp_servers_json, scripted

pytestmark = pytest.mark.matrix

THREE = ["search_tools", "describe_tool", "call_tool"]
SEARCH = 'expose = "search"\n'
CAP = 'max_result = "64KiB"\n'

# What a person or a model would ask for, and the tools that are right.
QUERIES: dict[str, set[str]] = {
    "what time is it in Tokyo": {"time__get_current_time", "timeserver__get_current_time"},
    "convert 9am Berlin time to New York": {"time__convert_time"},
    "is the 1st of May a public holiday in Germany": {"timeserver__is_holiday", "timeserver__get_holidays"},
    "how many days until christmas": {"timeserver__calculate_time_distance"},
    "show the commit history": {"git__git_log"},
    "what did I change but not stage yet": {"git__git_diff_unstaged"},
    "make a new branch": {"git__git_create_branch"},
    "switch to another branch": {"git__git_checkout"},
    "commit my changes": {"git__git_commit"},
    "read a file": {"filesystem__read_text_file", "filesystem__read_file"},
    "make a new directory": {"filesystem__create_directory"},
    "rename a file": {"filesystem__move_file"},
    "find files by name pattern": {"filesystem__search_files"},
    "when was this file last modified": {"filesystem__get_file_info"},
    "search the web for news": {"brave-search__brave_web_search"},
    "restaurants near me": {"brave-search__brave_local_search"},
    "download a web page": {"fetch__fetch"},
    "documentation of a library": {"context7__query-docs", "context7__resolve-library-id"},
    "calculate 17 * 23": {"calculator__calculate"},
    "store a fact in the knowledge graph": {"memory__add_observations", "memory__create_entities"},
    "connect two entities with a relation": {"memory__create_relations"},
    "think step by step": {"sequential-thinking__sequentialthinking"},
    "query logs in loki": {"grafana__query_loki_logs"},
    "which alerts are silenced": {"grafana__alerting_silences_read"},
    "who is on call right now": {"grafana__get_current_oncall_users"},
    "declare an incident": {"grafana__create_incident"},
    "run a promql query": {"grafana__query_prometheus"},
    "environment variables": {"everything__get-env"},
}


def toml(servers: dict[str, Json], top: str = "", **entries: str) -> str:
    """A config.toml of these servers; `entries` are more lines of one of them."""
    text = top
    for name, server in servers.items():
        env = ", ".join(f"{key} = {json.dumps(value)}" for key, value in server.get("env", {}).items())
        text += f"[servers.{name}]\ncommand = {json.dumps(server['command'])}\nargs = {json.dumps(server['args'])}\n"
        text += f"env = {{ {env} }}\n{entries.get(name, '')}"
    return text


def home(folder: Path, top: str = SEARCH, *flags: str, **entries: str) -> Home:
    """Two scripted servers behind the three."""
    return Home.of_toml(folder, toml({"one": scripted(), "two": scripted()}, top, **entries), *flags)


async def said(line: Line, tool: str, **arguments: Any) -> Any:
    return json.loads(await line.text(tool, arguments))


async def through(line: Line, tool: str, **arguments: Any) -> Json:
    return await line.call("call_tool", {"name": tool, "arguments": arguments})


@asynccontextmanager
async def official(home: Home, era: str, **more: Any) -> AsyncGenerator[Client]:
    """The official Python client on a broker of its own; it validates what it is told."""
    server = StdioServerParameters(command=home.command, args=home.args, env=home.env, cwd=home.folder)
    async with Client(server, mode="legacy" if era == "legacy" else MODERN, **more) as client:
        yield client


# -- search


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_the_right_tool_of_the_real_servers_is_among_the_first_three(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.e2e.harness.BOUND", 60.0)
    servers = mcp_servers_json([server.name for server in REAL], tmp_path / "own")["mcpServers"]
    async with opened(Home.of_toml(tmp_path, toml(servers, SEARCH))) as line:
        assert await line.names() == THREE
        async with asyncio.timeout(60):
            while len(await met(line)) < len(REAL):
                await asyncio.sleep(0.2)
        missed: dict[str, list[str]] = {}
        for query, right in QUERIES.items():
            names = [tool["name"] for tool in (await said(line, "search_tools", query=query))["tools"]]
            if not right & set(names[:3]):
                missed[query] = names[:4]
        assert not missed
        assert await line.names() == THREE


async def met(line: Line) -> set[str]:
    """The servers of which a tool can be found."""
    found = [await said(line, "search_tools", query=server.name, limit=50) for server in REAL]
    return {tool["name"].partition("__")[0] for each in found for tool in each["tools"]}


@pytest.mark.parametrize("era", ERAS)
async def test_the_official_client_searches_describes_and_calls(tmp_path: Path, era: str) -> None:
    async with official(home(tmp_path), era) as client:
        listed = (await client.list_tools()).tools
        assert [tool.name for tool in listed] == THREE
        assert listed[2].annotations is not None and listed[2].annotations.destructive_hint is True
        found = await client.call_tool("search_tools", {"query": "says the text back"})
        name = json.loads(found.content[0].text)["tools"][0]["name"]  # type: ignore[union-attr]
        assert name in ("one__echo", "two__echo")
        described = await client.call_tool("describe_tool", {"name": name})
        assert json.loads(described.content[0].text)["inputSchema"]["properties"]  # type: ignore[union-attr]
        answer = await client.call_tool("call_tool", {"name": name, "arguments": {"text": "hé"}})
        assert answer.content[0].text == "hé"  # type: ignore[union-attr]
        assert (await client.call_tool(name, {"text": "direct"})).content[0].text == "direct"  # type: ignore[union-attr]
        missing = await client.call_tool("call_tool", {"name": "one__nothing"})
        assert missing.is_error


@pytest.mark.parametrize("era", ERAS)
async def test_a_client_is_asked_in_the_middle_of_a_call_through_the_three(tmp_path: Path, era: str) -> None:
    """In the modern era the answer comes with a retry of the same `call_tool`."""
    async with opened(home(tmp_path), era, {"elicitation": {"form": {}}}) as line:
        call = {"name": "call_tool", "arguments": {"name": "one__elicit", "arguments": {}}}
        answer = {"action": "accept", "content": {"name": "Ann"}}
        id = line.send("tools/call", call)
        if era == "legacy":
            question = await line.asked("elicitation/create")
            line.write({"id": question["id"], "result": answer})
            result = (await line.reply(id))["result"]
        else:
            first = (await line.reply(id))["result"]
            assert first["resultType"] == "input_required"
            responses = dict.fromkeys(first["inputRequests"], answer)
            retry = {**call, "inputResponses": responses}
            if "requestState" in first:
                retry["requestState"] = first["requestState"]
            result = await line.result("tools/call", retry)
        assert json.loads(result["content"][0]["text"])["content"] == {"name": "Ann"}


@pytest.mark.parametrize("era", ERAS)
async def test_progress_and_cancellation_pass_the_three(tmp_path: Path, era: str) -> None:
    async with opened(home(tmp_path), era) as line:
        call = {"name": "call_tool", "arguments": {"name": "one__forever"}}
        id = line.send("tools/call", call, meta={"progressToken": 0})
        assert (await line.notice("notifications/progress"))["progressToken"] == 0
        line.cancel(id)
        assert (await through(line, "one__echo", text="on"))["content"][0]["text"] == "on"
        assert [message for message in line.said if message.get("id") == id] == []


async def test_a_call_through_the_three_stands_in_the_audit_under_its_own_name(tmp_path: Path) -> None:
    here = home(tmp_path)
    async with opened(here) as line:
        await through(line, "one__echo", text="x")
        await said(line, "search_tools", query="echo")
    lines = [json.loads(one) for one in (tmp_path / "home" / "logs" / "audit.jsonl").read_text().splitlines()]
    assert [(one["plugin"], one["name"], one["outcome"]) for one in lines] == [("one", "echo", "ok")]


async def test_only_the_client_that_is_named_searches(tmp_path: Path) -> None:
    top = '[clients."LI*"]\nexpose = "search"\nalways = ["*__echo"]\n'
    async with opened(home(tmp_path, top)) as line:
        assert await line.names() == [*THREE, "one__echo", "two__echo"]
    async with official(home(tmp_path, top), "legacy") as client:
        assert "search_tools" not in [tool.name for tool in (await client.list_tools()).tools]


async def test_a_server_passed_through_is_shown_as_it_is(tmp_path: Path) -> None:
    async with opened(home(tmp_path, SEARCH, "--passthrough", "one")) as line:
        assert "echo" in await line.names() and "search_tools" not in await line.names()


async def test_a_mistake_in_what_clients_are_shown_costs_only_itself(tmp_path: Path) -> None:
    top = 'expose = "some"\nalways = ["one__echo"]\n[clients.line]\nexpose = "search"\n[clients.x]\nexpoze = "all"\n'
    async with opened(home(tmp_path, top)) as line:
        assert await line.names() == [*THREE, "one__echo"]
        assert '"all", "search"' in line.stderr and "did you mean `expose`" in line.stderr


# -- results


@pytest.mark.parametrize("era", ERAS)
async def test_the_official_client_reads_a_large_result_in_pages(tmp_path: Path, era: str) -> None:
    async with official(home(tmp_path, "", one=CAP), era) as client:
        small = await client.call_tool("one__big", {"bytes": 60_000})
        assert len(small.content[0].text) == 60_000  # type: ignore[union-attr]
        result = await client.call_tool("one__big", {"bytes": 300_000})
        text, link = result.content
        assert not result.is_error and link.type == "resource_link" and str(link.uri) in text.text  # type: ignore[union-attr]
        got = len(text.text.partition("\n[broker")[0])  # type: ignore[union-attr]
        uri: str | None = str(link.uri)  # type: ignore[union-attr]
        while uri:
            page = await client.read_resource(uri)
            got += len(page.contents[0].text)  # type: ignore[union-attr]
            assert page.meta is not None
            uri = page.meta["plugin-broker/page"].get("next")
        assert got == 300_000
        whole = await client.call_tool("two__big", {"bytes": 300_000})
        assert len(whole.content[0].text) == 300_000  # type: ignore[union-attr]


@pytest.mark.parametrize("version", ["2024-11-05", "2025-03-26", LATEST_LEGACY])
async def test_every_version_is_told_where_the_rest_is(tmp_path: Path, version: str) -> None:
    async with opened(home(tmp_path, "", one=CAP), initialized=False) as line:
        await line.initialize(version)
        result = await line.call("one__big", {"bytes": 300_000})
        kinds = [block["type"] for block in result["content"]]
        assert kinds == (["text", "resource_link"] if version == LATEST_LEGACY else ["text"])
        uri = result["content"][0]["text"].split("read the resource ")[1].split()[0]
        assert len((await line.result("resources/read", {"uri": uri}))["contents"][0]["text"]) > 60_000


async def test_a_result_cut_behind_the_three_is_cut_like_any(tmp_path: Path) -> None:
    async with opened(home(tmp_path, SEARCH, one=CAP)) as line:
        result = await through(line, "one__big", bytes=300_000)
        assert result["content"][1]["type"] == "resource_link"
        assert result["content"][1]["uri"].startswith("broker://one/results/")


async def test_two_brokers_and_two_clients_never_see_each_others_parts(tmp_path: Path) -> None:
    here = home(tmp_path, "", one=CAP)
    async with opened(here) as one, opened(here, "modern") as two:
        uris = [(await line.call("one__big", {"bytes": 200_000}))["content"][1]["uri"] for line in (one, two)]
        assert len(set(uris)) == 2
        for line, uri in ((one, uris[1]), (two, uris[0])):
            assert "nothing is kept" in (await line.error("resources/read", {"uri": uri}))["message"]


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_a_flood_of_large_results_leaves_the_broker_small(tmp_path: Path) -> None:
    source = r"""
BIG = json.dumps({"content": [{"type": "text", "text": "\u00e9\\" * (1 << 20)}]}, ensure_ascii=False)

def on_call(m):
    raw(b'{"jsonrpc":"2.0","id":%s,"result":%s}\n' % (json.dumps(m["id"]).encode(), BIG.encode()))
"""
    async with opened(Home.of_toml(tmp_path, toml({"one": evil(tmp_path, source)}, one=CAP))) as line:
        await line.call("one__echo")
        process = psutil.Process(line.process.pid)
        most = 0
        for _ in range(60):
            assert (await line.call("one__echo"))["content"][1]["size"] > 3 << 20
            most = max(most, process.memory_info().rss)
        assert most < 128 << 20
