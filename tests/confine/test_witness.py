"""A plugin that is watched is seen trying what it may not do, and can do no more of it than one that is not."""

from __future__ import annotations

import asyncio
import os
import socket
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from broker.confine import backends
from broker.confine.attempts import WAYS, ways
from broker.confine.backends import Abilities, Layer
from broker.confine.plan import Confinement
from broker.confine.start import start
from broker.confine.syscalls import MACHINE, NUMBERS
from broker.confine.witness import MOST, Attempt, Witness
from tests.confine.jailed import BOUND, PRELUDE, PYTHON, native, needs

pytestmark = [native, pytest.mark.timeout(120)]

BACKENDS: dict[str, tuple[Layer, ...]] = {"native": (), "bwrap": ("native",), "landlock": ("native", "bwrap")}


async def seen(program: str, *without: Layer, **held: object) -> tuple[Witness, str]:
    """What a Python program was seen trying on the first mechanism but these, and what it printed."""
    found = await mechanism(tuple(without))
    needed = needs(PYTHON, run=held.get("run", ()))  # pyright: ignore[reportArgumentType]
    wall = Confinement(name="acme", roots=needed.roots, links=needed.links, **held)  # pyright: ignore[reportArgumentType]
    witness = Witness()
    argv = [needed.argv[0], "-I", "-c", PRELUDE + program]
    child = await start(
        argv, env={"PATH": "/usr/bin:/bin"}, cwd=None, wall=wall, told=witness.refused, found=found, witness=witness
    )
    os.close(child.stdin)
    try:
        async with asyncio.timeout(BOUND):
            out, err = await asyncio.gather(*(asyncio.to_thread(_all, fd) for fd in (child.stdout, child.stderr)))
            code = await asyncio.shield(child.exited)
    finally:
        await child.end(grace=0)
        os.close(child.stdout)
        os.close(child.stderr)
    assert code == 0, err
    return witness, out


async def mechanism(without: tuple[Layer, ...]) -> Abilities:
    found = await backends.examine(everything=False, without=without)
    if found.backend is None:
        pytest.skip(f"NOT TESTED without {without}: {backends.tried(found)}")
    return found


def _all(fd: int) -> str:
    read = b""
    while more := os.read(fd, 1 << 16):
        read += more
    return read.decode()


