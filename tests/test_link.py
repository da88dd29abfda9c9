"""The moving half: who waits is always woken, who gives up is always heard."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec import Raw

from broker.errors import Closed, NotFound, RemoteError
from broker.link import LSP, MCP, Dialect, Link
from broker.stream import MemoryStream
from broker.wire.framing import Lines
from broker.wire.peer import Asked, Peer, Told


class End:
    """One end of a conversation and what it saw."""

    def __init__(self, stream: MemoryStream, dialect: Dialect) -> None:
        self.told: list[Told] = []
        self.cancelled: list[Any] = []
        self.entered = asyncio.Event()
        self.ended = asyncio.Event()
        self.stream = stream
        self.link = Link(
            Peer(Lines()),
            stream,
            on_ask=self.serve,
            on_tell=self.hear,
            on_end=self.ended.set,
            dialect=dialect,
        )
        self.link.start()

    def serve(self, asked: Asked) -> Any:
        if asked.method == "echo":
            return asked.params
        if asked.method == "boom":
            raise ValueError("secret")
        if asked.method == "refuse":
            raise NotFound("not here")
        return self.later(asked)

    async def later(self, asked: Asked) -> bytes:
        self.entered.set()
        if asked.method == "back":
            _, waiter = self.link.ask("echo", asked.params)
            return bytes(await waiter)
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            self.cancelled.append(asked.id)
            raise
        raise AssertionError

    def hear(self, told: Told) -> None:
        if told.method == "bad":
            raise ValueError("in a notification")
        self.told.append(told)


@pytest.fixture
async def pair() -> AsyncIterator[tuple[End, End]]:
    near, far = MemoryStream.pair()
    ends = End(near, MCP), End(far, MCP)
    yield ends
    ends[0].link.close()
    await asyncio.wait_for(ends[1].ended.wait(), 5)


async def outcome(end: End, method: str, params: bytes = b"{}") -> bytes:
    _, waiter = end.link.ask(method, params)
    return bytes(await asyncio.wait_for(waiter, 5))


async def test_a_request_is_answered_with_the_bytes_of_its_handler(pair: tuple[End, End]) -> None:
    assert await outcome(pair[0], "echo", b'{"a": [1,  2]}') == b'{"a": [1,  2]}'


async def test_a_handler_may_ask_back_while_it_is_asked(pair: tuple[End, End]) -> None:
    assert await outcome(pair[0], "back", b'{"x":1}') == b'{"x":1}'


async def test_many_requests_at_once_each_get_their_own_answer(pair: tuple[End, End]) -> None:
    answers = await asyncio.gather(*(outcome(pair[0], "back", b"[%d]" % i) for i in range(200)))
    assert answers == [b"[%d]" % i for i in range(200)]


async def test_an_error_of_ours_reaches_the_other_side_with_its_code(pair: tuple[End, End]) -> None:
    with pytest.raises(RemoteError, match="not here") as caught:
        await outcome(pair[0], "refuse")
    assert caught.value.code == NotFound.code


async def test_an_unexpected_exception_is_told_without_its_text(pair: tuple[End, End]) -> None:
    with pytest.raises(RemoteError) as caught:
        await outcome(pair[0], "boom")
    assert caught.value.code == -32603 and "secret" not in str(caught.value)


async def test_an_exception_in_a_notification_costs_nothing(pair: tuple[End, End]) -> None:
    pair[0].link.tell("bad")
    pair[0].link.tell("good")
    assert await outcome(pair[0], "echo") == b"{}"
    assert [told.method for told in pair[1].told] == ["good"]


async def test_who_gives_up_cancels_the_far_handler_and_gets_no_reply(pair: tuple[End, End]) -> None:
    id, waiter = pair[0].link.ask("slow", b"{}")
    await asyncio.wait_for(pair[1].entered.wait(), 5)
    pair[0].link.give_up(id)
    assert await outcome(pair[0], "echo") == b"{}"
    assert pair[1].cancelled == [id] and not waiter.done()


async def test_a_request_that_comes_together_with_its_cancellation_is_cancelled(pair: tuple[End, End]) -> None:
    id, _ = pair[0].link.ask("slow", b"{}")
    pair[0].link.give_up(id)
    assert await outcome(pair[0], "echo") == b"{}"
    assert pair[1].cancelled == [id]


async def test_a_cancel_for_another_type_of_id_cancels_nothing(pair: tuple[End, End]) -> None:
    id, _ = pair[0].link.ask("slow", b"{}")
    await asyncio.wait_for(pair[1].entered.wait(), 5)
    for wrong in (str(id), None, [id], id + 1):
        pair[0].link.tell(MCP.method, json.dumps({"requestId": wrong}).encode())
    pair[0].link.tell(MCP.method, b"[]")
    assert await outcome(pair[0], "echo") == b"{}"
    assert pair[1].cancelled == []


async def test_the_end_wakes_everyone_who_waits_and_stops_every_handler(pair: tuple[End, End]) -> None:
    waiters = [pair[0].link.ask("slow", b"{}")[1] for _ in range(5)]
    await asyncio.wait_for(pair[1].entered.wait(), 5)
    pair[1].link.close()
    outcomes = await asyncio.wait_for(asyncio.gather(*waiters, return_exceptions=True), 5)
    assert all(isinstance(outcome, Closed) for outcome in outcomes)
    await asyncio.wait_for(pair[0].ended.wait(), 5)
    assert len(pair[1].cancelled) == 5
    with pytest.raises(Closed):
        pair[0].link.ask("echo")


async def test_lsp_answers_a_cancelled_request_and_mcp_does_not() -> None:
    near, far = MemoryStream.pair()
    ends = End(near, LSP), End(far, LSP)
    id, waiter = ends[0].link.ask("slow", b"{}")
    await asyncio.wait_for(ends[1].entered.wait(), 5)
    ends[0].link.tell("$/cancelRequest", b'{"id":%d}' % id)
    with pytest.raises(RemoteError) as caught:
        await asyncio.wait_for(waiter, 5)
    assert caught.value.code == -32800
    ends[0].link.close()


async def test_a_flood_of_requests_is_refused_beyond_the_bound(pair: tuple[End, End], monkeypatch: Any) -> None:
    monkeypatch.setattr(pair[1].link, "_max_owed", 10)
    for _ in range(10):
        pair[0].link.ask("slow", b"{}")
    with pytest.raises(RemoteError) as caught:
        await outcome(pair[0], "slow")
    assert caught.value.code == -31007


async def test_a_result_may_be_raw(pair: tuple[End, End]) -> None:
    assert Raw(await outcome(pair[0], "echo", b"[]")) is not None
