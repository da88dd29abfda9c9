"""Starts workers for scripts, and keeps one ready: an interpreter in its confinement that has no script yet.

Rule 1: there is a spare only while a script runs in a process; it takes 10 MB. It is made after a worker was taken,
        while nobody waits.
Rule 2: a worker belongs to one state of one script for all its life, the spare too once it was taken: nothing of one
        plugin is ever where another's runs.
Rule 3: the spare is held exactly as the worker that a plugin would get without it, or that plugin does not get it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from broker.confine.egress.denied import Denied
from broker.confine.tree import Child, spawn
from broker.errors import BrokerError
from broker.model import Limits, Spec
from broker.runtimes.plugin_log import PluginLog

log = logging.getLogger("broker.lua")

SELF = 128 << 20  # bytes that the interpreter may take beside the script's heap; it takes 10
PIDS = 8  # it has one
_WORKER = Path(__file__).with_name("lua_worker.py")


class _Held(Struct, frozen=True):
    """What two workers must have in common to take each other's place."""

    memory: int  # bytes of the script's heap
    unconfined: bool
    unenforced: tuple[str, ...]
    strict: bool


class _Notes:
    """Where a worker's refusals are written: into the log of whose worker it became."""

    def __init__(self) -> None:
        self._log: PluginLog | None = None
        self._name = ""

    def become(self, name: str, plugin_log: PluginLog) -> None:
        self._name, self._log = name, plugin_log

    def refused(self, denied: Denied) -> None:
        if self._log is not None:
            self._log.write(f"broker: {replace(denied, plugin=self._name)}\n".encode())


class Workers:
    """All workers of one broker come from here; `kept` is what no plugin may change, wherever it may write."""

    def __init__(self, kept: Callable[[], Sequence[str]] = lambda: ()) -> None:
        self._kept = kept
        self._held: _Held | None = None
        self._spare: asyncio.Task[tuple[Child, _Notes] | None] | None = None

    @property
    def ready(self) -> bool:
        """Whether a spare waits for its script."""
        if self._spare is None or not self._spare.done():
            return False
        found = self._spare.result()
        return found is not None and found[0].code is None

    async def begin(self, spec: Spec, memory: int, plugin_log: PluginLog) -> Child:
        """A worker for `spec`, confined unless its user lifted that by name. Raises `NotEnforced`, `OSError`."""
        held = _Held(memory, spec.unconfined, spec.unenforced, spec.strict)
        child, notes = self._taken(held) or await self._started(held, spec.name)
        notes.become(spec.name, plugin_log)
        for warning in child.warnings:
            plugin_log.write(f"broker: {warning}\n".encode())
        if self._spare is None or (self._spare.done() and not self.ready):
            self._held, self._spare = held, asyncio.get_running_loop().create_task(self._fill(held))
        return child

    async def close(self) -> None:
        """End the spare."""
        spare, self._spare = self._spare, None
        if spare is None:
            return
        spare.cancel()
        await asyncio.wait([spare])
        if not spare.cancelled() and (found := spare.result()) is not None:
            await _end(found[0])

    def _taken(self, held: _Held) -> tuple[Child, _Notes] | None:
        """The spare, if it is ready and held alike; one that ended or could not be started is forgotten."""
        if self._spare is None or not self._spare.done() or self._held != held:
            return None
        ready, found, self._spare = self.ready, self._spare.result(), None
        return found if ready else None

    async def _fill(self, held: _Held) -> tuple[Child, _Notes] | None:
        """The next spare; None if there can be none: who needs a worker then learns why."""
        try:
            return await self._started(held, "lua")
        except (BrokerError, OSError) as error:
            log.info("no process is kept ready for Lua: %s", error)
            return None

    async def _started(self, held: _Held, name: str) -> tuple[Child, _Notes]:
        import lupa

        notes = _Notes()
        folders = [str(_WORKER.parents[2]), str(Path(lupa.__file__).parents[1])]
        argv = [sys.executable, "-I", "-S", "-B", str(_WORKER), str(held.memory), *folders]
        if held.unconfined:
            return await spawn(argv, env={}, cwd=None), notes
        from broker.runtimes.confined import start

        bare = Spec(
            name=name,
            source="broker",
            cwd="/",
            permissions={},
            limits=Limits(memory=held.memory + SELF, pids=PIDS),
            unenforced=held.unenforced,
            strict=held.strict,
        )
        return await start(bare, argv, {}, None, notes.refused, kept=tuple(self._kept())), notes


async def _end(child: Child) -> None:
    for fd in (child.stdin, child.stdout, child.stderr):
        os.close(fd)
    await child.end(grace=0)
