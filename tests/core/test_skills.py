"""The URIs of skills on their way between plugins and clients."""

from __future__ import annotations

import json
from typing import Any

import pytest

from broker.core import skills
from broker.core.catalog import Catalog
from broker.errors import NotFound
from broker.model import Listing, Spec
from tests.pretend import raw

OFFERED = {"resources": raw({}), "extensions": raw({skills.EXTENSION: {}})}
REFUNDS = "skill://refunds/SKILL.md"


def outward(said: Any) -> Any:
    return json.loads(bytes(skills.outward("p", raw(said))))


def catalog(alone: str | None = None, **own: list[str]) -> Catalog:
    """Plugins with skills, each with these in its list of resources."""
    found = Catalog(alone)
    for name, uris in own.items():
        listed = [raw({"uri": uri, "name": "x"}) for uri in uris]
        found.put(Spec(name=name, source="t"), Listing(capabilities=OFFERED, resources=listed))
    return found


@pytest.mark.parametrize(
    ("own", "seen"),
    [
        (REFUNDS, "skill://p/refunds/SKILL.md"),
        ("skill://refunds", "skill://p/refunds"),
        ("github://o/r/refunds/SKILL.md", "broker://p/github://o/r/refunds/SKILL.md"),
    ],
)
def test_a_uri_has_its_owner_in_front_and_leads_back_to_it(own: str, seen: str) -> None:
    assert skills.shown("p", own) == seen
    assert catalog(p=[], q=[]).resource(seen) == ("p", own)


def test_every_uri_of_an_entry_is_renamed_and_nothing_else() -> None:
    file = {"uri": REFUNDS, "digest": "sha256:0", "size": 1}
    entry = {"uri": REFUNDS, "frontmatter": {"name": "refunds", "uri": REFUNDS}, "resources": [file], "x": 1}
    seen = {**entry, "uri": "skill://p/refunds/SKILL.md", "resources": [{**file, "uri": "skill://p/refunds/SKILL.md"}]}
    dynamic = {**entry, "resources": "dynamic"}
    assert outward({"skill": entry, "ttlMs": 5}) == {"skill": seen, "ttlMs": 5}
    assert outward({"skills": [dynamic]}) == {"skills": [{**seen, "resources": "dynamic"}]}
    assert outward({"resources": [file]}) == {"resources": seen["resources"]}


@pytest.mark.parametrize("strange", [{"skills": 7}, {"skills": [{}]}, {"skill": []}, ["skills"], {"resources": None}])
def test_what_is_no_entry_is_left_to_the_client(strange: Any) -> None:
    assert outward(strange) == strange


def test_the_same_skill_of_two_plugins_is_two_skills() -> None:
    found = catalog(b=[REFUNDS], a=[REFUNDS])
    assert [each.name for each in found.entries("resources")] == [skills.shown(name, REFUNDS) for name in "ab"]
    with pytest.raises(NotFound):
        found.resource(REFUNDS)


def test_a_plugins_own_uri_is_understood_if_it_can_be_only_ones() -> None:
    assert catalog(a=[REFUNDS], b=["skill://other/SKILL.md"]).resource(REFUNDS) == ("a", REFUNDS)
    assert catalog(a=[]).resource("skill://nowhere/listed") == ("a", "skill://nowhere/listed")


def test_of_a_plugin_that_is_passed_through_they_stay_as_they_are() -> None:
    found = catalog("a", a=[REFUNDS])
    assert [each.name for each in found.entries("resources")] == [REFUNDS]
    assert found.resource(REFUNDS) == ("a", REFUNDS)
