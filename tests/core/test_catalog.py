"""Names: whose they are, how they look, and that what is not listed cannot be found."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from broker.core.catalog import MAX_NAME, Catalog, allowed, shown_name
from broker.errors import BadArguments, NotFound
from broker.model import Kind, Listing, Spec


def listing(**items: list[Any]) -> Listing:
    raws: dict[str, Any] = {kind: [Raw(json.dumps(item).encode()) for item in found] for kind, found in items.items()}
    return Listing(capabilities={kind: Raw(b"{}") for kind in items}, **raws)


def catalog(alone: str | None = None, **plugins: Listing) -> Catalog:
    made = Catalog(alone)
    for name, shown in plugins.items():
        made.put(Spec(name=name, source="test"), shown)
    return made


def names(made: Catalog, kind: Kind = "tools") -> list[str]:
    return [entry.name for entry in made.entries(kind)]


def page(made: Catalog, kind: Kind = "tools", cursor: str | None = None) -> Any:
    return json.loads(made.page(kind, cursor)[0])


def test_tools_are_listed_by_plugin_and_sorted() -> None:
    made = catalog(b=listing(tools=[{"name": "z"}, {"name": "a"}]), a=listing(tools=[{"name": "m"}]))
    assert names(made) == ["a__m", "b__a", "b__z"]


def test_a_definition_is_listed_whole_but_for_its_name() -> None:
    made = catalog(a=listing(tools=[{"name": "t", "x-unknown": {"k": [1, None]}, "_meta": {"v/k": 1}, "title": "T"}]))
    assert page(made) == [{"name": "a__t", "x-unknown": {"k": [1, None]}, "_meta": {"v/k": 1}, "title": "T"}]


def test_a_name_leads_to_its_plugin_and_own_name() -> None:
    found = catalog(a=listing(tools=[{"name": "odd name/é"}])).tool("a__odd_name__")
    assert (found.plugin, found.own) == ("a", "odd name/é")


def test_an_unknown_name_is_an_error_that_proposes_the_nearest() -> None:
    with pytest.raises(NotFound, match="did you mean a__search"):
        catalog(a=listing(tools=[{"name": "search"}])).tool("a__serch")


@pytest.mark.parametrize("twins", [("Read", "read"), ("a-b", "a.b"), ("a_b", "a.b"), ("ﬁle", "file")])
def test_names_a_client_cannot_tell_apart_are_refused_both(twins: tuple[str, str]) -> None:
    made = catalog(a=listing(tools=[{"name": twin} for twin in twins] + [{"name": "other"}]))
    assert names(made) == ["a__other"]
    for twin in twins:
        with pytest.raises(NotFound):
            made.tool(shown_name("a", twin))


def test_a_refused_pair_is_reported_with_the_way_out() -> None:
    made = catalog(a=listing(tools=[{"name": "Read"}, {"name": "read"}]))
    (problem,) = made.problems()
    assert "'Read', 'read'" in problem.what and "!name" in problem.fix
    with pytest.raises(NotFound):
        made.tool("a__read")


@given(st.text(min_size=1, max_size=200), st.sampled_from(["a", "x" * 32]))
def test_every_name_is_short_and_in_safe_characters(own: str, plugin: str) -> None:
    name = shown_name(plugin, own)
    assert len(name) <= MAX_NAME and name.isascii() and name.startswith(plugin + "__")
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")


def test_long_names_stay_different() -> None:
    long = "x" * 100
    made = catalog(a=listing(tools=[{"name": long + "1"}, {"name": long + "2"}]))
    assert len(names(made)) == 2 and made.tool(names(made)[0]).own in (long + "1", long + "2")


@pytest.mark.parametrize(
    ("filters", "passing"),
    [
        ((), {"read", "write", "list"}),
        ((("read",),), {"read"}),
        ((("!write",),), {"read", "list"}),
        ((("*", "!w*"),), {"read", "list"}),
        ((("read", "write"), ("!write",)), {"read"}),
        ((("nothing",),), set[str]()),
    ],
)
def test_a_filter_decides_list_and_look_up_alike(filters: tuple[tuple[str, ...], ...], passing: set[str]) -> None:
    made = Catalog()
    everything = [{"name": name} for name in ("read", "write", "list")]
    made.put(Spec(name="a", source="test", tools=filters), listing(tools=everything))
    assert set(names(made)) == {f"a__{name}" for name in passing}
    for name in {"read", "write", "list"} - passing:
        assert not allowed(name, filters)
        with pytest.raises(NotFound):
            made.tool(f"a__{name}")


def test_a_plugin_alone_keeps_its_own_names_and_hides_the_others() -> None:
    made = catalog("a", a=listing(tools=[{"name": "t"}]), b=listing(tools=[{"name": "u"}]))
    assert names(made) == ["t"]


def test_a_resource_is_found_by_list_template_and_explicit_owner() -> None:
    made = catalog(
        a=listing(resources=[{"uri": "demo://a"}], templates=[{"uriTemplate": "item://{id}/x"}]),
        b=listing(resources=[{"uri": "demo://a"}], templates=[{"uriTemplate": "file:///{+path}"}]),
    )
    assert names(made, "resources") == ["broker://b/demo://a", "demo://a"]
    assert made.resource("demo://a") == ("a", "demo://a")
    assert made.resource("broker://b/demo://a") == ("b", "demo://a")
    assert made.resource("broker://b/demo://unlisted") == ("b", "demo://unlisted")
    assert made.resource("item://7/x") == ("a", "item://7/x")
    assert made.resource("file:///etc/x") == ("b", "file:///etc/x")
    with pytest.raises(NotFound):
        made.resource("item://7/8/x")


@pytest.mark.parametrize(
    ("template", "uri", "matching"),
    [
        ("item://{id}/x", "item://7/x", True),
        ("item://{id}/x", "item://7/8/x", False),
        ("item://{id}", "item://", False),
        ("file:///{+path}", "file:///etc/x", True),
        ("x://search{?q}", "x://search", True),
        ("x://search{?q}", "x://search?q=1", True),
        ("x://files{/path*}", "x://files", True),
        ("x://{+path}/end/{id}", "x://a/end/b/end/7", True),
        ("x://{a}-{b}", "x://1-2", True),
        ("x://{a}-{b}", "x://12", False),
        ("x://{a}{b}!", "x://aa!", True),
        ("x://" + "{v}" * 12 + "!", "x://" + "a" * 3000, False),
        ("x://" + "{+v}a" * 15 + "!", "x://" + "a" * 3000, False),
    ],
)
def test_a_template_matches_what_it_can_make_in_bounded_time(template: str, uri: str, matching: bool) -> None:
    made = catalog(a=listing(templates=[{"uriTemplate": template}]), b=listing(templates=[]), c=listing(resources=[]))
    made.put(Spec(name="d", source="test"), listing(resources=[]))
    if matching:
        assert made.resource(uri)[0] == "a"
    else:
        with pytest.raises(NotFound):
            made.resource(uri)


def test_a_resource_nobody_lists_goes_to_the_only_plugin_that_has_any() -> None:
    made = catalog(a=listing(resources=[]), b=listing(tools=[]))
    assert made.resource("any://thing") == ("a", "any://thing")


def test_a_long_list_comes_in_pages_and_wrong_cursors_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.core.catalog.PAGE", 200)
    made = catalog(a=listing(tools=[{"name": f"t{i:03}", "description": "x" * 50} for i in range(20)]))
    found: list[Any] = []
    cursor: str | None = None
    for _ in range(50):
        raw, following = made.page("tools", cursor)
        found += json.loads(raw)
        cursor = following
        if cursor is None:
            break
    assert [tool["name"] for tool in found] == names(made) and cursor is None
    for wrong in ("", "page-99", "x", "page--1"):
        with pytest.raises(BadArguments):
            made.page("tools", wrong)


def test_what_a_plugin_no_longer_shows_is_gone() -> None:
    made = catalog(a=listing(tools=[{"name": "t"}]))
    assert names(made) == ["a__t"]
    made.put(Spec(name="a", source="test"), None)
    assert names(made) == []
