"""A server that writes any frame of the corpus on demand: before, inside or instead of its answer to a call.

Started with its era as argument, on the standard library alone. `echo` is polite, `hold` never answers.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from tests.hostile.corpus import FRAMES  # found by path, like any program

ERA = sys.argv[1]
MODERN = ERA == "modern"
TOOLS = [{"name": name, "inputSchema": {"type": "object"}} for name in ("play", "echo", "hold")]
INFO = {"name": "frames", "version": "1"}
CAPABILITIES = {"tools": {"listChanged": True}}


def write(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]


def line(**body: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", **body}, separators=(",", ":")).encode() + b"\n"


def text(id: int, value: str) -> bytes:
    result: dict[str, Any] = {"content": [{"type": "text", "text": value}]}
    return line(id=id, result={**result, "resultType": "complete"} if MODERN else result)


def play(id: int, name: str, mode: str) -> bytes:
    """What is written for a call that asks for this frame."""
    frame, true = FRAMES[name].bytes(str(id), ERA), text(id, f"true {os.getpid()}")
    middle = true.index(b"true") + 2
    return {"before": frame + true, "instead": frame, "inside": true[:middle] + frame + true[middle:]}[mode]


def answer(id: int, params: dict[str, Any]) -> bytes:
    given = params.get("arguments") or {}
    if params["name"] == "hold":
        return b""
    if params["name"] == "play" and "frame" in given:
        return play(id, given["frame"], given["mode"])
    return text(id, f"true {os.getpid()}")


def reply(message: dict[str, Any]) -> bytes:
    id, method, params = message["id"], message["method"], message.get("params") or {}
    if method == "tools/call":
        return answer(id, params)
    opened: dict[str, Any] = {"capabilities": CAPABILITIES, "serverInfo": INFO}
    results: dict[str, dict[str, Any]] = {"tools/list": {"tools": TOOLS}, "ping": {}}
    if MODERN:
        results["server/discover"] = {"supportedVersions": ["2026-07-28"], "resultType": "complete", **opened}
    else:
        results["initialize"] = {"protocolVersion": "2025-11-25", **opened}
    if method in results:
        return line(id=id, result=results[method])
    return line(id=id, error={"code": -32601, "message": "no"})


def main() -> None:
    for each in sys.stdin.buffer:
        message = json.loads(each)
        if "id" in message and "method" in message and not (MODERN and message["method"] == "subscriptions/listen"):
            write(reply(message))


if __name__ == "__main__":
    main()
