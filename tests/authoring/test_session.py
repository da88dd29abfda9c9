"""A plugin is taken up anew at each save; while it is broken the one from before goes on."""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import wasmtime

from broker.app import Folders
from broker.authoring.client import Json
from broker.authoring.house import House
from broker.authoring.session import Ready, Session, changes
from broker.authoring.trial import Trial, gate_of
from broker.errors import BrokerError
from broker.model import Kind, Listing, Problem
from tests.authoring.authored import LUA, MANIFEST, SDK, lua, made, python, raw
from tests.servers import PLUGINS

BOUND = 30.0  # seconds for anything to happen
NODE = """\
import { createInterface } from "node:readline";
const say = (id, result) => process.stdout.write(JSON.stringify({ jsonrpc: "2.0", id, result }) + "\\n");
const opened = {
  protocolVersion: "2025-11-25", capabilities: { tools: {} }, serverInfo: { name: "js", version: "1" },
};
const tools = [{ name: "greet", description: "Greets", inputSchema: { type: "object" } }];
const greet = (name) => ({ content: [{ type: "text", text: `Hello, ${name}` }] });
for await (const line of createInterface({ input: process.stdin })) {
  const { id, method, params } = JSON.parse(line);
  if (id === undefined) continue;
  if (method === "initialize") say(id, opened);
  else if (method === "tools/list") say(id, { tools });
  else say(id, greet(params.arguments.name));
}
"""


class Recording:
    """The stage of a session, as a list of what happened."""

    def __init__(self) -> None:
        self.happened: asyncio.Queue[str] = asyncio.Queue()
        self.ready: list[Ready] = []

    async def until(self, words: str) -> str:
        """The next thing that happened with these words in it."""
        async with asyncio.timeout(BOUND):
            while True:
                said = await self.happened.get()
                if words in said:
                    return said

    def served(self, ready: Ready) -> None:
        self.ready.append(ready)
        self.happened.put_nowait(f"served {ready.generation}")

    def failed(self, error: BrokerError, place: str, *, goes_on: bool) -> None:
        self.happened.put_nowait(f"failed at {place}, {'goes on' if goes_on else 'nothing runs'}: {error}")

    def blind(self, why: str) -> None:
        self.happened.put_nowait(f"blind: {why}")

    def wrong(self, problem: Problem) -> None:
        self.happened.put_nowait(f"wrong: {problem.where}: {problem.what}")

    def performed(self, op: str, params: Json) -> None:
        self.happened.put_nowait(f"{op} {params.get('title')}")

    async def asked(self, params: Json) -> Json:
        return {"action": "decline"}

    def logged(self, params: Json) -> None:
        self.happened.put_nowait(f"logged {params.get('data')}")

    def progressed(self, params: Json) -> None:
        self.happened.put_nowait("progressed")

    def relisted(self, kinds: set[Kind]) -> None:
        self.happened.put_nowait("relisted")


@asynccontextmanager
async def session_of(folder: Path, *, watch: bool = False) -> AsyncGenerator[tuple[Session, Recording]]:
    home = folder.parent / "home"
    folders = Folders(home / "cache", home / "logs", home / "state")
    stage = Recording()
    session = Session(Trial(path=folder), House(folders, home / "lists", watch=watch), gate_of(folders), stage)
    await session.begin()
    tasks = [asyncio.ensure_future(each) for each in (session.follow(), session.open())]
    try:
        yield session, stage
    finally:
        for task in tasks:
            task.cancel()
        await session.core.stop(0.5)
        await asyncio.wait(tasks)


async def greeted(session: Session, name: str = "Ada") -> str:
    params = {"name": "greet", "arguments": {"name": name}}
    result = await session.client.request(session.core, "tools/call", params)
    return result["content"][0]["text"]


async def test_each_save_of_a_script_is_taken_up(tmp_path: Path) -> None:
    folder = lua(tmp_path / "greeter")
    async with session_of(folder) as (session, stage):
        await stage.until("served 0")
        assert await greeted(session) == "Hello, Ada"
        second = LUA.replace("Hello", "Good day") + LUA.replace('"greet"', '"part"')
        (folder / "plugin.lua").write_text(second)
        await stage.until("served 1")
        assert await greeted(session) == "Good day, Ada"
        assert changes(stage.ready[0].listing, stage.ready[1].listing) == ["tool part is new"]
        assert changes(stage.ready[1].listing, Listing()) == ["tool greet is gone", "tool part is gone"]


async def test_a_broken_script_is_told_with_its_line_and_the_one_before_goes_on(tmp_path: Path) -> None:
    folder = lua(tmp_path / "greeter")
    async with session_of(folder) as (session, stage):
        await stage.until("served 0")
        (folder / "plugin.lua").write_text(LUA + "\nbroker.tool(\n")
        assert f"{folder}/plugin.lua:" in await stage.until("goes on")
        assert await greeted(session) == "Hello, Ada"
        (folder / "plugin.lua").write_text(LUA.replace("Hello", "Mended"))
        await stage.until("served")
        assert await greeted(session) == "Mended, Ada"


