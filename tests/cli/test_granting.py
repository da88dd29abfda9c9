"""The commands of consent, as a person types them: with a terminal and without."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from pathlib import Path
from typing import Any

import pytest

from broker.permissions.grants import FILE
from tests.servers import VENV

BOUND = 30.0  # seconds
MANIFEST = """
name = "todos"
version = "1.4.0"
description = "Counts\\u001B[2J TODO comments"
api = 1
command = ["./tool", "--secret token with spaces", "\\u001B]0;evil\\u0007", "LAST"]
[permissions]
read = ["${workspace}/**", "~"]
net = ["API.acme.dev"]
run = ["git"]
"""


class Shell:
    """`broker` in a home of its own, started in a workspace."""

    def __init__(self, root: Path) -> None:
        self.root = Path(os.path.realpath(root))
        self.workspace, plugin = self.root / "user" / "work", self.root / "plugin"
        for folder in (self.workspace, plugin):
            folder.mkdir(parents=True)
        (plugin / "plugin.toml").write_text(MANIFEST)
        (plugin / "tool").write_text("#!/bin/sh\n")
        (plugin / "tool").chmod(0o755)
        self.manifest = plugin / "plugin.toml"
        self.config = self.root / "config.toml"
        self.config.write_text(
            f'[plugins.todos]\npath = "{plugin}"\n[servers.plain]\ncommand = "sh"\n'
            '[servers.mine]\ncommand = "sh"\n[servers.mine.permissions]\nrun = ["git"]\n'
        )
        self.ledger = self.root / "home" / "state" / FILE

    def __call__(self, word: str, *words: str) -> tuple[int, str, str]:
        """Exit code, stdout, stderr; nobody can be asked."""
        done = subprocess.run(
            self._argv(word, words), stdin=subprocess.DEVNULL, capture_output=True, timeout=BOUND, **self._around
        )
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def on_a_terminal(self, answer: str, word: str, *words: str) -> tuple[int, str]:
        """Exit code and stdout of a command whose standard input is a terminal at which `answer` is typed."""
        ours, theirs = pty.openpty()
        try:
            os.write(ours, answer.encode())
            done = subprocess.run(
                self._argv(word, words), stdin=theirs, stdout=subprocess.PIPE, timeout=BOUND, **self._around
            )
        finally:
            os.close(ours)
            os.close(theirs)
        return done.returncode, done.stdout.decode()

    def granted(self) -> list[str]:
        if not self.ledger.exists():
            return []
        kept = json.loads(self.ledger.read_text())
        return [each["permission"] for entry in kept["entries"] for each in entry["grants"]]

    @property
    def _around(self) -> dict[str, Any]:
        environ = {**os.environ, "BROKER_HOME": str(self.root / "home"), "HOME": str(self.root / "user")}
        return {"cwd": self.workspace, "env": environ}

    def _argv(self, word: str, words: tuple[str, ...]) -> list[str]:
        return [str(VENV / "broker"), word, "--config", str(self.config), *words]


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def test_everything_is_shown_before_it_is_granted_and_nothing_is_cut(shell: Shell) -> None:
    code, out = shell.on_a_terminal("y\n", "grant", "todos")
    assert code == 0
    shown, _, granted = out.partition("Grant it? [y/N]")
    assert f"{shell.root}/plugin/./tool '--secret token with spaces' '\\x1b]0;evil\\x07' LAST" in shown
    assert "\x1b" not in out
    for line in (f"missing  read:{shell.workspace}", "missing  net:api.acme.dev:443", "missing  run:git"):
        assert line in shown
    assert f"refused  `read:~` cannot be granted: {shell.root}/user holds the whole home folder." in shown
    assert "Granted to todos" in granted
    assert shell.granted() == [f"read:{shell.workspace}", "net:api.acme.dev:443", "run:git"]


@pytest.mark.parametrize("answer", ["n\n", "\n", "yeah\n", "Y es\n", "\x04"])
def test_anything_but_an_exact_yes_is_no(shell: Shell, answer: str) -> None:
    code, out = shell.on_a_terminal(answer, "grant", "todos")
    assert code == 1 and "Granted" not in out
    assert not shell.ledger.exists()


def test_without_a_terminal_nothing_is_granted_that_is_not_named(shell: Shell) -> None:
    code, _, error = shell("grant", "todos")
    assert code == 2 and "standard input is no terminal" in error
    assert f"broker grant todos 'read:{shell.workspace}' 'net:api.acme.dev:443' 'run:git'" in error
    assert not shell.ledger.exists()
    assert shell("grant", "todos", "net:api.acme.dev", "run")[0] == 0
    assert shell.granted() == ["net:api.acme.dev:443", "run:git"]
    assert shell("grant", "todos", "--yes")[0] == 0
    assert sorted(shell.granted()) == sorted(["net:api.acme.dev:443", "run:git", f"read:{shell.workspace}"])


def test_what_cannot_be_granted_says_what_can(shell: Shell) -> None:
    for words, said in (
        (["tods"], "no plugin is called tods; did you mean todos?"),
        (["todos", "net:evil.com"], "todos does not ask for `net:evil.com:443`\ntodos asks for read:"),
        (["todos", "everything"], "`everything` is no permission"),
        (["todos", "read:~"], "holds the whole home folder\nName a folder further down"),
        (["plain"], "plain server without a table of permissions"),
    ):
        code, _, error = shell("grant", *words)
        assert code == 2 and said in error
    assert not shell.ledger.exists()


def test_show_says_what_was_granted_and_why_it_does_not_count_any_more(shell: Shell) -> None:
    shell("grant", "todos", "net", "run")
    found = json.loads(shell("show", "todos", "--json")[1])
    assert found["argv"][1:] == ["--secret token with spaces", "\x1b]0;evil\x07", "LAST"]
    assert (found["program"], len(found["sha256"]), found["confined"]) == (f"{shell.root}/plugin/tool", 64, True)
    states = {each["permission"]: each["state"] for each in found["permissions"]}
    assert states == {
        f"read:{shell.workspace}": "missing",
        "net:api.acme.dev:443": "granted",
        "run:git": "granted",
        "read:~": "refused",
    }
    assert all((each["at"] != "") == (each["state"] == "granted") for each in found["permissions"])
    shell.manifest.write_text(MANIFEST + "# more\n")
    out = shell("show", "todos")[1]
    assert "An earlier grant does not count: what it asks for or its manifest changed since it was granted." in out
    assert "missing  run:git" in out and "\x1b" not in out


def test_show_tells_a_confined_server_from_one_that_is_not(shell: Shell) -> None:
    assert "runs unconfined: it may do whatever you may" in shell("show", "plain")[1]
    assert "granted  run:git  (by your own configuration" in shell("show", "mine")[1]


def test_show_works_for_a_program_that_is_not_there(shell: Shell) -> None:
    (shell.root / "plugin" / "tool").unlink()
    found = json.loads(shell("show", "todos", "--json")[1])
    assert found["program"] is None and "cannot be started" in found["missing_program"]
    assert found["argv"][0] == "./tool"


def test_what_was_granted_is_listed_and_taken_back(shell: Shell) -> None:
    assert shell("grants") == (0, "Nothing is granted.\n", "")
    shell("grant", "todos", "net", "run")
    (found,) = json.loads(shell("grants", "--json")[1])
    assert (found["name"], found["source"]) == ("todos", str(shell.config))
    assert [each["permission"] for each in found["grants"]] == ["net:api.acme.dev:443", "run:git"]
    assert shell("revoke", "todos", "net")[:2] == (0, "Not granted to todos any more:\n  net:api.acme.dev:443\n")
    assert "run:git  since 2" in shell("grants", "todos")[1]
    assert shell("revoke", "todos")[0] == 0
    assert shell("revoke", "todos")[:2] == (1, "Nothing was granted to todos.\n")
    assert shell("revoke", "mine")[0] == 2
    lines = (shell.root / "home" / "logs" / "grants.jsonl").read_text().splitlines()
    assert [json.loads(line)["action"] for line in lines] == ["grant", "revoke", "revoke"]


def test_with_a_ledger_that_cannot_be_trusted_nothing_is_granted_and_it_is_not_touched(shell: Shell) -> None:
    shell("grant", "todos", "net")
    shell.ledger.write_text("{")
    for words in (("grant", "todos", "run"), ("revoke", "todos"), ("grants",)):
        code, _, error = shell(*words)
        assert code == 2 and "nothing is granted, because" in error and "Restore the file" in error
    assert "An earlier grant does not count: nothing is granted, because" in shell("show", "todos")[1]
    assert shell.ledger.read_text() == "{"


def test_once_needs_a_broker_that_runs(shell: Shell) -> None:
    code, _, error = shell("grant", "todos", "run", "--once")
    assert code == 1 and "No broker is running" in error
    assert not shell.ledger.exists()


def test_a_plugin_with_hooks_must_be_granted_them_and_show_says_what_they_mean(shell: Shell) -> None:
    shell.manifest.write_text(MANIFEST.replace("[permissions]", '[[hooks]]\non = "pre_request"\n[permissions]'))
    out = shell("show", "todos")[1]
    assert "missing" in out and "hooks:pre_request" in out
    assert "it sees what others are called with, and can refuse it" in out
    assert shell("grant", "todos", "hooks:pre_request")[0] == 0
    assert shell.granted() == ["hooks:pre_request"]
