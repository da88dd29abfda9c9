"""Files that several processes append to and that are renamed when they are full."""

from __future__ import annotations

import logging
import os
import re
import resource
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.core.rotated import AGAIN, Rotated

WRITER = """
import sys
from pathlib import Path
from broker.core.rotated import Rotated
path, name, limit = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
file = Rotated(path, limit)
sys.stdin.readline()
for number in range(300):
    file.append(f"{name} {number:03} {'x' * 50}\\n{name} again {number:03} {'y' * 40}\\n".encode())
"""


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "a.log"


@pytest.fixture
def warned(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING, "broker.rotated")
    return caplog


def full(path: Path) -> Path:
    return path.with_name(path.name + ".1")


def test_only_its_user_can_read_it(path: Path) -> None:
    Rotated(path, 100).append(b"one\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_what_was_there_stays(path: Path) -> None:
    Rotated(path, 100).append(b"one\n")
    Rotated(path, 100).append(b"two\n")
    assert path.read_bytes() == b"one\ntwo\n"


def test_a_full_file_is_renamed_and_the_one_before_goes(path: Path) -> None:
    file = Rotated(path, 8)
    for line in (b"one\n", b"two\n", b"three\n", b"four\n"):
        file.append(line)
    assert (full(path).read_bytes(), path.read_bytes()) == (b"three\n", b"four\n")


def test_more_than_the_bound_at_once_is_still_written(path: Path) -> None:
    file = Rotated(path, 8)
    file.append(b"x" * 20 + b"\n")
    file.append(b"y" * 20 + b"\n")
    assert full(path).read_bytes() == b"x" * 20 + b"\n" and path.read_bytes() == b"y" * 20 + b"\n"


def test_the_rotation_of_one_is_followed_by_the_others(path: Path) -> None:
    one, other = Rotated(path, 8), Rotated(path, 8)
    one.append(b"one\n")
    other.append(b"two\n")
    one.append(b"three\n")
    other.append(b"4\n")
    assert (full(path).read_bytes(), path.read_bytes()) == (b"one\ntwo\n", b"three\n4\n")


def test_who_loses_the_race_for_the_rename_does_not_rename_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = Rotated(path, 8), Rotated(path, 8)
    one.append(b"one\n")
    other.append(b"two\n")
    looked = Rotated._is_current

    def overtaken(self: Rotated) -> bool:
        found = looked(self)
        if self is other:
            monkeypatch.setattr(Rotated, "_is_current", looked)
            one.append(b"three\n")  # between the look of `other` and its rename
        return found

    monkeypatch.setattr(Rotated, "_is_current", overtaken)
    other.append(b"4\n")
    assert (full(path).read_bytes(), path.read_bytes()) == (b"one\ntwo\n", b"three\n4\n")


def test_a_file_that_was_deleted_is_begun_anew(path: Path) -> None:
    file = Rotated(path, 100)
    file.append(b"one\n")
    path.unlink()
    file.append(b"two\n")
    assert path.read_bytes() == b"two\n"


@pytest.mark.parametrize("limit", [60_000, 4_000])
def test_lines_of_many_processes_stay_whole(path: Path, limit: int) -> None:
    command = [sys.executable, "-c", WRITER, str(path)]
    writers = [
        subprocess.Popen([*command, name, str(limit)], stdin=subprocess.PIPE, env={**os.environ}) for name in "abc"
    ]
    for writer in writers:
        writer.communicate(b"go\n", timeout=30)
        assert writer.returncode == 0
    lines = [line for file in (full(path), path) for line in file.read_text().splitlines()]
    assert all(re.fullmatch(r"[abc] (\d{3} x{50}|again \d{3} y{40})", line) for line in lines)
    if limit == 60_000:  # 100 kB in all: renamed once, and nothing is lost
        assert len(lines) == len(set(lines)) == 1800
    assert max(file.stat().st_size for file in (full(path), path)) <= limit


@pytest.fixture
def no_room() -> Iterator[None]:
    """A disk that takes 10 bytes of a file and no more."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, old[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, old)
    signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_costs_the_lines_is_said_once_and_is_tried_again(
    path: Path, no_room: None, warned: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    file = Rotated(path, 100, clock=clock)
    for _ in range(4):
        file.append(b"four\n")
    assert path.read_bytes() == b"four\nfour\n"
    assert len(warned.messages) == 1 and f"{path} cannot be written: File too large" in warned.messages[0]
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    file.append(b"too soon\n")
    assert path.read_bytes() == b"four\nfour\n"
    clock.now += AGAIN
    file.append(b"back\n")
    assert path.read_bytes() == b"four\nfour\nback\n"
    assert warned.messages[1:] == [f"{path} is written again; 3 lines were lost"]


def test_a_line_the_disk_cut_does_not_swallow_the_next(
    path: Path, no_room: None, warned: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    file = Rotated(path, 100, clock=clock)
    file.append(b"a long line\n")
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    clock.now += AGAIN
    file.append(b"next\n")
    assert path.read_bytes() == b"a long lin\nnext\n"


def test_a_folder_that_cannot_be_made_costs_only_the_lines(tmp_path: Path, warned: pytest.LogCaptureFixture) -> None:
    (tmp_path / "logs").write_text("a file")
    Rotated(tmp_path / "logs" / "a.log", 100).append(b"one\n")
    assert "cannot be written" in warned.text


def test_a_pipe_under_its_name_does_not_make_it_wait(path: Path, warned: pytest.LogCaptureFixture) -> None:
    path.parent.mkdir()
    os.mkfifo(path)
    Rotated(path, 100).append(b"one\n")
    assert "cannot be written" in warned.text
