"""The real Claude Code takes our plugin for it: no account and no network are needed for that."""

from __future__ import annotations

import asyncio
import subprocess

import pytest

from tests.editors.world import EDITORS, World, program

pytestmark = [pytest.mark.editors, pytest.mark.timeout(120)]

QUIET = {"DISABLE_AUTOUPDATER": "1", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1"}


def claude(world: World, *words: str) -> str:
    env = {**world.on_path(), **QUIET}
    done = subprocess.run(
        [program("claude"), *words], env=env, cwd=world.workspace, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


async def test_it_is_valid_installs_and_connects(world: World) -> None:
    folder = str(EDITORS / "claude-code")

    def all_of_it() -> tuple[str, str, str]:
        valid = claude(world, "plugin", "validate", f"{folder}/.claude-plugin/plugin.json")
        claude(world, "plugin", "marketplace", "add", folder)
        claude(world, "plugin", "install", "broker@plugin-broker")
        return valid, claude(world, "plugin", "details", "broker@plugin-broker"), claude(world, "mcp", "list")

    valid, details, servers = await asyncio.to_thread(all_of_it)
    assert "Validation passed" in valid
    assert "MCP servers (1)  broker" in details and "LSP servers (1)  broker" in details
    assert "broker mcp - ✔ Connected" in servers
    await world.ended()
