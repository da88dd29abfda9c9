"""A plugin with a host channel behind the real `broker mcp`: what an AI client sees of what it asks its host."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests import keyrings
from tests.e2e.harness import BOUND, ERAS, Home, Line, opened
from tests.e2e.test_command_line import Shell
from tests.servers import ROOT

DESK = ROOT / "tests" / "plugins" / "desk"
FORMS = {"elicitation": {"form": {}}}


async def home(folder: Path, plugin: Path = DESK) -> Home:
    made = Home.of_toml(folder / "home", f'[plugins.desk]\npath = "{plugin}"  # mine\n')
    granted = await asyncio.to_thread(Shell(made), "grant", "desk", "--yes")
    assert granted.returncode == 0, granted.stderr
    return made


async def tried(line: Line, op: str, **params: Any) -> Any:
    """What the host says to the plugin."""
    return (await line.call("desk__try", {"op": op, "params": params}))["structuredContent"]


@pytest.mark.parametrize("era", ERAS)
async def test_over_mcp_there_is_less_and_the_plugin_is_told(tmp_path: Path, era: str) -> None:
    async with opened(await home(tmp_path), era) as line:
        assert await line.names() == ["desk__greet", "desk__try"]
        for op, params in (("show", {"uri": "https://x.dev"}), ("editor.active", {}), ("editor.read", {"uri": "x"})):
            name, said = (await tried(line, op, **params))["error"]
            assert name == "not-in-client" and "desk asked for" in said
        assert (await tried(line, "confirm", message="Sure?"))["error"][0] == "not-answered"
        assert (await tried(line, "fs.read", path="/etc/hostname"))["error"][0] == "permission-missing"
        assert (await tried(line, "nothing"))["error"][0] == "not-found"
        assert await tried(line, "config.get", key="greeting") == {"result": "Hello"}
        assert await tried(line, "progress.begin", id="w", title="Work") == {"result": {"shown": False}}
        if era == "legacy":
            assert await tried(line, "toast", title="Ready", kind="warn") == {"result": {"shown": True}}
            toast = await line.notice("notifications/message")
            assert toast == {"level": "warning", "logger": "desk", "data": "Ready"}


async def test_a_question_of_the_channel_is_an_elicitation_of_its_call(tmp_path: Path) -> None:
    async with opened(await home(tmp_path), "legacy", FORMS) as line:
        await line.names()
        asking = asyncio.create_task(tried(line, "pick", message="Colour?", items=["red", "green"]))
        question = await line.asked("elicitation/create")
        assert question["params"]["message"] == "The plugin desk asks: Colour?"
        line.write({"id": question["id"], "result": {"action": "accept", "content": {"answer": "green"}}})
        assert await asking == {"result": {"value": "green"}}


@pytest.mark.long
async def test_a_plugin_keeps_secrets_and_options_where_its_user_has_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in keyrings.in_file(tmp_path / "keys").items():
        monkeypatch.setenv(name, value)
    plugin = tmp_path / "desk"
    shutil.copytree(DESK, plugin)
    manifest = (plugin / "plugin.toml").read_text().replace("secrets = []", 'secrets = ["token"]')
    (plugin / "plugin.toml").write_text(manifest)
    made = await home(tmp_path, plugin)
    words = [made.command, "secret", "set", *made.flags, "desk", "token"]
    kept = await asyncio.to_thread(subprocess.run, words, input=b"first-secret\n", env=made.env, capture_output=True)
    assert kept.returncode == 0, kept.stderr
    async with opened(made) as line:
        await line.names()
        assert await tried(line, "secrets.get", name="token") == {"result": {"value": "first-secret"}}
        assert await tried(line, "secrets.set", name="token", value="second-secret") == {"result": None}
        assert await tried(line, "secrets.get", name="token") == {"result": {"value": "second-secret"}}
        assert (await tried(line, "secrets.get", name="other"))["error"][0] == "permission-missing"
        assert (await tried(line, "config.set", key="greeting", value=7))["error"][0] == "invalid-params"
        assert await tried(line, "events.subscribe", names=["config.changed"])
        begun = time.time()
        assert await tried(line, "config.set", key="greeting", value="Moin") == {"result": None}
        async with asyncio.timeout(BOUND):
            while await tried(line, "config.get", key="greeting") != {"result": "Moin"}:
                await asyncio.sleep(0.05)
        file = (made.folder / "config.toml").read_text()
        assert "# mine" in file and tomllib.loads(file)["plugins"]["desk"]["config"] == {"greeting": "Moin"}
        (server,) = [each for each in line.processes() if str(plugin / "plugin.py") in " ".join(each.cmdline())]
        assert server.create_time() < begun  # it was told, and not started anew
