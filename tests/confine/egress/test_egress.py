"""One plugin's network as a whole: the ways in, their bounds, and the end of it."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import threading

import pytest

from broker.confine.egress import egress as module
from broker.confine.egress.dns_doors import QUESTIONS
from broker.confine.egress.doors import DNS
from broker.confine.egress.egress import MOST, Egress
from tests.confine.egress.test_dns import question
from tests.confine.egress.world import BOUND, Inside, exchange, inside, serving

TEN_MB = random.Random(1).randbytes(10 << 20)


async def settled(plugin: Inside, connections: int) -> None:
    async with asyncio.timeout(BOUND):
        while plugin.egress.statistics.open != connections:
            await asyncio.sleep(0.005)


def tunnel(port: int) -> bytes:
    return f"CONNECT a.test:{port} HTTP/1.1\r\n\r\n".encode()


def request(port: int) -> bytes:
    return f"GET http://a.test:{port}/ HTTP/1.1\r\n\r\n".encode()


async def test_what_is_no_target_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="must be host:port"):
        Egress("todos", ["https://a.test/"], lambda denied: None)


async def test_a_connection_to_an_address_that_stands_for_nothing_is_reset() -> None:
    async with inside(["a.test:443"]) as plugin:
        port = await plugin.door("tcp:0.0.0.0:443")
        with pytest.raises(ConnectionResetError):
            await asyncio.to_thread(exchange, port, b"x")
    assert [(denied.port, denied.via) for denied in plugin.told] == [(port, "transparent")]


async def test_what_happened_is_counted() -> None:
    with serving() as host:
        async with inside([f"a.test:{host.port}!private"], a_test="127.0.0.1") as plugin:
            await plugin.asks(request(host.port))
            await plugin.asks(b"CONNECT b.test:443 HTTP/1.1\r\n\r\n")
            await settled(plugin, 0)
            counted = plugin.egress.statistics
    assert (counted.connected, counted.refused, counted.failed) == (1, 1, 0)
    assert counted.sent == len(request(host.port)) and counted.received > len(b"here")


async def test_a_body_of_ten_megabytes_goes_there_and_back() -> None:
    with serving() as host:
        async with inside([f"a.test:{host.port}!private"], a_test="127.0.0.1") as plugin:
            head = f"POST http://a.test:{host.port}/ HTTP/1.1\r\nContent-Length: {len(TEN_MB)}\r\n\r\n".encode()
            said = await plugin.asks(head, TEN_MB)
    assert said.endswith(TEN_MB)


async def test_connections_are_bounded_and_the_one_too_many_is_told() -> None:
    async with inside(["a.test:443"]) as plugin:
        port = await plugin.door()
        held = [socket.create_connection(("127.0.0.1", port), BOUND) for _ in range(MOST)]
        await settled(plugin, MOST)
        for _ in range(2):
            with pytest.raises(ConnectionResetError), socket.create_connection(("127.0.0.1", port), BOUND) as more:
                await asyncio.to_thread(more.recv, 1)
        assert [denied.why for denied in plugin.told] == [f"would be more than {MOST} connections at a time."]
        for sock in held:
            sock.close()
        await settled(plugin, 0)
        assert (await asyncio.to_thread(exchange, port, b"CONNECT b.test:1 HTTP/1.1\r\n\r\n")).startswith(
            b"HTTP/1.1 403"
        )


async def test_one_that_never_finishes_its_head_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OPENING", 0.2)
    async with inside(["a.test:443"]) as plugin:
        with socket.create_connection(("127.0.0.1", await plugin.door()), BOUND) as slow:
            async with asyncio.timeout(BOUND):
                while True:
                    try:
                        slow.send(b"x")
                    except ConnectionError:
                        break
                    await asyncio.sleep(0.01)
        await settled(plugin, 0)


async def test_hosts_that_hang_do_not_hold_up_others() -> None:
    release = threading.Event()
    with serving() as host:
        async with inside([f"a.test:{host.port}!private", "slow.test:80"], a_test="127.0.0.1") as plugin:
            plugin.while_looking_up = lambda name: name == "slow.test" and release.wait(BOUND)
            hanging = asyncio.create_task(plugin.asks(b"CONNECT slow.test:80 HTTP/1.1\r\n\r\n"))
            await settled(plugin, 1)
            assert (await plugin.asks(request(host.port))).endswith(b"here")
            assert not hanging.done()
            release.set()
            assert (await hanging).startswith(b"HTTP/1.1 502 ")


async def test_the_end_breaks_what_is_open_and_leaves_nothing() -> None:
    before = len(os.listdir("/proc/self/fd"))
    with serving() as host:
        async with inside([f"a.test:{host.port}!private"], a_test="127.0.0.1") as plugin:
            port = await plugin.door()
            with socket.create_connection(("127.0.0.1", port), BOUND) as sock:
                sock.sendall(tunnel(host.port))
                assert (await asyncio.to_thread(sock.recv, 100)).startswith(b"HTTP/1.1 200 ")
                await asyncio.wait_for(plugin.egress.close(), BOUND)
                await plugin.egress.close()
                assert await asyncio.to_thread(_ended, sock)
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port), BOUND)
            assert plugin.egress.statistics.open == 0
    async with asyncio.timeout(BOUND):
        while len(os.listdir("/proc/self/fd")) > before:
            await asyncio.sleep(0.005)


async def test_names_are_answered_whatever_is_sent_between() -> None:
    async with inside(["a.test:443"]) as plugin:
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.bind(("127.0.0.1", 0))
        where = server.getsockname()
        await plugin.egress.start({DNS: server})
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(BOUND)
            for junk in (b"", b"\0" * 12, os.urandom(400), question("a.test")[:-2]):
                sock.sendto(junk, where)
            sock.sendto(question("a.test"), where)
            assert (await asyncio.to_thread(sock.recv, 512))[-4:-2] == bytes([11, 127])


async def test_a_connection_for_names_answers_a_few_and_not_any_number() -> None:
    async with inside(["a.test:443"]) as plugin:
        with socket.create_server(("127.0.0.1", 0)) as server:
            with socket.create_connection(server.getsockname(), BOUND) as asking:
                way = plugin.egress.way("192.0.2.53", 53)
                assert way is not None
                await plugin.egress.adopt(server.accept()[0], way)
                asked = question("a.test")
                asking.sendall((len(asked).to_bytes(2, "big") + asked) * 1000)
                asking.shutdown(socket.SHUT_WR)
                said = await asyncio.to_thread(lambda: b"".join(iter(lambda: asking.recv(1 << 16), b"")))
        assert said.count(bytes([0, 4, 11, 127])) == plugin.egress.statistics.names == QUESTIONS


def _ended(sock: socket.socket) -> bool:
    try:
        return sock.recv(1) == b""
    except ConnectionError:
        return True
