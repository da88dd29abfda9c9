"""The scripted server is a judge in other tests; here the official SDK judges it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from mcp import Client, MCPError, StdioServerParameters
from mcp.types import TextContent

from tests.servers import scripted

ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}},
}
INITIALIZE = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "t", "version": "1"},
}


def speak(*requests: tuple[str, dict[str, Any]], flags: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """Everything the server says to these requests, numbered from 0, and then end of file."""
    entry = scripted(*flags)
    messages = [{"jsonrpc": "2.0", "id": n, "method": m, "params": p} for n, (m, p) in enumerate(requests)]
    said = "".join(json.dumps(message) + "\n" for message in messages)
    done = subprocess.run([entry["command"], *entry["args"]], input=said, capture_output=True, text=True, check=False)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def modern(**params: Any) -> dict[str, Any]:
    return {"_meta": ENVELOPE, **params}


@pytest.mark.parametrize(("era", "mode"), [("legacy", "legacy"), ("modern", "auto"), ("dual", "2026-07-28")])
async def test_the_sdk_client_understands_every_era(era: str, mode: str) -> None:
    entry = scripted("--era", era, "--page", "4")
    seen: list[float] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        seen.append(progress)

    async with Client(StdioServerParameters(**entry), mode=mode) as client:
        first = await client.list_tools()
        assert len(first.tools) == 4 and first.next_cursor
        echoed = await client.call_tool("echo", {"text": "hi"})
        assert isinstance(echoed.content[0], TextContent) and echoed.content[0].text == "hi"
        await client.call_tool("progress", {"n": 3}, progress_callback=on_progress)
        assert seen == [1, 2, 3]
        assert (await client.read_resource("demo://a")).contents
        assert (await client.get_prompt("hello", {"name": "Ann"})).messages
        with pytest.raises(MCPError, match="scripted error"):
            await client.call_tool("error", {})


def test_a_modern_server_refuses_a_handshake_and_a_bare_request() -> None:
    codes = [
        m["error"]["code"] for m in speak(("initialize", INITIALIZE), ("tools/list", {}), flags=("--era", "modern"))
    ]
    assert codes == [-32022, -32602]


def test_the_first_request_locks_the_era_of_a_locking_server() -> None:
    probe, handshake = ("server/discover", modern()), ("initialize", INITIALIZE)
    flags = ("--era", "dual-locked")
    assert speak(probe, handshake, flags=flags)[1]["error"]["code"] == -32022
    assert speak(handshake, probe, flags=flags)[1]["error"]["code"] == -32600
    assert "result" in speak(probe, handshake, flags=("--era", "dual"))[1]


def test_probe_accidents() -> None:
    probe, handshake = ("server/discover", modern()), ("initialize", INITIALIZE)
    assert speak(probe, handshake, flags=("--exit-on-probe",)) == []
    assert [m["id"] for m in speak(probe, handshake, flags=("--hang-on-probe",))] == [1]
    assert speak(handshake, flags=("--only-2024",))[0]["result"]["protocolVersion"] == "2024-11-05"


def test_a_modern_question_travels_in_the_result() -> None:
    with subprocess.Popen(
        [sys.executable, *scripted("--era", "modern")["args"]], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as server:
        assert server.stdin and server.stdout

        def call(rpc_id: int, **extra: Any) -> dict[str, Any]:
            assert server.stdin and server.stdout
            body = {"id": rpc_id, "method": "tools/call", "params": modern(name="elicit", **extra)}
            server.stdin.write(json.dumps({"jsonrpc": "2.0", **body}).encode() + b"\n")
            server.stdin.flush()
            return json.loads(server.stdout.readline())["result"]

        asked = call(1)
        assert asked["resultType"] == "input_required" and set(asked["inputRequests"]) == {"who"}
        answers = {"who": {"action": "decline"}}
        told = call(2, inputResponses=answers, requestState=asked["requestState"])
        assert json.loads(told["content"][0]["text"]) == answers
        server.stdin.close()
        assert server.wait() == os.EX_OK
