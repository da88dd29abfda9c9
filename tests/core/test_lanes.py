"""Clients that can do more or less, and the instances of a plugin that are told so."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from broker.core.plugins import MOST_LANES
from broker.core.ports import Call, Identity
from broker.errors import NoSuchMethod
from broker.model import Era
from tests.pretend import House, PretendFace, PretendInstance, raw

ASKABLE: Any = {"elicitation": {"form": {}, "url": {}}, "sampling": {}, "roots": {"listChanged": True}}


def client(key: str, era: Era = Era.LEGACY, version: str = "2025-11-25", /, **capabilities: Any) -> PretendFace:
    face = PretendFace(key, era)
    face.identity = Identity(era, version, capabilities={name: raw(value) for name, value in capabilities.items()})
    return face


def told(house: House) -> list[frozenset[str]]:
    """What each instance that runs was told its client can do."""
    return [lane.identity.abilities for lane in house.router.plugins["a"].lanes]


@pytest.mark.parametrize(
    ("version", "capabilities", "abilities"),
    [
        ("2025-11-25", {}, ""),
        ("2025-11-25", {"elicitation": {}}, "elicitation elicitation.form"),
        ("2025-11-25", {"elicitation": {"url": {}}}, "elicitation elicitation.url"),
        ("2025-06-18", {"elicitation": {"form": {}, "url": {}}}, "elicitation elicitation.form"),
        ("2025-03-26", {"elicitation": {}}, ""),
        ("2025-11-25", {"sampling": {"tools": {}}, "roots": {"listChanged": True}}, "sampling sampling.tools roots"),
        ("2026-07-28", {"extensions": {"x/y": {}}, "experimental": {"vendor/z": {}}}, "extensions.x/y"),
        ("2025-11-25", {"extensions": 7, "sampling": None}, "sampling"),
    ],
)
def test_what_a_client_can_do_is_what_its_version_has_of_what_it_declared(
    version: str, capabilities: Any, abilities: str
) -> None:
    assert client("c", Era.LEGACY, version, **capabilities).identity.abilities == set(abilities.split())


async def test_a_client_that_can_do_no_more_shares_the_instance() -> None:
    house = House("a")
    able, unable = client("able", **ASKABLE), client("unable", sampling={})
    await house.known(able)
    await house.call(able, "a__echo")
    await house.call(unable, "a__echo")
    assert len(house.runtime.of("a")) == 1


async def test_a_client_that_can_do_more_has_an_instance_that_knows_it() -> None:
    house = House("a")
    unable, able = client("unable", sampling={}), client("able", **ASKABLE)
    await house.known(unable)
    for face in (unable, able, unable, able):
        await house.call(face, "a__echo")
    assert told(house) == [unable.identity.abilities, able.identity.abilities]
    assert [instance.alive for instance in house.runtime.of("a")] == [True, True]


async def test_one_that_was_only_asked_for_its_lists_is_opened_anew_for_who_can_do_more() -> None:
    house = House("a")
    await house.known(client("unable"))
    able = client("able", **ASKABLE)
    await house.call(able, "a__echo")
    assert told(house) == [able.identity.abilities]
    assert [instance.alive for instance in house.runtime.of("a")] == [False, True]


async def test_a_modern_server_is_told_in_each_request_and_needs_no_second_instance() -> None:
    house = House("a")
    house.runtime.speaks["a"] = {Era.MODERN}
    unable, able = client("unable", Era.MODERN), client("able", Era.MODERN, **ASKABLE)
    await house.known(unable)
    for face in (unable, able):
        await house.call(face, "a__echo")
    assert len(house.runtime.of("a")) == 1


async def test_clients_of_all_kinds_have_few_instances() -> None:
    house = House("a")
    await house.known(client("none"))
    for number in range(9):
        await house.call(client(f"c{number}", extensions={f"x/{number}": {}}), "a__echo")
    assert len(told(house)) == MOST_LANES


async def test_after_a_reload_each_client_has_an_instance_that_knows_it() -> None:
    house = House("a")
    one, two = client("one", sampling={}), client("two", roots={})
    await house.known(one)
    for face in (one, two):
        await house.call(face, "a__echo")
    await house.router.generations.apply([house.router.plugins["a"].spec], {"a"})
    assert told(house) == [one.identity.abilities, two.identity.abilities]
    for face in (one, two):
        await house.call(face, "a__echo")
    assert len(told(house)) == 2


async def test_what_is_opened_without_a_call_is_opened_for_the_client_that_is_here() -> None:
    house = House("a")
    here = client("here", **ASKABLE)
    here.answers["roots/list"] = {"roots": []}
    await house.known(here)
    await house.router.generations.restart("a")
    assert told(house) == [here.identity.abilities]
    instance = house.runtime.of("a")[-1]
    answer = await instance.host.ask([], "roots/list", b"{}")
    assert json.loads(bytes(answer)) == {"roots": []}
    house.router.leave(here)
    assert house.router.client[0].abilities == frozenset()


async def test_a_client_is_asked_only_by_its_own_calls_wherever_they_run() -> None:
    house = House("a", concurrency=2)
    refused: list[str] = []

    async def ask(instance: PretendInstance, call: Call) -> Any:
        try:
            await instance.host.ask([call], "roots/list", b"{}")
        except NoSuchMethod:
            refused.append(call.caller.key)
        return raw({})

    house.runtime.behaviours["echo"] = ask
    able, unable = client("able", roots={}), client("unable")
    able.answers["roots/list"] = {"roots": []}
    await house.known(able)
    await asyncio.gather(house.call(able, "a__echo"), house.call(unable, "a__echo"))
    assert refused == ["unable"]
