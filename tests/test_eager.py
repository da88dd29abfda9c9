"""Tasks that begin at once: the same as any other to what runs inside."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from broker.eager import EagerTask, Waiter


class Outcome:
    """Takes what a task ends with."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self.over = asyncio.Event()
        self.result: Any = None
        self.error: BaseException | None = None
        self.task = EagerTask(coroutine, self._done, "key", asyncio.get_running_loop())

    def _done(self, key: str, result: Any, error: BaseException | None) -> None:
        assert key == "key" and not self.over.is_set()
        self.result, self.error = result, error
        self.over.set()

    async def settled(self) -> Outcome:
        await asyncio.wait_for(self.over.wait(), 5)
        return self


async def test_it_has_begun_when_it_is_made_and_ends_at_once_if_nothing_waits() -> None:
    async def work() -> int:
        return 7

    assert Outcome(work()).result == 7


async def test_the_wake_of_a_waiter_runs_it_on_the_spot() -> None:
    waiter = Waiter[int]()

    async def work() -> int:
        return await waiter + await waiter

    outcome = Outcome(work())
    assert not outcome.task.done()
    waiter.wake(2)
    assert outcome.result == 4


async def test_an_error_of_a_waiter_is_raised_where_it_is_awaited() -> None:
    waiter = Waiter[int]()

    async def work() -> str:
        try:
            await waiter
        except ValueError as error:
            return str(error)
        return "nothing"

    outcome = Outcome(work())
    waiter.wake(None, ValueError("no"))
    waiter.wake(1)
    assert outcome.result == "no"


async def test_an_exception_ends_it_with_that_exception() -> None:
    async def work() -> None:
        raise KeyError("x")

    assert isinstance(Outcome(work()).error, KeyError)


async def test_everything_of_asyncio_works_inside() -> None:
    async def work() -> list[Any]:
        found: list[Any] = [type(asyncio.current_task()) is EagerTask]  # pyright: ignore
        await asyncio.sleep(0)
        await asyncio.sleep(0.001)
        found.append(await asyncio.gather(asyncio.sleep(0, "a"), asyncio.sleep(0, "b")))
        try:
            async with asyncio.timeout(0.01):
                await asyncio.get_running_loop().create_future()
        except TimeoutError:
            found.append("timeout")
        try:
            async with asyncio.timeout(0.01):
                await Waiter[int]()
        except TimeoutError:
            found.append("timeout")
        async with asyncio.TaskGroup() as group:
            inner = group.create_task(asyncio.sleep(0, "inner"))
        found.append(inner.result())
        return found

    outcome = await Outcome(work()).settled()
    assert outcome.error is None and outcome.result == [True, ["a", "b"], "timeout", "timeout", "inner"]


@pytest.mark.parametrize("kind", ["waiter", "future", "sleep"])
async def test_cancelling_raises_where_it_waits_and_a_late_wake_changes_nothing(kind: str) -> None:
    waiter, future = Waiter[int](), asyncio.get_running_loop().create_future()
    cleaned: list[str] = []

    async def work() -> None:
        try:
            if kind == "waiter":
                await waiter
            elif kind == "future":
                await future
            else:
                await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            cleaned.append(kind)
            raise

    outcome = Outcome(work())
    assert outcome.task.cancel()
    await outcome.settled()
    waiter.wake(1)
    assert isinstance(outcome.error, asyncio.CancelledError) and cleaned == [kind]
    assert not outcome.task.cancel()


async def test_one_that_is_cancelled_after_its_wake_was_due_is_still_cancelled() -> None:
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def work() -> int:
        return await future

    outcome = Outcome(work())
    future.set_result(1)
    outcome.task.cancel()
    assert isinstance((await outcome.settled()).error, asyncio.CancelledError)


async def test_a_waiter_can_be_awaited_by_an_ordinary_task() -> None:
    waiter = Waiter[str]()

    async def work() -> str:
        return await waiter

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    waiter.wake("x")
    assert await asyncio.wait_for(task, 5) == "x"
