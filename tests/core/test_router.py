"""The way of a call, with several clients at once and plugins that misbehave."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from broker.core.listings import Listings
from broker.core.ports import Call
from broker.core.starts import AT_ONCE
from broker.errors import BadArguments, NotFound, PluginFailed, PluginUnavailable, SelfWait, TimedOut
from broker.model import Era, Limits
from tests.pretend import SHORT, House, PretendFace, PretendInstance, raw, tools


async def settled(*tasks: asyncio.Task[Any]) -> list[Any]:
    return await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)


def begin(house: House, call: Call) -> asyncio.Task[Any]:
    return asyncio.create_task(house.router.call(call))


async def until(condition: Any) -> None:
    """Give way until `condition()`; bounded by the test's timeout."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)


async def test_a_call_reaches_its_plugin_under_its_own_name_with_untouched_arguments() -> None:
    house, face = House("a", "b"), PretendFace()
    await house.known(face)
    found = await house.call(face, "b__echo", deep={"x": [1, None, "é"]})
    assert found == {"plugin": "b", "params": {"name": "echo", "arguments": {"deep": {"x": [1, None, "é"]}}}}


async def test_an_unlisted_name_reaches_nobody() -> None:
    house, face = House("a", tools=(("!wait",),)), PretendFace()
    await house.known(face)
    for name in ("a__nothing", "echo", "b__echo", "a__wait", ""):
        with pytest.raises(NotFound):
            await house.call(face, name)
    assert house.runtime.of("a")[0].most == 0


@pytest.mark.parametrize("params", [{}, {"name": raw(7)}, {"name": raw(None)}])
async def test_a_call_without_a_usable_name_is_refused(params: dict[str, Any]) -> None:
    house, face = House("a"), PretendFace()
    await house.known(face)
    with pytest.raises(BadArguments):
        await house.router.call(Call(face, face.identity, "tools/call", params))


async def test_calls_of_one_plugin_are_serialized_and_of_two_are_not() -> None:
    house, face = House("a", "b"), PretendFace()
    await house.known(face)
    tasks = [begin(house, face.call(name)) for name in ("a__wait", "a__wait", "b__wait", "a__wait")]
    (a,), (b,) = house.runtime.of("a"), house.runtime.of("b")
    await until(lambda: a.running and b.running)
    assert len(a.running) == 1
    a.release.set()
    b.release.set()
    await settled(*tasks)
    assert a.most == 1


async def test_concurrency_lifts_the_serialization_up_to_its_number() -> None:
    house, face = House("a", concurrency=3), PretendFace()
    await house.known(face)
    tasks = [begin(house, face.call("a__wait")) for _ in range(9)]
    (a,) = house.runtime.of("a")
    await until(lambda: len(a.running) == 3)
    a.release.set()
    await settled(*tasks)
    assert a.most == 3


async def test_a_cancelled_call_reaches_the_plugin_and_frees_its_turn() -> None:
    house, face = House("a"), PretendFace()
    await house.known(face)
    (a,) = house.runtime.of("a")
    running = begin(house, face.call("a__wait"))
    await until(lambda: a.running)
    running.cancel()
    await settled(running)
    assert a.cancelled == 1 and (await house.call(face, "a__echo"))["plugin"] == "a"


async def test_a_call_cancelled_in_line_never_reaches_the_plugin() -> None:
    house, face = House("a"), PretendFace()
    await house.known(face)
    (a,) = house.runtime.of("a")
    first, second = begin(house, face.call("a__wait")), begin(house, face.call("a__wait"))
    await until(lambda: a.running)
    second.cancel()
    await settled(second)
    a.release.set()
    await settled(first)
    assert a.cancelled == 0 and a.most == 1


