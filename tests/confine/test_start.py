"""A plugin held by each mechanism that this machine has; one that it has not is skipped with the reason."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from broker.confine import backends, roots, watchdog
from broker.confine.backends import BACKENDS, Abilities, Backend
from broker.confine.cgroup import Groups
from broker.confine.egress.denied import Denied
from broker.confine.plan import Confinement
from broker.confine.start import start
from broker.confine.tree import Child
from broker.errors import NotEnforced

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="nothing is confined elsewhere")

MIB = 1 << 20
PYTHON = os.path.realpath(sys.executable)
# What each program below begins with: `t(what)` is what it returns, or the name of its error.
BEGIN = """
import json, os, socket, subprocess, sys, time
def t(what):
    try: return what()
    except OSError as error: return type(error).__name__
def say(**found): print(json.dumps(found), flush=True)
"""
Run = Callable[..., Awaitable[dict[str, Any]]]


@functools.cache
def with_backend(backend: Backend) -> Abilities:
    before = BACKENDS[: BACKENDS.index(backend)]
    return asyncio.run(backends.examine(without=before))


@pytest.fixture(params=BACKENDS)
async def found(request: pytest.FixtureRequest) -> Abilities:
    """The abilities of this machine with one mechanism, as if those before it were not there."""
    has = await asyncio.to_thread(with_backend, request.param)
    if has.backend != request.param:
        pytest.skip(f"NOT TESTED: {request.param} does not work here: {backends.tried(has)}")
    return has


@pytest.fixture
async def begin(found: Abilities) -> AsyncIterator[Callable[..., Awaitable[Child]]]:
    """Starts Python programs; what a test leaves is ended."""
    children: list[Child] = []

    async def begun(
        program: str, *, told: Callable[[Denied], None] = lambda _: None, own: str | None = None, **may: Any
    ) -> Child:
        needs = roots.find([PYTHON, "-c", BEGIN + program], environ=dict(os.environ), run=may.get("run", ()))
        wall = Confinement(name="held", roots=needs.roots, links=needs.links, **may)
        child = await start(needs.argv, env={"PATH": "/usr/bin"}, cwd=None, wall=wall, told=told, own=own, found=found)
        children.append(child)
        return child

    yield begun
    for child in children:
        await child.end(grace=0)
        for fd in (child.stdin, child.stdout, child.stderr):
            with suppress(OSError):
                os.close(fd)


@pytest.fixture
def run(begin: Callable[..., Awaitable[Child]]) -> Run:
    """Runs a program to its end; what it said, and how it ended."""

    async def ran(program: str, **may: Any) -> dict[str, Any]:
        child = await begin(program, **may)
        os.close(child.stdin)
        out, error = await asyncio.wait_for(asyncio.gather(drained(child.stdout), drained(child.stderr)), 30)
        code = await asyncio.wait_for(child.exited, 10)
        lines = out.decode().splitlines()
        return {"code": code, "error": error.decode(), "child": child, **(json.loads(lines[-1]) if lines else {})}

    return ran


async def drained(fd: int) -> bytes:
    def read() -> bytes:
        found = b""
        while more := os.read(fd, 65536):
            found += more
        return found

    return await asyncio.to_thread(read)


async def test_it_reads_and_writes_only_what_it_was_granted(run: Run, tmp_path: Path) -> None:
    for name in ("read", "write", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("x")
    said = await run(
        f"""
base = {str(tmp_path)!r}
say(read=t(lambda: open(base + "/read/file").read()), change=t(lambda: open(base + "/read/file", "w")),
    write=t(lambda: open(base + "/write/new", "w").write("y")), other=t(lambda: open(base + "/other/file").read()),
    home=t(lambda: open("/etc/shadow").read()), list=t(lambda: os.listdir(base + "/other")))
""",
        read=(str(tmp_path / "read"),),
        write=(str(tmp_path / "write"),),
    )
    assert (said["read"], said["write"]) == ("x", 1), said
    assert said["change"] in ("PermissionError", "OSError")
    assert {said["other"], said["home"], said["list"]} <= {"PermissionError", "FileNotFoundError"}
    assert (tmp_path / "write" / "new").read_text() == "y"


async def test_it_has_a_folder_for_scratch_that_is_gone_afterwards(run: Run) -> None:
    said = await run("import tempfile; f = tempfile.mkdtemp(); open(f + '/x', 'w').write('x'); say(folder=f)")
    assert "folder" in said, said
    for _ in range(200):
        if not is_there(said["folder"]):
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{said['folder']} is still there")


def is_there(path: str) -> bool:
    return os.path.exists(path)


async def test_a_mode_is_changed_in_what_it_may_write_and_nowhere_else(run: Run, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "file").write_text("x")
    (tmp_path / "out").write_text("x")
    before = (tmp_path / "out").stat().st_mode
    said = await run(
        f"""
