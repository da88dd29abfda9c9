"""What Lua scripts ask of their host by the names that read well, in both places where scripts run."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from broker.core.listings import Listings
from broker.core.router import Router
from broker.model import Spec
from broker.runtimes.lua_runtime import LuaRuntime
from tests.runtimes.desks import GRANTED, World
from tests.runtimes.test_channel import EDITOR

SCRIPT = """
broker.tool{name="all", run=function()
  local where = { start = { line = 0, character = 0 }, ["end"] = { line = 0, character = 1 } }
  broker.toast("Ready", "to go", "warn")
  broker.status("lua", "busy")
  broker.work.begin("w", "Working", { cancellable = true })
  local cancelled = broker.work.report("w", { percentage = 50 })
  broker.work.finish("w", "done")
  return {
    pick = broker.pick("Which?", { "red", "green" }),
    input = broker.input("Name?", { default = "x" }),
    sure = broker.confirm("Sure?"),
    shown = broker.show("https://x.dev/"),
    active = broker.editor.active().uri,
    text = broker.editor.read("file:///w/a.txt").text,
    edited = broker.editor.edit({ ["file:///w/a.txt"] = { { range = where, newText = "x" } } }, "Edit"),
    marked = broker.editor.diagnostics("file:///w/a.txt", { { range = where, message = "To do" } }),
    cleared = broker.editor.diagnostics("file:///w/a.txt", {}),
    cancelled = cancelled,
  }
end}
local saved = {}
broker.on("document.saved", function(params) saved[#saved + 1] = params.uri end)
broker.command{name="saved", title="What was saved", run=function() return { uris = saved } end}
broker.tool{name="refused", run=function()
  local ok, why = pcall(broker.secrets.get, "token")
  local fine, reason = pcall(broker.config.set, "a", nil)
  return { ok, tostring(why), fine, tostring(reason) }
end}
"""


@pytest.mark.parametrize("place", ["inprocess", "process"])
async def test_a_script_does_everything_with_its_editor(tmp_path: Path, place: Any) -> None:
    (tmp_path / "plugin.lua").write_text(SCRIPT)
    spec = Spec(
        name="lua",
        source="test",
        entry=str(tmp_path / "plugin.lua"),
        cwd=str(tmp_path),
        version="1.0.0",
        isolation=place,
        unconfined=True,
        permissions={},
        granted=tuple(one for one in GRANTED if one != "ui:config"),
    )
    world = World(tmp_path, [])
    runtime = LuaRuntime(tmp_path / "logs", operations=world.host.call)
    router = Router([spec], runtime, Listings(None), audit=world.audit)
    world.host.serve(router)
    world.face.performs = EDITOR
    router.join(world.face)
    try:
        await router.learned(world.face.identity, world.face, 10)

        async def called(tool: str) -> Any:
            reply = await asyncio.wait_for(router.call(world.face.call(f"lua__{tool}")), 10)
            return json.loads(bytes(reply))["structuredContent" if tool == "all" else "content"]

        async def ran(command: str) -> Any:
            reply = await asyncio.wait_for(router.call(world.calling(command)), 10)
            return json.loads(bytes(reply))["structuredContent"]

        assert await called("all") == {
            "pick": "green",
            "input": "lamp",
            "sure": True,
            "shown": True,
            "active": "file:///w/a.txt",
            "text": "one TODO 𝄞\nTODO",
            "edited": True,
            "marked": True,
            "cleared": True,
            "cancelled": False,
        }
        assert world.did("toast")[0]["kind"] == "warn" and world.did("set_status")[0]["value"] == "busy"
        assert [len(each["diagnostics"]) for each in world.did("editor.diagnostics")] == [1, 0]
        assert [each.shown for each in router.commands()] == ["lua.saved"] and router.commands()[0].title
        router.happened("document.saved", b'{"uri":"file:///w/a.txt"}')
        async with asyncio.timeout(10):
            while await ran("lua.saved") != {"uris": ["file:///w/a.txt"]}:
                await asyncio.sleep(0.02)
        (said,) = await called("refused")
        assert "secrets:token was not granted" in said["text"] and "ui:config was not granted" in said["text"]
    finally:
        await router.stop(0.3)
