"""The MCP server behind every target: answers `tools/call` with the text it was given, and little else.

Rule 1: it must not be what is measured. A call is not parsed: its id and text are found by their names, which
the client's texts never contain. Everything else takes the slow way through `json`.
Rule 2: the standard library alone, so that `python -I -S` starts it in a blink.
"""

from __future__ import annotations

import json
import os
import re
from typing import Any

READ = 64 << 10
METHOD = re.compile(rb'"method":\s*"([^"]*)"')
ID = re.compile(rb'"id":\s*(\d+|"[^"]*")')
NEAR = 400  # bytes from either end of a call in which its method and id stand
TOOL = {
    "name": "echo",
    "description": "Says what it is told.",
    "inputSchema": {
        "type": "object",
        "properties": {"text": {"type": "string"}},
        "required": ["text"],
    },
}


def answer(line: bytes) -> bytes:
    """The reply to one line; empty for a notification."""
    method = METHOD.search(line, 0, NEAR) or METHOD.search(line)
    if method is None or method[1] != b"tools/call":
        return _answer_slowly(json.loads(line))
    id = ID.search(line, 0, NEAR) or ID.search(line, max(0, len(line) - NEAR))
    begin = line.find(b'"', line.find(b'"text"') + 6)
    end = line.find(b'"', begin + 1)
    if id is None or end < 0:
        raise SystemExit("not a call of this benchmark")
    return b'{"jsonrpc":"2.0","id":%b,"result":{"content":[{"type":"text","text":%b}]}}\n' % (
        id[1],
        line[begin : end + 1],
    )


def _answer_slowly(message: dict[str, Any]) -> bytes:
    if "id" not in message:
        return b""
    found = {"jsonrpc": "2.0", "id": message["id"], **_outcome(message["method"], message.get("params") or {})}
    return json.dumps(found, separators=(",", ":")).encode() + b"\n"


def _outcome(method: str, params: dict[str, Any]) -> dict[str, Any]:
    if method == "initialize":
        version = params.get("protocolVersion", "2025-06-18")
        info = {"name": "echo", "version": "1"}
        return {"result": {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": info}}
    if method == "tools/list":
        return {"result": {"tools": [TOOL]}}
    if method == "ping":
        return {"result": {}}
    return {"error": {"code": -32601, "message": f"Method not found: {method}"}}


def main() -> None:
    """All lines that came together are answered together."""
    parts: list[bytes] = []
    while data := os.read(0, READ):
        first, newline, rest = data.partition(b"\n")
        parts.append(first)
        if newline:
            lines = [b"".join(parts), *rest.split(b"\n")]
            parts = [lines.pop()]
            _write(b"".join([answer(line) for line in lines if line]))


def _write(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]


if __name__ == "__main__":
    main()
