"""Landlock alone: what holds where there are no namespaces."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest

from broker.confine import landlock
from broker.errors import NotEnforced
from tests.confine.jailed import PYTHON, confined, python, run, secret_below

pytestmark = pytest.mark.skipif(not landlock.abi(), reason="NOT TESTED: this kernel has no Landlock")
WITHOUT = {"mode": "landlock", "without": ("seccomp",)}  # what is seen here is Landlock's work


async def test_what_was_not_granted_is_neither_read_nor_written_nor_executed(tmp_path: Path) -> None:
    secret = secret_below(tmp_path)
    said = await python(
        f"secret, folder = {str(secret)!r}, {str(tmp_path)!r}\n"
        "print(tried(open, secret), tried(open, secret, 'w'), tried(os.listdir, folder))\n"
        "print(tried(os.unlink, secret), tried(os.mkdir, '/tmp/new'), tried(os.execv, '/usr/bin/true', ['true']))",
        **WITHOUT,
    )
    assert said.split() == ["EACCES"] * 6


async def test_what_was_granted_is_read_or_written(tmp_path: Path) -> None:
    read, write = tmp_path / "read", tmp_path / "write"
    for folder in (read, write):
        folder.mkdir()
        (folder / "file").write_text("open", "utf-8")
    said = await python(
        f"print(open('{read}/file').read(), tried(open, '{read}/file', 'w'), tried(open, '{read}/new', 'w'))\n"
        f"print(tried(open, '{write}/file', 'w'), tried(os.rename, '{write}/file', '{write}/moved'))\n"
        f"print(tried(os.link, '{read}/file', '{write}/link'), tried(os.rename, '{write}/moved', '{read}/moved'))",
        read=(str(read),),
        write=(str(write),),
        **WITHOUT,
    )
    assert said.split()[:5] == ["open", "EACCES", "EACCES", "done", "done"]
    assert set(said.split()[5:]) <= {"EACCES", "EXDEV"}


@pytest.mark.skipif(landlock.abi() < landlock.NET_SINCE, reason="NOT TESTED: this Landlock does not judge TCP")
async def test_no_port_is_connected_to_or_bound() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        said = await python(
            f"print(tried(socket.socket().connect, ('127.0.0.1', {port})))\n"
            "print(tried(socket.socket().bind, ('127.0.0.1', 0)))",
            **WITHOUT,
        )
    assert said == "EACCES\nEACCES"


@pytest.mark.skipif(landlock.abi() < landlock.SCOPES_SINCE, reason="NOT TESTED: this Landlock has no scopes")
async def test_no_process_outside_is_signalled_and_no_abstract_socket_reached() -> None:
    name = f"\0landlock-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(name)
        server.listen()
        said = await python(
            f"print(*[tried(os.kill, pid, 0) for pid in ({os.getpid()}, os.getppid(), os.getpid())])\n"
            f"print(tried(socket.socket(socket.AF_UNIX).connect, {name!r}))",
            **WITHOUT,
        )
    assert said.split() == ["EPERM", "EPERM", "done", "EPERM"]


async def test_what_became_a_symbolic_link_refuses_the_start(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(secret_below(tmp_path))
    with pytest.raises(NotEnforced, match=f"{link} is, or lies behind, a symbolic link now.*step landlock"):
        await python("", read=(str(link),), **WITHOUT)
    with pytest.raises(NotEnforced, match=f"{tmp_path}/gone does not exist"):
        await python("", read=(f"{tmp_path}/gone",), **WITHOUT)


async def test_with_the_filter_it_holds_what_landlock_cannot_judge(tmp_path: Path) -> None:
    write = tmp_path / "write"
    write.mkdir()
    secret = secret_below(tmp_path)
    said = await python(
        f"secret = {str(secret)!r}\n"
        "print(tried(os.chmod, secret, 0o777), tried(os.utime, secret), tried(os.fork))\n"
        "print(tried(socket.socket), tried(socket.socket, socket.AF_UNIX), tried(os.setxattr, secret, 'user.x', b''))\n"
        f"print(tried(os.setpriority, os.PRIO_PROCESS, {os.getpid()}, 5), libc.prctl(1, 0, 0, 0, 0))",
        write=(str(write),),
        mode="landlock",
    )
    assert said.split() == ["EPERM", "EPERM", "EPERM", "EACCES", "EACCES", "EPERM", "EPERM", "-1"]


async def test_it_ends_like_any_process() -> None:
    argv = [PYTHON, "-I", "-S", "-c", "import os, signal; os.kill(os.getpid(), signal.SIGABRT)"]
    assert (await run(argv, mode="landlock")).code == -signal.SIGABRT
    async with confined([PYTHON, "-I", "-S", "-c", "import time; time.sleep(1000)"], mode="landlock") as child:
        await child.end(grace=0.2)
        assert child.code == -signal.SIGTERM
