"""The real `broker lsp`: as each recorded editor by pytest-lsp, and however an editor leaves."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from lsprotocol import converters
from lsprotocol import types as lsp
from pytest_lsp import LanguageClient, make_test_lsp_client

from tests.faces.lsp_client import PROFILES, profile
from tests.servers import VENV, scripted

Json = dict[str, Any]
BOUND = 20.0  # seconds of every wait, on a busy machine
GONE = 5.0  # seconds from the end of an editor to the end of the broker and all it started
MANIFEST = """
name = "greeter"
version = "1.0.0"
api = 1
entry = "plugin.lua"
permissions = { ui = ["toast", "ask"] }
[commands.hello]
title = "Say hello"
"""
SCRIPT = """
broker.tool({
  name = "hello", input = { who = "string" },
  run = function(args)
    broker.toast("Hello", args.who)
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
    (folder / "servers.json").write_text(json.dumps({"mcpServers": {"server": scripted()}}))
    (folder / "config.toml").write_text(f'[plugins.greeter]\npath = "{greeter}"\n')
    return folder


def command(home: Path) -> list[str]:
    files = ["--config", str(home / "config.toml"), "--mcp-config", str(home / "servers.json")]
    return [str(VENV / "broker"), "lsp", *files]


def environment(home: Path) -> dict[str, str]:
    return {**os.environ, "BROKER_HOME": str(home / "home")}


@asynccontextmanager
async def editor(home: Path, path: Path) -> AsyncGenerator[tuple[LanguageClient, lsp.InitializeResult]]:
    """A client of pytest-lsp that says of itself what the recorded editor said, and takes the first button."""
    client = make_test_lsp_client()

    @client.feature(lsp.WINDOW_SHOW_MESSAGE_REQUEST)
    def choose(params: lsp.ShowMessageRequestParams) -> lsp.MessageActionItem:
        assert params.actions
        return params.actions[0]

    @client.feature(lsp.CLIENT_REGISTER_CAPABILITY)
    def register(params: lsp.RegistrationParams) -> None:
        pass

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


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.stem)
async def test_an_editor_runs_a_command_after_its_user_consented(home: Path, path: Path) -> None:
    async with editor(home, path) as (client, opened):
        offered = opened.capabilities.execute_command_provider
        assert offered is not None and "greeter.hello" in offered.commands
        params = lsp.ExecuteCommandParams(command="broker.run", arguments=["greeter.hello", {"who": "Ada"}])
        result = await client.workspace_execute_command_async(params)
        assert result["content"][0]["text"] == "accept: tea"
        assert [each.message for each in client.messages] == ["greeter: Hello: Ada", "accept: tea"]
        assert client.error is None
