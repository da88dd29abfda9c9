"""Servers that misbehave: a prelude that is polite, and whatever a test adds to it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.e2e.harness import BOUND

PRELUDE = r"""
import json, os, signal, sys, threading, time

CAPS = {"tools": {"listChanged": True}}
TOOLS = [{"name": "echo", "inputSchema": {"type": "object"}}]
_lock = threading.Lock()

def raw(data):
    with _lock:
        view = memoryview(data)
        while view:
            view = view[os.write(1, view):]

def send(**body):
    raw(json.dumps({"jsonrpc": "2.0", **body}, separators=(",", ":")).encode() + b"\n")

def text(value):
    return {"content": [{"type": "text", "text": value}]}

def mark(name):
    # a test waits for this file, or counts its bytes
    with open(name, "a") as file:
        file.write(".")

def on_initialize(m):
    info = {"name": "evil", "version": "1"}
    send(id=m["id"], result={"protocolVersion": "2025-06-18", "capabilities": CAPS, "serverInfo": info})

def on_discover(m):
    send(id=m["id"], error={"code": -32601, "message": "no"})

def on_list(m):
    send(id=m["id"], result={"tools": TOOLS})

def on_call(m):
    send(id=m["id"], result=text(json.dumps(m["params"].get("arguments"))))

def on_other(m):
    if "id" in m and "method" in m:
        send(id=m["id"], result={})
"""
LOOP = r"""
def main():
    for line in sys.stdin.buffer:
        m = json.loads(line)
        method = m.get("method")
        if method == "initialize":
            on_initialize(m)
        elif method == "server/discover":
            on_discover(m)
        elif method == "tools/list":
            on_list(m)
        elif method == "tools/call":
            on_call(m)
        else:
            on_other(m)
    os._exit(0)

main()
"""


def evil(folder: Path, source: str = "", **entry: Any) -> dict[str, Any]:
    """An entry for a server with `source` between the polite parts."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "evil.py"
    path.write_text(f"{PRELUDE}\n{source}\n{LOOP}")
    return {"command": sys.executable, "args": ["-S", "-E", str(path)], **entry}


async def until(condition: Callable[[], bool], bound: float = BOUND) -> None:
    """Wait for a state of the world that sends no event."""
    async with asyncio.timeout(bound):
        while not condition():
            await asyncio.sleep(0.01)
