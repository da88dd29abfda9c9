"""One timer for many calls, on the loop's own clock."""

from __future__ import annotations

import asyncio

from broker.runtimes.overdue import Overdue


async def test_a_call_that_is_not_over_in_time_is_said_once() -> None:
    loop, said, late = asyncio.get_running_loop(), list[str](), asyncio.Event()
    overdue = Overdue()
    overdue.begin(loop.time() + 60, lambda: said.append("first"))
    overdue.end()

    def say() -> None:
        said.append("second")
        late.set()

    overdue.begin(loop.time() + 0.01, say)
    await asyncio.wait_for(late.wait(), 5)
    assert said == ["second"]


async def test_a_timer_of_an_earlier_call_says_nothing_of_a_later_one() -> None:
    loop, said, late = asyncio.get_running_loop(), list[str](), asyncio.Event()
    overdue = Overdue()
    overdue.begin(loop.time() + 0.001, lambda: said.append("first"))
    overdue.end()
    began = loop.time()
    overdue.begin(began + 0.05, late.set)
    await asyncio.wait_for(late.wait(), 5)
    assert loop.time() - began >= 0.05
    assert said == []


async def test_nothing_is_said_after_its_end() -> None:
    loop, said = asyncio.get_running_loop(), list[str]()
    overdue, other = Overdue(), asyncio.Event()
    overdue.begin(loop.time() + 0.001, lambda: said.append("it"))
    overdue.close()
    loop.call_later(0.01, other.set)
    await asyncio.wait_for(other.wait(), 5)
    assert said == []
