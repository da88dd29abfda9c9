"""A plugin of the SDK with the clients of every official SDK, alone and behind `broker mcp`."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from fastmcp import Client as FastClient
from fastmcp.client.elicitation import ElicitResult as FastResult
from fastmcp.client.transports import StdioTransport
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp_types import ElicitRequestParams, ElicitResult

from tests.e2e.harness import Home
from tests.servers import NODE_MODULES

# Both SDKs deprecate what the legacy era has and the modern one has not; the legacy era is what is tested.
pytestmark = pytest.mark.filterwarnings("ignore::mcp.MCPDeprecationWarning")

Json = dict[str, Any]
HERE = Path(__file__).parent
DEMO = HERE / "demo_plugin.py"
BOUND = 30.0  # seconds
WAYS = ["alone", "behind broker"]
LONG = pytest.mark.long
MODES = [
    ("alone", "legacy"),
    ("alone", "2026-07-28"),
    ("behind broker", "auto"),
    *(pytest.param(*each, marks=LONG) for each in (("alone", "auto"), *product(WAYS[1:], ("legacy", "2026-07-28")))),
]
COUNTED = {"count": 7, "places": [{"path": "src", "line": 1}]}
Command = tuple[str, list[str], dict[str, str]]


def started(way: str, tmp_path: Path) -> Command:
    if way == "alone":
        return sys.executable, [str(DEMO)], dict(os.environ)
    home = Home.of(tmp_path, {"demo": {"command": sys.executable, "args": [str(DEMO)]}}, "--passthrough", "demo")
    return home.command, home.args, home.env


def answer(message: str) -> Json | None:
    """What the person says to the questions of `interview`."""
    return {
        "Your name?": {"value": "Ada"},
        "Sure?": {"value": True},
        "Which?": {"value": "two"},
        "Which file?": {"value": "b.txt"},
        "Who?": {"name": "Ada", "age": 36, "color": "blue"},
    }.get(message)


INTERVIEWED = ["Ada", True, "two", "b.txt", answer("Who?")]


async def official(command: Command, mode: str) -> Json:
    """What the official client finds."""
    reports: list[float] = []

    async def elicit(context: Any, params: ElicitRequestParams) -> ElicitResult:
        return ElicitResult(action="accept", content=answer(params.message))

    async def reported(progress: float, total: float | None, message: str | None) -> None:
        reports.append(progress)

    parameters = StdioServerParameters(command=command[0], args=command[1], env=command[2])
    async with Client(stdio_client(parameters), mode=mode, elicitation_callback=elicit) as client:
        counted = await client.call_tool("count", {"path": "src", "limit": 7}, progress_callback=reported)
        asked = await client.call_tool("interview", {})
        crashed = await client.call_tool("crash", {})
        about = await client.read_resource("demo://note/a")
        review = await client.get_prompt("review", {"file": "a.py"})
        tools = await client.list_tools()
        return {
            "counted": counted.structured_content,
            "asked": (asked.structured_content or {})["result"],
            "crashed": crashed.is_error,
            "about": getattr(about.contents[0], "text", ""),
            "review": len(review.messages),
            "tools": len(tools.tools),
            "reports": reports,
        }


@pytest.mark.parametrize(("way", "mode"), MODES)
async def test_the_official_client_in_every_mode(tmp_path: Path, way: str, mode: str) -> None:
    found = await asyncio.wait_for(official(started(way, tmp_path), mode), BOUND)
    assert found.pop("tools") >= 15
    assert found == {
        "counted": COUNTED,
        "asked": INTERVIEWED,
        "crashed": True,
        "about": '{"name":"a"}',
        "review": 2,
        "reports": [0, 2],
    }


@pytest.mark.long
@pytest.mark.parametrize("way", WAYS)
async def test_the_client_of_fastmcp(tmp_path: Path, way: str) -> None:
    command = started(way, tmp_path)

    async def elicit(message: str, response_type: Any, params: Any, context: Any) -> Any:
        return FastResult(action="accept", content=answer(message))

    transport = StdioTransport(command[0], command[1], env=command[2])
    async with asyncio.timeout(BOUND), FastClient(transport, elicitation_handler=elicit) as client:
        assert (await client.call_tool("count", {"path": "src", "limit": 7})).structured_content == COUNTED
        asked = await client.call_tool("interview", {})
        assert (asked.structured_content or {})["result"] == INTERVIEWED


@pytest.mark.long
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("client", ["sdk 1 legacy", "client 2 legacy", "client 2 2026-07-28"])
async def test_the_clients_of_typescript(tmp_path: Path, way: str, client: str) -> None:
    command = started(way, tmp_path)
    process = await asyncio.create_subprocess_exec(
        *("node", str(HERE / "client.mjs"), *client.rsplit(" ", 1), str(NODE_MODULES), command[0], *command[1]),
        env=command[2],
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        said, _ = await asyncio.wait_for(process.communicate(), BOUND)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    found = json.loads(said)
    assert found["counted"] == COUNTED
    assert found["asked"]["result"] == INTERVIEWED
    assert found["crashed"] is True
    assert len(found["tools"]) >= 15
