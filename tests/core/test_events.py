"""What happens in front of the broker, and which plugins hear of it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from broker.core import events
from broker.core.events import LARGEST, MOST, Events
from broker.model import Spec

LUA = Spec(name="lua", source="t")


class Heard:
    """Events that tell a list."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, Any]] = []
        self.news = asyncio.Event()
        self.events = Events(self._tell)

    def _tell(self, plugin: str, name: str, params: bytes) -> None:
        self.told.append((plugin, name, json.loads(params)))
        self.news.set()

    def saved(self, uri: str, **more: Any) -> None:
        self.events.happened("document.saved", json.dumps({"uri": uri, **more}).encode())

    async def all(self) -> list[tuple[str, str, Any]]:
        await asyncio.wait_for(self.news.wait(), 5)
        return self.told


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "PAUSE", 0.01)


async def test_only_who_subscribed_hears() -> None:
    heard = Heard()
    heard.events.subscribe(LUA, ["document.saved"])
    heard.events.subscribe(Spec(name="b", source="t"), ["document.opened"])
    heard.saved("a")
    assert await heard.all() == [("lua", "document.saved", {"uri": "a"})]


async def test_a_flood_is_one_delivery_of_the_newest() -> None:
    heard = Heard()
    heard.events.subscribe(LUA, ["document.saved"])
    for number in range(10_000):
        heard.saved("same", version=number)
    assert await heard.all() == [("lua", "document.saved", {"uri": "same", "version": 9999})]


async def test_of_too_many_things_the_latest_are_told() -> None:
    heard = Heard()
    heard.events.subscribe(LUA, ["document.saved"])
    for number in range(10_000):
        heard.saved(str(number))
    told = await heard.all()
    assert [params["uri"] for _, _, params in told] == [str(number) for number in range(10_000 - MOST, 10_000)]


async def test_an_event_that_is_too_large_or_no_object_costs_nothing() -> None:
    heard = Heard()
    heard.events.subscribe(LUA, ["document.saved", "config.changed"])
    heard.saved("x" * LARGEST)
    heard.events.happened("config.changed", b"[]")
    assert await heard.all() == [("lua", "config.changed", [])]


async def test_another_generation_hears_only_what_it_asked_for() -> None:
    heard = Heard()
    new = Spec(name="lua", source="newer")
    heard.events.subscribe(LUA, ["document.saved", "document.opened"])
    assert heard.events.subscribe(new, ["document.saved"]) == ["document.saved"]
    heard.events.replaced(new)
    assert heard.events.wanted == {"document.saved"} and heard.events.hears(new, "document.saved")
    heard.events.replaced(LUA)
    assert heard.events.wanted == frozenset() and not heard.events.hears(LUA, "document.saved")


async def test_who_has_ended_hears_nothing_more() -> None:
    heard = Heard()
    heard.events.subscribe(LUA, ["document.saved"])
    heard.events.subscribe(Spec(name="b", source="t"), ["document.saved"])
    heard.saved("a")
    heard.events.forget("lua")
    assert await heard.all() == [("b", "document.saved", {"uri": "a"})]
    heard.events.close()
