"""Configuration and plugins that change while the real broker runs."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psutil
import pytest

from tests.e2e.harness import ERAS, Home, Json, Line, opened
from tests.hostile.evil import evil, until
from tests.servers import scripted

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the tests see in /proc that files are watched")

CHANGED = "notifications/tools/list_changed"
MANIFEST = 'name = "todos"\nversion = "1.0.0"\napi = 1\nentry = "plugin.py"\n'


def says(text: str, *tools: str) -> str:
    """The source of a server that answers every call with `text`; `wait` waits for the file `go`."""
    listed = [{"name": name, "inputSchema": {"type": "object"}} for name in ("echo", *tools)]
    return f"""
TOOLS = {listed!r}

def wait(m):
    mark("waiting")
    while not os.path.exists("go"):
        time.sleep(0.01)
    send(id=m["id"], result=text({text!r}))

def on_call(m):
    if (m["params"].get("arguments") or {{}}).get("wait"):
        threading.Thread(target=wait, args=[m], daemon=True).start()
    else:
        send(id=m["id"], result=text({text!r}))
"""


class Desk:
    """A home with a config.toml and servers that are edited."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = Home.of_toml(folder, "")
        self.config = folder / "config.toml"

    def table(self, name: str, text: str = "old", *tools: str) -> str:
        """A server of this name, and its table of the configuration."""
        entry: Json = evil(self.folder / name, says(text, *tools))
        return f"[servers.{name}]\ncommand = {json.dumps(entry['command'])}\nargs = {json.dumps(entry['args'])}\n"

    @asynccontextmanager
    async def watched(self) -> AsyncGenerator[Line]:
        """A broker that knows its servers and has begun to watch."""
        async with opened(self.home) as line:
            await line.names()
            await until(lambda: _watches(line.process.pid))
            yield line


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


async def answers(line: Line, tool: str, text: str) -> None:
    """Sooner or later, and without any failure until then."""
    async with asyncio.timeout(10):
        while await line.text(tool) != text:
            await asyncio.sleep(0.02)


async def said(line: Line, *words: str) -> None:
    """The log says it."""
    await until(lambda: any(all(word in each for word in words) for each in line.stderr.splitlines()))


class TestConfiguration:
    async def test_a_server_is_there_when_it_is_written_down_and_gone_when_it_is_not(self, desk: Desk) -> None:
        one, two = desk.table("one"), desk.table("two")
        desk.config.write_text(one)
        async with desk.watched() as line:
            before = len(line.said)
            desk.config.write_text(one + two)
            await line.notice(CHANGED, after=before)
            assert await line.names() == ["one__echo", "two__echo"]
            assert await line.text("two__echo") == "old"
            assert len(line.notices(CHANGED)) == 1
            before = len(line.said)
            desk.config.write_text(one)
            await line.notice(CHANGED, after=before)
            assert await line.names() == ["one__echo"]
            assert len(line.notices(CHANGED)) == 2
            assert "two__echo" in (await line.error("tools/call", {"name": "two__echo", "arguments": {}}))["message"]

    async def test_a_first_configuration_needs_no_restart(self, desk: Desk) -> None:
        desk.config.unlink()
        async with desk.watched() as line:
            assert await line.names() == []
            desk.config.write_text(desk.table("one"))
            await line.notice(CHANGED)
            assert await line.text("one__echo") == "old"

    async def test_a_change_before_anybody_watches_is_taken_up_too(self, desk: Desk) -> None:
        desk.config.write_text(desk.table("one"))
        async with opened(desk.home) as line:
            await line.names()
            desk.config.write_text(desk.config.read_text() + desk.table("two"))
            await line.notice(CHANGED)
            assert await line.names() == ["one__echo", "two__echo"]

    async def test_half_a_file_leaves_everything_as_it_was(self, desk: Desk) -> None:
        one = desk.table("one")
        desk.config.write_text(one)
        async with desk.watched() as line:
            assert await line.text("one__echo") == "old"
            servers = [child.pid for child in line.processes()]
            desk.config.write_text(one + "[servers.tw")
            await said(line, "config.toml:4", "this is not TOML")
            await said(line, "the configuration stays as it was")
            assert await line.text("one__echo") == "old"
            desk.config.write_text(one + desk.table("two"))
            await line.notice(CHANGED)
            assert await line.names() == ["one__echo", "two__echo"]
            assert set(servers) <= {child.pid for child in line.processes()}

    async def test_an_entry_of_an_mcpservers_file_is_followed_as_well(self, tmp_path: Path) -> None:
        entry = evil(tmp_path / "one", says("old"))
        home = Home.of(tmp_path, {"one": entry})
        file = tmp_path / "servers.json"
        async with opened(home) as line:
            await line.names()
            await until(lambda: _watches(line.process.pid))
            file.write_text(json.dumps({"mcpServers": {"one": entry, "Two Tools": entry}}))
            await line.notice(CHANGED)
            assert await line.names() == ["one__echo", "two-tools__echo"]

    async def test_a_file_of_variables_is_followed_as_well(self, tmp_path: Path) -> None:
        variables = tmp_path / "one.env"
        variables.write_text("COLOUR=red")
        async with opened(Home.of(tmp_path, {"one": {**scripted(), "envFile": str(variables)}})) as line:
            await line.names()
            await until(lambda: _watches(line.process.pid))
            assert json.loads(await line.text("one__env"))["COLOUR"] == "red"
            variables.write_text("COLOUR=blue")
            async with asyncio.timeout(10):
                while json.loads(await line.text("one__env"))["COLOUR"] != "blue":
                    await asyncio.sleep(0.02)

    @pytest.mark.parametrize("era", ERAS)
    async def test_another_way_to_show_tools_holds_at_once(self, desk: Desk, era: str) -> None:
        one = desk.table("one", "old", *(f"tool_{n}" for n in range(20)))
        desk.config.write_text(one)
        async with opened(desk.home, era) as line:
            if era == "modern":
                line.send("subscriptions/listen", {"notifications": {"toolsListChanged": True}})
            assert len(await line.names()) == 21
            await until(lambda: _watches(line.process.pid))
            before = len(line.said)
            desk.config.write_text('expose = "search"\n' + one)
            await line.notice(CHANGED, after=before)
            assert await line.names() == ["search_tools", "describe_tool", "call_tool"]
            assert "one__tool_7" in await line.text("search_tools", {"query": "tool_7"})
            before = len(line.said)
            desk.config.write_text(one)
            await line.notice(CHANGED, after=before)
            assert len(await line.names()) == 21


