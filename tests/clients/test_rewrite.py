"""A file of the user's is replaced whole or not at all, and what it was stays beside it."""

from __future__ import annotations

import errno
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from broker.clients import rewrite
from broker.core.source import Faulty
from broker.errors import ConfigError

NOW = datetime(2026, 11, 21, 9, 8, 7, tzinfo=UTC)
BACKUP = "file.bak-20261121-090807"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o640)
    return path


def replace(path: Path, data: bytes | None) -> Path | None:
    return rewrite.replace(rewrite.original(path, 100), data, now=NOW)


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_the_old_file_stays_beside_the_new_one_and_both_have_its_mode(file: Path) -> None:
    backup = replace(file, b"new")
    assert backup is not None and backup == file.with_name(BACKUP)
    assert (file.read_bytes(), backup.read_bytes()) == (b"new", b"old")
    assert (mode(file), mode(backup)) == (0o640, 0o640)
    assert names(file.parent) == ["file", BACKUP]


def test_a_second_change_in_the_same_second_keeps_both_old_files(file: Path) -> None:
    replace(file, b"new")
    assert replace(file, b"newer") == file.with_name(f"{BACKUP}-2")
    assert file.with_name(BACKUP).read_bytes() == b"old"


def test_a_new_file_and_its_folder_are_for_its_user_alone(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    assert replace(path, b"new") is None
    assert (mode(path), mode(path.parent)) == (0o600, 0o700)


def test_a_file_is_removed_and_kept_beside(file: Path) -> None:
    replace(file, None)
    assert names(file.parent) == [BACKUP]


def test_a_link_stays_a_link(file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "dotfiles"
    folder.mkdir()
    real = file.rename(folder / "real")
    file.symlink_to(real)
    replace(file, b"new")
    assert file.is_symlink() and real.read_bytes() == b"new"
    assert names(folder) == ["real", "real.bak-20261121-090807"]


def test_a_link_to_nothing_gets_its_file(tmp_path: Path) -> None:
    link = tmp_path / "file"
    link.symlink_to(tmp_path / "real")
    replace(link, b"new")
    assert link.is_symlink() and (tmp_path / "real").read_bytes() == b"new"


def test_what_somebody_else_changed_meanwhile_is_left_alone(file: Path) -> None:
    old = rewrite.original(file, 100)
    file.write_bytes(b"theirs")
    with pytest.raises(ConfigError, match="was changed meanwhile"):
        rewrite.replace(old, b"new", now=NOW)
    assert file.read_bytes() == b"theirs"
    assert names(file.parent) == ["file"]


@pytest.mark.parametrize("call", ["fsync", "replace", "chmod"])
def test_a_disk_that_refuses_changes_nothing(file: Path, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    with pytest.raises(ConfigError, match="No space left on device; nothing was changed"):
        replace(file, b"new")
    assert file.read_bytes() == b"old"
    assert names(file.parent) == ["file"]


def test_a_folder_that_cannot_be_written_is_said(file: Path) -> None:
    file.parent.chmod(0o500)
    if os.access(file.parent, os.W_OK):
        pytest.skip("this user may write everywhere")
    with pytest.raises(ConfigError, match="Permission denied; nothing was changed"):
        replace(file, b"new")
    file.parent.chmod(0o700)
    assert file.read_bytes() == b"old"


def test_what_is_no_file_or_too_large_is_not_read(tmp_path: Path, file: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(Faulty, match="not a file"):
            rewrite.original(path, 100)
    with pytest.raises(Faulty, match="larger than"):
        rewrite.original(file, 2)
