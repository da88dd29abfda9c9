"""The sockets of the DNS server: datagrams, and connections where datagrams are forbidden."""

from __future__ import annotations

import asyncio
import contextlib
import socket

from broker.confine.egress.dns import LARGEST, Resolve, answer
from broker.confine.egress.ends import End
from broker.confine.egress.ways import Connect, Way

QUESTIONS = 16  # on one connection; a C library asks two
BURST, PAUSE = 64, 0.1  # datagrams that are read in so many seconds: a program that starts asks some ten at once


class Datagrams:
    """Answers each datagram that is a question, on a socket that is its own from here on.

    At most `BURST` in `PAUSE` seconds; what comes faster waits in the kernel's queue, and is lost when that is full.
    """

    def __init__(self, sock: socket.socket, resolve: Resolve) -> None:
        self._sock, self._resolve = sock, resolve
        self._loop = asyncio.get_running_loop()
        self._left = BURST
        self._resting: asyncio.TimerHandle | None = None
        self._loop.add_reader(sock, self._readable)

    def close(self) -> None:
        if self._resting is not None:
            self._resting.cancel()
        self._loop.remove_reader(self._sock)
        self._sock.close()

    def _readable(self) -> None:
        if self._resting is None:
            self._resting = self._loop.call_later(PAUSE, self._go_on)
        self._left -= 1
        if self._left == 0:
            self._loop.remove_reader(self._sock)
        with contextlib.suppress(OSError):  # nobody is there any more, neither who asked
            data, whence = self._sock.recvfrom(LARGEST + 1)
            said = answer(data, self._resolve)
            if said is not None:
                self._sock.sendto(said, whence)

    def _go_on(self) -> None:
        self._resting = None
        if self._left <= 0:
            self._loop.add_reader(self._sock, self._readable)
        self._left = BURST


def stream(resolve: Resolve) -> Way:
    """Answers questions on a connection (RFC 7766: each after its length) until one is none, `QUESTIONS` at most."""

    async def serve(end: End, connect: Connect) -> None:
        for _ in range(QUESTIONS):
            said = answer(await end.take(int.from_bytes(await end.take(2), "big")), resolve)
            if said is None:
                return
            end.say(len(said).to_bytes(2, "big") + said)

    return serve
