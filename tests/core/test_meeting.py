"""The folder in which brokers are found."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.core.meeting import Folder, folders, opened

NOBODY = 65534
INTRUDER = """
import os, socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
os.setuid(int(sys.argv[2]))
listener.listen()
print("listening", flush=True)
sys.stdin.readline()
"""
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    with Folder(tmp_path / "run", make=True) as found:
        yield found


def test_the_folder_and_its_sockets_are_closed_to_everybody_else(folder: Folder) -> None:
    old = os.umask(0)
    try:
        listener = folder.listen("1")
    finally:
        os.umask(old)
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder.path / "1.sock").stat().st_mode) == 0o600
    listener.close()


def test_a_listener_is_found_by_its_name_and_reached(folder: Folder) -> None:
    listener = folder.listen("1")
    assert folder.names() == ["1"]
    connection = folder.connect("1")
    assert connection is not None
    connection.close()
    folder.withdraw("1")
    assert folder.names() == []
    listener.close()


def test_what_a_dead_broker_left_is_removed_and_the_living_stay(folder: Folder) -> None:
    folder.listen("1").close()
    alive = folder.listen("2")
    assert folder.names() == ["1", "2"]
    folder.sweep()
    assert folder.names() == ["2"]
    alive.close()


def test_a_broker_takes_over_the_name_of_a_dead_one_with_its_pid(folder: Folder) -> None:
    folder.listen("1").close()
    again = folder.listen("1")
    connection = folder.connect("1")
    assert connection is not None
    connection.close()
    again.close()


def test_files_that_are_no_sockets_are_no_obstacle(folder: Folder) -> None:
    (folder.path / "1.sock").write_text("")
    (folder.path / "2.sock").mkdir()
    (folder.path / "notes.txt").write_text("")
    assert folder.connect("1") is None and folder.connect("2") is None
    folder.sweep()


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
def test_a_path_longer_than_a_sockets_is_no_obstacle(tmp_path: Path) -> None:
    with Folder(tmp_path / ("x" * 200) / "run", make=True) as folder:
        listener = folder.listen("12345")
        connection = folder.connect("12345")
        assert connection is not None
        connection.close()
        listener.close()


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o707, 0o711, 0o1777])
def test_a_folder_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run").chmod(mode)
    with pytest.raises(PermissionError, match="open to other users"):
        Folder(tmp_path / "run", make=True)


def test_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "run").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError):
        Folder(tmp_path / "run", make=True)


@root_only
def test_a_folder_of_somebody_elses_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir(mode=0o700)
    os.chown(tmp_path / "run", NOBODY, NOBODY)
    with pytest.raises(PermissionError, match="another user"):
        Folder(tmp_path / "run", make=True)


@root_only
def test_a_listener_of_somebody_elses_is_not_spoken_to(folder: Folder) -> None:
    command = [sys.executable, "-c", INTRUDER, str(folder.path / "1.sock"), str(NOBODY)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as intruder:
        assert intruder.stdout is not None and intruder.stdout.readline() == b"listening\n"
        assert folder.connect("1") is None
        intruder.communicate(b"enough\n", timeout=10)


def test_everything_of_a_home_is_in_it(tmp_path: Path) -> None:
    assert folders({"BROKER_HOME": str(tmp_path), "XDG_RUNTIME_DIR": "/run/user/1"}) == [tmp_path / "run"]


def test_the_users_runtime_folder_is_the_first_choice(tmp_path: Path) -> None:
    assert folders({"XDG_RUNTIME_DIR": str(tmp_path)})[0] == tmp_path / "broker"


@pytest.mark.parametrize("value", ["", "relative", "/no/such/folder"])
def test_without_a_usable_runtime_folder_there_is_still_a_place(value: str) -> None:
    assert folders({"XDG_RUNTIME_DIR": value})


def test_folders_that_are_not_there_or_not_private_are_passed_over(tmp_path: Path) -> None:
    assert list(opened({"BROKER_HOME": str(tmp_path)})) == []
    (tmp_path / "run").mkdir()
    (tmp_path / "run").chmod(0o777)
    assert list(opened({"BROKER_HOME": str(tmp_path)})) == []
