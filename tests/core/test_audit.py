"""The line that every call leaves behind."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from broker.core import audit
from broker.core.audit import Audit
from broker.core.listings import Listings
from broker.core.ports import Call
from broker.core.router import Router
from broker.errors import BrokerError, RemoteError
from broker.model import Limits, Spec
from tests.pretend import SHORT, PretendFace, PretendInstance, PretendRuntime, raw, tools

SECRET = "hunter2"


class Audited:
    """A router over pretended plugins with an audit file."""

    def __init__(self, folder: Path, limits: Limits | None = None) -> None:
        self.file = folder / "audit.jsonl"
        self.audit = Audit(folder)
        self.runtime, self.face = PretendRuntime(), PretendFace("Claude")
        self.runtime.listings["a"] = tools("echo", "wait", "die", resources=[raw({"uri": "x://1", "name": "one"})])
        spec = Spec(name="a", source="t", limits=limits or Limits())
        self.router = Router([spec], self.runtime, Listings(None), audit=self.audit)

    async def known(self) -> Audited:
        self.router.join(self.face)
        await self.router.learned(self.face.identity, self.face, 5)
        return self

    async def call(self, name: str) -> None:
        await asyncio.wait_for(self.router.call(self.face.call(name, password=SECRET)), 5)

    def lines(self) -> list[dict[str, Any]]:
        self.audit.flush()
        return [json.loads(line) for line in self.file.read_text().splitlines()]


Begin = Callable[..., Any]


@pytest.fixture
def begin(tmp_path: Path) -> Begin:
    def begin(**extra: Any) -> Any:
        return Audited(tmp_path, **extra).known()

    return begin


async def test_a_call_leaves_who_what_when_and_how_it_ended(begin: Begin) -> None:
    house = await begin()
    before = datetime.now(UTC)
    await house.call("a__echo")
    (line,) = house.lines()
    time, ms = line.pop("time"), line.pop("ms")
    assert line == {
        "client": "Claude",
        "plugin": "a",
        "method": "tools/call",
        "name": "echo",
        "outcome": "ok",
        "pid": os.getpid(),
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", time)
    assert abs((datetime.fromisoformat(time) - before).total_seconds()) < 5
    assert 0 <= ms < 5000


async def test_no_argument_gets_into_it(begin: Begin) -> None:
    house = await begin()
    await house.call("a__echo")
    house.audit.flush()
    assert SECRET not in house.file.read_text() and "password" not in house.file.read_text()


async def test_a_resource_is_named_by_its_uri(begin: Begin) -> None:
    house = await begin()
    face = house.face
    (uri,) = [entry.name for entry in house.router.catalog.entries("resources")]
    await house.router.call(Call(face, face.identity, "resources/read", {"uri": raw(uri)}))
    assert [(line["method"], line["name"]) for line in house.lines()] == [("resources/read", "x://1")]


async def test_how_a_call_failed_is_told_by_its_stable_name(begin: Begin) -> None:
    house = await begin(limits=SHORT)

    async def refuse(instance: PretendInstance, call: Call) -> Any:
        raise RemoteError(-32050, "no")

    async def break_(instance: PretendInstance, call: Call) -> Any:
        raise ZeroDivisionError

    house.runtime.behaviours |= {"echo": refuse, "die": break_}
    for name, error in (
        ("a__echo", RemoteError),
        ("a__die", ZeroDivisionError),
        ("a__wait", BrokerError),
        ("a__nothing", BrokerError),
    ):
        with pytest.raises(error):
            await house.call(name)
    assert [(line["plugin"], line["name"], line["outcome"]) for line in house.lines()] == [
        ("a", "echo", "remote-error"),
        ("a", "die", "internal-error"),
        ("a", "wait", "plugin-timeout"),
        ("", "a__nothing", "not-found"),
    ]


@pytest.mark.parametrize(
    ("result", "outcome"),
    [
        ({"content": [], "isError": True}, "tool-error"),
        ({"content": [], "isError": False}, "ok"),
        ({"content": [{"type": "text", "text": '"isError":true'}]}, "ok"),
        ({"structuredContent": {"isError": True}}, "ok"),
        ({"isError": "yes"}, "ok"),
        ({"content": [{"type": "text", "text": "x" * audit.LOOKED}], "isError": True}, "ok"),
    ],
    ids=["failed", "not", "in a text", "below", "strange", "long"],
)
async def test_a_tool_that_says_it_failed_is_told_from_one_that_did_not(
    begin: Begin, result: Any, outcome: str
) -> None:
    house = await begin()

    async def answer(instance: PretendInstance, call: Call) -> Any:
        return raw(result)

    house.runtime.behaviours["echo"] = answer
    await house.call("a__echo")
    assert [line["outcome"] for line in house.lines()] == [outcome]


async def test_a_call_that_is_cancelled_is_noted_when_it_ends(begin: Begin) -> None:
    house = await begin()
    task = asyncio.create_task(house.router.call(house.face.call("a__wait")))
    await asyncio.wait_for(house.runtime.started.wait(), 5)
    task.cancel()
    await asyncio.wait([task], timeout=5)
    assert [(line["name"], line["outcome"]) for line in house.lines()] == [("wait", "cancelled")]


async def test_what_waits_is_written_when_the_broker_ends(begin: Begin) -> None:
    house = await begin()
    await house.call("a__echo")
    assert not house.file.exists()
    await house.router.stop(0)
    assert len(house.file.read_text().splitlines()) == 1


async def test_it_is_written_by_itself_a_moment_later(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "PAUSE", 0.01)
    house = await begin()
    await house.call("a__echo")
    async with asyncio.timeout(5):
        while not house.file.exists():
            await asyncio.sleep(0.01)


async def test_many_calls_are_not_kept_waiting(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "MANY", 3)
    house = await begin()
    for _ in range(4):
        await house.call("a__echo")
    assert len(house.file.read_text().splitlines()) == 3


@pytest.mark.parametrize("name", ["x" * 100_000, '\x1b[31m"\n', "\ud800"])
async def test_no_name_can_break_a_line(begin: Begin, name: str) -> None:
    house = await begin()
    with pytest.raises(BrokerError):
        await house.call(name)
    (line,) = house.lines()
    assert len(line["name"]) <= audit.LONGEST and line["outcome"] in ("not-found", "invalid-params")


async def test_a_disk_that_refuses_costs_no_call(begin: Begin, tmp_path: Path) -> None:
    house = await begin()
    house.file.mkdir()
    await house.call("a__echo")
    house.audit.flush()
    await house.call("a__echo")
    await house.router.stop(0)


async def test_without_it_nothing_is_written(tmp_path: Path) -> None:
    house = Audited(tmp_path)
    house.router = Router([Spec(name="a", source="t")], house.runtime, Listings(None))
    await house.known()
    await house.call("a__echo")
    await house.router.stop(0)
    assert not house.file.exists()
