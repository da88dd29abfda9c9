"""The HTTP proxy: what is odd is refused, what goes on is written anew."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.confine.egress.ends import HEAD
from broker.confine.egress.http_proxy import Odd, Request, parse
from tests.confine.egress.world import inside, serving


def head(*lines: str) -> bytes:
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


def onward(*lines: str) -> list[str]:
    return parse(head(*lines)).onward.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")


@pytest.mark.parametrize(
    ("target", "host", "port"),
    [("a.test:443", "a.test", 443), ("[::1]:80", "[::1]", 80), ("2130706433:80", "2130706433", 80)],
)
def test_a_tunnel_names_host_and_port(target: str, host: str, port: int) -> None:
    assert parse(head(f"CONNECT {target} HTTP/1.1", "Host: elsewhere.test")) == Request(host, port)


def test_a_request_is_written_anew_for_the_host_that_was_judged() -> None:
    assert onward("GET http://a.test/x?y HTTP/1.1", "Host: b.test", "Accept: */*", "Proxy-Connection: x") == [
        "GET /x?y HTTP/1.1",
        "Host: a.test",
        "Connection: close",
        "Accept: */*",
    ]


def test_what_concerns_only_this_hop_stays_here() -> None:
    lines = ["Connection: X-Mine, close", "X-Mine: 1", "Upgrade: h2c", "TE: trailers", "Proxy-Authorization: secret"]
    assert onward("GET http://a.test:81 HTTP/1.0", *lines) == ["GET / HTTP/1.1", "Host: a.test:81", "Connection: close"]


def test_the_length_of_a_body_cannot_be_taken_away() -> None:
    assert "Content-Length: 5" in onward(
        "POST http://a.test/ HTTP/1.1", "Connection: content-length", "Content-Length: 5"
    )


@pytest.mark.parametrize(
    "lines",
    [
        ["GET / HTTP/1.1"],
        ["GET https://a.test/ HTTP/1.1"],
        ["GET http://user@a.test/ HTTP/1.1"],
        ["GET http://a.test#@b.test/ HTTP/1.1"],
        ["GET http://a.test\\@b.test/ HTTP/1.1"],
        ["GET http://a.test:80:81/ HTTP/1.1"],
        ["GET http://a.test:0/ HTTP/1.1"],
        ["GET http://a.test:99999/ HTTP/1.1"],
        ["GET http:///x HTTP/1.1"],
        ["GET http://a.test/ HTTP/2.0"],
        ["GET  http://a.test/ HTTP/1.1"],
        ["GET http://a.test/ x HTTP/1.1"],
        ["get http://a.test/ HTTP/1.1"],
        ["CONNECT a.test HTTP/1.1"],
        ["CONNECT a.test:443:80 HTTP/1.1"],
        ["CONNECT user@a.test:443 HTTP/1.1"],
        ["CONNECT a.test:65536 HTTP/1.1"],
        ["CONNECT http://a.test:443 HTTP/1.1"],
        ["CONNECT a.test:٤٤٣ HTTP/1.1".encode().decode("latin-1")],
        ["CONNECT a.test:443 HTTP/1.1", " folded: x"],
        ["GET http://a.test/ HTTP/1.1", "no field"],
        ["GET http://a.test/ HTTP/1.1", "space : x"],
        ["GET http://a.test/ HTTP/1.1", ": x"],
        ["GET http://a.test/ HTTP/1.1", "a: x\nHost: b.test"],
        ["GET http://a.test/ HTTP/1.1", "a: x\rHost: b.test"],
        ["GET http://a.test/ HTTP/1.1", "a: x\0"],
        ["POST http://a.test/ HTTP/1.1", "Content-Length: 5", "Content-Length: 6"],
        ["POST http://a.test/ HTTP/1.1", "Content-Length: 5", "Transfer-Encoding: chunked"],
        ["POST http://a.test/ HTTP/1.1", "Content-Length: 5, 6"],
        ["POST http://a.test/ HTTP/1.1", "Content-Length: -5"],
        ["POST http://a.test/ HTTP/1.1", "Content-Length: \xb2"],
        ["POST http://a.test/ HTTP/1.1", "Transfer-Encoding: identity, chunked"],
        ["POST http://a.test/ HTTP/1.1", "transfer-encoding: xchunked"],
        ["POST http://a.test/ HTTP/1.1", "Transfer-Encoding: chunked", "transfer-Encoding: chunked"],
    ],
)
def test_what_is_odd_is_refused(lines: list[str]) -> None:
    with pytest.raises(Odd):
        parse(head(*lines))


@given(st.binary(max_size=300))
def test_no_head_upsets_it(said: bytes) -> None:
    for start in (b"", b"CONNECT ", b"GET http://", b"GET http://a.test/ HTTP/1.1\r\n"):
        try:
            request = parse(start + said + b"\r\n\r\n")
        except Odd:
            continue
        assert 0 < request.port < 65536 and request.onward.count(b"\r\nHost: ") == bool(request.onward)


async def test_an_allowed_request_reaches_its_host() -> None:
    with serving() as host:
        async with inside([f"a.test:{host.port}!private"], a_test="127.0.0.1") as plugin:
            said = await plugin.asks(head(f"GET http://A.test:{host.port}/x HTTP/1.1", "Host: other.test"))
    assert said.startswith(b"HTTP/1.1 200 ") and said.endswith(b"here")
    assert host.asked == [f"A.test:{host.port} /x"]


async def test_a_tunnel_carries_what_was_sent_with_its_head() -> None:
    with serving() as host:
        async with inside([f"a.test:{host.port}!private"], a_test="127.0.0.1") as plugin:
            inner = head("GET /y HTTP/1.1", "Host: a.test", "Connection: close")
            said = await plugin.asks(head(f"CONNECT a.test:{host.port} HTTP/1.1"), inner)
    assert said.startswith(b"HTTP/1.1 200 Connection established\r\n\r\nHTTP/1.1 200 ") and said.endswith(b"here")


@pytest.mark.parametrize(
    "name",
    [
        "127.0.0.1",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "127.1",
        "[::ffff:127.0.0.1]",
        "[::1]",
        "169.254.169.254",
        "a.test.evil.com",
        "xa.test",
        "localhost",
        "%61.test",
        "a.test%00.evil.com",
        "-",
        "c.test",
    ],
)
@pytest.mark.parametrize(
    "request_line", ["CONNECT {}:{} HTTP/1.1", "GET http://{}:{}/ HTTP/1.1"], ids=["tunnel", "plain"]
)
async def test_other_hosts_are_refused_and_told(name: str, request_line: str) -> None:
    with serving() as host:
        allowed = [f"a.test:{host.port}!private", f"c.test:{host.port}"]
        async with inside(allowed, a_test="127.0.0.1", c_test=["127.0.0.1", "::1"]) as plugin:
            said = await plugin.asks(head(request_line.format(name, host.port)))
    assert said.startswith(b"HTTP/1.1 403 ") and b"todos" in said
    assert len(plugin.told) == 1 and host.connections == 0
    assert plugin.looked_up == (["c.test"] if name == "c.test" else [])


async def test_the_refusal_says_the_line_to_type() -> None:
    async with inside(["a.test:443"]) as plugin:
        said = await plugin.asks(head("CONNECT b.test:443 HTTP/1.1"))
    assert b"broker grant todos net:b.test:443" in said


async def test_a_name_that_leads_to_private_addresses_says_what_that_needs() -> None:
    async with inside(["c.test:443"], c_test="10.1.2.3") as plugin:
        said = await plugin.asks(head("CONNECT c.test:443 HTTP/1.1"))
    assert b"leads to 10.1.2.3" in said and b"broker grant todos net:c.test:443!private" in said


async def test_a_head_without_end_is_refused_and_not_kept() -> None:
    async with inside(["a.test:443"]) as plugin:
        said = await plugin.asks(b"GET http://a.test/ HTTP/1.1\r\n", b"x: y\r\n" * HEAD)
    assert said.startswith(b"HTTP/1.1 431 ")


async def test_a_host_that_cannot_be_reached_is_no_refusal() -> None:
    async with inside(["a.test:443"]) as plugin:
        said = await plugin.asks(head("CONNECT a.test:443 HTTP/1.1"))
    assert said.startswith(b"HTTP/1.1 502 ") and b"no such name" in said and plugin.told == []
    assert plugin.egress.statistics.failed == 1


@pytest.mark.parametrize(
    "bytes_sent", [b"", b"\0", b"\x04\x01", b"\x16\x03\x01\x02\0", b"GET", b"\r\n\r\n", b"\xff" * 99]
)
async def test_hostile_bytes_end_only_their_connection(bytes_sent: bytes) -> None:
    with serving() as host:
        async with inside([f"a.test:{host.port}!private"], a_test="127.0.0.1") as plugin:
            said = await plugin.asks(bytes_sent)
            assert said == b"" or said.startswith(b"HTTP/1.1 400 ")
            assert (await plugin.asks(head(f"GET http://a.test:{host.port}/ HTTP/1.1"))).endswith(b"here")
