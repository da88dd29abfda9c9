"""The same in containers: as in Docker without namespaces, and where namespaces are allowed but no /proc."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from broker.confine import landlock

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="nothing is confined elsewhere")

CONTAINER = Path(__file__).with_name("container.py")
ROOT = CONTAINER.parent.parent.parent
SAY = """
import asyncio
from broker.confine import backends
found = asyncio.run(backends.examine())
print(found.backend, found.proc, found.notify)
"""


def inside(kind: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
    # Without what pytest tells its own workers.
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), env.get("PYTHONPATH")]))
    line = [sys.executable, CONTAINER, kind, sys.executable, *words]
    said = subprocess.run(line, env=env, cwd=ROOT, capture_output=True, text=True)
    if "unshare: Operation not permitted" in said.stderr:
        pytest.skip("NOT TESTED: this machine allows no namespaces, so none can be made to look like a container's")
    return said


def test_in_docker_landlock_and_notification_are_chosen() -> None:
    if not landlock.abi():
        pytest.skip("NOT TESTED: this kernel has no Landlock")
    said = inside("docker", "-c", SAY)
    assert said.stdout.split() == ["landlock", "False", "True"], said.stderr


def test_where_no_proc_can_be_mounted_namespaces_are_used_without() -> None:
    said = inside("masked", "-c", SAY)
    assert said.stdout.split()[:2] == ["native", "False"], said.stderr


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize(("kind", "backend"), [("docker", "landlock"), ("masked", "native")])
def test_a_plugin_is_held_in_a_container_as_it_is_outside(kind: str, backend: str) -> None:
    suite = Path(__file__).with_name("test_start.py")
    chosen = f"{backend} and not (many or forks or watchdog)"
    with tempfile.TemporaryDirectory() as folder:  # a short one: it holds unix sockets
        options = ["-q", "-n0", "-p", "no:cacheprovider", f"--basetemp={folder}/t", "-k", chosen]
        said = inside(kind, "-m", "pytest", *options, suite)
    passed = re.search(r"(\d+) passed", said.stdout)
    assert said.returncode == 0 and passed and int(passed[1]) >= 10, said.stdout + said.stderr
