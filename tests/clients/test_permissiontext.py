"""A table of permissions goes into a config.toml, and every other byte stays."""

from __future__ import annotations

import tomllib

import pytest

from broker.clients.permissiontext import with_permissions

TABLE = {"read": ("${home}/notes",), "run": ("git",)}
LIST = {"read": ["${home}/notes"], "run": ["git"]}

SERVERS = [
    '[servers.a]\ncommand = "x"\n',
    '[servers.a]\ncommand = "x"',
    '# mine\n\n[servers.a] # this\ncommand = "x" # and this\n\n[servers.b]\ncommand = "y"\n',
    '[servers.a]\ncommand = "x"\n[servers.a.env]\nA = "1"\n\n[plugins.p]\npath = "/p"\n',
    '[servers]\na = {command = "x"}\nb = {command = "y"}\n',
    'servers.a.command = "x"\nconcurrency = 2\n',
    '[servers.a]\ncommand = "x"\n[servers.a.permissions]\n# why\nread = ["/old"] # because\nnet = ["a.dev:443"]\n',
    '[servers.a]\ncommand = "x"\npermissions = {net = ["a.dev:443"]}\n',
    '[servers.a.permissions]\n[servers.a]\ncommand = "x"\n',
]


@pytest.mark.parametrize("text", SERVERS)
def test_only_the_table_changes(text: str) -> None:
    before = tomllib.loads(text)
    after = tomllib.loads(with_permissions(text, "a", TABLE))
    assert after["servers"]["a"].pop("permissions") == LIST
    before["servers"]["a"].pop("permissions", None)
    assert after == before


@pytest.mark.parametrize("text", SERVERS)
def test_every_comment_stays(text: str) -> None:
    comments = [line.partition("#")[2] for line in text.splitlines() if "#" in line]
    changed = with_permissions(text, "a", TABLE)
    assert [comment for comment in comments if comment not in changed] == []


def test_the_same_table_changes_nothing() -> None:
    text = with_permissions(SERVERS[2], "a", TABLE)
    assert with_permissions(text, "a", TABLE) == text


def test_sampling_is_written_as_it_is() -> None:
    text = with_permissions(SERVERS[0], "a", {"sampling": True})
    assert tomllib.loads(text)["servers"]["a"]["permissions"] == {"sampling": True}


@pytest.mark.parametrize(
    "text", ["", '[servers.b]\ncommand = "x"\n', "servers = 3\n", "[servers]\na = 3\n", "[servers"]
)
def test_a_server_that_is_not_there_is_said(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not there|TOML|expected|Expected"):
        with_permissions(text, "a", TABLE)
