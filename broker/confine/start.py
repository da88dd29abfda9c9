"""Starts a plugin held to its confinement, with all that stands around it until it ends.

That is: the mechanism this machine has, a group of the kernel that counts it or a watchdog that does, its network or
who makes its calls, and where there is no private root a folder for what would go to /tmp. All of it ends with it.

Rule 1: nothing is executed before everything that holds it stands.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from broker.confine import backends, cgroup, limits, scratch, watchdog
from broker.confine.backends import Abilities
from broker.confine.plan import Confinement
from broker.confine.tree import Child, spawn

if TYPE_CHECKING:
    from broker.confine.egress.denied import Denied
    from broker.confine.egress.egress import Egress
    from broker.confine.egress.notify import Look
    from broker.confine.egress.stand_in import StandIn
    from broker.confine.witness import Witness


async def start(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: str | None,
    wall: Confinement,
    told: Callable[[Denied], None],
    own: str | None = None,
    found: Abilities | None = None,
    witness: Witness | None = None,
    channel: int | None = None,
) -> Child:
    """Start `argv` held to `wall`. `told` hears of each host it was refused; `own` is its data folder.

    `channel` is its descriptor 3, if it gets one.

    `witness` sees what else it tries; it is as slow as that takes, and may fork, though it starts no more for it.

    `child.warnings` say what holds it only partly; when it used more than it may, it is ended and `child.overstepped`
    says so. Raises `NotEnforced`, `OSError`, `ValueError`; then nothing was executed and nothing is left.
    """
    found = found or await backends.abilities()
    warnings = backends.check(wall, found)
    wall = replace(wall, watch=witness is not None)
    surroundings = _Surroundings(backends.fitted(wall, found), own)
    try:
        await surroundings.prepare(found)
        child = await spawn(
            limits.heap(argv, wall.memory),
            env=surroundings.environment(env),
            cwd=cwd,
            wall=surroundings.wall,
            asks=None if witness is None else surroundings.watched(witness, told),
            channel=channel,
        )
    except BaseException:
        await asyncio.shield(surroundings.close())
        raise
    try:
        await surroundings.attend(child, found, told)
    except BaseException:
        await child.end(grace=0)
        for fd in (child.stdin, child.stdout, child.stderr):
            os.close(fd)
        raise
    child.warnings = warnings
    return child


class _Surroundings:
    """What stands around one plugin."""

    def __init__(self, wall: Confinement, own: str | None) -> None:
        self.wall = wall
        self._own = None if own is None else os.path.realpath(own)
        self._group: cgroup.Group | None = None
        self._folder: str | None = None
        self._egress: Egress | None = None
        self._stand_in: StandIn | None = None
        self._watch: asyncio.Task[None] | None = None
        self._killing: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None

    async def prepare(self, found: Abilities) -> None:
        """Before it starts. Raises `OSError`. A caller that is cancelled gets all that was made, to take it away."""
        preparing = asyncio.ensure_future(self._prepare(found))
        try:
            await asyncio.shield(preparing)
        except asyncio.CancelledError:
            await asyncio.gather(preparing, return_exceptions=True)
            raise

    async def _prepare(self, found: Abilities) -> None:
        wall, kinds = self.wall, found.groups.kinds
        memory, pids = wall.memory if "memory" in kinds else None, wall.pids if "pids" in kinds else None
        if memory is not None or pids is not None:
            self._group = await asyncio.to_thread(cgroup.make, found.groups, wall.name, memory=memory, pids=pids)
            # What a group counts as a whole no process is bounded in by itself: that would be less than it may use.
            left = {kind: None for kind, value in (("memory", memory), ("pids", pids)) if value is not None}
            self.wall = replace(self.wall, groups=self._group.procs, **left)
        if wall.mode == "landlock":
            self._folder = await asyncio.to_thread(scratch.make, wall.name, wall.run)
            self.wall = replace(self.wall, write=(*wall.write, self._folder))

    def environment(self, env: Mapping[str, str]) -> dict[str, str]:
        """`env`, and what makes programs use the ways that there are."""
        found = dict(env)
        if self._folder is not None:
            # It cannot read who its user is, and asks these first.
            found = {"USER": "plugin", "LOGNAME": "plugin"} | found | {"HOME": self._folder, "TMPDIR": self._folder}
            if self.wall.run is not None:
                found["PATH"] = scratch.programs(self._folder)
        if self.wall.network:
            from broker.confine.egress import doors, stand_in

            if self.wall.notify:
                found |= stand_in.ENVIRONMENT
            if self.wall.watch or self.wall.mode == "stage2" or doors.needs_proxy(self.wall.net):
                found = doors.environment(doors.proxy_port(self.wall.network)) | found
        return found

    def watched(self, witness: Witness, told: Callable[[Denied], None]) -> Callable[[int], None]:
        """What takes the descriptor on which it is seen, before its first call."""
        from broker.confine.egress.egress import Egress

        self._egress = egress = Egress(self.wall.name, self.wall.net, told)
        witness.begin(self.wall, egress.named, scratch.programs(self._folder) if self._folder else "")

        def take(notify: int) -> None:
            self._stand_in = self._standing_in(notify, egress, witness.look)

        return take

    async def attend(self, child: Child, found: Abilities, told: Callable[[Denied], None]) -> None:
        """Stand around it until it ends."""
        child.exited.add_done_callback(lambda _: self._ended(child))
        notify = child.sent.pop("notify", None)
        if self.wall.network or notify is not None:
            await self._open_network(child.sent, notify, told)
        child.sent.clear()
        bounds = self._unheld(found)
        if bounds is not None:
            self._watch = watchdog.guard(child.pid, bounds, lambda why: self._over(child, why))
        if self._ending is not None:  # it ended meanwhile
            self._ending = None
            child.leaving = self.close()

    def close(self) -> asyncio.Task[None]:
        """Everything ends: at once what acts for it, and with the task what was made for it. Safe to call twice."""
        if self._watch is not None:
            self._watch.cancel()
        if self._stand_in is not None:
            self._stand_in.close()
        if self._ending is None:
            self._ending = asyncio.get_running_loop().create_task(self._leave())
        return self._ending

    async def _leave(self) -> None:
        if self._egress is not None:
            await self._egress.close()
        if self._group is not None:
            await asyncio.to_thread(self._group.close)
        if self._folder is not None:
            await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    async def _open_network(self, sent: Mapping[str, int], notify: int | None, told: Callable[[Denied], None]) -> None:
        from broker.confine.egress.egress import Egress

        self._egress = self._egress or Egress(self.wall.name, self.wall.net, told)
        await self._egress.start({name: socket.socket(fileno=fd) for name, fd in sent.items()})
        if notify is not None:
            self._stand_in = self._standing_in(notify, self._egress, None)

    def _standing_in(self, notify: int, egress: Egress, look: Look | None) -> StandIn:
        from broker.confine.egress import doors
        from broker.confine.egress.stand_in import StandIn

        return StandIn(
            notify,
            egress,
            proxy_port=doors.proxy_port(self.wall.network),
            write=self.wall.write,
            sockets=self.wall.sockets,
            look=look,
        )

    def _unheld(self, found: Abilities) -> watchdog.Bounds | None:
        """What the kernel does not hold it to as a whole; None: it holds all of it."""
        promised, wall = backends.grades(found, self.wall), self.wall
        memory, pids = (None if promised[kind].grade == "yes" else getattr(wall, kind) for kind in ("memory", "pids"))
        if memory is None and pids is None and wall.disk is None:
            return None
        return watchdog.Bounds(memory=memory, pids=pids, disk=wall.disk, own=self._own, folders=self._others())

    def _others(self) -> tuple[str, ...]:
        """Folders it may write to that are not its own."""
        own = f"{self._own}/" if self._own else "\0"
        return tuple(path for path in self.wall.write if not f"{path}/".startswith(own))

    def _over(self, child: Child, why: str) -> None:
        child.overstepped = why
        self._watch = None
        self._killing = asyncio.get_running_loop().create_task(child.end(grace=0))

    def _ended(self, child: Child) -> None:
        if self._group is not None and not child.overstepped:
            with contextlib.suppress(OSError):
                child.overstepped = self._group.overstepped()
        child.leaving = self.close()
