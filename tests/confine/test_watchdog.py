"""What a plugin uses, looked at from outside."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.confine import watchdog
from broker.confine.watchdog import Bounds

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")

MIB = 1 << 20
OFTEN = 0.02


@pytest.fixture
def hungry() -> Iterator[int]:
    """A process whose two children hold 40 MiB each."""
    text = """
import os, time
for _ in range(2):
    if os.fork() == 0:
        held = bytearray(os.urandom(1)) * (40 << 20)
        os.write(1, b"x")
        time.sleep(60)
time.sleep(60)
"""
    # The one above it stands for the keeper, which is found as its parent.
    with subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        for _ in range(2):
            assert process.stdout.read(1) == b"x"
        yield process.pid
        os.killpg(process.pid, 9)


def test_memory_of_the_whole_tree_counts(hungry: int) -> None:
    tree = list(watchdog.below(hungry))
    assert len(tree) == 2
    assert watchdog.memory(tree, 0) > 80 * MIB


async def test_a_tree_that_uses_too_much_is_told(hungry: int) -> None:
    said = await asyncio.wait_for(watchdog.watch(hungry, Bounds(memory=60 * MIB), OFTEN), 20)
    assert "of memory and may use 60 MiB" in said


async def test_a_tree_within_its_bounds_is_not_told(hungry: int) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(watchdog.watch(hungry, Bounds(memory=4096 * MIB), OFTEN), 0.3)


async def test_what_grows_in_its_folders_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "DISK_EVERY", 1)
    (tmp_path / "before").write_bytes(os.urandom(3 * MIB))
    bounds = Bounds(disk=2 * MIB, folders=(str(tmp_path),))
    told: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    task = watchdog.guard(os.getpid(), bounds, told.set_result, OFTEN)
    with pytest.raises(TimeoutError):  # what was there before is not the plugin's
        await asyncio.wait_for(asyncio.shield(told), 0.3)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "more").write_bytes(os.urandom(3 * MIB))
    assert "may write 2 MiB" in await asyncio.wait_for(told, 20)
    await task


async def test_what_it_left_in_its_own_folder_counts_from_the_start(tmp_path: Path) -> None:
    (tmp_path / "before").write_bytes(os.urandom(3 * MIB))
    bounds = Bounds(disk=2 * MIB, own=str(tmp_path))
    assert "wrote" in await asyncio.wait_for(watchdog.watch(os.getpid(), bounds, OFTEN), 20)


def test_a_look_at_folders_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "MOST_FILES", 10)
    for number in range(5):
        (tmp_path / str(number)).mkdir()
        for name in range(20):
            (tmp_path / str(number) / str(name)).write_bytes(b"x" * 4096)
    assert watchdog._used([str(tmp_path)]) < 40 * 4096


def test_a_link_out_of_a_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to("/usr")
    assert watchdog._used([str(tmp_path)]) < MIB


async def test_a_tree_of_too_many_processes_is_told(hungry: int) -> None:
    said = await asyncio.wait_for(watchdog.watch(hungry, Bounds(pids=1), OFTEN), 20)
    assert said.endswith("processes and threads and may have 1")
