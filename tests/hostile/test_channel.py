"""Plugins that abuse the channel to their host: it costs them that channel at most, and nobody else anything."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from broker.errors import NotFound, PluginFailed
from broker.model import Command, Spec
from tests.runtimes.desks import World, desk_spec, opened
from tests.servers import ROOT

EVIL = ROOT / "tests" / "hostile" / "channel_evil.py"


def evil(abuse: str, **more: Any) -> Spec:
    commands = (Command("answer"),)
    return desk_spec(
        name="evil", entry=None, command=(sys.executable, str(EVIL), abuse), commands=commands, cwd=None, **more
    )


@asynccontextmanager
async def abused(folder: Path, abuse: str, **more: Any) -> AsyncGenerator[World]:
    """A world with a plugin that is begun to be abused, and one that is well; both serve at the end."""
    async with opened(folder, evil(abuse, **more), desk_spec()) as world:
        await world.router.learned(world.face.identity, world.face, 10)
        yield world
        assert await world.text("evil") == "still here"
        assert await world.text("desk") == "Hello, nobody, from a tool of desk"


@pytest.mark.parametrize("abuse", ["junk", "flood", "told"])
async def test_a_flood_ends_the_channel_and_not_the_plugin(tmp_path: Path, abuse: str) -> None:
    began = time.monotonic()
    async with abused(tmp_path, abuse) as world:
        await world.logged("evil", "the channel to its host is closed: it sent more than 1000 messages")
        allowed = 200 + 100 * (time.monotonic() - began)  # what `log` may say at once, and then each second
        assert len(world.face.logs) <= allowed + 50 and len((tmp_path / "logs" / "evil.log").read_bytes()) < 100_000


async def test_who_asks_too_often_and_waits_for_the_answers_is_only_slowed_down(tmp_path: Path) -> None:
    async with abused(tmp_path, "eager") as world:
        said = await world.logged("evil", "refused")
        assert "closed" not in said and len(world.face.logs) < 15


async def test_a_plugin_that_reads_no_answers_is_read_no_more(tmp_path: Path) -> None:
    async with abused(tmp_path, "deaf") as world:
        began = time.monotonic()
        for _ in range(20):
            await world.text("desk")
        assert time.monotonic() - began < 5


async def test_a_line_that_is_too_long_costs_itself(tmp_path: Path) -> None:
    async with abused(tmp_path, "huge") as world:
        assert "after the huge line" in await world.logged("evil", "after the huge line")


async def test_a_line_without_an_end_ends_the_channel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.runtimes.conduct.LOOK", 0.05)
    monkeypatch.setattr("broker.runtimes.conduct.FRAME_TIME", 0.1)
    monkeypatch.setattr("broker.runtimes.conduct.SLOWEST", 0)
    async with abused(tmp_path, "half") as world:
        await world.logged("evil", "the channel to its host is closed: it began a message")


async def test_only_an_answer_to_what_was_asked_counts_and_only_once(tmp_path: Path) -> None:
    async with abused(tmp_path, "ids") as world:
        assert await world.run("evil.answer") == {"value": "first"}
        assert await world.run("evil.answer") == {"value": "first"}


async def test_a_command_of_a_plugin_that_closed_its_channel_fails_and_says_so(tmp_path: Path) -> None:
    async with abused(tmp_path, "closing") as world:
        with pytest.raises((PluginFailed, NotFound), match=r"evil (closed|did not)"):
            await world.run("evil.answer")


async def test_who_keeps_the_channel_in_another_process_ends_with_the_plugin(tmp_path: Path) -> None:
    async with abused(tmp_path, "forked") as world:
        (pid,) = next(each.pids for each in world.router.generations.statuses() if each.name == "evil")
        async with asyncio.timeout(10):
            while not (children := psutil.Process(pid).children(recursive=True)):
                await world.text("evil")
        await world.router.generations.stop_one("evil")
        assert not any(child.is_running() and child.status() != "zombie" for child in children)


async def test_two_processes_that_write_at_once_garble_only_their_own(tmp_path: Path) -> None:
    async with abused(tmp_path, "together") as world:
        await world.logged("evil", "info: ")


async def test_params_that_make_no_sense_and_what_was_not_granted_are_refused(tmp_path: Path) -> None:
    async with abused(tmp_path, "params") as world:
        said = await world.logged("evil", "permission-missing permission-missing permission-missing")
        assert said.count("invalid-params") >= 7 and "not-found" in said
        refused = [line for line in world.lines() if line["outcome"] == "permission-missing"]
        assert {line["method"] for line in refused} == {"host/fs.read", "host/secrets.get", "host/call"}