class TestCode:
    async def test_new_code_answers_and_the_call_in_flight_ends_on_the_old(self, desk: Desk) -> None:
        desk.config.write_text(desk.table("one") + "concurrency = 2\n")
        async with desk.watched() as line:
            waiting = line.send("tools/call", {"name": "one__echo", "arguments": {"wait": True}})
            await until((desk.folder / "waiting").exists)
            desk.table("one", "new")
            await answers(line, "one__echo", "new")
            (desk.folder / "go").touch()
            reply = await line.reply(waiting)
            assert reply["result"]["content"][0]["text"] == "old"
            assert line.notices(CHANGED) == []  # its lists are what they were

    async def test_new_tools_are_told_once(self, desk: Desk) -> None:
        desk.config.write_text(desk.table("one"))
        async with desk.watched() as line:
            desk.table("one", "new", "more")
            await line.notice(CHANGED)
            assert await line.names() == ["one__echo", "one__more"]
            assert await line.text("one__more") == "new"
            assert len(line.notices(CHANGED)) == 1

    async def test_broken_code_leaves_the_old_serving_and_the_log_says_why(self, desk: Desk) -> None:
        desk.config.write_text(desk.table("one"))
        async with desk.watched() as line:
            assert await line.text("one__echo") == "old"
            evil(desk.folder / "one", "this is no Python")
            await said(line, "one goes on as it was")
            await said(line, "SyntaxError")
            assert await line.text("one__echo") == "old"
            desk.table("one", "mended")
            await answers(line, "one__echo", "mended")
            assert line.notices(CHANGED) == []

    async def test_a_touch_changes_nothing(self, desk: Desk) -> None:
        one = desk.table("one")
        desk.config.write_text(one)
        async with desk.watched() as line:
            assert await line.text("one__echo") == "old"
            servers = {child.pid for child in line.processes()}
            desk.table("one")
            os.utime(desk.folder / "one" / "evil.py")
            os.utime(desk.config)
            desk.config.write_text("")
            desk.config.write_text(one)
            desk.config.write_text(one + desk.table("two"))  # this is told, and the rest would have been before
            await line.notice(CHANGED)
            assert len(line.notices(CHANGED)) == 1
            assert servers <= {child.pid for child in line.processes()}
            assert await line.text("one__echo") == "old"

    async def test_a_plugin_folder_is_followed_even_when_its_manifest_was_wrong(self, desk: Desk) -> None:
        plugin = desk.folder / "todos"
        evil(plugin, says("old"))
        (plugin / "evil.py").rename(plugin / "plugin.py")
        (plugin / "plugin.toml").write_text(MANIFEST.replace("api = 1", "api = 99"))
        desk.config.write_text(f"[plugins.todos]\npath = {json.dumps(str(plugin))}\n")
        async with desk.watched() as line:
            assert await line.names() == []
            (plugin / "plugin.toml").write_text(MANIFEST)
            await line.notice(CHANGED)
            assert await line.text("todos__echo") == "old"
            (plugin / "plugin.toml").write_text(MANIFEST + "oops")
            await said(line, "this is not TOML")
            assert await line.text("todos__echo") == "old"
            (plugin / "plugin.toml").write_text(MANIFEST)
            evil(desk.folder / "made", says("new"))
            shutil.copy(desk.folder / "made" / "evil.py", plugin / "plugin.py")
            await answers(line, "todos__echo", "new")


def _watches(pid: int) -> bool:
    """Whether it has an inotify, and has taken the first look."""
    links: list[str] = []
    for fd in os.scandir(f"/proc/{pid}/fd"):
        with suppress(OSError):
            links.append(os.readlink(fd.path))
    return any("inotify" in link for link in links) and psutil.Process(pid).num_threads() > 1
