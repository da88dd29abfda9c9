"""Run them with `pytest`; the fixture `plugin_client` comes with plugin-broker-sdk."""

from __future__ import annotations

from collections.abc import Callable

from broker_sdk.testing import Harness


def test_it_refuses_by_name_and_says_why(plugin_client: Callable[..., Harness]) -> None:
    client = plugin_client("plugin.py", config={"refused": "drop"})
    said = {"allow": False, "reason": "tools with drop in their names are refused"}
    assert client.hook("pre_request", tool="drop_table") == said


def test_it_lets_everything_else_pass(plugin_client: Callable[..., Harness]) -> None:
    assert plugin_client("plugin.py").hook("pre_request", tool="list_tables") == {}
