"""Threads that guests run on."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable

import pytest

from broker.eager import EagerTask
from broker.runtimes.thread_lane import Job, Lane


@pytest.fixture(params=["eventfd", "pipe"])
async def lane(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Lane]:
    """One that wakes and is woken by either kind of descriptor."""
    if request.param == "pipe":
        monkeypatch.delattr(os, "eventfd", raising=False)
    one = Lane("test")
    yield one
    one.end()


def descriptors() -> int:
    return len(os.listdir("/dev/fd"))


async def until(true: Callable[[], bool]) -> None:
    """Wait for what is so soon."""
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.001)


async def test_it_does_one_thing_after_the_other_on_a_thread_of_its_own(lane: Lane) -> None:
    done: list[int] = []
    jobs = [lane.submit(lambda number=number: (done.append(number), threading.get_ident())[1]) for number in range(100)]
    threads = {await job for job in jobs}
    assert done == list(range(100))
    assert len(threads) == 1 and threading.get_ident() not in threads


async def test_what_fails_there_fails_here(lane: Lane) -> None:
    with pytest.raises(ZeroDivisionError):
        await lane.submit(lambda: 1 // 0)
    assert await lane.submit(lambda: "next") == "next"


async def test_whoever_waits_is_woken_in_the_turn_in_which_the_answer_is_there(lane: Lane) -> None:
    loop, over = asyncio.get_running_loop(), asyncio.get_running_loop().create_future()
    job: Job[int] = Job()
    settled: list[bool] = []

    async def waits() -> int:
        return await job

    job.on_over = lambda: loop.call_soon(lambda: settled.append(task.done()))  # the next turn
    task = EagerTask(waits(), lambda key, result, error: over.set_result(result), None, loop)
    lane.begin(job, lambda: 7)
    assert await over == 7
    await until(lambda: settled == [True])


async def test_a_job_that_was_given_up_is_over_only_when_its_thread_is_done_with_it(lane: Lane) -> None:
    go, job = threading.Event(), Job[bool]()
    lane.begin(job, lambda: go.wait(10))
    job.give_up(TimeoutError("nobody waits"))
    with pytest.raises(TimeoutError, match="nobody waits"):
        await job
    assert not job.over
    go.set()
    await until(lambda: job.over)


async def test_who_was_cancelled_over_a_job_may_wait_for_it_again(lane: Lane) -> None:
    go = threading.Event()
    job = lane.submit(lambda: go.wait(10))

    async def waits() -> bool:
        try:
            return await job
        except asyncio.CancelledError:
            go.set()
            return await job

    task = asyncio.ensure_future(waits())
    await asyncio.sleep(0)
    task.cancel()
    assert await task is True


async def test_a_chore_is_done_when_nothing_else_is_until_there_is_no_more_of_it(lane: Lane) -> None:
    done: list[str] = []

    def chore() -> bool:
        done.append("chore")
        return done.count("chore") < 3

    go = threading.Event()
    jobs = [lane.submit(lambda: (go.wait(10), done.append("call")), chore) for _ in range(2)]
    go.set()
    for job in jobs:
        await job
    await until(lambda: done.count("chore") == 3)
    assert await lane.submit(lambda: list(done)) == ["call", "call", "chore", "chore", "chore"]


async def test_a_chore_that_fails_is_given_up_and_the_lane_is_not(lane: Lane, caplog: pytest.LogCaptureFixture) -> None:
    await lane.submit(lambda: None, lambda: bool(1 // 0))
    await until(lambda: "a chore of a plugin failed" in caplog.text)
    assert await lane.submit(lambda: 1) == 1


async def test_one_that_ended_has_done_what_it_had_and_leaves_no_descriptor() -> None:
    before = descriptors()
    lanes = [Lane("test") for _ in range(5)]
    jobs = [lane.submit(lambda: 1) for lane in lanes]
    for lane in lanes:
        lane.end()
    assert [await job for job in jobs] == [1] * 5
    await until(lambda: descriptors() == before)


def test_one_whose_loop_is_closed_ends_too() -> None:
    go = threading.Event()

    async def leave() -> None:
        lane = Lane("orphan")
        lane.submit(lambda: go.wait(10))
        lane.end()

    asyncio.run(leave())
    (thread,) = [each for each in threading.enumerate() if each.name == "orphan"]
    go.set()
    thread.join(10)
    assert not thread.is_alive()