async def test_a_wrong_manifest_is_told_and_nothing_changes_until_it_is_mended(tmp_path: Path) -> None:
    folder = lua(tmp_path / "greeter")
    manifest = folder / "plugin.toml"
    text = manifest.read_text()
    async with session_of(folder) as (session, stage):
        await stage.until("served 0")
        manifest.write_text(text.replace("version", "verzion"))
        assert f"{manifest}:2" in await stage.until("wrong")
        assert await greeted(session) == "Hello, Ada"
        manifest.write_text(text.replace('"greeter"', '"other"'))
        assert "is called other now" in await stage.until("wrong")
        manifest.write_text(text + '[permissions]\nui = ["toast"]\n')
        await stage.until("served")
        assert session.spec.granted == ("ui:toast",)


async def test_one_that_never_started_is_tried_again_at_each_save(tmp_path: Path) -> None:
    folder = lua(tmp_path / "greeter", code="this is no Lua")
    async with session_of(folder) as (session, stage):
        assert "plugin.lua:1" in await stage.until("nothing runs")
        for number in range(4):  # more than the breaker would allow a plugin that nobody mends
            (folder / "plugin.lua").write_text(f"-- {number}\nthis is no Lua\n")
            assert "plugin.lua:2" in await stage.until("failed")
        (folder / "plugin.lua").write_text(LUA)
        await stage.until("served")
        assert await greeted(session) == "Hello, Ada"


async def test_one_that_hangs_at_its_start_is_mended_without_waiting_for_it(tmp_path: Path) -> None:
    folder = raw(tmp_path / "raw", before="time.sleep(1000)")
    manifest = folder / "plugin.toml"
    manifest.write_text(manifest.read_text().replace('"2s"', '"300s"'))
    mended = (folder / "plugin.py").read_text().replace("time.sleep(1000)", "")
    async with session_of(folder) as (_, stage):
        (folder / "plugin.py").write_text(mended)
        await stage.until("served 1")


async def test_a_wasm_module_that_is_built_anew_is_taken_up(tmp_path: Path) -> None:
    folder = tmp_path / "greet-wasm"
    shutil.copytree(PLUGINS / "greet-wasm", folder)
    text = (folder / "plugin.wat").read_text()
    (folder / "plugin.wasm").write_bytes(wasmtime.wat2wasm(text))
    async with session_of(folder) as (session, stage):
        await stage.until("served 0")
        before = await greeted(session)
        (folder / "plugin.wasm").write_bytes(wasmtime.wat2wasm(text.replace("ello", "allo")))
        await stage.until("served 1")
        assert await greeted(session) == before.replace("ello", "allo") != before


@pytest.mark.long
async def test_how_long_a_save_takes_to_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Printed, not judged: the machine decides. What is judged is that the new code answers at all."""
    plugins = {
        "lua": (lua(tmp_path / "lua" / "p"), "plugin.lua"),
        "python": (python(tmp_path / "python" / "p", SDK), "plugin.py"),
        "javascript": (
            made(tmp_path / "js" / "p", MANIFEST.format(name="js", entry="p.mjs"), {"p.mjs": NODE}),
            "p.mjs",
        ),
    }
    found: list[str] = []
    for language, (folder, entry) in plugins.items():
        async with session_of(folder) as (session, stage):
            await stage.until("served 0")
            took: list[float] = []
            for number in range(2):
                text = (folder / entry).read_text().replace("Hello", f"Hello{number}")
                began = time.monotonic()
                (folder / entry).write_text(text)
                await stage.until("served")
                assert (await greeted(session)).startswith(f"Hello{number}")
                took.append(time.monotonic() - began)
            found.append(f"{language}: a save answers after {1000 * min(took):.0f} ms at best")
    with capsys.disabled():
        sys.stdout.write("\n" + "\n".join(found) + "\n")


async def test_what_is_refused_is_seen_with_the_line_that_allows_it(tmp_path: Path) -> None:
    folder = python(tmp_path / "greeter")
    secret = tmp_path / "secret.txt"
    secret.write_text("mine")
    async with session_of(folder, watch=True) as (session, stage):
        await stage.until("served 0")
        assert session.refusals.fresh(session.spec) == []
        call = {"name": "peek", "arguments": {"path": str(secret)}}
        assert (await session.client.request(session.core, "tools/call", call))["isError"]
        await session.client.request(session.core, "tools/call", {"name": "mark", "arguments": {}})
        async with asyncio.timeout(BOUND):
            lines: dict[str, str] = {}
            while len(lines) < 2:
                lines |= {str(one.permission): one.line for one in session.refusals.fresh(session.spec)}
                await asyncio.sleep(0.02)
        assert lines["ui:status"] == 'ui = ["toast", "ask", "documents", "command", "status"]'
        assert str(secret) in lines[f"read:{secret}"]
        assert session.refusals.fresh(session.spec) == []
