"""Starts and ends every process, with everything it started itself.

Rule 1: argv only, never a shell; the environment is exactly what the caller gives.
Rule 2: an end has steps with bounds: close stdin, wait, SIGTERM the tree, wait, SIGKILL the tree.
Rule 3: an exit is seen on the process (a pidfd), never on its pipes: a grandchild may hold those open for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from typing import IO, Any

GRACE = 2.0  # seconds a process has after its stdin closed, and again after SIGTERM (the official SDKs' number)


class Child:
    """One process in a session of its own. `stdin`, `stdout`, `stderr` are descriptors its owner closes."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        self._process = process
        self.pid = process.pid
        self.stdin = _own(process.stdin)
        self.stdout = _own(process.stdout)
        self.stderr = _own(process.stderr)
        self.started = asyncio.get_running_loop().time()
        self.exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._ending: asyncio.Task[None] | None = None
        self._watch()

    @property
    def code(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return self.exited.result() if self.exited.done() else None

    @property
    def uptime(self) -> float:
        """Seconds since it was started."""
        return asyncio.get_running_loop().time() - self.started

    async def end(self, *, grace: float = GRACE) -> None:
        """End it and its tree, its stdin being closed; returns at the latest after three graces. Safe to call twice.

        A caller that is cancelled leaves nothing behind: the ending goes on.
        """
        if self._ending is None:
            self._ending = asyncio.get_running_loop().create_task(self._end(grace))
        await asyncio.shield(self._ending)

    async def _end(self, grace: float) -> None:
        family = _descendants(self.pid) if self.code is None else []
        if not await self._gone_within(grace):
            family = _merged(family, _descendants(self.pid))
            self._signal(signal.SIGTERM)
            if not await self._gone_within(grace):
                family = _merged(family, _descendants(self.pid))
                self._signal(signal.SIGKILL)
                await self._gone_within(grace)
        self._signal(_KILL)
        for process in family:
            with contextlib.suppress(Exception):  # psutil's errors: it is gone already
                process.kill()

    async def _gone_within(self, seconds: float) -> bool:
        done, _ = await asyncio.wait([self.exited], timeout=seconds)
        return bool(done)

    def _signal(self, number: int) -> None:
        """To its whole process group, which outlives it as long as a child of it lives."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.name == "posix":
                os.killpg(self.pid, number)
            else:
                self._process.send_signal(number)

    def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            fd = os.pidfd_open(self.pid)
        except (AttributeError, OSError):  # not Linux, or a kernel without it
            threading.Thread(target=self._wait_in_thread, args=(loop,), daemon=True).start()
            return
        loop.add_reader(fd, self._reap, loop, fd)

    def _reap(self, loop: asyncio.AbstractEventLoop, fd: int) -> None:
        loop.remove_reader(fd)
        os.close(fd)
        self._exit(self._process.wait())

    def _wait_in_thread(self, loop: asyncio.AbstractEventLoop) -> None:
        code = self._process.wait()
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(self._exit, code)

    def _exit(self, code: int) -> None:
        if not self.exited.done():
            self.exited.set_result(code)


_KILL = signal.SIGKILL if os.name == "posix" else signal.SIGTERM


def spawn(argv: Sequence[str] | str, *, env: Mapping[str, str], cwd: str | None) -> Child:
    """Start `argv` (on Windows a command line) in a session of its own. Raises `OSError`."""
    process = subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        env=dict(env),
        cwd=cwd,
        start_new_session=True,
    )
    return Child(process)


def output_of(argv: Sequence[str], *, timeout: float) -> bytes:
    """What a short program of ours writes on stdout. Blocks; raises `OSError`, also when it takes too long."""
    try:
        return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout).stdout
    except subprocess.SubprocessError as error:
        raise OSError(str(error)) from None


def describe_exit(code: int) -> str:
    """`exit code 3` or `signal SIGKILL`, for a person."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"


def _own(pipe: IO[bytes]) -> int:
    """The pipe's descriptor, kept when the file object goes away."""
    fd = os.dup(pipe.fileno())
    pipe.close()
    return fd


def _descendants(pid: int) -> list[Any]:
    import psutil  # only where something ends: 15 ms of import

    try:
        return list(psutil.Process(pid).children(recursive=True))
    except psutil.Error:
        return []


def _merged(old: list[Any], new: list[Any]) -> list[Any]:
    return old + [process for process in new if process not in old]
