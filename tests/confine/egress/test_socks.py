"""SOCKS 5, as far as it is spoken."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.confine.egress.world import inside, serving

HELLO = b"\x05\x01\x00"
GET = b"GET / HTTP/1.0\r\n\r\n"
DONE = b"\x05\0\x05\0\0\x01" + bytes(6)


def by_name(name: bytes, port: int, command: int = 1) -> bytes:
    return HELLO + bytes([5, command, 0, 3, len(name)]) + name + port.to_bytes(2, "big")


def refusal(code: int) -> bytes:
    return b"\x05\0\x05" + bytes([code]) + b"\0\x01" + bytes(6)


async def test_a_listed_host_is_reached_by_name() -> None:
    with serving() as host:
        async with inside([f"a.test:{host.port}!private"], a_test="127.0.0.1") as plugin:
            said = await plugin.asks(by_name(b"A.test", host.port), GET)
    assert said.startswith(DONE + b"HTTP/1.1 200 ") and said.endswith(b"here")


async def test_a_listed_address_is_reached_by_number() -> None:
    with serving() as host:
        async with inside([f"127.0.0.1:{host.port}"]) as plugin:
            said = await plugin.asks(HELLO, b"\x05\x01\0\x01\x7f\0\0\x01", host.port.to_bytes(2, "big"), GET)
    assert said.startswith(DONE) and said.endswith(b"here")


@pytest.mark.parametrize(
    "name", [b"b.test", b"127.0.0.1", b"2130706433", b"a.test\0.b.test", b"\xff\xfe", b"a.test\r\n"]
)
async def test_other_hosts_are_refused_and_told(name: bytes) -> None:
    async with inside(["a.test:443"]) as plugin:
        assert await plugin.asks(by_name(name, 443)) == refusal(2)
    assert len(plugin.told) == 1 and plugin.looked_up == []


async def test_a_private_address_by_number_is_refused() -> None:
    async with inside(["*:80"]) as plugin:
        assert await plugin.asks(HELLO, b"\x05\x01\0\x04", bytes(15), b"\x01\0\x50") == refusal(2)


async def test_a_host_that_cannot_be_reached_is_no_refusal() -> None:
    async with inside(["a.test:443"]) as plugin:
        assert await plugin.asks(by_name(b"a.test", 443)) == refusal(4)
    assert plugin.told == []


@pytest.mark.parametrize("command", [0, 2, 3, 255])
async def test_only_connections_are_made(command: int) -> None:
    async with inside(["a.test:443"]) as plugin:
        assert await plugin.asks(by_name(b"a.test", 443, command)) == refusal(7)


async def test_another_kind_of_address_is_refused() -> None:
    async with inside(["a.test:443"]) as plugin:
        assert (await plugin.asks(HELLO, b"\x05\x01\0\x07\0\0"))[:4] == refusal(8)[:4]


async def test_one_who_wants_to_authenticate_is_told_no() -> None:
    async with inside(["a.test:443"]) as plugin:
        assert await plugin.asks(b"\x05\x01\x02") == b"\x05\xff"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(said=st.binary(max_size=60))
async def test_no_bytes_upset_it(said: bytes) -> None:
    async with inside(["a.test:443"]) as plugin:
        assert (await plugin.asks(b"\x05", said))[:1] in (b"", b"\x05")
        assert plugin.egress.statistics.connected == 0
