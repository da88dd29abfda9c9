"""The host API beside a server that another SDK serves: real processes, over real pipes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from broker_sdk.adapter import mount
from broker_sdk.errors import Misdeclared
from broker_sdk.testing import Harness

HERE = Path(__file__).parent


@pytest.mark.parametrize("file", [pytest.param("mounted_fastmcp.py", marks=pytest.mark.long), "mounted_mcpserver.py"])
def test_tools_of_another_sdk_reach_the_host_and_commands_reach_them(
    plugin_client: Callable[..., Harness], file: str
) -> None:
    client = plugin_client(HERE / file, over="stdio", config={"greeting": "Hi"}, answers=["Ada"])
    assert client.call("greet", name="Ada") == "Hi, Ada!"
    assert client.host.toasts == ["greeting Ada"]
    assert ("progress", {"progress": 2, "total": 2, "message": "greeting"}) in client.host.requests
    assert client.host.commands == {"wave": {"title": "Wave", "description": ""}}
    assert client.command("wave", 3) == 3


@pytest.mark.long
def test_it_runs_without_broker_too(plugin_client: Callable[..., Harness]) -> None:
    client = plugin_client(HERE / "mounted_mcpserver.py", over="stdio", host=False)
    assert client.reply("greet", name="Ada").is_error  # nobody can be asked; all else degraded


def test_what_is_no_server_is_refused() -> None:
    with pytest.raises(Misdeclared, match="FastMCP"):
        mount(object())
