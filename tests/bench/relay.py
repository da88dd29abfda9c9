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


Parts = tuple[bytes | Raw, ...]
_decode = msgspec.json.Decoder(Envelope).decode


class Relay:
    """The ids of the client's requests, and what they are called on the other side."""

    def __init__(self) -> None:
        self._last = 0
        self._theirs: dict[bytes, Raw] = {}

    def down(self, line: bytes) -> Parts:
        """A client's request under an id of ours; anything else as it is."""
        message = _decode(line)
        if message.id is UNSET or message.method is UNSET:
            return line, b"\n"
        self._last += 1
        own = b"%d" % self._last
        self._theirs[own] = message.id
        head = b'{"jsonrpc":"2.0","id":%b,"method":"%b","params":' % (own, message.method.encode())
        return head, b"{}" if message.params is UNSET else message.params, b"}\n"

    def up(self, line: bytes) -> Parts:
        """A server's reply under the client's id; anything else as it is."""
        message = _decode(line)
        if message.id is UNSET or message.method is not UNSET:
            return line, b"\n"
        id = self._theirs.pop(bytes(message.id))
        if message.result is not UNSET:
            return b'{"jsonrpc":"2.0","id":', id, b',"result":', message.result, b"}\n"
        return b'{"jsonrpc":"2.0","id":', id, b',"error":', b"{}" if message.error is UNSET else message.error, b"}\n"


def pump(source: int, sink: int, rewrite: Callable[[bytes], Parts], ended: asyncio.Event) -> None:
    """Send every line of `source` to `sink`, rewritten; lines that came together leave together."""
    parts: list[bytes] = []

    def readable() -> None:
        data = os.read(source, READ)
        if not data:
            asyncio.get_running_loop().remove_reader(source)
            ended.set()
            return
        first, newline, rest = data.partition(b"\n")
        parts.append(first)
        if newline:
            lines = [b"".join(parts), *rest.split(b"\n")]
            parts[:] = [lines.pop()]
            _write(sink, b"".join([memoryview(part) for line in lines if line for part in rewrite(line)]))

    asyncio.get_running_loop().add_reader(source, readable)


def _write(sink: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(sink, view) :]


async def serve(server: subprocess.Popen[bytes]) -> None:
    """Relay until either side ends."""
    assert server.stdin is not None and server.stdout is not None
    relay, ended = Relay(), asyncio.Event()
    pump(0, server.stdin.fileno(), relay.down, ended)
    pump(server.stdout.fileno(), 1, relay.up, ended)
    await ended.wait()
    server.stdin.close()


def main(file: Path) -> None:
    first = next(iter(json.loads(file.read_bytes())["mcpServers"].values()))
    command = [first["command"], *first["args"]]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as server:
        asyncio.run(serve(server))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
