"""Keepers: nothing that a plugin starts outlives it, whoever is killed."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import psutil
import pytest

from broker.confine import keeper
from broker.confine.plan import Confinement
from broker.confine.tree import Child, spawn
from tests.confine.jailed import PYTHON, confined, native, needs
from tests.marked import MARK, all_gone, killed, marked

Start = Callable[[str], Awaitable[Child]]

FAMILY = r"""
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
heard, said = os.pipe()

def lives(*begin):
    for each in begin:
        each()
    os.write(said, b"x")
    time.sleep(1000)

def daemon():
    os.setsid()
    if os.fork():
        os._exit(0)

for begin in ([], [os.setsid], [daemon], [daemon, daemon]):
    if os.fork() == 0:
        lives(*begin)
for _ in range(4):
    os.read(heard, 1)
"""
STORM = r"""
import os, sys, time
end = time.monotonic() + 20  # it ends by itself if nobody ends it

def storm():
    while time.monotonic() < end:
        leave()
        if os.fork():
            os._exit(0)

for leave in (lambda: None, os.setsid):
    for _ in range(2):
        if os.fork() == 0:
            storm()
            os._exit(0)
"""


@pytest.fixture
def mark() -> str:
    return f"keeper-{os.getpid()}-{os.urandom(4).hex()}"


@pytest.fixture(params=["plain", pytest.param("confined", marks=native)])
async def start(mark: str, request: pytest.FixtureRequest) -> AsyncIterator[Start]:
    """Starts Python programs that say `ready`; whatever has the mark is killed after the test."""
    children: list[Child] = []
    found = needs(PYTHON, run=None)
    wall = Confinement(name="acme", roots=found.roots, links=found.links, run=None)

    async def begin(program: str) -> Child:
        program = f"import sys\n{program}\nprint('ready', flush=True)\nsys.stdin.read(1)"
        child = await spawn(
            [PYTHON, "-S", "-c", program],
            env={"PATH": os.environ["PATH"], MARK: mark},
            cwd=None,
            wall=wall if request.param == "confined" else None,
        )
        children.append(child)
        assert await asyncio.to_thread(os.read, child.stdout, 100) == b"ready\n"
        return child

    yield begin
    await killed(mark)
    for child in children:
        await child.end(grace=0)
        for fd in (child.stdin, child.stdout, child.stderr):
            os.close(fd)


def keeper_of(child: Child) -> psutil.Process:
    above = psutil.Process(child.pid).parents()
    return above[1 if child.enforced else 0]  # a confined one has a reaper between the two


def server_of(child: Child) -> psutil.Process:
    found = keeper_of(child).parent()
    assert found is not None and "keeper.py" in " ".join(found.cmdline())
    return found


async def test_an_end_leaves_nobody_of_a_large_family(start: Start, mark: str) -> None:
    child = await start(FAMILY)
    assert len(marked(mark)) == 5
    await child.end(grace=0.2)
    assert marked(mark) == []


async def test_an_exit_leaves_nobody_of_a_large_family(start: Start, mark: str) -> None:
    child = await start(FAMILY)
    os.write(child.stdin, b"x")
    assert await asyncio.wait_for(asyncio.shield(child.exited), 5) == 0
    await all_gone(mark, 5)


@pytest.mark.parametrize("ends", ["end", "exit", "keeper"])
async def test_those_who_fork_while_they_are_killed_are_killed_too(start: Start, mark: str, ends: str) -> None:
    """Chains of processes that fork and leave, also out of their group, faster than anybody could list them."""
    child = await start(STORM)
    if ends == "end":
        await asyncio.wait_for(child.end(grace=0), 10)
    elif ends == "exit":
        os.write(child.stdin, b"x")
    else:
        keeper_of(child).kill()
    await all_gone(mark, 5)


async def test_a_keeper_that_is_killed_takes_its_plugin_along(start: Start, mark: str) -> None:
    child, other = await start(FAMILY), await start("")
    keeper_of(child).kill()
    assert await asyncio.wait_for(asyncio.shield(child.exited), 5) == -signal.SIGKILL
    await asyncio.wait_for(child.end(), 5)
    assert marked(mark) == [other.pid]
    assert other.code is None


async def test_plugins_live_on_without_the_fork_server_and_the_next_one_gets_a_new_one(start: Start, mark: str) -> None:
    child = await start(FAMILY)
    old = server_of(child)
    old.kill()
    other = await start("")
    assert server_of(other) != old and child.code is None
    await child.end(grace=0)
    assert marked(mark) == [other.pid]


async def test_without_fork_server_and_keeper_the_plugin_itself_does_not_live_on(start: Start, mark: str) -> None:
    child = await start("")
    server_of(child).kill()
    keeper_of(child).kill()
    assert await asyncio.wait_for(asyncio.shield(child.exited), 5) == -signal.SIGKILL
    await all_gone(mark, 5)


@native
@pytest.mark.parametrize("may_run", [(), None], ids=["alone", "with a reaper"])
@pytest.mark.parametrize("killed_ones", ["keeper", "keeper and fork server"])
async def test_nothing_confined_outlives_those_who_started_it(
    mark: str, may_run: tuple[str, ...] | None, killed_ones: str
) -> None:
    program = "import time; print(flush=True); time.sleep(1000)"
    async with confined([PYTHON, "-I", "-S", "-c", program], env={MARK: mark}, run=may_run) as child:
        assert await asyncio.to_thread(os.read, child.stdout, 1) == b"\n"
        keeper = psutil.Process(child.pid).parents()[0 if may_run == () else 1]  # a reaper may be between the two
        if killed_ones != "keeper":
            server = keeper.parent()
            assert server is not None
            server.kill()
        keeper.kill()
        assert await asyncio.wait_for(asyncio.shield(child.exited), 5) == -signal.SIGKILL
        await all_gone(mark, 5)


ROOT = str(Path(__file__).resolve().parent.parent.parent)
BROKER = """
import asyncio, json, sys
from broker.confine.plan import Confinement
from broker.confine.tree import spawn
from tests.confine.jailed import PYTHON, needs

