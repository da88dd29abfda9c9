"""Run them with `pytest`; the fixture `plugin_client` comes with plugin-broker-sdk."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from broker_sdk import ToolError
from broker_sdk.testing import Harness


def test_it_greets(plugin_client: Callable[..., Harness]) -> None:
    client = plugin_client("plugin.py", config={"greeting": "Good morning"})
    assert client.call("greet", name="Ada") == "Good morning, Ada!"


def test_it_takes_no_wrong_arguments(plugin_client: Callable[..., Harness]) -> None:
    with pytest.raises(ToolError, match="`name`"):
        plugin_client("plugin.py").call("greet", name=5)
