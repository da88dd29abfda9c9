"""The tests of each layer once more, as somebody who is not root: what a plain user may ask of a kernel differs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import pytest

USER = 65534
LAYERS = ("test_landlock.py", "test_seccomp.py", "hostile/test_escapes.py")
AROUND = (
    *("test_jail.py", "test_root.py"),
    *("test_backends.py", "test_bwrap.py", "test_cgroup.py", "test_roots.py", "test_start.py", "test_watchdog.py"),
    "test_witness.py",
)
ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGES = sysconfig.get_path("purelib")
PYTHONS = (sys.executable, f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}")

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="this run is not root's, so these tests ran as a plain user"
)


def as_user(argv: list[str], **variables: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "PYTHONDONTWRITEBYTECODE": "1", **variables}
    return subprocess.run(
        argv, env=env, cwd="/", user=USER, group=USER, extra_groups=[], capture_output=True, text=True, timeout=170
    )


def interpreter() -> str:
    """A Python of this version that a plain user may run, with our packages."""
    for path in PYTHONS:
        try:
            if as_user([path, "-c", "import msgspec, pytest"], PYTHONPATH=PACKAGES).returncode == 0:
                return path
        except OSError:
            continue
    pytest.skip(f"NOT TESTED as a plain user: user {USER} can run none of {', '.join(PYTHONS)} with {PACKAGES}")


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("layer", [*LAYERS, *(pytest.param(each, marks=pytest.mark.long) for each in AROUND)])
def test_a_plain_user_is_held_by_the_same_layers(layer: str) -> None:
    python = interpreter()
    copy = Path(tempfile.mkdtemp(prefix="broker-"))  # pytest's own folders are for root alone
    copy.chmod(0o755)
    try:
        for each in (ROOT / "broker", ROOT / "sdk-python" / "broker_sdk"):  # pytest loads the plugin of the latter
            shutil.copytree(each, copy / each.name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("confine", "hostile"):
            shutil.copytree(ROOT / "tests" / name, copy / "tests" / name)
        for name in ("conftest.py", "marked.py"):
            shutil.copy(ROOT / "tests" / name, copy / "tests")
        shutil.copy(ROOT / "pyproject.toml", copy)
        (copy / "temporary").mkdir()
        os.chown(copy / "temporary", USER, USER)
        tests = str(copy / "tests" / (layer if "/" in layer else f"confine/{layer}"))
        options = ["-q", "-p", "no:cacheprovider", "-n0", f"--basetemp={copy}/temporary/base", f"--rootdir={copy}"]
        ended = as_user([python, "-m", "pytest", *options, tests], PYTHONPATH=f"{copy}{os.pathsep}{PACKAGES}")
        assert ended.returncode == 0 and " passed" in ended.stdout, ended.stdout[-4000:] + ended.stderr[-1000:]
    finally:
        shutil.rmtree(copy)
