"""Runs a program for a plugin that runs in the broker, held to what the plugin itself may do.

Rule 1: the program sees and reaches what the plugin was granted, and nothing of the broker's; where this machine
        cannot enforce that, it is not started.
Rule 2: what it writes is read as it comes, and bounded; one that writes more is ended.
Rule 3: it is gone with all it started before this returns, also when nobody waits for it any more.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from broker.confine.roots import program
from broker.confine.tree import Child, prepare
from broker.core.hostparams import Exec
from broker.errors import FrameTooLarge, HostFailed, PluginUnavailable, TimedOut
from broker.model import Spec
from broker.permissions.redaction import Redactions
from broker.runtimes.command import child_env
from broker.runtimes.confined import start
from broker.stream import FdStream

MOST = 256 << 10  # bytes of what it writes to stdout, and again of stderr
GRACE = 0.5  # seconds per step of its end


async def execute(
    spec: Spec, params: Exec, environ: Mapping[str, str], own: Path, kept: Sequence[str], redactions: Redactions
) -> dict[str, Any]:
    """Run it to its end. Raises `HostFailed`, `TimedOut`, `FrameTooLarge`, `NotEnforced`."""
    env, name = child_env(spec, environ), params.command[0]
    found = program(name, env)
    if found is None:
        raise HostFailed(f"{name[:200]} cannot be started: it is not installed")
    words = (found, *params.command[1:])
    prepare()
    try:
        child = await start(replace(spec, entry=None, command=words), words, env, own, lambda denied: None, kept=kept)
    except (OSError, ValueError, PluginUnavailable) as error:
        raise HostFailed(f"{name[:200]} cannot be started: {error}") from None
    run = _Run(child)
    try:
        async with asyncio.timeout(params.timeout):
            code = await run.done(params.input.encode())
    except TimeoutError:
        raise TimedOut(f"{params.command[0][:200]} did not end within {params.timeout:g} s") from None
    finally:
        await run.end()
    said = {name: redactions.text(spec.name, each.decode("utf-8", "replace")) for name, each in run.said.items()}
    return {"code": code, **said}


class _Run:
    """One program while it runs: what it is told, and what it says."""

    def __init__(self, child: Child) -> None:
        self.said = {"stdout": b"", "stderr": b""}
        self._child, loop = child, asyncio.get_running_loop()
        # Apart, because one that does not read its input to the end may still have something to say.
        self._input = FdStream(child.stdin, child.stdin)
        os.set_blocking(child.stdin, False)
        self._output = FdStream(child.stdout, child.stdout)
        self._errors = FdStream(child.stderr, child.stderr)
        self._silent: list[asyncio.Future[None]] = [loop.create_future() for _ in range(2)]
        self._too_much: asyncio.Future[None] = loop.create_future()
        self._output.start(lambda data: self._take("stdout", data), lambda: _done(self._silent[0]))
        self._errors.start(lambda data: self._take("stderr", data), lambda: _done(self._silent[1]))

    async def done(self, given: bytes) -> int:
        """Give it `given` on stdin; its exit code, once it has said all. Raises `FrameTooLarge`, `HostFailed`."""
        self._input.send(given)
        self._input.flush()
        if self._input.unsent:
            self._input.on_drained = self._input.close
        else:
            self._input.close()
        ended: asyncio.Future[int] = asyncio.ensure_future(self._ended())
        try:
            await asyncio.wait([ended, self._too_much], return_when=asyncio.FIRST_COMPLETED)
            if self._too_much.done():
                raise FrameTooLarge(f"the program wrote more than {MOST >> 10} KiB", hint="Have it write less.")
            if self._child.overstepped:
                raise HostFailed(f"the program {self._child.overstepped}, and was ended")
            return ended.result()
        finally:
            ended.cancel()

    async def _ended(self) -> int:
        code = await asyncio.shield(self._child.exited)
        await asyncio.wait(self._silent, timeout=GRACE)  # what it left behind may hold its pipes
        return code

    async def end(self) -> None:
        """All of it is gone."""
        self._input.close()
        await self._child.end(grace=GRACE if self._child.code is not None else 0)
        self._output.close()
        self._errors.close()

    def _take(self, name: str, data: bytes) -> None:
        self.said[name] += data
        if len(self.said[name]) > MOST:
            self.said[name] = b""
            _done(self._too_much)


def _done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
