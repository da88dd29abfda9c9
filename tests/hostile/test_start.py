"""Started in odd places."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.e2e.harness import Home

WHO = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}
INITIALIZE = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": WHO}).encode() + b"\n"


def started(home: Home, script: str) -> subprocess.CompletedProcess[bytes]:
    """The broker as a shell script starts it, given one request and the end of stdin."""
    command = ["sh", "-c", script, "sh", home.command, *home.args]
    return subprocess.run(
        command, input=INITIALIZE, capture_output=True, cwd=home.folder, env=home.env, timeout=20, check=False
    )


def test_a_working_directory_that_is_gone_is_no_reason_to_fail(tmp_path: Path) -> None:
    done = started(Home.of(tmp_path, {}), 'mkdir gone && cd gone && rmdir ../gone && exec "$@"')
    assert b"Traceback" not in done.stderr, done.stderr
    assert json.loads(done.stdout)["id"] == 1


@pytest.mark.parametrize("closed", ["<&-", ">&-", "<&- >&-"])
def test_a_closed_stdin_or_stdout_is_an_end_and_no_traceback(tmp_path: Path, closed: str) -> None:
    done = started(Home.of(tmp_path, {}), f'exec "$@" {closed}')
    assert b"Traceback" not in done.stderr, done.stderr
