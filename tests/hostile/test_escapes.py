"""A plugin that tries everything to get out, on each mechanism that can hold it.

What it says counts, and so does what happened outside. A suite that would pass with a layer switched off would prove
nothing: the last tests switch each one off and want to see an escape.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tempfile
from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from broker.confine import backends
from broker.confine.backends import Abilities, Layer
from broker.confine.plan import Confinement
from broker.confine.start import start
from broker.confine.tree import Child
from broker.confine.witness import Witness
from tests.confine.jailed import PYTHON, needs
from tests.hostile.escape import exhaustion, files, kernel, network, processes
from tests.hostile.outside import Outside

ROOMS = {"files": files, "network": network, "processes": processes, "kernel": kernel, "exhaustion": exhaustion}
OTHERS: dict[str, tuple[Layer, ...]] = {"native": (), "bwrap": ("native",), "landlock": ("native", "bwrap")}
BOUND = 60.0  # seconds for all attempts of a room
LIMITS: dict[str, Any] = {"memory": 256 << 20, "pids": 40, "disk": 32 << 20}
LISTED = "/usr/bin/true"  # the only program that a plugin with a list may start

# What is not enforced, each with the reason, and as the README says it. (backend, list of programs, attempt)
NOT_ENFORCED = {
    ("landlock", "stat_a_file_of_the_home_folder"): "Landlock does not judge stat: names and sizes stay visible",
    ("bwrap", "use_up_the_inodes_of_the_temporary_folder"): "bubblewrap bounds the bytes of a /tmp, not its files",
}
ALLOWED = {"fork_at_all"}  # to one that may start programs


def attempts(room: str) -> list[str]:
    """The names of all attempts of a room."""
    module = ROOMS[room]
    return [
        name
        for name, value in vars(module).items()
        if callable(value) and getattr(value, "__module__", "") == module.__name__ and not name.startswith("_")
    ]


async def able(backend: str, without: tuple[Layer, ...] = ()) -> Abilities:
    """This machine as if it had only this mechanism. Skips where it does not have it."""
    found = await backends.examine(everything=False, without=(*OTHERS[backend], *without))
    if found.backend != backend and not without:
        pytest.skip(f"NOT TESTED on {backend}: {backends.tried(found)}")
    return found


@asynccontextmanager
async def plugin(
    outside: Outside, found: Abilities, *, run: tuple[str, ...], witness: Witness | None = None, **held: Any
) -> AsyncGenerator[Child]:
    """The plugin that tries; `witness` watches it."""
    seen = needs(PYTHON, run=run)
    wall = Confinement(
        name="escape",
        read=(outside.world.docs,),
        write=(outside.world.data,),
        roots=(*seen.roots, str(outside.code.parent)),
        links=seen.links,
        run=run,
        **{**LIMITS, **held},
    )
    words = [seen.argv[0], "-I", "-B", str(outside.code / "__main__.py")]
    child = await start(
        words, env={"PATH": "/usr/bin"}, cwd=None, wall=wall, told=lambda denied: None, found=found, witness=witness
    )
    try:
        yield child
    finally:
        await child.end(grace=0)
        for fd in (child.stdin, child.stdout, child.stderr):
            os.close(fd)


async def tried(outside: Outside, found: Abilities, room: str, *, run: tuple[str, ...], **held: Any) -> dict[str, str]:
    """What each attempt of a room got. One that ends the plugin is `!killed`; the others go on in a new one."""
    left, got = attempts(room), dict[str, str]()
    while left:
        async with plugin(outside, found, run=run, **held) as child:
            order = outside.order([(room, name) for name in left])
            await asyncio.to_thread(os.write, child.stdin, json.dumps(order).encode() + b"\n")
            got |= dict(await _verdicts(child))
            left = left[len([name for name in left if name in got]) :]
            if left:
                got[left.pop(0)] = "!killed"
    return got


async def _verdicts(child: Child) -> list[tuple[str, str]]:
    async with asyncio.timeout(BOUND):
        out, err = await asyncio.gather(asyncio.to_thread(_all, child.stdout), asyncio.to_thread(_all, child.stderr))
    assert "Traceback" not in err, err
    return [json.loads(line) for line in out.splitlines()]


def _all(fd: int) -> str:
    read = b""
    while more := os.read(fd, 1 << 16):
        read += more
    return read.decode()


@pytest.fixture
def outside() -> Any:
    top = Path(tempfile.mkdtemp(prefix="escape-", dir="/var/tmp"))  # not below /tmp, which a plugin has of its own
    top.chmod(0o755)
    made = Outside(top, f"word{uuid4().hex}")
    yield made
    made.close()
    shutil.rmtree(top)


def escapes(got: dict[str, str], backend: str, allowed: Collection[str] = ()) -> dict[str, str]:
    """Those that got something which they must not."""
    return {
        name: said
        for name, said in got.items()
        if said and not said.startswith("!") and name not in allowed and (backend, name) not in NOT_ENFORCED
    }


def test_there_are_more_attempts_than_a_plugin_would_think_of() -> None:
    names = [name for room in ROOMS for name in attempts(room)]
    assert len(names) == len(set(names)) >= 120


@pytest.mark.timeout(180)
@pytest.mark.parametrize("backend", OTHERS)
@pytest.mark.parametrize("room", ROOMS)
@pytest.mark.parametrize("run", [(), (LISTED,)], ids=["starts nothing", "starts one program"])
async def test_nothing_that_it_tries_gets_out(backend: str, room: str, run: tuple[str, ...], outside: Outside) -> None:
    found = await able(backend)
    got = await tried(outside, found, room, run=run)
    assert escapes(got, backend, ALLOWED if run else ()) == {}
    assert not [said for said in got.values() if said.startswith("!!")]  # a mistake in an attempt proves nothing
    assert outside.state() == outside.before


@pytest.mark.parametrize(
    ("backend", "layer", "room"),
    [
        ("native", "seccomp", "kernel"),
        ("bwrap", "seccomp", "kernel"),
        ("landlock", "seccomp", "kernel"),
        ("landlock", "seccomp", "network"),
        ("landlock", "seccomp", "processes"),
        ("landlock", "landlock", "files"),
    ],
)
async def test_without_one_of_its_layers_something_gets_out(
    backend: str, layer: str, room: str, outside: Outside
) -> None:
    found = await able(backend)
    got = await tried(outside, found, room, run=(), without=(layer,))
    assert escapes(got, backend) or outside.state() != outside.before


@pytest.mark.parametrize("backend", OTHERS)
async def test_what_it_leaves_behind_is_gone_with_it(backend: str, outside: Outside) -> None:
    found = await able(backend)
    async with plugin(outside, found, run=(LISTED,)) as child:
        order = outside.order([("exhaustion", "leave_a_daemon")])
        await asyncio.to_thread(os.write, child.stdin, json.dumps(order).encode() + b"\n")
        assert json.loads(await asyncio.to_thread(os.read, child.stdout, 1 << 16)) == ["leave_a_daemon", ""]
    left = [pid for pid in filter(str.isdigit, os.listdir("/proc")) if str(outside.code) in _command(pid)]
    assert left == []


def _command(pid: str) -> str:
    try:
        return Path("/proc", pid, "cmdline").read_text("utf-8", "replace")
    except OSError:
        return ""
