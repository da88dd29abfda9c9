"""Dialling: looked up once, judged, exactly what was judged; other addresses when one fails; bounded."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator

import pytest

from broker.confine.egress import dial, lookup
from broker.confine.egress.allow import Allow
from broker.confine.egress.denied import Denials, Denied, Refused
from broker.confine.egress.dial import Dialler, first_of
from broker.confine.egress.lookup import Lookups, ask_system
from tests.confine.egress.world import BOUND


@pytest.fixture
def port() -> Iterator[int]:
    """A port at which every address of the loopback listens."""
    with socket.create_server(("0.0.0.0", 0)) as server:
        yield server.getsockname()[1]


def dialler(*allowed: str, answers: list[list[str]]) -> tuple[Dialler, list[Denied]]:
    """One whose lookups give one answer after the other."""
    told: list[Denied] = []
    return Dialler(Allow(allowed), Denials("todos", told.append), Lookups(lambda name: answers.pop(0))), told


async def reached(connecting: Dialler, host: str, port: int) -> str:
    with await asyncio.wait_for(connecting.dial(host, port, "http"), BOUND) as sock:
        return sock.getpeername()[0]


async def test_a_name_is_looked_up_once_and_what_was_judged_is_dialled(port: int) -> None:
    answers = [["127.0.0.2"], ["10.0.0.1"]]
    connecting, _ = dialler(f"a.test:{port}!private", answers=answers)
    assert await reached(connecting, "a.test", port) == "127.0.0.2"
    assert answers == [["10.0.0.1"]]


async def test_an_answer_that_becomes_private_is_refused_the_next_time(port: int) -> None:
    connecting, told = dialler(f"a.test:{port}", answers=[["127.0.0.1"], ["169.254.169.254", "::ffff:7f00:1"]])
    for _ in range(2):
        with pytest.raises(Refused):
            await reached(connecting, "a.test", port)
    assert [denied.why[:15] for denied in told] == ["leads to 127.0.", "leads to 169.25"]


async def test_an_address_that_refuses_gives_way_to_the_next(port: int) -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.3", 0))
        connecting, _ = dialler(f"a.test:{port}!private", answers=[["::1", "127.0.0.4"]])
        assert await reached(connecting, "a.test", port) == "127.0.0.4"


async def test_an_address_that_is_silent_gives_way_to_the_next(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    real, begun = dial._connected, list[str]()

    async def silent_first(address: str, port: int) -> socket.socket:
        begun.append(address)
        if address == "192.0.2.1":
            await asyncio.get_running_loop().create_future()
        return await real(address, port)

    monkeypatch.setattr(dial, "_connected", silent_first)
    with await asyncio.wait_for(first_of(["192.0.2.1", "127.0.0.1"], port), BOUND) as sock:
        assert sock.getpeername()[0] == "127.0.0.1" and begun == ["192.0.2.1", "127.0.0.1"]


async def test_only_a_few_addresses_of_a_host_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    async def refusing(address: str, port: int) -> socket.socket:
        tried.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(dial, "_connected", refusing)
    connecting, _ = dialler("a.test:80!private", answers=[[f"10.0.0.{number}" for number in range(1, 50)]])
    with pytest.raises(ConnectionRefusedError):
        await connecting.dial("a.test", 80, "http")
    assert tried == ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"]


async def test_a_host_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent(address: str, port: int) -> socket.socket:
        return await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(dial, "_connected", silent)
    monkeypatch.setattr(dial, "PATIENCE", 0.05)
    with pytest.raises(OSError, match=r"10\.0\.0\.1 at port 80 does not answer"):
        await first_of(["10.0.0.1"], 80)


async def test_localhost_is_not_looked_up(port: int) -> None:
    connecting, _ = dialler(f"localhost:{port}", answers=[["10.0.0.1"]])
    assert await reached(connecting, "LOCALHOST.", port) == "127.0.0.1"


async def test_lookups_that_hang_hold_up_only_their_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "PATIENCE", 0.1)
    release, running = threading.Event(), threading.Semaphore(0)

    def hang(name: str) -> list[str]:
        running.release()
        release.wait(BOUND)
        return ["10.0.0.1"]

    stuck, free = Lookups(hang), Lookups(lambda name: ["10.0.0.2"])
    asked = [asyncio.create_task(stuck.addresses(f"{number}.test")) for number in range(lookup.MOST * 3)]
    assert await asyncio.wait_for(free.addresses("a.test"), BOUND) == ["10.0.0.2"]
    found = await asyncio.gather(*asked, return_exceptions=True)
    assert all(isinstance(each, OSError) for each in found)
    assert [running.acquire(blocking=False) for _ in range(lookup.MOST + 1)] == [True] * lookup.MOST + [False]
    release.set()
    async with asyncio.timeout(BOUND):
        while stuck._free._value < lookup.MOST:
            await asyncio.sleep(0.01)
    assert await stuck.addresses("a.test") == ["10.0.0.1"]


async def test_the_system_is_asked_for_real() -> None:
    assert set(await Lookups().addresses("localhost")) <= {"127.0.0.1", "::1"}
    with pytest.raises(OSError, match="cannot be looked up"):
        await Lookups().addresses("a" * 64 + ".invalid")
    assert ask_system("127.0.0.1") == ["127.0.0.1"]
