"""How long a plugin waits for its host: one operation on the channel and back, `python -m tests.bench.host`.

The plugin measures, one operation after the other; the router, the host and its checks are those of `broker mcp`.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.runtimes.desks import desk_spec, opened

CALLS = 900  # of `config.get`, of which a plugin may make 1000 at once
PLUGIN = f"""
import json, os, socket, sys, threading, time
channel = socket.socket(fileno=int(os.environ["BROKER_HOST_FD"]))
lines = channel.makefile("rb")
lines.readline()
def measure():
    took = []
    for number in range({CALLS}):
        begun = time.perf_counter()
        channel.sendall(b'{{"jsonrpc":"2.0","id":%d,"method":"config.get","params":{{"key":"greeting"}}}}\\n' % number)
        assert b'"result":"Good day"' in lines.readline()
        took.append(time.perf_counter() - begun)
    return took
for request in map(json.loads, sys.stdin):
    if "id" not in request:
        continue
    info = {{"name": "bench", "version": "0"}}
    result = {{"protocolVersion": "2025-11-25", "capabilities": {{"tools": {{}}}}, "serverInfo": info}}
    if request["method"] == "tools/list":
        result = {{"tools": [{{"name": "greet", "inputSchema": {{"type": "object"}}}}]}}
    if request["method"] == "tools/call":
        result = {{"content": [{{"type": "text", "text": json.dumps(measure())}}]}}
    print(json.dumps({{"jsonrpc": "2.0", "id": request["id"], "result": result}}), flush=True)
"""


async def measured(folder: Path, **more: Any) -> list[float]:
    """The seconds that each operation took."""
    spec = desk_spec(name="bench", entry=None, command=(sys.executable, "-c", PLUGIN), cwd=None, commands=(), **more)
    async with opened(folder, spec) as world:
        await world.router.learned(world.face.identity, world.face, 10)
        return json.loads(await world.text("bench"))


def main() -> None:
    for what, more in (("unconfined", {}), ("confined", {"unconfined": False})):
        with tempfile.TemporaryDirectory(prefix="broker-bench-") as folder:
            took = sorted(asyncio.run(measured(Path(folder), **more)))
        p50, p99 = 1e6 * statistics.median(took), 1e6 * took[int(0.99 * len(took))]
        print(f"{what}: {len(took)} operations, p50 {p50:.0f} µs, p99 {p99:.0f} µs")


if __name__ == "__main__":
    main()