async def test_one_clients_flood_cancel_and_leaving_do_not_touch_anothers_calls() -> None:
    house, loud, calm = House("a", "b"), PretendFace("loud"), PretendFace("calm")
    await house.known(loud)
    house.router.join(calm)
    (a,) = house.runtime.of("a")
    flood = [begin(house, loud.call("a__wait")) for _ in range(200)]
    mine = begin(house, calm.call("a__echo", text="mine"))
    other = begin(house, calm.call("b__echo"))
    await until(other.done)
    for task in flood:
        task.cancel()
    house.router.leave(loud)
    outcome, *_ = await settled(mine, *flood)
    assert json.loads(bytes(outcome))["params"]["arguments"] == {"text": "mine"}
    assert a.most == 1


async def test_a_client_that_does_not_read_waits_for_room_without_holding_up_another() -> None:
    house, deaf, calm = House("a"), PretendFace("deaf"), PretendFace("calm")
    await house.known(deaf)
    deaf.clogged = True
    waiting = begin(house, deaf.call("a__echo"))
    assert (await house.call(calm, "a__echo"))["plugin"] == "a"
    assert not waiting.done()
    deaf.clogged = False
    deaf.cleared.set()
    (result,) = await settled(waiting)
    assert json.loads(bytes(result))["plugin"] == "a"


async def test_a_call_past_its_deadline_is_cancelled_at_the_plugin_and_says_so() -> None:
    house, face = House("a", limits=SHORT), PretendFace()
    await house.known(face)
    (a,) = house.runtime.of("a")
    with pytest.raises(TimedOut, match=r"a did not answer tools/call within 0\.05 s"):
        await house.call(face, "a__wait")
    assert a.cancelled == 1 and (await house.call(face, "a__echo"))["plugin"] == "a"


async def test_a_deadline_does_not_run_while_the_call_waits_in_line() -> None:
    house, face = House("a", limits=Limits(timeout=0.6)), PretendFace()
    await house.known(face)

    async def brief(instance: PretendInstance, call: Call) -> Any:
        await asyncio.sleep(0.2)
        return raw({})

    house.runtime.behaviours["wait"] = brief
    outcomes = await settled(*(begin(house, face.call("a__wait")) for _ in range(5)))
    assert [bytes(outcome) for outcome in outcomes] == [b"{}"] * 5


async def test_progress_moves_the_deadline_but_not_beyond_the_cap() -> None:
    house, face = House("a", limits=Limits(timeout=0.2, cap=1, start=5)), PretendFace()
    await house.known(face)
    beats = 0

    async def beating(instance: PretendInstance, call: Call) -> Any:
        nonlocal beats
        while True:
            await asyncio.sleep(0.02)
            beats += 1
            instance.host.progressed(call)

    house.runtime.behaviours["wait"] = beating
    with pytest.raises(TimedOut):
        await house.call(face, "a__wait")
    assert beats > 0.2 / 0.02


async def test_the_clock_stands_still_while_the_user_is_asked() -> None:
    house, face = House("a", limits=Limits(timeout=0.05, cap=5)), PretendFace()
    await house.known(face)

    async def slow_answer(method: str, params: Any) -> Any:
        await asyncio.sleep(0.2)
        return raw({"action": "accept"})

    async def asking(instance: PretendInstance, call: Call) -> Any:
        return await instance.host.ask([call], "elicitation/create", b"{}")

    face.ask = slow_answer  # type: ignore[method-assign]
    house.runtime.behaviours["wait"] = asking
    assert await house.call(face, "a__wait") == {"action": "accept"}


async def test_a_plugin_that_dies_fails_its_call_and_serves_those_in_line_from_a_new_one() -> None:
    house, face = House("a"), PretendFace()
    await house.known(face)
    dying = begin(house, face.call("a__die"))
    waiting = [begin(house, face.call("a__echo")) for _ in range(3)]
    failed, *served = await settled(dying, *waiting)
    assert isinstance(failed, PluginFailed)
    assert all(json.loads(bytes(result))["plugin"] == "a" for result in served)
    assert len(house.runtime.of("a")) == 2


async def test_a_plugin_that_died_idle_is_started_again_at_the_next_call() -> None:
    house, face = House("a"), PretendFace()
    await house.known(face)
    house.runtime.of("a")[0].die()
    assert (await house.call(face, "a__echo"))["plugin"] == "a"
    assert len(house.runtime.of("a")) == 2


