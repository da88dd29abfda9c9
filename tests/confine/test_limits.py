"""Bounds that each process carries itself."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from broker.confine.limits import heap, rlimits, running

MIB = 1 << 20
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no rlimits")


def test_python_is_held_by_its_addresses_and_others_by_their_data() -> None:
    bounds = {"memory": 64 * MIB, "pids": None, "disk": None}
    assert rlimits("/venv/bin/python3.12", alone=True, **bounds)["AS"] == 64 * MIB
    assert rlimits("/usr/bin/node", alone=True, **bounds)["DATA"] == 64 * MIB
    assert "AS" not in rlimits("/usr/bin/node", alone=True, **bounds)


def test_nothing_is_bounded_that_has_no_bound_but_cores_and_descriptors() -> None:
    assert set(rlimits("/usr/bin/node", memory=None, pids=None, disk=None, alone=True)) == {"CORE", "NOFILE"}


def test_processes_that_run_already_are_added_where_they_are_counted_too() -> None:
    shared = rlimits("/x", memory=None, pids=10, disk=None, alone=False)["NPROC"]
    assert shared > 10
    assert rlimits("/x", memory=None, pids=10, disk=None, alone=True)["NPROC"] == 10


@pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")
def test_running_counts_threads_of_this_user() -> None:
    before = running()
    done = threading.Event()
    threads = [threading.Thread(target=done.wait, args=(30,)) for _ in range(200)]
    for thread in threads:
        thread.start()
    counted = running()
    done.set()
    assert counted > before + 100  # others end meanwhile


def test_node_is_told_how_much_it_may_use_once() -> None:
    told = heap(["/usr/bin/node", "server.js"], 256 * MIB)
    assert told == ("/usr/bin/node", "--max-old-space-size=192", "server.js")
    assert heap(told, 256 * MIB) == told
    assert heap(["/usr/bin/node", "server.js"], None) == ("/usr/bin/node", "server.js")
    assert heap(["/usr/bin/python3", "server.py"], 256 * MIB) == ("/usr/bin/python3", "server.py")


def test_python_stops_at_its_bound() -> None:
    bound = rlimits(sys.executable, memory=256 * MIB, pids=None, disk=None, alone=True)["AS"]
    program = f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({bound},) * 2); bytearray(300 << 20)"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True)
    assert b"MemoryError" in said.stderr
