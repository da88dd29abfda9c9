"""A plugin of each of our SDKs with the clients of every official SDK, alone and behind `broker mcp`."""

from __future__ import annotations

import sys
from itertools import product
from pathlib import Path

import pytest

from tests import sdk_clients
from tests.sdk_clients import FOUND, READ, WAYS, started
from tests.sdk_js.places import DEMO as DEMO_JS
from tests.servers import TESTS

# Both SDKs deprecate what the legacy era has and the modern one has not; the legacy era is what is tested.
pytestmark = pytest.mark.filterwarnings("ignore::mcp.MCPDeprecationWarning")

PLUGINS = {"python": [sys.executable, str(TESTS / "sdk_python" / "demo_plugin.py")], "js": DEMO_JS}
LONG = pytest.mark.long
MODES = [
    ("alone", "legacy"),
    ("alone", "2026-07-28"),
    ("behind broker", "auto"),
    *(pytest.param(*each, marks=LONG) for each in (("alone", "auto"), *product(WAYS[1:], ("legacy", "2026-07-28")))),
]


@pytest.fixture(params=PLUGINS)
def demo(request: pytest.FixtureRequest) -> list[str]:
    """The command of the SDK's demo plugin; all offer the same."""
    return PLUGINS[request.param]


@pytest.mark.parametrize(("way", "mode"), MODES)
async def test_the_official_client_in_every_mode(demo: list[str], tmp_path: Path, way: str, mode: str) -> None:
    found = await sdk_clients.official(started(demo, way, tmp_path), mode)
    assert found == {**FOUND, **READ, "reports": [0, 2]}


@pytest.mark.long
@pytest.mark.parametrize("way", WAYS)
async def test_the_client_of_fastmcp(demo: list[str], tmp_path: Path, way: str) -> None:
    assert await sdk_clients.of_fastmcp(started(demo, way, tmp_path)) == FOUND


@pytest.mark.long
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("client", ["sdk 1 legacy", "client 2 legacy", "client 2 2026-07-28"])
async def test_the_clients_of_typescript(demo: list[str], tmp_path: Path, way: str, client: str) -> None:
    assert await sdk_clients.of_typescript(started(demo, way, tmp_path), client) == FOUND


@pytest.mark.long
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_the_command_line_of_the_inspector(demo: list[str], tmp_path: Path, way: str, era: str) -> None:
    found = await sdk_clients.of_inspector(started(demo, way, tmp_path), era, tmp_path)
    assert found == {"counted": FOUND["counted"], **READ}
