"""Whose `ui://` page is whose."""

from __future__ import annotations

import json
from typing import Any

from msgspec import Raw

from broker.core.views import Views, contents_named, implied, views_of


def raw(value: Any) -> Raw:
    return Raw(json.dumps(value).encode())


def tool(uri: str) -> Raw:
    return raw({"name": "t", "_meta": {"ui": {"resourceUri": uri}}})


def test_the_first_keeps_its_uri_and_the_others_get_their_names() -> None:
    views = Views()
    for plugin in ("a", "b", "c"):
        views.add(plugin, [tool("ui://x")], [])
    shown = {plugin: views.shown(plugin, "ui://x") for plugin in ("a", "b", "c")}
    assert shown == {"a": "ui://x", "b": "ui://b/x", "c": "ui://c/x"}
    assert all(views.owner(uri) == (plugin, "ui://x") for plugin, uri in shown.items())
    assert implied(shown["b"]) == ("b", "ui://x")


def test_a_plugin_cannot_take_the_name_another_would_get() -> None:
    views = Views()
    views.add("a", [tool("ui://x"), tool("ui://b/x")], [])
    views.add("b", [tool("ui://x")], [])
    assert views.owner("ui://b/x") == ("a", "ui://b/x")
    assert views.owner(views.shown("b", "ui://x")) == ("b", "ui://x")


def test_a_definition_that_is_odd_names_no_page() -> None:
    odd = [
        {"name": "t", "_meta": {"ui": "ui://x"}},
        {"name": "t", "_meta": {"ui": {"resourceUri": 7}, "k": "ui:"}},
        {"name": "t", "_meta": ["ui://x"]},
        {"name": "t", "_meta": {"ui": {"resourceUri": "https://ui://x"}, "k": "ui:"}},
        {"name": "ui://x"},
    ]
    assert [views_of(raw(each)) for each in odd] == [[]] * len(odd)
    assert views_of(Raw(b'{"name":"t","_meta":{"ui":{"resourceUri":"ui:\\/\\/x"}}}')) == ["ui://x"]


def test_a_result_that_cannot_be_read_is_passed_on_as_it_is() -> None:
    for odd in ({"contents": 7}, {}, {"contents": [1]}):
        assert contents_named("ui://x", "ui://b/x", raw(odd)) == raw(odd)
    mixed = raw({"contents": [{"uri": "ui://x", "text": "t"}, {"uri": "ui://y"}], "k": 1})
    assert json.loads(bytes(contents_named("ui://x", "ui://b/x", mixed))) == {
        "contents": [{"uri": "ui://b/x", "text": "t"}, {"uri": "ui://y"}],
        "k": 1,
    }