def tried(witness: Witness, below: Path) -> dict[tuple[str, str], int]:
    """What was tried with paths below a folder, by kind and path."""
    counted: Counter[tuple[str, str]] = Counter()
    for attempt, count in witness.tried.items():
        if attempt.target.startswith(f"{below}/"):
            counted[attempt.kind, attempt.target.removeprefix(f"{below}/")] += count
    return dict(counted)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("shown", "hidden"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("secret")
    return tmp_path


@pytest.mark.parametrize("without", BACKENDS.values(), ids=BACKENDS)
async def test_what_is_refused_is_seen_and_stays_refused(folder: Path, without: Sequence[Layer]) -> None:
    program = f"""
f = {str(folder)!r}
print(open(f + "/shown/file").read())
print(tried(open, f + "/hidden/file"), tried(open, f + "/shown/new", "w"), tried(open, f + "/hidden/new", "w"))
print(tried(os.mkdir, f + "/hidden/made"), tried(os.rename, f + "/shown/file", f + "/shown/moved"))
print(tried(subprocess.run, ["git", "--version"]))
print(tried(open, f + "/hidden/missing"))
"""
    witness, said = await seen(program, *without, read=(f"{folder}/shown",))
    assert said.startswith("secret\n") and "done" not in said
    found = tried(witness, folder)
    assert found["read", "hidden/file"] >= 1
    assert ("read", "shown/file") not in found and ("read", "hidden/missing") not in found
    for name in ("shown/new", "hidden/new", "hidden/made", "shown/file", "shown/moved"):
        assert found["write", name] >= 1, name
    assert any(each.kind == "run" and each.target.endswith("/git") for each in witness.tried), witness.tried
    assert witness.used == {f"{folder}/shown"} or f"{folder}/shown" in witness.used
    assert sorted(os.listdir(folder / "shown")) == sorted(os.listdir(folder / "hidden")) == ["file"]


@pytest.mark.parametrize("without", BACKENDS.values(), ids=BACKENDS)
async def test_hosts_are_seen_though_it_may_reach_none(without: Sequence[Layer]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        program = f"""
import urllib.request
print(tried(urllib.request.urlopen, "https://a.example.com/x"))
print(tried(socket.create_connection, ("192.0.2.7", 99), 2))
print(tried(socket.create_connection, ("127.0.0.1", {port}), 2))
"""
        witness, said = await seen(program, *without)
        server.settimeout(0)
        with pytest.raises(BlockingIOError):
            server.accept()
    assert "done" not in said
    hosts = {each.target for each in witness.tried if each.kind == "net"}
    assert {"a.example.com:443", "192.0.2.7:99", f"localhost:{port}"} <= hosts


@pytest.mark.parametrize("without", BACKENDS.values(), ids=BACKENDS)
async def test_it_may_fork_and_still_start_nothing_that_it_cannot_see(without: Sequence[Layer]) -> None:
    program = """
pid = os.fork()
if pid == 0:
    os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
print(tried(subprocess.run, ["/bin/cat", "/etc/hostname"]), tried(subprocess.run, ["/nowhere/at-all"]))
"""
    witness, said = await seen(program, *without)
    assert said.startswith("7\n") and "done" not in said
    assert witness.starts
    assert "/nowhere/at-all" not in {each.target for each in witness.tried}


async def test_its_own_start_is_no_attempt(folder: Path) -> None:
    witness, _ = await seen("pass")
    assert not witness.starts and [each for each in witness.tried if each.kind == "run"] == []


async def test_set_id_bits_are_refused_as_ever(folder: Path) -> None:
    program = f"""
f = {str(folder / "shown" / "set")!r}
print(tried(os.open, f, os.O_CREAT | os.O_WRONLY, 0o4755), tried(os.mkfifo, f + "p"), tried(os.chmod, f, 0o4755))
"""
    watched, said = await seen(program, write=(f"{folder}/shown",))
    assert said.split() == ["EPERM", "done", "EPERM"]
    assert not (folder / "shown" / "set").exists()
    assert tried(watched, folder) == {}


async def test_paths_that_are_not_from_the_root_are_understood(folder: Path) -> None:
    program = f"""
os.chdir({str(folder / "shown")!r})
here = os.open(".", os.O_RDONLY)
print(tried(lambda: os.open("new", os.O_CREAT | os.O_WRONLY, dir_fd=here)), tried(open, "new2", "w"))
print(tried(open, "../hidden/file"))
"""
    witness, _ = await seen(program, read=(str(folder / "shown"),))
    assert set(tried(witness, folder)) == {("write", "shown/new"), ("write", "shown/new2"), ("read", "hidden/file")}


async def test_garbage_for_a_path_ends_nothing(folder: Path) -> None:
    program = f"""
number = {NUMBERS["openat"]}
for at in (0, 1, -1, 0x7fffffffffff):
    print(tried(sys_call, number, -100, at, 0))
print(tried(open, "x" * 5000), tried(open, "/a" * 2500), tried(os.open, "x", 0, 0, dir_fd=99) if 0 else "")
print(tried(lambda: os.open("x", os.O_RDONLY, dir_fd=99)))
print("alive")
"""
    _, said = await seen(program)
    assert said.split() == [*["EFAULT"] * 4, "ENAMETOOLONG", "ENAMETOOLONG", "EBADF", "alive"]


async def test_many_threads_are_each_answered(folder: Path) -> None:
    program = f"""
def work():
    for _ in range(200):
        tried(open, {str(folder / "hidden" / "file")!r})
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print("all")
"""
    witness, said = await seen(program)
    assert said == "all\n" and tried(witness, folder)["read", "hidden/file"] == 1600


def test_a_plugin_cannot_fill_our_memory(tmp_path: Path) -> None:
    witness = Witness()
    for number in range(MOST + 100):
        witness._note("net", f"h{number}.dev:443", "connect")  # pyright: ignore[reportPrivateUsage]
    witness._note("net", "h0.dev:443", "connect")  # pyright: ignore[reportPrivateUsage]
    assert len(witness.tried) == MOST and witness.tried[Attempt("net", "h0.dev:443", "connect")] == 2


def test_the_numbers_agree_with_those_of_the_filter() -> None:
    by_name = {way.name: number for number, way in WAYS.items()}
    assert {name: number for name, number in by_name.items() if name in NUMBERS} == {
        name: NUMBERS[name] for name in by_name if name in NUMBERS
    }
    assert MACHINE and len(by_name) > 20
    assert {way.name for way in ways("aarch64").values()} < {way.name for way in ways("x86_64").values()}
    assert ways("riscv64") == {}
