"""Broker is written into each client's own file, and leaves it as it was."""

from __future__ import annotations

import errno
import json
import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from broker.cli.exporting import Wanted, own_command, perform
from broker.cli.moving import export, import_
from broker.clients.known import BY_KEY, CLIENTS, Client
from broker.core import jsonc
from broker.errors import ConfigError

KEYS = [client.key for client in CLIENTS]
JSON_KEYS = [client.key for client in CLIENTS if client.format == "json"]
BOM = b"\xef\xbb\xbf"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith(("XDG_", "CLAUDE", "CODEX", "GEMINI", "COPILOT"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def done(*keys: str, command: str = "broker", **more: bool) -> int:
    return perform(Wanted(clients=keys, command=command, **more))


def file_of(key: str) -> Path:
    return BY_KEY[key].file(os.environ)


def written(key: str, data: bytes) -> Path:
    path = file_of(key)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def held(client: Client, data: bytes) -> Any:
    """The servers in such a file."""
    if client.format == "toml":
        return tomllib.loads(data.removeprefix(BOM).decode()).get(client.section, {})
    return json.loads(jsonc.plain(data.removeprefix(BOM))).get(client.section, {})


def settings(client: Client, other: str = "other") -> bytes:
    """A file a person wrote, with a server and things broker knows nothing of."""
    if client.format == "toml":
        return f'# mine\nmodel = "x"\n\n[{client.section}.{other}]\ncommand = "x" # why\n\n[tui]\na = 1\n'.encode()
    return (
        f'// mine\n{{\n\t"z": [1.0, {{"k": null}}],\n\t"{client.section}": {{\n'
        f'\t\t"{other}": {{"command": "x", "ünknown": 1e3}}, // why\n\t}},\n\t"a": "ü" /* end */\n}}\n'
    ).encode()


WAYS: dict[str, Callable[[Client], bytes]] = {
    "as a person writes it": settings,
    "with the line ends of Windows": lambda client: settings(client).replace(b"\n", b"\r\n"),
    "with a byte order mark": lambda client: BOM + settings(client),
    "without a last line end": lambda client: settings(client).rstrip(),
    "blank": lambda _: b"\n",
    "empty": lambda _: b"",
    "without servers": lambda client: b"a = 1\n" if client.format == "toml" else b'{"a":1}',
    "with no server yet": lambda client: (
        f"[{client.section}]\n" if client.format == "toml" else f'{{\n    "{client.section}": {{}}\n}}\n'
    ).encode(),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("key", KEYS)
def test_undo_gives_back_every_byte(key: str, way: str) -> None:
    client = BY_KEY[key]
    before = WAYS[way](client)
    path = written(key, before)
    assert done(key) == 0
    servers = held(client, path.read_bytes())
    assert servers.pop("broker") == client.shape("broker")
    assert servers == (held(client, before) if before.strip() else {})
    assert done(key, undo=True) == 0
    assert path.read_bytes() == before


@pytest.mark.parametrize("key", KEYS)
def test_a_file_that_was_made_is_removed_again(key: str) -> None:
    assert done(key) == 0
    path = file_of(key)
    assert path.stat().st_mode & 0o777 == 0o600
    assert done(key, undo=True) == 0
    assert not path.exists()


@pytest.mark.parametrize("key", ["vscode", "codex"])
def test_a_link_stays_a_link_and_undo_gives_back_every_byte(key: str, home: Path) -> None:
    real = home / "dotfiles"
    real.write_bytes(settings(BY_KEY[key]))
    path = file_of(key)
    path.parent.mkdir(parents=True)
    path.symlink_to(real)
    done(key)
    assert "broker" in held(BY_KEY[key], real.read_bytes())
    done(key, undo=True)
    assert path.is_symlink() and real.read_bytes() == settings(BY_KEY[key])


@pytest.mark.parametrize("key", KEYS)
def test_what_the_file_was_is_kept_beside_it_each_time(key: str) -> None:
    path = written(key, settings(BY_KEY[key]))
    done(key)
    registered = path.read_bytes()
    done(key, undo=True)
    backups = sorted(path.parent.glob(f"{path.name}.bak-*"))
    assert {each.read_bytes() for each in backups} == {settings(BY_KEY[key]), registered}


@pytest.mark.parametrize("key", KEYS)
def test_twice_is_as_good_as_once(key: str, capsys: pytest.CaptureFixture[str]) -> None:
    done(key)
    before = file_of(key).read_bytes()
    assert done(key) == 0
    assert "registered already" in capsys.readouterr().out
    assert file_of(key).read_bytes() == before
    assert list(file_of(key).parent.glob("*.bak-*")) == []


def test_undo_where_nothing_is_changes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert done("cursor", "codex", undo=True) == 0
    assert capsys.readouterr().out.count("not registered") == 2
    assert not file_of("cursor").exists()


@pytest.mark.parametrize("key", KEYS)
def test_another_entry_of_that_name_stays_unless_it_is_forced(key: str, capsys: pytest.CaptureFixture[str]) -> None:
    client = BY_KEY[key]
    path = written(key, settings(client, "broker"))
    for undo in (False, True):
        assert done(key, undo=undo) == 1
        assert path.read_bytes() == settings(client, "broker")
        said = capsys.readouterr().err
        assert "which runs x" in said and "--force" in said
    assert done(key, force=True) == 0
    assert held(client, path.read_bytes())["broker"] == client.shape("broker")
    assert done(key, undo=True) == 0
    assert "broker" not in held(client, path.read_bytes())


def test_an_entry_that_is_switched_off_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    written("cursor", b'{"mcpServers": {"broker": {"command": "broker", "args": ["mcp"], "disabled": true}}}')
    assert done("cursor") == 1
    assert "switched off" in capsys.readouterr().err


def test_an_entry_of_broker_by_another_path_can_be_undone() -> None:
    path = written("cursor", b'{"mcpServers": {"broker": {"command": "/old/broker", "args": ["mcp"]}, "a": {}}}')
    assert done("cursor", undo=True) == 0
    assert json.loads(path.read_bytes()) == {"mcpServers": {"a": {}}}


@pytest.mark.parametrize(
    ("key", "text", "where", "what"),
    [
        ("vscode", b'{\n  "servers": {\n}', ":3", "not JSON"),
        ("vscode", b'{\n  "servers": []\n}', ":2", "must hold a table"),
        ("zed", b"[]", ":1", "one JSON object"),
        ("cursor", b'{\n"a": "\xff"}', ":2", "UTF-8"),
        ("gemini", b"[" * 100_000, ":1", "nested too deeply"),
        ("codex", b"a = 1\nb =\n", ":2", "not TOML"),
        ("codex", b"mcp_servers = 1\n", ":1", "must hold a table"),
        ("codex", b'a = "\xff"', ":1", "UTF-8"),
    ],
)
def test_a_broken_file_is_named_with_its_line_and_left_alone(
    key: str, text: bytes, where: str, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(key, text)
    assert done(key) == 1
    said = capsys.readouterr().err
    assert f"{path}{where}\n" in said and what in said
    assert path.read_bytes() == text
    assert os.listdir(path.parent) == [path.name]


def test_one_broken_file_does_not_keep_the_others() -> None:
    written("vscode", b"{")
    assert done("vscode", "cursor") == 1
    assert "broker" in file_of("cursor").read_text()


@pytest.mark.parametrize("key", ["vscode", "codex"])
def test_a_full_disk_changes_nothing(
    key: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = written(key, settings(BY_KEY[key]))
    monkeypatch.setattr(os, "fsync", full)
    assert done(key) == 1
    assert "No space left on device; nothing was changed" in capsys.readouterr().err
    assert path.read_bytes() == settings(BY_KEY[key])
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("key", KEYS)
def test_a_dry_run_writes_nothing(key: str, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert done(key, dry=True) == 0
    assert "Nothing was written" in capsys.readouterr().out
    assert os.listdir(home) == []


def test_half_an_emoji_in_a_history_stays_where_it_is() -> None:
    text = b'{"history": ["\\ud83d"], "mcpServers": {"a": {"command": "x"}}, "big": 123456789012345678901234567890}'
    path = written("claude", text)
    assert done("claude") == 0
    assert done("claude", undo=True) == 0
    assert path.read_bytes() == text


def test_the_command_is_the_name_if_that_is_found_and_else_the_script(tmp_path: Path) -> None:
    script = tmp_path / "broker"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    assert own_command(str(script), search=str(tmp_path)) == "broker"
    assert own_command(str(script), search="/nowhere") == str(script)


def test_without_a_script_the_command_has_to_be_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    with pytest.raises(ConfigError, match="not on the PATH"):
        own_command("/nowhere/__main__.py", search="/nowhere")


def test_a_client_nobody_knows_is_a_wrong_command() -> None:
    with pytest.raises(click.UsageError, match="emacs is no client"):
        done("emacs")


@pytest.mark.parametrize("command", [import_, export])
def test_the_help_names_every_client(command: click.Command) -> None:
    named = (command.help or "").replace("\n", " ")
    assert all(f" {key}" in named for key in KEYS)
