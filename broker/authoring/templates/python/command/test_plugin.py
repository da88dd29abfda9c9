"""Run them with `pytest`; the fixture `plugin_client` comes with plugin-broker-sdk."""

from __future__ import annotations

from collections.abc import Callable

from broker_sdk.testing import Harness


def test_it_shows_a_message(plugin_client: Callable[..., Harness]) -> None:
    client = plugin_client("plugin.py")
    assert client.command("hello", "Ada") == "greeted Ada"
    client.host.until(lambda: client.host.toasts == ["Hello, Ada!"])


def test_it_goes_on_without_being_granted_anything(plugin_client: Callable[..., Harness]) -> None:
    client = plugin_client("plugin.py", grant=["register_command"])
    assert client.command("hello") == "greeted you"
    assert client.host.toasts == []
