"""Progress on its way: only upwards, never a flood, never after the end."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import msgspec
import pytest

from broker.core.ports import Call
from broker.runtimes.progress import BURST, RATE, Progress
from tests.hostile.evil import until
from tests.pretend import PretendFace, raw


class Way:
    """One call with the token "t", and what its caller was told."""

    def __init__(self) -> None:
        self.face = PretendFace()
        self.progress = Progress()
        self.call = Call(self.face, self.face.identity, "tools/call", {}, token=raw("t"))
        self.number = self.progress.begin(self.call)

    def news(self, value: Any, **more: Any) -> Call | None:
        return self.progress.take(raw({"progressToken": self.number, "progress": value, **more}))

    @property
    def told(self) -> list[Any]:
        return [params["progress"] for _, params in self.face.told]


async def test_progress_comes_with_the_callers_own_token_and_all_its_members() -> None:
    way = Way()
    assert way.news(0, total=2, message="m") is way.call
    assert way.face.told == [
        ("notifications/progress", {"progressToken": "t", "progress": 0, "total": 2, "message": "m"})
    ]


async def test_only_progress_that_goes_up_is_passed_on() -> None:
    way = Way()
    for value in (1, 1, 0.5, -3, 2, 1.5, 2.5):
        assert way.news(value) is way.call  # each is a sign of life
    assert way.told == [1, 2, 2.5]


async def test_a_flood_becomes_its_newest_news_and_the_last_comes_before_the_end() -> None:
    way, began = Way(), time.monotonic()
    for value in range(100_000):
        way.news(value)
    await until(lambda: way.told[-1] == 99_999)
    for value in range(100_000, 200_000):
        way.news(value)
    way.progress.end(way.number)
    assert way.told[-1] == 199_999
    assert len(way.told) <= BURST + RATE * (time.monotonic() - began) + 3


async def test_news_of_a_call_that_is_over_is_dropped() -> None:
    way = Way()
    way.progress.end(way.number)
    assert way.news(1) is None
    assert way.told == []


async def test_who_gave_up_hears_nothing_more() -> None:
    way = Way()
    for value in range(100):
        way.news(value)
    before = len(way.told)
    way.progress.hush(way.number)
    way.progress.end(way.number)
    await asyncio.sleep(0.1)
    assert len(way.told) == before


@pytest.mark.parametrize("token", [0, 2, -1, "1", None, {}, 1.5])
async def test_a_token_never_given_is_told_apart(token: Any) -> None:
    way = Way()
    with pytest.raises(KeyError):
        way.progress.take(raw({"progressToken": token, "progress": 1}))


@pytest.mark.parametrize("value", ["1", None, True, [], {}])
async def test_news_without_a_number_cannot_be_read(value: Any) -> None:
    way = Way()
    with pytest.raises(msgspec.MsgspecError):
        way.progress.take(raw(json.loads(json.dumps({"progressToken": 1, "progress": value}))))
