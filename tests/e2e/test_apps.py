"""MCP Apps: pages that tools bring along, through a broker with several plugins that have them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness import ERAS, META, Home, Json, Line, opened
from tests.servers import TESTS, VENV, scripted

pytestmark = pytest.mark.matrix

MAIN, HIDDEN = "ui://app/main.html", "ui://app/hidden.html"
DUAL = ("--era", "dual")


def home(folder: Path, *flags: str) -> Home:
    servers = {name: scripted(*DUAL, "--apps", f"page of {name}") for name in ("one", "two")}
    return Home.of(folder, {**servers, "bare": scripted(*DUAL)}, *flags)


async def tools(line: Line) -> dict[str, Json]:
    return {tool["name"]: tool for tool in (await line.result("tools/list"))["tools"]}


async def page(line: Line, uri: str) -> Json:
    (content,) = (await line.result("resources/read", {"uri": uri}))["contents"]
    return content


@pytest.mark.parametrize("era", ERAS)
async def test_each_tool_names_the_page_of_its_own_plugin(tmp_path: Path, era: str) -> None:
    async with opened(home(tmp_path), era) as line:
        found = await tools(line)
        listed = {each["uri"]: each["name"] for each in (await line.result("resources/list"))["resources"]}
        for name in ("one", "two"):
            for tool in ("clock", "dial"):
                uri = found[f"{name}__{tool}"]["_meta"]["ui"]["resourceUri"]
                content = await page(line, uri)
                assert uri.startswith("ui://") and content["uri"] == uri and content["text"] == f"page of {name}"
                assert content["_meta"] == {"ui": {"prefersBorder": True}}
            meta = found[f"{name}__clock"]["_meta"]
            assert meta["ui/resourceUri"] == meta["ui"]["resourceUri"] and meta["vendor/key"] == 1
            assert meta["ui"]["visibility"] == ["model", "app"]
            assert listed[meta["ui"]["resourceUri"]] == f"page of {name}"
        assert found["one__clock"]["_meta"]["ui"]["resourceUri"] == MAIN, "nobody else had it before"
        assert found["two__clock"]["_meta"]["ui"]["resourceUri"] == "ui://two/app/main.html"
        assert found["bare__echo"]["_meta"] == {"vendor/key": 1}


@pytest.mark.parametrize("era", ERAS)
async def test_a_page_of_one_plugin_alone_keeps_its_uri(tmp_path: Path, era: str) -> None:
    servers = {"one": scripted(), "two": scripted(*DUAL, "--apps", "the page")}
    async with opened(Home.of(tmp_path, servers), era) as line:
        meta = (await tools(line))["two__clock"]["_meta"]
        assert meta["ui"]["resourceUri"] == meta["ui/resourceUri"] == MAIN
        assert (await page(line, MAIN))["text"] == (await page(line, HIDDEN))["text"] == "the page"


async def test_a_page_calls_the_tools_of_its_plugin_by_their_own_names(tmp_path: Path) -> None:
    servers = {"one": scripted("--apps", "mine"), "two": scripted()}
    async with opened(Home.of(tmp_path, servers)) as line:
        await tools(line)
        assert await line.text("clock") == "mine"
        assert (await line.error("tools/call", {"name": "nothing", "arguments": {}}))["code"] == -32602
    async with opened(home(tmp_path / "both")) as line:
        await tools(line)
        assert "clock" in (await line.error("tools/call", {"name": "clock", "arguments": {}}))["message"]


@pytest.mark.parametrize("era", ERAS)
async def test_what_plugins_offer_and_clients_take_is_told_to_the_other_side(tmp_path: Path, era: str) -> None:
    taken = {"extensions": {META + "ui": {"mimeTypes": ["text/html;profile=mcp-app"]}}}
    async with opened(home(tmp_path), era, taken, initialized=False) as line:
        await (line.initialize() if era == "legacy" else line.settled())
        await tools(line)
        assert META + "ui" in str(await line.call("one__client"))
        assert "mimeTypes" in await line.text("one__client")
    async with opened(home(tmp_path), era, taken, initialized=False) as line:
        told = await (line.initialize() if era == "legacy" else line.result("server/discover"))
        assert told["capabilities"]["extensions"] == {META + "ui": {}}, "of those that find their way"


@pytest.mark.parametrize("era", ERAS)
async def test_what_is_passed_through_keeps_extensions_nobody_knows(tmp_path: Path, era: str) -> None:
    async with opened(home(tmp_path, "--passthrough", "two"), era, initialized=False) as line:
        told: Any = await (line.initialize() if era == "legacy" else line.result("server/discover"))
        assert told["capabilities"]["extensions"] == {META + "ui": {}, "vendor/extension": {"v": 1}}
        assert (await tools(line))["clock"]["_meta"]["ui"]["resourceUri"] == MAIN
        assert (await page(line, MAIN))["text"] == "page of two"


@pytest.mark.parametrize("era", ERAS)
async def test_real_servers_with_the_same_page_are_told_apart(tmp_path: Path, era: str) -> None:
    server = {"command": str(VENV / "python"), "args": [str(TESTS / "fixtures" / "apps_server.py")]}
    servers = {name: {**server, "args": [*server["args"], f"page of {name}"]} for name in ("one", "two")}
    taken = {"extensions": {META + "ui": {"mimeTypes": ["text/html;profile=mcp-app"]}}}
    async with opened(Home.of(tmp_path, servers), era, taken) as line:
        for name in servers:
            assert await line.text(f"{name}__get_time") == "with a page"
        found = await tools(line)
        for name in servers:
            uri = found[f"{name}__get_time"]["_meta"]["ui"]["resourceUri"]
            assert (await page(line, uri))["text"] == f"<p>page of {name}</p>"
