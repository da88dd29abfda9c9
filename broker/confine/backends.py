"""Which mechanism of this machine holds a plugin, chosen by doing it once, and what it can hold it to.

Rule 1: a mechanism is taken when a throw-away process was really held by it, as the kernel shows it; what a version or
        a setting promises counts for nothing. The order is that of `BACKENDS`: each holds more than the next.
Rule 2: what nothing enforces is refused, with the permission, what was tried, why it failed and what would help. Only
        the plugin's user can accept less, for each kind by name. Never less in silence.
Rule 3: what holds only partly is a warning; with `strict` it is refused too.
Rule 4: namespaces without the filter of system calls hold too little, so nothing works without that.
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import sys
from collections.abc import Collection, Mapping
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from broker.confine import remedies
from broker.confine.cgroup import Groups
from broker.confine.kept import apart
from broker.confine.plan import Confinement, Mode
from broker.errors import NotEnforced, PluginUnavailable

Backend = Literal["native", "bwrap", "landlock"]
Layer = Literal["native", "bwrap", "landlock", "seccomp", "notify", "proc", "cgroup"]

BACKENDS: tuple[Backend, ...] = ("native", "bwrap", "landlock")
PATIENCE = 5.0  # seconds a throw-away process may take; it takes some milliseconds
NO_TRUNCATE, NO_SCOPES = 3, 6  # versions of Landlock before which it does not judge these
_MODES: Mapping[Backend, Mode] = {"native": "native", "bwrap": "stage2", "landlock": "landlock"}
_HELD = "it was switched off"
# What a start lacks for a moment, or a machine that is too busy; None: it took longer than `PATIENCE`.
_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, None)
_EVERYWHERE = ("8.8.8.8:80",)  # no packet is sent: it makes the plugin's network be prepared for hosts


class Abilities(Struct, frozen=True, kw_only=True):
    """What was tried, and how that went."""

    backend: Backend | None = None
    failed: Mapping[str, str] = {}  # what does not work here, with why, as a sentence's end
    landlock: int = 0  # its version in this kernel; 0: none
    proc: bool = True  # whether a private root can have a /proc
    notify: bool = False  # whether the broker can make calls in a plugin's stead
    ports: bool = True  # whether hosts are reached without a proxy's settings
    groups: Groups = Groups()
    root: bool = False  # the broker runs as root
    seconds: float = 0.0  # that it took to find out


class Grade(Struct, frozen=True):
    """How well one kind of permission is enforced, and by what."""

    grade: Literal["yes", "partly", "no"]
    how: str


_known: Abilities | None = None
_looking: asyncio.Task[Abilities] | None = None


async def abilities() -> Abilities:
    """Those of this machine, looked for once in this process and only as far as it takes to find one that works.

    When none works that is looked for again the next time: its owner may have helped. Raises `OSError` when the
    system lacks room to find out: that must not look as if a mechanism did not work, and lead to a weaker one.
    """
    global _known, _looking
    if _known is not None:
        return _known
    if _looking is None or _looking.done() or _looking.get_loop() is not asyncio.get_running_loop():
        _looking = asyncio.create_task(examine(everything=False))
    found = await asyncio.shield(_looking)
    _known = found if found.backend is not None else None
    return found


async def examine(*, everything: bool = True, without: Collection[Layer] = ()) -> Abilities:
    """Try what there is. `without`: layers to do as if they were not there, to see that their absence is noticed."""
    began = asyncio.get_running_loop().time()
    if sys.platform != "linux":
        return Abilities(failed={"native": remedies.UNSUPPORTED.get(sys.platform, remedies.UNKNOWN)})
    from broker.confine import cgroup, landlock
    from broker.confine.tree import prepare

    prepare()
    groups = asyncio.create_task(asyncio.to_thread(_groups, without))
    version = 0 if "landlock" in without else landlock.abi()
    found = await _Trials(version, without).run(everything)
    found = replace(found, landlock=version, root=os.geteuid() == 0, groups=await groups)
    if not found.groups.kinds:
        found = replace(found, failed={**found.failed, "cgroup": found.groups.why or _HELD})
    if not everything:
        found = replace(found, groups=await asyncio.to_thread(cgroup.prepare, found.groups))
    return replace(found, seconds=asyncio.get_running_loop().time() - began)


def fitted(wall: Confinement, found: Abilities) -> Confinement:
    """`wall` as this machine's mechanism takes it. Raises `NotEnforced` where there is none."""
    if found.backend is None:
        raise NotEnforced(
            f"{wall.name} was not started, because nothing here can confine it: {tried(found)}",
            hint=remedies.hint(found.failed),
        )
    mode = _MODES[found.backend]
    private = mode != "landlock"
    without = wall.without if found.landlock or not private else (*wall.without, "landlock")
    return replace(wall, mode=mode, proc=found.proc, notify=not private and found.notify, without=without)


