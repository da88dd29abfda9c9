"""Copying: in order, both ways, half-closed, with bounds."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from broker.confine.egress.ends import HEAD, End, relay
from tests.confine.egress.world import BOUND

MOST_KEPT = 512 << 10  # bytes of one direction: a write buffer's mark, and what one read brings on top
TEN_MB = os.urandom(1 << 20) * 10


class Relayed:
    """Two sockets whose other ends are relayed to each other."""

    def __init__(self, near: End, far: End, left: socket.socket, right: socket.socket) -> None:
        self.near, self.far, self.left, self.right = near, far, left, right
        self.most = 0

    def watch(self) -> None:
        """Note how much is kept, whenever the loop turns."""
        now = max(end.transport.get_write_buffer_size() for end in (self.near, self.far))
        self.most = max(self.most, now)
        if not self.near.gone.done():
            asyncio.get_running_loop().call_soon(self.watch)


@asynccontextmanager
async def relayed(idle: float = BOUND) -> AsyncGenerator[Relayed]:
    loop = asyncio.get_running_loop()
    (left, inner_left), (right, inner_right) = socket.socketpair(), socket.socketpair()
    _, near = await loop.connect_accepted_socket(End, inner_left)
    _, far = await loop.connect_accepted_socket(End, inner_right)
    task = loop.create_task(relay(near, far, idle))
    with left, right:
        left.settimeout(BOUND)
        right.settimeout(BOUND)
        yield Relayed(near, far, left, right)
    await asyncio.wait_for(task, BOUND)


def read_all(sock: socket.socket, piece: int = 1 << 16) -> bytes:
    return b"".join(iter(lambda: sock.recv(piece), b""))


def send_all(sock: socket.socket, data: bytes) -> None:
    sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)


async def test_both_ways_arrive_whole() -> None:
    async with relayed() as pair:
        there, back, *_ = await asyncio.gather(
            asyncio.to_thread(read_all, pair.right),
            asyncio.to_thread(read_all, pair.left),
            asyncio.to_thread(send_all, pair.left, TEN_MB),
            asyncio.to_thread(send_all, pair.right, TEN_MB[::-1]),
        )
    assert there == TEN_MB and back == TEN_MB[::-1]


async def test_one_that_says_no_more_still_hears() -> None:
    async with relayed() as pair:
        await asyncio.to_thread(send_all, pair.left, b"question")
        assert await asyncio.to_thread(read_all, pair.right) == b"question"
        await asyncio.to_thread(send_all, pair.right, b"answer")
        assert await asyncio.to_thread(read_all, pair.left) == b"answer"


async def test_a_slow_reader_is_waited_for_in_bounded_memory() -> None:
    async with relayed() as pair:
        pair.watch()
        sending = asyncio.create_task(asyncio.to_thread(send_all, pair.left, TEN_MB))
        digest = hashlib.sha256()
        while piece := await asyncio.to_thread(pair.right.recv, 4096):
            digest.update(piece)
            assert pair.near.moved - 4096 <= len(TEN_MB)
        await sending
        pair.right.shutdown(socket.SHUT_WR)
        assert await asyncio.to_thread(read_all, pair.left) == b""
    assert digest.digest() == hashlib.sha256(TEN_MB).digest()
    assert 0 < pair.most <= MOST_KEPT


async def test_one_that_never_reads_stops_the_other() -> None:
    async with relayed() as pair:
        pair.left.setblocking(False)
        loop = asyncio.get_running_loop()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(loop.sock_sendall(pair.left, TEN_MB), 0.5)
        assert pair.near.moved <= 2 << 20 and pair.far.transport.get_write_buffer_size() <= MOST_KEPT


async def test_one_that_breaks_breaks_the_other() -> None:
    async with relayed() as pair:
        pair.left.sendall(b"x")
        assert await asyncio.to_thread(pair.right.recv, 1) == b"x"
        pair.far.transport.abort()
        assert await asyncio.to_thread(read_all, pair.left) == b""


async def test_one_that_left_before_it_was_joined_takes_the_other_with_it() -> None:
    loop = asyncio.get_running_loop()
    (left, inner_left), (right, inner_right) = socket.socketpair(), socket.socketpair()
    _, near = await loop.connect_accepted_socket(End, inner_left)
    _, far = await loop.connect_accepted_socket(End, inner_right)
    near.transport.abort()
    await asyncio.wait_for(near.gone, BOUND)
    with left, right:
        await asyncio.wait_for(relay(near, far, BOUND), BOUND)
        assert read_all(right) == b""


async def test_a_connection_on_which_nothing_moves_is_ended() -> None:
    async with relayed(idle=0.05) as pair:
        assert await asyncio.to_thread(read_all, pair.left) == b""


async def test_a_connection_on_which_something_moves_is_not() -> None:
    async with relayed(idle=0.2) as pair:
        for _ in range(30):
            pair.left.sendall(b"x")
            assert await asyncio.to_thread(pair.right.recv, 1) == b"x"
            await asyncio.wait([pair.near.gone], timeout=0.02)
        assert not pair.near.gone.done()


async def test_before_it_is_joined_little_is_kept() -> None:
    left, inner = socket.socketpair()
    _, end = await asyncio.get_running_loop().connect_accepted_socket(End, inner)
    left.setblocking(False)
    with left, pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.get_running_loop().sock_sendall(left, TEN_MB), 0.3)
    assert HEAD <= end.moved <= HEAD + (256 << 10)
    end.transport.abort()
    await asyncio.wait_for(end.gone, BOUND)


async def test_what_ends_in_the_middle_of_a_head_is_known() -> None:
    left, inner = socket.socketpair()
    _, end = await asyncio.get_running_loop().connect_accepted_socket(End, inner)
    send_all(left, b"abc")
    assert await end.take(2) == b"ab"
    with pytest.raises(EOFError):
        await asyncio.wait_for(end.take_until(b"\r\n"), BOUND)
    end.transport.abort()
    left.close()
    await asyncio.wait_for(end.gone, BOUND)


async def test_an_end_whose_last_write_went_out_after_it_was_closed_may_be_aborted() -> None:
    loop = asyncio.get_running_loop()
    left, inner = socket.socketpair()
    with left:
        left.settimeout(BOUND)
        _, end = await loop.connect_accepted_socket(End, inner)
        end.say(TEN_MB)
        end.transport.close()
        assert await loop.run_in_executor(None, read_all, left) == TEN_MB
        await asyncio.wait_for(end.gone, BOUND)
        end.abort()
