"""A plugin of the SDK with a manifest behind the real `broker mcp`, confined, on the channel to its host."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

from tests.e2e.harness import Home, opened
from tests.e2e.test_command_line import Shell
from tests.servers import ROOT

SDK = ROOT / "sdk-python" / "broker_sdk"
DEMO = Path(__file__).with_name("demo_plugin.py")
MANIFEST = """
name = "demo"
version = "1.2.3"
description = "Uses everything the SDK has"
api = 1
entry = "plugin.py"
[permissions]
ui = ["toast", "ask", "status"]
[config.greeting]
type = "string"
default = "Hello"
[commands.refresh]
title = "Refresh TODOs"
"""


async def home(folder: Path) -> Home:
    plugin = folder / "demo"
    shutil.copytree(SDK, plugin / "broker_sdk")  # the sandbox shows no package that is installed as editable
    (plugin / "plugin.toml").write_text(MANIFEST)
    shutil.copy(DEMO, plugin / "plugin.py")
    made = Home.of_toml(folder / "home", f'[plugins.demo]\npath = "{plugin}"  # mine\n')
    granted = await asyncio.to_thread(Shell(made), "grant", "demo", "--yes")
    assert granted.returncode == 0, granted.stderr
    return made


async def test_what_a_plugin_asks_of_its_host_is_done_by_broker(tmp_path: Path) -> None:
    async with opened(await home(tmp_path), "legacy", {"elicitation": {"form": {}}}) as line:

        async def data(tool: str, **arguments: Any) -> Any:
            return (await line.call(f"demo__{tool}", arguments))["structuredContent"]

        assert "demo__count" in await line.names()
        assert (await data("keep", value=5))["result"] == ["nothing", 5, "Hello"]
        assert (await data("keep", value=6))["result"] == [5, 6, "Hello"]
        assert (await data("count", path="src", limit=3))["count"] == 3
        toast = await line.until(lambda message: message.get("params", {}).get("data") == "3 TODOs")
        assert toast["params"] == {"level": "info", "logger": "demo", "data": "3 TODOs"}
        fetched = await line.call("demo__fetch", {})
        assert fetched["content"][0]["text"] == "permission-missing"
        asking = asyncio.create_task(line.call("demo__ask_in_thread", {}))
        question = await line.asked("elicitation/create")
        assert "From a thread?" in question["params"]["message"]
        line.write({"id": question["id"], "result": {"action": "accept", "content": {"value": "yes"}}})
        assert (await asking)["content"][0]["text"] == "yes"