async def main():
    found = needs(PYTHON, run=None)
    wall = Confinement(name="acme", roots=found.roots, links=found.links, run=None)
    child = await spawn([PYTHON, "-S", "-c", sys.argv[2]], env={sys.argv[1]: sys.argv[3]}, cwd=None, wall=wall)
    await asyncio.to_thread(print, "started", flush=True)
    await asyncio.sleep(1000)

asyncio.run(main())
"""


@native
async def test_nothing_confined_outlives_a_broker_that_is_killed(mark: str) -> None:
    program = FAMILY + "\nprint('ready', flush=True)\ntime.sleep(1000)"
    argv = [sys.executable, "-c", BROKER, MARK, program, mark]
    broker = await asyncio.create_subprocess_exec(
        *argv, stdout=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONPATH": ROOT}
    )
    assert broker.stdout is not None
    async with asyncio.timeout(20):
        assert await broker.stdout.readline() == b"started\n"
        while len(marked(mark)) < 5:
            await asyncio.sleep(0.02)
    broker.kill()
    await broker.wait()
    await all_gone(mark, 5)


async def test_signals_that_end_a_session_do_not_end_a_keeper(start: Start, mark: str) -> None:
    child = await start("")
    for process in (keeper_of(child), server_of(child)):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            process.send_signal(number)
    await child.end(grace=0.2)
    assert child.code == -signal.SIGTERM


async def test_a_stopped_family_is_killed(start: Start, mark: str) -> None:
    child = await start(FAMILY)
    for pid in marked(mark):
        os.kill(pid, signal.SIGSTOP)
    await asyncio.wait_for(child.end(grace=0.2), 10)
    assert marked(mark) == []


def test_a_plan_is_read_as_it_was_written() -> None:
    from broker.confine.tree import _plan

    ours, theirs = socket.socketpair()
    with ours, theirs:
        plan = _plan(["a", "", "ü"], {"N": "x=y", "E": ""}, "/tmp", None)
        socket.send_fds(ours, [plan[:7]], [0, 1, 2])
        ours.sendall(plan[7:])
        read = keeper.receive(theirs)
    assert read is not None
    *said, fds, wall = read
    assert said == [b"/tmp", [b"a", b"", "ü".encode()], {b"N": b"x=y", b"E": b""}] and wall == b""
    for fd in fds:
        os.close(fd)


def test_half_a_plan_is_none() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        socket.send_fds(ours, [b"\0\0\0\7a"], [0, 1, 2])
        ours.close()
        assert keeper.receive(theirs) is None


PS = """    1     0     1
  501     1   501
 1000   501  1000
 1002  1001  1000
 1001  1000  1000
   77  1002    77
 1003     1  1000
?? not a row
99999  1000
"""


def test_what_ps_says_is_read_line_by_line() -> None:
    rows = keeper.of_ps(PS)
    assert rows[:2] == [(1, 0, 1), (501, 1, 501)] and len(rows) == 7


def test_a_family_is_found_in_whatever_order_its_rows_come() -> None:
    assert sorted(keeper.below(1000, keeper.of_ps(PS))) == [(77, 77), (1001, 1000), (1002, 1000)]
    assert list(keeper.below(77, keeper.of_ps(PS))) == []


def test_a_parent_that_is_its_own_child_is_no_endless_family() -> None:
    assert sorted(keeper.below(1, [(3, 2, 1), (2, 3, 1), (2, 1, 1)])) == [(2, 1), (3, 1)]


@pytest.mark.skipif(not keeper.LINUX, reason="there is no /proc")
def test_what_proc_says_is_what_runs() -> None:
    rows = {pid: (parent, group) for pid, parent, group in keeper.of_proc()}
    assert rows[os.getpid()] == (os.getppid(), os.getpgrp())
