"""Memory, processes and CPU of a plugin counted by the kernel as one, where we may make groups for that.

Rule 1: a plugin's first process enters its group before anything of the plugin runs: it writes `0` to a descriptor of
        `cgroup.procs` that was opened outside of its namespaces. Whatever it starts is born there.
Rule 2: version 2 wants a subtree that was handed to us ("delegated") and holds nobody else: there we move to a leaf of
        our own, as a group that has groups may hold no process. `systemd-run --user --scope -p Delegate=yes` gives it.
Rule 3: version 1 is for root only. Groups lie below our own, so our own bounds hold for them too.
Rule 4: a group's name begins with the process that made it, and what a dead one left is removed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

DELEGATE = "Start broker with `systemd-run --user --scope -p Delegate=yes broker mcp`."
_KINDS = ("memory", "pids", "cpu")
_LEAF = "broker"
_PERIOD = 100_000  # microseconds in which a plugin gets its share of CPU
_REMOVAL = 0.5  # seconds; a group whose last process just ended cannot be removed at once


class Groups(Struct, frozen=True, kw_only=True):
    """Where groups can be made. Empty: nowhere, and `why`."""

    v2: str = ""
    v1: tuple[tuple[str, str], ...] = ()  # controller, and our own group's folder
    kinds: tuple[str, ...] = ()  # what they can bound: memory, pids, cpu
    why: str = ""
    remedy: str = ""

    def how(self, kind: str) -> str:
        """The mechanism that holds this kind; empty if none does."""
        names = {"memory": "memory.max", "pids": "pids.max", "cpu": "cpu.max"}
        if kind not in self.kinds:
            return ""
        return f"cgroup {names[kind]}" if self.v2 else f"cgroup (v1) {kind}"


class Group:
    """One plugin's. Made empty; `procs` are the files its first process writes `0` to."""

    def __init__(self, folders: list[Path]) -> None:
        self._folders: list[Path] = folders
        self.procs = tuple(str(folder / "cgroup.procs") for folder in folders)

    def pids(self) -> set[int]:
        """The processes in it."""
        return {int(word) for folder in self._folders for word in _text(folder / "cgroup.procs").split()}

    def overstepped(self) -> str:
        """What the kernel killed something in it for, as the end of a sentence; empty: nothing."""
        for folder in self._folders:
            for name in ("memory.events", "memory.oom_control"):
                lines = _text(folder / name).splitlines()
                if any(line.startswith("oom_kill ") and not line.endswith(" 0") for line in lines):
                    return "used more memory than it may"
        return ""

    def close(self) -> None:
        """Kill what is left in it, and remove it. Blocks, half a second at most."""
        deadline = time.monotonic() + _REMOVAL
        while self._folders and time.monotonic() < deadline:
            for pid in self.pids():
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            self._folders = [folder for folder in self._folders if not _removed(folder)]
            if self._folders:
                time.sleep(0.005)


def probe(proc: Path = Path("/proc/self")) -> Groups:
    """Where groups can be made here, by making one. Changes nothing."""
    mounts, own = _mounts(proc), _own(proc)
    found = _probe_v2(mounts, own)
    if not found.kinds and os.geteuid() == 0:
        v1 = tuple((kind, folder) for kind in _KINDS[:2] if (folder := _writable_v1(mounts, own, kind)))
        if v1:
            return Groups(v1=v1, kinds=tuple(kind for kind, _ in v1))
    return found


def prepare(groups: Groups) -> Groups:
    """Make ready what `probe` found: in version 2 we leave for a leaf. Also removes what dead brokers left."""
    for base in (groups.v2, *(folder for _, folder in groups.v1)):
        _sweep(base)
    if not groups.v2:
        return groups
    base = Path(groups.v2)
    try:
        (base / _LEAF).mkdir(exist_ok=True)
        for pid in _text(base / "cgroup.procs").split():
            _write(base / _LEAF / "cgroup.procs", pid)
        _write(base / "cgroup.subtree_control", " ".join(f"+{kind}" for kind in groups.kinds))
    except OSError as error:
        return Groups(why=f"its subtree cannot be divided: {error}", remedy=DELEGATE)
    return groups


