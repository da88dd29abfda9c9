"""Names switched off for brokers to come, in a file that is whole or was not written."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from broker.core.disabled import FILE, switch, switched_off
from broker.errors import ConfigError
from broker.permissions import written
from broker.permissions.written import replace_file

SWITCHER = """
import sys
from pathlib import Path
from broker.core.disabled import switch
sys.stdin.readline()
for number in range(20):
    switch(Path(sys.argv[1]), f"{sys.argv[2]}{number}", off=True)
"""


def names(folder: Path) -> set[str]:
    found, problems = switched_off(folder)
    assert problems == []
    return set(found)


def test_nothing_is_switched_off_at_first(tmp_path: Path) -> None:
    assert names(tmp_path / "never made") == set()


def test_a_name_stays_off_until_it_is_switched_on(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    assert switch(folder, "git", off=True)
    assert switch(folder, "time", off=True)
    assert not switch(folder, "git", off=True)
    assert names(folder) == {"git", "time"}
    assert switch(folder, "git", off=False)
    assert not switch(folder, "git", off=False)
    assert names(folder) == {"time"}


def test_only_its_user_can_read_it(tmp_path: Path) -> None:
    switch(tmp_path / "state", "git", off=True)
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "state" / FILE).stat().st_mode) == 0o600


def test_two_at_once_lose_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SWITCHER, str(tmp_path)]
    both = [subprocess.Popen([*command, name], stdin=subprocess.PIPE) for name in "ab"]
    for each in both:
        assert each.stdin is not None
        each.stdin.write(b"go\n")
        each.stdin.close()
    assert [each.wait(30) for each in both] == [0, 0]
    assert names(tmp_path) == {f"{letter}{number}" for letter in "ab" for number in range(20)}


@pytest.mark.parametrize("content", [b"", b'{"disabled": ["gi', b"[]", b'{"disabled": "git"}', b"\xff", b"null"])
def test_a_file_nobody_can_read_switches_nothing_off_and_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    found, (problem,) = switched_off(tmp_path)
    assert found == frozenset()
    assert problem.where == str(tmp_path / FILE) and "nothing is switched off" in problem.what and problem.fix
    assert switch(tmp_path, "git", off=True)
    assert names(tmp_path) == {"git"}


def test_a_folder_in_its_place_is_told(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()
    assert len(switched_off(tmp_path)[1]) == 1
    with pytest.raises(ConfigError, match="cannot be written"):
        switch(tmp_path, "git", off=True)


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_disk_that_refuses_leaves_the_old_file(tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    switch(tmp_path, "git", off=True)

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(written.os, step, refuse)
    with pytest.raises(ConfigError, match="No space left"):
        switch(tmp_path, "time", off=True)
    assert names(tmp_path) == {"git"}
    assert {file.name for file in tmp_path.iterdir()} == {FILE, f"{FILE}.lock"}


def test_the_content_is_on_the_disk_before_it_has_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    sync, replace = os.fsync, os.replace

    def synced(fd: int) -> None:
        steps.append("folder" if stat.S_ISDIR(os.fstat(fd).st_mode) else "file")
        sync(fd)

    def replaced(old: Path, new: Path) -> None:
        steps.append("name")
        replace(old, new)

    monkeypatch.setattr(written.os, "fsync", synced)
    monkeypatch.setattr(written.os, "replace", replaced)
    replace_file(tmp_path / "a", b"x", lasting=True)
    assert steps == ["file", "name", "folder"]
    replace_file(tmp_path / "a", b"y")
    assert steps == ["file", "name", "folder", "name"]
    assert (tmp_path / "a").read_bytes() == b"y"
