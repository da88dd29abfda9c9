"""Another generation of a plugin gets its name when it is ready, and nobody's call is lost."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from msgspec.structs import replace

from broker.core.status import State, Status
from broker.errors import NotFound, PluginFailed, PluginUnavailable
from broker.model import Limits, Spec
from tests.pretend import House, PretendFace, tools
from tests.travel import travel

Specs = dict[str, Any]


def spec(name: str = "notes", **rest: Any) -> Spec:
    return Spec(name=name, source="test.json", **rest)


async def started(*names: str, **rest: Any) -> tuple[House, PretendFace]:
    house, face = House(*(names or ("notes",)), **rest), PretendFace()
    await house.known(face)
    face.changes.clear()
    return house, face


def status(house: House, name: str = "notes") -> Status:
    return next(each for each in house.router.generations.statuses() if each.name == name)


def shown(house: House) -> list[str]:
    return [entry.name for entry in house.router.catalog.entries("tools")]


async def begun(house: House, face: PretendFace, tool: str) -> asyncio.Task[Any]:
    house.runtime.started.clear()
    task = asyncio.ensure_future(house.router.call(face.call(tool)))
    await house.runtime.started.wait()
    return task


class TestApply:
    def test_what_did_not_change_is_not_touched(self) -> None:
        async def story() -> None:
            house, face = await started("notes", "other")
            await house.router.generations.apply([spec("notes"), spec("other")])
            assert len(house.runtime.instances) == 2 and face.changes == []

        travel(story())

    def test_a_new_plugin_is_learned_and_announced(self) -> None:
        async def story() -> None:
            house, face = await started()
            await house.router.generations.apply([spec("notes"), spec("other")])
            await house.router.learned(face.identity, face)
            assert "other__echo" in shown(house) and any("tools" in kinds for kinds in face.changes)

        travel(story())

    def test_one_that_is_gone_is_drained_and_announced(self) -> None:
        async def story() -> None:
            house, face = await started("notes", "other")
            task = await begun(house, face, "notes__wait")
            await house.router.generations.apply([spec("other")])
            assert not any(name.startswith("notes") for name in shown(house)) and face.changes == [{"tools"}]
            with pytest.raises(NotFound):
                await house.call(face, "notes__echo")
            house.runtime.of("notes")[0].release.set()
            await task
            await asyncio.sleep(1)
            assert not house.runtime.of("notes")[0].alive

        travel(story())

    def test_what_needs_no_new_instance_is_changed_under_the_running_one(self) -> None:
        async def story() -> None:
            house, face = await started()
            tuned = spec(tools=(("!die",),), concurrency=3, limits=Limits(timeout=5), required=True)
            await house.router.generations.apply([tuned])
            assert len(house.runtime.instances) == 1 and "notes__die" not in shown(house)
            assert face.changes == [{"tools"}]
            waiting = [asyncio.ensure_future(house.router.call(face.call("notes__wait"))) for _ in range(3)]
            await asyncio.sleep(0.1)
            assert len(house.runtime.instances[0].running) == 3
            await asyncio.wait(waiting)
            assert all("within 5 s" in str(task.exception()) for task in waiting)

        travel(story())

    def test_another_command_is_another_generation_and_the_old_one_finishes_its_calls(self) -> None:
        async def story() -> None:
            house, face = await started()
            task = await begun(house, face, "notes__wait")
            await house.router.generations.apply([spec(command=("new",))])
            old, new = house.runtime.instances
            assert old.alive
            states = [(each.generation, each.state) for each in house.router.generations.statuses()]
            assert states == [(1, State.READY), (0, State.DRAINING)]
            await house.call(face, "notes__echo")
            old.release.set()
            await task
            await asyncio.sleep(1)
            assert not old.alive and new.alive
            assert face.changes == []  # its lists are the same

        travel(story())

    def test_changed_lists_of_a_new_generation_are_announced_once(self) -> None:
        async def story() -> None:
            house, face = await started()
            house.runtime.listings["notes"] = tools("better")
            await house.router.generations.apply([spec()], {"notes"})
            assert shown(house) == ["notes__better"] and face.changes == [{"tools"}]

        travel(story())

    def test_one_that_does_not_start_leaves_the_old_one_in_its_place(self, caplog: pytest.LogCaptureFixture) -> None:
        async def story() -> None:
            house, face = await started()
            house.runtime.broken.add("notes")
            with caplog.at_level(logging.WARNING):
                await house.router.generations.apply([spec(command=("new",))])
            assert "notes goes on as it was" in caplog.text and "not found" in (status(house).failure or "")
            await house.call(face, "notes__echo")
            assert status(house).generation == 0 and face.changes == []

        travel(story())

    def test_calls_go_to_the_old_one_until_the_new_one_is_ready(self) -> None:
        async def story() -> None:
            house, face = await started()
            house.runtime.slow.add("notes")
            change = asyncio.ensure_future(house.router.generations.apply([spec(command=("new",))]))
            await asyncio.sleep(5)
            await house.call(face, "notes__echo")
            assert len(house.runtime.instances) == 1
            house.runtime.go.set()
            await change
            assert status(house).generation == 1

        travel(story())

    def test_a_call_that_never_ends_is_cut_off_after_half_a_minute(self) -> None:
        async def story() -> None:
            house, face = await started(limits=Limits(timeout=500))
            task = await begun(house, face, "notes__wait")
            await house.router.generations.apply([spec(command=("new",))])
            await asyncio.sleep(29)
            assert not task.done()
            await asyncio.sleep(2)
            with pytest.raises(PluginFailed):
                await task

        travel(story())

    def test_subscriptions_move_to_the_new_one(self) -> None:
        async def story() -> None:
            house, face = await started()
            await house.router.watch(face, face.identity, "file:///a")
            await house.router.generations.apply([spec(command=("new",))])
            await asyncio.sleep(1)
            assert house.runtime.instances[1].watching == ["file:///a"] and face.updates == ["file:///a"]

        travel(story())

    def test_a_plugin_that_is_passed_through_stays_the_only_one(self) -> None:
        async def story() -> None:
            house, _ = await started(alone="notes")
            await house.router.generations.apply([spec(), spec("other")])
            assert list(house.router.plugins) == ["notes"]

        travel(story())


class TestPerson:
    def test_a_restart_ends_the_old_instance_before_the_new_one_begins(self) -> None:
        async def story() -> None:
            house, face = await started()
            found = await house.router.generations.restart("notes")
            old, new = house.runtime.instances
            assert not old.alive and new.alive and found.state is State.READY and found.generation == 1
            await house.call(face, "notes__echo")

        travel(story())

    def test_calls_during_a_restart_wait_for_the_new_one(self) -> None:
        async def story() -> None:
            house, face = await started()
            task = await begun(house, face, "notes__wait")
            restart = asyncio.ensure_future(house.router.generations.restart("notes"))
            await asyncio.sleep(0.1)
            call = asyncio.ensure_future(house.call(face, "notes__echo"))
            await asyncio.sleep(0.1)
            assert not call.done() and len(house.runtime.instances) == 1
            house.runtime.instances[0].release.set()
            await asyncio.gather(task, restart, call)

        travel(story())

    def test_a_restart_closes_the_breaker(self) -> None:
        async def story() -> None:
            house, face = await started()
            house.runtime.broken.add("notes")
            house.runtime.instances[0].die()
            await asyncio.sleep(20)
            assert status(house).state is State.OPEN
            with pytest.raises(PluginUnavailable):
                await house.router.generations.restart("notes")
            house.runtime.broken.clear()
            await house.router.generations.restart("notes")
            await house.call(face, "notes__echo")

        travel(story())

    def test_a_stop_ends_it_until_the_next_call(self) -> None:
        async def story() -> None:
            house, face = await started()
            assert (await house.router.generations.stop_one("notes")).state is State.OFF
            assert not house.runtime.instances[0].alive
            await house.call(face, "notes__echo")

        travel(story())

    def test_a_disabled_one_is_not_listed_and_its_callers_are_told(self) -> None:
        async def story() -> None:
            house, face = await started("notes", "other")
            assert (await house.router.generations.disable("notes")).state is State.DISABLED
            assert not any(name.startswith("notes") for name in shown(house)) and face.changes == [{"tools"}]
            with pytest.raises(NotFound, match="notes is disabled") as error:
                await house.call(face, "notes__echo")
            assert "broker enable notes" in error.value.hint
            await house.router.generations.enable("notes")
            await house.router.learned(face.identity, face)
            await house.call(face, "notes__echo")

        travel(story())

    def test_a_restart_while_a_new_version_starts_leaves_one_instance(self) -> None:
        async def story() -> None:
            house, face = await started()
            house.runtime.slow.add("notes")
            change = asyncio.ensure_future(house.router.generations.apply([spec(command=("new",))]))
            await asyncio.sleep(1)
            again = asyncio.ensure_future(house.router.generations.restart("notes"))
            await asyncio.sleep(1)
            house.runtime.go.set()
            await asyncio.gather(change, again)
            await asyncio.sleep(60)
            assert [instance.alive for instance in house.runtime.instances].count(True) == 1
            assert status(house).generation == 2 and house.runtime.instances[-1].spec.command == ("new",)
            await house.call(face, "notes__echo")

        travel(story())

    def test_one_that_is_disabled_while_its_new_version_starts_stays_away(self) -> None:
        async def story() -> None:
            house, _ = await started()
            house.runtime.slow.add("notes")
            change = asyncio.ensure_future(house.router.generations.apply([spec(command=("new",))]))
            await asyncio.sleep(1)
            away = asyncio.ensure_future(house.router.generations.disable("notes"))
            await asyncio.sleep(1)
            house.runtime.go.set()
            await asyncio.gather(change, away)
            await asyncio.sleep(60)
            assert status(house).state is State.DISABLED and shown(house) == []
            assert not any(instance.alive for instance in house.runtime.instances)

        travel(story())

    def test_a_subscription_outlives_its_plugin_and_can_be_ended_meanwhile(self) -> None:
        async def story() -> None:
            house, face = await started()
            for uri in ("file:///a", "file:///b"):
                await house.router.watch(face, face.identity, uri)
            await house.router.generations.disable("notes")
            await house.router.unwatch(face, "file:///a")
            await house.router.generations.enable("notes")
            await asyncio.sleep(5)
            assert house.runtime.instances[-1].watching == ["file:///b"]

        travel(story())

    def test_a_wrong_name_is_answered_with_the_nearest(self) -> None:
        async def story() -> None:
            house, _ = await started()
            with pytest.raises(NotFound, match="did you mean notes"):
                await house.router.generations.restart("note")

        travel(story())

    def test_a_broker_that_stops_ends_the_generations_that_still_drain(self) -> None:
        async def story() -> None:
            house, face = await started(limits=Limits(timeout=500))
            task = await begun(house, face, "notes__wait")
            await house.router.generations.apply([replace(spec(), command=("new",))])
            await house.router.stop(0)
            with pytest.raises(PluginFailed):
                await task
            assert not any(instance.alive for instance in house.runtime.instances)

        travel(story())
