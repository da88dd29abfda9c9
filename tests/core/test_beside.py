"""What is asked about tasks stands in no line: a task may be waited for while its plugin is called."""

from __future__ import annotations

import asyncio
from typing import Any

from msgspec import Raw

from broker.core.ports import Call
from broker.errors import PluginFailed, TimedOut
from broker.model import Limits
from tests.pretend import House, PretendFace, PretendInstance, raw
from tests.travel import travel

LIMITS = Limits(timeout=20, cap=300, start=5, idle=100)


async def started(**spec: Any) -> tuple[House, PretendFace, PretendInstance]:
    house, face = House("notes", limits=LIMITS, **spec), PretendFace()
    await house.known(face)
    return house, face, house.runtime.instances[0]


def waiting(house: House, face: PretendFace) -> asyncio.Task[Any]:
    """A `tasks/result` of a task that goes on."""

    async def behave(instance: PretendInstance, call: Call) -> Raw:
        await instance.ended_call()
        return raw({"content": []})

    house.runtime.behaviours[""] = behave
    call = Call(face, face.identity, "tasks/result", {"taskId": raw("notes:x")})
    return asyncio.ensure_future(house.router.call(call))


def test_a_result_waited_for_keeps_nobody_waiting() -> None:
    async def story() -> None:
        house, face, instance = await started()
        result = waiting(house, face)
        assert (await house.call(face, "notes__echo"))["plugin"] == "notes"
        assert not result.done() and house.router.generations.statuses()[0].running == 1
        instance.release.set()
        await result

    travel(story())


def test_a_result_may_be_waited_for_as_long_as_any_call_may_take() -> None:
    async def story() -> None:
        house, face, _ = await started()
        result = waiting(house, face)
        await asyncio.sleep(LIMITS.cap - 1)
        assert not result.done()
        await asyncio.wait([result])
        assert isinstance(result.exception(), TimedOut) and "300 s" in str(result.exception())

    travel(story())


def test_a_crash_is_told_to_who_waits_for_a_result() -> None:
    async def story() -> None:
        house, face, instance = await started()
        result = waiting(house, face)
        await house.call(face, "notes__echo")
        instance.die()
        await asyncio.wait([result])
        assert isinstance(result.exception(), PluginFailed)
        assert (await house.call(face, "notes__echo"))["plugin"] == "notes"

    travel(story())


def test_a_plugin_that_works_at_a_task_is_not_idle() -> None:
    async def story() -> None:
        _, _, instance = await started()
        instance.working = True
        await asyncio.sleep(10 * LIMITS.idle)
        assert instance.alive
        instance.working = False
        await asyncio.sleep(2 * LIMITS.idle)
        assert not instance.alive

    travel(story())
