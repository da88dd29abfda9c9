"""A plugin of the JavaScript SDK with the clients of every official SDK, alone and behind `broker mcp`."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

from tests import sdk_clients
from tests.sdk_clients import FOUND, READ, WAYS, started
from tests.sdk_js.places import DEMO

# Both SDKs deprecate what the legacy era has and the modern one has not; the legacy era is what is tested.
pytestmark = pytest.mark.filterwarnings("ignore::mcp.MCPDeprecationWarning")

LONG = pytest.mark.long
MODES = [
    ("alone", "legacy"),
    ("alone", "2026-07-28"),
    ("behind broker", "auto"),
    *(pytest.param(*each, marks=LONG) for each in (("alone", "auto"), *product(WAYS[1:], ("legacy", "2026-07-28")))),
]


@pytest.mark.parametrize(("way", "mode"), MODES)
async def test_the_official_client_in_every_mode(tmp_path: Path, way: str, mode: str) -> None:
    found = await sdk_clients.official(started(DEMO, way, tmp_path), mode)
    assert found == {**FOUND, **READ, "reports": [0, 2]}


@pytest.mark.long
@pytest.mark.parametrize("way", WAYS)
async def test_the_client_of_fastmcp(tmp_path: Path, way: str) -> None:
    assert await sdk_clients.of_fastmcp(started(DEMO, way, tmp_path)) == FOUND


@pytest.mark.long
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("client", ["sdk 1 legacy", "client 2 legacy", "client 2 2026-07-28"])
async def test_the_clients_of_typescript(tmp_path: Path, way: str, client: str) -> None:
    assert await sdk_clients.of_typescript(started(DEMO, way, tmp_path), client) == FOUND


@pytest.mark.long
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_the_command_line_of_the_inspector(tmp_path: Path, way: str, era: str) -> None:
    found = await sdk_clients.of_inspector(started(DEMO, way, tmp_path), era, tmp_path)
    assert found == {"counted": FOUND["counted"], **READ}
