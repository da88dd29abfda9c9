"""A Cargo that can build for WASM: the machine's own, or the one that `tests/setup-rust.sh` fetched."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.servers import ROOT

FETCHED = ROOT / ".editors" / "bin" / "cargo"


def cargo() -> str:
    """Its program. Skips the test, loudly, where there is none."""
    if _has_target():
        return "cargo"
    if not FETCHED.exists():
        pytest.skip("NO RUST FOR WASM: `rustup target add wasm32-unknown-unknown`, or `sh tests/setup-rust.sh`")
    return str(FETCHED)


def _has_target() -> bool:
    """A Rust without the target says as well where it would be."""
    if not shutil.which("cargo") or not shutil.which("rustc"):
        return False
    words = ["rustc", "--print", "target-libdir", "--target", "wasm32-unknown-unknown"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode == 0 and Path(done.stdout.strip()).is_dir()
