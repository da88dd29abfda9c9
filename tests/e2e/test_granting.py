"""What a person grants and takes back on the command line is taken up by brokers that run."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.e2e.harness import BOUND, Home, Line
from tests.e2e.test_operating import World
from tests.servers import scripted

ASKS = {"permissions": {"ui": ["toast"], "call": ["*"]}}  # nothing that a machine could lack the means to hold


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    home = Home.of(tmp_path / "h", {"a": {**scripted(), **ASKS}})
    async with AsyncExitStack() as stack:
        yield World(home, stack)


async def answers(line: Line) -> bool:
    """Whether the plugin's tool can be called; else the error says how to grant what it lacks."""
    reply = await line.ask("tools/call", {"name": "a__echo", "arguments": {"text": "hi"}})
    text = json.dumps(reply)
    if "broker grant a" in text:
        return False
    assert '"hi"' in text, text
    return True


async def turns(line: Line, able: bool) -> None:
    """Wait until the broker has taken it up."""
    async with asyncio.timeout(BOUND):
        while await answers(line) is not able:
            await asyncio.sleep(0.05)


async def test_a_grant_is_taken_up_and_taken_back(world: World) -> None:
    line = await world.broker()
    assert not await answers(line)
    code, said, _ = await world.shell("grant", "a", "ui", "call")
    assert code == 0 and "Granted to a" in said
    await turns(line, True)
    code, said, _ = await world.shell("revoke", "a", "call")
    assert code == 0
    await turns(line, False)


async def test_what_is_granted_once_is_gone_with_the_broker(world: World) -> None:
    line = await world.broker()
    assert not await answers(line)
    code, said, error = await world.shell("grant", "a", "--yes", "--once")
    assert (code, error) == (0, "") and f"(pid {line.process.pid}): a is" in said
    assert await answers(line)
    assert not await answers(await world.broker())
    assert not (world.home.folder / "home" / "state" / "grants.json").exists()


async def test_revoking_forgets_what_was_granted_once(world: World) -> None:
    line = await world.broker()
    await world.shell("grant", "a", "--yes", "--once")
    assert await answers(line)
    await world.shell("revoke", "a")
    assert not await answers(line)
