"""Looks now and then at what a plugin uses, where the kernel does not count it: memory, processes, bytes on disk.

It sees a plugin that grows, some seconds late, and no burst between two looks: "partly". A look runs in a thread and
costs no more than a fiftieth of the time: one that takes longer makes the next one later.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator

from msgspec import Struct

EVERY = 1.0  # seconds between two looks at memory
SHARE = 50  # a look that takes t seconds is followed by a pause of at least t times this
DISK_EVERY = 10  # looks at memory for one at the folders
MOST_FILES = 50_000  # entries that one look at the folders goes through; there may be more, and they are not counted
_PAGE = os.sysconf("SC_PAGE_SIZE") if os.name == "posix" else 4096


class Bounds(Struct, frozen=True, kw_only=True):
    """What to hold a plugin to; None: not this."""

    memory: int | None = None  # bytes of all its processes together
    pids: int | None = None  # processes and threads
    disk: int | None = None  # bytes by which its folders may grow, and which its own may hold
    own: str | None = None  # its data folder: what it left there earlier counts too
    folders: tuple[str, ...] = ()  # others that it may write to


async def watch(pid: int, bounds: Bounds, every: float = EVERY) -> str:
    """Wait until the tree that `pid` is the first process of uses too much; what that is, as a sentence's end.

    Runs until it is cancelled. `every`: seconds.
    """
    keeper = await asyncio.to_thread(_parent, pid)
    before = await asyncio.to_thread(_used, bounds.folders) if bounds.disk is not None else 0
    for count in itertools.count():
        began = time.monotonic()
        said = await asyncio.to_thread(_tree_over, keeper, bounds)
        if said is None and bounds.disk is not None and count % DISK_EVERY == 0:
            said = await asyncio.to_thread(_disk_over, bounds, before)
        if said is not None:
            return said
        await asyncio.sleep(max(every, SHARE * (time.monotonic() - began)))
    raise AssertionError


def guard(pid: int, bounds: Bounds, over: Callable[[str], None], every: float = EVERY) -> asyncio.Task[None]:
    """A task that watches and calls `over` once; its owner cancels it when the plugin has ended."""

    async def look() -> None:
        over(await watch(pid, bounds, every))

    return asyncio.get_running_loop().create_task(look())


def memory(pids: Iterable[int], enough: int) -> int:
    """Bytes that processes use together. What they share counts once, but that is looked up only beyond `enough`."""
    pids = list(pids)
    resident = sum(map(_resident, pids))
    return resident if resident <= enough else sum(map(_proportional, pids))


def below(root: int) -> Iterator[int]:
    """Every process that descends from `root`."""
    waiting = [root]
    while waiting:
        children = _children(waiting.pop())
        waiting += children
        yield from children


def _tree_over(keeper: int, bounds: Bounds) -> str | None:
    tree = list(below(keeper))
    most = bounds.memory
    if most is not None and (used := memory(tree, most)) > most:
        return f"used {_mib(used)} of memory and may use {_mib(most)}"
    if bounds.pids is not None and (count := sum(map(_threads, tree))) > bounds.pids:
        return f"had {count} processes and threads and may have {bounds.pids}"
    return None


def _disk_over(bounds: Bounds, before: int) -> str | None:
    assert bounds.disk is not None
    used = _used(bounds.folders) - before + _used([bounds.own] if bounds.own else [])
    return f"wrote {_mib(used)} to disk and may write {_mib(bounds.disk)}" if used > bounds.disk else None


def _used(folders: Iterable[str]) -> int:
    """Bytes on disk of what lies below, at most `MOST_FILES` entries of it; links are not followed."""
    waiting, total, left = list(folders), 0, MOST_FILES
    while waiting and left > 0:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in itertools.islice(entries, left):
                    left -= 1
                    total += _blocks(entry)
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
        except OSError:  # a file, or it is gone
            continue
    return total


def _blocks(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat(follow_symlinks=False).st_blocks * 512
    except OSError:  # it is gone
        return 0


def _children(pid: int) -> list[int]:
    found = list[int]()
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            found += map(int, _read(f"/proc/{pid}/task/{thread}/children").split())
    except OSError:
        pass
    return found


def _threads(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/task"))
    except OSError:  # it is gone
        return 0


def _resident(pid: int) -> int:
    words = _read(f"/proc/{pid}/statm").split()
    return int(words[1]) * _PAGE if len(words) > 1 else 0


def _proportional(pid: int) -> int:
    for line in _read(f"/proc/{pid}/smaps_rollup").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) << 10
    return _resident(pid)


def _parent(pid: int) -> int:
    """The keeper: it inherits whoever loses its own parent."""
    words = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return int(words[1]) if len(words) > 1 else pid


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.0f} MiB"
