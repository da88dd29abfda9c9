"""The profile of macOS, as text."""

from __future__ import annotations

import re

import pytest

from broker.confine import seatbelt
from broker.confine.plan import Confinement
from broker.errors import DangerousGrant

PROGRAM = "/opt/python/bin/python3"


def profile(port: int | None = None, **may: object) -> list[str]:
    wall = Confinement(name="x", **may)  # type: ignore[arg-type]
    return seatbelt.profile(wall, PROGRAM, port).splitlines()


def test_everything_is_denied_that_no_line_allows() -> None:
    assert profile()[:2] == ["(version 1)", "(deny default)"]


def test_without_a_grant_there_is_no_network_and_no_name_is_looked_up() -> None:
    text = "\n".join(profile())
    assert "network" not in text and "mDNSResponder" not in text


def test_the_network_is_one_port_of_this_machine() -> None:
    lines = [line for line in profile(4321, net=("api.acme.dev:443",)) if "network" in line]
    assert lines == ['(allow network-outbound (remote ip "localhost:4321"))']


def test_a_plugin_that_may_start_nothing_runs_only_itself() -> None:
    lines = [line for line in profile() if "process-fork" in line or "process-exec" in line]
    assert lines == [f'(allow process-exec (literal "{PROGRAM}"))']


def test_programs_it_may_start_are_named() -> None:
    lines = profile(run=("/usr/bin/git",))
    assert "(allow process-fork)" in lines and '(allow process-exec (literal "/usr/bin/git"))' in lines
    assert "(allow process-exec)" not in lines


def test_what_it_may_write_it_may_neither_run_nor_make_set_id() -> None:
    lines = profile(write=("/Users/x/data",))
    assert '(deny file-write-setugid (subpath "/Users/x/data"))' in lines
    assert lines.index('(deny process-exec (subpath "/Users/x/data"))') > 0


def test_what_it_may_read_it_may_not_write() -> None:
    lines = [line for line in profile(read=("/Users/x/docs",)) if "docs" in line]
    assert lines == ['(allow file-read* (subpath "/Users/x/docs"))']


@pytest.mark.parametrize(("path", "real"), [("/tmp/x", "/private/tmp/x"), ("/Users/tmp", "/Users/tmp")])
def test_links_of_the_system_are_followed(path: str, real: str) -> None:
    assert f'(allow file-read* (subpath "{real}"))' in profile(read=(path,))


def test_quotes_in_a_path_stay_in_the_path() -> None:
    assert seatbelt.quoted('/a"b\\c') == r'"/a\"b\\c"'
    escape = '/x")) (allow default) (deny file-read* (subpath "'
    line = next(line for line in profile(read=(escape,)) if "allow default" in line)
    assert re.fullmatch(r'\(allow file-read\* \(subpath "(?:[^"\\]|\\.)*"\)\)', line)


@pytest.mark.parametrize("letter", ["\n", "\0", "\x7f", "\t"])
def test_control_characters_in_a_path_are_refused(letter: str) -> None:
    with pytest.raises(DangerousGrant, match="control character"):
        profile(read=(f"/Users/x{letter}y",))


def test_the_program_is_started_by_the_sandbox() -> None:
    words = seatbelt.argv(Confinement(name="x"), [PROGRAM, "server.py"], None)
    assert words[:2] == ["/usr/bin/sandbox-exec", "-p"] and words[3:] == [PROGRAM, "server.py"]
