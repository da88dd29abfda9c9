"""Processes: started without a shell, ended with everything they started."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from broker.confine.tree import Child, describe_exit, prepare, spawn
from tests.marked import MARK, all_gone

ENV = {"PATH": os.environ["PATH"]}
Start = Callable[..., Awaitable[Child]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts Python programs; what a test leaves is ended."""
    children: list[Child] = []

    async def begin(program: str, **env: str) -> Child:
        child = await spawn([sys.executable, "-c", program], env={**ENV, **env}, cwd=None)
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


async def put_away(child: Child) -> None:
    await child.end(grace=0)
    for fd in (child.stdin, child.stdout, child.stderr):
        os.close(fd)


async def gone(pid: int) -> None:
    async with asyncio.timeout(5):
        while alive(pid):
            await asyncio.sleep(0.01)


async def test_an_exit_is_seen_with_its_code(start: Start) -> None:
    child = await start("raise SystemExit(3)")
    assert await asyncio.wait_for(asyncio.shield(child.exited), 5) == 3
    assert describe_exit(3) == "exit code 3" and describe_exit(-9) == "signal SIGKILL"


async def test_one_that_leaves_when_its_stdin_ends_is_not_signalled(start: Start) -> None:
    child = await start("import sys; sys.stdin.read(); raise SystemExit(7)")
    os.close(child.stdin)
    assert await ended(child, grace=5) == 7


async def test_one_that_ignores_the_end_of_its_stdin_gets_sigterm(start: Start) -> None:
    assert await ended(await start("import time; time.sleep(60)")) == -signal.SIGTERM


async def test_one_that_ignores_sigterm_too_is_killed(start: Start) -> None:
    child = await start(
        "import signal, time; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"
    )
    assert await line_from(child) == "ready"
    assert await ended(child) == -signal.SIGKILL


