"""What a plugin prints, in memory and in its file."""

from __future__ import annotations

from pathlib import Path

from broker.permissions.redaction import MARK, Redaction
from broker.runtimes.plugin_log import LONGEST, TAIL_LINES, PluginLog


def test_the_file_gets_whole_lines_and_the_tail_all_there_is(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    log = PluginLog(path)
    log.write(b"one\ntw")
    assert path.read_bytes() == b"one\n" and log.tail() == "one\ntw"
    log.write(b"o\nthree")
    assert path.read_bytes() == b"one\ntwo\n" and log.tail() == "one\ntwo\nthree"
    log.close()
    assert path.read_bytes() == b"one\ntwo\nthree\n"


def test_a_line_without_end_does_not_wait_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    log = PluginLog(path)
    log.write(b"." * (LONGEST + 1))
    assert path.read_bytes() == b"." * (LONGEST + 1) + b"\n"


def test_two_logs_of_one_plugin_share_the_file_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    one, other = PluginLog(path), PluginLog(path)
    one.write(b"from ")
    other.write(b"from other\n")
    one.write(b"one\n")
    assert path.read_bytes() == b"from other\nfrom one\n"


def test_the_tail_is_the_last_lines_only() -> None:
    log = PluginLog(None)
    log.write(b"".join(b"%d\n" % number for number in range(100)))
    assert log.tail().splitlines() == [str(number) for number in range(100 - TAIL_LINES, 100)]
    log.close()


def test_a_secret_is_in_neither_however_it_comes_in_pieces(tmp_path: Path) -> None:
    said = b"key hunter2-hunter2 given\nand hunter2-\nhunter2 again\nfor hunter2-hunter2"
    for size in range(1, len(said) + 1):
        log = PluginLog(tmp_path / f"{size}.log", Redaction(["hunter2-hunter2"]))
        for at in range(0, len(said), size):
            log.write(said[at : at + size])
            assert "hunter2-" not in log.tail()
        assert log.tail().encode() == b"key %s given\nand %s\n%s again\nfor %s" % ((MARK,) * 4)
        log.close()
        assert (tmp_path / f"{size}.log").read_bytes() == b"key %s given\nand %s\n%s again\nfor %s\n" % ((MARK,) * 4)


def test_a_secret_over_the_end_of_a_line_that_is_too_long_is_not_in_the_file(tmp_path: Path) -> None:
    for before in range(LONGEST - 16, LONGEST + 1):
        log = PluginLog(tmp_path / f"{before}.log", Redaction(["hunter2-hunter2"]))
        for byte in b"." * before + b"hunter2-hunter2\n":
            log.write(bytes([byte]))
        log.close()
        kept = (tmp_path / f"{before}.log").read_bytes()
        assert b"hunter2" not in kept.replace(b"\n", b"") and MARK in kept
