"""Bytes over real pipes: order, backpressure, the end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from broker.stream import FdStream


class Heard:
    """What arrived."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.ends = 0
        self.ended = asyncio.Event()
        self.arrived = asyncio.Event()

    def take(self, data: bytes) -> None:
        self.data += data
        self.arrived.set()

    def end(self) -> None:
        self.ends += 1
        self.ended.set()


@pytest.fixture
async def pipes() -> AsyncIterator[tuple[FdStream, FdStream, Heard, Heard]]:
    (r1, w1), (r2, w2) = os.pipe(), os.pipe()
    near, far, heard_near, heard_far = FdStream(r1, w2), FdStream(r2, w1), Heard(), Heard()
    near.start(heard_near.take, heard_near.end)
    far.start(heard_far.take, heard_far.end)
    yield near, far, heard_near, heard_far
    near.close()
    far.close()


async def test_frames_larger_than_the_pipe_arrive_whole_and_in_order(
    pipes: tuple[FdStream, FdStream, Heard, Heard],
) -> None:
    near, _, _, heard = pipes
    frames = [bytes([65 + i]) * (1 + i * 70_000) for i in range(12)]
    for frame in frames:
        near.send(frame, b"|", memoryview(frame))
    expected = b"".join(frame + b"|" + frame for frame in frames)
    async with asyncio.timeout(10):
        while len(heard.data) < len(expected):
            heard.arrived.clear()
            await heard.arrived.wait()
    assert bytes(heard.data) == expected and near.unsent == 0


async def test_what_is_sent_now_is_written_before_the_turn_ends_after_what_was_sent_before_it(
    pipes: tuple[FdStream, FdStream, Heard, Heard],
) -> None:
    near, far, _, heard = pipes
    near.send(b"first,")
    near.send_now(b"second")
    assert near.unsent == 0
    async with asyncio.timeout(10):
        await heard.arrived.wait()
    assert bytes(heard.data) == b"first,second"
    far.close_output()
    far.send_now(b"nobody")
    assert far.unsent == 0


async def test_what_is_not_read_is_counted_and_its_draining_is_told(
    pipes: tuple[FdStream, FdStream, Heard, Heard],
) -> None:
    near, far, _, _ = pipes
    drained = asyncio.Event()
    near.on_drained = drained.set
    far.pause()
    near.send(b"x" * 1_000_000)
    await asyncio.sleep(0)
    assert near.unsent > 900_000
    far.resume()
    await asyncio.wait_for(drained.wait(), 10)
    assert near.unsent == 0


async def test_the_end_of_the_other_side_is_told_once(pipes: tuple[FdStream, FdStream, Heard, Heard]) -> None:
    near, far, heard, _ = pipes
    far.close()
    await asyncio.wait_for(heard.ended.wait(), 5)
    near.close()
    assert heard.ends == 1


async def test_writing_to_one_who_left_is_quiet(pipes: tuple[FdStream, FdStream, Heard, Heard]) -> None:
    near, far, heard, _ = pipes
    far.close()
    near.send(b"x")
    await asyncio.wait_for(heard.ended.wait(), 5)
    near.send(b"y")
    near.close_output()
    near.close()


async def test_a_regular_file_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "session.jsonl"
    path.write_bytes(b"x" * 200_000)
    heard = Heard()
    stream = FdStream(os.open(path, os.O_RDONLY), os.open(os.devnull, os.O_WRONLY))
    stream.start(heard.take, heard.end)
    await asyncio.wait_for(heard.ended.wait(), 5)
    assert len(heard.data) == 200_000
