"""What a plugin may not do on its stdout, and what it may."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from broker.runtimes import conduct
from broker.runtimes.conduct import FRAME_TIME, SLOWEST, STRAYS, Conduct
from tests.hostile.evil import until
from tests.travel import travel


@pytest.fixture
async def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(conduct, "LOOK", 0.02)
    monkeypatch.setattr(conduct, "FRAME_TIME", 0.1)
    return []


@pytest.fixture
async def watched(told: list[str]) -> AsyncIterator[Conduct]:
    found = Conduct(told.append)
    yield found
    found.close()


async def test_a_message_that_is_not_finished_is_misconduct(watched: Conduct, told: list[str]) -> None:
    watched.read(b'{"jsonrpc":"2.0",')
    await until(lambda: bool(told))
    assert "of a message" in told[0]


async def test_a_message_that_comes_fast_enough_is_still_bounded_in_time(watched: Conduct, told: list[str]) -> None:
    watched.read(b'{"x":"')
    while not told:
        watched.read(b"y" * 1000)
        await asyncio.sleep(0.005)
    assert "did not finish" in told[0]


def test_a_message_in_pieces_that_ends_in_time_is_fine() -> None:
    told: list[str] = []

    async def story() -> None:
        watched = Conduct(told.append)
        for _ in range(30):  # longer than one may take, in all
            watched.read(b'{"x":')
            await asyncio.sleep(FRAME_TIME / 20)
            watched.read(b"1}" + b" " * int(SLOWEST * FRAME_TIME) + b"\n")
        watched.close()

    travel(story())
    assert told == []


async def test_text_without_an_end_is_no_message(watched: Conduct, told: list[str]) -> None:
    watched.read(b"Enter your name: ")
    await asyncio.sleep(0.2)
    assert told == []


async def test_more_strays_than_a_window_allows_are_told_once(watched: Conduct, told: list[str]) -> None:
    for _ in range(STRAYS):
        watched.stray()
    assert told == []
    for _ in range(10):
        watched.stray()
    assert len(told) == 1 and "nobody asked for" in told[0]


async def test_a_new_window_begins_to_count_anew(
    watched: Conduct, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conduct, "WINDOW", 0.05)
    for _ in range(STRAYS):
        watched.stray()
    await asyncio.sleep(0.1)
    watched.stray()
    assert told == []
