"""Whoever is killed, and whenever: no process of a plugin is left.

`BROKER_TEST_KILLS` is how often the broker is killed; 20 if it is not set.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from tests.e2e.harness import Home, Line, spoken
from tests.hostile.evil import evil, until
from tests.marked import MARK, all_gone, killed, marked

KILLS = int(os.environ.get("BROKER_TEST_KILLS", "20"))
AT_ONCE = 4
LEFT = 2.0  # seconds after a kill within which the last process must be gone

# A call that never ends, in a server that does not mind the end of its stdin meanwhile.
BUSY = r"""
def on_call(m):
    begin()
    mark("busy")
    time.sleep(1000)

def begin():
    pass

def born(*steps):
    heard, said = os.pipe()
    if os.fork() == 0:
        for step in steps:
            step()
        os.write(said, b"x")
        time.sleep(1000)
        os._exit(0)
    os.read(heard, 1)

def daemon():
    os.setsid()
    if os.fork():
        os._exit(0)
"""
DEAF = BUSY + "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
SHAPES = {
    "busy": BUSY,
    "deaf": DEAF,
    "grandchildren": BUSY + "begin = lambda: [born() for _ in range(3)]\n",
    "deaf grandchildren": DEAF + "begin = lambda: [born(), born(born), born(os.setsid)]\n",
    "daemons": DEAF + "begin = lambda: [born(daemon), born(daemon, daemon)]\n",
}
STORM = (
    DEAF
    + r"""
def storm():
    end = time.monotonic() + 20  # it ends by itself if nobody ends it
    while time.monotonic() < end:
        os.setsid()
        if os.fork():
            os._exit(0)
    os._exit(0)

def begin():
    for _ in range(2):
        if os.fork() == 0:
            storm()
"""
)


@asynccontextmanager
async def broker_with(folder: Path, source: str) -> AsyncGenerator[tuple[Line, str]]:
    """A broker with one server of this source, and the mark of all its processes."""
    mark = f"orphans-{os.getpid()}-{os.urandom(4).hex()}"
    home = Home.of(folder, {"one": evil(folder, source, env={MARK: mark})})
    env = {**home.env, MARK: mark}
    try:
        async with spoken(home.command, home.args, env, folder, "legacy", {}) as line:
            await line.initialize()
            yield line, mark
    finally:
        await killed(mark)


async def busy(line: Line, folder: Path) -> int:
    """The server is in the middle of a call, with all the family it wants; the call's id."""
    await line.names()
    id = line.send("tools/call", {"name": "one__echo", "arguments": {}})
    await until((folder / "busy").exists)
    return id


async def kill(line: Line) -> None:
    line.process.kill()
    assert await line.gone() == -signal.SIGKILL


def keepers(line: Line) -> tuple[psutil.Process, list[psutil.Process]]:
    """The fork server, and those it forked."""
    [server] = [each for each in psutil.Process(line.process.pid).children() if "keeper.py" in " ".join(each.cmdline())]
    return server, server.children()


@pytest.mark.timeout(60 + KILLS)
async def test_nobody_is_left_of_a_broker_that_is_killed_in_a_call(tmp_path: Path) -> None:
    turns = asyncio.Semaphore(AT_ONCE)
    sources = list(SHAPES.values())

    async def once(number: int) -> float:
        folder = tmp_path / str(number)
        async with turns, broker_with(folder, sources[number % len(sources)]) as (line, mark):
            await busy(line, folder)
            assert len(marked(mark)) >= 2
            server, held = keepers(line)
            await kill(line)
            took = await all_gone(mark, LEFT)
            _, left = await asyncio.to_thread(psutil.wait_procs, [server, *held], LEFT)
            assert left == []
            return took

    async with asyncio.TaskGroup() as group:
        runs = [group.create_task(once(number)) for number in range(KILLS)]
    assert max(run.result() for run in runs) <= LEFT


@pytest.mark.parametrize("moment", range(8))
async def test_nobody_is_left_of_a_broker_that_is_killed_in_a_start(tmp_path: Path, moment: int) -> None:
    source = 'mark("born")\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(1000)\n'
    async with broker_with(tmp_path, source) as (line, mark):
        line.send("tools/list")
        await asyncio.sleep(0.015 * moment)  # somewhere between the request and the server's first line
        await kill(line)
        await all_gone(mark, LEFT)


async def test_nobody_is_left_who_forks_all_the_time(tmp_path: Path) -> None:
    async with broker_with(tmp_path, STORM) as (line, mark):
        await busy(line, tmp_path)
        await kill(line)
        await all_gone(mark, 5)


async def test_a_keeper_that_is_killed_costs_its_call_and_the_next_call_works(tmp_path: Path) -> None:
    async with broker_with(tmp_path, SHAPES["daemons"]) as (line, mark):
        id = await busy(line, tmp_path)
        old = set(marked(mark))
        _, [keeper] = keepers(line)
        keeper.kill()
        assert (await line.reply(id))["result"]["isError"]
        await until(lambda: len(old & set(marked(mark))) <= 1)  # the broker
        (tmp_path / "busy").unlink()
        await busy(line, tmp_path)
        await kill(line)
        await all_gone(mark, LEFT)


async def test_a_fork_server_that_is_killed_costs_no_call(tmp_path: Path) -> None:
    source = 'def on_call(m):\n    send(id=m["id"], result=text(str(os.getpid())))\n'
    async with broker_with(tmp_path, source) as (line, _):
        await line.names()
        pid = await line.text("one__echo")
        server, [keeper] = keepers(line)
        server.kill()
        assert await line.text("one__echo") == pid
        keeper.kill()
        await until(lambda: not psutil.pid_exists(int(pid)))
        id = line.send("tools/call", {"name": "one__echo", "arguments": {}})
        assert (await line.reply(id))["result"]["content"][0]["text"] != pid
        assert keepers(line)[0] != server


@pytest.mark.parametrize("also", ["fork server", "keeper"])
async def test_nobody_is_left_when_one_of_the_watchers_is_killed_with_the_broker(tmp_path: Path, also: str) -> None:
    async with broker_with(tmp_path, SHAPES["daemons"]) as (line, mark):
        await busy(line, tmp_path)
        server, [keeper] = keepers(line)
        (server if also == "fork server" else keeper).kill()
        await kill(line)
        await all_gone(mark, LEFT)


async def test_a_keeper_that_hangs_does_not_keep_its_plugin(tmp_path: Path) -> None:
    async with broker_with(tmp_path, SHAPES["daemons"]) as (line, mark):
        await busy(line, tmp_path)
        keepers(line)[1][0].suspend()
        await kill(line)
        await all_gone(mark, 5)
