"""The sockets of the DNS server: datagrams, and connections where datagrams are forbidden."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from broker.confine.egress.dns import Resolve, answer
from broker.confine.egress.ends import End
from broker.confine.egress.ways import Connect, Way

QUESTIONS = 16  # on one connection; a C library asks two


class Datagrams(asyncio.DatagramProtocol):
    """Answers each datagram that is a question."""

    def __init__(self, resolve: Resolve) -> None:
        self._resolve = resolve
        self._transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        said = answer(data, self._resolve)
        if said is not None:
            self._transport.sendto(said, addr)

    def error_received(self, exc: Exception) -> None:
        """Whoever asked has left."""


def stream(resolve: Resolve) -> Way:
    """Answers questions on a connection (RFC 7766: each after its length) until one is none, `QUESTIONS` at most."""

    async def serve(end: End, connect: Connect) -> None:
        for _ in range(QUESTIONS):
            said = answer(await end.take(int.from_bytes(await end.take(2), "big")), resolve)
            if said is None:
                return
            end.say(len(said).to_bytes(2, "big") + said)

    return serve
