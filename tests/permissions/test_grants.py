"""The ledger: whole or not there, its user's alone, and closed when in doubt."""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path

import pytest

from broker.errors import ConfigError, LedgerBroken
from broker.permissions import written
from broker.permissions.approval import Approval
from broker.permissions.grants import FILE, MOST, Ledger
from broker.permissions.scopes import Permission, parse

APPROVED = Approval("m", "c", "f", "e", None)
CHANGED = Approval("m2", "c", "f", "e", None)
SOURCE = "/home/x/config.toml"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


def read(*texts: str) -> list[Permission]:
    return list(map(parse, texts))


def held(folder: Path, name: str = "git", source: str = SOURCE) -> list[str]:
    entry = Ledger(folder).read().entry(name, source)
    return [grant.permission for grant in entry.grants] if entry is not None else []


def grant(folder: Path, *texts: str, name: str = "git", source: str = SOURCE, approved: Approval = APPROVED) -> None:
    Ledger(folder).grant(name, source, approved, read(*texts), "a terminal")


def test_without_a_file_nothing_is_granted_and_none_is_made(folder: Path) -> None:
    assert Ledger(folder).read().entries == ()
    assert not folder.exists()


def test_what_is_granted_is_kept_with_who_and_when(folder: Path) -> None:
    grant(folder, "read:/x", "run:git")
    entry = Ledger(folder).read().entry("git", SOURCE)
    assert entry is not None and entry.approval == APPROVED
    assert [(each.permission, each.by) for each in entry.grants] == [
        ("read:/x", "a terminal"),
        ("run:git", "a terminal"),
    ]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", each.at) for each in entry.grants)


def test_grants_add_up_and_are_there_once(folder: Path) -> None:
    grant(folder, "read:/x")
    grant(folder, "run:git", "read:/x")
    grant(folder, "read:/y", name="other")
    grant(folder, "read:/z", source="/elsewhere.json")
    assert held(folder) == ["run:git", "read:/x"]
    assert held(folder, "other") == ["read:/y"]
    assert held(folder, source="/elsewhere.json") == ["read:/z"]


def test_a_grant_for_another_state_of_the_plugin_drops_the_older_ones(folder: Path) -> None:
    grant(folder, "read:/x", "run:git")
    grant(folder, "read:/x", approved=CHANGED)
    assert held(folder) == ["read:/x"]
    grant(folder, "net:a.b:1")  # back to the first: what was dropped stays dropped
    assert held(folder) == ["net:a.b:1"]


def test_grants_are_taken_back(folder: Path) -> None:
    grant(folder, "read:/x", "run:git", "sampling")
    ledger = Ledger(folder)
    assert [each.permission for each in ledger.revoke("git", SOURCE, read("run:git", "run:other"))] == ["run:git"]
    assert held(folder) == ["read:/x", "sampling"]
    assert ledger.revoke("nobody", SOURCE) == ()
    assert len(ledger.revoke("git", SOURCE)) == 2
    assert Ledger(folder).read().entries == ()


def test_only_its_user_can_open_it(folder: Path) -> None:
    grant(folder, "read:/x")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / FILE).stat().st_mode) == 0o600


def broken(folder: Path) -> str:
    """What is said of a ledger that cannot be trusted; nothing may write over it."""
    ledger, before = Ledger(folder), (folder / FILE).read_bytes()
    with pytest.raises(LedgerBroken, match="nothing is granted") as caught:
        ledger.read()
    for change in (
        lambda: ledger.grant("git", SOURCE, APPROVED, read("run:x"), "x"),
        lambda: ledger.revoke("git", SOURCE),
    ):
        with pytest.raises(LedgerBroken):
            change()
    assert (folder / FILE).read_bytes() == before
    assert caught.value.hint
    return str(caught.value)


def test_a_ledger_cut_at_any_byte_grants_nothing(folder: Path) -> None:
    grant(folder, "read:/x", "run:git")
    whole = (folder / FILE).read_bytes()
    for length in range(len(whole.rstrip())):
        (folder / FILE).write_bytes(whole[:length])
        with pytest.raises(LedgerBroken):
            Ledger(folder).read()


