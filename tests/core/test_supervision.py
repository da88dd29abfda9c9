"""A plugin that ends, hangs or idles, in time that passes at once; and what its callers are told."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import msgspec
import pytest

from broker.core.life import OPEN, Life
from broker.core.starts import AGAIN, Starts
from broker.core.status import State, Status
from broker.core.vigil import MISSES, PROBE, SILENCE, TICK
from broker.errors import BrokerError, PluginFailed, PluginUnavailable, PoisonRequest, TimedOut
from broker.model import Limits
from tests.pretend import House, PretendFace, PretendInstance, raw, tools
from tests.travel import travel

LONG = Limits(timeout=400, cap=600, idle=math.inf)


def status(house: House, name: str = "notes") -> Status:
    return next(each for each in house.router.generations.statuses() if each.name == name)


async def begun(house: House, face: PretendFace, tool: str, **arguments: Any) -> asyncio.Task[Any]:
    """A call that is with its instance."""
    house.runtime.started.clear()
    task = asyncio.ensure_future(house.router.call(face.call(tool, **arguments)))
    await house.runtime.started.wait()
    return task


async def failure(work: Any, kind: type[BrokerError] = PluginFailed) -> Any:
    with pytest.raises(kind) as failed:
        await work
    return failed.value


async def crash(house: House, face: PretendFace, number: int = 0) -> PluginFailed:
    return await failure(house.router.call(face.call("die", number=number)))


class TestCrash:
    def test_the_caller_is_told_everything_and_that_it_is_not_sent_again(self) -> None:
        async def story() -> None:
            house, face = await started()
            error = await crash(house, face)
            assert "notes ended" in str(error) and "not sent again by itself" in str(error)
            assert "broker log notes" in error.hint
            facts = error.facts
            assert facts["plugin"] == "notes" and facts["exitCode"] == 1 and facts["sideEffects"] == "unknown"
            assert facts["retryInMs"] == 0 and facts["restarts"] == 1 and facts["sinceSentMs"] == 0

        travel(story())

    def test_it_is_started_again_without_being_called(self) -> None:
        async def story() -> None:
            house, face = await started()
            await crash(house, face)
            await until(lambda: status(house).state is State.READY)
            assert len(house.runtime.instances) == 2

        travel(story())

    def test_one_that_leaves_in_peace_is_not(self) -> None:
        async def story() -> None:
            house, _ = await started()
            leave(house.runtime.instances[-1], code=0)
            await asyncio.sleep(1000)
            assert status(house).state is State.OFF and status(house).restarts == 0

        travel(story())

    def test_unless_its_policy_says_always(self) -> None:
        async def story() -> None:
            house, _ = await started(restart="always")
            leave(house.runtime.instances[-1], code=0)
            await until(lambda: len(house.runtime.instances) == 2)

        travel(story())

    def test_one_whose_policy_is_never_waits_for_a_person(self) -> None:
        async def story() -> None:
            house, face = await started(restart="never")
            assert "only by `broker restart notes`" in str(await crash(house, face))
            error = await failure(house.router.call(face.call("echo")), PluginUnavailable)
            assert "restart policy is never" in str(error) and "broker restart notes" in error.hint
            await house.router.generations.restart("notes")
            await house.call(face, "notes__echo")

        travel(story())

    def test_calls_in_line_get_the_next_instance(self) -> None:
        async def story() -> None:
            house, face = await started()
            first = await begun(house, face, "wait")
            second = asyncio.ensure_future(house.router.call(face.call("echo")))
            await asyncio.sleep(0)
            house.runtime.instances[-1].die()
            await failure(first)
            await second

        travel(story())

    def test_a_read_is_sent_to_the_next_instance(self) -> None:
        async def story() -> None:
            house, face = await started()
            died: list[PretendInstance] = []

            async def die_once(instance: PretendInstance, call: Any) -> Any:
                if not died:
                    died.append(instance)
                    instance.die()
                    return await instance.ended_call()
                return raw({"contents": []})

            house.runtime.behaviours[""] = die_once
            call = face.call("x")
            call.method, call.params = "resources/read", {"uri": raw("file:///a")}
            assert await house.router.call(call) == raw({"contents": []})

        travel(story())

    def test_an_approved_tool_is_sent_once_more_and_no_oftener(self) -> None:
        async def story() -> None:
            house, face = House("notes", alone="notes", replay=("die",)), PretendFace()
            harmless = raw({"name": "die", "annotations": {"readOnlyHint": True}})
            house.runtime.listings["notes"] = msgspec.structs.replace(tools(), tools=[harmless])
            await house.known(face)
            error = await crash(house, face)
            assert error.facts["restarts"] == 2 and house.runtime.tries == 2

        travel(story(), bound=50)

    def test_the_same_request_at_two_crashes_is_poison_until_a_restart(self) -> None:
        async def story() -> None:
            house, face = await started()
            await crash(house, face)
            await crash(house, face)
            await failure(house.router.call(face.call("die", number=0)), PoisonRequest)
            await house.call(face, "notes__echo")
            await house.router.generations.restart("notes")
            assert not isinstance(await crash(house, face), PoisonRequest)

        travel(story())

    def test_after_five_crashes_calls_fail_at_once_with_the_time_of_the_next_try(self) -> None:
        async def story() -> None:
            house, face = await started()
            errors = [await crash(house, face, number) for number in range(5)]
            error = errors[-1]
            assert "not started again for 60 s" in str(error)
            assert status(house).state is State.OPEN
            before = loop_time()
            error = await failure(house.router.call(face.call("echo")), PluginUnavailable)
            assert loop_time() == before
            assert error.facts["retryInMs"] == 1000 * OPEN and "notes ended" in str(error)
            await asyncio.sleep(OPEN)
            assert status(house).state is State.HALF_OPEN
            await house.call(face, "notes__echo")
            assert status(house).state is State.READY

        travel(story())

    def test_a_call_waits_for_a_short_pause_and_is_told_of_a_long_one_at_once(self) -> None:
        async def story() -> None:
            house, face = await started()
            plugin = house.router.plugins["notes"]
            plugin.life = Life(spread=lambda low, high: high)
            waiting: list[asyncio.Future[Any]] = []
            for number in range(5):  # 0, 0.5, 1, 2 and 4 s of pause
                await asyncio.sleep(100)
                dying = asyncio.ensure_future(house.router.call(face.call("die", number=number)))
                waiting.append(asyncio.ensure_future(house.router.call(face.call("echo"))))
                await failure(dying)
            await asyncio.gather(*waiting[:4])
            error = await failure(waiting[4], PluginUnavailable)
            assert error.facts["retryInMs"] == 4000 and "started again in 4 s" in str(error)
            before = loop_time()
            await failure(house.router.call(face.call("echo")), PluginUnavailable)
            assert loop_time() == before
            await asyncio.sleep(5)
            await house.call(face, "notes__echo")

        travel(story())

    def test_a_subscription_has_it_started_again_and_is_told_to_look(self) -> None:
        async def story() -> None:
            house, face = await started()
            await house.router.watch(face, face.identity, "file:///a")
            leave(house.runtime.instances[-1], code=0)
            await until(lambda: len(house.runtime.instances) == 2)
            await until(lambda: face.updates == ["file:///a"])
            assert house.runtime.instances[-1].watching == ["file:///a"]

        travel(story())


class TestStarts:
    def test_three_that_fail_open_the_breaker_and_the_fourth_is_not_tried(self) -> None:
        async def story() -> None:
            house, face = await started()
            house.runtime.broken.add("notes")
            leave(house.runtime.instances[-1], code=0)
            for _ in range(3):
                assert "not found" in str(await failure(house.router.call(face.call("echo")), PluginUnavailable))
            tries = house.runtime.tries
            error = await failure(house.router.call(face.call("echo")), PluginUnavailable)
            assert "keeps failing" in str(error) and house.runtime.tries == tries

        travel(story())

    def test_one_that_served_and_cannot_come_back_is_tried_until_the_breaker_opens(self) -> None:
        async def story() -> None:
            house, face = await started()
            house.runtime.broken.add("notes")
            await crash(house, face)
            await asyncio.sleep(50)
            assert house.runtime.tries == 1 + 3 and status(house).state is State.OPEN

        travel(story())

    def test_restarts_of_all_plugins_together_are_bounded(self) -> None:
        async def story() -> None:
            starts = Starts()
            for number in range(AGAIN):
                starts.again(f"p{number}", 0.0)
            with pytest.raises(PluginUnavailable, match="30 times in the last minute") as refused:
                starts.again("last", 1.0)
            assert refused.value.facts["retryInMs"] == 59_000
            starts.again("last", 60.0)

        travel(story())


class TestHealth:
    def test_a_slow_call_of_a_server_that_answers_pings_is_left_alone(self) -> None:
        async def story() -> None:
            house, face = await started(limits=LONG)
            task = await begun(house, face, "wait")
            await asyncio.sleep(300)
            instance = house.runtime.instances[-1]
            assert instance.probes > 3 and status(house).state is State.READY
            instance.release.set()
            await task

        travel(story())

    def test_one_that_owes_nothing_is_never_probed(self) -> None:
        async def story() -> None:
            house, _ = await started(limits=LONG)
            await asyncio.sleep(10_000)
            assert house.runtime.instances[-1].probes == 0

        travel(story())

    def test_a_deaf_one_is_unresponsive_within_half_a_minute_and_its_call_goes_on(self) -> None:
        async def story() -> None:
            house, face = await started(limits=LONG)
            instance = house.runtime.instances[-1]
            instance.deaf = True
            task = await begun(house, face, "wait")
            await asyncio.sleep(SILENCE + TICK + MISSES * (PROBE + TICK))
            assert status(house).state is State.UNRESPONSIVE
            instance.deaf = False
            instance.release.set()
            await task
            await asyncio.sleep(2 * TICK)
            assert status(house).state is State.READY and instance.alive

        travel(story())

    def test_a_deaf_one_is_ended_when_a_call_of_it_times_out(self) -> None:
        async def story() -> None:
            house, face = await started(limits=LONG)
            house.runtime.instances[-1].deaf = True
            error = await failure(house.router.call(face.call("wait")), TimedOut)
            assert error.facts["sideEffects"] == "unknown"
            await until(lambda: status(house).state is State.READY)
            assert not house.runtime.instances[0].alive and len(house.runtime.instances) == 2

        travel(story())

    def test_a_stopped_process_is_ended_within_half_a_minute_and_the_caller_told_why(self) -> None:
        async def story() -> None:
            house, face = await started(limits=LONG)
            instance = house.runtime.instances[-1]
            instance.deaf, instance.stopped = True, "was stopped by a signal"
            before = loop_time()
            error = await failure(house.router.call(face.call("wait")))
            assert "was stopped by a signal" in str(error) and loop_time() - before <= 30
            await house.call(face, "notes__echo")

        travel(story())


class TestIdle:
    def test_it_is_stopped_after_ten_minutes_and_started_by_the_next_call(self) -> None:
        async def story() -> None:
            house, face = await started()
            await asyncio.sleep(599)
            assert status(house).state is State.READY
            await asyncio.sleep(10)
            assert status(house).state is State.OFF and status(house).restarts == 0
            await house.call(face, "notes__echo")

        travel(story())

    def test_calls_keep_it_awake(self) -> None:
        async def story() -> None:
            house, face = await started()
            for _ in range(10):
                await asyncio.sleep(500)
                await house.call(face, "notes__echo")
            assert len(house.runtime.instances) == 1

        travel(story())

    def test_a_long_call_keeps_it_awake(self) -> None:
        async def story() -> None:
            house, face = await started(limits=Limits(timeout=5000, cap=5000))
            task = await begun(house, face, "wait")
            await asyncio.sleep(3000)
            house.runtime.instances[-1].release.set()
            await task
            assert len(house.runtime.instances) == 1

        travel(story())

    def test_a_subscription_keeps_it_awake(self) -> None:
        async def story() -> None:
            house, face = await started()
            await house.router.watch(face, face.identity, "file:///a")
            await asyncio.sleep(5000)
            assert status(house).state is State.READY
            await house.router.unwatch(face, "file:///a")
            await asyncio.sleep(1000)
            assert status(house).state is State.OFF

        travel(story())

    def test_one_without_a_limit_stays(self) -> None:
        async def story() -> None:
            house, _ = await started(limits=LONG)
            await asyncio.sleep(50_000)
            assert status(house).state is State.READY

        travel(story())


class TestRequired:
    def test_its_absence_is_a_tool_and_a_log_line(self) -> None:
        async def story() -> None:
            house, face = House("notes", "other", required=True), PretendFace()
            house.runtime.broken.add("notes")
            await house.known(face)
            names = [entry.name for entry in house.router.catalog.entries("tools")]
            assert "notes__unavailable" in names and "other__echo" in names
            assert "notes is required and is not there" in face.logs[0]["data"]
            error = await failure(house.router.call(face.call("notes__unavailable")), PluginUnavailable)
            assert "not found" in str(error)

        travel(story())

    def test_it_is_gone_when_the_plugin_is_back(self) -> None:
        async def story() -> None:
            house, face = House("notes", required=True), PretendFace()
            house.runtime.broken.add("notes")
            await house.known(face)
            house.runtime.broken.clear()
            await house.router.learned(face.identity, face)
            await until(lambda: house.router.all_known)
            names = [entry.name for entry in house.router.catalog.entries("tools")]
            assert names == ["notes__die", "notes__echo", "notes__wait"]
            assert {"tools"} in face.changes

        travel(story())

    def test_one_that_is_not_required_is_missed_in_silence(self) -> None:
        async def story() -> None:
            house, face = House("notes"), PretendFace()
            house.runtime.broken.add("notes")
            await house.known(face)
            assert list(house.router.catalog.entries("tools")) == [] and face.logs == []

        travel(story())


async def started(**spec: Any) -> tuple[House, PretendFace]:
    """A house with one plugin that runs, called by its own tool names."""
    house, face = House("notes", alone="notes", **spec), PretendFace()
    house.runtime.listings["notes"] = tools("echo", "wait", "die", "notes__echo")
    await house.known(face)
    return house, face


def leave(instance: PretendInstance, code: int) -> None:
    instance.code = code
    instance.die()


def loop_time() -> float:
    return asyncio.get_running_loop().time()


async def until(condition: Any) -> None:
    async with asyncio.timeout(100):
        while not condition():
            await asyncio.sleep(0.1)
