"""The floor for anything written in Python: one client, one server, whole lines, ids rewritten, nothing else.

No catalog, no queue, no deadlines, no second server, no restart: what broker takes beyond this relay is the price
of what it does. Takes an mcpServers file and starts its first server.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

READ = 64 << 10


class Envelope(Struct):
    """A JSON-RPC message with its payloads undecoded."""

    jsonrpc: str
    id: Raw | UnsetType = UNSET
    method: str | UnsetType = UNSET
    params: Raw | UnsetType = UNSET
    result: Raw | UnsetType = UNSET
    error: Raw | UnsetType = UNSET


_decode = msgspec.json.Decoder(Envelope).decode
_encode = msgspec.json.Encoder().encode


class Relay:
    """The ids of the client's requests, and what they are called on the other side."""

    def __init__(self) -> None:
        self._last = 0
        self._theirs: dict[bytes, Raw] = {}

    def down(self, line: bytes) -> bytes:
        """A client's message under an id of ours."""
        message = _decode(line)
        if message.id is not UNSET and message.method is not UNSET:
            self._last += 1
            own = b"%d" % self._last
            self._theirs[own] = message.id
            message.id = Raw(own)
        return _encode(message)

    def up(self, line: bytes) -> bytes:
        """A server's message under the client's id."""
        message = _decode(line)
        if message.id is not UNSET and message.method is UNSET:
            message.id = self._theirs.pop(bytes(message.id))
        return _encode(message)


def pump(source: int, sink: int, rewrite: Callable[[bytes], bytes], ended: asyncio.Event) -> None:
    """Send every line of `source` to `sink`, rewritten; lines that came together leave together."""
    parts: list[bytes] = []

    def readable() -> None:
        data = os.read(source, READ)
        if not data:
            asyncio.get_running_loop().remove_reader(source)
            ended.set()
            return
        parts.append(data)
        if b"\n" in data:
            lines = b"".join(parts).split(b"\n")
            parts[:] = [lines.pop()]
            _write(sink, b"".join([rewrite(line) + b"\n" for line in lines if line]))

    asyncio.get_running_loop().add_reader(source, readable)


def _write(sink: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(sink, view) :]


async def main(file: Path) -> None:
    servers = json.loads(file.read_bytes())["mcpServers"]
    first = next(iter(servers.values()))
    command = [first["command"], *first["args"]]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
    assert server.stdin is not None and server.stdout is not None
    relay, ended = Relay(), asyncio.Event()
    pump(0, server.stdin.fileno(), relay.down, ended)
    pump(server.stdout.fileno(), 1, relay.up, ended)
    await ended.wait()
    server.stdin.close()
    server.wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