def make(
    groups: Groups, name: str, *, memory: int | None = None, pids: int | None = None, cpu: float | None = None
) -> Group:
    """A group for one plugin: bytes, processes and threads, and cores. Raises `OSError`."""
    title = f"broker-{os.getpid()}-{name}-{time.monotonic_ns():x}"
    if groups.v2:
        return _made([(Path(groups.v2, title), dict(_v2_files(memory, pids, cpu)))])
    bounds = {"memory": {"memory.limit_in_bytes": memory}, "pids": {"pids.max": pids}}
    wanted = [(Path(folder, title), bounds[kind]) for kind, folder in groups.v1]
    return _made([(folder, files) for folder, files in wanted if None not in files.values()])


def _v2_files(memory: int | None, pids: int | None, cpu: float | None) -> Iterator[tuple[str, object]]:
    if memory is not None:
        yield "memory.max", memory
        yield "memory.swap.max", 0
        yield "memory.oom.group", 1
    if pids is not None:
        yield "pids.max", pids
    if cpu is not None:
        yield "cpu.max", f"{int(cpu * _PERIOD)} {_PERIOD}"


def _made(wanted: Sequence[tuple[Path, Mapping[str, object]]]) -> Group:
    made = list[Path]()
    try:
        for folder, files in wanted:
            folder.mkdir()
            made.append(folder)
            for file, value in files.items():
                if file != "memory.swap.max" or (folder / file).exists():  # a kernel without swap has no such file
                    _write(folder / file, value)
    except BaseException:
        Group(made).close()
        raise
    return Group(made)


def _probe_v2(mounts: dict[str, str], own: dict[str, str]) -> Groups:
    if "" not in mounts or "" not in own:
        return Groups(why="there is no cgroup version 2 here", remedy=DELEGATE)
    base = os.path.normpath(mounts[""] + own[""])
    if not (os.access(base, os.W_OK) and os.access(os.path.join(base, "cgroup.procs"), os.W_OK)):
        return Groups(why="our cgroup was not handed to us (delegated)", remedy=DELEGATE)
    kinds = tuple(kind for kind in _KINDS if kind in _text(Path(base, "cgroup.controllers")).split())
    if not kinds:
        return Groups(why="our cgroup has no controller for memory, processes or CPU", remedy=DELEGATE)
    if not _only_ours(base):
        return Groups(why="other programs run in our cgroup", remedy=DELEGATE)
    try:
        trial = Path(base, f"broker-{os.getpid()}-trial")
        trial.mkdir()
        trial.rmdir()
    except OSError as error:
        return Groups(why=f"no group can be made in {base}: {error.strerror}", remedy=DELEGATE)
    return Groups(v2=base, kinds=kinds)


def _writable_v1(mounts: dict[str, str], own: dict[str, str], kind: str) -> str:
    """Our own group's folder of a version 1 controller, if groups can be made in it; else empty."""
    folder = os.path.normpath(mounts[kind] + own[kind]) if kind in mounts and kind in own else ""
    return folder if folder and os.access(folder, os.W_OK) and os.path.exists(f"{folder}/tasks") else ""


def _mounts(proc: Path) -> dict[str, str]:
    """Controller -> where it is mounted; the empty name is version 2's."""
    found = dict[str, str]()
    for line in _text(proc / "mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.partition(" ")
        if kind == "cgroup2":
            found.setdefault("", before.split()[4])
        elif kind == "cgroup":
            found.update({name: before.split()[4] for name in options.split()[-1].split(",")})
    return found


def _own(proc: Path) -> dict[str, str]:
    """Controller -> our group."""
    rows = (line.split(":", 2) for line in _text(proc / "cgroup").splitlines())
    return {name: group for _, names, group in rows for name in names.split(",")}


def _only_ours(base: str) -> bool:
    """Whether nobody is in the group but us and what we started."""
    pids = {int(word) for word in _text(Path(base, "cgroup.procs")).split()}
    return all(pid == os.getpid() or _parent(pid) == os.getpid() for pid in pids)


def _parent(pid: int) -> int:
    words = _text(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return int(words[1]) if len(words) > 1 else 0


def _sweep(base: str) -> None:
    for folder in Path(base).glob("broker-*-*") if base else ():
        maker = folder.name.split("-")[1]
        if maker.isdigit() and not os.path.exists(f"/proc/{maker}"):
            _removed(folder)


def _removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except OSError as error:
        return error.errno == errno.ENOENT
    return True


def _write(path: Path, value: object) -> None:
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, str(value).encode())
    finally:
        os.close(fd)


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
