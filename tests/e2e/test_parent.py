"""The broker ends with the client that started it, also when someone else holds its pipes open; here we do."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from tests.e2e.harness import Home, Line, spoken
from tests.hostile.evil import until
from tests.marked import MARK, all_gone, killed
from tests.servers import scripted

# Starts what its arguments say on its own standard input and output, and stays.
CLIENT = "import subprocess, sys; subprocess.Popen(sys.argv[1:]).wait()"
# The broker, with a parent being no launcher from so many seconds on.
BROKER = """
import sys
from broker.faces import stdio
stdio.LAUNCHER = float(sys.argv.pop(1))
if sys.argv.pop(1) == "polls":
    del stdio.os.pidfd_open
    stdio.LOOK = 0.2
from broker.cli import main
sys.exit(main())
"""


@asynccontextmanager
async def below_a_client(folder: Path, launcher: float, watches: str = "") -> AsyncGenerator[tuple[Line, str]]:
    """Lines to a broker that is another process's child, and the mark of them all."""
    mark = f"parent-{os.getpid()}-{os.urandom(4).hex()}"
    entry = {**scripted("--ignore-eof"), "env": {MARK: mark}}
    home = Home.of(folder, {"one": entry})
    args = ["-c", CLIENT, sys.executable, "-c", BROKER, str(launcher), watches, *home.args]
    try:
        async with spoken(sys.executable, args, {**home.env, MARK: mark}, folder, "legacy", {}) as line:
            await line.initialize()
            await line.text("one__echo")
            yield line, mark
            assert line.process.stdin is not None
            line.process.stdin.close()  # the broker that is still there ends by this
            await all_gone(mark, 10)
    finally:
        await killed(mark)


@pytest.mark.parametrize("watches", ["", "polls"], ids=["told by the kernel", "polling"])
async def test_it_ends_with_its_plugins_when_its_client_is_killed(tmp_path: Path, watches: str) -> None:
    async with below_a_client(tmp_path, 0, watches) as (line, mark):
        family = psutil.Process(line.process.pid).children(recursive=True)
        assert len(family) >= 4  # the broker, its fork server, a keeper and the plugin
        line.process.kill()
        assert await line.gone() == -signal.SIGKILL
        await all_gone(mark, 10)
        _, left = await asyncio.to_thread(psutil.wait_procs, family, 10)
        assert left == []


async def test_it_serves_on_when_a_launcher_leaves(tmp_path: Path) -> None:
    async with below_a_client(tmp_path, 1000) as (line, _):
        line.process.kill()
        await until(lambda: line.process.returncode is not None)  # `wait` would wait for its pipes too
        assert await line.text("one__echo", {"text": "still here"}) == "still here"
