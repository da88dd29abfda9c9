"""A frame whose id cannot be read costs only itself (wire/peer.py, rule 5)."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.wire.framing import Lines
from broker.wire.peer import Asked, Peer
from tests.e2e.harness import Home, opened
from tests.hostile.evil import evil

GOOD = b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n'
NEXT = b'{"jsonrpc":"2.0","id":3,"method":"ping"}\n'
BAD = {
    "bad-escape": b'{"jsonrpc":"2.0","id":"\\q","method":"ping"}\n',
    "leading-zero": b'{"jsonrpc":"2.0","id":007,"method":"ping"}\n',
    "not-utf8": b'{"jsonrpc":"2.0","id":"\xff","method":"ping"}\n',
    "control": b'{"jsonrpc":"2.0","id":"a\tb","method":"ping"}\n',
    "surrogate": b'{"jsonrpc":"2.0","id":"\\ud800","method":"ping"}\n',
    "long-number-twice": b'{"jsonrpc":"2.0","id":2,"method":"ping","x":' + b"1" * 5000 + b',"x":1}\n',
}


@pytest.mark.parametrize("bad", BAD)
def test_a_frame_with_an_unreadable_id_costs_only_itself(bad: str) -> None:
    events = Peer(Lines()).receive(GOOD + BAD[bad] + NEXT)
    assert [event.id for event in events if isinstance(event, Asked)] == [1, 3]


async def test_requests_beside_an_unreadable_one_are_answered(tmp_path: Path) -> None:
    before = b'{"jsonrpc":"2.0","id":"before","method":"ping"}\n'
    after = b'{"jsonrpc":"2.0","id":"after","method":"ping"}\n'
    async with opened(Home.of(tmp_path, {})) as line:
        line.write_bytes(before + BAD["bad-escape"] + after)
        await line.reply("before")
        await line.reply("after")


async def test_an_answer_beside_a_broken_line_arrives(tmp_path: Path) -> None:
    source = r"""
def on_call(m):
    answer = json.dumps({"jsonrpc": "2.0", "id": m["id"], "result": text("hi")}).encode()
    raw(answer + b"\n" + b'debug: {"id":"\\q"}' + b"\n")
"""
    async with opened(Home.of(tmp_path, {"one": evil(tmp_path, source)})) as line:
        assert await line.text("one__echo") == "hi"
