"""Processes: started without a shell, ended with everything they started."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import psutil
import pytest

from broker.confine.tree import Child, describe_exit, spawn

ENV = {"PATH": os.environ["PATH"]}
Start = Callable[..., Child]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts Python programs; what a test leaves is ended."""
    children: list[Child] = []

    def begin(program: str, **env: str) -> Child:
        child = spawn([sys.executable, "-c", program], env={**ENV, **env}, cwd=None)
        children.append(child)
        return child

    yield begin
    for child in children:
        await child.end(grace=0)
        for fd in (child.stdin, child.stdout, child.stderr):
            with suppress(OSError):
                os.close(fd)


async def line_from(child: Child) -> str:
    """The first line it prints."""
    return (await asyncio.to_thread(os.read, child.stdout, 1000)).decode().strip()


async def ended(child: Child, grace: float = 0.3) -> int | None:
    await asyncio.wait_for(child.end(grace=grace), 10)
    return child.code


def alive(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


async def gone(pid: int) -> None:
    async with asyncio.timeout(5):
        while alive(pid):
            await asyncio.sleep(0.01)


async def test_an_exit_is_seen_with_its_code(start: Start) -> None:
    child = start("raise SystemExit(3)")
    assert await asyncio.wait_for(asyncio.shield(child.exited), 5) == 3
    assert describe_exit(3) == "exit code 3" and describe_exit(-9) == "signal SIGKILL"


async def test_one_that_leaves_when_its_stdin_ends_is_not_signalled(start: Start) -> None:
    child = start("import sys; sys.stdin.read(); raise SystemExit(7)")
    os.close(child.stdin)
    assert await ended(child, grace=5) == 7


async def test_one_that_ignores_the_end_of_its_stdin_gets_sigterm(start: Start) -> None:
    assert await ended(start("import time; time.sleep(60)")) == -signal.SIGTERM


async def test_one_that_ignores_sigterm_too_is_killed(start: Start) -> None:
    child = start("import signal, time; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)")
    assert await line_from(child) == "ready"
    assert await ended(child) == -signal.SIGKILL


@pytest.mark.parametrize(
    "leaving",
    ["", "signal.signal(15, signal.SIG_IGN)", "os.setsid()"],
    ids=["plain", "ignores SIGTERM", "in a session of its own"],
)
async def test_a_grandchild_is_gone_with_it(start: Start, leaving: str) -> None:
    child = start(
        "import os, signal, time\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        f"    {leaving or 'pass'}\n"
        "    print(os.getpid(), flush=True)\n"
        "time.sleep(60)\n"
    )
    grandchild = int(await line_from(child))
    await ended(child)
    await gone(grandchild)


async def test_a_grandchild_that_holds_the_pipes_does_not_hide_an_exit(start: Start) -> None:
    child = start(
        "import os, time\nif os.fork() == 0:\n    print(os.getpid(), flush=True); time.sleep(60)\nos._exit(5)"
    )
    grandchild = int(await line_from(child))
    assert await asyncio.wait_for(asyncio.shield(child.exited), 5) == 5
    await ended(child)
    await gone(grandchild)


async def test_ending_twice_and_after_the_end_is_fine(start: Start) -> None:
    child = start("import time; time.sleep(60)")
    await asyncio.gather(child.end(grace=0.2), child.end(grace=0.2))
    await child.end()
    assert child.code == -signal.SIGTERM


async def test_a_cancelled_ending_goes_on(start: Start) -> None:
    child = start("import time; time.sleep(60)")
    ending = asyncio.create_task(child.end(grace=0.2))
    await asyncio.sleep(0)
    ending.cancel()
    with suppress(asyncio.CancelledError):
        await ending
    assert await asyncio.wait_for(asyncio.shield(child.exited), 5) == -signal.SIGTERM


async def test_arguments_reach_the_program_as_they_are_and_the_environment_is_only_what_is_given() -> None:
    program = "import os, sys; print(sys.argv[1:], sorted(os.environ))"
    child = spawn([sys.executable, "-c", program, "$(id)", "; ls", "a b"], env={"ONLY": "1"}, cwd=None)
    said = await line_from(child)
    assert said.startswith("['$(id)', '; ls', 'a b'] ") and "'ONLY'" in said and "'HOME'" not in said
    await ended(child)
    for fd in (child.stdin, child.stdout, child.stderr):
        os.close(fd)


async def test_a_program_that_is_not_there_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        spawn(["/nowhere/program"], env={}, cwd=None)
