"""The real `broker lsp`: as each recorded editor by pytest-lsp, and however an editor leaves."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from lsprotocol import converters
from lsprotocol import types as lsp
from pytest_lsp import LanguageClient, make_test_lsp_client

from broker.stream import FdStream
from tests.faces.lsp_client import PROFILES, Wire, profile
from tests.marked import MARK, all_gone, killed, marked
from tests.servers import VENV, scripted

Json = dict[str, Any]
# The others say no more than these and are served in memory by test_lsp.py; here they are left to the long run.
UNLIKE = ("eglot-1.17.30-emacs-30.1", "helix-25.07.1", "vscode-1.139-languageclient-11.0")
EACH_EDITOR = [
    pytest.param(path, marks=[] if path.stem in UNLIKE else [pytest.mark.long], id=path.stem) for path in PROFILES
]
BOUND = 30.0  # seconds of every wait, on a busy machine
GONE = 5.0  # seconds from the end of an editor to the end of the broker and all it started
MANIFEST = """
name = "greeter"
version = "1.0.0"
api = 1
entry = "plugin.lua"
permissions = { ui = ["toast", "ask"] }
[commands.hello]
title = "Say hello"
[config.greeting]
type = "string"
default = "Hello"
"""
SCRIPT = """
broker.tool({
  name = "hello", input = { who = "string" },
  run = function(args)
    broker.toast(broker.config.get("greeting"), args.who)
    local said = broker.ask("Tea or coffee?", { choices = { "tea", "coffee" } })
    return said.action .. ": " .. tostring(said.content and said.content.choice)
  end,
})
"""
_converter = converters.get_converter()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A broker's home with a plugin that was granted nothing, and a plain server."""
    folder = tmp_path_factory.mktemp("home")
    greeter = folder / "greeter"
    greeter.mkdir()
    (greeter / "plugin.toml").write_text(MANIFEST)
    (greeter / "plugin.lua").write_text(SCRIPT)
    server = {**scripted(), "env": {MARK: f"${{{MARK}:-none}}"}}
    (folder / "servers.json").write_text(json.dumps({"mcpServers": {"server": server}}))
    (folder / "config.toml").write_text(f'[plugins.greeter]\npath = "{greeter}"\n')
    return folder


def command(home: Path, config: str = "config.toml") -> list[str]:
    files = ["--config", str(home / config), "--mcp-config", str(home / "servers.json")]
    return [str(VENV / "broker"), "lsp", *files]


def environment(home: Path) -> dict[str, str]:
    return {**os.environ, "BROKER_HOME": str(home / "home")}


@asynccontextmanager
async def editor(home: Path, path: Path) -> AsyncGenerator[tuple[LanguageClient, lsp.InitializeResult]]:
    """A client of pytest-lsp that says of itself what the recorded editor said, and takes the first button."""
    client = make_test_lsp_client()

    client.feature(lsp.WINDOW_SHOW_MESSAGE_REQUEST)(first_button)
    client.feature(lsp.CLIENT_REGISTER_CAPABILITY)(agreed)
    said = {name: value for name, value in profile(path).items() if value is not None}
    params = _converter.structure({"processId": os.getpid(), "rootUri": home.as_uri(), **said}, lsp.InitializeParams)
    await client.start_io(*command(home), env=environment(home), cwd=str(home))
    try:
        async with asyncio.timeout(BOUND):
            yield client, await client.initialize_session(params)
            await client.shutdown_session()
    finally:
        server = client._server
        if server is not None and server.returncode is None:
            server.kill()
        await client.stop()


def first_button(params: lsp.ShowMessageRequestParams) -> lsp.MessageActionItem:
    assert params.actions
    return params.actions[0]


def agreed(params: lsp.RegistrationParams) -> None:
    """It is registered."""


@pytest.mark.parametrize("path", EACH_EDITOR)
async def test_an_editor_runs_a_command_after_its_user_consented(home: Path, path: Path) -> None:
    async with editor(home, path) as (client, opened):
        offered = opened.capabilities.execute_command_provider
        assert offered is not None and "greeter.hello" in offered.commands
        params = lsp.ExecuteCommandParams(command="broker.run", arguments=["greeter.hello", {"who": "Ada"}])
        result: Any = await client.workspace_execute_command_async(params)
        assert result["content"][0]["text"] == "accept: tea"
        assert [each.message for each in client.messages] == ["greeter: Hello: Ada", "accept: tea"]
        assert client.error is None


class Running(Wire):
    """A real `broker lsp`, whose editor writes and reads its messages."""

    def __init__(self, home: Path, config: str) -> None:
        to_us, to_it = os.pipe(), os.pipe()
        self.mark = uuid.uuid4().hex
        env = {**environment(home), MARK: self.mark}
        self.process = subprocess.Popen(command(home, config), stdin=to_it[0], stdout=to_us[1], env=env, cwd=home)
        os.close(to_it[0])
        os.close(to_us[1])
        super().__init__(FdStream(to_us[0], to_it[1]))

    async def ended(self) -> int:
        """Its exit code, when all that it started is gone in time, too."""
        await all_gone(self.mark, GONE)
        return await asyncio.to_thread(self.process.wait, BOUND)


def first_action(params: Json) -> Json:
    return params["actions"][0]


