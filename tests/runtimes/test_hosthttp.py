"""Requests that a plugin makes through the broker, to a server of the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from broker.core.hostparams import PIECE, Fetch
from broker.errors import BadArguments, FrameTooLarge, HostFailed, PermissionMissing, TimedOut
from broker.model import Spec
from broker.runtimes import hosthttp

Says = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


def saying(answer: bytes) -> Says:
    async def say(asked: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)

    return say


class Site:
    """A server, and what it was asked."""

    def __init__(self, port: int, asked: list[bytes]) -> None:
        self.port, self.asked = port, asked
        self.spec = Spec(name="lua", source="test", granted=(f"net:localhost:{port}",))

    async def fetch(self, path: str = "/", **params: Any) -> dict[str, Any]:
        url = f"http://localhost:{self.port}{path}"
        return await asyncio.wait_for(hosthttp.fetch(self.spec, Fetch(url=url, **params)), 10)


@asynccontextmanager
async def site(says: Says) -> AsyncGenerator[Site]:
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, OSError):  # who asks may leave
            asked.append(await reader.readuntil(b"\r\n\r\n"))
            await says(asked[-1], writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield Site(server.sockets[0].getsockname()[1], asked)


async def test_an_answer_comes_with_its_status_and_headers() -> None:
    async with site(saying(b"HTTP/1.1 404 No\r\nX-A: 1\r\nContent-Length: 3\r\n\r\n\xc3\xa9!")) as here:
        found = await here.fetch("/a?b=c", headers={"X-Own": "2"})
    assert found == {"status": 404, "headers": {"x-a": "1", "content-length": "3"}, "body": "é!"}
    assert here.asked[0].startswith(b"GET /a?b=c HTTP/1.1\r\n") and b"X-Own: 2\r\n" in here.asked[0]


async def test_a_redirect_is_told_and_not_followed() -> None:
    async with site(saying(b"HTTP/1.1 302 Go\r\nLocation: http://10.0.0.1/\r\nContent-Length: 0\r\n\r\n")) as here:
        found = await here.fetch()
    assert found["status"] == 302 and found["headers"]["location"] == "http://10.0.0.1/" and len(here.asked) == 1


async def test_chunks_are_joined_and_other_bytes_come_as_base64() -> None:
    async with site(saying(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n\xff\r\n0\r\n\r\n")) as here:
        assert (await here.fetch(encoding="base64"))["base64"] == "/w=="


async def test_an_answer_that_is_too_long_is_refused() -> None:
    async with site(saying(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (PIECE + 1))) as here:
        with pytest.raises(FrameTooLarge):
            await here.fetch()


async def test_a_server_that_drips_is_left_when_the_time_is_over() -> None:
    gone = asyncio.Event()

    async def drip(asked: bytes, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                writer.write(b"H")
                await writer.drain()
                await asyncio.sleep(0.01)
        except OSError:
            gone.set()

    async with site(drip) as here:
        with pytest.raises(TimedOut):
            await here.fetch(timeout=0.2)
        await asyncio.wait_for(gone.wait(), 5)


@pytest.mark.parametrize(
    "answer", [b"", b"garbage\r\n\r\n", b"HTTP/1.1 x\r\n\r\n", b"HTTP/1.1 200 OK\r\nA" + b"x" * 99_999]
)
async def test_what_is_no_answer_is_a_failure_of_the_host(answer: bytes) -> None:
    async with site(saying(answer)) as here:
        with pytest.raises(HostFailed):
            await here.fetch()


async def test_a_host_that_was_not_granted_is_not_dialled() -> None:
    async with site(saying(b"HTTP/1.1 200 OK\r\n\r\n")) as here:
        here.spec = Spec(name="lua", source="test", granted=("net:x.dev:443",))
        with pytest.raises(PermissionMissing):
            await here.fetch()
    assert here.asked == []


async def test_a_name_that_leads_to_this_machine_is_not_dialled() -> None:
    async with site(saying(b"HTTP/1.1 200 OK\r\n\r\n")) as here:
        spec = Spec(name="lua", source="test", granted=(f"net:evil.example:{here.port}",))
        params = Fetch(url=f"http://evil.example:{here.port}/")
        with pytest.raises(PermissionMissing, match="not on the public internet"):
            await hosthttp.fetch(spec, params, lambda name: ["127.0.0.1"])
    assert here.asked == []


@pytest.mark.parametrize(
    "headers", [{"Host": "x"}, {"content-length": "9"}, {"Transfer-Encoding": "x"}, {"X": "a\r\nY: b"}]
)
async def test_headers_that_would_make_it_another_request_are_refused(headers: dict[str, str]) -> None:
    async with site(saying(b"HTTP/1.1 200 OK\r\n\r\n")) as here:
        with pytest.raises(BadArguments):
            await here.fetch(headers=headers)


async def test_a_server_that_speaks_no_tls_is_not_spoken_to() -> None:
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        heard.append(await reader.read(1000))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        spec = Spec(name="lua", source="test", granted=(f"net:localhost:{port}",))
        with pytest.raises(HostFailed):
            params = Fetch(url=f"https://localhost:{port}/secret", timeout=5)
            await asyncio.wait_for(hosthttp.fetch(spec, params), 10)
    assert b"secret" not in b"".join(heard)
