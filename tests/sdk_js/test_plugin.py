"""The tests that are written in JavaScript, in the words of authors: the SDK through its own harness."""

from __future__ import annotations

import subprocess

from tests.sdk_js.places import HERE

BOUND = 50.0  # seconds


def test_a_plugin_passes_the_tests_that_its_author_would_write() -> None:
    words = ["node", str(HERE / "plugin.test.mjs")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=BOUND, check=False)
    assert done.returncode == 0, "\n".join(failures(done.stdout)) or done.stderr
    assert "# fail 0" in done.stdout and "# skipped 0" in done.stdout


def failures(tap: str) -> list[str]:
    """What failed, and why, of a report in TAP."""
    return [part for part in tap.split("# Subtest: ") if "\nnot ok " in part]