base = {str(tmp_path)!r}
say(inside=t(lambda: os.chmod(base + "/in/file", 0o640)), out=t(lambda: os.chmod(base + "/out", 0o777)))
""",
        write=(str(tmp_path / "in"),),
    )
    assert said["inside"] is None, said
    assert said["out"] in ("PermissionError", "FileNotFoundError")
    assert (tmp_path / "in" / "file").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "out").stat().st_mode == before


async def test_it_starts_nothing_unless_it_may(run: Run) -> None:
    program = """
ran = lambda path: subprocess.run([path], capture_output=True).returncode
say(listed=t(lambda: ran("/usr/bin/true")), other=t(lambda: ran("/usr/bin/id")))
"""
    assert (await run(program))["listed"] == "PermissionError"
    said = await run(program, run=("/usr/bin/true",))
    assert said["listed"] == 0, said
    assert said["other"] in ("FileNotFoundError", "PermissionError")


@pytest.mark.skipif(shutil.which("git", path="/usr/bin") is None, reason="NOT TESTED: there is no git")
async def test_git_commits_in_a_folder_it_may_write(run: Run, tmp_path: Path) -> None:
    repository = made(tmp_path / "repository")
    said = await run(
        f"""
os.environ |= {{"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_PAGER": "cat"}}
who = ["-c", "user.name=x", "-c", "user.email=x@example.com", "-c", "safe.directory=*"]
def git(*words):
    said = subprocess.run(["git", "-C", {repository!r}, *who, *words], capture_output=True, text=True)
    return said.stdout + said.stderr
init = git("init", "-q")
open({repository!r} + "/file", "w").write("x")
say(init=init, add=git("add", "file"), commit=git("commit", "-qm", "one"), log=git("log", "--format=%s"))
""",
        run=("/usr/bin/git",),
        write=(repository,),
    )
    assert said.get("log") == "one\n", said


def made(path: Path) -> str:
    path.mkdir()
    return os.path.realpath(path)


async def test_without_a_grant_it_reaches_no_host_and_makes_no_socket(run: Run) -> None:
    said = await run(
        """
say(tcp=t(lambda: socket.create_connection(("127.0.0.1", 9), 1) and 1), udp=t(lambda: socket.socket(2, 2) and 1),
    unix=t(lambda: socket.socket(socket.AF_UNIX) and 1), raw=t(lambda: socket.socket(2, 3) and 1))
"""
    )
    assert {said["tcp"], said["unix"], said["raw"]} == {"PermissionError"}, said


async def test_it_reaches_the_hosts_it_was_granted_without_knowing_proxies(run: Run, found: Abilities) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        await writer.drain()
        writer.close()

    denied: list[Denied] = []
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        said = await run(
            f"""
def ask(host, port):
    with socket.create_connection((host, port), 10) as s:
        s.sendall(b"hello\\n")
        return s.recv(100).decode()
say(granted=t(lambda: ask("localhost", {port})), other=t(lambda: ask("localhost", {port} + 1)),
    name=t(lambda: ask("example.com", {port})))
""",
            net=(f"localhost:{port}!private",),
            told=denied.append,
        )
    assert said["granted"] == ("hello\n" if found.ports else "ConnectionRefusedError"), said
    assert said["other"] != "hello\n" and said["name"] in ("gaierror", "PermissionError"), said
    assert any(one.host == "example.com" for one in denied)


async def test_what_the_kernel_says_afterwards_is_what_was_promised(begin: Any, found: Abilities) -> None:
    child = await begin("time.sleep(60)")
    status = text_of(f"/proc/{child.pid}/status")
    assert "NoNewPrivs:\t1" in status and "Seccomp:\t2" in status and "CapEff:\t0000000000000000" in status
    for name in ("mnt", "pid", "net", "user", "ipc"):
        own = os.readlink(f"/proc/self/ns/{name}")
        assert (os.readlink(f"/proc/{child.pid}/ns/{name}") == own) is (found.backend == "landlock")


def text_of(path: str) -> str:
    return Path(path).read_text("utf-8")


async def test_sigterm_reaches_the_plugin_itself(begin: Any) -> None:
    child = await begin("import signal; signal.signal(15, lambda *_: os._exit(7)); say(ready=1); time.sleep(60)")
    await asyncio.to_thread(os.read, child.stdout, 100)
    await asyncio.wait_for(child.end(grace=0.5), 10)
    assert child.code == 7


async def test_memory_is_bounded_and_it_is_said_why_it_ended(run: Run, found: Abilities) -> None:
    # One page after another, shared: what each process carries itself does not see this in node, nor its sum.
    said = await run(
        "import mmap; held = mmap.mmap(-1, 300 << 20)\nfor at in range(0, 300 << 20, 4096): held[at] = 1\nsay(alive=1)",
        memory=128 * MIB,
    )
    assert "alive" not in said
    if "memory" in found.groups.kinds:
        assert (said["code"], said["child"].overstepped) == (-9, "used more memory than it may")
    else:
        assert "Cannot allocate memory" in said["error"] or "may use 128 MiB" in said["child"].overstepped


async def test_a_tree_that_no_group_counts_is_ended_by_the_watchdog(
    begin: Any, found: Abilities, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchdog, "EVERY", 0.05)
    alone = replace(found, groups=Groups(why="as in most places"))
    program = """
