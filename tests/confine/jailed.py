"""Starts real programs that are confined, for the tests of each layer."""

from __future__ import annotations

import asyncio
import functools
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from broker.confine import roots
from broker.confine.plan import Confinement
from broker.confine.tree import Child, spawn

PYTHON = os.path.realpath(sys.executable)  # of no virtual environment: that would show it the whole repository
NODE = shutil.which("node")
BOUND = 20.0  # seconds that any program here may take

# `tried(call, ...)` is the name of the error it fails with, or `done`; `sys_call` is one by its number.
PRELUDE = """
import ctypes, errno, os, signal, socket, subprocess, sys, threading
libc = ctypes.CDLL(None, use_errno=True)
def tried(call, *arguments):
    try:
        call(*arguments)
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))
    except MemoryError:
        return "MemoryError"
    return "done"
def sys_call(number, *arguments):
    words = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    said = libc.syscall(ctypes.c_long(number), *words)
    if said == -1:
        raise OSError(ctypes.get_errno(), "syscall")
    return said
"""


class Said(NamedTuple):
    code: int
    out: str
    err: str


@functools.cache
def needs(*argv: str, run: tuple[str, ...] | None = ()) -> roots.Found:
    return roots.find(argv, environ={"PATH": os.environ["PATH"]}, run=run)


@functools.cache
def refusal() -> str:
    """Why this machine makes no namespaces for us; empty if it does."""
    if sys.platform != "linux":
        return "this is not Linux"
    here = os.getuid()
    made = subprocess.run(["unshare", "--user", "--mount", "--pid", "--fork", "true"], capture_output=True, text=True)
    return f"user {here}: {made.stderr.strip()}" if made.returncode else ""


native = pytest.mark.skipif(bool(refusal()), reason=f"NOT TESTED, the kernel makes no namespaces: {refusal()}")


@asynccontextmanager
async def confined(
    argv: Sequence[str], *, env: dict[str, str] | None = None, cwd: str | None = None, **held: Any
) -> AsyncGenerator[Child]:
    """One confined process that may see what its program needs, and what `held` names."""
    found = needs(*argv[:1], run=held.get("run", ()))
    held["roots"] = (*found.roots, *held.pop("roots", ()))
    wall = Confinement(name="acme", links=found.links, **held)
    child = await spawn([found.argv[0], *argv[1:]], env={"PATH": "/usr/bin", **(env or {})}, cwd=cwd, wall=wall)
    try:
        yield child
    finally:
        await child.end(grace=0)
        for fd in (child.stdin, child.stdout, child.stderr, *child.sent.values()):
            os.close(fd)


async def run(argv: Sequence[str], **held: Any) -> Said:
    """Let it run to its end."""
    async with confined(argv, **held) as child:
        async with asyncio.timeout(BOUND):
            out, err = await asyncio.gather(
                asyncio.to_thread(_all, child.stdout), asyncio.to_thread(_all, child.stderr)
            )
            return Said(await asyncio.shield(child.exited), out, err)


async def python(program: str, **held: Any) -> str:
    """What a Python program prints. It has to end well."""
    code, out, err = await run([PYTHON, "-I", "-c", PRELUDE + program], **held)
    assert code == 0, err
    return out.strip()


async def node(program: str, **held: Any) -> str:
    """What a Node.js program prints. It has to end well."""
    if NODE is None:
        pytest.skip("NOT TESTED with Node.js: there is no `node` here")
    code, out, err = await run([NODE, "-e", program], **held)
    assert code == 0, err
    return out.strip()


def _all(fd: int) -> str:
    read = b""
    while more := os.read(fd, 1 << 16):
        read += more
    return read.decode()


def secret_below(folder: Path) -> Path:
    """A file whose text is `secret`."""
    path = folder / "secret"
    path.write_text("secret", "utf-8")
    return path