def check(wall: Confinement, found: Abilities) -> list[str]:
    """What is enforced only partly, a sentence each. Raises `NotEnforced`: what nothing enforces."""
    fitted(wall, found)
    warnings = list[str]()
    for kind, grade in grades(found, wall).items():
        if kind in wall.unenforced or not _matters(kind, wall) or grade.grade == "yes":
            continue
        if grade.grade == "no" or wall.strict:
            raise _unheld(wall, found, kind, grade)
        warnings.append(f"{wall.name}: `{kind}` is enforced only partly: {grade.how}")
    return warnings


def grades(found: Abilities, wall: Confinement | None = None) -> dict[str, Grade]:
    """Each kind of permission and of limit; for `wall`, where how well depends on what was granted."""
    if found.backend is None:
        nothing = Grade("no", tried(found))
        return dict.fromkeys((*_KINDS, "memory", "pids", "disk"), nothing) | _OURS
    private = found.backend != "landlock"
    net = bool(wall is None or wall.net)
    return {
        "read": _files(found, private, write=False),
        "write": _files(found, private, write=True) if private or wall is None else _unkept(found, wall),
        "net": _hosts(found, private) if net else _no_hosts(private),
        "sockets": _sockets(found, private, wall),
        "run": _programs(private, any_of=bool(wall and wall.run is None), some=bool(wall is None or wall.run)),
        "processes": _others(found, private),
        "tree": Grade("yes", "ends with the broker" + (", in a process namespace of its own" if private else "")),
        "memory": _memory(found),
        "pids": _pids(found),
        "disk": _disk(private),
        **_OURS,
    }


def tried(found: Abilities) -> str:
    """What was tried and why it failed, in one line."""
    return "; ".join(f"{_NAMES.get(name, name)}: {why}" for name, why in found.failed.items() if name != "cgroup")


_NAMES: Mapping[str, str] = {
    "native": "namespaces",
    "bwrap": "bubblewrap",
    "landlock": "Landlock",
    "seccomp": "seccomp",
    "notify": "notification",
}
_KINDS = ("read", "write", "net", "sockets", "run", "processes", "tree")
_BY_BROKER = Grade("yes", "asked of the broker, which answers only what was granted")
_OURS = {
    "env": Grade("yes", "the environment is made of what was granted"),
    **dict.fromkeys(("secrets", "ui", "call", "hooks", "sampling"), _BY_BROKER),
}