async def test_the_late_news_of_an_old_instances_death_does_not_touch_the_new_one() -> None:
    house, face = House("a"), PretendFace()
    await house.known(face)
    (old,) = house.runtime.of("a")
    old.alive = False  # gone, and the next call notices before the exit code is known
    await house.call(face, "a__echo")
    old.host.ended(old, PluginFailed("a ended"))
    await house.call(face, "a__echo")
    assert len(house.runtime.of("a")) == 2


async def test_a_plugin_that_cannot_start_fails_its_calls_and_nobody_elses() -> None:
    house, face = House("a", "b"), PretendFace()
    house.runtime.listings["b"] = tools("echo")
    await house.known(face)
    house.runtime.of("a")[0].die()
    house.runtime.broken.add("a")
    failed, served = await settled(begin(house, face.call("a__echo")), begin(house, face.call("b__echo")))
    assert isinstance(failed, PluginUnavailable) and json.loads(bytes(served))["plugin"] == "b"
    house.runtime.broken.clear()
    assert (await house.call(face, "a__echo"))["plugin"] == "a"


async def test_a_plugin_that_cannot_be_learned_leaves_the_others_listed() -> None:
    house, face = House("a", "b"), PretendFace()
    house.runtime.broken.add("a")
    await house.known(face)
    assert {entry.plugin for entry in house.router.catalog.entries("tools")} == {"b"}
    assert "not found" in str(house.router.plugins["a"].failure)


async def test_a_plugin_too_slow_to_learn_is_announced_when_it_comes() -> None:
    house, face = House("a", "b"), PretendFace()
    house.runtime.slow.add("a")
    house.router.join(face)
    await house.router.learned(face.identity, face, 0.01)
    assert {entry.plugin for entry in house.router.catalog.entries("tools")} == {"b"}
    house.runtime.go.set()
    await house.router.learned(face.identity, face, 5)
    assert {entry.plugin for entry in house.router.catalog.entries("tools")} == {"a", "b"}
    assert len(face.changes) == 2


async def test_many_plugins_never_start_all_at_once() -> None:
    house, face = House(*(f"p{i}" for i in range(30))), PretendFace()
    await house.known(face)
    assert len(house.runtime.instances) == 30
    assert house.runtime.most_starting <= AT_ONCE


async def test_known_plugins_are_not_started_for_a_list(tmp_path: Path) -> None:
    listings, face = Listings(tmp_path), PretendFace()
    await House("a", "b", listings=listings).known(face)
    again = await House("a", "b", listings=listings).known(face)
    assert again.runtime.instances == []
    assert len(list(again.router.catalog.entries("tools"))) == 6


async def test_the_first_start_of_a_known_plugin_refreshes_its_lists_and_tells_only_a_difference(
    tmp_path: Path,
) -> None:
    listings, face = Listings(tmp_path), PretendFace()
    await House("a", listings=listings).known(face)
    for shown, changes in ((tools("echo", "wait", "die"), []), (tools("echo", "new"), [{"tools"}])):
        house, face = House("a", listings=listings), PretendFace()
        house.runtime.listings["a"] = shown
        await house.known(face)
        await house.call(face, "a__echo")
        lane = house.router.plugins["a"].lanes[0]
        await until(lambda lane=lane: lane._refreshing.done())  # pyright: ignore
        assert face.changes == changes


async def test_a_plugin_is_opened_in_the_era_of_each_client_that_speaks_another() -> None:
    house, old, new = House("a"), PretendFace("old"), PretendFace("new", Era.MODERN)
    house.runtime.speaks["a"] = {Era.LEGACY, Era.MODERN}
    await house.known(old)
    await house.call(new, "a__echo")
    await house.call(old, "a__echo")
    assert [instance.era for instance in house.runtime.of("a")] == [Era.LEGACY, Era.MODERN]


