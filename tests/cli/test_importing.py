"""The servers of other clients are shown, named, and written into config.toml."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import pytest

from broker.cli.importing import perform, shown
from broker.clients.known import BY_KEY
from broker.core.config import load

SECRET = "hunter2"
CURSOR = {"a": {"command": "x", "args": ["1"], "env": {"TOKEN": SECRET}}}


class Desk:
    """A person's folder with clients in it."""

    def __init__(self, home: Path, screen: pytest.CaptureFixture[str]) -> None:
        self.home, self.screen = home, screen
        self.config = home / ".config" / "broker" / "config.toml"

    def client(self, key: str, servers: Mapping[str, Any]) -> Path:
        return self.file(BY_KEY[key].file(os.environ), {BY_KEY[key].section: servers})

    def file(self, path: Path, value: object) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(value if isinstance(value, str) else json.dumps(value))
        return path

    def imported(self, *names: str, write: bool = True) -> tuple[int, str]:
        """The exit code and all that was said."""
        code = perform(names, self.config, write=write, as_json=False)
        said = self.screen.readouterr()
        return code, said.out + said.err

    def report(self, *names: str, write: bool = False) -> Any:
        perform(names, self.config, write=write, as_json=True)
        return json.loads(self.screen.readouterr().out)

    def servers(self) -> dict[str, list[str]]:
        """What broker runs with the config.toml that was written."""
        found = load(config_file=self.config, environ=os.environ)
        assert found.problems == []
        return {spec.name: list(spec.command) for spec in found.plugins}


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Desk:
    for name in [name for name in os.environ if name.startswith(("XDG_", "CLAUDE", "CODEX", "GEMINI", "COPILOT"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return Desk(tmp_path, capsys)


def test_every_client_that_is_found_is_read(desk: Desk) -> None:
    for number, key in enumerate(key for key in BY_KEY if BY_KEY[key].format == "json"):
        entry: dict[str, Any] = {"command": "x", "args": [str(number)]}
        if key == "opencode":
            entry = {"type": "local", "command": ["x", str(number)]}
        desk.client(key, {f"s{number}": entry})
    desk.file(desk.home / ".codex" / "config.toml", '[mcp_servers.toml]\ncommand = "x"\nargs = ["toml"]\n')
    assert desk.imported()[0] == 0
    wanted = {f"s{number}": ["x", str(number)] for number in range(len(BY_KEY) - 1)}
    assert desk.servers() == {**wanted, "toml": ["x", "toml"]}


def test_nothing_is_written_unless_it_is_wanted(desk: Desk) -> None:
    desk.client("cursor", CURSOR)
    code, said = desk.imported(write=False)
    assert code == 0 and '[servers.a]\ncommand = "x"' in said and "`--write` does it" in said
    assert not desk.config.parent.exists()


def test_values_of_env_are_written_and_never_shown(desk: Desk) -> None:
    desk.client("cursor", CURSOR)
    _, said = desk.imported()
    assert "TOKEN" in said and SECRET not in said
    assert SECRET in desk.config.read_text()
    assert SECRET not in json.dumps(desk.report("cursor"))


def test_the_new_file_is_for_its_user_alone(desk: Desk) -> None:
    desk.client("cursor", CURSOR)
    desk.imported()
    assert desk.config.stat().st_mode & 0o777 == 0o600


def test_what_is_there_stays_as_it_is_and_is_kept_beside(desk: Desk) -> None:
    text = '# mine\r\nconcurrency = 2 # two\r\n\r\n[servers.z]\r\ncommand = "z"'
    desk.file(desk.config, "")
    desk.config.write_bytes(text.encode())
    desk.config.chmod(0o644)
    desk.client("cursor", CURSOR)
    desk.imported()
    assert desk.config.read_bytes().decode().startswith(text)
    assert list(desk.servers()) == ["z", "a"]
    assert desk.config.stat().st_mode & 0o777 == 0o644
    (backup,) = desk.config.parent.glob("config.toml.bak-????????-??????")
    assert backup.read_bytes().decode() == text


def test_a_second_time_there_is_nothing_to_do(desk: Desk) -> None:
    desk.client("cursor", {**CURSOR, "b": {"command": "y"}})
    desk.client("windsurf", {"a": {"command": "other"}})
    desk.imported()
    before = desk.config.read_bytes()
    code, said = desk.imported()
    assert code == 0 and "Nothing new to import." in said
    assert desk.config.read_bytes() == before
    assert list(desk.servers()) == ["a", "b", "a-2"]


def test_the_same_server_under_another_name_is_skipped(desk: Desk) -> None:
    desk.client("cursor", {"time": {"command": "uvx", "args": ["t"]}})
    desk.client("windsurf", {"My Time": {"command": "uvx", "args": ["t"], "disabled": False}})
    _, said = desk.imported()
    assert "My Time  skipped: it is there already, as `time`" in said
    assert list(desk.servers()) == ["time"]


def test_the_same_server_with_another_token_is_skipped_under_its_name_and_taken_under_another(desk: Desk) -> None:
    desk.client("cursor", {"gh": {"command": "x", "env": {"T": "1"}}})
    desk.client("windsurf", {"gh": {"command": "x", "env": {"T": "2"}}, "gh-work": {"command": "x", "env": {"T": "3"}}})
    _, said = desk.imported()
    assert "runs the same, with other values in `env`" in said
    assert list(desk.servers()) == ["gh", "gh-work"]


def test_names_become_slugs_and_a_clash_gets_a_number(desk: Desk) -> None:
    plugin = desk.home / "p"
    desk.file(plugin / "plugin.toml", 'name = "p"\nversion = "1.0.0"\napi = 1\nentry = "plugin.py"\n')
    desk.file(plugin / "plugin.py", "")
    desk.file(desk.config, f'[plugins.p]\npath = "{plugin}"\n')
    desk.client("cursor", {"My Server!": {"command": "x"}, "p": {"command": "y"}, "n" * 32: {"command": "z"}})
    desk.client("windsurf", {"n" * 32: {"command": "w"}})
    _, said = desk.imported()
    assert "new, as `p-2`: `p` is the name of another one" in said
    assert list(desk.servers()) == ["p", "my-server", "p-2", "n" * 32, "n" * 30 + "-2"]


def test_broker_itself_and_servers_over_http_are_left_out(desk: Desk) -> None:
    remote = {"type": "http", "url": f"https://u:{SECRET}@mcp.example/x?key={SECRET}"}
    desk.client("claude", {"broker": {"command": "/b/broker", "args": ["mcp"]}, "linear": remote})
    code, said = desk.imported()
    assert code == 0
    assert "skipped: it is broker itself" in said
    assert "at https://mcp.example" in said and "mcp-remote" in said and SECRET not in said
    assert not desk.config.exists()


def test_what_is_switched_off_stays_off(desk: Desk) -> None:
    desk.client("windsurf", {"a": {"command": "x", "disabled": True}})
    desk.imported()
    assert "enabled = false" in desk.config.read_text()
    assert not load(config_file=desk.config, environ=os.environ).plugins[0].enabled


def test_a_variable_that_is_not_set_here_is_said_and_imported(desk: Desk) -> None:
    desk.client("claude", {"a": {"command": "x", "env": {"T": "${NOT_SET_HERE}"}}})
    code, said = desk.imported()
    assert code == 0 and "NOT_SET_HERE is not set here" in said
    assert 'env = {T = "${NOT_SET_HERE}"}' in desk.config.read_text()


def test_what_cannot_be_used_is_named_and_the_rest_is_imported(desk: Desk) -> None:
    desk.client("zed", {"ext": {"source": "extension"}, "a": {"command": "x"}})
    broken = desk.file(desk.home / ".cursor" / "mcp.json", '{\n"mcpServers" {}}')
    code, said = desk.imported()
    assert code == 1
    assert "it belongs to a Zed extension" in said and "settings.json:1" in said
    assert f"{broken}:2\n  this is not JSON" in said
    assert list(desk.servers()) == ["a"]
    assert broken.read_text() == '{\n"mcpServers" {}}'


def test_files_are_taken_as_clients_are(desk: Desk) -> None:
    file = desk.file(desk.home / "p" / ".vscode" / "mcp.json", '{"servers": {"a": {"command": "x"}} /* c */}')
    assert desk.imported(str(file))[0] == 0
    assert list(desk.servers()) == ["a"]


def test_a_client_that_is_not_there_is_said(desk: Desk) -> None:
    code, said = desk.imported("cursor")
    assert code == 1 and "there is no such file of Cursor" in said
    assert desk.imported() == (0, "No client was found. `broker import FILE` reads a file.\n")


def test_a_name_that_is_neither_is_a_wrong_command(desk: Desk) -> None:
    with pytest.raises(click.UsageError, match="emacs is neither a client"):
        desk.imported("emacs")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a = \n", "it is not TOML"),
        ("unknown = 1\n", "config.toml:1 would be wrong: unknown key `unknown`"),
        ("servers = 1\n", "`servers` is not a table"),
    ],
)
def test_what_could_not_be_read_back_is_not_written(desk: Desk, text: str, said: str) -> None:
    desk.file(desk.config, text)
    desk.client("cursor", CURSOR)
    code, heard = desk.imported()
    assert code == 1 and said in heard
    assert desk.config.read_text() == text
    assert os.listdir(desk.config.parent) == ["config.toml"]


def test_a_full_disk_changes_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    desk.file(desk.config, "")
    desk.client("cursor", CURSOR)
    monkeypatch.setattr(os, "fsync", full)
    code, said = desk.imported()
    assert code == 1 and "No space left on device" in said
    assert os.listdir(desk.config.parent) == ["config.toml"] and desk.config.read_text() == ""


def test_a_link_stays_a_link_and_paths_start_at_its_folder(desk: Desk) -> None:
    real = desk.file(desk.home / "dotfiles" / "b.toml", '[servers.z]\ncommand = "z"\nenvFile = "z.env"\n')
    desk.file(desk.config.parent / "z.env", "A=b\n")
    desk.config.symlink_to(real)
    desk.client("cursor", CURSOR)
    assert desk.imported()[0] == 0
    assert desk.config.is_symlink() and list(desk.servers()) == ["z", "a"]


def test_a_program_gets_it_all_as_json(desk: Desk) -> None:
    desk.client("cursor", {**CURSOR, "b": {"url": "https://x.example"}})
    report = desk.report("cursor")
    assert [(row["name"], row["action"]) for row in report["servers"]] == [("a", "add"), ("", "remote")]
    assert report["servers"][0]["entry"] == {"command": "x", "args": ["1"], "env": {"TOKEN": "…"}}
    assert (report["written"], report["backup"], report["problems"]) == (False, None, [])
    assert desk.report("cursor", write=True)["written"] is True


@pytest.mark.parametrize(
    ("args", "seen"),
    [
        (["--api-key", SECRET, "x"], ["--api-key", "…", "x"]),
        ([f"--token={SECRET}"], ["--token=…"]),
        (["--header", f"Authorization: Bearer {SECRET}"], ["--header", "Authorization:…"]),
        ([f"postgresql://u:{SECRET}@db/x"], ["postgresql://…@db/x"]),
        (["-y", "pkg", "--port=1"], ["-y", "pkg", "--port=1"]),
    ],
)
def test_what_looks_like_a_secret_in_a_command_is_not_shown(args: list[str], seen: list[str]) -> None:
    assert shown({"command": "x", "args": args}) == {"command": "x", "args": seen}


def test_names_cannot_play_with_the_terminal(desk: Desk) -> None:
    desk.client("cursor", {"\x1b[31mred": {"command": "x\x1b[0m"}})
    _, said = desk.imported()
    assert "\x1b" not in said
