"""Folders for scratch, where there is no private root."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from broker.confine import scratch

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="nothing is confined elsewhere")


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def dead() -> int:
    """The number of a process that is no more."""
    process = subprocess.Popen(["true"])
    process.wait(10)
    return process.pid


def test_each_plugin_has_one_that_only_its_user_enters() -> None:
    one, two = scratch.make("todos", ()), scratch.make("todos", ())
    assert one != two
    assert os.stat(one).st_mode & 0o777 == 0o700


def test_its_path_leads_through_no_link(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (temporary / "real").mkdir()
    (temporary / "link").symlink_to(temporary / "real")
    monkeypatch.setattr(tempfile, "tempdir", str(temporary / "link"))
    assert Path(scratch.make("todos", ())).parent == (temporary / "real").resolve()


def test_what_a_dead_broker_left_is_removed_and_what_a_living_one_uses_stays(temporary: Path, dead: int) -> None:
    left = temporary / f"broker-scratch-{dead}-todos-x"
    left.mkdir()
    (left / "file").write_text("x")
    used = Path(scratch.make("todos", ()))
    scratch.make("todos", ())
    assert used.exists() and not left.exists()


def test_a_link_that_looks_like_one_is_left_alone(temporary: Path, dead: int) -> None:
    (temporary / "precious").mkdir()
    (temporary / "precious" / "file").write_text("x")
    (temporary / f"broker-scratch-{dead}-x").symlink_to(temporary / "precious")
    scratch.make("todos", ())
    assert (temporary / "precious" / "file").exists()