async def test_a_plugin_of_one_era_has_one_instance_for_clients_of_both() -> None:
    house, old, new = House("a"), PretendFace("old"), PretendFace("new", Era.MODERN)
    await house.known(new)
    await house.call(old, "a__echo")
    await house.call(new, "a__echo")
    assert len(house.runtime.of("a")) == 1


async def test_a_plugin_found_to_speak_only_the_other_era_is_not_kept_twice() -> None:
    house, old, new = House("a"), PretendFace("old"), PretendFace("new", Era.MODERN)
    await house.known(old)
    plugin = house.router.plugins["a"]
    assert plugin.listing is not None
    plugin.listing.versions = {Era.LEGACY: "v"}  # as a legacy client leaves it: nobody asked for the other
    for _ in range(2):
        assert (await house.call(new, "a__echo"))["plugin"] == "a"
    await house.router.watch(new, new.identity, "any://thing")
    first, second = house.runtime.of("a")
    assert first.alive and not second.alive and first.watching == ["any://thing"]
    assert len(plugin.lanes) == 1


async def test_a_call_that_would_wait_for_itself_is_refused_at_once() -> None:
    house, face = House("a", "b"), PretendFace()
    await house.known(face)

    async def through(instance: PretendInstance, call: Call) -> Any:
        target = "b__wait" if instance.spec.name == "a" else "a__wait"
        return await house.router.call(face.call(target, chain=call.chain))

    house.runtime.behaviours["wait"] = through
    with pytest.raises(SelfWait, match="a -> b -> a"):
        await house.call(face, "a__wait")


async def test_a_long_wait_is_hinted_once_with_the_line_to_change(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.core.lane.LONG_WAIT", 0)
    house, face = House("a"), PretendFace()
    await house.known(face)
    tasks = [begin(house, face.call("a__wait")) for _ in range(5)]
    (a,) = house.runtime.of("a")
    await until(lambda: a.running)
    a.release.set()
    await settled(*tasks)
    hints = [record.getMessage() for record in caplog.records if "concurrency" in record.getMessage()]
    assert len(hints) == 1 and "test.json" in hints[0]


async def test_a_subscription_is_one_upstream_however_many_watch_and_survives_a_restart() -> None:
    house, one, two = House("a"), PretendFace("one"), PretendFace("two")
    house.runtime.listings["a"] = tools("echo", "wait", "die", resources=[raw({"uri": "r://1"})])
    await house.known(one)
    house.router.join(two)
    await house.router.watch(one, one.identity, "r://1")
    await house.router.watch(two, two.identity, "r://1")
    (first,) = house.runtime.of("a")
    assert first.watching == ["r://1"]
    first.host.updated("r://1")
    assert one.updates == two.updates == ["r://1"]
    first.die()
    await house.call(one, "a__echo")
    second = house.runtime.of("a")[1]
    assert second.watching == ["r://1"]
    await house.router.unwatch(one, "r://1")
    house.router.leave(two)
    await until(lambda: second.watching == [])


async def test_the_least_severe_level_of_all_clients_is_asked_of_plugins() -> None:
    house, one, two = House("a"), PretendFace("one"), PretendFace("two")
    await house.known(one)
    house.router.set_level(one, "error")
    house.router.set_level(two, "info")
    house.router.set_level(one, "warning")
    assert house.runtime.of("a")[0].levels == ["error", "info", "info"]
    with pytest.raises(BadArguments):
        house.router.set_level(one, "loud")


async def test_stopping_ends_every_instance_and_fails_whoever_waits() -> None:
    house, face = House("a", "b"), PretendFace()
    await house.known(face)
    (a,) = house.runtime.of("a")
    tasks = [begin(house, face.call("a__wait")) for _ in range(2)]
    await until(lambda: a.running)
    await asyncio.wait_for(house.router.stop(0), 5)
    assert not any(instance.alive for instance in house.runtime.instances)
    a.release.set()
    _, waiting = await settled(*tasks)
    assert isinstance(waiting, PluginUnavailable)
