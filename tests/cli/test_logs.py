"""The ends of log files, and what comes after them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from broker.cli import logs
from broker.cli.logs import Tail, log_of, printed, readable, show, whole
from broker.errors import NotFound
from broker.model import Settings, Spec

LINE = {
    "time": "2026-11-21T13:49:42.123Z",
    "client": "Claude",
    "plugin": "git",
    "method": "tools/call",
    "name": "git_status",
    "ms": 12.34,
    "outcome": "ok",
    "pid": 7,
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "git.log"


def older(path: Path) -> Path:
    return path.with_name(path.name + ".1")


def numbered(*numbers: int) -> bytes:
    return b"".join(b"%d\n" % number for number in numbers)


@pytest.mark.parametrize("count", [0, 1, 3, 5, 7, 100])
def test_the_last_lines_reach_into_the_older_file(path: Path, count: int) -> None:
    older(path).write_bytes(numbered(1, 2, 3, 4))
    path.write_bytes(numbered(5, 6, 7))
    assert Tail(path).last(count) == [b"%d" % number for number in range(max(1, 8 - count), 8)]


def test_the_last_lines_of_a_long_file_are_read_from_its_end(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "BLOCK", 7)
    path.write_bytes(numbered(*range(1000)))
    assert Tail(path).last(3) == [b"997", b"998", b"999"]


def test_a_line_without_end_waits_for_it(path: Path) -> None:
    path.write_bytes(b"one\ntw")
    tail = Tail(path)
    assert tail.last(10) == [b"one"]
    with path.open("ab") as file:
        file.write(b"o\nthree\n")
    assert list(tail.more()) == [b"two", b"three"]


def test_following_survives_a_rotation(path: Path) -> None:
    path.write_bytes(b"one\n")
    tail = Tail(path)
    tail.last(10)
    with path.open("ab") as file:
        file.write(b"two\n")
    path.rename(older(path))
    path.write_bytes(b"three\n")
    assert list(tail.more()) == [b"two", b"three"]
    with path.open("ab") as file:
        file.write(b"four\n")
    assert list(tail.more()) == [b"four"]
    assert list(tail.more()) == []


def test_nothing_is_lost_between_the_last_read_and_the_rotation(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(b"one\n")
    tail = Tail(path)
    tail.last(10)
    looks = Tail._is_current

    def overtaken(self: Tail) -> bool:
        monkeypatch.setattr(Tail, "_is_current", looks)
        with path.open("ab") as file:
            file.write(b"two\n")
        path.rename(older(path))
        path.write_bytes(b"three\n")
        return looks(self)

    monkeypatch.setattr(Tail, "_is_current", overtaken)
    assert list(tail.more()) == [b"two", b"three"]


def test_following_begins_before_the_file_does(path: Path) -> None:
    tail = Tail(path)
    assert tail.last(10) == [] and list(tail.more()) == []
    path.write_bytes(b"one\n")
    assert list(tail.more()) == [b"one"]


def test_a_file_that_was_emptied_or_deleted_is_read_anew(path: Path) -> None:
    path.write_bytes(b"one\ntwo\n")
    tail = Tail(path)
    tail.last(10)
    os.truncate(path, 0)
    with path.open("ab") as file:
        file.write(b"3\n")
    assert list(tail.more()) == [b"3"]
    path.unlink()
    assert list(tail.more()) == []
    path.write_bytes(b"four\n")
    assert list(tail.more()) == [b"four"]


def test_what_a_plugin_prints_cannot_play_with_the_terminal() -> None:
    assert printed(b"\x1b]0;title\x07\x1b[2Jhi\r") == "\\x1b]0;title\\x07\\x1b[2Jhi"
    assert printed(b"\xc2\x9b31m \xe2\x80\xae \xff\t|") == "\\x9b31m \\x202e \ufffd\t|"


def test_an_audit_line_is_readable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    said = readable(json.dumps(LINE).encode())
    assert said is not None
    assert said.endswith("42.123  Claude ->  git  tools/call  git_status  12.3 ms  ok")


def test_an_audit_line_stays_one_line_whatever_is_in_it() -> None:
    said = readable(json.dumps({**LINE, "client": "\x1b[31m\nfake", "plugin": "", "name": ""}).encode())
    assert said is not None and "\n" not in said and "\x1b" not in said
    assert "(nobody)" in said


@pytest.mark.parametrize("torn", [b"", b'{"time": "2026', b"[]", b"\xff", json.dumps({**LINE, "time": "x"}).encode()])
def test_a_torn_audit_line_is_passed_over(torn: bytes) -> None:
    assert readable(torn) is None


def test_an_audit_line_for_programs_is_as_it_is() -> None:
    assert whole(b'{"a": "\xc3\xa9"}') == '{"a": "é"}'


def test_nothing_to_show_is_said(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert show(path, 10, follow=False, shown=printed) == 0
    said = capsys.readouterr()
    assert said.out == "" and f"Nothing is in {path}" in said.err


def test_a_name_is_that_of_a_plugin_configured_now_or_once(tmp_path: Path) -> None:
    found = Settings(plugins=[Spec(name="git", source="t")])
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "old.log").write_text("")
    assert log_of("git", tmp_path, found) == tmp_path / "plugins" / "git.log"
    assert log_of("old", tmp_path, found) == tmp_path / "plugins" / "old.log"
    with pytest.raises(NotFound, match=r"did you mean git\?"):
        log_of("gti", tmp_path, found)
    with pytest.raises(NotFound, match="there are git, old"):
        log_of("../../etc/passwd", tmp_path, found)
