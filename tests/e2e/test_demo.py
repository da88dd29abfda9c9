"""The demo that `make run` shows does what it shows."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.servers import ROOT


@pytest.mark.slow
@pytest.mark.timeout(150)
def test_everything_in_the_demo_happens_as_it_should() -> None:
    env = {key: value for key, value in os.environ.items() if key != "BROKER_HOME"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.demo"],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Everything happened as it should" in done.stdout
