"""What a plugin was refused is shown as the table that would allow it, and written only where that counts."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from broker.cli.proposing import Found, placed, say, write
from broker.cli.watched import split
from broker.errors import ConfigError
from broker.model import Spec
from broker.permissions.proposal import Proposal, Proposed
from broker.permissions.scopes import parse


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "work").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


def found(home: Path, *wanted: str, own: bool = True, asked: tuple[str, ...] = (), **spec: Any) -> Found:
    file = home / "config.toml"
    proposed = [Proposed(permission=parse(text), calls={"openat": 2, "stat": 1}, note="A note.") for text in wanted]
    return Found(
        spec=Spec(name="a", source=str(file), **spec),
        proposal=Proposal(wanted=tuple(proposed)),
        asked=tuple(map(parse, asked)),
        own=own,
    )


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("read:{home}/notes", "${home}/notes"),
        ("read:{home}/work/src", "${workspace}/src"),
        ("write:{home}/work", "${workspace}"),
        ("read:{home}/workshop", "${home}/workshop"),
        ("read:/srv/x", "/srv/x"),
        ("run:{home}/bin/tool", "${home}/bin/tool"),
        ("run:git", "git"),
        ("net:a.dev:443", "a.dev:443"),
        ("net:unix:{home}/x.sock", "unix:${home}/x.sock"),
    ],
)
def test_a_place_is_written_in_words(home: Path, target: str, text: str) -> None:
    assert placed(parse(target.format(home=home)), Spec(name="a", source="")) == text


@pytest.mark.parametrize("named", ["", "/notes.json", "/.."])
def test_what_its_own_command_names_does_not_move_with_the_workspace(home: Path, named: str) -> None:
    place = parse(f"write:{home}/work/data")
    assert placed(place, Spec(name="a", source="", command=("x", f"{home}/work/data{named}"))) == "${home}/work/data"
    assert placed(place, Spec(name="a", source="", env={"F": f"{home}/work/data{named}"})) == "${home}/work/data"
    assert placed(place, Spec(name="a", source="", command=("x", "data", "/"))) == "${workspace}/data"


def test_the_table_keeps_what_was_there_and_drops_what_it_covers(home: Path) -> None:
    held = {"read": ("${home}/notes/a", "/srv/x"), "net": ("a.dev:443",), "sampling": True}
    made = found(home, f"write:{home}/notes", "run:git", permissions=held).table()
    assert made == {
        "read": ("/srv/x",),
        "write": ("${home}/notes",),
        "net": ("a.dev:443",),
        "run": ("git",),
        "sampling": True,
    }


def test_what_is_asked_for_already_needs_a_grant_and_no_line(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    held = {"run": ("git",)}
    made = found(home, "run:git", asked=("run:git",), own=False, permissions=held, version="1.0.0", cwd=str(home))
    say(made, failed=False)
    assert made.table() == held and "broker grant a 'run:git'" in (said := capsys.readouterr().out)
    assert "[permissions]" not in said


def test_every_line_has_its_reason_and_what_cannot_be_seen_is_said(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    say(found(home, "read:/srv/x"), failed=False)
    said = capsys.readouterr().out
    assert "refused: read:/srv/x (openat 2 times, stat)" in said and "A note." in said
    assert '[servers.a.permissions]\nread = ["/srv/x"]' in said and "cannot be seen" in said


def test_a_stranger_s_path_cannot_play_with_the_terminal(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    note = "\x1b]0;owned\x07"
    withheld = (Proposed(permission=parse("read:/srv/x"), calls={}, note=note),)
    say(Found(spec=Spec(name="a", source="x"), proposal=Proposal(withheld=withheld), asked=(), own=True), failed=True)
    assert "\x1b]0" not in capsys.readouterr().out


def test_a_plugin_folder_is_shown_the_lines_of_its_manifest(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = found(home, "net:a.dev:443", own=False, version="1.0.0", cwd=str(home / "plugin"))
    say(made, failed=False)
    said = capsys.readouterr().out
    assert f"in {home}/plugin/plugin.toml" in said and '[permissions]\nnet = ["a.dev:443"]' in said
    with pytest.raises(ConfigError, match="not named in your own config"):
        write(made)


def test_a_file_of_another_client_is_shown_json(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = replace(found(home, "run:git", own=False), spec=Spec(name="a", source=str(home / "mcp.json")))
    say(made, failed=False)
    said = capsys.readouterr().out
    assert '"permissions": {\n  "run": [\n    "git"\n  ]\n}' in said and "--write" not in said


def test_it_is_written_beside_everything_else(home: Path) -> None:
    file = home / "config.toml"
    file.write_text('# mine\n[servers.a]\ncommand = "x" # this\n')
    write(found(home, f"read:{home}/notes"))
    assert file.read_text().startswith('# mine\n[servers.a]\ncommand = "x" # this\n')
    assert tomllib.loads(file.read_text())["servers"]["a"]["permissions"] == {"read": ["${home}/notes"]}
    assert [each.read_text() for each in home.glob("config.toml.bak-*")] == [
        '# mine\n[servers.a]\ncommand = "x" # this\n'
    ]


def test_a_file_without_the_server_is_left_as_it_is(home: Path) -> None:
    (home / "config.toml").write_text('[servers.b]\ncommand = "x"\n')
    with pytest.raises(ConfigError, match="nothing was written"):
        write(found(home, "run:git"))
    assert (home / "config.toml").read_text() == '[servers.b]\ncommand = "x"\n'


@pytest.mark.parametrize(
    ("words", "calls"),
    [
        ([], ()),
        (["a"], (("a",),)),
        (["a", "x=1", "--", "b", "y=--"], (("a", "x=1"), ("b", "y=--"))),
        (["--", "--", "a", "--"], (("a",),)),
    ],
)
def test_calls_are_told_apart_by_two_dashes(words: list[str], calls: tuple[tuple[str, ...], ...]) -> None:
    assert split(words) == calls
