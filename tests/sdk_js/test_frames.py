"""Every bad frame a client can send, to a plugin of the JavaScript SDK in both eras, over real pipes.

The frames, and what each is owed, are the broker's own (`tests.hostile.corpus`); the 41 odd ones at which the official
SDKs were measured are among them.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator

import pytest

from tests.hostile.corpus import FRAMES
from tests.hostile.frames import META, Frame
from tests.sdk_js.places import FRAME_PLUGIN
from tests.sdk_python.test_frames import ABSENT, ERAS, FAMILIES, OPENING, key, owed

BOUND = 10.0  # seconds for one frame; the largest have 40 MiB
LINE_LIMIT = 64 << 20  # bytes
FRESH = [name for name in FRAMES if name.startswith("handshake/") or name.endswith("initialize")]
"""They change the rest of a connection, so each has one of its own; the default run opens some of those."""


class Client:
    """A plugin as a process, and what it answers."""

    def __init__(self, era: str, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None and process.stdout is not None
        self.era, self._process, self._last = era, process, 100_000
        self._in, self._out = process.stdin, process.stdout

    @classmethod
    async def start(cls, era: str) -> Client:
        pipe = asyncio.subprocess.PIPE
        client = cls(
            era,
            await asyncio.create_subprocess_exec(*FRAME_PLUGIN, stdin=pipe, stdout=pipe, stderr=pipe, limit=LINE_LIMIT),
        )
        if era == "legacy":
            body = {"jsonrpc": "2.0", "id": "open", "method": "initialize", "params": OPENING}
            client._in.write(json.dumps(body).encode() + b"\n")
            assert await client._reply() == ('"open"', 0)
        return client

    async def end(self) -> bytes:
        """Close its input; what it said on stderr. It must end by itself, and well."""
        self._in.close()
        _, said = await asyncio.wait_for(self._process.communicate(), BOUND)
        assert self._process.returncode == 0, said.decode()
        return said

    async def wrong(self, frame: Frame) -> list[str]:
        """What came for a frame before a good call was answered that was sent behind it, if it is not what is owed."""
        id = self._last = self._last + 2
        fence = key(id - 1)
        data = frame.bytes(str(id), self.era)
        call = b'{"jsonrpc":"2.0","id":%s,"method":"tools/call","params":{"name":"two__echo",%b}}\n'
        self._in.write(data + call % (fence.encode(), META[self.era]))
        expected, came = owed(frame, id, self.era), Counter[tuple[str, int]]()
        while (reply := await self._reply()) != (fence, 0):
            came[reply] += 1
        about = sum(count for (said, _), count in came.items() if said in (ABSENT, key(id)))
        right = came == expected if expected is not None else about <= data.count(b"\n")
        return [] if right else [f"{self.era} {frame.name}: owed {expected}, came {came}"]

    async def _reply(self) -> tuple[str, int]:
        while True:
            message = json.loads(await asyncio.wait_for(self._out.readline(), BOUND))
            if "method" not in message:
                return key(message.get("id", ABSENT)), message.get("error", {}).get("code", 0)


@pytest.fixture(scope="module")
async def clients() -> AsyncGenerator[list[Client]]:
    """One for each era, for all frames; nothing they are told makes them complain of themselves."""
    found = [await Client.start(era) for era in ERAS]
    yield found
    for client in found:
        assert b"    at " not in await client.end()


@pytest.mark.parametrize(
    "family", [pytest.param(name, marks=[pytest.mark.long] * ("size" in name)) for name in FAMILIES]
)
async def test_a_frame_is_answered_once_as_it_is_owed(clients: list[Client], family: str) -> None:
    frames = [frame for frame in FRAMES.values() if frame.family == family and frame.name not in FRESH]
    assert [wrong for client in clients for frame in frames for wrong in await client.wrong(frame)] == []


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.long] * (at % 10 > 0)) for at, name in enumerate(FRESH)]
)
async def test_an_opening_is_answered_as_it_is_owed(name: str) -> None:
    for era in ERAS:
        client = await Client.start(era)
        assert await client.wrong(FRAMES[name]) == []
        await client.end()
