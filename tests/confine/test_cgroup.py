"""Groups of the kernel: real ones where this machine gives us some, and files that look like them for the rest."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from broker.confine import cgroup
from broker.confine.cgroup import Groups

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="cgroups are Linux's")

MIB = 1 << 20
ENTER = "import os\nfor path in {procs!r}:\n    fd = os.open(path, os.O_WRONLY); os.write(fd, b'0'); os.close(fd)\n"


@pytest.fixture
def groups() -> Groups:
    found = cgroup.probe()
    if not found.kinds:
        pytest.skip(f"NOT TESTED: no cgroup can be made here ({found.why}). {found.remedy}")
    return cgroup.prepare(found)


def inside(group: cgroup.Group, program: str) -> subprocess.CompletedProcess[bytes]:
    text = ENTER.format(procs=group.procs) + program
    return subprocess.run([sys.executable, "-c", text], capture_output=True, timeout=30)


def test_a_group_stops_what_uses_more_memory_than_it_may(groups: Groups) -> None:
    if "memory" not in groups.kinds:
        pytest.skip("NOT TESTED: there is no memory controller here")
    group = cgroup.make(groups, "hungry", memory=64 * MIB)
    try:
        # Shared memory counts too, which no rlimit of node's sees.
        said = inside(
            group, "import mmap; held = mmap.mmap(-1, 200 << 20)\nfor at in range(0, 200 << 20, 4096): held[at] = 1"
        )
    finally:
        group.close()
    assert said.returncode == -signal.SIGKILL


def test_a_group_stops_what_starts_more_processes_than_it_may(groups: Groups) -> None:
    if "pids" not in groups.kinds:
        pytest.skip("NOT TESTED: there is no pids controller here")
    group = cgroup.make(groups, "forking", pids=8)
    program = """
import os, time
made = 0
try:
    while made < 100:
        if os.fork() == 0: time.sleep(60)
        made += 1
except BlockingIOError:
    pass
os.write(1, str(made).encode())
"""
    try:
        made = int(inside_then_close(group, program))
    finally:
        group.close()
    assert 0 < made < 8


def inside_then_close(group: cgroup.Group, program: str) -> bytes:
    """What it prints first; its children hold the pipe open until the group is closed."""
    text = ENTER.format(procs=group.procs) + program
    with subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        said = os.read(process.stdout.fileno(), 100)
        group.close()
        process.kill()
    return said


def test_closing_a_group_kills_what_is_in_it_and_removes_it(groups: Groups) -> None:
    group = cgroup.make(groups, "left", memory=64 * MIB, pids=32)
    text = ENTER.format(procs=group.procs) + "import time; os.write(1, b'x'); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.read(1) == b"x"
        assert process.pid in group.pids()
        group.close()
        assert process.wait(10) == -signal.SIGKILL
    assert [path for path in group.procs if os.path.exists(path)] == []


def test_what_a_dead_broker_left_is_removed(groups: Groups) -> None:
    base = Path(groups.v2 or groups.v1[0][1])
    process = subprocess.Popen(["true"])
    process.wait(10)
    left = base / f"broker-{process.pid}-x-1"
    left.mkdir()
    cgroup.prepare(groups)
    assert not left.exists()


# version 2, as files: this machine's has no controllers


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """What /proc/self says to a broker in a subtree that was handed to it."""
    mount = tmp_path / "mount"
    base = mount / "user" / "broker.scope"
    base.mkdir(parents=True)
    (base / "cgroup.procs").write_text(f"{os.getpid()}\n")
    (base / "cgroup.controllers").write_text("cpu io memory pids\n")
    proc = tmp_path / "proc"
    proc.mkdir()
    (proc / "cgroup").write_text("0::/user/broker.scope\n")
    (proc / "mountinfo").write_text(f"30 23 0:26 / {mount} rw - cgroup2 cgroup rw,nsdelegate\n")
    return proc


def base_of(proc: Path) -> Path:
    return proc.parent / "mount" / "user" / "broker.scope"


def test_a_subtree_that_was_handed_to_us_is_used(proc: Path) -> None:
    found = cgroup.probe(proc)
    assert found.v2 == str(base_of(proc)) and found.kinds == ("memory", "pids", "cpu")
    assert found.how("memory") == "cgroup memory.max"


def test_a_subtree_where_others_run_is_left_alone(proc: Path) -> None:
    (base_of(proc) / "cgroup.procs").write_text(f"{os.getpid()}\n1\n")
    found = cgroup.probe(proc)
    assert "memory.max" not in found.how("memory")
    if os.geteuid():
        assert found.why == "other programs run in our cgroup" and "Delegate=yes" in found.remedy


def test_we_leave_for_a_leaf_before_groups_are_made(proc: Path) -> None:
    base = base_of(proc)
    (base / "broker").mkdir()
    (base / "broker" / "cgroup.procs").touch()
    (base / "cgroup.subtree_control").touch()
    cgroup.prepare(cgroup.probe(proc))
    assert (base / "broker" / "cgroup.procs").read_text() == str(os.getpid())
    assert (base / "cgroup.subtree_control").read_text() == "+memory +pids +cpu"


def test_a_group_that_cannot_be_bounded_is_not_made(proc: Path) -> None:
    with pytest.raises(OSError):  # the files of a real group are not there
        cgroup.make(cgroup.probe(proc), "x", memory=MIB)


def test_without_any_group_it_is_said_what_would_help(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        (tmp_path / "cgroup").write_text("")
    found = cgroup.probe(tmp_path)
    assert found.kinds == () and found.why and "systemd-run" in found.remedy