class _Trials:
    """Throw-away processes, each held by one mechanism."""

    def __init__(self, version: int, without: Collection[Layer]) -> None:
        self._version, self._without = version, without
        self._failed = dict[str, str]()
        self._proc, self._ports = set[Backend](), set[Backend]()
        self._notify = self._everything = False

    async def run(self, everything: bool) -> Abilities:
        if "seccomp" in self._without:
            self._failed["seccomp"] = _HELD
            return Abilities(failed=self._failed)
        self._everything = everything
        working = await (self._all() if everything else self._first())
        backend: Backend | None = next((name for name in BACKENDS if name in working), None)
        return Abilities(
            backend=backend,
            failed=self._failed,
            proc=backend in self._proc,
            notify=self._notify,
            ports=backend in self._ports or backend == "landlock",
        )

    async def _all(self) -> set[Backend]:
        worked = await asyncio.gather(*map(self._try, BACKENDS))
        return {name for name, works in zip(BACKENDS, worked, strict=True) if works}

    async def _first(self) -> set[Backend]:
        for name in BACKENDS:
            if await self._try(name):
                return {name}
        return set()

    async def _try(self, name: Backend) -> bool:
        if name in self._without or (name == "landlock" and not self._version):
            self._failed[name] = _HELD if name in self._without else remedies.NO_LANDLOCK
            return False
        try:
            return await (self._landlock() if name == "landlock" else self._private(name))
        except (OSError, NotEnforced, PluginUnavailable) as error:
            if isinstance(error, OSError) and error.errno in _NO_ROOM and not self._everything:
                raise
            why = remedies.reason(error)
            self._failed[name] = why if isinstance(error, NotEnforced) else f"it cannot be started: {why}"
            return False

    async def _private(self, name: Backend) -> bool:
        """With namespaces; without a /proc where that cannot be mounted, as in most containers."""
        wall = Confinement(name="trial", mode=_MODES[name], net=_EVERYWHERE, without=self._off(name))
        if "proc" in self._without:
            self._failed["proc"] = _HELD
        else:
            try:
                self._note(name, await _hold(wall))
                self._proc.add(name)
                return True
            except NotEnforced as error:
                if "proc" not in str(error):
                    raise
                self._failed["proc"] = remedies.reason(error)
        self._note(name, await _hold(replace(wall, proc=False)))
        return True

    def _note(self, name: Backend, sent: list[str]) -> None:
        if len(sent) > 1:  # not the proxy's door alone
            self._ports.add(name)

    async def _landlock(self) -> bool:
        wall = Confinement(name="trial", mode="landlock")
        if "notify" not in self._without:
            try:
                self._notify = "notify" in await _hold(replace(wall, notify=True))
                return True
            except (OSError, NotEnforced) as error:
                self._failed["notify"] = remedies.reason(error)
        else:
            self._failed["notify"] = _HELD
        await _hold(wall)
        return True

    def _off(self, name: Backend) -> tuple[str, ...]:
        return () if self._version else ("landlock",)


async def _hold(wall: Confinement) -> list[str]:
    """Start a process held to `wall`, and end it; the names of what it sent out. Raises `NotEnforced`, `OSError`."""
    from broker.confine import roots
    from broker.confine.tree import spawn

    program = shutil.which("cat", path="/usr/bin:/bin:/run/current-system/sw/bin")  # it waits until it is let go
    if program is None:
        raise OSError(2, "there is no `cat` to try it with")
    found = roots.find([program], environ={})
    held = replace(wall, roots=found.roots, links=found.links)
    async with asyncio.timeout(PATIENCE):
        child = await spawn(found.argv, env={}, cwd="/", wall=held)
        for fd in (child.stdin, child.stdout, child.stderr, *child.sent.values()):
            os.close(fd)
        held_by = child.enforced
        await child.end(grace=PATIENCE)
    if held_by is None:
        raise NotEnforced("it ended before the kernel could be asked what it was held to")
    return list(child.sent)


def _groups(without: Collection[Layer]) -> Groups:
    from broker.confine import cgroup

    return Groups() if "cgroup" in without else cgroup.probe()


def _matters(kind: str, wall: Confinement) -> bool:
    """Whether `wall` holds the plugin to anything of this kind; of files, hosts and programs always."""
    bounds = {"memory": wall.memory, "pids": wall.pids, "disk": wall.disk}
    return kind not in bounds or bounds[kind] is not None


