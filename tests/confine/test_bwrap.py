"""Bubblewrap, and our second stage inside it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from broker.confine import backends, bwrap, roots
from broker.confine.plan import Confinement
from broker.confine.tree import Child, spawn
from broker.errors import NotEnforced

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="bubblewrap is Linux's")

PYTHON = os.path.realpath(sys.executable)
BEGIN = """
import json, os, socket, sys, time
def t(what):
    try: return what()
    except OSError as error: return type(error).__name__
def say(**found): print(json.dumps(found), flush=True)
"""
Begin = Callable[..., Awaitable[Child]]


@pytest.fixture
async def begin() -> AsyncIterator[Begin]:
    """Starts Python programs; what a test leaves is ended."""
    found = await backends.examine(without=("native", "landlock"))
    if "bwrap" in found.failed:
        pytest.skip(f"NOT TESTED: bubblewrap does not work here: {found.failed['bwrap']}")
    children: list[Child] = []

    async def begun(program: str, env: dict[str, str] | None = None, **may: Any) -> Child:
        needs = roots.find([PYTHON, "-c", BEGIN + program], environ={}, run=may.get("run", ()))
        wall = Confinement(name="held", roots=needs.roots, links=needs.links, mode="stage2", **may)
        child = await spawn(needs.argv, env=env or {}, cwd=None, wall=wall)
        children.append(child)
        return child

    yield begun
    for child in children:
        await child.end(grace=0)
        for fd in (child.stdin, child.stdout, child.stderr, *child.sent.values()):
            with suppress(OSError):
                os.close(fd)


async def said(child: Child) -> dict[str, Any]:
    line = await asyncio.wait_for(asyncio.to_thread(os.read, child.stdout, 65536), 20)
    return json.loads(line)


async def test_settings_of_the_kernel_are_covered_also_for_root_and_without_landlock(begin: Begin) -> None:
    found = await said(
        await begin(
            "say(write=t(lambda: open('/proc/sys/kernel/core_pattern', 'w') and 1),"
            " list=t(lambda: os.listdir('/proc/sys')), keys=t(lambda: open('/proc/kallsyms').read(10)))",
            without=("landlock",),
        )
    )
    assert found == {"write": "FileNotFoundError", "list": [], "keys": "PermissionError"}


async def test_bubblewrap_itself_never_sees_the_variables_of_the_plugin(begin: Begin) -> None:
    child = await begin("say(mine=os.environ['MINE']); time.sleep(60)", {"MINE": "x"})
    assert (await said(child))["mine"] == "x"
    assert all("MINE" not in environment_of(pid) for pid in above(child.pid, 2))


async def test_the_process_that_is_told_is_the_plugin(begin: Begin) -> None:
    child = await begin("say(ready=1); time.sleep(60)")
    await said(child)
    assert PYTHON in text_of(f"/proc/{child.pid}/cmdline")


async def test_nothing_of_what_was_handed_over_is_left_open(begin: Begin, tmp_path: Path) -> None:
    child = await begin("say(fds=os.listdir('/proc/self/fd'))", read=(str(tmp_path),), net=("example.com:443",))
    assert set((await said(child))["fds"]) <= {"0", "1", "2", "3"}  # 3: of the listing


async def test_code_of_the_broker_is_not_readable(begin: Begin) -> None:
    seen = f"{bwrap.INSIDE}/broker/confine/bwrap.py"
    child = await begin(f"say(there=os.path.exists({seen!r}), code=t(lambda: open({seen!r}).read(1)))")
    assert await said(child) == {"there": True, "code": "PermissionError"}


@pytest.mark.parametrize(("end", "code"), [("os._exit(3)", 3), ("os.kill(os.getpid(), 9)", -9), ("os.abort()", -6)])
async def test_how_the_plugin_ended_is_told(begin: Begin, end: str, code: int) -> None:
    child = await begin(end)
    assert await asyncio.wait_for(child.exited, 20) == code


async def test_everything_ends_with_the_plugin(begin: Begin) -> None:
    child = await begin(
        "os.fork() or (os.setsid(), os.fork() or time.sleep(60), time.sleep(60))\nsay(ready=1); time.sleep(60)",
        run=None,
    )
    await said(child)
    family = [child.pid, *above(child.pid, 2)]
    await asyncio.wait_for(child.end(grace=0), 20)
    assert [pid for pid in family if is_alive(pid)] == []


@pytest.mark.parametrize("words", ["echo 'bwrap: no such luck' >&2; exit 1", "exit 0", "kill -9 $$"])
async def test_a_bubblewrap_that_fails_is_no_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    fake = script(tmp_path / "bwrap", words)
    monkeypatch.setattr(bwrap, "program", lambda: fake)
    wall = Confinement(name="held", mode="stage2")
    with pytest.raises(NotEnforced, match="no such luck" if "luck" in words else "it ended early"):
        await spawn(["/usr/bin/true"], env={}, cwd=None, wall=wall)


async def test_a_machine_without_bubblewrap_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bwrap, "program", lambda: None)
    with pytest.raises(OSError, match="bubblewrap is not installed"):
        await spawn(["/usr/bin/true"], env={}, cwd=None, wall=Confinement(name="held", mode="stage2"))


def test_every_namespace_is_asked_for_and_no_capability_without_a_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bwrap, "program", lambda: "/usr/bin/bwrap")
    words, _ = bwrap.wrapped(Confinement(name="held", mode="stage2"), ["/usr/bin/true"], {}, None)
    options = words[: words.index("--")]
    for name in ("user", "pid", "ipc", "uts", "cgroup", "net"):
        assert f"--unshare-{name}" in options
    assert "--cap-add" not in options and "--die-with-parent" in options
    assert options[-4:-2] == ["--remount-ro", "/"]


def above(pid: int, generations: int) -> list[int]:
    found = [pid]
    for _ in range(generations):
        found.append(int(text_of(f"/proc/{found[-1]}/stat").rpartition(")")[2].split()[1]))
    return found[1:]


def is_alive(pid: int) -> bool:
    try:
        return text_of(f"/proc/{pid}/stat").rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def environment_of(pid: int) -> str:
    return text_of(f"/proc/{pid}/environ")


def text_of(path: str) -> str:
    return Path(path).read_text("utf-8", "replace")


def script(path: Path, words: str) -> str:
    path.write_text(f"#!/bin/sh\n{words}\n")
    path.chmod(0o755)
    return str(path)