@pytest.mark.parametrize(
    "leaving",
    [
        "",
        "signal.signal(15, signal.SIG_IGN)",
        "os.setsid()",
        "os.setsid(); os.fork() and os._exit(0); signal.signal(15, signal.SIG_IGN)",
    ],
    ids=["plain", "ignores SIGTERM", "in a session of its own", "a daemon"],
)
async def test_a_grandchild_is_gone_with_it(start: Start, leaving: str) -> None:
    child = await start(
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
    child = await start(
        "import os, sys, time\n"
        "if os.fork() == 0:\n"
        "    print(os.getpid(), flush=True); time.sleep(60)\n"
        "sys.stdin.read(1); os._exit(5)"
    )
    grandchild = int(await line_from(child))
    os.write(child.stdin, b"x")
    assert await asyncio.wait_for(asyncio.shield(child.exited), 5) == 5
    await ended(child)
    await gone(grandchild)


async def test_ending_twice_and_after_the_end_is_fine(start: Start) -> None:
    child = await start("import time; time.sleep(60)")
    await asyncio.gather(child.end(grace=0.2), child.end(grace=0.2))
    await child.end()
    assert child.code == -signal.SIGTERM


async def test_a_cancelled_ending_goes_on(start: Start) -> None:
    child = await start("import time; time.sleep(60)")
    ending = asyncio.create_task(child.end(grace=0.2))
    await asyncio.sleep(0)
    ending.cancel()
    with suppress(asyncio.CancelledError):
        await ending
    assert await asyncio.wait_for(asyncio.shield(child.exited), 5) == -signal.SIGTERM


async def test_arguments_reach_the_program_as_they_are_and_the_environment_is_only_what_is_given() -> None:
    program = "import os, sys; print(sys.argv[1:], sorted(os.environ))"
    child = await spawn([sys.executable, "-c", program, "$(id)", "; ls", "a b"], env={"ONLY": "1"}, cwd=None)
    said = await line_from(child)
    assert said.startswith("['$(id)', '; ls', 'a b'] ") and "'ONLY'" in said and "'HOME'" not in said
    await put_away(child)


@pytest.mark.parametrize(
    ("argv", "cwd", "named"),
    [
        (["/nowhere/program"], None, "/nowhere/program"),
        (["nowhere"], None, "nowhere"),
        (["cat"], "/nowhere", "/nowhere"),
    ],
)
async def test_what_is_not_there_is_an_error_that_names_it(argv: list[str], cwd: str | None, named: str) -> None:
    prepare()
    before = set(os.listdir("/dev/fd"))
    with pytest.raises(FileNotFoundError, match=named):
        await spawn(argv, env=ENV, cwd=cwd)
    assert set(os.listdir("/dev/fd")) == before


async def test_a_program_that_may_not_be_run_is_an_error(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("no program")
    with pytest.raises(PermissionError, match="program"):
        await spawn([str(program)], env=ENV, cwd=None)


async def test_a_word_that_no_program_can_be_given_is_an_error() -> None:
    with pytest.raises(ValueError, match="character"):
        await spawn(["cat", "a\0b"], env=ENV, cwd=None)
    with pytest.raises(ValueError, match="character"):
        await spawn(["cat"], env={"A=B": "1"}, cwd=None)


async def test_a_long_command_and_a_large_environment_arrive_whole() -> None:
    words = ["x" * 100_000, "", "y\n", "ü"]
    env = {**ENV, **{f"V{number}": "z" * 30_000 for number in range(20)}}
    program = (
        "import os, sys; print([len(w) for w in sys.argv[1:]], sum(len(v) for v in os.environ.values()) > 600_000)"
    )
    child = await spawn([sys.executable, "-I", "-X", "utf8", "-c", program, *words], env=env, cwd=None)
    assert await line_from(child) == "[100000, 0, 2, 1] True"
    await put_away(child)


async def test_it_gets_no_descriptor_and_no_setting_of_a_signal_that_is_not_its_own(tmp_path: Path) -> None:
    program = (
        "import os\n"
        "fds = sorted(fd for fd in map(int, os.listdir('/dev/fd')) if fd > 2)\n"
        "opened = [fd for fd in fds if os.path.exists(f'/dev/fd/{fd}')]\n"  # without the one that listed them
        "lines = open('/proc/self/status').read().splitlines()\n"
        "print(opened, *(line for line in lines if line.startswith(('SigBlk', 'SigIgn'))))"
    )
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    with (tmp_path / "secret").open("w") as secret:
        os.set_inheritable(secret.fileno(), True)
        other = await spawn(["cat"], env=ENV, cwd=None)
        child = await spawn([sys.executable, "-S", "-c", program], env=ENV, cwd=None)
        said = await line_from(child)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
    words = said.split()
    assert words[0] == "[]" and int(words[2], 16) == 0
    ignored = int(words[4], 16) & ~(0b11 << 31)  # 32 and 33 are the C library's, which lets nobody touch them
    assert ignored == 1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGXFSZ - 1)  # Python's own
    await put_away(child)
    await put_away(other)


async def test_a_start_that_is_taken_back_leaves_nothing() -> None:
    """At whatever moment, with a program that would run for ever."""
    mark = f"taken-back-{os.getpid()}"
    prepare()
    before = set(os.listdir("/dev/fd"))
    for turns in range(12):
        starting = asyncio.create_task(spawn(["sleep", "1000"], env={**ENV, MARK: mark}, cwd=None))
        for _ in range(turns):
            await asyncio.sleep(0.0005)
        starting.cancel()
        try:
            child = await starting
        except asyncio.CancelledError:
            continue
        await put_away(child)
    await all_gone(mark, 5)
    assert set(os.listdir("/dev/fd")) == before


async def test_other_work_goes_on_while_one_is_started(start: Start) -> None:
    starting = asyncio.ensure_future(start("pass"))
    turns = 0
    while not starting.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns > 10
