"""A Lua plugin behind the real `broker mcp`, for clients of both eras and in both places where scripts run."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from tests.e2e.harness import ERAS, Home, Json, opened
from tests.e2e.test_command_line import Shell
from tests.servers import ROOT

WORDS = ROOT / "tests" / "plugins" / "words-lua"
PLACES = ("inprocess", "process")


def home(folder: Path, place: str, plugin: Path = WORDS, more: str = "") -> Home:
    text = f'[plugins.{plugin.name}]\npath = "{plugin}"\nisolation = "{place}"\n{more}'
    return Home.of_toml(folder / "home", text)


def words(result: Json) -> str:
    return result["content"][0]["text"]


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("place", PLACES)
async def test_everything_a_script_offers_is_served(tmp_path: Path, era: str, place: str) -> None:
    async with opened(home(tmp_path, place), era) as line:
        assert await line.names() == ["words-lua__count", "words-lua__greet", "words-lua__remember"]
        counted = await line.call("words-lua__count", {"text": "to be or not to be", "most": 1})
        assert counted["structuredContent"] == {"total": 6, "words": [{"word": "be", "times": 2}]}
        refused = await line.call("words-lua__count", {"txt": "x"})
        assert refused["isError"] and "`text` is missing" in words(refused)
        prompt = await line.result("prompts/get", {"name": "words-lua__shorter", "arguments": {"text": "a b c d"}})
        assert "half of its 4 words" in prompt["messages"][0]["content"]["text"]
        read = await line.result("resources/read", {"uri": "words://about"})
        assert read["contents"][0]["text"] == "Words are what is between spaces."


@pytest.mark.parametrize("place", PLACES)
async def test_what_a_script_keeps_outlives_the_broker(tmp_path: Path, place: str) -> None:
    async with opened(home(tmp_path, place)) as line:
        first = await line.call("words-lua__remember", {"text": "one"})
        assert first["structuredContent"] == {}
    async with opened(home(tmp_path, place)) as line:
        second = await line.call("words-lua__remember", {"text": "two"})
        assert second["structuredContent"] == {"before": "one"}


@pytest.mark.parametrize("place", PLACES)
async def test_a_script_that_hangs_is_ended_and_others_are_served(tmp_path: Path, place: str) -> None:
    evil = tmp_path / "evil"
    shutil.copytree(WORDS, evil)
    (evil / "plugin.toml").write_text('name = "evil"\nversion = "1.0.0"\napi = 1\nentry = "plugin.lua"\n')
    (evil / "plugin.lua").write_text("broker.tool{name='spin', run=function() while true do end end}")
    both = home(tmp_path, place, evil, f'[plugins.words-lua]\npath = "{WORDS}"\n')
    async with opened(both) as line:
        id = line.send("tools/call", {"name": "evil__spin", "arguments": {}})
        assert await line.text("words-lua__greet", {"name": "Ada"}) == "Hello, Ada, from words-lua"
        assert "worked for more than 100 ms" in str(await line.reply(id))


@pytest.mark.parametrize("place", PLACES)
async def test_a_hook_of_a_script_stands_before_the_calls_of_others(tmp_path: Path, place: str) -> None:
    guard = tmp_path / "guard"
    guard.mkdir()
    (guard / "plugin.toml").write_text(
        'name = "guard"\nversion = "1.0.0"\napi = 1\nentry = "plugin.lua"\n[[hooks]]\non = "pre_request"\n'
    )
    (guard / "plugin.lua").write_text(
        "broker.hook('pre_request', function(event)\n"
        "  if event.tool == 'remember' then return {allow = false, reason = 'nothing is kept here'} end\n"
        "end)\n"
    )
    both = home(tmp_path, place, guard, f'[plugins.words-lua]\npath = "{WORDS}"\n')
    granted = await asyncio.to_thread(Shell(both), "grant", "guard", "--yes")
    assert granted.returncode == 0, granted.stderr
    async with opened(both) as line:
        assert await line.text("words-lua__greet", {"name": "Ada"}) == "Hello, Ada, from words-lua"
        refused = str(await line.ask("tools/call", {"name": "words-lua__remember", "arguments": {"text": "x"}}))
        assert "nothing is kept here" in refused and "guard" in refused


@pytest.mark.parametrize("place", PLACES)
async def test_what_is_not_granted_is_refused_to_a_script(tmp_path: Path, place: str) -> None:
    nosy = tmp_path / "nosy"
    nosy.mkdir()
    (nosy / "plugin.toml").write_text('name = "nosy"\nversion = "1.0.0"\napi = 1\nentry = "plugin.lua"\n')
    (nosy / "plugin.lua").write_text(
        "local ways = {\n"
        "  read = function() return broker.fs.read('/etc/passwd') end,\n"
        "  write = function() return broker.fs.write('/tmp/nosy', 'x') end,\n"
        "  exec = function() return broker.exec({'id'}) end,\n"
        "  fetch = function() return broker.http.fetch('http://127.0.0.1:1/') end,\n"
        "  toast = function() return broker.toast('x') end,\n"
        "}\n"
        "broker.tool{name = 'try', input = {way = 'string'}, run = function(a) return ways[a.way]() end}\n"
    )
    async with opened(home(tmp_path, place, nosy)) as line:
        for way in ("read", "write", "exec", "fetch", "toast"):
            result = await line.call("nosy__try", {"way": way})
            assert result["isError"] is True, (way, result)
            assert "nosy" in words(result), result
