"""Whose turn it is: order, fairness, and no turn lost."""

from __future__ import annotations

import asyncio
import random

import pytest

from broker.core.turns import Turns
from broker.errors import Overloaded, PluginFailed


def opened(limit: int = 1) -> Turns:
    turns = Turns(limit)
    turns.open()
    return turns


async def line_up(turns: Turns, keys: str) -> tuple[list[str], list[asyncio.Task[None]]]:
    """One waiter for each letter, in this order; the list fills as they are served."""
    served: list[str] = []

    async def wait(key: str) -> None:
        await turns.take(key)
        served.append(key)
        turns.give_back()

    tasks = [asyncio.create_task(wait(key)) for key in keys]
    await asyncio.sleep(0)
    return served, tasks


async def test_one_caller_is_served_in_order_of_arrival() -> None:
    turns = opened()
    assert turns.take_now()
    order: list[int] = []

    async def wait(number: int) -> None:
        await turns.take("a")
        order.append(number)
        turns.give_back()

    tasks = [asyncio.create_task(wait(number)) for number in range(20)]
    await asyncio.sleep(0)
    turns.give_back()
    await asyncio.wait_for(asyncio.gather(*tasks), 5)
    assert order == list(range(20))


async def test_a_crowd_of_one_caller_does_not_hold_up_another() -> None:
    turns = opened()
    assert turns.take_now()
    served, tasks = await line_up(turns, "aaaaaaaab")
    turns.give_back()
    await asyncio.wait_for(asyncio.gather(*tasks), 5)
    assert served.index("b") <= 1


async def test_callers_in_line_are_served_in_rotation() -> None:
    turns = opened()
    assert turns.take_now()
    served, tasks = await line_up(turns, "aaabbc")
    turns.give_back()
    await asyncio.wait_for(asyncio.gather(*tasks), 5)
    assert "".join(served) == "abcaba"


async def test_nobody_overtakes_those_who_wait() -> None:
    turns = opened()
    assert turns.take_now()
    _, tasks = await line_up(turns, "a")
    turns.give_back()
    assert not turns.take_now()
    await asyncio.gather(*tasks)
    assert turns.take_now()


async def test_no_more_than_the_limit_at_once_and_no_turn_is_lost_to_cancellation() -> None:
    turns, random_ = opened(3), random.Random(7)
    most = 0

    async def work(key: str) -> None:
        nonlocal most
        await turns.take(key)
        most = max(most, turns.busy)
        try:
            for _ in range(random_.randrange(3)):
                await asyncio.sleep(0)
        finally:
            turns.give_back()

    tasks = [asyncio.create_task(work(random_.choice("abcd"))) for _ in range(300)]
    for task in random_.sample(tasks, 150):
        await asyncio.sleep(0)
        task.cancel()
    await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)
    assert most == 3 and turns.busy == 0 and len(turns) == 0


async def test_a_waiter_cancelled_at_the_moment_of_its_turn_passes_it_on() -> None:
    turns = opened()
    assert turns.take_now()
    served, (first, second) = await line_up(turns, "ab")
    turns.give_back()
    first.cancel()
    await asyncio.wait_for(second, 5)
    assert served == ["b"] and turns.busy == 0


async def test_while_closed_everyone_waits_and_a_failure_reaches_them_all() -> None:
    turns = Turns(1)
    assert not turns.take_now()
    _, tasks = await line_up(turns, "ab")
    turns.fail(PluginFailed("gone"))
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [PluginFailed, PluginFailed] and len(turns) == 0


async def test_too_many_waiting_calls_of_one_caller_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.core.turns.MAX_WAITING", 3)
    turns = Turns(1)
    _, tasks = await line_up(turns, "aaab")
    with pytest.raises(Overloaded):
        await turns.take("a")
    turns.fail(PluginFailed("end"))
    await asyncio.gather(*tasks, return_exceptions=True)
