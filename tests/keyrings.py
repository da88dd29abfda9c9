"""Real keyrings of a test's own: one in a file, and GNOME's behind a bus."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import secretstorage

NEEDED = ("dbus-daemon", "gnome-keyring-daemon")
BOUND = 10.0  # seconds; both daemons are up in a tenth


def in_file(folder: Path) -> dict[str, str]:
    """The variables that make a process keep its secrets in a file below `folder`."""
    return {"PYTHON_KEYRING_BACKEND": "keyrings.alt.file.PlaintextKeyring", "XDG_DATA_HOME": str(folder)}


def none_at_all(folder: Path) -> dict[str, str]:
    """The variables of a process without a keyring and without a bus."""
    return {"DBUS_SESSION_BUS_ADDRESS": f"unix:path={folder}/no-bus", "XDG_CONFIG_HOME": str(folder)}


@contextmanager
def gnome(folder: Path) -> Generator[dict[str, str]]:
    """The variables that lead to a GNOME keyring, unlocked, on a bus of its own."""
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing:
        pytest.skip(f"NOT TESTED: the real GNOME keyring; this machine has no {', '.join(missing)}")
    folder.mkdir(mode=0o700)
    env = {**os.environ, "HOME": str(folder), "XDG_RUNTIME_DIR": str(folder), "XDG_DATA_HOME": str(folder)}
    with _bus(folder, env) as address:
        env["DBUS_SESSION_BUS_ADDRESS"] = address
        command = ["gnome-keyring-daemon", "--foreground", "--unlock", "--components=secrets"]
        with subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as daemon:
            assert daemon.stdin is not None
            daemon.stdin.write(b"password of a test")
            daemon.stdin.close()
            try:
                _wait_for_secrets(address)
                yield {"DBUS_SESSION_BUS_ADDRESS": address}
            finally:
                daemon.kill()


def _wait_for_secrets(address: str) -> None:
    with pytest.MonkeyPatch.context() as patch, closing(_connected(patch, address)) as bus:
        until = time.monotonic() + BOUND
        while not secretstorage.check_service_availability(bus):
            assert time.monotonic() < until, "the GNOME keyring did not come up"
            time.sleep(0.02)


def _connected(patch: pytest.MonkeyPatch, address: str) -> Any:
    patch.setenv("DBUS_SESSION_BUS_ADDRESS", address)
    return secretstorage.dbus_init()


@contextmanager
def _bus(folder: Path, env: dict[str, str]) -> Generator[str]:
    command = ["dbus-daemon", "--session", "--nofork", "--print-address=1", f"--address=unix:path={folder}/bus"]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as daemon:
        assert daemon.stdout is not None
        try:
            yield daemon.stdout.readline().decode().strip()
        finally:
            daemon.kill()
