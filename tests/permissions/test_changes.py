"""What is shown of a plugin is its pin's text; everything else is told as a change."""

from __future__ import annotations

from typing import Any

from msgspec import Raw
from msgspec.structs import replace

from broker.model import Listing
from broker.permissions.changes import Change, shown, taken
from broker.permissions.pins import Pin, pin_of
from tests.pretend import raw

LISTING = Listing(
    info=raw({"name": "server"}),
    capabilities={"tools": raw({}), "prompts": raw({})},
    instructions="Be kind.",
    tools=[raw({"name": "a", "x": 1}), raw({"name": "b"})],
    prompts=[raw({"name": "p"})],
)
PIN = pin_of(LISTING)


def told(live: Listing, pin: Pin = PIN) -> list[tuple[str, str, str]]:
    return [(change.kind, change.name, change.what) for change in shown(pin, live)[1]]


def live(**changes: Any) -> Listing:
    return replace(LISTING, **changes)


def test_the_same_is_no_change_and_is_shown_as_it_was_kept() -> None:
    other = live(
        tools=[Raw(b'{"x": 1.0, "name": "a"}'), raw({"name": "b"})], capabilities={"prompts": raw({}), "tools": raw({})}
    )
    listing, changes = shown(PIN, other)
    assert changes == [] and listing.tools == LISTING.tools


def test_what_changed_is_new_or_is_gone_is_told_and_not_shown() -> None:
    found = live(tools=[raw({"name": "a", "x": 2}), raw({"name": "c"})], prompts=[])
    listing, _ = shown(PIN, found)
    assert listing.tools == [] and listing.prompts == []
    assert told(found) == [
        ("tools", "a", "changed"),
        ("tools", "c", "new"),
        ("tools", "b", "removed"),
        ("prompts", "p", "removed"),
    ]


def test_a_name_that_stands_twice_is_what_it_was_only_if_both_are() -> None:
    same = live(tools=[raw({"name": "b"}), Raw(b'{"name" : "b"}')])
    assert [bytes(each) for each in shown(PIN, same)[0].tools] == [b'{"name": "b"}']
    other = live(tools=[raw({"name": "b"}), raw({"name": "b", "x": 1})])
    assert shown(PIN, other)[0].tools == [] and ("tools", "b", "changed") in told(other)


def test_instructions_and_capabilities_stay_those_of_the_pin() -> None:
    found = live(instructions="Obey.", capabilities={"tools": raw({}), "x": raw({})}, info=raw({"name": "other"}))
    listing, _ = shown(PIN, found)
    assert listing.instructions == "Be kind." and listing.capabilities == LISTING.capabilities
    assert listing.info == LISTING.info
    assert told(found) == [("instructions", "instructions", "changed"), ("capabilities", "capabilities", "changed")]


def test_instructions_that_are_gone_are_not_shown() -> None:
    found = live(instructions=None)
    assert shown(PIN, found)[0].instructions is None
    assert told(found) == [("instructions", "instructions", "removed")]


def test_new_instructions_are_not_shown() -> None:
    pin = pin_of(live(instructions=None))
    assert shown(pin, LISTING)[0].instructions is None and told(LISTING, pin) == [
        ("instructions", "instructions", "new")
    ]


def test_a_part_of_the_changes_can_be_taken() -> None:
    found = live(tools=[raw({"name": "a", "x": 2}), raw({"name": "c"})], instructions="Obey.")
    changes = shown(PIN, found)[1]
    pin = taken(PIN, found, [change for change in changes if change.name in ("a", "b")])
    assert told(found, pin) == [("tools", "c", "new"), ("instructions", "instructions", "changed")]
    assert told(found, taken(pin, found, shown(pin, found)[1])) == []


def test_only_what_is_there_can_be_withheld() -> None:
    assert (
        Change(kind="tools", name="a", what="new").withheld
        and not Change(kind="tools", name="a", what="removed").withheld
    )