@asynccontextmanager
async def started(home: Path, config: str = "config.toml") -> AsyncGenerator[Running]:
    """One that is killed in the end, if it still runs; its user takes the first button of every question."""
    editor = Running(home, config)
    editor.answers["window/showMessageRequest"] = first_action
    try:
        yield editor
    finally:
        await killed(editor.mark)
        await asyncio.to_thread(editor.process.wait, BOUND)
        editor.stream.close()


@asynccontextmanager
async def running(home: Path, process: int | None = None) -> AsyncGenerator[Running]:
    """One whose server runs."""
    async with started(home) as editor:
        await editor.initialize(processId=process, rootUri=home.as_uri())
        assert "content" in await editor.run("broker.call", "server__add", {"a": 1, "b": 2})
        assert len(marked(editor.mark)) >= 2
        yield editor


async def test_shutdown_and_exit_leave_nothing_behind(home: Path) -> None:
    async with running(home) as editor:
        assert await editor.result("shutdown", None) is None
        editor.write(method="exit")
        assert await editor.ended() == 0


async def test_an_editor_that_only_closes_its_end_leaves_nothing_behind(home: Path) -> None:
    async with running(home) as editor:
        editor.send("workspace/executeCommand", {"command": "broker.call", "arguments": ["server__wait", {}]})
        await editor.result("broker/list", {})
        editor.stream.close()
        assert await editor.ended() == 1


def test_who_types_the_command_is_told_that_it_is_for_editors(home: Path) -> None:
    alone = [str(VENV / "broker"), "lsp", "--config", str(home / "none.toml")]
    ran = subprocess.run(alone, stdin=subprocess.DEVNULL, env=environment(home), capture_output=True, timeout=BOUND)
    assert ran.returncode == 1 and b"`broker lsp` is for editors to start" in ran.stderr and ran.stdout == b""


async def test_an_editor_that_died_with_its_pipes_held_open_leaves_nothing_behind(home: Path) -> None:
    dying = await asyncio.create_subprocess_exec(sys.executable, "-c", "input()", stdin=asyncio.subprocess.PIPE)
    async with running(home, dying.pid) as editor:
        dying.kill()
        await dying.wait()
        assert await editor.ended() == 1


async def test_a_broker_that_is_killed_leaves_nothing_behind(home: Path) -> None:
    async with running(home) as editor:
        editor.process.kill()
        assert await editor.ended() == -signal.SIGKILL


async def test_a_workspace_configures_plugins_once_it_is_trusted_and_so_do_the_settings(home: Path) -> None:
    workspace = home / "workspace"
    workspace.mkdir()
    (workspace / ".broker.toml").write_text('[plugins.greeter.config]\ngreeting = "Welcome"\n')
    async with started(home) as editor:
        wishes = {"broker": {"commands": True, "trusted": False}}
        found = await editor.initialize(rootUri=workspace.as_uri(), initializationOptions=wishes)
        assert "greeter.hello" not in found["capabilities"]["executeCommandProvider"]["commands"]
        await editor.until(lambda message: "is held back" in str(message.get("params")))
        editor.write(method="broker/trust", params={"trusted": True})
        await editor.until(lambda message: "'greeter.hello'" in str(message.get("params")), BOUND)
        assert await editor.run("greeter.hello", {"who": "Ada"})
        await editor.said("window/showMessage", message="greeter: Welcome: Ada")
        settings = {"broker": {"plugins": {"greeter": {"greeting": "Hi"}, "none": {}}}}
        editor.answers["workspace/configuration"] = [settings["broker"]]
        editor.write(method="workspace/didChangeConfiguration", params={"settings": settings})
        while not any(each["message"] == "greeter: Hi: Ada" for each in editor.all("window/showMessage")):
            assert await editor.run("greeter.hello", {"who": "Ada"})


EVIL = """
broker.tool({ name = "flood", run = function()
  local shown = 0
  for n = 1, 60 do
    if pcall(broker.toast, "toast " .. n) then shown = shown + 1 end
    pcall(broker.status, "key", "status " .. n)
  end
  return "shown " .. shown
end })
broker.tool({ name = "spin", run = function() while true do end end })
broker.tool({ name = "fail", run = function() error("on purpose") end })
"""


async def test_a_hostile_plugin_costs_only_itself(home: Path) -> None:
    evil = home / "evil"
    evil.mkdir()
    (evil / "plugin.lua").write_text(EVIL)
    named = MANIFEST.replace("greeter", "evil").replace('["toast", "ask"]', '["toast", "status"]')
    commands = "".join(f'[commands.{name}]\ntitle = "{name}"\n' for name in ("flood", "spin", "fail"))
    (evil / "plugin.toml").write_text(named + commands)
    (home / "evil.toml").write_text(f'[plugins.evil]\npath = "{evil}"\n[plugins.greeter]\npath = "{home}/greeter"\n')
    async with started(home, "evil.toml") as editor:
        await editor.ours()
        assert "shown" in str(await editor.run("evil.flood"))
        assert len(editor.all("window/showMessage")) <= 10 and len(editor.all("broker/status")) <= 10
        spun = await editor.ask("workspace/executeCommand", {"command": "evil.spin"})
        assert "worked for more than 100 ms" in str(spun)
        assert "on purpose" in str(await editor.ask("workspace/executeCommand", {"command": "evil.fail"}))
        assert await editor.run("greeter.hello", {"who": "Ada"})
