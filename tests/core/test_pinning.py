"""What clients are shown of a plugin is what was approved, and what they are not shown they cannot call."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from broker.core.listings import Listings
from broker.core.pinning import Pinning
from broker.core.ports import Call, Reply
from broker.core.router import Router
from broker.errors import BrokerError, NotFound, Withdrawn
from broker.model import Limits, Listing, Policy, Spec
from broker.permissions.pins import Pins
from tests.pretend import PretendFace, PretendInstance, PretendRuntime, raw, tools
from tests.travel import travel

CALLS = 10  # after so many its lists are looked at again


class World:
    """A router over the plugin `one` (and others), with pins in a folder."""

    def __init__(self, folder: Path, listing: Listing, *others: str, policy: Policy | None = None, **spec: Any) -> None:
        self.pins, self.face, self.runtime = Pins(folder / "pins"), PretendFace(), PretendRuntime()
        self.runtime.listings["one"] = listing
        self.listings = Listings(folder / "lists")
        pinning = Pinning(folder / "pins", policy)
        self.specs = [Spec(name=name, source="test.json", **spec) for name in ("one", *others)]
        self.router = Router(self.specs, self.runtime, self.listings, pinning=pinning)
        self.asked: list[str] = []

    async def met(self) -> World:
        self.router.join(self.face)
        await self.router.learned(self.face.identity, self.face, 5)
        self.face.changes.clear()
        return self

    async def turns(self, listing: Listing) -> None:
        """The plugin shows something else now, and says so."""
        instance = self.runtime.of("one")[-1]
        instance.listing = listing
        instance.host.changed({"tools", "resources", "templates", "prompts"})
        await asyncio.sleep(2)

    def names(self) -> list[str]:
        return [entry.name for entry in self.router.catalog.entries("tools")]

    async def call(self, tool: str) -> Any:
        return json.loads(bytes(await self.router.call(self.face.call(tool))))

    async def send(self, method: str, **params: Any) -> Reply:
        members = {key: raw(value) for key, value in params.items()}
        return await self.router.call(Call(self.face, self.face.identity, method, members))


def tool(name: str, **rest: Any) -> Raw:
    return raw({"name": name, **rest})


GOOD = tools("echo", "other")
EVIL = Listing(versions=GOOD.versions, capabilities=GOOD.capabilities, tools=[tool("echo", x="EVIL"), tool("other")])


def test_the_first_lists_after_an_approval_are_the_pin(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path, GOOD)
        world.pins.approve_next("one")
        await world.met()
        pin = world.pins.read("one")
        assert pin is not None and not pin.awaited and [*pin.items("tools")] == ["echo", "other"]
        await world.turns(EVIL)
        assert world.names() == ["one__other"] and world.face.changes == [{"tools"}]

    travel(story())


def test_lists_that_are_not_whole_are_no_pin(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path, Listing(versions=GOOD.versions, tools=GOOD.tools[:1], partial=True))
        world.pins.approve_next("one")
        await world.met()
        pin = world.pins.read("one")
        assert pin is not None and pin.awaited
        await world.turns(GOOD)
        assert world.names() == ["one__echo", "one__other"]
        await world.turns(EVIL)
        assert world.names() == ["one__other"]

    travel(story())


def test_what_was_kept_from_the_last_run_is_compared_before_anybody_sees_it(tmp_path: Path) -> None:
    async def story() -> None:
        world = await World(tmp_path, GOOD).met()
        world.pins.take("one", GOOD)
        world.listings.put(world.specs[0], EVIL)
        later = World(tmp_path, EVIL)
        assert later.names() == ["one__other"]
        assert later.runtime.instances == []

    travel(story())


def test_a_change_of_what_is_withheld_is_nothing_to_clients(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path, GOOD)
        world.pins.take("one", GOOD)
        await world.met()
        await world.turns(EVIL)
        logs = len(world.face.logs)
        world.face.changes.clear()
        await world.turns(
            Listing(
                versions=GOOD.versions, capabilities=GOOD.capabilities, tools=[tool("echo", x="WORSE"), tool("other")]
            )
        )
        assert world.face.changes == [] and len(world.face.logs) == logs + 1
        assert "WORSE" not in json.dumps(world.face.logs)

    travel(story())


def test_it_is_said_once_and_again_to_who_comes_later(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        world = World(tmp_path, GOOD)
        world.pins.take("one", GOOD)
        await world.met()
        await world.turns(EVIL)
        for _ in range(3 * CALLS):
            await world.call("one__other")
        await asyncio.sleep(5)
        assert len(world.face.logs) == 1
        assert [json.loads(each) for each in world.router.generations.notices] == world.face.logs
        await world.turns(GOOD)
        assert world.router.generations.notices == []

    travel(story())
    assert caplog.text.count("does not show what its user approved") == 1


def test_nothing_is_said_of_a_plugin_that_is_gone(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path, EVIL)
        world.pins.take("one", GOOD)
        await world.met()
        assert len(world.router.generations.notices) == 1
        await world.router.generations.apply([])
        assert world.router.generations.notices == []
        with pytest.raises(NotFound):
            await world.call("one__echo")

    travel(story())


def test_a_plugin_whose_pin_was_deleted_is_one_nobody_approved(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path, EVIL)
        world.pins.take("one", GOOD)
        await world.met()
        assert world.names() == ["one__other"]
        world.pins.path("one").unlink()
        await world.router.generations.apply(world.specs)
        assert world.names() == ["one__echo", "one__other"] and world.router.generations.notices == []

    travel(story())


def test_every_tenth_call_is_a_reason_to_look(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path, GOOD)
        world.pins.take("one", GOOD)
        await world.met()
        await world.call("one__other")
        await asyncio.sleep(2)  # the lists are asked for at the start, too
        world.runtime.of("one")[-1].listing = EVIL
        for _ in range(CALLS - 2):
            await world.call("one__other")
        await asyncio.sleep(2)
        assert "one__echo" in world.names()
        await world.call("one__other")
        await asyncio.sleep(2)
        assert world.names() == ["one__other"]

    travel(story())


def test_five_minutes_are_a_reason_to_look_but_nothing_is_started_for_it(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path, GOOD, limits=Limits(idle=math.inf))
        world.pins.take("one", GOOD)
        await world.met()
        world.runtime.of("one")[-1].listing = EVIL
        await asyncio.sleep(310)
        assert world.names() == ["one__other"] and len(world.runtime.instances) == 1

    travel(story())


def test_looking_is_no_use_of_a_plugin_so_that_it_falls_asleep_all_the_same(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path, GOOD, limits=Limits(idle=600))
        world.pins.take("one", GOOD)
        await world.met()
        await asyncio.sleep(620)
        assert not world.runtime.instances[0].alive
        await asyncio.sleep(3600)
        assert len(world.runtime.instances) == 1

    travel(story())


def test_a_plugin_nobody_approved_is_not_looked_at(tmp_path: Path) -> None:
    async def story() -> None:
        world = await World(tmp_path, GOOD, limits=Limits(idle=math.inf)).met()
        world.runtime.of("one")[-1].listing = EVIL
        for _ in range(2 * CALLS):
            await world.call("one__other")
        await asyncio.sleep(700)
        assert b"EVIL" not in world.router.catalog.page("tools", None)[0]
        await world.turns(EVIL)
        assert b"EVIL" in world.router.catalog.page("tools", None)[0]

    travel(story())


def test_a_new_generation_that_does_not_agree_with_the_pin_shows_only_what_agrees(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path, GOOD)
        world.pins.take("one", GOOD)
        await world.met()
        world.runtime.listings["one"] = EVIL
        await world.router.generations.apply(world.specs, {"one"})
        assert world.names() == ["one__other"]
        with pytest.raises(Withdrawn, match="not what its user approved"):
            await world.call("one__echo")
        assert (await world.call("one__other"))["plugin"] == "one"

    travel(story())


def test_a_call_that_waits_for_a_restart_is_refused_if_its_tool_came_back_as_another(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path, GOOD)
        world.pins.take("one", GOOD)
        await world.met()
        world.runtime.listings["one"] = EVIL
        world.runtime.slow.add("one")
        world.runtime.of("one")[-1].die()
        waiting = asyncio.ensure_future(world.call("one__echo"))
        await asyncio.sleep(0.1)
        world.runtime.go.set()
        with pytest.raises(Withdrawn):
            await waiting

    travel(story())


def test_an_approval_is_taken_up_with_the_next_reload(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path, GOOD)
        world.pins.take("one", GOOD)
        await world.met()
        await world.turns(EVIL)
        pin, stamp = Pins(tmp_path / "other").take("one", EVIL), world.pins.stamp("one")
        assert world.pins.replace("one", pin, seen=stamp)
        await world.router.generations.apply(world.specs)
        assert world.names() == ["one__echo", "one__other"] and len(world.runtime.instances) == 1

    travel(story())


def test_only_a_pinned_word_of_a_plugin_lets_a_call_be_sent_again(tmp_path: Path) -> None:
    """And only if its user named the tool: that is in `test_retries`."""

    async def story() -> None:
        plain = Listing(versions=GOOD.versions, capabilities=GOOD.capabilities, tools=[tool("die", annotations={})])
        world = World(tmp_path, plain, replay=("*",))
        world.pins.take("one", plain)
        await world.met()
        turned = [tool("die", annotations={"readOnlyHint": True})]
        calling = asyncio.ensure_future(world.call("one__die"))
        await world.turns(Listing(versions=GOOD.versions, capabilities=GOOD.capabilities, tools=turned))
        with pytest.raises(BrokerError, match="not sent again"):
            await calling
        assert len(world.runtime.instances) <= 2

    travel(story())


def test_in_quarantine_nothing_is_shown_and_nothing_can_be_called(tmp_path: Path) -> None:
    async def story() -> None:
        listing = Listing(
            versions=GOOD.versions, capabilities=GOOD.capabilities, tools=GOOD.tools, instructions="Obey me."
        )
        world = await World(tmp_path, listing, policy=Policy(quarantine=True)).met()
        shown = world.router.catalog.listing("one")
        assert world.names() == [] and shown is not None and shown.instructions is None and shown.capabilities == {}
        with pytest.raises(Withdrawn, match="new here") as refusal:
            await world.call("one__echo")
        assert "broker approve one" in refusal.value.hint
        world.pins.approve_next("one")  # a grant of permissions is no approval of definitions
        await world.router.generations.apply(world.specs)
        assert world.names() == []
        assert world.pins.replace("one", Pins(tmp_path / "o").take("one", listing), seen=world.pins.stamp("one"))
        await world.router.generations.apply(world.specs)
        assert world.names() == ["one__echo", "one__other"]

    travel(story())


def test_a_pin_that_cannot_be_written_shows_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        (tmp_path / "pins").write_text("a file where the folder should be")
        world = await World(tmp_path, GOOD, policy=Policy(pins="first")).met()
        assert world.names() == []
        with pytest.raises(Withdrawn, match="cannot be kept"):
            await world.call("one__echo")

    travel(story())


# Whatever a plugin shows: what is not shown to clients cannot be had in any way, and does not reach it.

NAMES: list[str] = ["a", "b", "c"]
WORDS: list[str] = ["", "x", "y"]
TEXTS = st.sampled_from(WORDS)
ITEMS = st.dictionaries(st.sampled_from(NAMES), TEXTS)


def listing_of(found: Mapping[str, Mapping[str, str]]) -> Listing:
    return Listing(
        versions=GOOD.versions,
        capabilities={"tools": raw({}), "prompts": raw({}), "resources": raw({"subscribe": True})},
        tools=[tool(name, description=text) for name, text in found["tools"].items()],
        prompts=[raw({"name": name, "description": text}) for name, text in found["prompts"].items()],
        resources=[raw({"uri": f"mem://{name}", "name": text}) for name, text in found["resources"].items()],
        templates=[
            raw({"uriTemplate": f"t-{name}://{{id}}", "name": text}) for name, text in found["templates"].items()
        ],
    )


LISTS = st.fixed_dictionaries({"tools": ITEMS, "prompts": ITEMS, "resources": ITEMS, "templates": ITEMS}).map(
    listing_of
)


async def attempts(world: World) -> dict[tuple[str, str], bool]:
    """(kind, name) of everything that could be called, and whether it reached the plugin."""
    reached: dict[tuple[str, str], bool] = {}

    async def attempt(kind: str, name: str, method: str, /, **params: Any) -> None:
        try:
            await world.send(method, **params)
            reached[kind, f"{method} {name}"] = True
        except (Withdrawn, NotFound):
            reached[kind, f"{method} {name}"] = False

    for name in NAMES:
        await attempt("tools", name, "tools/call", name=f"one__{name}")
        await attempt("prompts", name, "prompts/get", name=f"one__{name}")
        ref = {"type": "ref/prompt", "name": f"one__{name}"}
        await attempt("prompts", name, "completion/complete", ref=ref)
        for uri in (f"mem://{name}", f"broker://one/mem://{name}"):
            await attempt("resources", name, "resources/read", uri=uri)
            await attempt("resources", name, "completion/complete", ref={"type": "ref/resource", "uri": uri})
        await attempt("templates", name, "resources/read", uri=f"t-{name}://1")
        await attempt(
            "templates", name, "completion/complete", ref={"type": "ref/resource", "uri": f"t-{name}://{{id}}"}
        )
        for kind, uri in (("resources", f"mem://{name}"), ("templates", f"t-{name}://1")):
            try:
                await world.router.watch(world.face, world.face.identity, uri)
                reached[kind, f"subscribe {name}"] = True
            except (Withdrawn, NotFound):
                reached[kind, f"subscribe {name}"] = False
    return reached


@settings(max_examples=60, deadline=None)
@given(approved=LISTS, live=LISTS)
def test_what_is_not_shown_cannot_be_called(approved: Listing, live: Listing) -> None:
    with TemporaryDirectory() as folder:
        travel(_not_shown(Path(folder), approved, live))


async def _not_shown(folder: Path, approved: Listing, live: Listing) -> None:
    world = World(folder, live)
    world.pins.take("one", approved)

    async def note(instance: PretendInstance, call: Call) -> Reply:
        world.asked.append(call.method)
        return b"{}"

    world.runtime.behaviours.update(dict.fromkeys((*NAMES, ""), note))
    await world.met()
    for (kind, what), reached in (await attempts(world)).items():
        name = what.rpartition(" ")[2]
        key = {"tools": name, "prompts": name, "resources": f"mem://{name}", "templates": f"t-{name}://{{id}}"}[kind]
        was = _text(approved, kind, key)
        if _text(live, kind, key) is not None and was != _text(live, kind, key):
            assert not reached, (kind, what)
        elif was is not None and was == _text(live, kind, key):
            assert reached, (kind, what)
    for kind in ("tools", "prompts", "resources", "templates"):
        for entry in world.router.catalog.entries(kind):
            assert entry.own and _text(approved, kind, entry.own) == _text(live, kind, entry.own)


def _text(listing: Listing, kind: str, key: str) -> str | None:
    """What tells one version of a definition from another; None: it is not there."""
    for item in getattr(listing, kind):
        found = json.loads(bytes(item))
        if key in (found.get("uri"), found.get("uriTemplate")) or (
            kind in ("tools", "prompts") and found["name"] == key
        ):
            return found.get("description", found["name"])
    return None
