"""A real plugin on the channel to its host, from its greeting to its end."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from broker.errors import NotFound
from tests.runtimes.desks import desk_spec, opened

EDITOR: dict[str, Any] = {
    "toast": {"shown": True},
    "pick": {"value": "green"},
    "input": {"value": "lamp"},
    "confirm": {"confirmed": True},
    "set_status": {"shown": True},
    "progress.begin": {"shown": True},
    "progress.report": {"shown": True},
    "progress.end": {"shown": True},
    "show": {"shown": True},
    "editor.active": {"uri": "file:///w/a.txt"},
    "editor.read": {"uri": "file:///w/a.txt", "text": "one TODO 𝄞\nTODO"},
    "editor.edit": {"applied": True},
    "editor.diagnostics": {"shown": True},
}


async def test_a_plugin_does_everything_with_its_editor(tmp_path: Path) -> None:
    async with opened(tmp_path, listings=tmp_path / "lists") as world:
        world.face.performs = EDITOR
        assert len(world.router.commands()) == 11  # of the manifest, while nothing runs
        assert await world.run("desk.hello", "Ada") == {"value": {"greeted": "Ada"}}
        assert world.did("toast") == [{"title": "Good day, Ada", "message": "from desk", "kind": "info"}]
        assert await world.run("desk.status", "busy") == {"value": {"shown": True}}
        assert await world.run("desk.ask") == {"value": {"pick": "green", "input": "lamp", "confirm": True}}
        assert await world.run("desk.active") == {"value": {"uri": "file:///w/a.txt"}}
        assert await world.run("desk.open", "file:///w/a.txt", 3) == {"value": {"shown": True}}
        assert world.did("show")[0]["range"]["start"] == {"line": 3, "character": 0}
        assert await world.run("desk.upper", "file:///w/a.txt") == {"value": {"applied": True}}
        (edit,) = world.did("editor.edit")
        assert edit["open"] == ["file:///w/a.txt"]  # it may not write to that file, so the editor must have it open
        (change,) = edit["changes"]["file:///w/a.txt"]
        assert change["newText"] == "ONE TODO 𝄞" and change["range"]["end"] == {"line": 0, "character": 11}
        assert await world.run("desk.lint", "file:///w/a.txt") == {"value": {"marked": 2}}
        assert [each["range"]["start"]["line"] for each in world.did("editor.diagnostics")[0]["diagnostics"]] == [0, 1]
        world.router.happened("document.saved", b'{"uri":"file:///w/a.txt"}')
        world.router.happened("document.closed", b'{"uri":"file:///w/a.txt"}')  # which it did not ask for
        assert (await world.run("desk.heard", 1))["value"] == [
            {"name": "document.saved", "params": {"uri": "file:///w/a.txt"}}
        ]
        outcomes = {(line["method"], line["outcome"]) for line in world.lines() if line["plugin"] == "desk"}
        assert ("host/editor.edit", "ok") in outcomes and ("commands/run", "ok") in outcomes
    undeclared = desk_spec(commands=())
    async with opened(tmp_path / "again", undeclared, listings=tmp_path / "lists") as world:
        assert len(world.router.commands()) == 10  # those it registered are known before it is started again
        assert not any(status.pids for status in world.router.generations.statuses())


async def test_a_declared_command_nobody_handles_is_the_tool_of_its_name(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        call = world.calling("desk.greet", {"who": "Ada"})
        await asyncio.wait_for(world.router.learned_for(call), 10)
        assert await world.run("desk.greet", {"who": "Ada"}) == {
            "content": [{"type": "text", "text": "Hello, Ada, from a tool of desk"}]
        }


async def test_a_command_nobody_has_is_said_with_the_one_that_was_meant(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        with pytest.raises(NotFound, match=r"did you mean desk\.hello"):
            await world.run("desk.helo")


async def test_what_a_plugin_showed_goes_with_it(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        world.face.performs = EDITOR
        await world.run("desk.status", "busy")
        await world.run("desk.lint", "file:///w/a.txt")
        await world.router.generations.stop_one("desk")
        assert (await world.until("editor.diagnostics", 2))[1] == {"uri": "file:///w/a.txt", "diagnostics": []}
        assert world.did("set_status")[-1] == {"key": "desk", "value": ""}


async def test_work_is_reported_and_ends_when_its_person_cancels_it(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        world.face.performs = EDITOR
        running = asyncio.ensure_future(world.run("desk.work", 1000, 0.001))
        await world.until("progress.report")
        (begun,) = world.did("progress.begin")
        assert begun["title"] == "Working" and begun["cancellable"]
        world.router.cancelled("desk", begun["id"])
        assert (await asyncio.wait_for(running, 10))["value"]["cancelled"] is True
        assert world.did("progress.end") == [{"id": begun["id"], "message": "done"}]


async def test_a_command_that_is_cancelled_is_told_so(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        world.face.performs = EDITOR
        running = asyncio.ensure_future(world.run("desk.work", 100_000, 0.001))
        await world.until("progress.report")
        running.cancel()
        await world.until("progress.end")
        assert await world.run("desk.heard") == {"value": []}  # it goes on serving


async def test_a_plugin_without_permissions_of_its_own_gets_no_channel(tmp_path: Path) -> None:
    async with opened(tmp_path, desk_spec(permissions=None)) as world:
        with pytest.raises(Exception, match="desk"):
            await world.run("desk.hello")
        assert "BROKER_HOST_FD" in (tmp_path / "logs" / "desk.log").read_text()  # the KeyError it ended with
