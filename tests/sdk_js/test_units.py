"""The parts of the JavaScript SDK by themselves: node:test on its sources, which Node 24 runs as they are."""

from __future__ import annotations

import subprocess

from tests.sdk_clients import NODE
from tests.sdk_js.places import HERE

BOUND = 50.0  # seconds


def test_every_unit_test_passes() -> None:
    words = [str(NODE), "--test", "--test-reporter=dot", *map(str, sorted((HERE / "units").glob("*.test.mjs")))]
    done = subprocess.run(words, capture_output=True, text=True, timeout=BOUND)
    assert done.returncode == 0, done.stdout + done.stderr
