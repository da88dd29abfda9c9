"""Every bad frame a client can send, to a plugin of the SDK in both eras: answered as owed, and the next call works.

The frames, and what each is owed, are the broker's own (`tests.hostile.corpus`); the 41 odd ones at which the official
SDKs were measured are among them.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncGenerator

import pytest
from broker_sdk.server import Server

from tests.hostile.corpus import FRAMES
from tests.hostile.frames import META, Frame
from tests.sdk_python import frame_plugin
from tests.sdk_python.frame_plugin import plugin

Json = dict[str, object]
FAMILIES = sorted({frame.family for frame in FRAMES.values()})
ERAS = ("legacy", "modern")
ABSENT = "(no id)"
BOUND_OF_ALL = 30.0  # seconds
BOUND = 5.0  # seconds for one frame; the largest have 40 MiB
OPENING = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "f", "version": "1"}}


class Client:
    """A client in this very process: what it writes is taken at once."""

    def __init__(self, era: str) -> None:
        self.era, self._last = era, 100_000
        self.replies: list[tuple[str, int]] = []
        self._fence, self._passed = "", asyncio.Event()
        self.server = Server(plugin, self._hear)

    def _hear(self, data: bytes) -> None:
        for line in data.splitlines():
            message = json.loads(line)
            if "method" in message:
                continue
            id = key(message.get("id", ABSENT))
            if id == self._fence:
                self._passed.set()
            else:
                self.replies.append((id, message.get("error", {}).get("code", 0)))

    def new_id(self) -> int:
        self._last += 1
        return self._last

    async def open(self) -> None:
        body = {"jsonrpc": "2.0", "id": "open", "method": "initialize", "params": OPENING}
        self.server.receive(json.dumps(body).encode() + b"\n")

    async def replies_to(self, data: bytes) -> Counter[tuple[str, int]]:
        """What came for it before a good call was answered that was sent behind it."""
        self.replies.clear()
        self._passed.clear()
        fence = self.new_id()
        self._fence = key(fence)
        self.server.receive(data)
        call = b'{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"two__echo",%b}}\n'
        self.server.receive(call % (fence, META[self.era]))
        await asyncio.wait_for(self._passed.wait(), BOUND)
        await asyncio.sleep(0)
        return Counter(self.replies)


def key(id: object) -> str:
    """1, "1" and no id are three."""
    return ABSENT if id is ABSENT else json.dumps(id)


@pytest.fixture
async def clients() -> AsyncGenerator[dict[str, Client]]:
    found = {era: Client(era) for era in ERAS}
    await found["legacy"].open()
    yield found
    for client in found.values():
        await client.server.close()


def owed(frame: Frame, id: int, era: str) -> Counter[tuple[str, int]] | None:
    replies = frame.client[era]
    if replies is None:
        return None
    told = [
        (ABSENT if said is None else key(json.loads(said.replace("@ID@", str(id)))), code) for said, code in replies
    ]
    return Counter(told)


def test_a_process_outlives_them_all() -> None:
    """Over real pipes, one after the other; what is answered is compared below."""
    small = [frame for frame in FRAMES.values() if "size" not in frame.family and frame.family != "unknown-member"]
    sent = b"".join(frame.bytes(str(id), "modern") for id, frame in enumerate(small, 200_000))
    last = b'{"jsonrpc":"2.0","id":"last","method":"tools/call","params":{"name":"two__echo",%b}}\n'
    words = [sys.executable, frame_plugin.__file__]
    done = subprocess.run(words, input=sent + last % META["modern"], capture_output=True, timeout=BOUND_OF_ALL)
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr
    replies = [json.loads(line) for line in done.stdout.splitlines()]
    assert any(reply.get("id") == "last" and "result" in reply for reply in replies)
    assert len(replies) > len(small) / 2


@pytest.mark.parametrize(
    "family", [pytest.param(name, marks=[pytest.mark.long] * ("size" in name)) for name in FAMILIES]
)
async def test_a_frame_is_answered_once_as_it_is_owed(clients: dict[str, Client], family: str) -> None:
    wrong: list[str] = []
    for era, client in clients.items():
        for frame in FRAMES.values():
            if frame.family != family:
                continue
            if family == "handshake" or frame.name.endswith("initialize"):  # it changes the rest of a connection
                client = Client(era)
                await client.open()
            id = client.new_id()
            data = frame.bytes(str(id), era)
            expected, came = owed(frame, id, era), await client.replies_to(data)
            about = Counter({said: count for said, count in came.items() if said[0] in (ABSENT, key(id))})
            if (came != expected) if expected is not None else about.total() > data.count(b"\n"):
                wrong.append(f"{era} {frame.name}: owed {expected}, came {came}")
    assert wrong == []
