"""A plugin of the JavaScript SDK with a manifest behind the real `broker mcp`, confined, on the channel to its host."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.e2e.harness import Home, Line, opened, survivors
from tests.e2e.test_command_line import Shell
from tests.sdk_js.places import HERE, SDK
from tests.sdk_python.test_host_channel import MANIFEST

FILE = "plugin.mjs"


async def home(folder: Path) -> Home:
    plugin = folder / "demo"
    module = plugin / "node_modules" / "@plugin-broker" / "sdk"
    module.mkdir(parents=True)
    shutil.copytree(SDK / "dist", module / "dist")
    shutil.copy(SDK / "package.json", module)
    (plugin / "plugin.toml").write_text(MANIFEST.replace("plugin.py", FILE))
    shutil.copy(HERE / "demo_plugin.mjs", plugin / FILE)
    made = Home.of_toml(folder / "home", f'[plugins.demo]\npath = "{plugin}"  # mine\n')
    granted = await asyncio.to_thread(Shell(made), "grant", "demo", "--yes")
    assert granted.returncode == 0, granted.stderr
    return made


def running(line: Line) -> list[psutil.Process]:
    """The processes of the plugin."""
    return [each for each in line.processes() if each.name() == "node" and any(FILE in word for word in each.cmdline())]


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
        asking = asyncio.create_task(line.call("demo__ask_name", {}))
        question = await line.asked("elicitation/create")
        assert "And you?" in question["params"]["message"]
        line.write({"id": question["id"], "result": {"action": "accept", "content": {"value": "yes"}}})
        assert (await asking)["content"][0]["text"] == "yes"
        nodes = running(line)
        assert nodes
        for process in nodes:
            process.kill()
        assert await survivors(nodes) == []
        again = await line.call("demo__keep", {"value": 7})
        if "SIGKILL" in str(again):  # the call was on its way before broker saw the end, and is not sent twice
            again = await line.call("demo__keep", {"value": 7})
        assert again["structuredContent"]["result"] == [6, 7, "Hello"]  # started anew, with its state


@pytest.mark.long
async def test_a_plugin_that_never_lets_its_thread_go_ends_with_broker(tmp_path: Path) -> None:
    async with opened(await home(tmp_path), "modern") as line:  # which sees to it that nothing is left
        assert "demo__block" in await line.names()
        line.send("tools/call", {"name": "demo__block", "arguments": {"seconds": 3600}})
        assert running(line)