def _unheld(wall: Confinement, found: Abilities, kind: str, grade: Grade) -> NotEnforced:
    how = "cannot be enforced" if grade.grade == "no" else "is enforced only partly, and it is `strict`"
    with_what = _NAMES[found.backend] if found.backend else "nothing"
    return NotEnforced(
        f"{wall.name} was not started, because `{kind}` {how} here ({with_what}): {grade.how}",
        hint=remedies.hint_for(kind, found.failed, wall.name),
    )


# the grades


def _files(found: Abilities, private: bool, *, write: bool) -> Grade:
    version = f"Landlock {found.landlock}" if found.landlock else ""
    if private:
        return Grade("yes", " and ".join(filter(None, ["a private root", version])))
    if write and found.landlock < NO_TRUNCATE:
        return Grade("partly", f"{version}: files of its user can be emptied, before Linux 6.2")
    return Grade("yes", f"{version}; names and sizes of other files stay visible")


def _unkept(found: Abilities, wall: Confinement) -> Grade:
    """Where nothing can be mounted read-only inside of what may be written to."""
    grade = _files(found, private=False, write=True)
    open_to_it = apart(wall.write, wall.roots, wall.kept)[0] if grade.grade == "yes" else ()
    if not open_to_it:
        return grade
    listed = ", ".join(open_to_it[:3]) + (" and others" if open_to_it[3:] else "")
    return Grade("partly", f"Landlock: what others run in its folders is not kept from it ({listed})")


def _no_hosts(private: bool) -> Grade:
    return Grade("yes", "a network of its own, which leads nowhere" if private else "seccomp: no sockets")


def _hosts(found: Abilities, private: bool) -> Grade:
    if private and found.ports:
        return Grade("yes", "a network of its own that leads to the broker, which looks at each host")
    if private:
        return Grade("yes", "a network of its own that leads to the broker's proxy; programs must know proxies")
    if found.notify:
        return Grade("yes", "seccomp: the broker connects in its stead, and looks at each host")
    return Grade("no", f"seccomp notification: {found.failed.get('notify', 'not tried')}")


def _sockets(found: Abilities, private: bool, wall: Confinement | None) -> Grade:
    if wall is None or not wall.sockets:
        return Grade("yes", "seccomp: no unix sockets")
    if not private and not found.notify:
        return Grade("no", f"seccomp notification: {found.failed.get('notify', 'not tried')}")
    if not private:
        return Grade("yes", "seccomp: the broker connects in its stead, to those granted")
    if wall.read or wall.write:
        return Grade("partly", "sockets that lie in folders it was granted can be connected to as well")
    return Grade("yes", "a private root shows only those granted")


def _programs(private: bool, *, any_of: bool, some: bool) -> Grade:
    if any_of:
        return Grade("yes", "any program that it can see was granted")
    if not some:
        return Grade("yes", "seccomp: it can start no process")
    how = "a private root shows only those granted" if private else "Landlock: only those granted can be read"
    return Grade("yes", how)


def _others(found: Abilities, private: bool) -> Grade:
    if private:
        return Grade("yes", "it sees only its own processes")
    if found.landlock >= NO_SCOPES:
        return Grade("yes", f"Landlock {found.landlock} and seccomp: it can neither signal, trace nor read others")
    return Grade("partly", f"Landlock {found.landlock}: it can signal its user's other processes, before Linux 6.12")


def _memory(found: Abilities) -> Grade:
    if how := found.groups.how("memory"):
        return Grade("yes", how)
    return Grade("partly", "each process is bounded by itself, and their sum is looked at now and then")


def _pids(found: Abilities) -> Grade:
    if how := found.groups.how("pids"):
        return Grade("yes", how)
    if found.backend == "native" or (found.backend == "bwrap" and not found.root):
        return Grade("yes", "counted in a user namespace of its own")
    if found.root:
        return Grade("partly", "looked at now and then: the system bounds no processes of root")
    return Grade("partly", "counted together with its user's other processes, and looked at now and then")


def _disk(private: bool) -> Grade:
    scratch = "its /tmp is bounded; " if private else ""
    return Grade("partly", f"{scratch}each file is bounded, and what it wrote is looked at now and then")