for _ in range(3):
    if os.fork() == 0:
        held = bytearray(os.urandom(1)) * (60 << 20)
        break
time.sleep(60)
"""
    needs = roots.find([PYTHON, "-c", BEGIN + program], environ={}, run=None)
    wall = Confinement(name="held", roots=needs.roots, links=needs.links, run=None, memory=128 * MIB)
    child = await start(needs.argv, env={}, cwd=None, wall=wall, told=lambda _: None, found=alone)
    try:
        await asyncio.wait_for(child.exited, 30)
        assert "of memory and may use 128 MiB" in child.overstepped
    finally:
        await child.end(grace=0)
        for fd in (child.stdin, child.stdout, child.stderr):
            os.close(fd)


async def test_what_holds_it_only_partly_is_said(begin: Any, found: Abilities, tmp_path: Path) -> None:
    child = await begin("time.sleep(60)", disk=64 * MIB)
    assert any(warning.startswith("held: `disk` is enforced only partly") for warning in child.warnings)
    assert (await begin("time.sleep(60)")).warnings == []


async def test_forks_stop_at_their_bound(run: Run, found: Abilities) -> None:
    if backends.grades(found)["pids"].grade != "yes":
        pytest.skip(f"NOT TESTED: {backends.grades(found)['pids'].how}")
    said = await run(
        """
made = 0
try:
    while made < 200:
        if os.fork() == 0:
            time.sleep(60)
        made += 1
except OSError:
    pass
say(made=made)
os._exit(0)
""",
        run=None,
        pids=20,
    )
    assert 5 < said["made"] <= 20, said


async def test_a_granted_folder_that_became_a_link_refuses_the_start(begin: Any, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "granted").symlink_to(tmp_path / "secret")
    with pytest.raises(NotEnforced, match=r"symbolic link|Too many levels"):
        await begin("say(x=1)", read=(str(tmp_path / "granted"),))


async def test_nothing_is_left_when_a_start_is_refused(begin: Any, tmp_path: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises((NotEnforced, OSError)):
        await begin("say(x=1)", read=(str(tmp_path / "none"),), memory=64 * MIB, net=("example.com:443",))
    for _ in range(200):
        if len(os.listdir("/proc/self/fd")) <= len(before) + 2:  # the fork server's socket, if it was the first
            return
        await asyncio.sleep(0.01)
    raise AssertionError(os.listdir("/proc/self/fd"))


async def test_many_at_once_leave_no_descriptor_behind(begin: Any) -> None:
    warm = await begin("say(x=1)")
    await asyncio.wait_for(warm.end(grace=5), 10)
    before = len(os.listdir("/proc/self/fd"))
    children = await asyncio.gather(*(begin("sys.stdin.read()", net=("example.com:443",)) for _ in range(20)))
    for child in children:
        os.close(child.stdin)
    await asyncio.wait_for(asyncio.gather(*(child.end(grace=5) for child in children)), 40)
    for child in children:
        os.close(child.stdout)
        os.close(child.stderr)
    for _ in range(500):
        if len(os.listdir("/proc/self/fd")) <= before:
            return
        await asyncio.sleep(0.01)
    raise AssertionError((before, len(os.listdir("/proc/self/fd"))))


async def test_of_unix_sockets_it_reaches_those_it_was_granted(run: Run, tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        await writer.drain()
        writer.close()

    folders = [made(tmp_path / name) for name in ("granted", "other")]
    paths = [f"{folder}/s" for folder in folders]
    servers = [await asyncio.start_unix_server(answer, path) for path in paths]
    said = await run(
        f"""
def ask(path):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(path)
        return s.recv(100).decode()
say(granted=t(lambda: ask({paths[0]!r})), other=t(lambda: ask({paths[1]!r})))
""",
        sockets=(paths[0],),
    )
    for server in servers:
        server.close()
    assert said["granted"] == "hello", said
    assert said["other"] in ("PermissionError", "FileNotFoundError")