def test_a_ledger_with_any_byte_changed_grants_nothing_it_did_not(folder: Path) -> None:
    """No digest protects it from its own user; but no accident may turn it into another permission's yes."""
    grant(folder, "read:/x")
    whole = (folder / FILE).read_bytes()
    for place in range(len(whole)):
        (folder / FILE).write_bytes(whole[:place] + b"\0" + whole[place + 1 :])
        try:
            Ledger(folder).read()
        except LedgerBroken:
            continue
        assert whole[place : place + 1].isspace()


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"null", b"[]", b"{}", b'{"version": 2}', b'{"version": 1, "more": 1}', b"\xff" * 9, b"[" * 100_000),
        b'{"version":1,"entries":[{"name":"a"}]}',
        b" " * (MOST + 1),
    ],
)
def test_what_is_no_ledger_grants_nothing(folder: Path, content: bytes) -> None:
    folder.mkdir(mode=0o700)
    (folder / FILE).touch(mode=0o600)
    (folder / FILE).write_bytes(content)
    assert "no ledger" in (said := broken(folder)) or "larger" in said


@pytest.mark.parametrize("word", ["read:/a/../b", "everything", "net:2130706433:80", "run:a b"])
def test_a_word_in_it_that_nobody_knows_grants_nothing(folder: Path, word: str) -> None:
    grant(folder, "read:/x", "run:git")
    kept = json.loads((folder / FILE).read_text())
    kept["entries"][0]["grants"][0]["permission"] = word
    (folder / FILE).write_text(json.dumps(kept))
    assert "no ledger" in broken(folder)


def test_a_plugin_named_twice_grants_nothing(folder: Path) -> None:
    grant(folder, "read:/x")
    kept = json.loads((folder / FILE).read_text())
    kept["entries"] *= 2
    (folder / FILE).write_text(json.dumps(kept))
    assert "twice" in broken(folder)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o602, 0o660])
def test_one_that_others_may_open_grants_nothing(folder: Path, mode: int) -> None:
    grant(folder, "read:/x")
    (folder / FILE).chmod(mode)
    assert "other users may open it" in broken(folder)


def test_one_in_a_folder_that_others_may_write_to_grants_nothing(folder: Path) -> None:
    grant(folder, "read:/x")
    folder.chmod(0o777)
    assert "its folder" in broken(folder)


def test_one_of_another_user_grants_nothing(folder: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file to another user")
    grant(folder, "read:/x")
    os.chown(folder / FILE, 12345, 12345)
    assert "another user" in broken(folder)


def test_a_link_a_folder_and_a_fifo_in_its_place_grant_nothing(folder: Path, tmp_path: Path) -> None:
    grant(folder, "read:/x")
    (folder / FILE).rename(tmp_path / "elsewhere.json")
    (folder / FILE).symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(LedgerBroken, match="cannot be opened"):
        Ledger(folder).read()
    (folder / FILE).unlink()
    (folder / FILE).mkdir(mode=0o700)
    with pytest.raises(LedgerBroken, match="not a file"):
        Ledger(folder).read()
    (folder / FILE).rmdir()
    os.mkfifo(folder / FILE, 0o600)
    with pytest.raises(LedgerBroken, match="not a file"):
        Ledger(folder).read()


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_disk_that_refuses_leaves_what_was_granted(folder: Path, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    grant(folder, "read:/x")

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(written.os, step, refuse)
    with pytest.raises(ConfigError, match="No space left"):
        grant(folder, "run:git")
    with pytest.raises(ConfigError, match="No space left"):
        Ledger(folder).revoke("git", SOURCE)
    assert held(folder) == ["read:/x"]


def test_a_change_by_somebody_else_is_seen(folder: Path) -> None:
    ledger = Ledger(folder)
    assert ledger.read().entries == ()
    grant(folder, "read:/x")
    assert ledger.read().entry("git", SOURCE) is not None
    assert ledger.read() is ledger.read()  # nor is it read twice
    Ledger(folder).revoke("git", SOURCE)
    assert ledger.read().entries == ()
